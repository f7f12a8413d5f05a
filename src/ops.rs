//! The ops port: `/livez`, `/readyz` with every dependency by name, `/metrics`, and the [`page`] for people.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};

use crate::error::chain;
use crate::ledger::Ledger;
use crate::pipeline::Status;
use crate::queue::{Health, Queue};
use crate::telemetry;

mod gateway;
pub mod page;

pub use gateway::{Storing, gateway};

/// What readiness looks at.
pub struct Watched {
    pub queue: Arc<dyn Queue>,
    pub ledger: Arc<dyn Ledger>,
    pub pipeline: Arc<Status>,
    pub metrics: PrometheusHandle,
}

/// Asking a dependency must not hold a probe of Kubernetes, which waits one second by default.
const ASK_WITHIN: Duration = Duration::from_millis(800);

pub fn router(watched: Arc<Watched>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(watched)
}

/// 200 when events are being taken and every dependency works; else 503. The body says which and why.
async fn ready(State(watched): State<Arc<Watched>>) -> (StatusCode, Json<Value>) {
    let state = watched.pipeline.now();
    let queue = match watched.queue.health() {
        Health::Ready => Ok(()),
        Health::Away(why) => Err(why),
    };
    let ledger = match tokio::time::timeout(ASK_WITHIN, watched.ledger.ping()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("no answer within {ASK_WITHIN:?}")),
    };
    let mut dependencies =
        [("queue", queue), ("ledger", ledger), ("vod", Ok(())), ("pictures", Ok(()))];
    // The pipeline knows best why it paused; VOD and its pictures are judged by that alone, and never
    // asked from here, because every question costs quota or traffic.
    if let Some(pause) = &state.pause {
        for (name, result) in &mut dependencies {
            if *name == pause.dependency.name() && result.is_ok() {
                *result = Err(pause.why.clone());
            }
        }
    }
    let ready = !state.draining && dependencies.iter().all(|(_, result)| result.is_ok());
    let shown = dependencies.into_iter().map(|(name, result)| {
        let text = result.map_or_else(|why| why, |()| "ok".to_owned());
        (name.to_owned(), Value::String(text))
    });
    let body = json!({
        "ready": ready,
        "draining": state.draining,
        "paused": state.pause.is_some(),
        "in_flight": state.in_flight,
        "dependencies": shown.collect::<serde_json::Map<_, _>>(),
    });
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(body))
}

async fn render(State(watched): State<Arc<Watched>>) -> String {
    if let Ok(Ok(depth)) = tokio::time::timeout(ASK_WITHIN, watched.queue.depth()).await {
        telemetry::depth(depth);
    }
    watched.metrics.render()
}
