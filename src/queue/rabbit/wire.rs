//! Between a [`Message`] and AMQP properties. Reads whatever a foreign publisher set, leniently; writes
//! nothing but our own headers, so that `x-death` (by which RabbitMQ silently drops messages it takes
//! for a dead-letter cycle), `x-delivery-count` and headers of any size never travel on.

use bytes::Bytes;
use jiff::Timestamp;
use lapin::message::Delivery;
use lapin::protocol::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::queue::{DeadLetter, Failures, Message, Trace};

/// Names of our own headers. Those of failures are on every message that failed before, the last three
/// on dead letters only.
pub mod header {
    /// Attempts that ended in a counted failure.
    pub const ATTEMPTS: &str = "x-vod-cover-attempts";
    /// Times it was put off without being to blame.
    pub const DEFERRALS: &str = "x-vod-cover-deferrals";
    /// Times that people took it out of the dead letters to be tried again.
    pub const RETRIED: &str = "x-vod-cover-retried";
    pub const FIRST_ERROR: &str = "x-vod-cover-first-error";
    pub const LAST_ERROR: &str = "x-vod-cover-last-error";
    /// RFC 3339.
    pub const FIRST_FAILED_AT: &str = "x-vod-cover-first-failed-at";
    /// The routing key that the event was first published with: its EventType.
    pub const EVENT_TYPE: &str = "x-vod-cover-event-type";
    /// A machine-readable code such as `event.no-video-id`.
    pub const REASON: &str = "x-vod-cover-reason";
    /// RFC 3339.
    pub const DEAD_AT: &str = "x-vod-cover-dead-at";
    /// The version of vod-cover that gave the event up.
    pub const VERSION: &str = "x-vod-cover-version";
    /// W3C trace context; kept when it has that form.
    pub const TRACEPARENT: &str = "traceparent";
}

/// What makes a message a dead letter.
pub(super) struct Death<'a> {
    /// Empty where nobody said.
    pub reason: &'a str,
    pub at: Option<Timestamp>,
}

/// A delivery as a message. What is missing, of another type, or of an absurd length reads as absent.
pub(super) fn message(delivery: &mut Delivery) -> Message {
    let body = Bytes::from(std::mem::take(&mut delivery.data));
    let properties = &delivery.properties;
    let text = |name| text(properties.headers().as_ref()?.inner().get(name)?);
    let count = |name| {
        let value = properties.headers().as_ref()?.inner().get(name)?;
        Some(number(value)?.clamp(0, i64::from(u32::MAX)) as u32)
    };
    // A message that somebody published straight to the queue has the queue's name as its routing key.
    let routed = (!delivery.exchange.as_str().is_empty()).then(|| delivery.routing_key.to_string());
    let typed = || properties.kind().as_ref().map(ShortString::to_string);
    let kind = text(header::EVENT_TYPE).or(routed).or_else(typed).unwrap_or_default();
    let failures = text(header::LAST_ERROR).map(|last| Failures {
        since: text(header::FIRST_FAILED_AT)
            .and_then(|at| at.parse().ok())
            .unwrap_or(Timestamp::UNIX_EPOCH),
        first: text(header::FIRST_ERROR).unwrap_or_else(|| last.clone()),
        last,
    });
    Message {
        body,
        id: properties.message_id().as_ref().map(ShortString::to_string).unwrap_or_default(),
        kind: cut(&kind, 255).to_owned(),
        attempts: count(header::ATTEMPTS).unwrap_or(0),
        deferrals: count(header::DEFERRALS).unwrap_or(0),
        retried: count(header::RETRIED).unwrap_or(0),
        failures,
        trace: trace(delivery),
    }
}

/// A delivery of the dead queue. What RabbitMQ itself gave up, such as at the delivery limit, has no header of
/// ours that says why.
/// <https://www.rabbitmq.com/docs/dlx#effects>
pub(super) fn dead_letter(delivery: &mut Delivery) -> DeadLetter {
    let message = message(delivery);
    let headers = delivery.properties.headers().as_ref().map(FieldTable::inner);
    let given = |name| text(headers?.get(name)?);
    let brokers = || Some(format!("rabbitmq.{}", given("x-first-death-reason")?));
    let reason = given(header::REASON).or_else(brokers).unwrap_or_default();
    let brokers = || {
        let AMQPValue::FieldArray(deaths) = headers?.get("x-death")? else { return None };
        let Some(AMQPValue::FieldTable(death)) = deaths.as_slice().first() else { return None };
        let AMQPValue::Timestamp(at) = death.inner().get("time")? else { return None };
        Timestamp::from_second(i64::try_from(*at).ok()?).ok()
    };
    let died = given(header::DEAD_AT).and_then(|at| at.parse().ok()).or_else(brokers);
    DeadLetter { message, reason, died }
}

