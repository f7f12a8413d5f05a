//! Where a callback is stored before it is answered: in the queue, or on the spool while the broker is away,
//! blocked or slow. Events of one video never overtake one another on that way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::spool::{self, Line, Spool};
use crate::error::chain;
use crate::queue::{self, Health, Message, Queue};
use crate::telemetry;

mod drain;

/// Lines that can be told apart while they are being stored; others wait for one another.
const TURNS: u64 = 4096;

/// How often the metrics of the spool are set.
const REPORT: Duration = Duration::from_secs(1);

/// Durable storage for what comes in.
pub struct Store {
    queue: Arc<dyn Queue>,
    spooled: Option<Spooled>,
}

struct Spooled {
    spool: Arc<Spool>,
    after: Duration,
    /// One at a time of each line: what comes later must see where the earlier one went.
    turns: Vec<Mutex<()>>,
    straight: Straight,
}

/// Whether the broker confirms fast enough for callbacks to wait for it. Once it does not, all go to the
/// spool until it has confirmed what is taken from there.
struct Straight(AtomicBool);

/// Where a callback is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Queue,
    Spool,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Spool => "spool",
        }
    }
}

/// Why a callback is stored nowhere.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Queue(#[from] queue::Error),
    #[error(transparent)]
    Spool(#[from] spool::Error),
}

impl Store {
    /// For a queue that is a file of this machine itself.
    pub fn straight(queue: Arc<dyn Queue>) -> Self {
        Self { queue, spooled: None }
    }

    /// For a broker. `after` is how long one callback waits for its confirm.
    pub fn spooled(queue: Arc<dyn Queue>, spool: Arc<Spool>, after: Duration) -> Self {
        let turns = (0..TURNS).map(|_| Mutex::new(())).collect();
        let straight = Straight(AtomicBool::new(true));
        Self { queue, spooled: Some(Spooled { spool, after, turns, straight }) }
    }

    /// Durable when it returns. Takes `intake.spool.after` and a sync to disk at the most, where there
    /// is a spool and the disk works.
    pub async fn put(&self, message: Message) -> Result<Place, Error> {
        let Some(spooled) = &self.spooled else {
            self.queue.publish(message).await?;
            return Ok(Place::Queue);
        };
        let line = line(&message);
        let turn = usize::try_from(line.0.unsigned_abs() % TURNS).unwrap_or_default();
        let _turn = match spooled.turns.get(turn) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        if self.may_go_straight(spooled, line) && self.try_queue(spooled, message.clone()).await {
            return Ok(Place::Queue);
        }
        spooled.spool.put(line, message).await?;
        Ok(Place::Spool)
    }

    /// Takes what is on the spool to the queue, until `stop`.
    pub async fn drain(&self, stop: CancellationToken) {
        if let Some(spooled) = &self.spooled {
            drain::Drain::new(self.queue.as_ref(), spooled).run(stop).await;
        }
    }

    /// Keeps the metrics of the spool up to date, until `stop`.
    pub async fn report(&self, stop: CancellationToken) {
        let Some(Spooled { spool, .. }) = &self.spooled else { return };
        loop {
            let (fill, age) = (spool.fill(), spool.age().await);
            telemetry::spool(fill.events, fill.bytes, age);
            if stop.run_until_cancelled(sleep(REPORT)).await.is_none() {
                return;
            }
        }
    }

    fn may_go_straight(&self, spooled: &Spooled, line: Line) -> bool {
        // With nothing on the spool nothing is taken from there that could show how the broker is.
        let open = spooled.straight.is_open() || spooled.spool.fill().events == 0;
        open && !spooled.spool.holds(line) && self.queue.health() == Health::Ready
    }

    async fn try_queue(&self, spooled: &Spooled, message: Message) -> bool {
        match timeout(spooled.after, self.queue.publish(message)).await {
            Ok(Ok(())) => return true,
            // The broker is well, and keeps what it has a queue for.
            Ok(Err(error @ queue::Error::Unroutable { .. })) => {
                warn!(error = chain(&error), "a callback goes to the spool");
            }
            Ok(Err(error)) => spooled.straight.close(&chain(&error)),
            Err(_) => spooled.straight.close("the broker did not confirm in time"),
        }
        false
    }
}

impl Straight {
    fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn close(&self, why: &str) {
        if self.0.swap(false, Ordering::Relaxed) {
            warn!(error = why, "callbacks go to the spool");
        }
    }

    fn open(&self) {
        if !self.0.swap(true, Ordering::Relaxed) {
            info!("callbacks go to the queue again");
        }
    }
}

/// Of the video, by whichever name its event type has for it; what tells of none stands alone.
fn line(message: &Message) -> Line {
    #[derive(Deserialize)]
    struct About {
        #[serde(rename = "VideoId", alias = "MediaId")]
        id: String,
    }
    let body = message.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&message.body);
    match serde_json::from_slice::<About>(body) {
        Ok(About { id }) if !id.is_empty() => Line::of(id.trim().as_bytes()),
        _ => Line::of(body),
    }
}
