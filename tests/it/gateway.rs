//! The bridge from VOD's callbacks to RabbitMQ, through its front door: what it answers, and what is in the
//! queue then.

use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use md5::{Digest, Md5};
use serde_json::json;
use vod_cover::sim::Settings;

use crate::broker::{Broker, Letter};
use crate::servers::amqp_url;
use crate::wait::{SOON, eventually};
use crate::world::{CALLBACK_KEY, Program, World, http};

mod connections;
mod forward;
mod random;
mod smq;
mod spool;
mod storm;
mod tls;

/// A broker that nobody is.
const NOWHERE: &str = "amqp://127.0.0.1:9/%2f";

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(http);

/// A world with this broker, and nothing in its account.
async fn world(amqp: &str) -> World {
    let mut world =
        World::embedded(Settings { videos: 0, qps: false, ..Settings::default() }).await;
    world.set("AMQP_URL", amqp);
    world
}

/// A world on the shared broker, with its queue.
async fn shared() -> (World, Broker) {
    let world = world(&amqp_url()).await;
    declare(&world);
    (world, Broker::connect(&amqp_url()).await)
}

fn declare(world: &World) {
    let declared = world.command(&["declare"], &[]).output().unwrap();
    assert!(declared.status.success(), "{}", String::from_utf8_lossy(&declared.stderr));
}

async fn gateway(world: &World, more: &[(&str, &str)]) -> Program {
    world.start(&["gateway"], more).await
}

