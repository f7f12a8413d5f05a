//! The reference: the same work as the worker's in batches of 20, as many at once as the prefetch allows, each
//! with one pipeline of SET NX EX and one UpdateVideoInfos; acknowledged in runs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use lapin::{Channel, Consumer};
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Clock;
use super::api::{Api, BATCH, Update};
use super::limits::set;

/// How long a batch waits to be full.
const WAIT: Duration = Duration::from_millis(5);

pub async fn run(queue: &str, events: usize) -> Result<()> {
    let (_connection, channel) = super::connect().await?;
    let client = redis::Client::open(super::variable("REDIS_URL")?)?;
    let redis = client.get_multiplexed_async_connection().await?;
    let api = Api::new()?;
    let clock = Clock::start()?;
    let mut consumer = super::consumer(&channel, queue).await?;
    let (done, finished) = mpsc::unbounded_channel();
    let acknowledging = tokio::spawn(acknowledge(channel, finished));
    let mut working = JoinSet::new();
    let mut taken = 0;
    for number in 0u64.. {
        let batch = batch(&mut consumer, BATCH.min(events - taken)).await?;
        taken += batch.len();
        let (queue, redis, api, done) =
            (queue.to_owned(), redis.clone(), api.clone(), done.clone());
        working.spawn(async move {
            let last = batch.last().map_or(0, |delivery| delivery.delivery_tag);
            handle(&queue, batch, redis, &api).await?;
            done.send((number, last)).context("nobody acknowledges")
        });
        while let Some(ended) = working.try_join_next() {
            ended??;
        }
        if taken == events {
            break;
        }
    }
    while let Some(ended) = working.join_next().await {
        ended??;
    }
    drop(done);
    acknowledging.await??;
    clock.report("simple", events)
}

/// One message at least.
async fn batch(consumer: &mut Consumer, most: usize) -> Result<Vec<Delivery>> {
    let mut batch = Vec::with_capacity(most);
    batch.push(consumer.next().await.context("the queue is gone")??);
    let filling = async {
        while batch.len() < most {
            batch.push(consumer.next().await.context("the queue is gone")??);
        }
        anyhow::Ok(())
    };
    timeout(WAIT, filling).await.unwrap_or(Ok(()))?;
    Ok(batch)
}

async fn handle(
    queue: &str,
    batch: Vec<Delivery>,
    mut redis: MultiplexedConnection,
    api: &Api,
) -> Result<()> {
    let updates = batch.iter().map(|delivery| Update::read(&delivery.data));
    let updates = updates.collect::<Result<Vec<_>>>()?;
    let mut pipeline = redis::pipe();
    for update in &updates {
        set(&mut pipeline, &format!("{queue}:{}", update.video_id));
    }
    let first: Vec<Option<String>> = pipeline.query_async(&mut redis).await?;
    let new = updates.into_iter().zip(first).filter_map(|(update, first)| first.map(|_| update));
    api.update_all(&new.collect::<Vec<_>>()).await
}

/// Acknowledges up to the first batch that is still being worked on.
async fn acknowledge(
    channel: Channel,
    mut finished: mpsc::UnboundedReceiver<(u64, u64)>,
) -> Result<()> {
    let (mut waiting, mut next) = (BTreeMap::new(), 0);
    while let Some((number, tag)) = finished.recv().await {
        waiting.insert(number, tag);
        let mut last = None;
        while let Some(tag) = waiting.remove(&next) {
            (last, next) = (Some(tag), next + 1);
        }
        if let Some(tag) = last {
            channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
        }
    }
    Ok(())
}
