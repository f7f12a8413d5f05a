//! What a cover decision is made of. Pure: no I/O, no clock, no randomness. [`select::next`] decides,
//! [`policy`] says by which rules, [`course`] what is done in which order, [`change`] what somebody else's
//! change of a cover means.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

pub mod change;
pub mod course;
mod finding;
pub mod memory;
pub mod owner;
pub mod policy;
mod record;
mod rule;
pub mod select;

pub use finding::{Finding, Seen};
pub use memory::{By, Memory, Write};
pub use policy::Policy;
pub use record::{Outcome, Record, Turn, Witness};
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
        Self::checked(text, text.trim().split(['?', '#']).next().unwrap_or_default())
    }

    /// With its query, unless that is a signature: somebody else's cover, to be put back as it was.
    pub fn as_given(text: &str) -> Result<Self, BadCoverUrl> {
        let whole = text.trim().split('#').next().unwrap_or_default();
        let query = whole.split_once('?').map(|(_, query)| query.to_ascii_lowercase());
        let signs = |query: &str| SIGNATURES.iter().any(|name| query.contains(name));
        match query.is_some_and(|query| signs(&query)) {
            true => Self::new(text),
            false => Self::checked(text, whole),
        }
    }

    fn checked(text: &str, bare: &str) -> Result<Self, BadCoverUrl> {
        if bare.len() <= Self::MAX_LEN && is_plain(bare) {
            return Ok(Self(bare.to_owned()));
        }
        let bad = |why| BadCoverUrl { text: text.chars().take(128).collect(), why };
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
        path(&self.0)
    }
}

/// Whether an address is so plain that a parser has nothing to say about it, as VOD's own are: a name with
/// a letter in its last label, and a path of characters that stand for themselves. Twenty of them
/// are read in the life of one event.
fn is_plain(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let Some((host, path)) = rest.and_then(|rest| rest.split_once('/')) else { return false };
    if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/".contains(&b)) {
        return false;
    }
    let host = match host.split_once(':') {
        Some((host, port)) if is_port(port) => host,
        Some(_) => return false,
        None => host,
    };
    if host.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let mut labels = host.split('.');
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && !label.starts_with("xn--")
    };
    let last = labels.next_back().unwrap_or_default();
    label(last) && last.starts_with(|first: char| first.is_ascii_lowercase()) && labels.all(label)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// What marks a query that expires: URL signing of VOD's domains, and both signatures of OSS.
const SIGNATURES: [&str; 3] = ["auth_key=", "signature=", "security-token="];

/// An address without scheme, host, query and fragment.
fn path(url: &str) -> &str {
    let url = url.trim();
    let bare = url.bytes().position(|b| b == b'?' || b == b'#').map_or(url, |at| &url[..at]);
    let rest = bare.split_once("://").map_or(bare, |(_, rest)| rest);
    rest.bytes().position(|b| b == b'/').map_or("/", |at| &rest[at..])
}

impl fmt::Display for CoverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for CoverUrl {
    type Error = BadCoverUrl;
    fn try_from(text: String) -> Result<Self, BadCoverUrl> {
        Self::as_given(&text)
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
    pub memory: &'a Memory,
    /// Attempts at this event that failed before this one.
    pub attempts: u32,
    /// Whether a smart thumbnail that is not there yet may still come.
    pub may_come: bool,
}

/// What was found out so far. `None` means that nobody asked yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// VOD's smart thumbnails of this video; empty if it has none.
    pub intelligent: Option<Vec<IntelligentImage>>,
    pub current: Option<Current>,
    /// What became of the job for smart thumbnails that we ordered.
    pub job: Option<JobState>,
    /// What was found of the candidates that were asked for, by their numbers.
    pub pictures: Option<BTreeMap<u32, Finding>>,
}

/// What is known of a job for smart thumbnails that we ordered.
#[derive(Debug, Clone, PartialEq)]
pub enum JobState {
    Running,
    /// It yields nothing, and why: it failed, was refused, or is not known.
    Failed(String),
    Succeeded(Vec<IntelligentImage>),
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
    /// The one of the video's cover snapshots that VOD takes for a default: the middle one, number N/2 + 1.
    pub middle: Option<CoverUrl>,
}

impl Current {
    /// The cover as text without query; `None` if there is none.
    pub fn text(&self) -> Option<String> {
        match &self.cover {
            CurrentCover::None => None,
            CurrentCover::Is(cover) => Some(cover.to_string()),
            CurrentCover::Odd(text) => Some(text.chars().take(CoverUrl::MAX_LEN).collect()),
        }
    }
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
    /// Whether a smart thumbnail may still come and would be better, so that it is asked for again.
    pub provisional: bool,
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
    /// Nothing is decided before a smart thumbnail has come or its time is over.
    Wait,
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
    /// There is no video any more.
    Deleted,
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
            Self::Deleted => "the video was deleted",
        })
    }
}
