//! A plain AMQP client of the tests' own: publishes as somebody else's bridge does, and looks at queues.

use std::time::Duration;

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use crate::world::eventually;

pub struct Broker {
    connection: Connection,
    channel: Channel,
}

/// A message taken from a queue.
pub struct Letter {
    pub body: Vec<u8>,
    headers: FieldTable,
}

impl Letter {
    pub fn header(&self, name: &str) -> String {
        match self.headers.inner().get(name) {
            Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into(),
            Some(other) => format!("{other:?}"),
            None => String::new(),
        }
    }
}

impl Broker {
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

    async fn take(&self, queue: &str) -> Option<Letter> {
        let got =
            self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()?;
        got.delivery.ack(BasicAckOptions::default()).await.unwrap();
        let headers = got.delivery.properties.headers().clone().unwrap_or_default();
        Some(Letter { body: got.delivery.data.clone(), headers })
    }

    pub async fn delete(&self, queue: &str) {
        let deleted = self.channel.queue_delete(queue.into(), Default::default()).await;
        deleted.expect("the queue is there");
    }
}
