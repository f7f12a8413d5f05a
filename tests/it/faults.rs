//! What must not cost a cover: processes killed at every step, servers that go away, a key that is
//! wrong for a while.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vod_cover::sim::{NewVideo, Settings};

use crate::broker::Broker;
use crate::proxy::Proxy;
use crate::servers::{Redis, amqp_url, redis_url, with_breakable_rabbit};
use crate::wait::eventually;
use crate::world::{Program, World};

const SOON: Duration = Duration::from_secs(90);
/// After a fault has ended, everything works again by itself within this time.
const RECOVERY: Duration = Duration::from_secs(15);

fn videos(videos: u32) -> Settings {
    Settings { videos, qps: false, ..Settings::default() }
}

async fn ready(program: &Program) {
    eventually("it is ready", SOON, async || program.ready().await.0 == 200).await;
}

/// Publishes every event straight into the queue.
async fn publish(world: &World, broker: &Broker, duplicates: f64) {
    for event in world.sim.shuffled_events(duplicates) {
        broker.publish(&world.name, &event, 0).await;
    }
}

/// Nothing waits, nothing is in flight, nothing is dead, and no cover changed twice.
async fn settled(world: &World, broker: &Broker, program: &Program) {
    world.every_cover_is_set(SOON).await;
    broker.everything_is_settled(&world.name, program, SOON).await;
    let twice: Vec<_> = world.changes().into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "changed more than once: {twice:?}");
}

/// `scheme://[user@]host:port[/rest]` with the host and port replaced.
pub fn through(url: &str, proxy: SocketAddr) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, String::new()),
    };
    let user = authority.rsplit_once('@').map_or(String::new(), |(user, _)| format!("{user}@"));
    format!("{scheme}://{user}{proxy}{path}")
}

pub fn address(url: &str) -> SocketAddr {
    let rest = url.split_once("://").unwrap().1;
    let authority = rest.split('/').next().unwrap();
    let host = authority.rsplit('@').next().unwrap().replace("localhost", "127.0.0.1");
    host.parse().expect("a loopback address with a port")
}

/// Where a worker is killed, by the bytes that it was about to send.
enum Cut {
    /// What would have become this revision of a video's entry in the ledger never leaves.
    Ledger(u32),
    /// UpdateVideoInfo never leaves.
    Call,
    /// VOD has applied the call, and its answer never comes.
    Answer,
    /// The acknowledgement never leaves.
    Acknowledgement,
}

