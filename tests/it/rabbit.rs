//! The queue on a real RabbitMQ: the contract, foreign publishers, and every way in which a broker fails.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use vod_cover::queue::rabbit::{Declare, QueueType, Rabbit, Settings, header};
use vod_cover::queue::{Message, Queue};

use crate::broker::Broker;
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

/// Declares everything, with nobody connected afterwards.
pub async fn declared(settings: &Settings) {
    vod_cover::queue::rabbit::declare(settings).await.unwrap();
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
        let broker = Broker::connect(&amqp_url()).await;
        let mut letters = Vec::new();
        while let Some(letter) = broker.take(&self.settings.dead_queue()).await {
            letters.push((letter.message(), letter.header(header::REASON)));
        }
        letters
    }

    async fn remove(&self) {
        remove(&amqp_url(), &self.settings).await;
    }
}

/// Deletes all that is declared for these settings.
pub async fn remove(url: &str, settings: &Settings) {
    let broker = Broker::connect(url).await;
    let tiers = settings.retry_tiers.iter().map(|tier| settings.retry_queue(*tier));
    for queue in tiers.chain([settings.queue.clone(), settings.dead_queue()]) {
        broker.delete(&queue).await;
    }
    broker.delete_exchange(&settings.exchange).await;
}
