//! Events that VOD puts into SMQ instead of calling back: each gets into our queue, and only then out of
//! theirs, whatever breaks in between.

use std::collections::BTreeSet;

use vod_cover::event;
use vod_cover::queue::Trace;
use vod_cover::queue::rabbit::header;
use vod_cover::sim::smq::Settings as Smq;

use super::*;
use crate::faults::{address, through};
use crate::proxy::Proxy;

const NAME: &str = "vod-callback";
/// So short that what was received and lost comes again within a test.
const VISIBILITY: Duration = Duration::from_secs(3);

/// A world whose account puts the events of so many videos into SMQ.
async fn with_smq(videos: u32, smq: Smq) -> World {
    let settings = Settings { videos, qps: false, smq: Some(smq), ..Settings::default() };
    let mut world = World::embedded(settings).await;
    let endpoint = world.sim.endpoint();
    world.set("VOD_COVER__INTAKE__SMQ__ENDPOINT", &endpoint);
    world.set("VOD_COVER__INTAKE__SMQ__QUEUE", NAME);
    world.set("VOD_COVER__INTAKE__SMQ__WAIT", "2s");
    world
}

/// The same, with a queue on the shared broker.
async fn bridged(videos: u32, smq: Smq) -> (World, Broker) {
    let mut world = with_smq(videos, smq).await;
    world.set("AMQP_URL", &amqp_url());
    declare(&world);
    (world, Broker::connect(&amqp_url()).await)
}

fn quick() -> Smq {
    Smq { visibility: VISIBILITY, ..Smq::named(NAME) }
}

/// How many messages are in SMQ, received or not.
fn left(world: &World) -> usize {
    let counts = world.sim.smq().unwrap();
    counts.active + counts.inactive
}

async fn smq_is_empty(world: &World) {
    eventually("SMQ is empty", SOON, async || left(world) == 0).await;
}