async fn killed_at(cut: Cut) {
    let (amqp, redis) = (amqp_url(), redis_url());
    let world = World::served(videos(12), &amqp, &redis).await;
    let broker = Broker::connect(&amqp).await;
    let proxied_amqp = Proxy::start(address(&amqp)).await;
    let proxied_redis = Proxy::start(address(&redis)).await;
    let proxied_vod = Proxy::start(world.sim.address()).await;
    let mut victim = world
        .run(&[
            ("AMQP_URL", &through(&amqp, proxied_amqp.address)),
            ("REDIS_URL", &through(&redis, proxied_redis.address)),
            ("VOD_ENDPOINT", &format!("http://{}", proxied_vod.address)),
            ("VOD_COVER__QUEUE__RABBITMQ__PREFETCH", "4"),
            // Long enough that the cut is not a time-out.
            ("VOD_COVER__VOD__TIMEOUT", "20s"),
            ("VOD_COVER__LEDGER__LEASE", "50s"),
            ("VOD_COVER__LEDGER__REDIS__TIMEOUT", "20s"),
        ])
        .await;
    ready(&victim).await;
    match cut {
        Cut::Ledger(revision) => {
            proxied_redis.freeze_at(format!("\r\n{revision:012} ").as_bytes());
        }
        Cut::Call => proxied_vod.freeze_at(b"Action=UpdateVideoInfo&"),
        Cut::Answer => {
            let fault = "UpdateVideoInfo:timeout-after-apply:x3";
            world.sim.set_faults(vec![fault.parse().unwrap()]);
        }
        // A method frame of Basic.Ack: 13 bytes, class 60, method 80.
        Cut::Acknowledgement => proxied_amqp.freeze_at(&[0, 0, 0, 13, 0, 60, 0, 80]),
    }
    publish(&world, &broker, 0.0).await;
    match cut {
        Cut::Ledger(_) => proxied_redis.frozen(SOON).await,
        Cut::Call => proxied_vod.frozen(SOON).await,
        Cut::Acknowledgement => proxied_amqp.frozen(SOON).await,
        Cut::Answer => {
            let applied = async || !world.changes().is_empty();
            eventually("a cover changed without an answer", SOON, applied).await;
        }
    }
    victim.kill();
    world.sim.clear_faults();
    // The victim's leases last longer than the survivor's, so it has to wait for them.
    let survivor = world.run(&[]).await;
    settled(&world, &broker, &survivor).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_write_is_announced() {
    killed_at(Cut::Ledger(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_call() {
    killed_at(Cut::Call).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_during_the_call() {
    killed_at(Cut::Answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_done() {
    killed_at(Cut::Ledger(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_acknowledgement() {
    killed_at(Cut::Acknowledgement).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_workers_killed_again_and_again() {
    let (amqp, redis) = (amqp_url(), redis_url());
    let slow = Settings { latency: Duration::from_millis(20), ..videos(400) };
    let mut world = World::served(slow, &amqp, &redis).await;
    world.set("VOD_COVER__QUEUE__RABBITMQ__PREFETCH", "8");
    let broker = Broker::connect(&amqp).await;
    let steady = world.run(&[]).await;
    ready(&steady).await;
    publish(&world, &broker, 0.3).await;
    for _ in 0..4 {
        let mut victim = world.run(&[]).await;
        let began = world.changes().len();
        let goes_on =
            async || world.changes().len() > began + 10 || world.without_cover().is_empty();
        eventually("work goes on", SOON, goes_on).await;
        victim.kill();
    }
    settled(&world, &broker, &steady).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_restarted_and_emptied() {
    let (amqp, redis) = (amqp_url(), Redis::start(&[]));
    let slow = Settings { latency: Duration::from_millis(20), ..videos(300) };
    let world = World::served(slow, &amqp, &redis.url).await;
    let broker = Broker::connect(&amqp).await;
    let program = world.run(&[("VOD_COVER__QUEUE__RABBITMQ__PREFETCH", "8")]).await;
    ready(&program).await;
    publish(&world, &broker, 0.3).await;
    eventually("work goes on", SOON, async || world.changes().len() > 20).await;
    redis.stop();
    eventually("it says so", SOON, async || {
        let (status, body) = program.ready().await;
        status == 503 && body["dependencies"]["ledger"] != "ok"
    })
    .await;
    redis.restart();
    eventually("it is ready again", RECOVERY, async || program.ready().await.0 == 200).await;
    settled(&world, &broker, &program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vod_away_for_half_a_minute() {
    let (amqp, redis) = (amqp_url(), redis_url());
    let slow = Settings { latency: Duration::from_millis(20), ..videos(300) };
    let world = World::served(slow, &amqp, &redis).await;
    let broker = Broker::connect(&amqp).await;
    let program = world.run(&[("VOD_COVER__QUEUE__RABBITMQ__PREFETCH", "8")]).await;
    ready(&program).await;
    publish(&world, &broker, 0.3).await;
    eventually("work goes on", SOON, async || world.changes().len() > 20).await;
    world.sim.pause().await.unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    let dead = format!("{}.dead", world.name);
    eventually("half a minute has passed", SOON, async || {
        assert_eq!(broker.ready(&dead).await, 0, "dead letters");
        Instant::now() > end
    })
    .await;
    let (status, body) = program.ready().await;
    assert_eq!((status, body["paused"].as_bool()), (503, Some(true)), "{body}");
    world.sim.resume().await.unwrap();
    eventually("it is ready again", RECOVERY, async || program.ready().await.0 == 200).await;
    settled(&world, &broker, &program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_for_a_minute_costs_nothing() {
    let (amqp, redis) = (amqp_url(), redis_url());
    let mut world = World::served(videos(1_000), &amqp, &redis).await;
    let secret = world.directory.path().join("secret");
    std::fs::write(&secret, "wrong").unwrap();
    world.set("VOD_COVER__VOD__CREDENTIALS__ACCESS_KEY_SECRET_FILE", secret.to_str().unwrap());
    world.set("VOD_COVER__VOD__QUOTA_SHARE", "1");
    let declared = world.command(&["declare"], &[]).output().unwrap();
    assert!(declared.status.success(), "{}", String::from_utf8_lossy(&declared.stderr));
    let broker = Broker::connect(&amqp).await;
    publish(&world, &broker, 0.0).await;
    let program = world.run(&[]).await;
    let named = async || {
        let (status, body) = program.ready().await;
        let why = body["dependencies"]["vod"].as_str().unwrap_or_default().to_owned();
        status == 503 && why.contains("SignatureDoesNotMatch") && why.contains("secret")
    };
    eventually("it says that the secret is wrong", SOON, named).await;
    let end = Instant::now() + Duration::from_secs(60);
    let dead = format!("{}.dead", world.name);
    eventually("a minute has passed", SOON, async || {
        assert_eq!(broker.ready(&dead).await, 0, "dead letters");
        assert_eq!(program.ready().await.0, 503);
        Instant::now() > end
    })
    .await;
    let refused = world.sim.journal().len();
    assert!(refused < 600, "VOD was asked {refused} times in vain");
    std::fs::write(&secret, crate::world::SECRET).unwrap();
    eventually("it is ready again", RECOVERY, async || program.ready().await.0 == 200).await;
    settled(&world, &broker, &program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_restarted() {
    with_breakable_rabbit(async |rabbit| {
        let slow = Settings { latency: Duration::from_millis(20), ..videos(300) };
        let world = World::served(slow, &rabbit.url, &redis_url()).await;
        let program = world.run(&[("VOD_COVER__QUEUE__RABBITMQ__PREFETCH", "8")]).await;
        ready(&program).await;
        publish(&world, &Broker::connect(&rabbit.url).await, 0.3).await;
        eventually("work goes on", SOON, async || world.changes().len() > 20).await;
        rabbit.restart();
        eventually("it is ready again", RECOVERY, async || program.ready().await.0 == 200).await;
        settled(&world, &Broker::connect(&rabbit.url).await, &program).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_closed_by_the_broker_and_the_queue_deleted() {
    with_breakable_rabbit(async |rabbit| {
        let slow = Settings { latency: Duration::from_millis(20), ..videos(300) };
        let world = World::served(slow, &rabbit.url, &redis_url()).await;
        let program = world.run(&[("VOD_COVER__QUEUE__RABBITMQ__PREFETCH", "8")]).await;
        ready(&program).await;
        let broker = Broker::connect(&rabbit.url).await;
        publish(&world, &broker, 0.3).await;
        eventually("work goes on", SOON, async || world.changes().len() > 20).await;
        rabbit.ctl(&["close_all_connections", "test"]);
        let broker = Broker::connect(&rabbit.url).await;
        settled(&world, &broker, &program).await;
        // The queue goes with all that waits in it, which is for whoever deleted it to answer for. What
        // comes later must not be lost.
        broker.delete(&world.name).await;
        let there = async || program.ready().await.0 == 200 && consumed(&broker, &world).await;
        eventually("the queue is there again", RECOVERY, there).await;
        let video = world.sim.add_video(Default::default()).unwrap();
        for event in world.sim.events(&video) {
            broker.publish(&world.name, &event, 0).await;
        }
        settled(&world, &broker, &program).await;
    })
    .await;
}

/// Whether the queue exists and somebody consumes from it.
async fn consumed(broker: &Broker, world: &World) -> bool {
    broker.consumers(&world.name).await > 0
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_blocked_by_a_memory_alarm() {
    with_breakable_rabbit(async |rabbit| {
        let world = World::served(videos(60), &rabbit.url, &redis_url()).await;
        let declared = world.command(&["declare"], &[]).output().unwrap();
        assert!(declared.status.success(), "{}", String::from_utf8_lossy(&declared.stderr));
        publish(&world, &Broker::connect(&rabbit.url).await, 0.0).await;
        // Every event is put off, so each has to be published again, and only that is blocked.
        let both = ["UpdateVideoInfo:throttle", "UpdateVideoInfos:throttle"];
        world.sim.set_faults(both.map(|fault| fault.parse().unwrap()).to_vec());
        rabbit.ctl(&["set_vm_memory_high_watermark", "0.000001"]);
        let program = world.run(&[("VOD_COVER__QUEUE__RABBITMQ__PREFETCH", "8")]).await;
        eventually("it says so", SOON, async || {
            let (_, body) = program.ready().await;
            body["dependencies"]["queue"]
                .as_str()
                .is_some_and(|text| text.contains("takes no messages"))
        })
        .await;
        world.sim.clear_faults();
        rabbit.ctl(&["set_vm_memory_high_watermark", "0.4"]);
        eventually("it is ready again", RECOVERY, async || program.ready().await.0 == 200).await;
        settled(&world, &Broker::connect(&rabbit.url).await, &program).await;
    })
    .await;
}

/// Probes succeed and events fail all the same: neither may the queue drain into the dead letters by
/// the number of deliveries, nor may intake stay paused once it is over.
#[tokio::test(flavor = "multi_thread")]
async fn pausing_again_and_again_does_not_wear_a_queue_out() {
    let (amqp, redis) = (amqp_url(), redis_url());
    let mut world = World::served(videos(60), &amqp, &redis).await;
    world.set("VOD_COVER__QUEUE__RABBITMQ__DELIVERY_LIMIT", "3");
    let declared = world.command(&["declare"], &[]).output().unwrap();
    assert!(declared.status.success(), "{}", String::from_utf8_lossy(&declared.stderr));
    let broker = Broker::connect(&amqp).await;
    publish(&world, &broker, 0.0).await;
    // The probe's own calls have no such video, and so are not struck by a fault of existing ones.
    let both = ["UpdateVideoInfo:forbidden", "UpdateVideoInfos:forbidden"];
    world.sim.set_faults(both.map(|fault| fault.parse().unwrap()).to_vec());
    let program = world.run(&[]).await;
    let asked = async || world.sim.journal().len() > 40;
    eventually("it has tried again and again", SOON, asked).await;
    assert_eq!(broker.ready(&format!("{}.dead", world.name)).await, 0, "dead letters");
    world.sim.clear_faults();
    eventually("it is ready again", RECOVERY, async || program.ready().await.0 == 200).await;
    settled(&world, &broker, &program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_event_alone_ends_as_a_dead_letter_and_holds_nobody_up() {
    let (amqp, redis) = (amqp_url(), redis_url());
    let world = World::served(videos(0), &amqp, &redis).await;
    let program = world.run(&[]).await;
    ready(&program).await;
    let broker = Broker::connect(&amqp).await;
    let uploading = NewVideo { status: "Uploading".into(), ..NewVideo::default() };
    let bad = world.sim.add_video(uploading).unwrap();
    world.sim.set_faults(vec!["GetVideoInfo:garbage".parse().unwrap()]);
    for event in world.sim.events(&bad) {
        broker.publish(&world.name, &event, 0).await;
    }
    let letters = broker.drain(&format!("{}.dead", world.name), 1, SOON).await;
    assert!(letters[0].header("x-vod-cover-reason").starts_with("vod."));
    assert_eq!(program.ready().await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_again_after_an_outage_although_nothing_more_comes() {
    let (amqp, redis) = (amqp_url(), redis_url());
    let world = World::served(videos(1), &amqp, &redis).await;
    let program = world.run(&[]).await;
    ready(&program).await;
    world.sim.pause().await.unwrap();
    publish(&world, &Broker::connect(&amqp).await, 0.0).await;
    eventually("it says so", SOON, async || program.ready().await.0 == 503).await;
    world.sim.resume().await.unwrap();
    world.every_cover_is_set(RECOVERY).await;
    eventually("it is ready again", RECOVERY, async || program.ready().await.0 == 200).await;
}
