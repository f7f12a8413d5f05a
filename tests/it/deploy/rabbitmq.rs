//! The users of `deploy/rabbitmq/definitions.json`, imported by a real RabbitMQ: with them the whole way works from
//! a callback to a cover, and whoever gets hold of one can do no more than that part of it.

use std::time::Duration;

use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;
use vod_cover::sim::Settings;

use super::file;
use crate::broker::Broker;
use crate::covers::deliver;
use crate::servers::Rabbit;
use crate::wait::{SOON, eventually};
use crate::world::{World, http};

const USERS: [&str; 4] = ["worker", "gateway", "operator", "scaler"];

/// Imports the definitions, and lets the users in with their names as passwords.
async fn import(node: &Rabbit) {
    node.ctl(&["import_definitions", file("rabbitmq/definitions.json").to_str().unwrap()]);
    eventually("the definitions are there", SOON, async || {
        node.ctl(&["list_policies", "-p", "vod-cover"]).contains("^vod-cover$")
            && node.ctl(&["list_permissions", "-p", "vod-cover"]).contains("vod-cover-scaler")
    })
    .await;
    for user in USERS {
        assert!(connect(node, user, "").await.is_err(), "{user} is let in without a password");
        node.ctl(&["change_password", &format!("vod-cover-{user}"), user]);
    }
}

fn url(node: &Rabbit, user: &str, password: &str) -> String {
    let (_, address) = node.url.rsplit_once('@').unwrap();
    let (address, _) = address.split_once('/').unwrap();
    format!("amqp://vod-cover-{user}:{password}@{address}/vod-cover")
}

async fn connect(node: &Rabbit, user: &str, password: &str) -> lapin::Result<Connection> {
    let url = url(node, user, password);
    Connection::connect(&url, ConnectionProperties::default()).await
}

/// As somebody who has stolen a user's password: each attempt has a channel of its own, which a refusal ends.
struct Thief(Connection);

impl Thief {
    async fn channel(&self) -> Channel {
        self.0.create_channel().await.unwrap()
    }

    async fn reads(&self, queue: &str) -> bool {
        let options = BasicConsumeOptions::default();
        let channel = self.channel().await;
        let consumer =
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let reads = consumer.await.is_ok();
        channel.close(200, "seen".into()).await.ok();
        reads
    }

    /// A key that leads nowhere: the permission is asked for before it is looked for.
    async fn writes(&self, exchange: &str) -> bool {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let key = "nowhere".into();
        let sent = channel.basic_publish(exchange.into(), key, options, b"", properties).await;
        sent.unwrap().await.is_ok()
    }

    async fn makes(&self, queue: &str) -> bool {
        let options = QueueDeclareOptions { auto_delete: true, ..Default::default() };
        let made = self.channel().await;
        made.queue_declare(queue.into(), options, FieldTable::default()).await.is_ok()
    }

