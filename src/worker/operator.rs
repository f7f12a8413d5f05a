//! The operator's own choice of one video's cover, which asks nobody whose the present one is. It goes
//! through the ledger like every write, so that it never meets one of an event, and is recorded in such a
//! way that no later event replaces it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::info;
use uuid::Uuid;

use super::{Worker, busy};
use crate::cover::{Case, CoverUrl, Decision, Intention, Outcome, Record, Rule, Standing};
use crate::error::Failure;
use crate::event::{EventKey, VideoId};
use crate::ledger::{self, Claim, Key, Lease, Owner};
use crate::vod;

/// The cause of what an operator does, which no event shares.
const CAUSE: &str = "operator";
/// How often a video that an event has is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How much longer than a lease is waited for it: an event's lease is renewed once, before it writes.
const LEASES: u32 = 2;

/// How far a choice came that was not carried out to its end.
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    #[error("the cover was not set: {0}")]
    NotSet(Failure),
    #[error("the cover may or may not have been set: {0}")]
    Uncertain(Failure),
    #[error("the cover was set, but could not be recorded, so an event may replace it: {0}")]
    Unrecorded(Failure),
}

impl Worker {
    /// What one rule chooses now, out of the video's cover snapshots, whatever the current cover is. A
    /// rule that goes by position takes the picture unseen: the operator has eyes.
    pub async fn by_rule(&self, video: &VideoId, rule: Rule) -> Result<Decision, Failure> {
        let candidates = match rule {
            Rule::Intelligent => Vec::new(),
            _ => self.vod.cover_snapshots(video).await?,
        };
        let case = Case {
            candidates: &candidates,
            automatic: true,
            event_cover: None,
            event_time: None,
            standing: &Standing::Unknown,
            intention: None,
            // Nothing comes later: what cannot be seen now is not waited for.
            attempts: u32::MAX,
        };
        self.decide(video, &self.policies.only(rule), &case).await
    }

    /// Makes this the video's cover, and remembers it as the operator's choice. Waits for an event that
    /// has the video. Cut off at any point, what was written is still taken for the operator's choice.
    pub async fn choose(&self, video: &VideoId, cover: &CoverUrl) -> Result<(), Unfinished> {
        let event = EventKey(format!("{CAUSE}.{}", Uuid::new_v4()));
        let key = Key { video: video.clone(), event, cause: CAUSE.to_owned(), at: None };
        let lease = self.claim_patiently(&key).await.map_err(Unfinished::NotSet)?;
        let intention = Intention { cover: cover.clone(), rule: None, event: key.event.clone() };
        let lease = self.write(&intention, lease).await.map_err(unfinished)?;
        let record = Record {
            outcome: Outcome::Chosen { cover: cover.clone() },
            event: key.event,
            event_time: None,
            decided_at: Timestamp::now(),
        };
        let recorded = self.ledger.complete(lease, &record).await;
        recorded.map_err(|error| Unfinished::Unrecorded(error.into()))
    }

    async fn claim_patiently(&self, key: &Key) -> Result<Lease, Failure> {
        let (owner, until) = (Owner(Uuid::new_v4()), Instant::now() + self.lease * LEASES);
        let mut told = false;
        loop {
            match self.ledger.claim(key, owner, self.lease).await? {
                Claim::Acquired { lease, .. } => return Ok(lease),
                // Only if a clock or the ledger is badly wrong: the key is new, and has no time.
                Claim::Done(_) => return Err(busy(&key.video, ASK_AGAIN)),
                Claim::Busy { retry_after } if Instant::now() > until => {
                    return Err(busy(&key.video, retry_after));
                }
                Claim::Busy { retry_after } => {
                    if !told {
                        info!(video.id = %key.video, "waiting for an event of this video");
                        told = true;
                    }
                    tokio::time::sleep(retry_after.min(ASK_AGAIN)).await;
                }
            }
        }
    }
}

/// A write whose failure leaves no doubt is one that VOD refused, or that was never announced.
fn unfinished(failure: Failure) -> Unfinished {
    let vod = failure.source.downcast_ref::<vod::Error>();
    match vod.is_some_and(|error| !error.ambiguous()) || failure.source.is::<ledger::Error>() {
        true => Unfinished::NotSet(failure),
        false => Unfinished::Uncertain(failure),
    }
}
