//! Why handling an event failed, and what that calls for. Every error of every module ends as one
//! [`Failure`], and `pipeline::react` is the only place that turns a failure into an action.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What a failure calls for. There are four classes and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Might work later: retried with a growing delay, and dead-lettered when the ladder ends.
    Transient,
    /// Not this event's fault (throttled, lease held by another): retried without counting an attempt.
    Deferred {
        /// How long to wait at the least.
        after: Duration,
    },
    /// Can never work: dead-lettered at once, with its reason.
    Permanent,
    /// Every event would fail the same way (bad key, no permission): intake pauses, and nothing is
    /// dead-lettered.
    Misconfigured,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Deferred { .. } => "deferred",
            Self::Permanent => "permanent",
            Self::Misconfigured => "misconfigured",
        }
    }
}

/// A program that vod-cover cannot work without, by the name it has in `/readyz` and in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dependency {
    Vod,
    Ledger,
    Queue,
    /// Where VOD's pictures are served from.
    Pictures,
}

impl Dependency {
    pub const ALL: [Self; 4] = [Self::Vod, Self::Ledger, Self::Queue, Self::Pictures];

    pub fn name(self) -> &'static str {
        match self {
            Self::Vod => "vod",
            Self::Ledger => "ledger",
            Self::Queue => "queue",
            Self::Pictures => "pictures",
        }
    }
}

/// A machine-readable reason such as `event.no-video-id` or `vod.InvalidVideo.NotFound`: the value of
/// the dead letter's reason header and of metric labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    pub const fn new(code: &'static str) -> Self {
        Self(Cow::Borrowed(code))
    }

    /// A reason that carries a code chosen by another program. Characters other than letters, digits
    /// and `.-_` become `_`, and it is cut at 64 bytes, so that no label can grow without bound.
    pub fn foreign(prefix: &str, code: &str) -> Self {
        let clean = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' };
        Self(Cow::Owned(format!("{prefix}.{code}").chars().map(clean).take(64).collect()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The end of an unsuccessful attempt at one event.
#[derive(Debug)]
pub struct Failure {
    pub class: Class,
    pub reason: Reason,
    /// Set when the failure says that this dependency cannot be used at all at the moment (refused
    /// connection, ledger gone, wrong key), which no event is to blame for.
    pub outage: Option<Dependency>,
    pub source: Box<dyn Error + Send + Sync>,
}

impl Failure {
    pub fn new(
        class: Class,
        reason: Reason,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { class, reason, outage: None, source: source.into() }
    }

    /// The same failure, blamed on a dependency instead of on the event.
    pub fn outage_of(self, dependency: Dependency) -> Self {
        Self { outage: Some(dependency), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, chain(self.source.as_ref()))
    }
}

/// An error and everything that caused it, joined by `: `. Called once, where the error is handled.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
