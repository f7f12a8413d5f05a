//! Walks through an account's videos, oldest first, and sends those whose cover nobody has decided the way
//! that an event takes them: videos from before vod-cover, and those whose event VOD has dropped. It
//! decides nothing itself, and is slow on purpose: live events come first.
//!
//! Cut off at any point, the next walk goes on where the last whole page ended; what was handled of the
//! page in work is recognised by the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cover::CurrentCover;
use crate::error::{Class, Failure, chain};
use crate::event::VideoId;
use crate::ledger::Ledger;
use crate::vod::{Client, Filter, VideoInfo};
use crate::worker::{Handled, Newest};
use crate::{telemetry, vod};

mod reconcile;

pub use reconcile::{Reconcile, reconcile};

/// The `[backfill]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The part of the account's quota that a walk may use, at most.
    pub quota_share: f64,
    /// Videos that are worked on at once.
    pub concurrency: usize,
}

/// Delays before further attempts at one video, for failures that may be its own.
const AGAIN: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
/// Times that a video is put off without being to blame.
const MOST_DEFERRALS: u32 = 60;
/// Statuses in which VOD lists snapshots.
const READY: [&str; 4] = ["UploadSucc", "Normal", "Checking", "Blocked"];

pub struct Walk {
    pub worker: Newest,
    /// Whose calls leave the quota to live events.
    pub client: Client,
    pub ledger: Arc<dyn Ledger>,
    pub filter: Filter,
    pub concurrency: usize,
    /// Videos a second at the most, of those whose cover nobody has decided; from 0.001.
    pub rate: Option<f64>,
    /// Says which videos would be handled, and changes nothing.
    pub dry_run: bool,
    /// Under which name it is remembered how far the walk has come; `None` remembers nothing.
    pub bookmark: Option<String>,
}

/// What became of one video.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It has a cover that is not VOD's default: somebody's, or ours.
    Covered,
    /// Its cover was decided before.
    Decided,
    /// It is not ready for snapshots.
    NotReady,
    /// Nobody has decided, and this was a dry run.
    Undecided,
    Handled(Handled),
    Failed(String),
}

impl Found {
    /// A metric label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::Decided => "decided",
            Self::NotReady => "not_ready",
            Self::Undecided => "undecided",
            Self::Handled(Handled::Nothing) => "no_snapshots",
            Self::Handled(handled) => handled.name(),
            Self::Failed(_) => "failed",
        }
    }
}

/// What a walk came to, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Videos of all pages so far.
    pub seen: u64,
    /// By [`Found::name`].
    pub found: BTreeMap<&'static str, u64>,
    /// Videos that VOD's list had and that could not be read.
    pub unreadable: u64,
    /// Where the walk went on, if it had been cut off.
    pub resumed: Option<Timestamp>,
}

/// Told of what happens on the way.
pub trait Watch {
    /// A page has come; `total` is roughly how many videos there are from here on, this page included.
    fn page(&mut self, total: u64);
    fn video(&mut self, video: &VideoInfo, found: &Found);
}

/// Why a walk ended early; what was done is done, and the next walk goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error("listing the account's videos")]
    List(#[source] vod::Error),
    #[error("the walk cannot go on: {0}")]
    Outage(Failure),
    #[error("the walk was stopped")]
    Asked,
}

impl Walk {
    pub async fn run(
        &self,
        stop: &CancellationToken,
        watch: &mut (dyn Watch + Send),
    ) -> Result<Summary, (Summary, Stopped)> {
        let mut summary = Summary::default();
        match self.walk(stop, watch, &mut summary).await {
            Ok(()) => Ok(summary),
            Err(stopped) => Err((summary, stopped)),
        }
    }

    async fn walk(
        &self,
        stop: &CancellationToken,
        watch: &mut (dyn Watch + Send),
        summary: &mut Summary,
    ) -> Result<(), Stopped> {
        let mut filter = self.filter.clone();
        if let Some(reached) = self.reached().await? {
            // Inclusive: several videos may be of that second.
            filter.since = filter.since.max(Some(reached));
            summary.resumed = Some(reached);
        }
        let (mut position, pace) = (None, Mutex::new(Instant::now()));
        loop {
            let page = self.client.list_videos(&filter, position).await.map_err(Stopped::List)?;
            summary.unreadable += page.unreadable as u64;
            watch.page(page.total);
            let last = page.videos.iter().filter_map(|video| video.created).max();
            let handled = stream::iter(page.videos)
                .map(|video| async {
                    let found = self.one(&video, &pace, stop).await;
                    (video, found)
                })
                .buffer_unordered(self.concurrency.max(1));
            tokio::pin!(handled);
            let mut stopped = None;
            while let Some((video, found)) = handled.next().await {
                match found {
                    Ok(found) => {
                        summary.seen += 1;
                        *summary.found.entry(found.name()).or_default() += 1;
                        telemetry::backfilled(found.name());
                        watch.video(&video, &found);
                    }
                    // The others of the page that are in work come to their own end.
                    Err(why) => stopped = stopped.or(Some(why)),
                }
            }
            if let Some(why) = stopped {
                return Err(why);
            }
            position = page.next;
            if position.is_none() {
                return self.remember(None).await;
            }
            self.remember(last).await?;
        }
    }

