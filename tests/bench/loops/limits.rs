//! The parts of the work one by one: the broker, Redis and the API.

use std::fs;
use std::path::Path;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::options::BasicAckOptions;

use super::Clock;
use super::api::{Api, BATCH, Update};

const AT_ONCE: usize = 64;
const ACKNOWLEDGED: usize = 50;

pub async fn consume(queue: &str, events: usize) -> Result<()> {
    let (_connection, channel) = super::connect().await?;
    let clock = Clock::start()?;
    let mut messages = super::consumer(&channel, queue).await?.take(events).enumerate();
    while let Some((at, message)) = messages.next().await {
        if (at + 1) % ACKNOWLEDGED == 0 || at + 1 == events {
            channel.basic_ack(message?.delivery_tag, BasicAckOptions { multiple: true }).await?;
        }
    }
    clock.report("consume", events)
}

pub async fn redis(calls: usize) -> Result<()> {
    let client = redis::Client::open(super::variable("REDIS_URL")?)?;
    let connection = client.get_multiplexed_async_connection().await?;
    // The keys of the next round are others.
    let process = std::process::id();
    for (what, size) in [("redis, 1 of 64", 1), ("redis, 20 of 64", BATCH)] {
        let clock = Clock::start()?;
        let pipelines = (0..calls / size).map(|number| {
            let mut pipeline = redis::pipe();
            for at in 0..size {
                set(&mut pipeline, &format!("{process}:{what}:{number}:{at}"));
            }
            let mut connection = connection.clone();
            async move { pipeline.query_async::<Vec<Option<String>>>(&mut connection).await }
        });
        let done = stream::iter(pipelines).buffer_unordered(AT_ONCE);
        done.try_for_each(|_| async { Ok(()) }).await?;
        clock.report(what, calls / size * size)?;
    }
    Ok(())
}

/// Only the first that sets a key gets an answer.
pub fn set(pipeline: &mut redis::Pipeline, key: &str) {
    pipeline.cmd("SET").arg(key).arg(1).arg("NX").arg("EX").arg(3600);
}

pub async fn http(events: &Path) -> Result<()> {
    let api = Api::new()?;
    let updates: Vec<_> = fs::read_to_string(events)?
        .lines()
        .map(|line| Update::read(line.as_bytes()))
        .collect::<Result<_>>()?;
    let clock = Clock::start()?;
    let calls = stream::iter(&updates).map(|update| api.update(update));
    calls.buffer_unordered(AT_ONCE).try_for_each(|()| async { Ok(()) }).await?;
    clock.report("http, 1 of 64", updates.len())?;
    let clock = Clock::start()?;
    let calls = stream::iter(updates.chunks(BATCH)).map(|updates| api.update_all(updates));
    calls.buffer_unordered(AT_ONCE).try_for_each(|()| async { Ok(()) }).await?;
    clock.report("http, 20 of 64", updates.len())
}
