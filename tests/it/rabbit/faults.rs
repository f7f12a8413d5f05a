//! Everything that goes wrong with a broker, one by one: after each the queue takes events again by itself,
//! and nothing is lost.

use vod_cover::queue::rabbit::{check, declare};
use vod_cover::queue::{Error, Health, Settlement};

use super::*;
use crate::queue_contract::{retry, take};
use crate::servers::{self, with_breakable_rabbit};
use crate::wait::{SOON, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_queue_wants_is_an_error() {
    let settings =
        Settings { bindings: vec!["SnapshotComplete".to_owned()], ..settings(&amqp_url()) };
    let queue = open(&settings);
    let error = queue.publish(Message::new("{}", "Unknown", "")).await.unwrap_err();
    assert!(matches!(error, Error::Unroutable { ref kind, .. } if kind == "Unknown"), "{error:?}");
    assert!(error.to_string().contains("vod-cover declare"));
    queue.publish(Message::new("{}", "SnapshotComplete", "")).await.unwrap();
    drop(queue);
    remove(&amqp_url(), &settings).await;
}

/// lapin pairs returns with confirms by their order only.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_messages_at_once_exactly_the_unroutable_ones_are_errors() {
    let settings = Settings { bindings: vec!["wanted".to_owned()], ..settings(&amqp_url()) };
    let queue = open(&settings);
    let publishing = (0..200).map(|n| {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move {
            let kind = if n % 3 == 0 { "unwanted" } else { "wanted" };
            let result = queue.publish(Message::new(format!("{n}"), kind, "")).await;
            assert_eq!(result.is_err(), kind == "unwanted", "{n}: {result:?}");
        })
    });
    for publishing in publishing.collect::<Vec<_>>() {
        publishing.await.unwrap();
    }
    drop(queue);
    remove(&amqp_url(), &settings).await;
}

async fn says(settings: Settings, wanted: &str) {
    let queue = open(&settings);
    eventually(wanted, SOON, async || match queue.health() {
        Health::Away(why) => why.contains(wanted),
        Health::Ready => false,
    })
    .await;
    let error = check(&settings).await.unwrap_err();
    let text = vod_cover::error::chain(&error);
    assert!(text.contains(wanted), "{text}");
}

