//! The port to what is remembered of each video: who works on it, what is about to be written, what
//! was written. It never talks to VOD and decides nothing. Two adapters, kept alike by one contract
//! suite (`tests/it/ledger_contract.rs`): `ledger::redis` and `local`.
//!
//! A video goes Leased -> Intended -> done with a [`Record`]. Every transition names the lease's owner
//! and fence, and is idempotent for them, because a reply can be lost after the effect.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::cover::{Intention, Record, Standing};
use crate::error::{Class, Dependency, Failure, Reason};
use crate::event::{EventKey, VideoId};

pub mod redis;

/// What an event is about, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub video: VideoId,
    pub event: EventKey,
    /// The kind of cause (EventType and SubType). Within one cause an older event never wins over a
    /// newer one.
    pub cause: String,
    /// EventTime, where the event had a readable one.
    pub at: Option<Timestamp>,
}

/// Who asks for a lease: one token for each delivery, never for a process, because a broker may deliver
/// the same message again while its first handler still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub Uuid);

/// The right to work on a video until `deadline`.
#[must_use]
#[derive(Debug)]
pub struct Lease {
    pub key: Key,
    pub owner: Owner,
    /// Grows with every lease of the video, so that a late writer is recognised.
    pub fence: u64,
    /// On this process's monotonic clock, counted from before the request left: never later than what
    /// the ledger's own clock grants.
    pub deadline: Instant,
}

/// What the ledger answers to a claim.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each event, and gone at once")]
pub enum Claim {
    Acquired {
        lease: Lease,
        standing: Standing,
        /// A write that was announced by an earlier lease of this video and never confirmed: it may or
        /// may not have happened.
        intention: Option<Intention>,
        /// Times in a row, this one included, that work on this event began and has not ended in an
        /// orderly way (`complete` or `release`): above one, its process may have died of it.
        starts: u32,
    },
    /// Another delivery works on this video.
    Busy { retry_after: Duration },
    /// This event, or a newer one of the same cause, has been dealt with.
    Done(Record),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{step}")]
    Unavailable {
        step: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The ledger answers, and refuses us: wrong password, or commands and keys that its access list
    /// does not grant. Every event would fail alike.
    #[error("{step}: the ledger refuses us; check user, password and access list")]
    Refused {
        step: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The lease ran out, or another owner holds the video now. Nothing was changed.
    #[error("the lease on video {video} is no longer ours")]
    LeaseLost { video: VideoId },
    /// What is stored for this video cannot be read, for example because a newer version wrote it.
    #[error("the ledger's entry of video {video} cannot be read")]
    Unreadable {
        video: VideoId,
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    pub fn unavailable(
        step: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { step, source: source.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (class, code, outage) = match &error {
            Error::Unavailable { .. } => (Class::Transient, "ledger.unavailable", true),
            Error::Refused { .. } => (Class::Misconfigured, "ledger.refused", true),
            // Not the event's fault; by then its next holder has had time to finish.
            Error::LeaseLost { .. } => {
                (Class::Deferred { after: Duration::from_secs(5) }, "ledger.lease-lost", false)
            }
            // A newer version may have written it; by the end of its rollout this one can read it.
            Error::Unreadable { .. } => (Class::Transient, "ledger.unreadable", false),
        };
        let failure = Failure::new(class, Reason::new(code), error);
        if outage { failure.outage_of(Dependency::Ledger) } else { failure }
    }
}

#[async_trait]
pub trait Ledger: Send + Sync {
    /// Asks for the video. Asking again with the same owner while its lease lasts succeeds again, with
    /// the same fence. `Done` if the event has a record, or if a cover was set for a later event of the
    /// same cause.
    async fn claim(&self, key: &Key, owner: Owner, lease: Duration) -> Result<Claim, Error>;

    /// Announces a write, before it is made, and starts the lease's time afresh: the lease that is
    /// returned has the new deadline.
    async fn intend(
        &self,
        lease: Lease,
        intention: &Intention,
        fresh: Duration,
    ) -> Result<Lease, Error>;

    /// Stores the end of the event and frees the video. A record with a cover becomes the video's standing and
    /// settles the intention; the intention outlives any other record, because its write may have
    /// happened all the same. A lease that ran out still completes if nobody has taken the video since.
    async fn complete(&self, lease: Lease, record: &Record) -> Result<(), Error>;

    /// Frees the video without a record; an intention stays on record. `LeaseLost` is no concern here.
    async fn release(&self, lease: Lease) -> Result<(), Error>;

    /// Whether the ledger answers now.
    async fn ping(&self) -> Result<(), Error>;
}
