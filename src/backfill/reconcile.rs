//! The same walk on a schedule inside `run`: it finds videos whose callback VOD dropped. The workers of a
//! fleet agree through the ledger that one of them does it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Found, Walk, Watch};
use crate::error::chain;
use crate::vod::{Filter, VideoInfo};

/// When the last walk of the fleet began.
const BOOKMARK: &str = "reconcile";

/// The `[reconcile]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconcile {
    /// How often; zero is never.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub every: Duration,
    /// How old the oldest videos are that are looked at.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
    /// How long a video is left to its event.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub grace: Duration,
}

/// Walks every so often, until `stop`.
pub async fn reconcile(settings: &Reconcile, mut walk: Walk, stop: CancellationToken) {
    // Looked at more often than walked, since another worker may have done it, or died of it.
    let look = (settings.every / 10).clamp(Duration::from_millis(100), Duration::from_secs(60));
    while stop.run_until_cancelled(tokio::time::sleep(look)).await.is_some() {
        let now = Timestamp::now();
        match walk.ledger.bookmark(BOOKMARK).await {
            Ok(last) if is_recent(last.as_deref(), now, settings.every) => continue,
            Ok(_) => {}
            Err(error) => {
                warn!(error = chain(&error), "no walk: the ledger does not answer");
                continue;
            }
        }
        // Before the walk, so that nobody else begins one; if both do, the ledger parts them.
        if walk.ledger.set_bookmark(BOOKMARK, Some(&now.to_string())).await.is_err() {
            continue;
        }
        walk.filter = Filter {
            since: Some(before(now, settings.window)),
            until: Some(before(now, settings.grace)),
            ..Filter::default()
        };
        match walk.run(&stop, &mut Quiet).await {
            Ok(summary) => summary.log(),
            Err((summary, stopped)) => {
                summary.log();
                stopped.log();
            }
        }
    }
}

fn is_recent(last: Option<&str>, now: Timestamp, every: Duration) -> bool {
    let last: Option<Timestamp> = last.and_then(|text| text.parse().ok());
    last.is_some_and(|last| before(now, every) < last)
}

fn before(time: Timestamp, length: Duration) -> Timestamp {
    let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
    time.saturating_sub(length).unwrap_or(Timestamp::MIN)
}

struct Quiet;

impl Watch for Quiet {
    fn page(&mut self, _: u64) {}
    fn video(&mut self, _: &VideoInfo, _: &Found) {}
}
