//! The rules that a cover is chosen by, and how they are written. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Candidate;

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
    /// The snapshot without defects that looks best.
    Best,
    /// What comes after the last rule and cannot be configured: where every snapshot has defects, the
    /// one with the highest score, if it is clearly better than what is there. As it stands in no
    /// chain, any newer event may replace such a cover.
    LeastBad,
    /// Leave the cover as it is.
    Keep,
}

impl Rule {
    /// Where in the set the rule points, for those that go by position; it may be beyond the set.
    pub fn target(self, candidates: &[Candidate]) -> Option<usize> {
        let count = candidates.len();
        match self {
            Self::First => Some(0),
            Self::Middle => Some(count / 2),
            Self::Last => Some(count.saturating_sub(1)),
            Self::Nth(wanted) => {
                let found = candidates.iter().position(|candidate| candidate.number == wanted);
                Some(found.unwrap_or(count))
            }
            // Rounds to the nearest; a part of 0.0 to 1.0 cannot leave the range.
            Self::At(part) => Some((part * count.saturating_sub(1) as f64).round() as usize),
            Self::Intelligent | Self::Best | Self::LeastBad | Self::Keep => None,
        }
    }
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
            Self::Best => f.write_str("best"),
            Self::LeastBad => f.write_str("least-bad"),
            Self::Keep => f.write_str("keep"),
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no rule: use best, intelligent, first, middle, last, nth=NUMBER (from 1), at=PART \
     (0.0 to 1.0) or keep"
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
            ("best", None) => Ok(Self::Best),
            // Only records have it; policies refuse it.
            ("least-bad", None) => Ok(Self::LeastBad),
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
