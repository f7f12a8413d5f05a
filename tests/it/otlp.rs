//! Traces: from the callback to the call that sets the cover, as a collector sees them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::Value;
use vod_cover::sim::Settings;

use crate::servers::{amqp_url, redis_url};
use crate::wait::eventually;
use crate::world::World;

const SOON: Duration = Duration::from_secs(60);

/// A span as it came, with the program that sent it.
#[derive(Debug, Clone)]
struct Span(Value);

impl Span {
    fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        let attributes = self.0["attributes"].as_array()?;
        let found = attributes.iter().find(|attribute| attribute["key"] == name)?;
        found["value"]["stringValue"].as_str()
    }
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// A collector on loopback, which takes OTLP as JSON.
async fn collector() -> (String, Spans) {
    let spans = Spans::default();
    let take = async |State(spans): State<Spans>, body: String| {
        let sent: Value = serde_json::from_str(&body).unwrap();
        let scopes = sent["resourceSpans"].as_array().into_iter().flatten();
        let scopes = scopes.flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
        let found = scopes.flat_map(|scope| scope["spans"].as_array().unwrap());
        spans.lock().unwrap().extend(found.cloned().map(Span));
        "{}"
    };
    let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&spans));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, spans)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_from_the_callback_to_the_call_that_sets_the_cover() {
    let settings = Settings { videos: 3, ..Settings::default() };
    let mut world = World::served(settings, &amqp_url(), &redis_url()).await;
    let (collector, spans) = collector().await;
    let spool = world.directory.path().join("spool.sqlite3");
    world.set("VOD_COVER__INTAKE__SPOOL__PATH", spool.to_str().unwrap());
    world.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector);
    let (mut worker, mut gateway) = (world.run(&[]).await, world.start(&["gateway"], &[]).await);
    for event in world.sim.shuffled_events(0.0) {
        crate::covers::deliver(&gateway, &event).await;
    }
    world.every_cover_is_set(SOON).await;
    // What has not been sent is sent at the end.
    for program in [&mut worker, &mut gateway] {
        program.signal("TERM");
        assert!(program.ended(SOON).await, "{}", program.log());
    }
    let all = spans.lock().unwrap().clone();
    let by_id = |id: &str| all.iter().find(|span| span.text("spanId") == id);
    let updates: Vec<_> = all
        .iter()
        .filter(|span| span.text("name").starts_with("UpdateVideoInfo"))
        // At its start the worker tries whether it may, with a video that there is not.
        .filter(|span| span.attribute("vod.code") == Some("ok"))
        .collect();
    assert!(!updates.is_empty(), "{all:?}");
    for update in &updates {
        // As VOD's support asks for it.
        assert_eq!(update.attribute("vod.request_id").map(str::len), Some(36), "{update:?}");
        let mut step = *update;
        let mut names = Vec::new();
        while let Some(parent) = by_id(step.text("parentSpanId")) {
            assert_eq!(parent.text("traceId"), step.text("traceId"));
            names.push(parent.text("name"));
            step = parent;
        }
        assert_eq!(names, ["calls", "event", "callback"], "from the call back to the intake");
    }
    // Those that a call answered along with the first are linked.
    let led: usize = updates
        .iter()
        .filter_map(|update| by_id(update.text("parentSpanId")))
        .map(|calls| 1 + calls.0["links"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(led, 3, "every event is led to its call");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_nothing_up() {
    let mut world = World::embedded(Settings { videos: 3, ..Settings::default() }).await;
    world.set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let mut program = world.run(&[]).await;
    for event in world.sim.shuffled_events(0.0) {
        crate::covers::deliver(&program, &event).await;
    }
    world.every_cover_is_set(SOON).await;
    program.signal("TERM");
    let ended = async || program.ended(Duration::from_millis(100)).await;
    let mut ended = ended;
    eventually("it ends", SOON, async || ended().await).await;
}
