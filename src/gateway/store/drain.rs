//! Takes what is on the spool to the queue: oldest first, many at once, those of one video one by one. What
//! was confirmed and not yet removed when the process ends is published again by the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Spooled;
use crate::error::chain;
use crate::gateway::spool::{Gone, Line, Row, Spool};
use crate::queue::{Error, Queue};
use crate::telemetry;

/// Rows that are taken at once while the broker works.
const PAGE: usize = 512;
/// Rows by which it is found out whether it works again: as many as [`crate::queue::rabbit`] needs to see a
/// connection that has died in silence.
const PROBES: usize = 4;
/// Messages under way at once; the rest of the queue's channels is for callbacks.
const AT_ONCE: usize = 24;
/// Between two tries while the broker, or the file, does not work.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two tries at what the broker has no queue for.
const LONG_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Drain<'a> {
    queue: &'a dyn Queue,
    spooled: &'a Spooled,
    spool: &'a Spool,
    stop: CancellationToken,
}

/// How a walk through the spool ended.
enum Walk {
    Emptied,
    Interrupted,
    /// At its end, with these kinds left, which no queue is bound for.
    Unroutable(BTreeSet<String>),
}

/// What became of some rows.
#[derive(Default)]
struct Sent {
    gone: Vec<Gone>,
    unroutable: BTreeSet<String>,
    failed: bool,
    slowest: Duration,
}

impl<'a> Drain<'a> {
    pub fn new(queue: &'a dyn Queue, spooled: &'a Spooled) -> Self {
        let stop = CancellationToken::new();
        Self { queue, spooled, spool: spooled.spool.as_ref(), stop }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        self.stop = stop.clone();
        // Cancelled between steps only, so that no more than necessary is published twice.
        while !stop.is_cancelled() {
            if stop.run_until_cancelled(self.spool.filled()).await.is_none() {
                return;
            }
            let pause = match self.walk().await {
                Walk::Emptied => continue,
                Walk::Interrupted => PAUSE,
                Walk::Unroutable(kinds) => {
                    warn!(
                        ?kinds,
                        "no queue is bound for events on the spool; run `vod-cover declare`"
                    );
                    LONG_PAUSE
                }
            };
            let _ = stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    async fn walk(&self) -> Walk {
        let (mut after, mut unroutable) = (0, BTreeSet::new());
        let mut moved = 0;
        while !self.stop.is_cancelled() {
            let count = if self.spooled.straight.is_open() { PAGE } else { PROBES };
            let without = unroutable.iter().cloned().collect();
            let page = match self.spool.page(after, without, count).await {
                Ok(page) => page,
                Err(trouble) => {
                    warn!(error = chain(&trouble), "the spool cannot be read");
                    return Walk::Interrupted;
                }
            };
            let Some(last) = page.last else {
                if moved > 0 {
                    info!(events = moved, "the spool has been taken to the queue");
                }
                return match unroutable.is_empty() {
                    true => Walk::Emptied,
                    false => Walk::Unroutable(unroutable),
                };
            };
            after = last;
            let mut sent = self.send(page.rows).await;
            moved += sent.gone.len();
            telemetry::unspooled(sent.gone.len());
            let any = !sent.gone.is_empty();
            self.remove(sent.gone).await;
            unroutable.append(&mut sent.unroutable);
            if sent.failed {
                return Walk::Interrupted;
            }
            // A broker that is slower than this would get many callbacks twice: late, and from here.
            if any && sent.slowest < self.spooled.after {
                self.spooled.straight.open();
            }
        }
        Walk::Interrupted
    }

    async fn send(&self, rows: Vec<Row>) -> Sent {
        let mut lines: BTreeMap<Line, Vec<Row>> = BTreeMap::new();
        for row in rows {
            lines.entry(row.line).or_default().push(row);
        }
        let sent = Mutex::new(Sent::default());
        let failed = AtomicBool::new(false);
        let lines = stream::iter(lines.into_values());
        lines.for_each_concurrent(AT_ONCE, |rows| self.send_line(rows, &sent, &failed)).await;
        let mut sent = sent.into_inner().unwrap_or_else(PoisonError::into_inner);
        sent.failed = failed.into_inner();
        sent
    }

    async fn send_line(&self, rows: Vec<Row>, sent: &Mutex<Sent>, failed: &AtomicBool) {
        for row in rows {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            let began = Instant::now();
            let published = self.queue.publish(row.message.clone()).await;
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            match published {
                Ok(()) => {
                    sent.slowest = sent.slowest.max(began.elapsed());
                    sent.gone.push(row.into());
                }
                // It must not hold up others of its video, which perhaps a queue is bound for.
                Err(Error::Unroutable { kind, .. }) => drop(sent.unroutable.insert(kind)),
                Err(error) => {
                    debug!(error = chain(&error), "the spool waits");
                    failed.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Until it works: what stays would be published again and again.
    async fn remove(&self, gone: Vec<Gone>) {
        while !gone.is_empty() {
            match self.spool.remove(gone.clone()).await {
                Ok(()) => return,
                Err(trouble) => {
                    warn!(error = chain(&trouble), "the spool keeps what the queue has")
                }
            }
            if self.stop.run_until_cancelled(sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }
}
