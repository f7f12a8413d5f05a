//! Takes VOD's events from a queue of SMQ to ours, for accounts that have their events put there instead of
//! being called back. A message is deleted there only after it is stored here; what is not becomes visible
//! there again by itself. So nothing is lost, and what is stored and could not be deleted comes twice, with the
//! same id.
//!
//! Nothing is received while it could not be stored: SMQ counts how often a message was received, may drop it
//! for that into dead letters of its own, and throttles who receives and does not delete.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/user-guide/smq-callbacks>

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, warn};

use super::envelope;
use crate::backoff::Backoff;
use crate::error::{Class, chain};
use crate::queue::{self, Health, Message, Queue};
use crate::smq::{Error, Received, Smq};
use crate::telemetry::{self, spans};

/// SMQ's own default, where the queue may not be asked for its attributes.
const VISIBILITY: Duration = Duration::from_secs(30);
/// Shorter ones make duplicates whenever the broker is slow.
const SHORT_VISIBILITY: Duration = Duration::from_secs(30);
/// Less than the time for which a worker may have to be mended.
const SHORT_RETENTION: Duration = Duration::from_secs(86_400);
/// Storing is tried for this long at the most, so that a stop need not wait for more.
const STORE: Duration = Duration::from_secs(20);
/// Between two looks at whether messages could be stored.
const LOOK: Duration = Duration::from_millis(200);
/// After an answer that only an operator can do something about.
const MISCONFIGURED: Duration = Duration::from_secs(10);

/// Consumers of one queue of SMQ.
pub struct Consumers {
    smq: Smq,
    queue: Arc<dyn Queue>,
    count: usize,
    /// What SMQ said last, unless it was well.
    trouble: Mutex<Option<String>>,
}

/// How the taking of some messages went.
#[derive(PartialEq, Eq)]
enum Taken {
    All,
    /// The others will come again.
    Some,
}

impl Consumers {
    pub fn new(smq: Smq, queue: Arc<dyn Queue>, count: usize) -> Self {
        Self { smq, queue, count, trouble: Mutex::default() }
    }

    /// Why nothing comes from SMQ, as far as is known.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Until `stop`; then what was received is stored and deleted.
    pub async fn run(&self, stop: CancellationToken) {
        let Some(visibility) = stop.run_until_cancelled(self.visibility()).await else { return };
        join_all((0..self.count).map(|_| self.consume(visibility, &stop))).await;
    }

    /// How long a message is invisible that was received. Says what of the queue's settings is dangerous.
    async fn visibility(&self) -> Duration {
        let attributes = match self.smq.attributes().await {
            Ok(attributes) => attributes,
            Err(trouble) => {
                self.note(&trouble);
                return VISIBILITY;
            }
        };
        let (visibility, retention) = (attributes.visibility, attributes.retention);
        info!(?visibility, ?retention, consumers = self.count, "taking events from SMQ");
        if visibility < SHORT_VISIBILITY {
            warn!(?visibility, "SMQ's VisibilityTimeout is short: set it to 60 s or more");
        }
        if retention < SHORT_RETENTION {
            warn!(
                ?retention,
                "SMQ drops what waits for longer: set MessageRetentionPeriod to 7 days"
            );
        }
        visibility
    }

