//! One event from start to end: claim the video, gather what the rules ask for, decide, announce, set,
//! record. It never sees a queue, so it cannot acknowledge anything: it returns, and whoever called it
//! settles the message.
//!
//! Whatever step fails or is cut off, running the same event again ends in the same cover with at most
//! one write that changes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use jiff::Timestamp;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::cover::policy::Policies;
use crate::cover::select::{self, Step};
use crate::cover::{
    Case, Current, Decision, Evidence, Intention, Outcome, Policy, Record, Verdict,
};
use crate::error::{Class, Dependency, Failure, Reason, chain};
use crate::event::{self, Event, SnapshotsReady, VideoId};
use crate::inspect::Inspector;
use crate::ledger::{Claim, Key, Lease, Ledger, Owner};
use crate::queue::Message;
use crate::{telemetry, vod};

mod ending;
mod operator;

pub use ending::{Handled, Observer, Report};
pub use operator::Unfinished;

/// Starts of one event that may end without a word before it is suspected of killing its process. Every
/// event that was in flight counts one as well, so suspects are handled one at a time from then on, which
/// parts the one from the others.
const STARTS_BEFORE_SUSPICION: u32 = 3;
/// Starts after which a suspect is taken for the cause.
const STARTS_BEFORE_BLAME: u32 = 10;
/// Videos in a row that VOD does not know, with none between that it knows, after which the key or the
/// region is more likely to be wrong than all of them deleted.
const UNKNOWN_BEFORE_DOUBT: u32 = 20;

/// The reason under which VOD's client says so.
const UNKNOWN_VIDEO: &str = "vod.InvalidVideo.NotFound";
/// The longest wait before a video that another delivery works on is tried again.
const BUSY_AGAIN: Duration = Duration::from_secs(1);

pub struct Worker {
    pub ledger: Arc<dyn Ledger>,
    pub vod: vod::Client,
    pub inspector: Inspector,
    pub policies: Policies,
    /// How long a video is locked. More than one call to VOD with all its retries may take.
    pub lease: Duration,
    /// What must be left of the lease when a write begins: the longest that one call can take.
    pub call: Duration,
    /// Told of every event's end; used by the demo's table.
    pub observer: Option<Observer>,
    /// Held while a suspect is handled.
    pub suspect: tokio::sync::Mutex<()>,
    /// Videos in a row that VOD did not know.
    pub unknown: AtomicU32,
}

impl Worker {
    /// Handles one message. Bounded in time by the lease.
    pub async fn handle(&self, message: &Message) -> Result<Handled, Failure> {
        let began = Instant::now();
        let (kind, result) = match event::parse(&message.body) {
            Ok(Event::Snapshots(ready)) => {
                ("SnapshotComplete".to_owned(), self.snapshots(&ready, message.attempts).await)
            }
            Ok(Event::Nothing { kind, video, why }) => {
                info!(
                    video.id = video.map(String::from),
                    event.r#type = kind,
                    why,
                    "nothing to do"
                );
                (kind, Ok(Handled::Nothing))
            }
            Ok(Event::Other { kind }) => (kind, Ok(Handled::NotOurs)),
            Err(error) => {
                (String::new(), Err(Failure::new(Class::Permanent, error.reason(), error)))
            }
        };
        let outcome = result.as_ref().map_or("failed", Handled::name);
        telemetry::event(&kind, outcome, began.elapsed());
        result.map_err(|failure| self.doubt(failure))
    }

    /// A wrong region or another account's key makes every video unknown, which must not empty the
    /// queue into the dead letters: a long row of unknown videos pauses intake.
    fn doubt(&self, failure: Failure) -> Failure {
        if failure.class != Class::Permanent || failure.reason.as_str() != UNKNOWN_VIDEO {
            return failure;
        }
        let row = self.unknown.fetch_add(1, Ordering::Relaxed) + 1;
        if row <= UNKNOWN_BEFORE_DOUBT {
            return failure;
        }
        let what = format!(
            "VOD knows none of the latest {row} videos; check vod.region and the access key: {}",
            chain(failure.source.as_ref())
        );
        Failure::new(Class::Misconfigured, failure.reason, what).outage_of(Dependency::Vod)
    }