/// The rule of VOD's documentation.
fn signature(url: &str, timestamp: &str, key: &str) -> String {
    let digest = Md5::digest(format!("{url}|{timestamp}|{key}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn callback_url(program: &Program) -> String {
    format!("http://{}/callback", program.intake)
}

/// A callback as VOD posts it, signed at this time with this key.
fn signed(program: &Program, body: Vec<u8>, at: i64, key: &str) -> reqwest::RequestBuilder {
    let (url, at) = (callback_url(program), at.to_string());
    let signature = signature(&url, &at, key);
    let request = CLIENT.post(url).header("Content-Type", "application/json").body(body);
    request.header("X-VOD-TIMESTAMP", at).header("X-VOD-SIGNATURE", signature)
}

/// The same as the bytes of a request, with these headers instead of a length.
fn raw(program: &Program, headers: &str, body: &str) -> Vec<u8> {
    let at = now().to_string();
    let signature = signature(&callback_url(program), &at, CALLBACK_KEY);
    format!(
        "POST /callback HTTP/1.1\r\nHost: h\r\nX-VOD-TIMESTAMP: {at}\r\n\
         X-VOD-SIGNATURE: {signature}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// The status; 0 if there was no answer.
async fn status(request: reqwest::RequestBuilder) -> u16 {
    request.send().await.map_or(0, |answer| answer.status().as_u16())
}

async fn post(program: &Program, body: Vec<u8>) -> u16 {
    status(signed(program, body, now(), CALLBACK_KEY)).await
}

/// An event of a video.
fn event(video: usize, number: usize) -> Vec<u8> {
    let event = json!({
        "EventType": "TranscodeComplete",
        "EventTime": "2026-01-01T00:00:00Z",
        "VideoId": format!("video-{video}"),
        "Status": "success",
        "Extend": number.to_string(),
    });
    event.to_string().into_bytes()
}

/// The number of the video and of the event.
fn read(letter: &Letter) -> (String, usize) {
    let value: serde_json::Value = serde_json::from_slice(&letter.body).unwrap();
    let number = value["Extend"].as_str().unwrap().parse().unwrap();
    (value["VideoId"].as_str().unwrap().to_owned(), number)
}

async fn stored_in(program: &Program, place: &str) -> f64 {
    program.metric("vod_cover_callback_seconds_count", &format!("place=\"{place}\"")).await
}

/// Whether the broker takes callbacks straight away.
async fn connected(program: &Program) -> bool {
    program.ready().await.1["dependencies"]["queue"] == "ok"
}

async fn is_connected(program: &Program) {
    eventually("it is connected", SOON, async || connected(program).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_is_in_the_queue_as_it_came_before_it_is_answered() {
    let (world, broker) = shared().await;
    let program = gateway(&world, &[]).await;
    is_connected(&program).await;
    let odd = "\u{feff} {\"EventType\": \"SnapshotComplete\",\n \"Ünknown \": [1.0, \"\\u0041\"]} ";
    assert_eq!(post(&program, odd.as_bytes().to_vec()).await, 200);
    let letter = broker.take(&world.name).await.expect("it is there already");
    assert_eq!(String::from_utf8(letter.body).unwrap(), odd);
    assert_eq!(letter.routing_key, "SnapshotComplete");
    assert!(letter.persistent && !letter.id.is_empty());
    assert_eq!(stored_in(&program, "queue").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_callback_is_refused_and_counted() {
    let (world, broker) = shared().await;
    let program = gateway(&world, &[("VOD_COVER__INTAKE__MOST_BYTES", "1000")]).await;
    let url = callback_url(&program);
    let plain = |body: &str| CLIENT.post(&url).body(body.to_owned());
    let good = String::from_utf8(event(1, 1)).unwrap();

    assert_eq!(status(plain(&good)).await, 403, "unsigned");
    let half = plain(&good).header("X-VOD-TIMESTAMP", now().to_string());
    assert_eq!(status(half).await, 403, "half signed");
    assert_eq!(status(signed(&program, event(1, 1), now(), "An0therKey")).await, 403, "forged");
    for age in [-301, 302] {
        let stale = signed(&program, event(1, 1), now() + age, CALLBACK_KEY);
        assert_eq!(status(stale).await, 403, "{age}");
    }
    for (body, reason) in [
        ("", "event.empty"),
        ("{\"EventType\":", "event.not-json"),
        ("[]", "event.not-an-object"),
        ("{\"VideoId\":\"a\"}", "event.no-event-type"),
    ] {
        assert_eq!(post(&program, body.into()).await, 400, "{body}");
        let counted = program.metric("vod_cover_callbacks_refused_total", reason).await;
        assert_eq!(counted, 1.0, "{reason}");
    }
    let long = format!("{{\"EventType\":\"A\",\"Extend\":\"{}\"}}", "x".repeat(1000));
    assert_eq!(post(&program, long.into()).await, 413);
    assert_eq!(status(CLIENT.get(&url)).await, 405);
    assert_eq!(status(CLIENT.put(&url).body(good)).await, 405);
    assert_eq!(status(CLIENT.post(format!("{url}/more"))).await, 404);

    let answered = |status: &str| format!("status=\"{status}\"");
    for (status, count) in [("403", 5.0), ("400", 4.0), ("413", 1.0), ("405", 2.0), ("404", 1.0)] {
        let counted = program.metric("vod_cover_callbacks_total", &answered(status)).await;
        assert_eq!(counted, count, "{status}");
    }
    assert!(program.log().contains("not JSON"), "the reason is in the log");
    assert_eq!(broker.ready(&world.name).await, 0);
    assert_eq!(post(&program, event(1, 1)).await, 200, "it still works");
}

/// VOD prints this vector in its documentation, for a moment long ago.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_signature_is_accepted() {
    let (mut world, broker) = shared().await;
    world.set("VOD_CALLBACK_KEY", "test123");
    world.set("VOD_COVER__INTAKE__URL", "https://www.example.com/your/callback");
    let program = gateway(&world, &[("VOD_COVER__INTAKE__MAX_AGE", "1000000h")]).await;
    let request = CLIENT.post(callback_url(&program)).body(event(1, 1));
    let request = request.header("X-VOD-TIMESTAMP", "1519375990");
    let right = request.try_clone().unwrap();
    let right = right.header("X-VOD-SIGNATURE", "c72b60894140fa98920f1279219b7ed4");
    assert_eq!(status(right).await, 200);
    let wrong = request.header("X-VOD-SIGNATURE", "c72b60894140fa98920f1279219b7ed5");
    assert_eq!(status(wrong).await, 403);
    broker.drain(&world.name, 1, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_without_a_restart() {
    let (mut world, _) = shared().await;
    let file = world.directory.path().join("keys");
    std::fs::write(&file, "Old0Key\n").unwrap();
    world.environment.remove("VOD_CALLBACK_KEY");
    world.set("VOD_COVER__INTAKE__KEYS_FILE", file.to_str().unwrap());
    let program = gateway(&world, &[]).await;
    let accepts = async |key: &str| status(signed(&program, event(1, 1), now(), key)).await;
    assert_eq!((accepts("Old0Key").await, accepts("New0Key").await), (200, 403));
    std::fs::write(&file, "Old0Key\n\n New0Key \n").unwrap();
    eventually("both are right", SOON, async || accepts("New0Key").await == 200).await;
    assert_eq!(accepts("Old0Key").await, 200);
    std::fs::write(&file, "New0Key").unwrap();
    eventually("the old one is wrong", SOON, async || accepts("Old0Key").await == 403).await;
    // Never open to everybody because a file is not what it should be.
    std::fs::write(&file, "\n").unwrap();
    eventually("it says so", SOON, async || program.log().contains("holds no key")).await;
    assert_eq!((accepts("New0Key").await, accepts("Old0Key").await), (200, 403));
    assert_eq!(status(CLIENT.post(callback_url(&program)).body(event(1, 1))).await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_comes_again_is_the_same_message_again() {
    let (world, broker) = shared().await;
    let program = gateway(&world, &[]).await;
    let request = signed(&program, event(1, 1), now(), CALLBACK_KEY);
    for _ in 0..2 {
        assert_eq!(status(request.try_clone().unwrap()).await, 200);
    }
    let letters = broker.drain(&world.name, 2, SOON).await;
    assert_eq!(letters[0].body, letters[1].body);
    assert_eq!(letters[0].id, letters[1].id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_work_is_said_at_the_start() {
    let world = world(NOWHERE).await;
    let start = |more: &[(&str, &str)]| {
        let mut command = world.command(&["gateway"], more);
        let output = command.env("VOD_COVER__OPS__LISTEN", "127.0.0.1:0").stdin(Stdio::null());
        let output = output.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (name, value, says) in [
        ("AMQP_URL", "", "set AMQP_URL"),
        ("VOD_COVER__INTAKE__PATH", "callback", "slash"),
        ("VOD_COVER__INTAKE__ANSWER_WITHIN", "5s", "less than the 5s"),
        ("VOD_COVER__INTAKE__MOST_BYTES", "0", "intake.most_bytes"),
        ("VOD_COVER__INTAKE__KEYS_FILE", "/nowhere/keys", "/nowhere/keys"),
        ("VOD_COVER__INTAKE__TLS__CERT_FILE", "/nowhere/cert", "or neither"),
        ("VOD_COVER__INTAKE__FORWARD__URL", "ftp://h", "http or https"),
        ("VOD_COVER__INTAKE__SMQ__QUEUE", "vod/callback", "intake.smq.queue"),
        ("VOD_COVER__INTAKE__SMQ__QUEUE", "vod-callback", "intake.smq.endpoint"),
        ("VOD_COVER__INTAKE__SMQ__WAIT", "31s", "intake.smq.wait"),
    ] {
        let (code, text) = start(&[(name, value)]);
        assert_eq!(code, Some(2), "{name}: {text}");
        assert!(text.contains(says), "{name}: {text}");
    }
    let (code, text) = start(&[("VOD_COVER__INTAKE__SPOOL__PATH", "/nowhere/spool")]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("/nowhere does not exist"), "{text}");
}
