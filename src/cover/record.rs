//! How events of a video end, as it is remembered between events. Pure; `ledger` stores it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CoverUrl, Rule};
use crate::event::EventKey;

/// The end of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub outcome: Outcome,
    pub event: EventKey,
    pub event_time: Option<Timestamp>,
    pub decided_at: Timestamp,
    /// The message of our own that has to follow, so that an end that was stored before a crash still
    /// leads to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_up: Option<Turn>,
    /// The [`version`](super::Policy::version) of the rules by which it was decided, where rules decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
}

/// Which of the looks at a video that wait for a smart thumbnail, and when they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// From 1.
    pub number: u32,
    pub deadline: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// The cover was set (or found to be set already by our own earlier write).
    Set { cover: CoverUrl, rule: Rule },
    /// The operator chose the cover with `set`, and no event may replace it.
    Chosen { cover: CoverUrl },
    /// A person or another system chose the cover, and no event may replace it.
    Manual {
        /// As VOD has it, without query; it may be something that could not be written.
        cover: String,
        by: Witness,
    },
    /// The video is gone.
    Deleted,
    /// The cover was left as it is, and why.
    Kept { why: String },
    /// The event offered nothing to choose from.
    NoCover,
    /// Nothing is done before a smart thumbnail has come or its time is over.
    Waiting,
    /// Something was reported that changes nothing, and what.
    Noted { what: String },
}

impl Outcome {
    /// The cover that the video has through us.
    pub fn cover(&self) -> Option<&CoverUrl> {
        match self {
            Self::Set { cover, .. } | Self::Chosen { cover } => Some(cover),
            _ => None,
        }
    }

    /// Whether it says whose the cover is from here on.
    pub fn stands(&self) -> bool {
        match self {
            Self::Set { .. } | Self::Chosen { .. } | Self::Manual { .. } | Self::Deleted => true,
            Self::Kept { .. } | Self::NoCover | Self::Waiting | Self::Noted { .. } => false,
        }
    }
}

/// By what it is known that somebody else chose a cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// A MediaBaseChangeComplete with OperateMode `create`.
    GivenAtUpload,
    /// A MediaBaseChangeComplete with OperateMode `update`.
    ChangeEvent,
    /// GetVideoInfo: it is neither VOD's default nor ours.
    CurrentCover,
    /// We had overwritten it, and put it back.
    Restored,
    /// It was given with `vod-cover media`.
    MediaCommand,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GivenAtUpload => "it was given at upload, as a MediaBaseChangeComplete says",
            Self::ChangeEvent => "it was changed later, as a MediaBaseChangeComplete says",
            Self::CurrentCover => "it was there and neither VOD's default nor ours",
            Self::Restored => "our own write had replaced it; it was put back",
            Self::MediaCommand => "it was given with `vod-cover media`",
        })
    }
}
