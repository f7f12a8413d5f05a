//! A plain AMQP client of the tests' own: publishes as somebody else's bridge does, and looks at queues.

use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use vod_cover::queue::rabbit::header;
use vod_cover::queue::{Failures, Message};

use crate::wait::eventually;
use crate::world::Program;

pub struct Broker {
    connection: Connection,
    channel: Channel,
}

/// A message taken from a queue.
pub struct Letter {
    pub body: Vec<u8>,
    pub persistent: bool,
    pub headers: FieldTable,
    pub routing_key: String,
    pub id: String,
}

impl Letter {
    /// The text of a header; empty if there is none.
    pub fn header(&self, name: &str) -> String {
        match self.headers.inner().get(name) {
            Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into(),
            Some(other) => format!("{other:?}"),
            None => String::new(),
        }
    }

    /// What the headers say of it by their documented names.
    pub fn message(&self) -> Message {
        let value = |name: &str| self.headers.inner().get(name);
        let count = |name: &str| value(name)?.as_long_long_int().map(|count| count as u32);
        Message {
            body: self.body.clone().into(),
            id: self.id.clone(),
            kind: self.header(header::EVENT_TYPE),
            attempts: count(header::ATTEMPTS).unwrap_or_default(),
            deferrals: count(header::DEFERRALS).unwrap_or_default(),
            retried: count(header::RETRIED).unwrap_or_default(),
            failures: value(header::LAST_ERROR).map(|_| Failures {
                since: self.header(header::FIRST_FAILED_AT).parse().unwrap(),
                first: self.header(header::FIRST_ERROR),
                last: self.header(header::LAST_ERROR),
            }),
            trace: self.header(header::TRACEPARENT).parse().ok(),
        }
    }
}

impl Broker {
    /// Waits until nothing waits, nothing is in flight, and nothing is dead, with the retry delays of
    /// [`World`](crate::world::World).
    pub async fn everything_is_settled(&self, queue: &str, program: &Program, within: Duration) {
        let tiers = ["300ms", "1s", "2s", "4s"].map(|tier| format!("{queue}.retry.{tier}"));
        eventually("every message is settled", within, async || {
            let mut waiting = self.ready(queue).await;
            for tier in &tiers {
                waiting += self.ready(tier).await;
            }
            waiting == 0 && program.metric("vod_cover_in_flight", "").await == 0.0
        })
        .await;
        assert_eq!(self.ready(&format!("{queue}.dead")).await, 0, "dead letters");
    }

    pub async fn connect(url: &str) -> Self {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(url, properties).await.expect("the broker is there");
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { connection, channel }
    }

    /// Straight to a queue, with a header of so many bytes if any.
    pub async fn publish(&self, queue: &str, body: &[u8], header: usize) {
        let mut properties = BasicProperties::default();
        if header > 0 {
            let mut headers = FieldTable::default();
            let text = "h".repeat(header);
            headers.insert("x-somebody".into(), AMQPValue::LongString(text.into()));
            properties = properties.with_headers(headers);
        }
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let sent = self.channel.basic_publish("".into(), queue.into(), options, body, properties);
        let confirmed = sent.await.unwrap().await.unwrap();
        assert!(confirmed.is_ack(), "the broker took it");
    }

    /// Messages that are ready; 0 for a queue that is not there.
    pub async fn ready(&self, queue: &str) -> u32 {
        self.look(queue).await.map_or(0, |queue| queue.message_count())
    }

    /// Consumers; 0 for a queue that is not there.
    pub async fn consumers(&self, queue: &str) -> u32 {
        self.look(queue).await.map_or(0, |queue| queue.consumer_count())
    }

    async fn look(&self, queue: &str) -> Option<lapin::Queue> {
        // On a channel of its own, which the broker closes if there is no such queue.
        let channel = self.connection.create_channel().await.ok()?;
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await.ok();
        channel.close(200, "looked".into()).await.ok();
        found
    }

    /// Takes exactly this many messages, and makes sure that there are no more.
    pub async fn drain(&self, queue: &str, count: usize, within: Duration) -> Vec<Letter> {
        let what = format!("{count} messages are in {queue}");
        eventually(&what, within, async || self.ready(queue).await as usize >= count).await;
        let mut letters = Vec::new();
        while let Some(letter) = self.take(queue).await {
            letters.push(letter);
        }
        assert_eq!(letters.len(), count, "messages in {queue}");
        letters
    }

    pub async fn take(&self, queue: &str) -> Option<Letter> {
        let options = BasicGetOptions { no_ack: true };
        let got = self.channel.basic_get(queue.into(), options).await.unwrap()?;
        let properties = &got.properties;
        Some(Letter {
            body: got.data.clone(),
            routing_key: got.routing_key.to_string(),
            persistent: *properties.delivery_mode() == Some(2),
            headers: properties.headers().clone().unwrap_or_default(),
            id: properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default(),
        })
    }

    pub async fn delete(&self, queue: &str) {
        let deleted = self.channel.queue_delete(queue.into(), Default::default()).await;
        deleted.expect("the queue can be deleted");
    }

    pub async fn delete_exchange(&self, exchange: &str) {
        let deleted = self.channel.exchange_delete(exchange.into(), Default::default()).await;
        deleted.expect("the exchange can be deleted");
    }
}
