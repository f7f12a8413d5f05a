//! The ops port of a gateway. It is ready as long as it can store what comes, be it on the spool: who would
//! send callbacks elsewhere while the broker is away would lose them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};

use crate::gateway::{Consumers, Spool};
use crate::queue::{Health, Queue};

/// What readiness looks at.
pub struct Storing {
    pub queue: Arc<dyn Queue>,
    pub spool: Arc<Spool>,
    pub smq: Option<Arc<Consumers>>,
    pub metrics: PrometheusHandle,
}

pub fn gateway(storing: Arc<Storing>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(async |State(of): State<Arc<Storing>>| of.metrics.render()))
        .with_state(storing)
}

/// 200 when callbacks can be stored; else 503. The body says where, and why not.
async fn ready(State(storing): State<Arc<Storing>>) -> (StatusCode, Json<Value>) {
    let queue = match storing.queue.health() {
        Health::Ready => None,
        Health::Away(why) => Some(why),
    };
    let spool = storing.spool.trouble().await;
    let ready = queue.is_none() || spool.is_none();
    let text = |trouble: Option<String>| trouble.unwrap_or_else(|| "ok".to_owned());
    let mut body = json!({
        "ready": ready,
        "spooled": storing.spool.fill().events,
        "dependencies": { "queue": text(queue), "spool": text(spool) },
    });
    // It keeps its messages, so nothing is the better for sending callbacks elsewhere.
    if let Some(smq) = &storing.smq {
        body["dependencies"]["smq"] = text(smq.trouble()).into();
    }
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(body))
}
