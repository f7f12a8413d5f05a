//! How the handling of an event ends, for metrics, for the pipeline and for people.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::cover::course::End;
use crate::cover::{Candidate, Decision, Evidence, Outcome, Policy, Verdict, Why};
use crate::event::{EventKey, VideoId};
use crate::queue::Message;

/// Called with every decision that was carried out.
pub type Observer = Arc<dyn Fn(&Report<'_>) + Send + Sync>;

/// How an event ended, for people.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    pub video: &'a VideoId,
    pub event: &'a EventKey,
    pub event_time: Option<Timestamp>,
    pub policy: &'a Policy,
    pub decision: &'a Decision,
    /// Whether UpdateVideoInfo was called.
    pub wrote: bool,
    /// What the event offered.
    pub candidates: &'a [Candidate],
    /// What was found out.
    pub seen: &'a Evidence,
    /// From the claim to the record.
    pub took: Duration,
}

/// How handling ended well, and what has to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub handled: Handled,
    /// Whether both the ledger and VOD must have done their part.
    pub worked: bool,
    /// To be delivered after this time in the message's place.
    pub then: Option<(Message, Duration)>,
}

impl Done {
    pub(super) fn of(end: &End, then: Option<(Message, Duration)>) -> Self {
        let handled = Handled::of(end);
        let read = matches!(end.record.outcome, Outcome::Manual { .. });
        let worked = match handled {
            Handled::Set | Handled::WasSet | Handled::PutBack => true,
            Handled::Kept(Why::IntelligentAlready) => true,
            Handled::Kept(Why::SomebodyChoseIt) => read,
            _ => false,
        };
        Self { handled, worked, then }
    }
}

impl From<Handled> for Done {
    fn from(handled: Handled) -> Self {
        Self { handled, worked: false, then: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    Set,
    /// The cover was what the rules want before we came.
    WasSet,
    Kept(Why),
    NoCover,
    /// Nothing is done before a smart thumbnail has come or its time is over.
    Waiting,
    /// This event, or a newer one of the same cause, was dealt with before.
    Duplicate,
    /// Somebody's choice became known.
    Manual,
    /// Somebody's choice, which we had replaced, was put back.
    PutBack,
    /// The video is gone.
    Deleted,
    /// A change of the cover that changes nothing for us, such as our own.
    Noted,
    /// An event of ours that offers nothing.
    Nothing,
    /// An event of a type that is not ours.
    NotOurs,
}

impl Handled {
    fn of(end: &End) -> Self {
        if let Some(decision) = &end.decision {
            return match &decision.verdict {
                Verdict::Set { .. } => Self::Set,
                Verdict::IsSet { .. } => Self::WasSet,
                Verdict::Keep(why) => Self::Kept(*why),
                Verdict::NoCover => Self::NoCover,
                Verdict::Wait => Self::Waiting,
            };
        }
        match &end.record.outcome {
            Outcome::Deleted => Self::Deleted,
            Outcome::Manual { .. } if end.wrote => Self::PutBack,
            Outcome::Manual { .. } => Self::Manual,
            _ => Self::Noted,
        }
    }

    /// A metric label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::WasSet => "was_set",
            Self::Kept(_) => "kept",
            Self::NoCover => "no_cover",
            Self::Waiting => "waiting",
            Self::Duplicate => "duplicate",
            Self::Manual => "manual",
            Self::PutBack => "put_back",
            Self::Deleted => "deleted",
            Self::Noted => "noted",
            Self::Nothing => "nothing",
            Self::NotOurs => "not_ours",
        }
    }
}
