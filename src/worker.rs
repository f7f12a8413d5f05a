//! One event from start to end: claim the video, do what [`cover::course`](crate::cover::course) says
//! until it ends, record. It never sees a queue, so it cannot acknowledge anything: it returns, and
//! whoever called it settles the message.
//!
//! Whatever step fails or is cut off, running the same event again ends in the same cover with at most
//! one write that changes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::MutexGuard;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::cover::course::{Act, Course, End, Task};
use crate::cover::policy::{NeedsFacts, Ownership, Policies};
use crate::cover::select::settled;
use crate::cover::{Evidence, Memory, Outcome, Policy, Turn, Verdict};
use crate::error::{Class, Dependency, Failure, Reason, chain};
use crate::event::{self, CoverChanged, Event, EventKey, Gone, Pulled, SnapshotsReady, VideoId};
use crate::inspect::Inspector;
use crate::ledger::{Claim, Key, Lease, Ledger, Owner};
use crate::queue::Message;
use crate::{telemetry, vod};

mod acts;
mod adoption;
mod ending;
mod foresight;
mod newest;
mod operator;

pub use ending::{Done, Handled, Observer, Report};
pub use newest::Newest;
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
/// Times that somebody's change of a cover is put off, for our own write's event to come first, and how
/// long each time. VOD gives an event up after three seconds.
const PATIENCE: u32 = 3;
const ECHO_AGAIN: Duration = Duration::from_secs(20);
/// Looks for a late smart thumbnail come after 1, 3, 7, ... of so many parts of the time that it has.
const PARTS: u32 = 64;

/// The reason under which VOD's client says so.
const UNKNOWN_VIDEO: &str = "vod.InvalidVideo.NotFound";
/// The longest wait before a video that another delivery works on is tried again.
const BUSY_AGAIN: Duration = Duration::from_secs(1);

pub struct Worker {
    pub ledger: Arc<dyn Ledger>,
    pub vod: vod::Client,
    pub inspector: Inspector,
    pub policies: Policies,
    pub ownership: Ownership,
    /// How long a video is locked. More than one call to VOD with all its retries may take.
    pub lease: Duration,
    /// What must be left of the lease when a write begins: the longest that one call can take.
    pub call: Duration,
    /// Whether late smart thumbnails may be waited for: whoever takes the events has to bring the
    /// messages back that take their place.
    pub may_wait: bool,
    /// Told of every decision.
    pub observer: Option<Observer>,
    /// Held while a suspect is handled.
    pub suspect: Arc<tokio::sync::Mutex<()>>,
    /// Videos in a row that VOD did not know.
    pub unknown: Arc<AtomicU32>,
}

/// What a cover is chosen from.
struct Snapshots<'a> {
    ready: &'a SnapshotsReady,
    turn: Option<Turn>,
    /// Attempts that failed before.
    attempts: u32,
}

/// A video that is ours to work on.
struct Held<'a> {
    lease: Lease,
    memory: Memory,
    /// Held to the end, so that one suspect at a time is handled.
    _alone: Option<MutexGuard<'a, ()>>,
}

/// What came of a claim.
#[expect(clippy::large_enum_variant, reason = "one for each event, and gone at once")]
enum Claimed<'a> {
    Held(Held<'a>),
    /// It was dealt with before, with what has to follow from it.
    Before(Option<Turn>),
}

