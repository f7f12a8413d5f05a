//! What is remembered of a video's cover between events. Pure; `ledger` stores it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CoverUrl, Rule};
use crate::event::EventKey;

/// What is known of the video's cover from our own writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Unknown,
    /// We set it; the record says to what, and by which rule for which event or by the operator's word.
    Ours(Record),
}

/// A write that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intention {
    pub cover: CoverUrl,
    /// `None`: the operator's own choice.
    pub rule: Option<Rule>,
    pub event: EventKey,
}

/// The end of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub outcome: Outcome,
    pub event: EventKey,
    pub event_time: Option<Timestamp>,
    pub decided_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// The cover was set (or found to be set already by our own earlier write).
    Set { cover: CoverUrl, rule: Rule },
    /// The operator chose the cover with `set`, and no event may replace it.
    Chosen { cover: CoverUrl },
    /// The cover was left as it is, and why.
    Kept { why: String },
    /// The event offered nothing to choose from.
    NoCover,
}

impl Outcome {
    /// The cover that the video has through it.
    pub fn cover(&self) -> Option<&CoverUrl> {
        match self {
            Self::Set { cover, .. } | Self::Chosen { cover } => Some(cover),
            Self::Kept { .. } | Self::NoCover => None,
        }
    }
}
