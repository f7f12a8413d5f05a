//! The order of things in handling one event of one video whose lease is held: what to find out, what to
//! store before an effect, the effect, the end. Pure: [`Course::next`] says what to do and is told how it
//! went, so that a million histories with a crash at every point can be played through in a test.
//!
//! Whoever does what it says stops at any failure and gives the lease back with [`Course::memory`]. The
//! same event comes again, and a new course starts from what was stored.

use jiff::{SignedDuration, Timestamp};

use super::change::{CoverChange, Meaning, judge};
use super::memory::Job;
use super::owner::{Owner, whose};
use super::select::{self, Step};
use super::{
    By, Candidate, Case, CoverUrl, Current, Decision, Evidence, Finding, IntelligentImage,
    JobState, Memory, Outcome, Policy, Record, Turn, Verdict, Why, Witness, Write,
};
use crate::event::{EventKey, SnapshotsReady};

/// Looks for a late smart thumbnail at the most: far more than any deadline takes, since they come further
/// and further apart. A message with a deadline that is wrong must not go round for ever.
const MOST_LOOKS: u32 = 100;

/// What an event asks for.
#[derive(Debug, Clone, Copy)]
pub enum Task<'a> {
    /// Choose a cover.
    Choose {
        event: &'a SnapshotsReady,
        policy: &'a Policy,
        /// Attempts at this event that failed before.
        attempts: u32,
        /// Which look for a late smart thumbnail this is; `None` for the event itself.
        turn: Option<Turn>,
        /// Whether one may be waited for at all.
        may_wait: bool,
    },
    /// Find out what a change of the cover means.
    Judge {
        change: &'a CoverChange,
        /// Whether our own write's event is still waited for.
        patient: bool,
        /// Whether covers that somebody chose may be replaced.
        overwrite: bool,
    },
    /// Remember that this cover was given by whoever brought the video into VOD.
    Given { cover: &'a str },
    /// The video is gone.
    Forget,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Act {
    /// Ask for the video's smart thumbnails, then [`Course::intelligent`].
    AskIntelligent,
    /// Ask what became of this job, then [`Course::job`].
    AskJob(String),
    /// Ask for the video's cover, then [`Course::current`].
    AskCurrent,
    /// Look at these pictures, then [`Course::pictures`].
    Inspect(Vec<Candidate>),
    /// Store [`Course::memory`], because an effect follows, then [`Course::remembered`].
    Remember,
    /// Order smart thumbnails with this template, then [`Course::submitted`].
    Submit(String),
    /// Make this the cover, then [`Course::written`].
    Write(CoverUrl),
    /// Nothing can be said before another event has come.
    PutOff(&'static str),
    /// A picture could not be looked at, and which and why.
    TryAgain(String),
    /// Store the record with [`Course::memory`].
    Finish(Box<End>),
}

/// How an event ended.
#[derive(Debug, Clone)]
pub struct End {
    pub record: Record,
    /// For [`Task::Choose`].
    pub decision: Option<Decision>,
    /// Whether a write was made.
    pub wrote: bool,
}

pub struct Course<'a> {
    task: Task<'a>,
    key: &'a EventKey,
    at: Option<Timestamp>,
    memory: Memory,
    /// What was found out so far.
    pub seen: Evidence,
    /// Until when a smart thumbnail may come; known from the first step on.
    deadline: Option<Timestamp>,
    stage: Stage,
}

enum Stage {
    Deciding,
    Announcing(Effect),
    Acting(Effect),
    Written(Purpose),
}

enum Effect {
    Submit(String),
    Write(CoverUrl, Purpose),
}

/// What a write is for.
enum Purpose {
    Decided(Decision),
    PutBack { cover: String, echo: Option<Write> },
}

impl<'a> Course<'a> {
    /// `memory` as it came with the claim; `at` is the event's time.
    pub fn new(task: Task<'a>, key: &'a EventKey, at: Option<Timestamp>, memory: Memory) -> Self {
        let (seen, stage) = (Evidence::default(), Stage::Deciding);
        Self { task, key, at, memory, seen, deadline: None, stage }
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    pub fn next(&mut self, now: Timestamp) -> Act {
        match std::mem::replace(&mut self.stage, Stage::Deciding) {
            Stage::Deciding => match self.task {
                Task::Choose { event, policy, attempts, turn, may_wait } => {
                    self.choose(event, policy, attempts, turn, may_wait, now)
                }
                Task::Judge { change, patient, overwrite } => {
                    self.judge(change, patient, overwrite, now)
                }
                Task::Given { cover } => {
                    let (cover, by) = (cover.to_owned(), Witness::MediaCommand);
                    let what = format!("somebody chose {cover}: {by}");
                    self.finish(Outcome::Manual { cover, by }, &what, now)
                }
                Task::Forget => self.finish(Outcome::Deleted, "the video was deleted", now),
            },
            Stage::Announcing(effect) => {
                self.stage = Stage::Announcing(effect);
                Act::Remember
            }
            Stage::Acting(effect) => {
                let act = match &effect {
                    Effect::Submit(template) => Act::Submit(template.clone()),
                    Effect::Write(cover, _) => Act::Write(cover.clone()),
                };
                self.stage = Stage::Acting(effect);
                act
            }
            Stage::Written(purpose) => self.after_write(purpose, now),
        }
    }

    pub fn intelligent(&mut self, images: Vec<IntelligentImage>) {
        self.seen.intelligent = Some(images);
    }

    pub fn job(&mut self, state: JobState) {
        if let JobState::Succeeded(images) = &state {
            self.seen.intelligent.get_or_insert_default().extend(images.iter().cloned());
        }
        self.seen.job = Some(state);
    }

    pub fn current(&mut self, current: Current) {
        self.seen.current = Some(current);
    }

    pub fn pictures(&mut self, wanted: &[Candidate], findings: Vec<Finding>) {
        let numbers = wanted.iter().map(|candidate| candidate.number);
        self.seen.pictures = Some(numbers.zip(findings).collect());
    }

    pub fn remembered(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Deciding) {
            Stage::Announcing(effect) => Stage::Acting(effect),
            other => other,
        };
    }

    /// The job's id, or why VOD will never do it.
    pub fn submitted(&mut self, result: Result<String, String>) {
        self.stage = Stage::Deciding;
        self.seen.job = Some(match result {
            Ok(id) => {
                if let Some(job) = &mut self.memory.job {
                    job.id = Some(id);
                }
                JobState::Running
            }
            Err(why) => JobState::Failed(why),
        });
    }

    pub fn written(&mut self) {
        self.memory.confirm();
        self.stage = match std::mem::replace(&mut self.stage, Stage::Deciding) {
            Stage::Acting(Effect::Write(_, purpose)) => Stage::Written(purpose),
            other => other,
        };
    }

    /// The effect that was announced has certainly not happened.
    pub fn not_done(&mut self) {
        match &self.stage {
            Stage::Acting(Effect::Write(..)) => self.memory.withdraw(),
            Stage::Acting(Effect::Submit(_)) => self.memory.job = None,
            _ => {}
        }
    }

    /// The event failed, and why; for the history.
    pub fn failed(&mut self, why: &str, now: Timestamp) {
        self.memory.tell(now, self.key, &format!("failed: {why}"));
    }

    fn choose(
        &mut self,
        event: &SnapshotsReady,
        policy: &Policy,
        attempts: u32,
        turn: Option<Turn>,
        may_wait: bool,
        now: Timestamp,
    ) -> Act {
        let deadline = *self.deadline.get_or_insert_with(|| match turn {
            Some(turn) => turn.deadline,
            // A job that we order starts now; one of somebody else's started with the upload.
            None if policy.submit.is_some() => after(now, policy.deadline),
            None => after(event.at.unwrap_or(now).min(now), policy.deadline),
        });
        let case = Case {
            candidates: &event.candidates,
            automatic: event.automatic,
            event_cover: event.event_cover.as_ref(),
            event_time: event.at,
            memory: &self.memory,
            attempts,
            may_come: may_wait
                && now < deadline
                && turn.is_none_or(|turn| turn.number < MOST_LOOKS),
        };
        match select::next(policy, &case, &self.seen) {
            Step::AskIntelligent => Act::AskIntelligent,
            Step::AskJob(id) => Act::AskJob(id),
            Step::AskCurrent => Act::AskCurrent,
            Step::Inspect(wanted) => Act::Inspect(wanted),
            Step::TryAgain(why) => Act::TryAgain(why),
            Step::Submit(template) => {
                self.memory.job = Some(Job { id: None, at: now });
                self.announce(Effect::Submit(template))
            }
            Step::Decided(decision) => {
                let over = self.seen.current.as_ref().map(|now| whose(now, &case, &self.seen));
                let Verdict::Set { cover, rule } = &decision.verdict else {
                    return self.decided(decision, false, now);
                };
                let before = match &self.seen.current {
                    Some(current) => current.text(),
                    // Nobody looked: it is taken for VOD's default.
                    None => event
                        .candidates
                        .get(event.candidates.len() / 2)
                        .filter(|_| event.automatic)
                        .map(|middle| middle.url.to_string()),
                };
                let (cover, by) = (cover.clone(), By::Rule(*rule));
                self.write(cover, by, before, over, Purpose::Decided(decision), now)
            }
        }
    }

    fn judge(
        &mut self,
        change: &CoverChange,
        patient: bool,
        overwrite: bool,
        now: Timestamp,
    ) -> Act {
        let current = self.seen.current.as_ref();
        match judge(change, &self.memory, current, patient, overwrite) {
            Meaning::AskCurrent => Act::AskCurrent,
            Meaning::AwaitEcho => Act::PutOff("it may have come before our own write"),
            Meaning::Nothing { why, echo } => {
                self.echoed(echo.and_then(|at| self.memory.writes.get(at)).cloned());
                self.finish(Outcome::Noted { what: why.to_owned() }, why, now)
            }
            Meaning::Theirs { cover, by, echo } => {
                self.echoed(echo.and_then(|at| self.memory.writes.get(at)).cloned());
                let what = format!("somebody chose {cover}: {by}");
                self.finish(Outcome::Manual { cover, by }, &what, now)
            }
            Meaning::PutBack { cover, echo } => match CoverUrl::as_given(&cover) {
                Ok(url) => {
                    let before = current.and_then(Current::text);
                    let echo = echo.and_then(|at| self.memory.writes.get(at)).cloned();
                    let purpose = Purpose::PutBack { cover, echo };
                    self.write(url, By::Restoration, before, Some(Owner::Ours), purpose, now)
                }
                // `judge` has checked it.
                Err(error) => {
                    self.finish(Outcome::Noted { what: error.to_string() }, "not put back", now)
                }
            },
        }
    }

    fn write(
        &mut self,
        cover: CoverUrl,
        by: By,
        before: Option<String>,
        over: Option<Owner>,
        purpose: Purpose,
        now: Timestamp,
    ) -> Act {
        let since = match self.task {
            Task::Judge { change, .. } => change.at,
            Task::Choose { .. } | Task::Given { .. } | Task::Forget => None,
        };
        let announced = Write {
            cover: cover.clone(),
            by,
            event: self.key.clone(),
            before,
            over,
            at: now,
            since,
            made: false,
            echoed: false,
        };
        self.memory.announce(announced);
        self.announce(Effect::Write(cover, purpose))
    }

    fn announce(&mut self, effect: Effect) -> Act {
        self.stage = Stage::Announcing(effect);
        Act::Remember
    }

    fn after_write(&mut self, purpose: Purpose, now: Timestamp) -> Act {
        match purpose {
            Purpose::Decided(decision) => self.decided(decision, true, now),
            Purpose::PutBack { cover, echo } => {
                self.echoed(echo);
                self.memory.restored += 1;
                let what = format!("put {cover} back, which our own write had replaced");
                let outcome = Outcome::Manual { cover, by: Witness::Restored };
                let mut act = self.finish(outcome, &what, now);
                if let Act::Finish(end) = &mut act {
                    end.wrote = true;
                }
                act
            }
        }
    }

    fn decided(&mut self, decision: Decision, wrote: bool, now: Timestamp) -> Act {
        let outcome = match &decision.verdict {
            Verdict::Set { cover, rule } | Verdict::IsSet { cover, rule } => {
                if self.memory.pending().is_some_and(|write| write.is(cover.as_str())) {
                    self.memory.confirm();
                }
                Outcome::Set { cover: cover.clone(), rule: *rule }
            }
            Verdict::Keep(why) => match (why, self.seen.current.as_ref().and_then(Current::text)) {
                (Why::SomebodyChoseIt, Some(cover)) => {
                    Outcome::Manual { cover, by: Witness::CurrentCover }
                }
                _ => Outcome::Kept { why: why.to_string() },
            },
            Verdict::NoCover => Outcome::NoCover,
            Verdict::Wait => Outcome::Waiting,
        };
        let what = describe(&outcome, &decision, wrote);
        let (number, rules) = match self.task {
            Task::Choose { turn, policy, .. } => {
                (turn.map_or(1, |turn| turn.number + 1), Some(policy.version.clone()))
            }
            _ => (1, None),
        };
        let follow_up = self.deadline.filter(|_| decision.provisional);
        let record = Record {
            outcome,
            event: self.key.clone(),
            event_time: self.at,
            decided_at: now,
            follow_up: follow_up.map(|deadline| Turn { number, deadline }),
            rules,
        };
        self.memory.end(&record, &what);
        Act::Finish(Box::new(End { record, decision: Some(decision), wrote }))
    }

    fn finish(&mut self, outcome: Outcome, what: &str, now: Timestamp) -> Act {
        let (event, event_time) = (self.key.clone(), self.at);
        let (follow_up, rules) = (None, None);
        let record = Record { outcome, event, event_time, decided_at: now, follow_up, rules };
        self.memory.end(&record, what);
        Act::Finish(Box::new(End { record, decision: None, wrote: false }))
    }

    fn echoed(&mut self, write: Option<Write>) {
        let Some(write) = write else { return };
        let mut writes = self.memory.writes.iter_mut();
        let found =
            writes.find(|one| !one.echoed && one.cover == write.cover && one.at == write.at);
        if let Some(found) = found {
            found.echoed = true;
            // What came back has happened.
            found.made = true;
        }
    }
}

fn after(time: Timestamp, length: std::time::Duration) -> Timestamp {
    let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
    time.saturating_add(length).unwrap_or(Timestamp::MAX)
}

fn describe(outcome: &Outcome, decision: &Decision, wrote: bool) -> String {
    let end = match outcome {
        Outcome::Set { cover, rule } if wrote => format!("set {cover} by {rule}"),
        Outcome::Set { cover, rule } => format!("{cover} by {rule} is set already"),
        Outcome::Manual { cover, .. } => format!("kept {cover}, which somebody else chose"),
        Outcome::Kept { why } => format!("kept: {why}"),
        Outcome::NoCover => "no rule yields a cover".to_owned(),
        Outcome::Waiting => "waiting for a smart thumbnail".to_owned(),
        Outcome::Chosen { .. } | Outcome::Deleted | Outcome::Noted { .. } => String::new(),
    };
    match decision.provisional {
        true => format!("{end}, for now ({})", decision.trace.join("; ")),
        false => format!("{end} ({})", decision.trace.join("; ")),
    }
}

#[cfg(test)]
mod tests;
