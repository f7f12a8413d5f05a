//! Dead letters from the shell: looked at, tried again and dropped beside the worker, on both queues.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use serde_json::{Value, json};
use vod_cover::error::Reason;
use vod_cover::queue::rabbit::Declare;
use vod_cover::queue::{Message, Queue, Settlement};
use vod_cover::sim::Settings;

use crate::broker::Broker;
use crate::queue_contract::{dead_letters, take};
use crate::rabbit;
use crate::servers::{amqp_url, redis_url};
use crate::wait::eventually;
use crate::world::World;

const SOON: Duration = Duration::from_secs(60);

fn videos(videos: u32) -> Settings {
    Settings { videos, ..Settings::default() }
}

fn output(world: &World, arguments: &[&str]) -> Output {
    world.command(arguments, &[]).stdin(Stdio::null()).output().unwrap()
}

/// What it prints, a JSON value a line.
fn told(world: &World, arguments: &[&str]) -> Vec<Value> {
    let output = output(world, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn listed(world: &World, arguments: &[&str]) -> Value {
    told(world, &[&["dead", "list", "--json"], arguments].concat()).remove(0)
}

/// Publishes these events with the program.
fn publish(world: &World, events: &[Vec<u8>]) {
    let mut child = world.command(&["publish", "-"], &[]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for event in events {
        input.write_all(event).unwrap();
        input.write_all(b"\n").unwrap();
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

/// One event of snapshots for each video.
fn events(world: &World) -> Vec<Vec<u8>> {
    let event = |video: String| {
        let events = world.sim.events(&video);
        let ready = |event: &&bytes::Bytes| event.windows(13).any(|part| part == b"CoverSnapshot");
        events.iter().find(ready).expect("it has snapshots").to_vec()
    };
    world.sim.videos().into_iter().map(event).collect()
}

async fn an_operators_morning(world: World) {
    let videos = world.sim.videos();
    world.sim.set_faults(vec!["not-found".parse().unwrap()]);
    let program = world.run(&[]).await;
    let mut sent = events(&world);
    sent.push(b"no event".to_vec());
    publish(&world, &sent);
    let dead = async || program.metric("vod_cover_dead_letters_total", "").await;
    eventually("all are dead", SOON, async || dead().await == 4.0).await;

    // What is there, and why.
    let all = listed(&world, &[]);
    assert_eq!((&all["count"], &all["complete"]), (&json!(4), &json!(true)));
    let groups: Vec<_> = all["groups"].as_array().unwrap().iter().collect();
    assert_eq!(groups[0]["reason"], "vod.InvalidVideo.NotFound");
    assert_eq!((&groups[0]["count"], &groups[1]["count"]), (&json!(3), &json!(1)));
    assert_eq!(groups[1]["reason"], "event.not-json");
    assert_eq!(listed(&world, &["--reason", "vod"])["count"], 3);
    assert_eq!(listed(&world, &["--video", &videos[0]])["count"], 1);
    assert_eq!(listed(&world, &["--older-than", "1h"])["count"], 0);
    let newer = listed(&world, &["--newer-than", "1d", "--limit", "1"]);
    assert_eq!((&newer["count"], newer["letters"].as_array().unwrap().len()), (&json!(4), 1));
    let text = output(&world, &["dead", "list"]).stdout;
    assert!(String::from_utf8_lossy(&text).starts_with("4 dead letters\n       3  vod.Invalid"));

    // One of them, whole.
    let one = listed(&world, &["--video", &videos[0]])["letters"][0].clone();
    let key = one["key"].as_str().unwrap();
    let shown = told(&world, &["dead", "show", "--json", key]).remove(0);
    assert_eq!(shown["letter"], one);
    assert_eq!(shown["event"]["VideoId"], *videos[0]);
    assert!(shown["first_error"].as_str().unwrap().contains("InvalidVideo.NotFound"), "{shown}");
    let garbage = listed(&world, &["--reason", "event"])["letters"][0]["key"].clone();
    let garbage = garbage.as_str().unwrap();
    assert_eq!(told(&world, &["dead", "show", "--json", garbage])[0]["event"], "no event");
    assert!(!output(&world, &["dead", "show", "000000000000"]).status.success());

    // What would happen, before anything does.
    let foreseen = told(&world, &["dead", "retry", "--dry-run", "--json", key, garbage]);
    let would = |video: Option<&str>| {
        let found = foreseen.iter().find(|one| one["letter"]["video"].as_str() == video);
        found.unwrap()["would"].as_str().unwrap().to_owned()
    };
    assert!(would(Some(&videos[0])).starts_with("would be a dead letter again: vod.InvalidVideo"));
    assert!(would(None).starts_with("would be a dead letter again: event.not-json"));
    world.sim.clear_faults();
    let foreseen = told(&world, &["dead", "retry", "--dry-run", "--json", "--reason", "vod"]);
    assert_eq!(foreseen.len(), 3);
    for one in &foreseen {
        let would = one["would"].as_str().unwrap();
        assert!(would.starts_with("would set http") && would.ends_with("by rule first"), "{one}");
    }
    assert_eq!(listed(&world, &[])["count"], 4, "nothing was changed");
    assert!(world.changes().is_empty(), "{:?}", world.changes());

    // One, and then the rest of its group.
    let last = |arguments: &[&str]| told(&world, arguments).pop().unwrap();
    assert_eq!(last(&["dead", "retry", "--json", key])["settled"], 1);
    eventually("its cover is set", SOON, async || world.changes().len() == 1).await;
    assert_eq!(last(&["dead", "retry", "--json", "--reason", "vod"])["settled"], 2);
    world.every_cover_is_set(SOON).await;

    // Garbage stays garbage, and says that it was tried again.
    let again = output(&world, &["dead", "retry", "--all"]);
    assert_eq!(String::from_utf8_lossy(&again.stdout), "1 are tried again\n");
    assert!(String::from_utf8_lossy(&again.stderr).contains("dead letter is tried again"));
    eventually("it is dead again", SOON, async || dead().await == 5.0).await;
    let all = listed(&world, &[]);
    assert_eq!((&all["count"], &all["letters"][0]["retried"]), (&json!(1), &json!(1)));
    assert_eq!(all["letters"][0]["attempts"], 1);

    // Dropping wants to be meant.
    let unasked = output(&world, &["dead", "drop", "--all"]);
    assert!(
        String::from_utf8_lossy(&unasked.stderr).contains("--yes") && !unasked.status.success()
    );
    let which = output(&world, &["dead", "drop", "--yes"]);
    assert!(String::from_utf8_lossy(&which.stderr).contains("--all") && !which.status.success());
    assert_eq!(last(&["dead", "drop", "--all", "--dry-run", "--json"])["count"], 1);
    assert_eq!(listed(&world, &[])["count"], 1);
    assert_eq!(last(&["dead", "drop", "--all", "--yes", "--json"])["settled"], 1);
    assert_eq!(listed(&world, &[])["count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_mends_what_died_in_the_embedded_file() {
    an_operators_morning(World::embedded(videos(3)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_mends_what_died_on_rabbitmq() {
    an_operators_morning(World::served(videos(3), &amqp_url(), &redis_url()).await).await;
}

/// Kills retries of `count` letters again and again, and says how many messages there are in the end.
async fn retries_that_are_killed(world: &World, queue: &Arc<dyn Queue>, count: usize) -> usize {
    for number in 0..count {
        let message = Message::new(format!("letter {number}"), "Kind", format!("id-{number}"));
        queue.bury(message, Reason::new("test.no"), "no").await.unwrap();
    }
    for _ in 0..3 {
        let before = queue.depth().await.unwrap().ready;
        let mut child = world.command(&["dead", "retry", "--all", "--rate", "200"], &[]);
        let mut child = child.stderr(Stdio::null()).spawn().unwrap();
        let begun = async || queue.depth().await.is_ok_and(|depth| depth.ready > before + 5);
        eventually("it has begun", SOON, begun).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let left =
        async || queue.depth().await.is_ok_and(|depth| depth.ready + depth.dead >= count as u64);
    eventually("what was held is back", SOON, left).await;
    let dead = queue.depth().await.unwrap().dead;
    assert!(dead > 0, "it was killed in the middle");
    assert!(output(world, &["dead", "retry", "--all", "--rate", "10000"]).status.success());
    let depth = queue.depth().await.unwrap();
    assert_eq!(depth.dead, 0);
    let mut bodies = BTreeSet::new();
    // Fails if one was lost.
    while bodies.len() < count {
        let delivery = take(queue).await;
        bodies.insert(delivery.message.body.clone());
        queue.settle(delivery, Settlement::Done).await.unwrap();
    }
    usize::try_from(depth.ready).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_killed_in_the_middle_loses_nothing_in_the_embedded_file() {
    let world = World::embedded(videos(0)).await;
    let settings = vod_cover::local::Settings {
        path: world.directory.path().join("vod-cover.sqlite3"),
        keep: Duration::from_secs(3600),
    };
    let queue: Arc<dyn Queue> = Arc::new(vod_cover::local::Local::open(&settings).unwrap());
    let messages = retries_that_are_killed(&world, &queue, 200).await;
    assert_eq!(messages, 200, "one transaction a letter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_killed_in_the_middle_loses_nothing_on_rabbitmq() {
    let mut world = World::embedded(videos(0)).await;
    let settings = rabbit::settings(&amqp_url());
    world.set("AMQP_URL", &amqp_url());
    world.set("VOD_COVER__QUEUE__RABBITMQ__QUEUE", &settings.queue);
    world.set("VOD_COVER__QUEUE__RABBITMQ__EXCHANGE", &settings.exchange);
    world.set("VOD_COVER__QUEUE__RABBITMQ__RETRY_TIERS", "200ms,1h");
    let queue = rabbit::open(&settings);
    eventually("it is connected", SOON, async || queue.depth().await.is_ok()).await;
    let messages = retries_that_are_killed(&world, &queue, 200).await;
    assert!(messages <= 203, "at most one duplicate for each kill, not {messages}");
    drop(queue);
    rabbit::remove(&amqp_url(), &settings).await;
}

/// RabbitMQ 4 drops what was delivered 20 times, unless it is told otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn looking_never_uses_up_a_delivery_limit() {
    let mut settings = rabbit::settings(&amqp_url());
    rabbit::declared(&settings).await;
    settings.declare = Declare::Verify;
    let broker = Broker::connect(&amqp_url()).await;
    broker.delete(&settings.dead_queue()).await;
    let client = Connection::connect(&amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = client.create_channel().await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(20));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    let declared = channel.queue_declare(settings.dead_queue().into(), options, arguments);
    declared.await.unwrap();

    let queue = rabbit::open(&settings);
    for body in ["a", "b", "c"] {
        let message = Message::new(body, "Kind", body);
        queue.bury(message, Reason::new("test.no"), "no").await.unwrap();
    }
    for _ in 0..50 {
        let all = async || queue.depth().await.is_ok_and(|depth| depth.dead == 3);
        eventually("they are all back", SOON, all).await;
        assert_eq!(dead_letters(&*queue).await.len(), 3);
    }
    drop(queue);
    rabbit::remove(&amqp_url(), &settings).await;
}