    async fn consume(&self, visibility: Duration, stop: &CancellationToken) {
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            if self.queue.health() != Health::Ready {
                stop.run_until_cancelled(sleep(LOOK)).await;
                continue;
            }
            let began = Instant::now();
            let Some(received) = stop.run_until_cancelled(self.smq.receive()).await else { return };
            let pause = match received {
                Ok(messages) if messages.is_empty() => {
                    self.note_well();
                    // More consumers wait than SMQ has places for: it answers at once.
                    (began.elapsed() < self.smq.wait() / 2).then(|| backoff.next())
                }
                Ok(messages) => {
                    self.note_well();
                    let taken = self.take(&messages, Instant::now() + visibility, stop).await;
                    (taken == Taken::Some).then(|| backoff.next())
                }
                Err(trouble) => {
                    self.note(&trouble);
                    Some(match trouble.class() {
                        Class::Deferred { after } => after + backoff.next(),
                        Class::Misconfigured | Class::Permanent => MISCONFIGURED,
                        Class::Transient => backoff.next(),
                    })
                }
            };
            match pause {
                Some(pause) => drop(stop.run_until_cancelled(sleep(pause)).await),
                None => backoff.reset(),
            }
        }
    }

    /// Stores messages, and deletes those that were stored. They are visible again from `visible` on.
    async fn take(
        &self,
        messages: &[Received],
        visible: Instant,
        stop: &CancellationToken,
    ) -> Taken {
        telemetry::smq_received(messages.len());
        let left = visible.saturating_duration_since(Instant::now());
        // The rest of the time is for deleting them.
        let until = Instant::now() + (left * 2 / 3).min(STORE);
        let stored = join_all(messages.iter().map(|one| self.store(one, until, stop))).await;
        let handles: Vec<_> = messages.iter().zip(&stored).filter(|(_, stored)| **stored).collect();
        let handles: Vec<_> = handles.into_iter().map(|(one, _)| one.handle.as_str()).collect();
        if !handles.is_empty() {
            self.delete(&handles, visible, stop).await;
        }
        if handles.len() == messages.len() { Taken::All } else { Taken::Some }
    }

    /// Whether a message is stored durably.
    async fn store(&self, received: &Received, until: Instant, stop: &CancellationToken) -> bool {
        let mut backoff = Backoff::default();
        loop {
            let why =
                match timeout_at(until, self.publish(received).instrument(spans::intake())).await {
                    Ok(Ok(())) => return true,
                    Ok(Err(error)) => error,
                    Err(late) => queue::Error::unavailable("storing a message of SMQ", late),
                };
            let pause = backoff.next();
            let hopeless = matches!(why, queue::Error::Unroutable { .. });
            if hopeless || stop.is_cancelled() || Instant::now() + pause >= until {
                let (id, times) = (&received.id, received.times);
                warn!(error = chain(&why), message.id = id, times, "a message stays in SMQ");
                return false;
            }
            stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// What is no event is a dead letter at once: whatever is bound to the exchange need not lead to a
    /// worker that would say so.
    async fn publish(&self, received: &Received) -> Result<(), queue::Error> {
        match envelope::message(body(&received.body)) {
            Ok(message) => {
                debug!(smq.id = received.id, message.id, "taking a message of SMQ");
                self.queue.publish(message).await
            }
            Err(error) => {
                let reason = error.reason();
                error!(%reason, error = chain(&error), smq.id = received.id, "dead letter");
                // ApsaraMQ closes the channel on an empty body.
                let text = if received.body.is_empty() { " " } else { &received.body };
                let message = Message::new(text.to_owned(), "", received.id.as_str());
                self.queue.bury(message, reason, &chain(&error)).await
            }
        }
    }

    /// Until it works, or there is no use in it any more.
    async fn delete(&self, handles: &[&str], visible: Instant, stop: &CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.smq.delete(handles).await {
                Ok(refused) => {
                    telemetry::smq_deleted(handles.len().saturating_sub(refused));
                    if refused > 0 {
                        info!(refused, "SMQ has kept messages that are stored; they come again");
                    }
                    return self.note_well();
                }
                Err(error) => error,
            };
            self.note(&error);
            let pause = backoff.next();
            if stop.is_cancelled() || Instant::now() + pause >= visible {
                let count = handles.len();
                return warn!(count, "messages of SMQ that are stored will come again");
            }
            stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// Says what is new only: each consumer meets with the same.
    fn note(&self, trouble: &Error) {
        telemetry::smq_failed(trouble.class());
        let text = chain(trouble);
        let mut noted = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // Each answer has another request id.
        let same = noted.is_some() && trouble.class() != Class::Misconfigured;
        if !same && noted.as_ref() != Some(&text) {
            match trouble.class() {
                Class::Misconfigured | Class::Permanent => {
                    error!(error = text, "SMQ cannot be used; see `vod-cover check`");
                }
                Class::Transient | Class::Deferred { .. } => {
                    warn!(error = text, "SMQ does not work at the moment");
                }
            }
        }
        *noted = Some(text);
    }

    fn note_well(&self) {
        let mut noted = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.take().is_some() {
            info!("SMQ works");
        }
    }
}

/// The event in a message. VOD's documentation does not say whether it is in Base64, and other products differ.
/// Whatever is neither kind is left as it is.
fn body(text: &str) -> Bytes {
    let plain = || Bytes::copy_from_slice(text.as_bytes());
    if text.trim_start().starts_with('{') {
        return plain();
    }
    let decoded = STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded {
        Some(event) if event.trim_start().starts_with('{') => Bytes::from(event),
        _ => plain(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_found_plain_or_in_base64_and_never_changed() {
        for event in
            [r#"{"EventType":"x"}"#, " {\n}\n", "{ not JSON", "no", "[]", "", "====", "e30"]
        {
            assert_eq!(body(event), event, "{event}");
        }
        assert_eq!(
            body("eyJFdmVudFR5cGUiOiJTbmFwc2hvdENvbXBsZXRlIn0="),
            r#"{"EventType":"SnapshotComplete"}"#
        );
        assert_eq!(body(" e30=\n"), "{}");
        // Base64 of what is no event, and of no text.
        for text in ["aGVsbG8=", "/////w=="] {
            assert_eq!(body(text), text);
        }
    }
}
