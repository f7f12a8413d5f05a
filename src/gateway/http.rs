//! One callback as a request: verified, read within its bounds, stored, and only then answered with 200.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::post;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, debug, warn};

use super::envelope;
use super::forward::Forward;
use super::keys::Keys;
use super::store::Store;
use crate::error::chain;
use crate::telemetry::{self, spans};

/// What all requests share.
pub(super) struct Intake {
    pub keys: Keys,
    pub store: Arc<Store>,
    pub forward: Option<Forward>,
    pub most_bytes: usize,
    pub within: Duration,
}

/// When the first byte of a request came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began(pub Instant);

/// Memory that is taken for a body before it is there, in bytes.
const AT_FIRST: usize = 64 * 1024;
/// A body that is too long is read on, up to so many times its bound, so that the answer is not lost with
/// a connection that is closed on whoever still sends.
const PATIENCE: usize = 4;

/// Answers `POST path` as [`super`] says.
pub(super) fn router(path: &str, intake: Intake) -> Router {
    Router::new().route(path, post(receive)).with_state(Arc::new(intake)).layer(map_response(
        async |answer: Response| {
            telemetry::callback(answer.status().as_u16());
            answer
        },
    ))
}

async fn receive(State(intake): State<Arc<Intake>>, request: Request<Body>) -> StatusCode {
    let began = request.extensions().get().map_or_else(Instant::now, |began: &Began| began.0);
    let deadline = began + intake.within;
    let (head, body) = request.into_parts();
    if let Err(refusal) = intake.keys.admit(&head.headers, Timestamp::now()) {
        telemetry::callback_refused(refusal.reason());
        warn!(why = %refusal, "callback refused");
        return StatusCode::FORBIDDEN;
    }
    let body = match timeout_at(deadline, read(&head.headers, body, intake.most_bytes)).await {
        Ok(Ok(body)) => body,
        Ok(Err(status)) => return status,
        Err(_) => {
            warn!("callback refused: its body did not come in time");
            return StatusCode::REQUEST_TIMEOUT;
        }
    };
    let taken = intake.take(&head.headers, body).instrument(spans::intake());
    match timeout_at(deadline, taken).await {
        Ok(status) => status,
        Err(_) => {
            warn!("callback not stored in time; VOD will try again");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

async fn read(headers: &HeaderMap, body: Body, most: usize) -> Result<Bytes, StatusCode> {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut chunks = body.into_data_stream();
    let mut kept = BytesMut::with_capacity(length.unwrap_or(0usize).min(most).min(AT_FIRST));
    let mut size = 0usize;
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else {
            debug!("callback refused: its body ends too early");
            return Err(StatusCode::BAD_REQUEST);
        };
        size = size.saturating_add(chunk.len());
        if size <= most {
            kept.extend_from_slice(&chunk);
        } else if size > most.saturating_mul(PATIENCE) {
            break;
        }
    }
    if size > most {
        telemetry::callback_refused("body.too-large");
        warn!(bytes = length.unwrap_or(size), most, "callback refused: it is too large");
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    Ok(kept.freeze())
}

impl Intake {
    async fn take(&self, headers: &HeaderMap, body: Bytes) -> StatusCode {
        let began = Instant::now();
        let message = match envelope::message(body.clone()) {
            Ok(message) => message,
            Err(error) => {
                telemetry::callback_refused(error.reason().as_str());
                warn!(error = chain(&error), bytes = body.len(), "callback refused");
                return StatusCode::BAD_REQUEST;
            }
        };
        let (id, kind) = (message.id.clone(), message.kind.clone());
        match self.store.put(message).await {
            Ok(place) => {
                telemetry::callback_stored(place.name(), began.elapsed());
                let place = place.name();
                debug!(message.id = id, event.r#type = kind, place, "callback stored");
                if let Some(forward) = &self.forward {
                    forward.relay(headers, body);
                }
                StatusCode::OK
            }
            Err(error) => {
                warn!(error = chain(&error), "callback not stored; VOD will try again");
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}