    async fn reached(&self) -> Result<Option<Timestamp>, Stopped> {
        let Some(name) = self.bookmark.as_deref().filter(|_| !self.dry_run) else {
            return Ok(None);
        };
        let text = self.ledger.bookmark(name).await;
        let text = text.map_err(|error| Stopped::Outage(error.into()))?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    async fn remember(&self, reached: Option<Timestamp>) -> Result<(), Stopped> {
        let Some(name) = self.bookmark.as_deref().filter(|_| !self.dry_run) else {
            return Ok(());
        };
        let text = reached.map(|reached| reached.to_string());
        let stored = self.ledger.set_bookmark(name, text.as_deref()).await;
        stored.map_err(|error| Stopped::Outage(error.into()))
    }

    async fn one(
        &self,
        video: &VideoInfo,
        pace: &Mutex<Instant>,
        stop: &CancellationToken,
    ) -> Result<Found, Stopped> {
        if stop.is_cancelled() {
            return Err(Stopped::Asked);
        }
        if !video.status.as_deref().is_none_or(|status| READY.contains(&status)) {
            return Ok(Found::NotReady);
        }
        if !is_default(video) && !self.is_default_after_all(video).await? {
            return Ok(Found::Covered);
        }
        match self.worker.now().is_decided(&video.video).await {
            Ok(true) => return Ok(Found::Decided),
            Ok(false) if self.dry_run => return Ok(Found::Undecided),
            Ok(false) => {}
            Err(failure) => return Err(Stopped::Outage(failure)),
        }
        if let Some(rate) = self.rate {
            let turn = {
                let mut next = pace.lock().await;
                let turn = next.max(Instant::now());
                *next = turn + Duration::from_secs_f64(1.0 / rate.max(0.001));
                turn
            };
            // A slow rate must not hold up the end.
            if stop.run_until_cancelled(sleep_until(turn)).await.is_none() {
                return Err(Stopped::Asked);
            }
        }
        self.adopt(&video.video, stop).await
    }

    /// Whether a cover that cannot be told from somebody's, because the list names no snapshots of the
    /// video, is VOD's own. The list comes from an index; the video itself may know them.
    async fn is_default_after_all(&self, video: &VideoInfo) -> Result<bool, Stopped> {
        if !video.snapshots.is_empty() {
            return Ok(false);
        }
        match self.client.look_up(&video.video).await {
            Ok(info) => Ok(is_default(&info)),
            Err(error) if error.class() == Class::Permanent => Ok(false),
            Err(error) => Err(Stopped::List(error)),
        }
    }

    async fn adopt(&self, video: &VideoId, stop: &CancellationToken) -> Result<Found, Stopped> {
        let (mut attempts, mut deferrals) = (0, 0);
        loop {
            let failure = match self.worker.now().adopt(video, attempts).await {
                Ok(done) => return Ok(Found::Handled(done.handled)),
                Err(failure) => failure,
            };
            let wait = match failure.class {
                Class::Permanent => return Ok(failed(video, &failure)),
                Class::Misconfigured => return Err(Stopped::Outage(failure)),
                Class::Deferred { after } if deferrals < MOST_DEFERRALS => {
                    deferrals += 1;
                    after
                }
                Class::Deferred { .. } => return Ok(failed(video, &failure)),
                Class::Transient => match AGAIN.get(attempts as usize) {
                    Some(wait) => {
                        attempts += 1;
                        *wait
                    }
                    // Every video would fare alike.
                    None if failure.outage.is_some() => return Err(Stopped::Outage(failure)),
                    None => return Ok(failed(video, &failure)),
                },
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = stop.cancelled() => return Err(Stopped::Asked),
            }
        }
    }
}

/// Whether nobody has chosen a cover, as far as the list tells: there is none, or it is the one that VOD
/// takes by itself. The worker looks again before it writes.
fn is_default(video: &VideoInfo) -> bool {
    let current = video.current();
    match current.cover {
        CurrentCover::None => true,
        CurrentCover::Is(cover) => {
            current.middle.is_some_and(|default| default.path() == cover.path())
        }
        CurrentCover::Odd(_) => false,
    }
}

fn failed(video: &VideoId, failure: &Failure) -> Found {
    warn!(video.id = %video, error = %failure, "the walk leaves a video behind");
    Found::Failed(failure.to_string())
}

impl Summary {
    pub fn failed(&self) -> u64 {
        self.found.get("failed").copied().unwrap_or_default()
    }

    fn log(&self) {
        info!(seen = self.seen, found = ?self.found, unreadable = self.unreadable, "walked");
    }
}

impl Stopped {
    fn log(&self) {
        warn!(error = chain(self), "the walk ended early; the next one goes on from there");
    }
}
