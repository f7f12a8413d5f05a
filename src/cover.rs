//! What a cover decision is made of. Pure: no I/O, no clock, no randomness. [`select::next`] decides,
//! [`policy`] says by which rules.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

pub mod owner;
pub mod policy;
pub mod record;
pub mod select;

pub use policy::Policy;
pub use record::{Intention, Outcome, Record, Standing};

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

/// One way to choose. Written in configuration as `"middle"`, `"nth=3"`, `"at=0.3"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rule {
    First,
    /// VOD's own middle of N snapshots: number N/2 + 1.
    Middle,
    Last,
    /// The snapshot with this serial number, from 1. Yields nothing if there are fewer.
    Nth(u32),
    /// The snapshot nearest to this part of the video, from 0.0 (first) to 1.0 (last).
    At(f64),
    /// VOD's smart thumbnail with the highest Score.
    Intelligent,
    /// Leave the cover as it is.
    Keep,
}

// `At` holds no NaN: `from_str` is the only way to make one from outside.
impl Eq for Rule {}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first"),
            Self::Middle => f.write_str("middle"),
            Self::Last => f.write_str("last"),
            Self::Nth(number) => write!(f, "nth={number}"),
            Self::At(part) => write!(f, "at={part}"),
            Self::Intelligent => f.write_str("intelligent"),
            Self::Keep => f.write_str("keep"),
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no rule: use first, middle, last, nth=NUMBER (from 1), at=PART (0.0 to 1.0), \
     intelligent or keep"
)]
pub struct BadRule(String);

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let bad = || BadRule(text.to_owned());
        let (name, value) = match text.split_once(['=', ':']) {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (text.trim(), None),
        };
        match (name, value) {
            ("first", None) => Ok(Self::First),
            ("middle", None) => Ok(Self::Middle),
            ("last", None) => Ok(Self::Last),
            ("intelligent", None) => Ok(Self::Intelligent),
            ("keep", None) => Ok(Self::Keep),
            ("nth", Some(value)) => match value.parse() {
                Ok(number) if number >= 1 => Ok(Self::Nth(number)),
                _ => Err(bad()),
            },
            ("at", Some(value)) => match value.parse() {
                Ok(part) if (0.0..=1.0).contains(&part) => Ok(Self::At(part)),
                _ => Err(bad()),
            },
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for Rule {
    type Error = BadRule;
    fn try_from(text: String) -> Result<Self, BadRule> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
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
}

/// What was found out so far. `None` means that nobody asked yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// VOD's smart thumbnails of this video; empty if it has none.
    pub intelligent: Option<Vec<IntelligentImage>>,
    pub current: Option<Current>,
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
    /// No rule yielded a picture.
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
