//! What an operator can set about RabbitMQ, and the names that follow from it.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de};

/// The section `[queue.rabbitmq]`. Defaults live in `config/default.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `amqp://user:password@host:5672/vhost`, or `amqps://` (port 5671, checked against the certificates
    /// the system trusts). User name, password and vhost are percent-encoded; the default vhost is `%2f`.
    /// `?heartbeat=10` sets the heartbeat in seconds and takes precedence over `heartbeat`.
    pub url: SecretString,
    /// The durable topic exchange that events are published to.
    pub exchange: String,
    /// The queue that events wait in. The retry tiers are `<queue>.retry.<delay>`, the dead letters
    /// `<queue>.dead`.
    pub queue: String,
    /// `quorum` on RabbitMQ 3.10 or newer; `classic` on ApsaraMQ for RabbitMQ and on older brokers.
    pub r#type: QueueType,
    /// Whether to `create` what is missing, to `verify` that it is there, or to touch nothing (`none`).
    pub declare: Declare,
    /// Events in flight: how many are handled at the same time. At least 1.
    pub prefetch: u16,
    /// Routing keys (the EventType of VOD) that are bound to the queue; `#` binds all. Only used by
    /// `declare = "create"`, which never takes a binding away.
    pub bindings: Vec<String>,
    /// Delays of the retry tiers, in ascending order. A queue each, since RabbitMQ expires messages
    /// only at the head of a queue. Changing one leaves the old queue behind, which still works.
    #[serde(deserialize_with = "delays")]
    pub retry_tiers: Vec<Duration>,
    /// How long to wait for one answer of the broker.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub confirm_timeout: Duration,
    /// Deliveries after which a quorum queue moves a message to the dead letters by itself: a last
    /// resort against a message that kills every worker, which must be high, since a crash counts for
    /// every message in flight. At least 50 is advised.
    pub delivery_limit: u32,
    /// Seconds of silence after which either side takes the connection for dead; 0 leaves it to the
    /// broker.
    pub heartbeat: u16,
}

/// Which kind of queue to declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    /// Replicated, with a delivery limit, and at-least-once dead-lettering out of the retry tiers.
    Quorum,
    /// Durable, with no arguments but those that ApsaraMQ for RabbitMQ documents; it documents no
    /// `x-queue-type`, so none is sent.
    Classic,
}

/// What to do about exchange and queues when connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Declare {
    Create,
    Verify,
    None,
}

impl Settings {
    /// The queue of a retry tier. The delay is part of the name, so that a changed delay makes another
    /// queue instead of a conflict with the old one.
    pub fn retry_queue(&self, delay: Duration) -> String {
        format!("{}.retry.{}", self.queue, short(delay))
    }

    pub fn dead_queue(&self) -> String {
        format!("{}.dead", self.queue)
    }

    /// The queue for a retry after this long: of the longest tier that does not exceed it, or else of
    /// the shortest. `None` when there are no tiers.
    pub(super) fn retry_queue_for(&self, after: Duration) -> Option<String> {
        let fitting = self.retry_tiers.iter().filter(|tier| **tier <= after).max();
        let tier = fitting.or_else(|| self.retry_tiers.iter().min())?;
        Some(self.retry_queue(*tier))
    }
}

/// `90s`, `2m`, `1h`, `200ms`: the largest unit that needs no fraction.
fn short(delay: Duration) -> String {
    match delay.as_millis() {
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

/// Delays of whole milliseconds, sorted and each once. None at all, zero, or more than a day (the
/// longest that ApsaraMQ's smallest edition holds a message) is an error.
fn delays<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct Delay(
        #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
        Duration,
    );
    let given: Vec<Delay> = Vec::deserialize(deserializer)?;
    let mut delays: Vec<Duration> =
        given.iter().map(|delay| Duration::from_millis(delay.0.as_millis() as u64)).collect();
    delays.sort();
    delays.dedup();
    if delays.is_empty() {
        return Err(de::Error::custom("at least one retry tier is needed"));
    }
    if let Some(wrong) =
        delays.iter().find(|delay| delay.is_zero() || **delay > Duration::from_hours(24))
    {
        return Err(de::Error::custom(format!(
            "a retry tier must be between 1ms and 24h, not {wrong:?}"
        )));
    }
    Ok(delays)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::queue::rabbit) fn settings() -> Settings {
        serde_json::from_value(serde_json::json!({
            "url": "amqp://127.0.0.1", "exchange": "vod.events", "queue": "vod-cover",
            "type": "quorum", "declare": "create", "prefetch": 64, "bindings": ["#"],
            "retry_tiers": ["1h", "5s", "30s", "2m", "10m", "200ms"],
            "confirm_timeout": "10s", "delivery_limit": 50, "heartbeat": 10,
        }))
        .unwrap()
    }

    #[test]
    fn tiers_are_sorted_and_named_after_their_delay() {
        let settings = settings();
        let names: Vec<_> =
            settings.retry_tiers.iter().map(|tier| settings.retry_queue(*tier)).collect();
        assert_eq!(
            names,
            [
                "vod-cover.retry.200ms",
                "vod-cover.retry.5s",
                "vod-cover.retry.30s",
                "vod-cover.retry.2m",
                "vod-cover.retry.10m",
                "vod-cover.retry.1h"
            ]
        );
    }

    #[test]
    fn a_retry_takes_the_longest_tier_that_is_not_too_long_or_else_the_shortest() {
        let settings = settings();
        let tier = |ms| settings.retry_queue_for(Duration::from_millis(ms)).unwrap();
        assert_eq!(tier(0), "vod-cover.retry.200ms");
        assert_eq!(tier(5_000), "vod-cover.retry.5s");
        assert_eq!(tier(29_999), "vod-cover.retry.5s");
        assert_eq!(tier(90_000), "vod-cover.retry.30s");
        assert_eq!(tier(u64::MAX), "vod-cover.retry.1h");
    }

    #[test]
    fn tiers_that_cannot_work_are_refused() {
        for wrong in [r#"[]"#, r#"["0s"]"#, r#"["25h"]"#, r#"["soon"]"#] {
            let mut deserializer = serde_json::Deserializer::from_str(wrong);
            assert!(delays(&mut deserializer).is_err(), "{wrong}");
        }
    }
}
