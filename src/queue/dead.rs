//! Dead letters, to be looked at, tried again or dropped by people. Looking must never lose one: a letter
//! leaves the dead letters only when it is stored elsewhere, or when somebody says that it may go.

use async_trait::async_trait;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Error, Message};

/// A message that could not be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// With its attempts and its first and last failure.
    pub message: Message,
    /// The [`Reason`](crate::error::Reason) as text; `rabbitmq.` and RabbitMQ's own word where the broker
    /// gave it up; empty where nobody said.
    pub reason: String,
    pub died: Option<Timestamp>,
}

impl DeadLetter {
    /// By what people name it: 12 hexadecimal digits, the same at every look. Two letters share one only
    /// if they are alike to the moment of their death.
    pub fn key(&self) -> String {
        let mut digest = Sha256::new();
        let died = self.died.map_or(0, Timestamp::as_millisecond);
        digest.update(died.to_be_bytes());
        for part in [self.message.id.as_bytes(), self.reason.as_bytes(), &self.message.body] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What becomes of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes back to the events, as one that was never tried.
    Retry,
    /// It is gone for good.
    Drop,
}

impl Fate {
    /// A metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Drop => "drop",
        }
    }
}

/// One walk through the dead letters, oldest first, which ends with those that there were at its beginning.
/// Dropping it keeps what was not settled.
#[async_trait]
pub trait DeadLetters: Send {
    /// The next one. The one before stays a dead letter if it was not settled. On RabbitMQ nobody else sees
    /// what was returned here before the walk is closed.
    async fn next(&mut self) -> Result<Option<DeadLetter>, Error>;

    /// Settles what `next` returned last. `false` if somebody else did so before. After an error it is among
    /// the dead letters still, and perhaps among the events too.
    async fn settle(&mut self, fate: Fate) -> Result<bool, Error>;

    /// Ends the walk.
    async fn close(self: Box<Self>) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ_in_anything_have_keys_of_their_own() {
        let letter = |id: &str, body: &'static str, reason: &str, died: Option<i64>| DeadLetter {
            message: Message::new(body, "Kind", id),
            reason: reason.to_owned(),
            died: died.map(|at| Timestamp::from_millisecond(at).unwrap()),
        };
        let one = letter("ab", "c", "r", Some(1)).key();
        assert_eq!(one.len(), 12);
        assert_eq!(letter("ab", "c", "r", Some(1)).key(), one);
        let others = [
            letter("a", "bc", "r", Some(1)),
            letter("ab", "c", "s", Some(1)),
            letter("ab", "c", "r", Some(2)),
            letter("ab", "c", "r", None),
            letter("ab", "", "cr", Some(1)),
        ];
        for other in others {
            assert_ne!(other.key(), one, "{other:?}");
        }
    }
}
