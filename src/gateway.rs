//! Takes VOD's HTTP callbacks. A callback is answered with 200 only after it is stored durably, because
//! VOD drops an event for good after three tries, one second apart. It never looks at what an event
//! says beyond its type, and never sees the worker.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/user-guide/http-callbacks>

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tracing::{debug, warn};

use crate::error::chain;
use crate::event;
use crate::queue::{Message, Queue};
use crate::telemetry;
use crate::vod::sign::callback::verify_callback;

/// VOD gives up after 5 s; what cannot be stored by then is refused, so that VOD tries again.
const STORE_WITHIN: Duration = Duration::from_secs(4);

/// The `[intake]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub listen: SocketAddr,
    /// Where on `listen` callbacks are taken; begins with a slash. A secret one keeps strangers out.
    pub path: String,
    /// The callback URL as VOD has it, which is part of the signature. Empty: made of the two above.
    pub url: String,
    /// One key a line; empty for none.
    pub keys_file: PathBuf,
    /// How far X-VOD-TIMESTAMP may lie from now, either way.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub max_age: Duration,
}

/// What the signature of a callback is checked against.
pub struct Keys {
    url: String,
    keys: Vec<SecretString>,
    max_age: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("intake.keys_file {} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("intake.keys_file {} holds no key; write one a line, or leave the setting empty", .0.display())]
    Empty(PathBuf),
    #[error("intake.path {0:?} must begin with a slash and contain no braces")]
    BadPath(String),
}

impl Keys {
    /// `from_environment` is VOD_CALLBACK_KEY.
    pub fn load(settings: &Settings, from_environment: Option<&str>) -> Result<Self, KeysError> {
        if !settings.path.starts_with('/') || settings.path.contains(['{', '}']) {
            return Err(KeysError::BadPath(settings.path.clone()));
        }
        let mut keys: Vec<SecretString> = Vec::new();
        let path = &settings.keys_file;
        if !path.as_os_str().is_empty() {
            let text = std::fs::read_to_string(path)
                .map_err(|source| KeysError::Unreadable { path: path.clone(), source })?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            keys.extend(lines.map(SecretString::from));
            if keys.is_empty() {
                return Err(KeysError::Empty(path.clone()));
            }
        }
        let given = from_environment.map(str::trim).filter(|key| !key.is_empty());
        keys.extend(given.map(SecretString::from));
        let url = match settings.url.is_empty() {
            true => format!("http://{}{}", settings.listen, settings.path),
            false => settings.url.clone(),
        };
        Ok(Self { url, keys, max_age: settings.max_age })
    }

    /// Whether callbacks must be signed.
    pub fn required(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The callback URL that signatures are checked against.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn admit(&self, headers: &HeaderMap, now: Timestamp) -> Result<(), &'static str> {
        if !self.required() {
            return Ok(());
        }
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let timestamp = header("x-vod-timestamp").ok_or("X-VOD-TIMESTAMP is missing")?;
        let signature = header("x-vod-signature").ok_or("X-VOD-SIGNATURE is missing")?;
        let seconds: i64 = timestamp.parse().map_err(|_| "X-VOD-TIMESTAMP is no number")?;
        if now.as_second().abs_diff(seconds) > self.max_age.as_secs() {
            return Err("X-VOD-TIMESTAMP is too far from now; check both clocks");
        }
        // Every key is tried, whichever matches, so that the time taken tells nothing.
        let matching = self.keys.iter().fold(false, |matched, key| {
            matched | verify_callback(&self.url, timestamp, key.expose_secret(), signature)
        });
        matching.then_some(()).ok_or("X-VOD-SIGNATURE is wrong; check the key and intake.url")
    }
}

struct Intake {
    queue: Arc<dyn Queue>,
    keys: Keys,
}

/// Answers `POST path`: 200 stored, 400 not JSON, 403 wrong signature, 413 too large, 503 not stored.
pub fn router(path: &str, keys: Keys, queue: Arc<dyn Queue>) -> Router {
    Router::new()
        .route(path, post(receive))
        .layer(DefaultBodyLimit::max(event::MAX_BODY))
        .with_state(Arc::new(Intake { queue, keys }))
}

async fn receive(State(intake): State<Arc<Intake>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let status = intake.take(&headers, body).await;
    telemetry::callback(status.as_u16());
    status
}

impl Intake {
    async fn take(&self, headers: &HeaderMap, body: Bytes) -> StatusCode {
        if let Err(why) = self.keys.admit(headers, Timestamp::now()) {
            warn!(why, "callback refused");
            return StatusCode::FORBIDDEN;
        }
        let kind = match event::kind(&body) {
            Ok(kind) => kind,
            Err(error) => {
                warn!(error = chain(&error), bytes = body.len(), "callback refused");
                return StatusCode::BAD_REQUEST;
            }
        };
        let id = uuid::Uuid::new_v4().to_string();
        let stored = self.queue.publish(Message::new(body, kind.clone(), id.clone()));
        match tokio::time::timeout(STORE_WITHIN, stored).await {
            Ok(Ok(())) => {
                debug!(message.id = id, event.r#type = kind, "callback stored");
                StatusCode::OK
            }
            Ok(Err(error)) => {
                warn!(error = chain(&error), "callback not stored; VOD will try again");
                StatusCode::SERVICE_UNAVAILABLE
            }
            Err(_) => {
                warn!("callback not stored in time; VOD will try again");
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}
