//! The operator's own choice of one video's cover, which asks nobody whose the present one is. It goes
//! through the ledger like every write, so that it never meets one of an event, and is recorded in such a
//! way that no later event replaces it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::info;
use uuid::Uuid;

use super::acts::NotWritten;
use super::{Worker, busy, unseen};
use crate::cover::select::{self, Step};
use crate::cover::{
    By, Case, CoverUrl, Decision, Evidence, JobState, Memory, Outcome, Record, Rule, Witness, Write,
};
use crate::error::Failure;
use crate::event::{EventKey, VideoId};
use crate::ledger::{Claim, Key, Lease, Owner};
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
        let (policy, memory) = (self.policies.only(rule), Memory::default());
        let case = Case {
            candidates: &candidates,
            automatic: true,
            event_cover: None,
            event_time: None,
            memory: &memory,
            // Nothing comes later: what cannot be seen now is not waited for.
            attempts: u32::MAX,
            may_come: false,
        };
        let mut seen = Evidence::default();
        loop {
            match select::next(&policy, &case, &seen) {
                Step::AskIntelligent => {
                    let images = self.vod.list_ai_image_info(video).await?;
                    let images = images.iter().filter_map(vod::AiImage::intelligent);
                    seen.intelligent = Some(images.collect());
                }
                Step::AskCurrent => seen.current = Some(self.current(video).await?),
                Step::Inspect(wanted) => {
                    let findings = self.inspector.look(&wanted).await;
                    let numbers = wanted.iter().map(|candidate| candidate.number);
                    seen.pictures = Some(numbers.zip(findings).collect());
                }
                Step::TryAgain(why) => return Err(self.inspector.blame(unseen(why))),
                // Nothing is waited for.
                Step::Submit(_) | Step::AskJob(_) => seen.job = Some(JobState::Running),
                Step::Decided(decision) => return Ok(decision),
            }
        }
    }

    /// Makes this the video's cover, and remembers it as the operator's choice. Waits for an event that
    /// has the video. Cut off at any point, what was written is still taken for the operator's choice.
    pub async fn choose(&self, video: &VideoId, cover: &CoverUrl) -> Result<(), Unfinished> {
        let event = EventKey(format!("{CAUSE}.{}", Uuid::new_v4()));
        let key = Key { video: video.clone(), event, cause: CAUSE.to_owned(), at: None };
        let (lease, mut memory) = self.claim_patiently(&key).await.map_err(Unfinished::NotSet)?;
        // What it replaces is known then, and whose it was does not matter.
        let before = match self.current(video).await {
            Ok(current) => current.text(),
            Err(failure) => {
                self.release(lease, None).await;
                return Err(Unfinished::NotSet(failure));
            }
        };
        memory.announce(Write {
            cover: cover.clone(),
            by: By::Operator,
            event: key.event.clone(),
            before,
            over: None,
            at: Timestamp::now(),
            since: None,
            made: false,
            echoed: false,
        });
        let remembered = self.ledger.remember(lease, &memory, self.lease).await;
        let lease = remembered.map_err(|error| Unfinished::NotSet(error.into()))?;
        if let Err(NotWritten { failure, certain }) = self.write(video, cover, &lease).await {
            if certain {
                memory.withdraw();
            }
            self.release(lease, Some(&memory)).await;
            return Err(match certain {
                true => Unfinished::NotSet(failure),
                false => Unfinished::Uncertain(failure),
            });
        }
        memory.confirm();
        self.keep(lease, memory, Outcome::Chosen { cover: cover.clone() }).await
    }

    /// Remembers that the cover was given by whoever brought the video into VOD, before any event can
    /// tell.
    pub async fn given(&self, video: &VideoId, cover: &CoverUrl) -> Result<(), Unfinished> {
        let event = EventKey(format!("{CAUSE}.{}", Uuid::new_v4()));
        let key = Key { video: video.clone(), event, cause: CAUSE.to_owned(), at: None };
        let (lease, memory) = self.claim_patiently(&key).await.map_err(Unfinished::NotSet)?;
        let outcome = Outcome::Manual { cover: cover.to_string(), by: Witness::MediaCommand };
        self.keep(lease, memory, outcome).await
    }

    /// Records what the operator did as the video's standing.
    async fn keep(
        &self,
        lease: Lease,
        mut memory: Memory,
        outcome: Outcome,
    ) -> Result<(), Unfinished> {
        let event = lease.key.event.clone();
        let decided_at = Timestamp::now();
        let (event_time, follow_up, rules) = (None, None, None);
        let record = Record { outcome, event, event_time, decided_at, follow_up, rules };
        let what = match &record.outcome {
            Outcome::Chosen { cover } => format!("the operator chose {cover}"),
            Outcome::Manual { cover, by } => format!("somebody chose {cover}: {by}"),
            _ => String::new(),
        };
        memory.end(&record, &what);
        let recorded = self.ledger.complete(lease, &record, &memory).await;
        recorded.map_err(|error| Unfinished::Unrecorded(error.into()))
    }

    async fn claim_patiently(&self, key: &Key) -> Result<(Lease, Memory), Failure> {
        let (owner, until) = (Owner::another(), Instant::now() + self.lease * LEASES);
        let mut told = false;
        loop {
            match self.ledger.claim(key, owner, self.lease).await? {
                Claim::Acquired { lease, memory, .. } => return Ok((lease, memory)),
                // Only if a clock or the ledger is badly wrong: the key is new, and has no time.
                Claim::Done(_) | Claim::Outdated => return Err(busy(&key.video, ASK_AGAIN)),
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
