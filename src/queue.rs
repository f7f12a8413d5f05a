//! The port to where events wait. It knows messages and how they end; it never looks into a body.
//! Two adapters: `queue::rabbit` and `local` (and `queue::replay`, a file read once).

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::error::Reason;

mod dead;
pub mod rabbit;
pub mod replay;
mod trace;

pub use dead::{DeadLetter, DeadLetters, Fate};
pub use trace::{BadTrace, Trace};

/// One event with what we must remember of it between attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The event as VOD sent it, untouched.
    pub body: Bytes,
    /// An id for look-ups and traces; nothing is deduplicated by it. Empty when the publisher gave none.
    pub id: String,
    /// The EventType where the publisher knew it: the routing key on RabbitMQ. May be empty.
    pub kind: String,
    /// Attempts that ended in a counted failure. 0 on the first delivery.
    pub attempts: u32,
    /// Times it was put off without being to blame.
    pub deferrals: u32,
    /// Times that people took it out of the dead letters to be tried again.
    pub retried: u32,
    /// When the first failure happened, and what it and the latest one said.
    pub failures: Option<Failures>,
    /// The trace that it belongs to, kept to its end; `None` when the publisher gave none.
    pub trace: Option<Trace>,
}

/// The first and the latest failure of a message: text of at most [`Failures::MAX_TEXT`] bytes each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failures {
    pub since: Timestamp,
    pub first: String,
    pub last: String,
}

impl Failures {
    pub const MAX_TEXT: usize = 1024;
}

impl Message {
    /// A message that was never tried.
    pub fn new(body: impl Into<Bytes>, kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            id: id.into(),
            kind: kind.into(),
            attempts: 0,
            deferrals: 0,
            retried: 0,
            failures: None,
            trace: None,
        }
    }

    /// A dead letter as it goes back to the events: its attempts begin anew, and what it failed of before is
    /// still told.
    pub fn tried_again(self) -> Self {
        Self { attempts: 0, deferrals: 0, retried: self.retried.saturating_add(1), ..self }
    }

    /// The message as it is stored for the next attempt, or among the dead letters.
    pub fn after_failure(mut self, counts: bool, error: &str, now: Timestamp) -> Self {
        let mut text = error.to_owned();
        text.truncate(text.floor_char_boundary(Failures::MAX_TEXT));
        match &mut self.failures {
            Some(failures) => failures.last = text,
            None => {
                self.failures = Some(Failures { since: now, first: text.clone(), last: text });
            }
        }
        if counts {
            self.attempts += 1;
        } else {
            self.deferrals += 1;
        }
        self
    }
}

/// A message that is ours to settle. Dropping it settles nothing: the queue delivers it again when the
/// connection or the process that took it is gone.
#[must_use]
#[derive(Debug)]
pub struct Delivery {
    pub message: Message,
    pub tag: Tag,
}

/// What the adapter needs to settle a delivery. A number means something only within its generation
/// (one channel, one opened file); settling a tag of an earlier generation does nothing, since the
/// queue delivers that message again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    pub generation: u64,
    pub number: u64,
}

/// How the handling of a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    Done,
    /// It is done, and this message takes its place, to be delivered when roughly this much time has
    /// passed.
    Replace {
        message: Message,
        after: Duration,
    },
    Retry {
        /// At least roughly this long; adapters with fixed tiers take the longest one that does not
        /// exceed it, or their shortest.
        after: Duration,
        /// Whether it counts as an attempt.
        counts: bool,
        error: String,
    },
    Dead {
        reason: Reason,
        error: String,
    },
}

/// Messages that wait, as far as the queue can tell at no great cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    pub ready: u64,
    pub delayed: u64,
    pub dead: u64,
}

/// Whether a queue can be used now, for `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Ready,
    /// With what is wrong and what to do about it.
    Away(String),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue cannot be reached or did not confirm in time. Nothing is known to be stored.
    #[error("{step}")]
    Unavailable {
        step: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The broker accepted the message but had no queue for it, so it stored nothing.
    #[error(
        "no queue is bound for routing key {kind:?} of exchange {exchange:?}; run `vod-cover declare`"
    )]
    Unroutable { exchange: String, kind: String },
}

impl Error {
    pub fn unavailable(
        step: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { step, source: source.into() }
    }
}

#[async_trait]
pub trait Queue: Send + Sync {
    /// Stores a message; it is durable when this returns.
    async fn publish(&self, message: Message) -> Result<(), Error>;

    /// Stores a message among the dead letters, for what can be known to be no event before it is delivered; it
    /// is durable when this returns.
    async fn bury(&self, message: Message, reason: Reason, error: &str) -> Result<(), Error>;

    /// The next message, or `None` when a finite queue has ended. Starts or resumes taking if it was
    /// paused. Waits through broken connections, which it mends by itself. Cancel safe: dropping the
    /// future loses no delivery.
    async fn next(&self) -> Result<Option<Delivery>, Error>;

    /// One more that is there already, without waiting, after `next` has returned one.
    fn at_hand(&self) -> Option<Delivery> {
        None
    }

    /// Ends a delivery. `Replace`, `Retry` and `Dead` are stored before the original is acknowledged, so that a
    /// crash in between makes a duplicate, never a loss. An error means that the delivery is not
    /// settled and will come again.
    async fn settle(&self, delivery: Delivery, how: Settlement) -> Result<(), Error>;

    /// Ends deliveries that are done, at less cost than one by one. After an error some of them will come
    /// again.
    async fn settle_done(&self, deliveries: Vec<Delivery>) -> Result<(), Error> {
        for delivery in deliveries {
            self.settle(delivery, Settlement::Done).await?;
        }
        Ok(())
    }

    /// Stops taking. Deliveries that `next` has not handed out return to the queue; those handed out
    /// can still be settled.
    async fn pause(&self);

    /// Whether to take one message only when the one before is settled, instead of as many as are
    /// worked on at once: after a pause, until it is sure that work can go on. A message that is taken
    /// and returns unworked counts as delivered on a quorum queue, and too many of those are the end of it.
    fn take_singly(&self, _singly: bool) {}

    /// Begins a walk through the dead letters. It may go on beside whoever takes events.
    async fn dead_letters(&self) -> Result<Box<dyn DeadLetters>, Error>;

    /// What waits, asked of the queue now.
    async fn depth(&self) -> Result<Depth, Error>;

    /// Messages that wait for another attempt, by the delay that each was given; the shortest first.
    async fn delays(&self) -> Result<Vec<(Duration, u64)>, Error> {
        Ok(Vec::new())
    }

    /// Whether the queue can be used now, from what is known without asking.
    fn health(&self) -> Health;
}