impl Worker {
    /// Handles one message. Bounded in time by the lease.
    pub async fn handle(&self, message: &Message) -> Result<Done, Failure> {
        let began = Instant::now();
        let (kind, result) = match event::parse(&message.body) {
            Ok(Event::Snapshots(ready)) => {
                let snapshots = Snapshots { ready: &ready, turn: None, attempts: message.attempts };
                ("SnapshotComplete".to_owned(), self.choose_for(snapshots, Some(message)).await)
            }
            // Boxed, so that no event carries the room for all of these along.
            Ok(Event::FollowUp(again)) => {
                let (ready, turn) = (&again.ready, Some(again.turn));
                let snapshots = Snapshots { ready, turn, attempts: message.attempts };
                let chosen = Box::pin(self.choose_for(snapshots, Some(message))).await;
                (event::FOLLOW_UP.to_owned(), chosen)
            }
            Ok(Event::CoverChanged(changed)) => {
                let judged = Box::pin(self.judge(&changed, message.deferrals < PATIENCE)).await;
                ("MediaBaseChangeComplete".to_owned(), judged)
            }
            Ok(Event::Pulled(pulled)) => {
                ("UploadByURLComplete".to_owned(), Box::pin(self.pulled(&pulled)).await)
            }
            Ok(Event::Deleted(gone)) => {
                ("DeleteMediaComplete".to_owned(), Box::pin(self.forget(&gone)).await)
            }
            Ok(Event::Nothing { kind, video, why }) => {
                let video = video.map(String::from);
                match kind.as_str() {
                    "SnapshotComplete" => {
                        info!(video.id = video, event.r#type = kind, why, "nothing to do");
                    }
                    // Whatever else is changed about a video comes here as well.
                    _ => debug!(video.id = video, event.r#type = kind, why, "nothing to do"),
                }
                (kind, Ok(Handled::Nothing.into()))
            }
            Ok(Event::Other { kind }) => (kind, Ok(Handled::NotOurs.into())),
            Err(error) => {
                (String::new(), Err(Failure::new(Class::Permanent, error.reason(), error)))
            }
        };
        let outcome = result.as_ref().map_or("failed", |done| done.handled.name());
        telemetry::handled(&kind, outcome, began.elapsed());
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

    /// An event of snapshots, or a later look at its video, or no event at all: then no message can
    /// follow, and nothing is waited for.
    async fn choose_for(
        &self,
        snapshots: Snapshots<'_>,
        message: Option<&Message>,
    ) -> Result<Done, Failure> {
        let began = Instant::now();
        let Snapshots { ready, turn, attempts } = snapshots;
        telemetry::taken(ready.at.filter(|_| message.is_some()));
        let event = turn.map_or_else(|| ready.key.clone(), |turn| ready.key.look(turn));
        let key = Key { video: ready.video.clone(), event, cause: ready.cause(), at: ready.at };
        let follow = |turn| self.follow_up(message?, turn);
        let held = match self.claim(&key).await? {
            Claimed::Before(turn) => {
                // The look that follows may not have been stored before a crash; if it was, it is there
                // twice, and claimed once.
                let then = turn.and_then(follow);
                return Ok(Done { then, ..Handled::Duplicate.into() });
            }
            Claimed::Held(held) => held,
        };
        let policy = match self.policy_for(ready, &held.memory).await {
            Ok(policy) => policy,
            Err(failure) => {
                self.release(held.lease, None).await;
                return Err(failure);
            }
        };
        let may_wait = self.may_wait && message.is_some();
        let task = Task::Choose { event: ready, policy, attempts, turn, may_wait };
        let course = Course::new(task, &key.event, key.at, held.memory);
        let (end, seen) = self.follow(course, held.lease).await?;
        let then = end.record.follow_up.and_then(follow);
        if let Some(decision) = &end.decision {
            self.report(&Report {
                video: &key.video,
                event: &key.event,
                event_time: ready.at,
                policy,
                decision,
                wrote: end.wrote,
                candidates: &ready.candidates,
                seen: &seen,
                took: began.elapsed(),
            });
        }
        Ok(Done::of(&end, then))
    }

    /// Asks VOD about the video only if some override needs it, and its cover is not settled anyway.
    async fn policy_for(
        &self,
        ready: &SnapshotsReady,
        memory: &Memory,
    ) -> Result<&Policy, Failure> {
        match self.policies.of(ready, None) {
            Ok(policy) => Ok(policy),
            Err(NeedsFacts) if settled(self.policies.default(), memory).is_some() => {
                Ok(self.policies.default())
            }
            Err(NeedsFacts) => {
                let facts = self.vod.look_up(&ready.video).await?.facts();
                Ok(self.policies.of(ready, Some(&facts)).unwrap_or(self.policies.default()))
            }
        }
    }

    async fn judge(&self, changed: &CoverChanged, patient: bool) -> Result<Done, Failure> {
        let CoverChanged { video, key, change } = changed;
        let overwrite = self.ownership.overwrite_manual;
        self.note(video, key, None, Task::Judge { change, patient, overwrite }).await
    }

    /// A file that VOD has fetched. If a cover was given to it, that is remembered.
    async fn pulled(&self, pulled: &Pulled) -> Result<Done, Failure> {
        let Pulled { video, key, job } = pulled;
        let name = event::pulled_bookmark(job);
        let Some(cover) = self.ledger.bookmark(&name).await? else {
            return Ok(Handled::Nothing.into());
        };
        let done = self.note(video, key, None, Task::Given { cover: &cover }).await?;
        self.ledger.set_bookmark(&name, None).await?;
        Ok(done)
    }

    async fn forget(&self, gone: &Gone) -> Result<Done, Failure> {
        self.note(&gone.video, &gone.key, gone.at, Task::Forget).await
    }

    /// An event of what others did.
    async fn note(
        &self,
        video: &VideoId,
        event: &EventKey,
        at: Option<Timestamp>,
        task: Task<'_>,
    ) -> Result<Done, Failure> {
        // Without a time, because none outdates another: each may be evidence.
        let (video, event, cause) = (video.clone(), event.clone(), "Change".to_owned());
        let key = Key { video, event, cause, at: None };
        let held = match self.claim(&key).await? {
            Claimed::Before(_) => return Ok(Handled::Duplicate.into()),
            Claimed::Held(held) => held,
        };
        let course = Course::new(task, &key.event, at, held.memory);
        let (end, _) = self.follow(course, held.lease).await?;
        let video = &key.video;
        match &end.record.outcome {
            Outcome::Manual { cover, .. } if end.wrote => {
                telemetry::cover_put_back();
                warn!(video.id = %video, cover, "our write had replaced somebody's cover; it is back");
            }
            Outcome::Manual { cover, by } => {
                info!(video.id = %video, cover, evidence = %by, "somebody chose the cover");
            }
            Outcome::Deleted => info!(video.id = %video, "the video was deleted"),
            other => debug!(video.id = %video, outcome = ?other, "a change of the cover"),
        }
        Ok(Done::of(&end, None))
    }

    async fn claim(&self, key: &Key) -> Result<Claimed<'_>, Failure> {
        // One owner for each delivery: a broker may deliver a message again while it is handled.
        let owner = Owner::another();
        let (lease, memory, starts) = match self.ledger.claim(key, owner, self.lease).await? {
            Claim::Done(follow_up) => {
                telemetry::lease("done");
                return Ok(Claimed::Before(follow_up));
            }
            Claim::Outdated => {
                telemetry::lease("outdated");
                return Ok(Claimed::Before(None));
            }
            Claim::Busy { retry_after } => {
                telemetry::lease("busy");
                return Err(busy(&key.video, retry_after));
            }
            Claim::Acquired { lease, memory, starts } => (lease, memory, starts),
        };
        telemetry::lease("acquired");
        if starts > STARTS_BEFORE_BLAME {
            self.release(lease, None).await;
            return Err(crashes(starts));
        }
        let turn = match starts > STARTS_BEFORE_SUSPICION {
            true => self.suspect.lock().map(Some).boxed(),
            false => std::future::ready(None).boxed(),
        };
        match tokio::time::timeout(self.lease / 2, turn).await {
            Ok(alone) => Ok(Claimed::Held(Held { lease, memory, _alone: alone })),
            // Not released, which would clear it of suspicion: the lease ends by itself.
            Err(_) => Err(suspect(&key.video)),
        }
    }

    /// Does what the course says, to its end. Whatever fails, what was announced stays on record, and the
    /// next attempt looks at the cover before it writes. With what was found out.
    async fn follow(
        &self,
        mut course: Course<'_>,
        mut lease: Lease,
    ) -> Result<(End, Evidence), Failure> {
        loop {
            match course.next(Timestamp::now()) {
                Act::Remember => {
                    lease = self.ledger.remember(lease, course.memory(), self.lease).await?;
                    course.remembered();
                }
                Act::Finish(end) => {
                    self.ledger.complete(lease, &end.record, course.memory()).await?;
                    return Ok((*end, course.seen));
                }
                act => {
                    if let Err(failure) = self.act(&mut course, act, &lease).await {
                        // Having been put off is no news.
                        if !matches!(failure.class, Class::Deferred { .. }) {
                            course.failed(&failure.to_string(), Timestamp::now());
                        }
                        self.release(lease, Some(course.memory())).await;
                        return Err(failure);
                    }
                }
            }
        }
    }

    async fn release(&self, lease: Lease, memory: Option<&Memory>) {
        let video = lease.key.video.clone();
        if let Err(error) = self.ledger.release(lease, memory).await {
            // It ends by itself; until then other events of this video wait.
            debug!(video.id = %video, error = chain(&error), "the lease was not released");
        }
    }

    /// The message for the next look at a video, and when. Looks come further and further apart.
    fn follow_up(&self, message: &Message, turn: Turn) -> Option<(Message, Duration)> {
        let body = Bytes::from(event::follow_up(&message.body, turn)?);
        let step = self.policies.default().deadline / PARTS;
        let wait = step.saturating_mul(1 << turn.number.saturating_sub(1).min(16));
        let left = turn.deadline.duration_since(Timestamp::now());
        let left = Duration::try_from(left).unwrap_or_default();
        let id = Uuid::new_v4().to_string();
        let next = Message { trace: message.trace, ..Message::new(body, event::FOLLOW_UP, id) };
        Some((next, wait.min(left)))
    }

    fn report(&self, report: &Report<'_>) {
        let Report { video, decision, wrote, .. } = *report;
        let (trace, provisional) = (decision.trace.join("; "), decision.provisional);
        match &decision.verdict {
            Verdict::Set { cover, rule } | Verdict::IsSet { cover, rule } => {
                telemetry::cover_set(rule.to_string());
                if let Some(at) = report.event_time.filter(|_| wrote) {
                    telemetry::cover_written(Timestamp::now().duration_since(at));
                }
                let rules = &report.policy.version;
                debug!(video.id = %video, %rule, rules, %cover, wrote, provisional, trace, "cover set");
            }
            Verdict::Keep(why) => debug!(video.id = %video, %why, provisional, trace, "cover kept"),
            Verdict::NoCover => warn!(video.id = %video, trace, "no rule yields a cover"),
            Verdict::Wait => debug!(video.id = %video, trace, "waiting for a smart thumbnail"),
        }
        if let Some(observer) = &self.observer {
            observer(report);
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