    async fn deletes(&self, queue: &str) -> bool {
        let gone = self.channel().await.queue_delete(queue.into(), Default::default()).await;
        gone.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_users_of_the_definitions_callbacks_become_covers_and_nothing_else_can_be_done() {
    let node = &tokio::task::spawn_blocking(Rabbit::start).await.unwrap();
    import(node).await;
    let mut world = World::embedded(Settings { videos: 12, ..Settings::default() }).await;
    world.set("VOD_COVER__QUEUE__RABBITMQ__QUEUE", "vod-cover");
    world.set("VOD_COVER__QUEUE__RABBITMQ__EXCHANGE", "vod.events");
    world.set("VOD_COVER__QUEUE__RABBITMQ__DECLARE", "verify");

    let [worker, gateway, operator] =
        ["worker", "gateway", "operator"].map(|user| url(node, user, user));
    let declared = world.command(&["declare"], &[("AMQP_URL", &operator)]).output().unwrap();
    assert!(declared.status.success(), "{}", String::from_utf8_lossy(&declared.stderr));
    let policies = node.ctl(&["list_queues", "-p", "vod-cover", "name", "policy"]);
    assert!(policies.contains("vod-cover\tvod-cover\n"), "{policies}");

    works(&world, &worker, &gateway).await;
    no_more_can_be_done(node).await;
    scales(node).await;
}

/// Covers, retries and a dead letter, with the users of worker and gateway.
async fn works(world: &World, worker: &str, gateway: &str) {
    world.sim.set_faults(vec!["UpdateVideoInfo:error-5xx:x3".parse().unwrap()]);
    let gateway = world.start(&["gateway"], &[("AMQP_URL", gateway)]).await;
    let program = world.run(&[("AMQP_URL", worker)]).await;
    for event in world.sim.shuffled_events(0.0) {
        deliver(&gateway, &event).await;
    }
    let nobody = br#"{"EventType":"SnapshotComplete","Status":"success"}"#;
    deliver(&gateway, nobody).await;
    world.every_cover_is_set(Duration::from_secs(60)).await;
    let retried = program.metric("vod_cover_settlements_total", "how=\"retry\"").await;
    assert!(retried > 0.0, "nothing was retried");
    eventually("both are ready", SOON, async || {
        program.ready().await.0 == 200 && gateway.ready().await.0 == 200
    })
    .await;
    eventually("one is dead", SOON, async || {
        program.metric("vod_cover_dead_letters_total", "").await == 1.0
    })
    .await;
    let stored = gateway.metric("vod_cover_callback_seconds_count", "place=\"queue\"").await;
    assert!(stored > 0.0, "all of it went to the spool");
}

async fn no_more_can_be_done(node: &Rabbit) {
    let queues = ["vod-cover", "vod-cover.dead", "vod-cover.retry.1s"];
    for (user, reads, writes) in [
        ("worker", &queues[..2], &[""][..]),
        ("gateway", &[], &["vod.events", ""]),
        ("operator", &queues, &["vod.events", ""]),
        ("scaler", &[], &[]),
    ] {
        let thief = Thief(connect(node, user, user).await.unwrap());
        for queue in queues {
            assert_eq!(thief.reads(queue).await, reads.contains(&queue), "{user} reads {queue}");
        }
        for exchange in ["vod.events", "", "amq.topic"] {
            let may = writes.contains(&exchange);
            assert_eq!(thief.writes(exchange).await, may, "{user} writes to {exchange:?}");
        }
        let makes = user == "operator";
        assert_eq!(thief.makes("vod-cover.mine").await, makes, "{user} makes a queue");
        assert!(!thief.makes("mine").await, "{user} makes a queue of another name");
        if !makes {
            assert!(!thief.deletes("vod-cover").await, "{user} deletes the queue");
        }
        let elsewhere = url(node, user, user).replace("/vod-cover", "/%2f");
        let elsewhere = Connection::connect(&elsewhere, ConnectionProperties::default()).await;
        assert!(elsewhere.is_err(), "{user} gets into another vhost");
    }
}

/// What KEDA asks: the messages of the queue, with those that a worker has taken and not acknowledged.
async fn scales(node: &Rabbit) {
    let operator = Broker::connect(&url(node, "operator", "operator")).await;
    operator.publish("vod-cover", b"waiting", 0).await;
    let taker = connect(node, "worker", "worker").await.unwrap();
    let channel = taker.create_channel().await.unwrap();
    let options = BasicConsumeOptions::default();
    let consumer =
        channel.basic_consume("vod-cover".into(), "".into(), options, FieldTable::default());
    let _consumer = consumer.await.unwrap();
    let api = node.management();
    let ask = async |user: &str, path: &str| {
        let asked = http().get(format!("{api}/api/{path}"));
        let asked = asked.basic_auth(format!("vod-cover-{user}"), Some(user)).send().await.unwrap();
        let status = asked.status().as_u16();
        let text = asked.text().await.unwrap();
        (status, serde_json::from_str::<Value>(&text).unwrap_or_default())
    };
    eventually("the message that was taken is counted", SOON, async || {
        let (status, queue) = ask("scaler", "queues/vod-cover/vod-cover").await;
        // Nothing is ready: all that there is has been taken, with what the worker left behind.
        let taken = queue["messages_unacknowledged"].as_u64().unwrap_or_default();
        status == 200 && taken > 0 && queue["messages"] == taken
    })
    .await;
    assert_eq!(ask("worker", "queues/vod-cover/vod-cover").await.0, 401);
    assert_eq!(ask("scaler", "users").await.0, 401);
}
