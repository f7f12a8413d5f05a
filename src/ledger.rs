//! The port to what is remembered of each video: who works on it, what is about to be written, what
//! was written. It never talks to VOD and decides nothing. Two adapters, kept alike by one contract
//! suite (`tests/it/ledger_contract.rs`): `ledger::redis` and `local`.
//!
//! What is remembered of a video is one [`Memory`], stored whole: it comes with the claim, and only the
//! holder of the lease replaces it. Every transition names the lease's owner and fence, and is idempotent
//! for them, because a reply can be lost after the effect.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cover::{Memory, Record, Turn};
use crate::error::{Class, Dependency, Failure, Reason};
use crate::event::{EventKey, VideoId};
use crate::telemetry;

pub(crate) mod entry;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner(pub Uuid);

impl Owner {
    /// One that was never given out: of this process by its number, and of all processes by chance.
    pub fn another() -> Self {
        static FIRST: LazyLock<u128> = LazyLock::new(|| Uuid::new_v4().as_u128());
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
        Self(Uuid::from_u128(FIRST.wrapping_add(number)))
    }
}

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
    pub known: Known,
}

/// What an adapter keeps of the video besides the memory, so that the holder's transitions need not read it:
/// nobody else changes it meanwhile. Empty, it costs a look.
#[derive(Debug, Clone, Default)]
pub struct Known {
    revision: u64,
    events: entry::Events,
}

/// What the ledger answers to a claim.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each event, and gone at once")]
pub enum Claim {
    Acquired {
        lease: Lease,
        /// Empty for a video that is not known.
        memory: Memory,
        /// Times in a row, this one included, that work on this event began and has not ended in an
        /// orderly way (`complete` or `release`): above one, its process may have died of it.
        starts: u32,
    },
    /// Another delivery works on this video.
    Busy { retry_after: Duration },
    /// This event has been dealt with, with what has to follow from it.
    Done(Option<Turn>),
    /// A cover was set for a newer event of the same cause.
    Outdated,
}

/// What is known of a video, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    pub memory: Memory,
    /// Leases that the video has had.
    pub fence: u64,
    /// How long the present lease lasts at the most, if somebody works on the video.
    pub leased: Option<Duration>,
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
        if matches!(error, Error::LeaseLost { .. }) {
            telemetry::lease("lost");
        }
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
    /// the same fence. `Done` if the event has a record, `Outdated` if a cover was set for a later event
    /// of the same cause.
    async fn claim(&self, key: &Key, owner: Owner, lease: Duration) -> Result<Claim, Error>;

    /// Stores what must be known before an effect, and starts the lease's time afresh: the lease that is
    /// returned has the new deadline. Refused under a lease that ran out, because an effect follows.
    async fn remember(
        &self,
        lease: Lease,
        memory: &Memory,
        fresh: Duration,
    ) -> Result<Lease, Error>;

    /// Stores the end of the event and what is remembered from it, and frees the video. A lease that ran
    /// out still completes if nobody has taken the video since.
    async fn complete(&self, lease: Lease, record: &Record, memory: &Memory) -> Result<(), Error>;

    /// Frees the video without a record, and stores the memory if one is given and the video is still
    /// ours. `LeaseLost` is no concern here.
    async fn release(&self, lease: Lease, memory: Option<&Memory>) -> Result<(), Error>;

    /// What is known of a video now; `None` if nothing is. Changes nothing.
    async fn look(&self, video: &VideoId) -> Result<Option<Sight>, Error>;

    /// A text that was stored under this name, such as how far a walk has come.
    async fn bookmark(&self, name: &str) -> Result<Option<String>, Error>;

    /// Stores a text under a name; none, or an empty one, removes it. Remembered as long as a video.
    async fn set_bookmark(&self, name: &str, text: Option<&str>) -> Result<(), Error>;

    /// Whether the ledger answers now.
    async fn ping(&self) -> Result<(), Error>;
}
