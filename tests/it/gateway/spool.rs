//! The broker is away, blocked, silent or slow: callbacks are answered all the same, and are in the queue
//! afterwards, those of each video in their order.

use std::collections::BTreeMap;

use vod_cover::queue::Trace;
use vod_cover::queue::rabbit::header;

use super::*;
use crate::faults::{address, through};
use crate::proxy::Proxy;
use crate::servers::{self, with_breakable_rabbit};

/// Posts `count` events, each video's in their order, which are all answered within the five seconds that
/// [`http`] waits.
async fn post_all(program: &Program, from: usize, count: usize) {
    const VIDEOS: usize = 10;
    let videos = (0..VIDEOS).map(|video| async move {
        for number in (from..from + count).filter(|number| number % VIDEOS == video) {
            assert_eq!(post(program, event(video, number)).await, 200, "{number}");
        }
    });
    futures_util::future::join_all(videos).await;
}

/// Every event is in the queue; the first copies of those of each video are in their order.
async fn all_in_order(broker: &Broker, world: &World, count: usize) {
    let mut seen: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let all = async || {
        while let Some(letter) = broker.take(&world.name).await {
            letter.header(header::TRACEPARENT).parse::<Trace>().expect("its trace came along");
            let (video, number) = read(&letter);
            let numbers = seen.entry(video).or_default();
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        seen.values().map(Vec::len).sum::<usize>() == count
    };
    eventually("every event is in the queue", SOON, all).await;
    for (video, numbers) in seen {
        assert!(numbers.is_sorted(), "{video}: {numbers:?}");
    }
}

async fn spooled(program: &Program) -> f64 {
    program.metric("vod_cover_spool_events", "").await
}

async fn is_drained(program: &Program) {
    eventually("the spool is empty", SOON, async || spooled(program).await == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_outlive_an_absent_broker_and_kill_nine() {
    let world = world(NOWHERE).await;
    let mut program = gateway(&world, &[]).await;
    post_all(&program, 0, 200).await;
    assert_eq!(stored_in(&program, "spool").await, 200.0);
    let full = async || spooled(&program).await == 200.0;
    eventually("metrics tell of it", SOON, full).await;
    assert!(program.metric("vod_cover_spool_bytes", "").await > 20_000.0);
    let old = async || program.metric("vod_cover_spool_age_seconds", "").await > 0.0;
    eventually("and of its age", SOON, old).await;
    let (code, body) = program.ready().await;
    assert_eq!(
        (code, body["spooled"].as_u64()),
        (200, Some(200)),
        "callbacks can be stored: {body}"
    );
    program.kill();
    drop(program);

    let url = amqp_url();
    let program = gateway(&world, &[("AMQP_URL", &url)]).await;
    post_all(&program, 200, 100).await;
    is_drained(&program).await;
    all_in_order(&Broker::connect(&url).await, &world, 300).await;
    // What was taken from the spool does not come again with the next start.
    drop(program);
    let program = gateway(&world, &[("AMQP_URL", &url)]).await;
    is_connected(&program).await;
    post_all(&program, 300, 1).await;
    assert_eq!(stored_in(&program, "queue").await, 1.0);
    all_in_order(&Broker::connect(&url).await, &world, 1).await;
}

/// A gateway works, then the fault strikes, and ends.
async fn outlives(
    amqp: &str,
    node: &servers::Rabbit,
    fault: impl AsyncFnOnce(),
    end: impl AsyncFnOnce(),
) {
    let mut world = world(amqp).await;
    world.set("VOD_COVER__QUEUE__RABBITMQ__CONFIRM_TIMEOUT", "2s");
    let program = gateway(&world, &[]).await;
    is_connected(&program).await;
    post_all(&program, 0, 50).await;
    // A broker that has only just started may be slower than the spool waits for it.
    is_drained(&program).await;
    let before = stored_in(&program, "spool").await;
    fault().await;
    post_all(&program, 50, 200).await;
    assert!(stored_in(&program, "spool").await > before, "some are on the spool");
    end().await;
    post_all(&program, 250, 50).await;
    is_drained(&program).await;
    let straight = async || {
        let before = stored_in(&program, "queue").await;
        assert_eq!(post(&program, event(99, 0)).await, 200);
        stored_in(&program, "queue").await > before
    };
    eventually("callbacks go straight to the queue again", SOON, straight).await;
    let broker = Broker::connect(&node.url).await;
    all_in_order(&broker, &world, 301).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_and_starts() {
    with_breakable_rabbit(async |node| {
        let stop = async || drop(node.ctl(&["stop_app"]));
        let start = async || drop(node.ctl(&["start_app"]));
        outlives(&node.url, node, stop, start).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_blocked_by_an_alarm() {
    with_breakable_rabbit(async |node| {
        let watermark = async |part: &str| drop(node.ctl(&["set_vm_memory_high_watermark", part]));
        let (block, free) =
            (async || watermark("0.0000001").await, async || watermark("0.8").await);
        outlives(&node.url, node, block, free).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_falls_silent() {
    with_breakable_rabbit(async |node| {
        let proxy = Proxy::start(address(&node.url)).await;
        let amqp = through(&node.url, proxy.address);
        let silence = async || proxy.freeze_at(b"video-");
        outlives(&amqp, node, silence, async || proxy.thaw()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_refuses_and_loses_nothing_that_it_has() {
    let world = world(NOWHERE).await;
    let program = gateway(&world, &[("VOD_COVER__INTAKE__SPOOL__MOST_BYTES", "20000")]).await;
    let mut taken = 0;
    eventually("it is full", SOON, async || match post(&program, event(1, taken)).await {
        200 => {
            taken += 1;
            false
        }
        status => status == 503,
    })
    .await;
    assert!((20..80).contains(&taken), "{taken}");
    let (code, body) = program.ready().await;
    assert_eq!(code, 200, "there is room for a small one: {body}");
    drop(program);
    let url = amqp_url();
    let program = gateway(&world, &[("AMQP_URL", &url)]).await;
    is_drained(&program).await;
    assert_eq!(post(&program, event(1, taken)).await, 200);
    all_in_order(&Broker::connect(&url).await, &world, taken + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_spool_is_for_one_gateway() {
    let world = world(NOWHERE).await;
    let first = gateway(&world, &[]).await;
    let second = world.command(&["gateway"], &[]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains("another vod-cover works on"), "{text}");
    assert_eq!(post(&first, event(1, 1)).await, 200);
    // The file of a queue is not taken for a spool.
    let file = world.directory.path().join("queue.sqlite3");
    let queue = vod_cover::local::Local::open_for_publishing(&file).unwrap();
    let mixed = [("VOD_COVER__INTAKE__SPOOL__PATH", file.to_str().unwrap())];
    let mixed = world.command(&["gateway"], &mixed).output().unwrap();
    let text = String::from_utf8_lossy(&mixed.stderr).into_owned();
    assert!(text.contains("another program or purpose"), "{text}");
    drop(queue);
}

/// No queue is bound for them: they wait, and hold up nobody.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_no_queue_is_bound_for_wait_until_one_is() {
    let mut world = world(&amqp_url()).await;
    world.set("VOD_COVER__QUEUE__RABBITMQ__BINDINGS", "SnapshotComplete");
    let program = gateway(&world, &[]).await;
    is_connected(&program).await;
    let wanted = |number: usize| {
        let text = String::from_utf8(event(1, number)).unwrap();
        text.replace("TranscodeComplete", "SnapshotComplete").into_bytes()
    };
    for number in 0..10 {
        assert_eq!(post(&program, event(1, number)).await, 200);
        assert_eq!(post(&program, wanted(number)).await, 200);
    }
    let broker = Broker::connect(&amqp_url()).await;
    let letters = broker.drain(&world.name, 10, SOON).await;
    let numbers: Vec<_> = letters.iter().map(|letter| read(letter).1).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    eventually("the others wait", SOON, async || spooled(&program).await == 10.0).await;
    world.set("VOD_COVER__QUEUE__RABBITMQ__BINDINGS", "#");
    declare(&world);
    all_in_order(&broker, &world, 10).await;
}
