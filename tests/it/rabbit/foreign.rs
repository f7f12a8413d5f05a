//! Messages of publishers that are not ours, and what becomes of them in the retry tiers and among the
//! dead letters.

use std::process::Command;

use lapin::types::AMQPValue;
use vod_cover::error::Reason;
use vod_cover::queue::{Health, Settlement};

use super::*;
use crate::queue_contract::{retry, take};
use crate::wait::{SOON, eventually};

/// Waits until exchange and queues are there.
async fn opened(settings: &Settings) -> Arc<dyn Queue> {
    let queue = open(settings);
    eventually("RabbitMQ is ready", SOON, async || queue.health() == Health::Ready).await;
    queue
}

fn amqp_publish(settings: &Settings, exchange: &str, key: &str, body: &str) {
    let url = amqp_url();
    let status = Command::new("amqp-publish")
        .args(["--url", &url, "--exchange", exchange, "--routing-key", key, "--body", body])
        .status()
        .expect("amqp-tools are installed by tests/run");
    assert!(status.success(), "amqp-publish to {}", settings.queue);
}

/// Runs Python with pika: `publish(exchange, key, body, **properties)` is defined, and `bytes` are allowed
/// where AMQP says text.
fn pika(script: &str) {
    let prelude = format!(
        "import pika\n\
         connection = pika.BlockingConnection(pika.URLParameters({:?}))\n\
         channel = connection.channel()\n\
         channel.confirm_delivery()\n\
         def publish(exchange, key, body, **properties):\n    \
             channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties), mandatory=True)\n",
        amqp_url()
    );
    // Not the first python3 in PATH: the package is for that of Debian.
    let output = Command::new("/usr/bin/python3")
        .args(["-c", &format!("{prelude}{script}\nconnection.close()\n")])
        .output()
        .expect("python3-pika is installed by tests/run");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn amqp_publish_reaches_us_through_the_exchange_and_straight() {
    let settings = settings(&amqp_url());
    let queue = opened(&settings).await;
    amqp_publish(&settings, &settings.exchange, "SnapshotComplete", r#"{"n":1}"#);
    let first = take(&queue).await;
    assert_eq!(first.message, Message::new(r#"{"n":1}"#, "SnapshotComplete", ""));
    amqp_publish(&settings, "", &settings.queue, r#"{"n":2}"#);
    let second = take(&queue).await;
    assert_eq!(second.message, Message::new(r#"{"n":2}"#, "", ""));
    for delivery in [first, second] {
        queue.settle(delivery, Settlement::Done).await.unwrap();
    }
    drop(queue);
    remove(&amqp_url(), &settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_any_kind_and_size_do_no_harm_and_do_not_travel_on() {
    let settings = settings(&amqp_url());
    let queue = opened(&settings).await;
    pika(&format!(
        "publish('', {:?}, b'\\xff', headers={{\
           'x-death': [{{'queue': {:?}, 'reason': 'rejected', 'count': 3}}], 'x-first-death-queue': {:?},\
           'x-delivery-count': 7, 'big': 'a' * 100000, 'x-vod-cover-attempts': 'two',\
           'x-vod-cover-deferrals': 2, 'x-vod-cover-last-error': 5, 'nested': {{'a': [1, {{}}]}},\
           'traceparent': '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'}})",
        settings.queue, settings.queue, settings.queue
    ));
    let delivery = take(&queue).await;
    let message = &delivery.message;
    assert_eq!((message.attempts, message.deferrals, message.failures.clone()), (0, 2, None));
    let dead = Settlement::Dead { reason: Reason::new("event.not-json"), error: "no".to_owned() };
    queue.settle(delivery, dead).await.unwrap();

    let broker = Broker::connect(&amqp_url()).await;
    let letter = broker.take(&settings.dead_queue()).await.unwrap();
    // A quorum queue counts its deliveries in this header by itself; the 7 is gone.
    let own = ("x-delivery-count", &AMQPValue::LongLongInt(0));
    let headers = letter.headers.inner().iter().map(|(name, value)| (name.as_str(), value));
    let mut names: Vec<&str> =
        headers.filter(|header| *header != own).map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "traceparent",
            "x-vod-cover-attempts",
            "x-vod-cover-dead-at",
            "x-vod-cover-deferrals",
            "x-vod-cover-event-type",
            "x-vod-cover-first-error",
            "x-vod-cover-first-failed-at",
            "x-vod-cover-last-error",
            "x-vod-cover-reason",
            "x-vod-cover-version",
        ]
    );
    assert!(letter.persistent);
    assert_eq!(letter.body, b"\xff");
    drop(queue);
    remove(&amqp_url(), &settings).await;
}

/// RabbitMQ drops a message whose `x-death` says that it has been in the queue that it would go to.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_replayed_as_it_is_survives_its_retries() {
    let settings = Settings { delivery_limit: 1, ..settings(&amqp_url()) };
    let queue = opened(&settings).await;
    amqp_publish(&settings, &settings.exchange, "SnapshotComplete", "event");
    // The broker itself moves it to the dead letters, with x-death, when its taker crashes again and again.
    let outside = Broker::connect(&amqp_url()).await;
    let mut taker = queue;
    let dead = settings.dead_queue();
    eventually("the broker gave it up", SOON, async || {
        let _ = tokio::time::timeout(Duration::from_secs(1), taker.next()).await;
        taker = open(&settings);
        eventually("it is ready", SOON, async || taker.health() == Health::Ready).await;
        taker.depth().await.unwrap().dead == 1
    })
    .await;
    pika(&format!(
        "method, properties, body = channel.basic_get({dead:?}, auto_ack=True)\n\
         assert 'x-death' in properties.headers, properties\n\
         channel.basic_publish('', {:?}, body, properties)",
        settings.queue
    ));
    for attempt in 0..3 {
        let delivery = take(&taker).await;
        assert_eq!(delivery.message.attempts, attempt);
        taker.settle(delivery, retry(true, "again")).await.unwrap();
    }
    let delivery = take(&taker).await;
    let reason = Reason::new("given.up");
    let end = Settlement::Dead { reason, error: "the end".to_owned() };
    taker.settle(delivery, end).await.unwrap();
    let letter = outside.take(&dead).await.unwrap();
    assert_eq!(
        (letter.message().attempts, letter.header(header::REASON).as_str()),
        (4, "given.up")
    );
    drop(taker);
    remove(&amqp_url(), &settings).await;
}

/// A message whose properties are not UTF-8 ends the connection of this client whenever it is delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_parsed_ends_among_the_dead_letters_and_alone() {
    let settings = Settings { delivery_limit: 5, ..settings(&amqp_url()) };
    let queue = opened(&settings).await;
    pika(&format!(
        "publish('', {:?}, b'poison', message_id=b'\\xff\\xfe')\n\
         for n in range(20): publish('', {:?}, b'%d' % n)",
        settings.queue, settings.queue
    ));
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 20 {
        let delivery = take(&queue).await;
        seen.insert(delivery.message.body.clone());
        // An error when the connection ends just now; the event comes again then.
        let _ = queue.settle(delivery, Settlement::Done).await;
    }
    let depth = async || queue.depth().await.ok().map(|depth| (depth.ready, depth.dead));
    eventually("only the poison is dead", SOON, async || depth().await == Some((0, 1))).await;
    drop(queue);
    remove(&amqp_url(), &settings).await;
}
