//! A second target for callbacks, for teams whose own consumer had VOD's one URL before: the body and VOD's
//! headers, as they came, after the callback was stored. Best effort: it never delays an answer, and what
//! cannot be delivered in a few tries is dropped and counted.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use url::Url;

use crate::error::chain;
use crate::telemetry;

/// Callbacks that are under way to it at once.
const AT_ONCE: usize = 16;
/// The time for one try, as VOD gives it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Before each further try.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];
/// What one callback takes beside its body, roughly.
const ENVELOPE: usize = 1024;

/// The `[intake.forward]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// http or https; empty for none.
    pub url: String,
    /// How much may wait for it, in bytes; what comes then is not relayed.
    pub most_bytes: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("intake.forward.url {0:?} must be an address of http or https")]
    BadUrl(String),
    #[error("preparing the connection to intake.forward.url")]
    Client(#[source] reqwest::Error),
}

pub(super) struct Forward {
    waiting: mpsc::UnboundedSender<Relay>,
    /// Counts the bytes that wait or are under way.
    room: Arc<Semaphore>,
}

struct Relay {
    headers: reqwest::header::HeaderMap,
    body: Bytes,
    _room: OwnedSemaphorePermit,
}

/// The address, if there is one.
pub(super) fn target(settings: &Settings) -> Result<Option<Url>, Error> {
    if settings.url.is_empty() {
        return Ok(None);
    }
    let bad = || Error::BadUrl(settings.url.clone());
    let url = Url::parse(&settings.url).map_err(|_| bad())?;
    let fits = matches!(url.scheme(), "http" | "https") && url.has_host();
    if fits { Ok(Some(url)) } else { Err(bad()) }
}

impl Forward {
    /// Relays until `stop`; what waits then is dropped.
    pub fn start(settings: &Settings, stop: CancellationToken) -> Result<Option<Self>, Error> {
        let Some(url) = target(settings)? else { return Ok(None) };
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::Client)?;
        let (waiting, mut coming) = mpsc::unbounded_channel::<Relay>();
        let room = usize::try_from(settings.most_bytes).unwrap_or_default();
        tokio::spawn(async move {
            let slots = Arc::new(Semaphore::new(AT_ONCE));
            let relays = async {
                while let Some(relay) = coming.recv().await {
                    let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                    let (client, url, stop) = (client.clone(), url.clone(), stop.clone());
                    tokio::spawn(async move {
                        stop.run_until_cancelled(relay.send(&client, &url)).await;
                        drop(slot);
                    });
                }
            };
            stop.run_until_cancelled(relays).await;
        });
        Ok(Some(Self { waiting, room: Arc::new(Semaphore::new(room)) }))
    }

    /// Returns at once.
    pub fn relay(&self, headers: &HeaderMap, body: Bytes) {
        let size = u32::try_from(body.len() + ENVELOPE).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(size) else {
            telemetry::forwarded("dropped");
            debug!("callback not relayed: too many wait for intake.forward.url");
            return;
        };
        let ours = |name: &str| name == CONTENT_TYPE.as_str() || name.starts_with("x-vod-");
        let headers = headers.iter().filter(|(name, _)| ours(name.as_str()));
        let headers = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
        let _ = self.waiting.send(Relay { headers, body, _room: room });
    }
}

impl Relay {
    async fn send(self, client: &reqwest::Client, url: &Url) {
        let mut pauses = PAUSES.iter();
        loop {
            let request = client.post(url.clone()).headers(self.headers.clone());
            let why = match request.body(self.body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => {
                    return telemetry::forwarded("relayed");
                }
                Ok(answer) => format!("HTTP {}", answer.status().as_u16()),
                Err(error) => chain(&error.without_url()),
            };
            let Some(pause) = pauses.next() else {
                telemetry::forwarded("failed");
                return warn!(error = why, "callback not relayed to intake.forward.url");
            };
            sleep(*pause).await;
        }
    }
}
