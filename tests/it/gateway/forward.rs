//! The second target: gets what was stored as it came, and never holds up an answer.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post as on_post;
use bytes::Bytes;

use super::*;

/// A consumer of callbacks, as a team may have had one before.
#[derive(Default)]
struct Consumer {
    got: Mutex<Vec<(HeaderMap, Bytes)>>,
    /// What it answers next; 200 once it was told so.
    answer: AtomicU16,
}

impl Consumer {
    async fn start(answer: u16) -> (Arc<Self>, String) {
        let consumer = Arc::new(Self { answer: answer.into(), ..Self::default() });
        let take = async |State(of): State<Arc<Self>>, headers: HeaderMap, body: Bytes| {
            of.got.lock().unwrap().push((headers, body));
            StatusCode::from_u16(of.answer.load(Ordering::SeqCst)).unwrap()
        };
        let router = Router::new().route("/old", on_post(take)).with_state(Arc::clone(&consumer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/old", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (consumer, url)
    }

    fn got(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

async fn forwarded(program: &Program, outcome: &str) -> f64 {
    program.metric("vod_cover_forwarded_total", outcome).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_relayed_as_it_came_and_what_is_refused_is_not() {
    let (consumer, url) = Consumer::start(200).await;
    let world = world(NOWHERE).await;
    let program = world.start(&["gateway", "--forward", &url], &[]).await;
    assert_eq!(post(&program, b"[]".to_vec()).await, 400);
    let unsigned = CLIENT.post(callback_url(&program)).body(event(1, 1));
    assert_eq!(status(unsigned).await, 403);
    let at = now();
    let request = signed(&program, event(1, 2), at, CALLBACK_KEY).header("Cookie", "a=b");
    assert_eq!(status(request).await, 200);
    eventually("it was relayed", SOON, async || forwarded(&program, "relayed").await == 1.0).await;
    let got = consumer.got.lock().unwrap();
    let [(headers, body)] = got.as_slice() else { panic!("{got:?}") };
    assert_eq!(body[..], event(1, 2));
    let expected = signature(&callback_url(&program), &at.to_string(), CALLBACK_KEY);
    assert_eq!(headers["x-vod-signature"], expected);
    assert_eq!(headers["x-vod-timestamp"], at.to_string());
    assert_eq!(headers["content-type"], "application/json");
    assert!(!headers.contains_key("cookie"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_fails_is_tried_again() {
    let (consumer, url) = Consumer::start(500).await;
    let world = world(NOWHERE).await;
    let program = world.start(&["gateway", "--forward", &url], &[]).await;
    assert_eq!(post(&program, event(1, 1)).await, 200);
    eventually("it was tried", SOON, async || consumer.got() == 1).await;
    consumer.answer.store(204, Ordering::SeqCst);
    eventually("it was relayed", SOON, async || forwarded(&program, "relayed").await == 1.0).await;
    assert_eq!(consumer.got(), 2);
}

/// It accepts connections, and that is all.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_hangs_costs_its_own_copies_only() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut world = world(NOWHERE).await;
    world.set("VOD_COVER__INTAKE__FORWARD__URL", &url);
    world.set("VOD_COVER__INTAKE__FORWARD__MOST_BYTES", "20000");
    let program = gateway(&world, &[]).await;
    for number in 0..100 {
        assert_eq!(post(&program, event(1, number)).await, 200);
    }
    assert!(forwarded(&program, "dropped").await > 50.0);
    assert_eq!(stored_in(&program, "spool").await, 100.0);
}
