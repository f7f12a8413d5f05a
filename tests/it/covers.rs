//! The main job from outside: events go in, covers come out, whatever happens in between.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use vod_cover::sim::Settings;

use crate::broker::Broker;
use crate::servers::{amqp_url, redis_url};
use crate::wait::eventually;
use crate::world::{CALLBACK_KEY, Program, World, http};

const SOON: Duration = Duration::from_secs(60);

fn videos(videos: u32) -> Settings {
    Settings { videos, ..Settings::default() }
}

/// Posts a callback as VOD does, signed by the rule of its documentation.
pub async fn post(program: &Program, body: Vec<u8>) -> u16 {
    let url = format!("http://{}/callback", program.intake);
    let now = Timestamp::now().as_second();
    let digest = Md5::digest(format!("{url}|{now}|{CALLBACK_KEY}"));
    let signature: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let request = http().post(&url).body(body);
    let request = request.header("X-VOD-TIMESTAMP", now).header("X-VOD-SIGNATURE", signature);
    request.send().await.map_or(0, |answer| answer.status().as_u16())
}

/// Sends it until it is taken, as VOD does: a broker that has much to do may let the gateway answer 503.
pub async fn deliver(program: &Program, body: &[u8]) {
    eventually("the callback is taken", SOON, async || match post(program, body.to_vec()).await {
        200 => true,
        0 | 503 => false,
        refusal => panic!("{refusal}: {}", String::from_utf8_lossy(body)),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_callbacks_become_covers_also_across_kill_nine() {
    let world = World::embedded(videos(60)).await;
    let events = world.sim.shuffled_events(0.3);
    let (before, after) = events.split_at(events.len() / 2);
    let mut program = world.run(&[]).await;
    for event in before {
        deliver(&program, event).await;
    }
    program.kill();
    drop(program);
    let program = world.run(&[]).await;
    for event in after {
        deliver(&program, event).await;
    }
    world.every_cover_is_set(SOON).await;
    assert!(world.changes().values().all(|count| *count == 1), "{:?}", world.changes());
    assert_eq!(program.metric("vod_cover_dead_letters_total", "").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_is_not_signed_right_is_refused() {
    let world = World::embedded(videos(1)).await;
    let program = world.run(&[]).await;
    let url = format!("http://{}/callback", program.intake);
    let event = world.sim.shuffled_events(0.0).remove(0).to_vec();
    let unsigned = http().post(&url).body(event.clone()).send().await.unwrap();
    assert_eq!(unsigned.status(), 403);
    let forged = http().post(&url).body(event).header("X-VOD-TIMESTAMP", "1519375990");
    let forged = forged.header("X-VOD-SIGNATURE", "c72b60894140fa98920f1279219b7ed4").send().await;
    assert_eq!(forged.unwrap().status(), 403);
    assert_eq!(post(&program, b"not json".to_vec()).await, 400);
    assert_eq!(post(&program, vec![b' '; 2 * 1024 * 1024]).await, 413);
    assert_eq!(world.without_cover().len(), 1);
}

/// The documented shapes, published by programs that are not ours.
#[tokio::test(flavor = "multi_thread")]
async fn events_from_other_peoples_publishers_become_covers() {
    let (amqp, redis) = (amqp_url(), redis_url());
    let world = World::served(videos(24), &amqp, &redis).await;
    let program = world.run(&[]).await;
    eventually("it is ready", SOON, async || program.ready().await.0 == 200).await;
    let events = world.sim.shuffled_events(0.0);
    let exchange = format!("{}.events", world.name);
    for (number, event) in events.iter().enumerate() {
        let body = String::from_utf8(event.to_vec()).unwrap();
        match number % 3 {
            0 => amqp_publish(&amqp, &["-e", &exchange, "-r", "SnapshotComplete"], &body),
            1 => amqp_publish(&amqp, &["-r", &world.name], &body),
            _ => pika_publish(&amqp, &exchange, "SnapshotComplete", &body),
        }
    }
    world.every_cover_is_set(SOON).await;
}

pub fn amqp_publish(url: &str, arguments: &[&str], body: &str) {
    let mut child = Command::new("amqp-publish")
        .args(["-u", url])
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .expect("amqp-publish is installed by tests/run");
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "amqp-publish failed");
}

pub fn pika_publish(url: &str, exchange: &str, key: &str, body: &str) {
    const SCRIPT: &str = "\
import sys, pika
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.confirm_delivery()
channel.basic_publish(sys.argv[2], sys.argv[3], sys.stdin.buffer.read(),
    pika.BasicProperties(content_type='application/json'), mandatory=True)
connection.close()
";
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", SCRIPT, url, exchange, key])
        .stdin(Stdio::piped())
        .spawn()
        .expect("python3 and pika are installed by tests/run");
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "pika failed");
}

/// 10,000 events for 5,000 videos, shuffled, 30% of them sent twice, and two workers.
#[tokio::test(flavor = "multi_thread")]
async fn each_cover_changes_exactly_once_with_duplicates_and_two_workers() {
    let account = Settings { separate_events: true, ..videos(5_000) };
    let world = World::served(account, &amqp_url(), &redis_url()).await;
    let events = world.sim.shuffled_events(0.3);
    assert!(events.len() >= 10_000, "{}", events.len());
    let file = world.directory.path().join("events");
    std::fs::write(&file, events.join(&b'\n')).unwrap();
    let published = world.command(&["publish", file.to_str().unwrap()], &[]).output().unwrap();
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    // Together they stay within the account's quota.
    let share = [("VOD_COVER__VOD__QUOTA_SHARE", "0.5")];
    let workers = [world.run(&share).await, world.run(&share).await];
    world.every_cover_is_set(Duration::from_secs(300)).await;
    assert_empty(&world, &workers).await;
    // A video whose first snapshot is its default cover needs no change.
    let changes = world.changes();
    assert!(changes.values().all(|count| *count == 1));
    let single = world.sim.videos().len() - changes.len();
    assert!(single < 1_500, "only videos with one snapshot go without a change: {single}");
}

async fn assert_empty(world: &World, workers: &[Program]) {
    eventually("the queue is empty", SOON, async || {
        for worker in workers {
            let busy = worker.metric("vod_cover_in_flight", "").await > 0.0;
            let waiting = worker.metric("vod_cover_queue_messages", "state=\"ready\"").await > 0.0;
            let delayed =
                worker.metric("vod_cover_queue_messages", "state=\"delayed\"").await > 0.0;
            if busy || waiting || delayed {
                return false;
            }
        }
        true
    })
    .await;
    for worker in workers {
        let dead = worker.metric("vod_cover_queue_messages", "state=\"dead\"").await;
        assert_eq!(dead, 0.0, "dead letters in {}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_a_dead_letter_with_its_reason_or_not_ours() {
    let (amqp, redis) = (amqp_url(), redis_url());
    let world = World::served(videos(3), &amqp, &redis).await;
    let program = world.run(&[]).await;
    eventually("it is ready", SOON, async || program.ready().await.0 == 200).await;
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let broker = Broker::connect(&amqp).await;
    let cases: Vec<(Vec<u8>, Option<&str>)> = vec![
        (b"not json".to_vec(), Some("event.not-json")),
        (b" ".to_vec(), Some("event.empty")),
        (Vec::new(), Some("event.empty")),
        (vec![b'x'; 10 * 1024 * 1024], Some("event.too-large")),
        (deep.into_bytes(), Some("event.not-json")),
        (b"{\"EventType\":\"\xff\xfe\"}".to_vec(), Some("event.not-json")),
        (b"[]".to_vec(), Some("event.not-an-object")),
        (b"{}".to_vec(), Some("event.no-event-type")),
        (
            br#"{"EventType":"SnapshotComplete","VideoId":{"a":1}}"#.to_vec(),
            Some("event.wrong-type"),
        ),
        (
            br#"{"EventType":"SnapshotComplete","Status":"success"}"#.to_vec(),
            Some("event.no-video-id"),
        ),
        (unknown_video(), Some("vod.InvalidVideo.NotFound")),
        (br#"{"EventType":"TranscodeComplete"}"#.to_vec(), None),
        (br#"{"EventType":"Brand.New","VideoId":7}"#.to_vec(), None),
        (br#"{"EventType":"SnapshotComplete","VideoId":"v","Status":"fail"}"#.to_vec(), None),
    ];
    for (body, _) in &cases {
        broker.publish(&world.name, body, 0).await;
    }
    // A header of 60 kB on an event that is all right otherwise.
    broker.publish(&world.name, &world.sim.shuffled_events(0.0)[0], 60_000).await;
    for event in world.sim.shuffled_events(0.0) {
        broker.publish(&world.name, &event, 0).await;
    }
    world.every_cover_is_set(SOON).await;
    let mut expected: Vec<_> = cases.iter().filter_map(|(_, reason)| *reason).collect();
    let dead = format!("{}.dead", world.name);
    let letters = broker.drain(&dead, expected.len(), SOON).await;
    let mut found: Vec<_> =
        letters.iter().map(|letter| letter.header("x-vod-cover-reason")).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert!(letters.iter().any(|letter| letter.body.len() == 10 * 1024 * 1024), "bodies are kept");
    assert_eq!(program.metric("vod_cover_events_total", "outcome=\"not_ours\"").await, 2.0);
    assert!(program.peak_memory() < 200, "{} MiB", program.peak_memory());
}

fn unknown_video() -> Vec<u8> {
    let event = json!({
        "EventType": "SnapshotComplete", "VideoId": "f".repeat(32), "Status": "success",
        "SnapshotInfos": [{"SnapshotType": "CoverSnapshot", "SnapshotCount": 1,
            "SnapshotRegular": "http://h/covers/x-{SnapshotCount}.jpg", "JobId": "j"}],
    });
    event.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cover_that_a_person_chose_is_kept() {
    let world = World::embedded(videos(10)).await;
    let chosen = "http://cdn.example.com/image/cover/own.png";
    let person = world.sim.videos()[3].clone();
    world.sim.edit_cover(&person, chosen);
    let program = world.run(&[]).await;
    for event in world.sim.shuffled_events(0.5) {
        deliver(&program, &event).await;
    }
    eventually("all others are set", SOON, async || world.without_cover() == [person.clone()])
        .await;
    assert_eq!(world.sim.cover_of(&person).as_deref(), Some(chosen));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_in_flight() {
    let slow = Settings { latency: Duration::from_millis(300), ..videos(40) };
    let world = World::embedded(slow).await;
    let mut program = world.run(&[]).await;
    for event in world.sim.shuffled_events(0.0) {
        deliver(&program, &event).await;
    }
    eventually("work is in flight", SOON, async || {
        program.ready().await.1["in_flight"].as_u64() > Some(0)
    })
    .await;
    program.signal("TERM");
    assert!(program.ended(SOON).await, "{}", program.log());
    assert!(program.log().contains("stopped"));
    let _rest = world.run(&[]).await;
    world.every_cover_is_set(SOON).await;
    assert!(world.changes().values().all(|count| *count == 1));
}

#[test]
fn the_demo_sets_every_cover_and_says_so() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vod-cover"));
    let output = command.args(["demo", "--once", "--json", "--videos", "40"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["videos"], 40);
    assert_eq!(report["covers_set"], 40);
    assert_eq!(report["dead"], 0);
    for member in ["events", "updates_sent", "duplicates_ignored", "elapsed_ms"] {
        assert!(report[member].as_u64().is_some_and(|number| number > 0), "{member}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_are_taken_until_the_end_of_the_drain() {
    let slow = Settings { latency: Duration::from_millis(700), ..videos(8) };
    let world = World::embedded(slow).await;
    let mut program = world.run(&[]).await;
    let events = world.sim.shuffled_events(0.0);
    let (first, rest) = events.split_at(4);
    for event in first {
        deliver(&program, event).await;
    }
    eventually("work is in flight", SOON, async || {
        program.ready().await.1["in_flight"].as_u64() > Some(0)
    })
    .await;
    program.signal("TERM");
    eventually("it drains", SOON, async || program.log().contains("stopping")).await;
    let mut taken = 0;
    for event in rest {
        taken += usize::from(post(&program, event.to_vec()).await == 200);
    }
    assert!(taken > 0, "no callback was taken while it drained");
    assert!(program.ended(SOON).await, "{}", program.log());
    let program = world.run(&[]).await;
    for event in rest {
        deliver(&program, event).await;
    }
    world.every_cover_is_set(SOON).await;
}

#[test]
fn replay_handles_a_file_and_names_every_line_that_it_could_not() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::embedded(videos(5)));
    let file = world.directory.path().join("events");
    let mut lines = world.sim.shuffled_events(0.0);
    lines.insert(2, b"not json".to_vec().into());
    std::fs::write(&file, lines.join(&b'\n')).unwrap();
    let output = world.command(&["replay", file.to_str().unwrap()], &[]).output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("line 3: event.not-json"), "{err}");
    assert!(world.without_cover().is_empty());
    // Again: everything was done before. A directory cannot be read, and that is not a success.
    let output = world.command(&["replay", file.to_str().unwrap()], &[]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("5 duplicate"));
    let output = world.command(&["replay", "/"], &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn check_says_what_is_wrong_and_what_is_right() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::embedded(videos(1)));
    let output = world.command(&["check"], &[]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("All is well"), "{text}");
    let wrong = [("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "hunter2")];
    let output = world.command(&["check"], &wrong).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("SignatureDoesNotMatch") && !text.contains("hunter2"), "{text}");
    let nonsense = [("VOD_COVER__COVER__RULES", "best-of-all")];
    let output = world.command(&["check"], &nonsense).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("best-of-all"));
}