/// Deliveries before this one, as a quorum queue counts them; 0 on a classic queue, which does not.
pub(super) fn deliveries(delivery: &Delivery) -> u32 {
    let headers = delivery.properties.headers().as_ref();
    let count = headers.and_then(|headers| number(headers.inner().get("x-delivery-count")?));
    count.map_or(0, |count| count.clamp(0, i64::from(u32::MAX)) as u32)
}

/// The trace context of a delivery, if it has the form of one.
fn trace(delivery: &Delivery) -> Option<Trace> {
    let headers = delivery.properties.headers().as_ref()?;
    std::str::from_utf8(bytes(headers.inner().get(header::TRACEPARENT)?)?).ok()?.parse().ok()
}

/// The properties that a message is stored with: persistent, and no headers but ours.
pub(super) fn properties(message: &Message, death: Option<Death<'_>>) -> BasicProperties {
    let mut headers = FieldTable::default();
    let mut put = |name: &str, value: AMQPValue| {
        headers.insert(name.into(), value);
    };
    let long = |text: &str| AMQPValue::LongString(cut(text, Failures::MAX_TEXT).into());
    let is_first =
        [message.attempts, message.deferrals, message.retried] == [0; 3] && death.is_none();
    // One that was never tried is known by its routing key.
    if !is_first {
        put(header::ATTEMPTS, AMQPValue::LongLongInt(message.attempts.into()));
        put(header::DEFERRALS, AMQPValue::LongLongInt(message.deferrals.into()));
        put(header::EVENT_TYPE, long(&message.kind));
    }
    if message.retried > 0 {
        put(header::RETRIED, AMQPValue::LongLongInt(message.retried.into()));
    }
    if let Some(failures) = &message.failures {
        put(header::FIRST_ERROR, long(&failures.first));
        put(header::LAST_ERROR, long(&failures.last));
        put(header::FIRST_FAILED_AT, long(&failures.since.to_string()));
    }
    if let Some(trace) = message.trace {
        put(header::TRACEPARENT, long(&trace.to_string()));
    }
    if let Some(death) = death {
        if !death.reason.is_empty() {
            put(header::REASON, long(death.reason));
        }
        if let Some(at) = death.at {
            put(header::DEAD_AT, long(&at.to_string()));
        }
        put(header::VERSION, long(env!("CARGO_PKG_VERSION")));
    }
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_type(brief(&message.kind))
        .with_headers(headers);
    if message.id.is_empty() { properties } else { properties.with_message_id(brief(&message.id)) }
}