fn url_with(change: impl FnOnce(&mut url::Url)) -> String {
    let mut url: url::Url = amqp_url().parse().unwrap();
    change(&mut url);
    url.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named() {
    let url = url_with(|url| url.set_password(Some("wrong")).unwrap());
    says(settings(&url), "user name or password are wrong").await;
}

/// lapin without a feature for certificates connects to `amqps://` in plain text.
#[tokio::test(flavor = "multi_thread")]
async fn encryption_is_never_left_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqps://guest:guest@{}", listener.local_addr().unwrap());
    let _queue = open(&settings(&url));
    let (mut stream, _) = listener.accept().await.unwrap();
    let first = tokio::io::AsyncReadExt::read_u8(&mut stream).await.unwrap();
    assert_eq!(first, 0x16, "the first record of a TLS handshake");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_vhost_is_named() {
    let url = url_with(|url| url.set_path("no-such-vhost"));
    says(settings(&url), "the vhost at the end of queue.rabbitmq.url does not exist").await;
}

/// A message goes through the queue on the shared broker, and then the queue goes, too.
async fn works(settings: &Settings) {
    let queue = open(settings);
    queue.publish(Message::new("{}", "SnapshotComplete", "")).await.unwrap();
    assert_eq!(take(&queue).await.message.body, "{}");
    drop(queue);
    remove(&amqp_url(), settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_queue_is_named_when_nothing_may_be_created() {
    let settings = Settings { declare: Declare::Verify, ..settings(&amqp_url()) };
    says(settings.clone(), "run `vod-cover declare`").await;

    let done = declare(&settings).await.unwrap();
    assert_eq!(done.len(), 6, "{done:?}");
    let found = check(&settings).await.unwrap();
    assert_eq!(found.len(), 5, "{found:?}");
    works(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_another_kind_is_named() {
    let quorum = settings(&amqp_url());
    declare(&quorum).await.unwrap();
    let classic = Settings { r#type: QueueType::Classic, ..quorum.clone() };
    let queue = open(&classic);
    let wanted = "exists with other properties";
    eventually(
        wanted,
        SOON,
        async || matches!(queue.health(), Health::Away(why) if why.contains(wanted)),
    )
    .await;
    drop(queue);
    remove(&amqp_url(), &quorum).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_declaration_it_works_with_what_is_there() {
    let settings = Settings { declare: Declare::None, ..settings(&amqp_url()) };
    declare(&settings).await.unwrap();
    works(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_close_next_ends_and_what_was_held_comes_again() {
    let settings = settings(&amqp_url());
    let first = Rabbit::connect(settings.clone(), CancellationToken::new());
    first.publish(Message::new("{}", "SnapshotComplete", "")).await.unwrap();
    let held = first.next().await.unwrap().unwrap();
    first.close().await;
    assert!(first.next().await.unwrap().is_none());
    first.settle(held, Settlement::Done).await.unwrap();
    assert_eq!(take(&open(&settings)).await.message.body, "{}");
    remove(&amqp_url(), &settings).await;
}

/// What every fault test does: two events are in hand and two more wait when the fault strikes; afterwards
/// every event can be taken and settled, whatever becomes of those that were in hand.
async fn survives(node: &servers::Rabbit, fault: impl AsyncFnOnce(&Settings, &Arc<dyn Queue>)) {
    let settings = Settings { confirm_timeout: Duration::from_secs(3), ..settings(&node.url) };
    let queue = open(&settings);
    for n in 0..4 {
        publish_at_last(&queue, &format!("before {n}")).await;
    }
    let done = take(&queue).await;
    let tried = take(&queue).await;
    fault(&settings, &queue).await;

    let mut missing: Vec<String> = (0..4).map(|n| format!("before {n}")).collect();
    let done_body = String::from_utf8(done.message.body.to_vec()).unwrap();
    // An error or a lost channel means that the event comes again, so only `missing` decides.
    if queue.settle(done, Settlement::Done).await.is_ok() {
        missing.retain(|body| *body != done_body);
    }
    let _ = queue.settle(tried, retry(true, "fault")).await;
    publish_at_last(&queue, "after").await;
    missing.push("after".to_owned());
    while !missing.is_empty() {
        let delivery = take(&queue).await;
        missing.retain(|body| delivery.message.body != body.as_bytes());
        let _ = queue.settle(delivery, Settlement::Done).await;
    }
    eventually("it is ready", SOON, async || queue.health() == Health::Ready).await;
    drop(queue);
    remove(&node.url, &settings).await;
}

/// As any publisher has to do it: again, until it is stored.
async fn publish_at_last(queue: &Arc<dyn Queue>, body: &str) {
    eventually("it is stored", SOON, async || {
        queue.publish(Message::new(body.to_owned(), "SnapshotComplete", "")).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_closed_are_made_again() {
    with_breakable_rabbit(async |node| {
        survives(node, async |_, _| {
            node.ctl(&["close_all_connections", "test"]);
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_is_found_again() {
    with_breakable_rabbit(async |node| {
        survives(node, async |_, queue| {
            node.ctl(&["stop_app"]);
            eventually("it is away", SOON, async || queue.health() != Health::Ready).await;
            node.ctl(&["start_app"]);
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_is_found_again() {
    with_breakable_rabbit(async |node| survives(node, async |_, _| node.restart()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_the_broker_closes_is_made_again() {
    with_breakable_rabbit(async |node| {
        // Half an hour, looked at every minute, is when a broker usually closes a channel.
        let set = |tick: u32, limit: u32| {
            node.ctl(&[
                "eval",
                &format!(
                    "application:set_env(rabbit, channel_tick_interval, {tick}), \
                     application:set_env(rabbit, consumer_timeout, {limit})."
                ),
            ])
        };
        set(200, 1_000);
        let settings = settings(&node.url);
        let queue = open(&settings);
        publish_at_last(&queue, "held too long").await;
        let held = take(&queue).await;
        let again = take(&queue).await;
        assert_eq!(again.message, held.message);
        assert!(again.tag.generation > held.tag.generation);
        set(60_000, 1_800_000);
        // Neither acknowledges the new delivery nor makes a second message of it.
        queue.settle(held, retry(true, "late")).await.unwrap();
        queue.settle(again, Settlement::Done).await.unwrap();
        publish_at_last(&queue, "after").await;
        eventually("only what was published later is left", SOON, async || {
            let delivery = take(&queue).await;
            let (body, attempts) = (delivery.message.body.clone(), delivery.message.attempts);
            assert_eq!(attempts, 0);
            queue.settle(delivery, Settlement::Done).await.unwrap();
            body == "after"
        })
        .await;
        drop(queue);
        remove(&node.url, &settings).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_alarm_is_shown_and_outlived() {
    with_breakable_rabbit(async |node| {
        let settings = Settings { confirm_timeout: Duration::from_secs(3), ..settings(&node.url) };
        let queue = open(&settings);
        for body in ["done meanwhile", "tried again"] {
            publish_at_last(&queue, body).await;
        }
        node.ctl(&["set_vm_memory_high_watermark", "0.0000001"]);
        // The broker tells only those that publish.
        eventually("it is shown", SOON, async || {
            let _ = queue.publish(Message::new("during", "SnapshotComplete", "")).await;
            matches!(queue.health(), Health::Away(why) if why.contains("takes no messages"))
        })
        .await;
        let done = take(&queue).await;
        let tried = take(&queue).await;
        assert_eq!(done.message.body, "done meanwhile");
        // Acknowledging works all the while, on the other connection.
        queue.settle(done, Settlement::Done).await.unwrap();
        // What has to be stored first waits, and holds on.
        let settling = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.settle(tried, retry(true, "no")).await }
        });
        let error = queue.publish(Message::new("during", "SnapshotComplete", "")).await;
        assert!(matches!(error, Err(Error::Unavailable { .. })), "{error:?}");
        assert!(!settling.is_finished());
        node.ctl(&["set_vm_memory_high_watermark", "0.8"]);
        settling.await.unwrap().unwrap();
        publish_at_last(&queue, "after").await;
        let mut missing = vec![("tried again", 1), ("after", 0)];
        while !missing.is_empty() {
            let delivery = take(&queue).await;
            let (message, body) =
                (&delivery.message, String::from_utf8_lossy(&delivery.message.body));
            assert_ne!(body, "done meanwhile");
            missing.retain(|wanted| *wanted != (body.as_ref(), message.attempts));
            queue.settle(delivery, Settlement::Done).await.unwrap();
        }
        eventually("it is ready", SOON, async || queue.health() == Health::Ready).await;
        drop(queue);
        remove(&node.url, &settings).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_and_an_exchange_that_were_deleted_are_declared_again() {
    let settings = settings(&amqp_url());
    let queue = open(&settings);
    queue.publish(Message::new("before", "SnapshotComplete", "")).await.unwrap();
    let before = take(&queue).await;
    let outside = Broker::connect(&amqp_url()).await;
    for name in [settings.queue.clone(), settings.retry_queue(settings.retry_tiers[0])] {
        outside.delete(&name).await;
    }
    outside.delete_exchange(&settings.exchange).await;
    // The message is gone with its queue; that it cannot be settled any more is not an error.
    eventually("it takes again", SOON, async || {
        let _ = queue.publish(Message::new("after", "SnapshotComplete", "")).await;
        tokio::time::timeout(Duration::from_millis(500), queue.next()).await.is_ok()
    })
    .await;
    queue.settle(before, Settlement::Done).await.unwrap();
    drop(queue);
    remove(&amqp_url(), &settings).await;
}

/// The tier is declared again as well, while the retry waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_outlives_the_loss_of_its_tier() {
    let settings = settings(&amqp_url());
    let queue = open(&settings);
    queue.publish(Message::new("event", "SnapshotComplete", "")).await.unwrap();
    let delivery = take(&queue).await;
    let tier = settings.retry_queue(settings.retry_tiers[0]);
    let outside = Broker::connect(&amqp_url()).await;
    outside.delete(&tier).await;
    queue.settle(delivery, retry(true, "again")).await.unwrap();
    assert_eq!(take(&queue).await.message.attempts, 1);
    drop(queue);
    remove(&amqp_url(), &settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_the_broker_cancels_is_set_up_again() {
    with_breakable_rabbit(async |node| {
        let settings = settings(&node.url);
        let queue = open(&settings);
        queue.publish(Message::new("before", "SnapshotComplete", "")).await.unwrap();
        let before = take(&queue).await;
        queue.settle(before, Settlement::Done).await.unwrap();
        // The only thing that makes a broker cancel a consumer is the loss of the queue.
        node.ctl(&["delete_queue", &settings.queue]);
        publish_at_last(&queue, "after").await;
        assert_eq!(take(&queue).await.message.body, "after");
        drop(queue);
        remove(&node.url, &settings).await;
    })
    .await;
}
