//! What was found of a candidate's picture. Pure; `crate::inspect` finds it.

use crate::picture::Facts;

/// One candidate's picture, looked at or not to be had.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    Seen(Seen),
    /// There is no picture that could be a cover, and there will be none: it is missing, broken or too
    /// large. Says why.
    Bad(String),
    /// It could not be looked at this time, which says nothing about the picture. Says why.
    Unreachable(String),
}

/// A picture that was decoded and scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// 0 to 100. Scores are relative, so they are compared within one video only.
    pub score: f64,
    /// What keeps it from being a cover, such as `black`; empty for a usable one.
    pub defects: Vec<String>,
    pub facts: Facts,
    /// What the score was made of, by name.
    pub features: Vec<(&'static str, f64)>,
}

impl Finding {
    pub fn seen(&self) -> Option<&Seen> {
        match self {
            Self::Seen(seen) => Some(seen),
            Self::Bad(_) | Self::Unreachable(_) => None,
        }
    }

    /// Whether a rule may choose it.
    pub fn is_usable(&self) -> bool {
        self.seen().is_some_and(|seen| seen.defects.is_empty())
    }

    /// What is wrong with it, as it follows "snapshot 3"; `None` for a usable one.
    pub fn flaw(&self) -> Option<String> {
        match self {
            Self::Seen(seen) if seen.defects.is_empty() => None,
            Self::Seen(seen) => Some(format!("is {}", seen.defects.join(" and "))),
            Self::Bad(_) => Some("cannot be used".into()),
            Self::Unreachable(_) => Some("could not be looked at".into()),
        }
    }

    /// The same with the cause, which may be long.
    pub fn flaw_and_cause(&self) -> Option<String> {
        let flaw = self.flaw()?;
        match self {
            Self::Seen(_) => Some(flaw),
            Self::Bad(why) | Self::Unreachable(why) => Some(format!("{flaw} ({why})")),
        }
    }
}
