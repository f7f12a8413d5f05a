//! How the handling of an event ends, for metrics, for the pipeline and for people.

use crate::cover::{Decision, Why};
use crate::event::{EventKey, VideoId};

/// Called with every decision that was carried out.
pub type Observer = Box<dyn Fn(&Report) + Send + Sync>;

/// How an event ended, for people.
#[derive(Debug, Clone)]
pub struct Report {
    pub video: VideoId,
    pub event: EventKey,
    pub policy: String,
    pub decision: Decision,
    /// Whether UpdateVideoInfo was called.
    pub wrote: bool,
}

/// How handling ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    Set,
    /// The cover was what the rules want before we came.
    WasSet,
    Kept(Why),
    NoCover,
    /// This event, or a newer one of the same cause, was dealt with before.
    Duplicate,
    /// A SnapshotComplete that offers nothing.
    Nothing,
    /// An event of a type that is not ours.
    NotOurs,
}

impl Handled {
    /// A metric label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::WasSet => "was_set",
            Self::Kept(_) => "kept",
            Self::NoCover => "no_cover",
            Self::Duplicate => "duplicate",
            Self::Nothing => "nothing",
            Self::NotOurs => "not_ours",
        }
    }

    /// Whether both the ledger and VOD must have done their part.
    pub fn proves_dependencies(&self) -> bool {
        use Why::{IntelligentAlready, SomebodyChoseIt};
        match self {
            Self::Set | Self::WasSet | Self::Kept(SomebodyChoseIt | IntelligentAlready) => true,
            Self::Kept(_) | Self::NoCover | Self::Duplicate | Self::Nothing | Self::NotOurs => {
                false
            }
        }
    }
}