    /// `attempts` is how many at this event failed before.
    async fn snapshots(&self, event: &SnapshotsReady, attempts: u32) -> Result<Handled, Failure> {
        let key = Key {
            video: event.video.clone(),
            event: event.key.clone(),
            cause: event.cause(),
            at: event.at,
        };
        // One owner for each delivery: a broker may deliver a message again while it is handled.
        // `_alone` is held to the end of this function, so that one suspect at a time is handled.
        let (lease, standing, intention, _alone) =
            match self.ledger.claim(&key, Owner(Uuid::new_v4()), self.lease).await? {
                Claim::Done(_) => return Ok(Handled::Duplicate),
                Claim::Busy { retry_after } => return Err(busy(&key.video, retry_after)),
                Claim::Acquired { lease, starts, .. } if starts > STARTS_BEFORE_BLAME => {
                    self.release(lease).await;
                    return Err(crashes(starts));
                }
                Claim::Acquired { lease, standing, intention, starts } => {
                    let suspected = starts > STARTS_BEFORE_SUSPICION;
                    let turn = match suspected {
                        true => self.suspect.lock().map(Some).boxed(),
                        false => std::future::ready(None).boxed(),
                    };
                    match tokio::time::timeout(self.lease / 2, turn).await {
                        Ok(alone) => (lease, standing, intention, alone),
                        // Not released, which would clear it of suspicion: the lease ends by itself.
                        Err(_) => return Err(suspect(&key.video)),
                    }
                }
            };
        let policy = self.policies.of(event);
        let case = Case {
            candidates: &event.candidates,
            automatic: event.automatic,
            event_cover: event.event_cover.as_ref(),
            event_time: event.at,
            standing: &standing,
            intention: intention.as_ref(),
            attempts,
        };
        let deciding = self.decide(&event.video, policy, &case);
        let decision = match tokio::time::timeout_at(lease.deadline.into(), deciding).await {
            Ok(Ok(decision)) => decision,
            Ok(Err(failure)) => {
                self.release(lease).await;
                return Err(failure);
            }
            Err(_) => {
                self.release(lease).await;
                return Err(too_slow(&event.video, self.lease));
            }
        };
        self.carry_out(event, policy, decision, lease).await
    }

    async fn carry_out(
        &self,
        event: &SnapshotsReady,
        policy: &Policy,
        decision: Decision,
        lease: Lease,
    ) -> Result<Handled, Failure> {
        let (handled, lease, outcome) = match &decision.verdict {
            Verdict::Set { cover, rule } => {
                let (cover, rule) = (cover.clone(), *rule);
                let event = event.key.clone();
                let intention = Intention { cover: cover.clone(), rule: Some(rule), event };
                let lease = self.write(&intention, lease).await?;
                (Handled::Set, lease, Outcome::Set { cover, rule })
            }
            Verdict::IsSet { cover, rule } => {
                (Handled::WasSet, lease, Outcome::Set { cover: cover.clone(), rule: *rule })
            }
            Verdict::Keep(why) => {
                (Handled::Kept(*why), lease, Outcome::Kept { why: why.to_string() })
            }
            Verdict::NoCover => (Handled::NoCover, lease, Outcome::NoCover),
        };
        let record = Record {
            outcome,
            event: event.key.clone(),
            event_time: event.at,
            decided_at: Timestamp::now(),
        };
        self.ledger.complete(lease, &record).await?;
        self.report(event, policy, decision, handled == Handled::Set);
        Ok(handled)
    }

    /// Finds out what the rules need until they decide.
    async fn decide(
        &self,
        video: &VideoId,
        policy: &Policy,
        case: &Case<'_>,
    ) -> Result<Decision, Failure> {
        let mut seen = Evidence::default();
        loop {
            match select::next(policy, case, &seen) {
                Step::AskIntelligent => self.ask_intelligent(video, &mut seen).await?,
                Step::AskCurrent => seen.current = Some(self.current(video).await?),
                Step::Inspect(wanted) => {
                    let findings = self.inspector.look(&wanted).await;
                    let numbers = wanted.iter().map(|candidate| candidate.number);
                    seen.pictures = Some(numbers.zip(findings).collect());
                }
                Step::TryAgain(why) => return Err(self.inspector.blame(unseen(why))),
                Step::Decided(decision) => return Ok(decision),
            }
        }
    }

