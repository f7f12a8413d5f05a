//! The exchange and the queues: declares them, or looks whether they are there. Never deletes anything,
//! never takes a binding away, and never uses policies, which ApsaraMQ for RabbitMQ does not have.
//!
//! ```text
//! exchange (topic) --bindings--> queue --(delivery limit)--> queue.dead
//!                                  ^
//!             queue.retry.5s ------+  expired, through the default exchange
//! ```

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};

use super::connection::{Trouble, within};
use super::settings::{Declare, QueueType, Settings};
use super::wire::brief;
use crate::queue::Depth;

/// Makes sure of the topology in the way that is asked for, and says in one line each what is there.
pub(super) async fn prepare(
    connection: &Connection,
    settings: &Settings,
    how: Declare,
) -> Result<Vec<String>, Trouble> {
    match how {
        Declare::Create => create(connection, settings).await,
        Declare::Verify => verify(connection, settings).await,
        Declare::None => Ok(Vec::new()),
    }
}

async fn create(connection: &Connection, settings: &Settings) -> Result<Vec<String>, Trouble> {
    let limit = settings.confirm_timeout;
    let channel = within(limit, "opening a channel", connection.create_channel()).await?;
    let mut done = Vec::new();
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let declared = channel.exchange_declare(
        brief(&settings.exchange),
        ExchangeKind::Topic,
        options,
        FieldTable::default(),
    );
    within(limit, format!("declaring exchange {:?}", settings.exchange), declared).await?;
    done.push(format!("exchange {} (topic)", settings.exchange));

    // What dead-letters comes after what it dead-letters to.
    for (queue, arguments) in queues(settings) {
        let declared =
            channel.queue_declare(brief(&queue), QueueDeclareOptions::durable(), arguments);
        within(limit, format!("declaring queue {queue:?}"), declared).await?;
        done.push(format!("queue {queue}"));
    }
    for key in &settings.bindings {
        let bound = channel.queue_bind(
            brief(&settings.queue),
            brief(&settings.exchange),
            brief(key),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        within(limit, format!("binding queue {:?} to {key:?}", settings.queue), bound).await?;
        done.push(format!("binding {} -> {} for {key}", settings.exchange, settings.queue));
    }
    leave(channel, limit).await;
    Ok(done)
}

/// AMQP cannot tell arguments or bindings of what exists; an unroutable event says that one is missing.
async fn verify(connection: &Connection, settings: &Settings) -> Result<Vec<String>, Trouble> {
    let limit = settings.confirm_timeout;
    let channel = within(limit, "opening a channel", connection.create_channel()).await?;
    let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
    let found = channel.exchange_declare(
        brief(&settings.exchange),
        ExchangeKind::Topic,
        options,
        FieldTable::default(),
    );
    within(limit, format!("looking for exchange {:?}", settings.exchange), found).await?;
    let mut done = vec![format!("exchange {}", settings.exchange)];
    for (queue, _) in queues(settings) {
        let (ready, _) = inspect(&channel, &queue, limit).await?;
        done.push(format!("queue {queue}: {ready} messages"));
    }
    leave(channel, limit).await;
    Ok(done)
}

/// How many messages are ready in each queue.
pub(super) async fn depth(connection: &Connection, settings: &Settings) -> Result<Depth, Trouble> {
    let limit = settings.confirm_timeout;
    let channel = within(limit, "opening a channel", connection.create_channel()).await?;
    let (ready, _) = inspect(&channel, &settings.queue, limit).await?;
    let (dead, _) = inspect(&channel, &settings.dead_queue(), limit).await?;
    leave(channel, limit).await;
    let delayed = delays(connection, settings).await?.into_iter().map(|(_, count)| count).sum();
    Ok(Depth { ready, delayed, dead })
}

/// How many messages wait in each retry queue.
pub(super) async fn delays(
    connection: &Connection,
    settings: &Settings,
) -> Result<Vec<(Duration, u64)>, Trouble> {
    let limit = settings.confirm_timeout;
    let channel = within(limit, "opening a channel", connection.create_channel()).await?;
    let mut delays = Vec::new();
    for tier in &settings.retry_tiers {
        delays.push((*tier, inspect(&channel, &settings.retry_queue(*tier), limit).await?.0));
    }
    leave(channel, limit).await;
    Ok(delays)
}

/// The ready messages and the consumers of one queue. A queue that is missing costs the channel.
pub(super) async fn inspect(
    channel: &Channel,
    queue: &str,
    limit: Duration,
) -> Result<(u64, u32), Trouble> {
    let options = QueueDeclareOptions::durable().passive();
    let found = channel.queue_declare(brief(queue), options, FieldTable::default());
    let found = within(limit, format!("looking at queue {queue:?}"), found).await?;
    Ok((found.message_count().into(), found.consumer_count()))
}

/// Every queue with its arguments, the ones that others dead-letter to first.
fn queues(settings: &Settings) -> Vec<(String, FieldTable)> {
    let quorum = settings.r#type == QueueType::Quorum;
    let table = |dead_letters_to: Option<&str>| {
        let mut table = FieldTable::default();
        if quorum {
            table.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        if let Some(queue) = dead_letters_to {
            table.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
            table.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(queue.into()));
        }
        if quorum && dead_letters_to.is_some() {
            // At-least-once is refused without reject-publish.
            let strategy = AMQPValue::LongString("at-least-once".into());
            table.insert("x-dead-letter-strategy".into(), strategy);
            table.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        }
        table
    };
    let dead = settings.dead_queue();
    let mut main = table(Some(&dead));
    if quorum {
        let limit = AMQPValue::LongLongInt(settings.delivery_limit.into());
        main.insert("x-delivery-limit".into(), limit);
    }
    let mut queues = vec![(dead, table(None)), (settings.queue.clone(), main)];
    for tier in &settings.retry_tiers {
        let mut arguments = table(Some(&settings.queue));
        let delay = i64::try_from(tier.as_millis()).unwrap_or(i64::MAX);
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(delay));
        queues.push((settings.retry_queue(*tier), arguments));
    }
    queues
}

/// Closes a channel; that it cannot be closed is of no consequence.
pub(super) async fn leave(channel: Channel, limit: Duration) {
    let _ = within(limit, "closing a channel", channel.close(200, "done".into())).await;
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;

    #[test]
    fn classic_queues_have_no_argument_that_the_managed_broker_does_not_know() {
        let settings = Settings { r#type: QueueType::Classic, ..settings() };
        let known = ["x-dead-letter-exchange", "x-dead-letter-routing-key", "x-message-ttl"];
        for (queue, arguments) in queues(&settings) {
            for name in arguments.inner().keys() {
                assert!(known.contains(&name.as_str()), "{queue} has {name}");
            }
        }
    }

    #[test]
    fn quorum_queues_dead_letter_at_least_once() {
        for (queue, arguments) in queues(&settings()) {
            let has = |name| arguments.contains_key(name);
            assert!(has("x-queue-type"));
            let dead_letters = has("x-dead-letter-exchange");
            assert_eq!(has("x-dead-letter-strategy"), dead_letters, "{queue}");
            assert_eq!(has("x-overflow"), dead_letters, "{queue}");
            assert_eq!(has("x-delivery-limit"), queue == settings().queue);
        }
    }
}
