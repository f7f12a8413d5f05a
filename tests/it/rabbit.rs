//! The queue on a real RabbitMQ: the contract, foreign publishers, and every way in which a broker fails.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::options::{BasicGetOptions, ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::types::AMQPValue;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio_util::sync::CancellationToken;
use vod_cover::queue::rabbit::{Declare, QueueType, Rabbit, Settings, header};
use vod_cover::queue::{Failures, Message, Queue};

use crate::queue_contract::{Place, queue_contract};
use crate::servers::amqp_url;

mod faults;
mod foreign;

queue_contract!(quorum, OnRabbit::new(QueueType::Quorum));
queue_contract!(classic, OnRabbit::new(QueueType::Classic));

/// Settings of a queue that nobody else has.
pub fn settings(url: &str) -> Settings {
    let name = format!("test-{}", uuid::Uuid::new_v4().simple());
    Settings {
        url: url.into(),
        exchange: format!("{name}.events"),
        queue: name,
        r#type: QueueType::Quorum,
        declare: Declare::Create,
        prefetch: 8,
        bindings: vec!["#".to_owned()],
        retry_tiers: vec![Duration::from_millis(200), Duration::from_secs(3600)],
        confirm_timeout: Duration::from_secs(10),
        delivery_limit: 50,
        heartbeat: 10,
    }
}

pub fn open(settings: &Settings) -> Arc<dyn Queue> {
    Arc::new(Rabbit::connect(settings.clone(), CancellationToken::new()))
}

/// A queue on the shared broker.
struct OnRabbit {
    settings: Settings,
}

impl OnRabbit {
    fn new(r#type: QueueType) -> Self {
        Self { settings: Settings { r#type, ..settings(&amqp_url()) } }
    }
}

#[async_trait]
impl Place for OnRabbit {
    async fn open(&self) -> Arc<dyn Queue> {
        open(&self.settings)
    }

    async fn crash(&self, process: Arc<dyn Queue>) {
        drop(process);
    }

    async fn dead(&self) -> Vec<(Message, String)> {
        let channel = channel(&amqp_url()).await;
        let mut letters = Vec::new();
        while let Some(letter) = get(&channel, &self.settings.dead_queue()).await {
            letters.push((letter.message, letter.reason));
        }
        letters
    }

    async fn remove(&self) {
        remove(&amqp_url(), &self.settings).await;
    }
}

/// A connection that shares nothing with the code under test.
pub async fn channel(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    connection.create_channel().await.unwrap()
}

/// A message as it lies in a queue.
pub struct Stored {
    pub message: Message,
    pub reason: String,
    pub headers: Vec<(String, AMQPValue)>,
    pub persistent: bool,
}

/// Takes one message out of a queue, and reads its headers by their documented names.
pub async fn get(channel: &Channel, queue: &str) -> Option<Stored> {
    let got = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap()?;
    let properties = &got.properties;
    let headers: Vec<(String, AMQPValue)> = properties
        .headers()
        .iter()
        .flatten()
        .map(|(name, value)| (name.to_string(), value.clone()))
        .collect();
    let value = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let text = |name: &str| value(name)?.as_long_string().map(|text| text.to_string());
    let count = |name: &str| value(name)?.as_long_long_int().map(|count| count as u32);
    let message = Message {
        body: got.data.clone().into(),
        id: properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default(),
        kind: text(header::EVENT_TYPE).unwrap_or_default(),
        attempts: count(header::ATTEMPTS).unwrap_or_default(),
        deferrals: count(header::DEFERRALS).unwrap_or_default(),
        failures: text(header::LAST_ERROR).map(|last| Failures {
            since: text(header::FIRST_FAILED_AT).unwrap().parse().unwrap(),
            first: text(header::FIRST_ERROR).unwrap(),
            last,
        }),
    };
    let reason = text(header::REASON).unwrap_or_default();
    let persistent = *properties.delivery_mode() == Some(2);
    Some(Stored { message, reason, headers, persistent })
}

pub async fn remove(url: &str, settings: &Settings) {
    let channel = channel(url).await;
    let tiers = settings.retry_tiers.iter().map(|tier| settings.retry_queue(*tier));
    for queue in tiers.chain([settings.queue.clone(), settings.dead_queue()]) {
        channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    }
    let options = ExchangeDeleteOptions::default();
    channel.exchange_delete(settings.exchange.as_str().into(), options).await.unwrap();
}