/// A string that AMQP stores in at most 255 bytes, cut to that: lapin panics on longer ones.
pub(super) fn brief(text: &str) -> ShortString {
    cut(text, 255).into()
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A header's text of at most [`Failures::MAX_TEXT`] bytes, whatever the publisher took for a string.
fn text(value: &AMQPValue) -> Option<String> {
    let bytes = bytes(value)?;
    let start = &bytes[..bytes.len().min(Failures::MAX_TEXT)];
    let text = String::from_utf8_lossy(start);
    Some(cut(&text, Failures::MAX_TEXT).to_owned())
}

fn bytes(value: &AMQPValue) -> Option<&[u8]> {
    match value {
        AMQPValue::LongString(text) => Some(text.as_bytes()),
        AMQPValue::ShortString(text) => Some(text.as_str().as_bytes()),
        AMQPValue::ByteArray(bytes) => Some(bytes.as_slice()),
        _ => None,
    }
}

fn number(value: &AMQPValue) -> Option<i64> {
    match *value {
        AMQPValue::ShortShortInt(n) => Some(n.into()),
        AMQPValue::ShortShortUInt(n) => Some(n.into()),
        AMQPValue::ShortInt(n) => Some(n.into()),
        AMQPValue::ShortUInt(n) => Some(n.into()),
        AMQPValue::LongInt(n) => Some(n.into()),
        AMQPValue::LongUInt(n) => Some(n.into()),
        AMQPValue::LongLongInt(n) => Some(n),
        _ => text(value)?.trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(exchange: &str, key: &str, properties: BasicProperties) -> Delivery {
        let body = b"{}\xff".to_vec();
        let mut delivery = Delivery::mock(1, exchange.into(), key.into(), false, body);
        delivery.properties = properties;
        delivery
    }

    fn with(headers: &[(&str, AMQPValue)]) -> BasicProperties {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        BasicProperties::default().with_headers(table)
    }

    #[test]
    fn a_message_with_no_properties_is_a_first_delivery() {
        let mut delivery = delivery("", "vod-cover", BasicProperties::default());
        assert_eq!(message(&mut delivery), Message::new(&b"{}\xff"[..], "", ""));
    }

    #[test]
    fn the_kind_is_the_routing_key_the_property_or_what_we_wrote_down_before() {
        let typed = BasicProperties::default().with_type("SnapshotComplete".into());
        assert_eq!(message(&mut delivery("", "q", typed.clone())).kind, "SnapshotComplete");
        assert_eq!(message(&mut delivery("vod.events", "Other", typed)).kind, "Other");
        let ours = with(&[(header::EVENT_TYPE, AMQPValue::LongString("First".into()))]);
        assert_eq!(message(&mut delivery("vod.events", "Other", ours)).kind, "First");
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let first = Message::new(&b"{}\xff"[..], "SnapshotComplete", "id-1");
        let now: Timestamp = "2026-05-01T10:00:00Z".parse().unwrap();
        let failed = first.after_failure(true, "no luck", now).after_failure(false, "busy", now);
        let written = properties(&failed, None);
        assert_eq!(message(&mut delivery("", "q", written)), failed);
    }

    #[test]
    fn counts_are_read_from_any_type_and_nonsense_is_absent() {
        let attempts =
            |value| message(&mut delivery("", "q", with(&[(header::ATTEMPTS, value)]))).attempts;
        assert_eq!(attempts(AMQPValue::ShortShortUInt(3)), 3);
        assert_eq!(attempts(AMQPValue::LongString(" 4 ".into())), 4);
        assert_eq!(attempts(AMQPValue::LongLongInt(-1)), 0);
        assert_eq!(attempts(AMQPValue::LongLongInt(i64::MAX)), u32::MAX);
        assert_eq!(attempts(AMQPValue::Double(2.5)), 0);
        assert_eq!(attempts(AMQPValue::LongString("many".into())), 0);
    }

    #[test]
    fn long_and_broken_text_is_cut_on_a_character() {
        let long = "é".repeat(Failures::MAX_TEXT);
        let read = message(&mut delivery(
            "",
            "q",
            with(&[
                (header::LAST_ERROR, AMQPValue::LongString(long.as_str().into())),
                (header::FIRST_ERROR, AMQPValue::LongString(vec![0xff; 5000].into())),
                (header::EVENT_TYPE, AMQPValue::LongString(long.as_str().into())),
            ]),
        ));
        let failures = read.failures.clone().unwrap();
        assert!(failures.last.len() <= Failures::MAX_TEXT);
        assert!(failures.first.len() <= Failures::MAX_TEXT);
        assert!(read.kind.len() <= 255);
        let written = properties(&read, None);
        assert!(written.kind().as_ref().unwrap().as_str().len() <= 255);
    }

    #[test]
    fn foreign_headers_do_not_travel_on_but_a_trace_does() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut delivery = delivery(
            "",
            "q",
            with(&[
                ("x-death", AMQPValue::Boolean(true)),
                ("x-first-death-queue", AMQPValue::LongString("q".into())),
                ("x-delivery-count", AMQPValue::LongLongInt(7)),
                ("x-big", AMQPValue::LongString(vec![b'a'; 100_000].into())),
                (header::TRACEPARENT, AMQPValue::LongString(trace.into())),
            ]),
        );
        let read = message(&mut delivery);
        assert_eq!(read.trace, trace.parse().ok());
        let written = properties(&read, None);
        let headers = written.headers().as_ref().unwrap();
        assert_eq!(bytes(&headers.inner()[header::TRACEPARENT]), Some(trace.as_bytes()));
        assert!(headers.inner().keys().all(|name| {
            name.as_str().starts_with("x-vod-cover-") || name.as_str() == header::TRACEPARENT
        }));
    }

    #[test]
    fn a_trace_of_another_form_is_dropped() {
        for wrong in ["", "yes", &"a".repeat(55_000)] {
            let headers = [(header::TRACEPARENT, AMQPValue::LongString(wrong.into()))];
            assert_eq!(message(&mut delivery("", "q", with(&headers))).trace, None);
        }
    }
}
