//! What a cover decision is made of. Pure: no I/O, no clock, no randomness. [`select::next`] decides,
//! [`policy`] says by which rules.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

mod finding;
pub mod owner;
pub mod policy;
pub mod record;
mod rule;
pub mod select;

pub use finding::{Finding, Seen};
pub use policy::Policy;
pub use record::{Intention, Outcome, Record, Standing};
pub use rule::{BadRule, Rule};

/// A cover's address as it may be given to UpdateVideoInfo: http or https, at most
/// [`CoverUrl::MAX_LEN`] bytes, without query and fragment, because a signed URL (`auth_key`,
/// `Expires`) would expire. VOD stores what it gets, unchecked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CoverUrl(String);

impl CoverUrl {
    /// VOD documents no limit; this one stays on the safe side.
    pub const MAX_LEN: usize = 1024;

    /// Strips query and fragment and otherwise leaves the text as it is.
    pub fn new(text: &str) -> Result<Self, BadCoverUrl> {
        let bad = |why| BadCoverUrl { text: text.chars().take(128).collect(), why };
        let bare = text.trim().split(['?', '#']).next().unwrap_or_default();
        let url = Url::parse(bare).map_err(|_| bad("it is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("only http and https can be covers"));
        }
        if bare.len() > Self::MAX_LEN {
            return Err(bad("it is longer than 1024 bytes"));
        }
        if bare.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad("it contains white space or control characters"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it contains a user name or password"));
        }
        Ok(Self(bare.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What identifies the picture: the same one may come with another scheme, host or query.
    pub fn path(&self) -> &str {
        let after_scheme = self.0.find("://").map_or(0, |at| at + 3);
        let rest = &self.0[after_scheme..];
        rest.find('/').map_or("/", |at| &rest[at..])
    }
}

impl fmt::Display for CoverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for CoverUrl {
    type Error = BadCoverUrl;
    fn try_from(text: String) -> Result<Self, BadCoverUrl> {
        Self::new(&text)
    }
}

impl From<CoverUrl> for String {
    fn from(cover: CoverUrl) -> Self {
        cover.0
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} cannot be a cover: {why}")]
pub struct BadCoverUrl {
    text: String,
    why: &'static str,
}

/// A picture that could become the cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its serial number in the set, from 1.
    pub number: u32,
    pub url: CoverUrl,
}

/// What is known before anything is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Case<'a> {
    pub candidates: &'a [Candidate],
    /// Whether the candidates are the set that VOD takes its default cover from (CoverSnapshot).
    pub automatic: bool,
    /// The picture that the event names as the cover. Whether that is the current one, or the one that
    /// VOD would have taken, is an open question.
    pub event_cover: Option<&'a CoverUrl>,
    pub event_time: Option<jiff::Timestamp>,
    pub standing: &'a Standing,
    /// An earlier write of ours that may or may not have happened.
    pub intention: Option<&'a Intention>,
    /// Attempts at this event that failed before this one.
    pub attempts: u32,
}

/// What was found out so far. `None` means that nobody asked yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// VOD's smart thumbnails of this video; empty if it has none.
    pub intelligent: Option<Vec<IntelligentImage>>,
    pub current: Option<Current>,
    /// What was found of the candidates that were asked for, by their numbers.
    pub pictures: Option<BTreeMap<u32, Finding>>,
}

/// One entry of ListAIImageInfo.
#[derive(Debug, Clone, PartialEq)]
pub struct IntelligentImage {
    pub url: CoverUrl,
    pub format: ImageFormat,
    /// The scale is not documented; higher is better.
    pub score: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    Png,
    Gif,
}

/// What GetVideoInfo says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    pub cover: CurrentCover,
    /// The cover snapshots that VOD has of the video, in order; it takes its default cover from them.
    pub snapshots: Vec<CoverUrl>,
}

/// The cover that a video has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CurrentCover {
    None,
    Is(CoverUrl),
    /// Something that we could not write ourselves; somebody else did.
    Odd(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub verdict: Verdict,
    /// One note for each rule that was tried, in order, and for what overruled them.
    pub trace: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Give it to VOD.
    Set {
        cover: CoverUrl,
        rule: Rule,
    },
    /// What the rule chose is the cover now; a write would only cost quota.
    IsSet {
        cover: CoverUrl,
        rule: Rule,
    },
    Keep(Why),
    /// No rule yielded a picture, and none of those that there are is clearly better than what is there.
    NoCover,
}

/// Why a cover is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The rule `keep` came up.
    RuleSaysSo,
    /// Our own cover came from a rule that is at least as good.
    AsGoodAlready,
    /// Our own cover was chosen for a newer event.
    NewerAlready,
    /// The cover is a smart thumbnail that we did not set: an AI template did, or a person.
    IntelligentAlready,
    /// The cover is neither VOD's default nor ours: somebody chose it.
    SomebodyChoseIt,
    /// The operator chose it with `set`.
    OperatorChoseIt,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RuleSaysSo => "the rule `keep` came up",
            Self::AsGoodAlready => "our own cover is from a rule at least as good",
            Self::NewerAlready => "our own cover is from a newer event",
            Self::IntelligentAlready => "the current cover is a smart thumbnail",
            Self::SomebodyChoseIt => "somebody else chose the current cover",
            Self::OperatorChoseIt => "the operator chose the current cover",
        })
    }
}