    async fn ask_intelligent(&self, video: &VideoId, seen: &mut Evidence) -> Result<(), Failure> {
        let images = match self.vod.list_ai_image_info(video).await {
            Ok(images) => images.iter().filter_map(vod::AiImage::intelligent).collect(),
            // Smart thumbnails must be applied for and exist in two regions only, and VOD does not say
            // how it refuses elsewhere. The next rule's cover is better than none; `check` tells the
            // operator.
            Err(error) if error.is_operation_not_offered() => {
                warn!(video.id = %video, error = chain(&error), "no smart thumbnails for this account");
                // Unless VOD refuses everything, in which case this fails.
                seen.current = Some(self.current(video).await?);
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        seen.intelligent = Some(images);
        Ok(())
    }

    async fn current(&self, video: &VideoId) -> Result<Current, Failure> {
        let info = self.vod.get_video_info(video).await?;
        self.unknown.store(0, Ordering::Relaxed);
        Ok(info.current())
    }

    /// Announces the write, checks that there is time for it, and makes it. Whatever fails, the
    /// intention stays on record, and the next attempt looks at the cover before it writes.
    async fn write(&self, intention: &Intention, lease: Lease) -> Result<Lease, Failure> {
        let lease = self.ledger.intend(lease, intention, self.lease).await?;
        let left = lease.deadline.saturating_duration_since(Instant::now());
        let video = &lease.key.video.clone();
        let writing = self.vod.update_video_info(video, &intention.cover);
        let written = match left < self.call {
            true => Err(too_slow(video, self.lease)),
            false => match tokio::time::timeout_at(lease.deadline.into(), writing).await {
                Ok(Ok(())) => {
                    self.unknown.store(0, Ordering::Relaxed);
                    Ok(())
                }
                Ok(Err(error)) => Err(Failure::from(error)),
                Err(_) => Err(too_slow(video, self.lease)),
            },
        };
        match written {
            Ok(()) => Ok(lease),
            Err(failure) => {
                self.release(lease).await;
                Err(failure)
            }
        }
    }

    async fn release(&self, lease: Lease) {
        let video = lease.key.video.clone();
        if let Err(error) = self.ledger.release(lease).await {
            // It ends by itself; until then other events of this video wait.
            debug!(video.id = %video, error = chain(&error), "the lease was not released");
        }
    }

    fn report(&self, event: &SnapshotsReady, policy: &Policy, decision: Decision, wrote: bool) {
        let trace = decision.trace.join("; ");
        match &decision.verdict {
            Verdict::Set { cover, rule } | Verdict::IsSet { cover, rule } => {
                telemetry::cover_set(rule.to_string());
                info!(video.id = %event.video, %rule, %cover, wrote, trace, "cover set");
            }
            Verdict::Keep(why) => info!(video.id = %event.video, %why, trace, "cover kept"),
            Verdict::NoCover => warn!(video.id = %event.video, trace, "no rule yields a cover"),
        }
        if let Some(observer) = &self.observer {
            observer(&Report {
                video: event.video.clone(),
                event: event.key.clone(),
                policy: policy.name.clone(),
                decision,
                wrote,
            });
        }
    }
}

/// The other delivery is usually done at once; only if its process died does the whole lease pass.
fn busy(video: &VideoId, retry_after: Duration) -> Failure {
    let after = retry_after.min(BUSY_AGAIN);
    let what = format!("another event of video {video} is being handled");
    Failure::new(Class::Deferred { after }, Reason::new("ledger.busy"), what)
}

fn suspect(video: &VideoId) -> Failure {
    let what = format!("handling video {video} may crash the process, and so may another's");
    Failure::new(Class::Deferred { after: BUSY_AGAIN }, Reason::new("event.suspect"), what)
}

fn unseen(why: String) -> Failure {
    Failure::new(Class::Transient, Reason::new("picture.unreachable"), why)
}

fn crashes(starts: u32) -> Failure {
    let what = format!("handling it began {starts} times in a row and never ended");
    Failure::new(Class::Permanent, Reason::new("event.crashes"), what)
}

fn too_slow(video: &VideoId, lease: Duration) -> Failure {
    let what = format!("handling video {video} took longer than its lease of {lease:?}");
    Failure::new(Class::Transient, Reason::new("worker.too-slow"), what)
}