/// Every event of the account is in the queue, at least once.
async fn all_are_there(world: &World, broker: &Broker) -> Vec<Letter> {
    let expected: BTreeSet<Vec<u8>> =
        world.sim.all_events().iter().map(|event| event.to_vec()).collect();
    let mut letters: Vec<Letter> = Vec::new();
    eventually("every event is in the queue", SOON, async || {
        while let Some(letter) = broker.take(&world.name).await {
            letters.push(letter);
        }
        letters.iter().map(|letter| letter.body.clone()).collect::<BTreeSet<_>>() == expected
    })
    .await;
    letters
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_smq_gets_into_the_queue_and_out_of_smq() {
    for base64 in [false, true] {
        let (world, broker) = bridged(40, Smq { base64, ..Smq::named(NAME) }).await;
        world.sim.emit().await;
        let program = gateway(&world, &[]).await;
        let letters = all_are_there(&world, &broker).await;
        assert_eq!(letters.len(), 40, "each once");
        for letter in &letters {
            let (kind, identity) = event::identity(&letter.body).unwrap();
            let (video, key) = identity.unwrap();
            assert_eq!(letter.id, format!("{video}/{key}"));
            assert_eq!(letter.routing_key, kind);
            assert!(letter.persistent);
            letter.header(header::TRACEPARENT).parse::<Trace>().expect("a trace begins here");
        }
        smq_is_empty(&world).await;
        let deleted = async || program.metric("vod_cover_smq_deleted_total", "").await == 40.0;
        eventually("metrics tell of it", SOON, deleted).await;
        assert_eq!(program.metric("vod_cover_smq_received_total", "").await, 40.0);
        assert_eq!(program.ready().await.1["dependencies"]["smq"], "ok");
    }
}

/// Where a gateway is killed.
enum Cut {
    /// SMQ's answer with the messages never comes.
    Received,
    /// The messages are never published.
    Published,
    /// The messages are published, and never deleted.
    Stored,
    /// They are deleted, and nobody learns of it.
    Deleted,
}

async fn killed_at(cut: Cut) {
    let (world, broker) = bridged(40, quick()).await;
    let amqp = Proxy::start(address(&amqp_url())).await;
    let smq = Proxy::start(world.sim.address()).await;
    let mut victim = gateway(
        &world,
        &[
            ("AMQP_URL", &through(&amqp_url(), amqp.address)),
            ("VOD_COVER__INTAKE__SMQ__ENDPOINT", &format!("http://{}", smq.address)),
        ],
    )
    .await;
    is_connected(&victim).await;
    let called = async |operation: &str| {
        let is = |call: &vod_cover::sim::Call| {
            call.operation == operation && call.fault.is_some() && world.sim.smq().is_some()
        };
        eventually(operation, SOON, async || world.sim.journal().iter().any(is)).await;
    };
    let fault = |text: &str| world.sim.set_faults(vec![text.parse().unwrap()]);
    match cut {
        Cut::Received => fault("BatchReceiveMessage:timeout-after-apply"),
        Cut::Published => amqp.freeze_at(b"SnapshotComplete"),
        Cut::Stored => smq.freeze_at(b"DELETE /queues"),
        Cut::Deleted => fault("BatchDeleteMessage:timeout-after-apply"),
    }
    world.sim.emit().await;
    match cut {
        Cut::Received => called("BatchReceiveMessage").await,
        Cut::Published => amqp.frozen(SOON).await,
        Cut::Stored => smq.frozen(SOON).await,
        Cut::Deleted => called("BatchDeleteMessage").await,
    }
    victim.kill();
    world.sim.clear_faults();
    let _survivor = gateway(&world, &[]).await;
    all_are_there(&world, &broker).await;
    smq_is_empty(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_messages_came() {
    killed_at(Cut::Received).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_they_were_published() {
    killed_at(Cut::Published).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_they_were_deleted() {
    killed_at(Cut::Stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_it_knew_that_they_were_deleted() {
    killed_at(Cut::Deleted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_smq_that_misbehaves_loses_nothing() {
    let (world, broker) = bridged(300, quick()).await;
    let faults =
        ["error-5xx=0.1", "reset=0.1", "reset-after-apply=0.1", "garbage=0.1", "throttle:x3"];
    world.sim.set_faults(faults.iter().map(|fault| fault.parse().unwrap()).collect());
    world.sim.emit().await;
    let program = gateway(&world, &[("VOD_COVER__INTAKE__SMQ__CONSUMERS", "4")]).await;
    all_are_there(&world, &broker).await;
    smq_is_empty(&world).await;
    assert!(program.metric("vod_cover_smq_failures_total", "class=\"transient\"").await > 0.0);
    assert!(program.metric("vod_cover_smq_failures_total", "class=\"deferred\"").await > 0.0);
    world.sim.clear_faults();
    let well = async || program.ready().await.1["dependencies"]["smq"] == "ok";
    eventually("it says that SMQ works", SOON, well).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_received_that_could_not_be_stored() {
    let (world, broker) = bridged(20, quick()).await;
    let amqp = Proxy::start(address(&amqp_url())).await;
    let url = through(&amqp_url(), amqp.address);
    amqp.hold();
    world.sim.emit().await;
    let program = gateway(&world, &[("AMQP_URL", &url)]).await;
    let answers =
        async || world.sim.journal().iter().any(|call| call.operation == "GetQueueAttributes");
    eventually("it asks what the queue is like", SOON, answers).await;
    let (code, body) = program.ready().await;
    assert_eq!(code, 200, "callbacks can go to the spool: {body}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.sim.smq().unwrap().most_received, 0);
    amqp.thaw();
    assert_eq!(all_are_there(&world, &broker).await.len(), 20);
    smq_is_empty(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_a_dead_letter() {
    let (world, broker) = bridged(0, quick()).await;
    let _program = gateway(&world, &[]).await;
    let odd = [
        ("hello", "event.not-json"),
        ("aGVsbG8=", "event.not-json"),
        ("{\"VideoId\":\"v\"}", "event.no-event-type"),
        ("<a>&amp;</a>", "event.not-json"),
    ];
    world.sim.enqueue(odd.map(|(body, _)| body.to_owned()));
    let letters = broker.drain(&format!("{}.dead", world.name), odd.len(), SOON).await;
    for (body, reason) in odd {
        let letter = letters.iter().find(|letter| letter.body == body.as_bytes());
        let letter = letter.unwrap_or_else(|| panic!("{body} is there, unchanged"));
        assert_eq!(letter.header(header::REASON), reason, "{body}");
        assert!(letter.id.starts_with("5F290C926D472878"), "{}", letter.id);
        assert!(!letter.header(header::LAST_ERROR).is_empty());
    }
    smq_is_empty(&world).await;
    assert_eq!(broker.ready(&world.name).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_queue_is_bound_for_stays_in_smq() {
    let (world, broker) = bridged(5, quick()).await;
    let lost = format!("{}.nowhere", world.name);
    world.sim.emit().await;
    let elsewhere = [
        ("VOD_COVER__QUEUE__RABBITMQ__EXCHANGE", lost.as_str()),
        ("VOD_COVER__QUEUE__RABBITMQ__QUEUE", lost.as_str()),
        ("VOD_COVER__QUEUE__RABBITMQ__BINDINGS", "FileUploadComplete"),
    ];
    let declared = world.command(&["declare"], &elsewhere).output().unwrap();
    assert!(declared.status.success(), "{}", String::from_utf8_lossy(&declared.stderr));
    let program = gateway(&world, &elsewhere).await;
    let says = async || program.log().contains("no queue is bound");
    eventually("it says what is missing", SOON, says).await;
    assert_eq!(left(&world), 5);
    drop(program);
    let _program = gateway(&world, &[]).await;
    all_are_there(&world, &broker).await;
    smq_is_empty(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_is_said_and_mended_without_a_restart() {
    let (mut world, broker) = bridged(10, quick()).await;
    let file = world.directory.path().join("secret");
    std::fs::write(&file, "wrong").unwrap();
    world.environment.remove("ALIBABA_CLOUD_ACCESS_KEY_SECRET");
    world.set("VOD_COVER__VOD__CREDENTIALS__ACCESS_KEY_SECRET_FILE", file.to_str().unwrap());
    world.sim.emit().await;
    let program = gateway(&world, &[]).await;
    let says = async || program.log().contains("SignatureDoesNotMatch");
    eventually("it says that its key is refused", SOON, says).await;
    let (code, body) = program.ready().await;
    let smq = body["dependencies"]["smq"].as_str().unwrap();
    assert!(code == 200 && smq.contains("SignatureDoesNotMatch"), "{code} {body}");
    std::fs::write(&file, crate::world::SECRET).unwrap();
    all_are_there(&world, &broker).await;
    smq_is_empty(&world).await;
    let refused = |call: &vod_cover::sim::Call| {
        format!("{:?}", call.verdict).contains("SignatureDoesNotMatch")
    };
    let refused = world.sim.journal().iter().filter(|call| refused(call)).count();
    assert!(refused < 12, "{refused} calls with a wrong key");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_smq_that_has_no_place_for_long_polls_is_not_asked_all_the_time() {
    let (world, broker) = bridged(5, Smq { places: 0, ..quick() }).await;
    let _program = gateway(&world, &[("VOD_COVER__INTAKE__SMQ__CONSUMERS", "4")]).await;
    let asked = || {
        let calls = world.sim.journal();
        calls.iter().filter(|call| call.operation == "BatchReceiveMessage").count()
    };
    eventually("it asks", SOON, async || asked() > 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Each of the four has asked after at least 50, 100, 200, 400 and 800 ms.
    assert!(asked() <= 4 * 6, "asked {} times in three seconds", asked());
    world.sim.emit().await;
    all_are_there(&world, &broker).await;
    smq_is_empty(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_long_poll() {
    let (mut world, _) = bridged(0, quick()).await;
    world.set("VOD_COVER__INTAKE__SMQ__WAIT", "30s");
    let mut program = gateway(&world, &[]).await;
    let asked = async || program.log().contains("taking events from SMQ");
    eventually("it asks", SOON, asked).await;
    program.signal("TERM");
    assert!(program.ended(Duration::from_secs(15)).await);
    assert!(program.log().contains("VisibilityTimeout is short"), "{}", program.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_machine_takes_from_smq_by_itself() {
    let world = with_smq(20, Smq { base64: true, ..quick() }).await;
    world.sim.emit().await;
    let _program = world.run(&[]).await;
    world.every_cover_is_set(SOON).await;
    // VOD's events about these covers come the same way.
    smq_is_empty(&world).await;
    assert!(world.changes().values().all(|times| *times == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_the_queue_is_like() {
    let mut world = with_smq(0, Smq::named(NAME)).await;
    let check = |world: &World| {
        let output = world.command(&["check"], &[]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = check(&world);
    assert!(
        text.contains("ok      smq: vod-callback can be read; VisibilityTimeout 30s"),
        "{text}"
    );
    world.set("VOD_COVER__INTAKE__SMQ__QUEUE", "another");
    let text = check(&world);
    assert!(text.contains("FAILED  smq:") && text.contains("QueueNotExist"), "{text}");
}
