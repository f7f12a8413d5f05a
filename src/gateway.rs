//! Takes VOD's events: its HTTP callbacks here, and what it puts into SMQ in [`Consumers`]. A callback is
//! answered with 200 only after it is stored durably, because VOD drops an event for good after three tries,
//! one second apart. It never decides by what an event says, and never sees the worker.
//!
//! | answer | when |
//! |---|---|
//! | 200 | the broker has confirmed it, or it is on the spool, or in the queue's own file |
//! | 400 | it is no JSON object, or has no EventType |
//! | 403 | it is not signed, not lately, or not right |
//! | 404, 405 | another path, another method |
//! | 408 | its body did not come in time |
//! | 413 | its body is longer than `most_bytes` |
//! | 503 | it is not stored, or perhaps: VOD tries again |
//!
//! A signature covers neither body nor a number that is used once, so a request that is repeated within
//! `max_age` is taken again. Its message has the same id and its event the same key, by which the ledger
//! knows it.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/user-guide/http-callbacks>

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::event;

mod envelope;
mod forward;
mod http;
mod keys;
mod listen;
mod reload;
mod smq;
mod spool;
mod store;
mod tls;

pub use keys::Keys;
pub use smq::Consumers;
pub use spool::{Fill, Spool};
pub use store::Store;

/// After this VOD does not wait for an answer any more.
const VOD_WAITS: Duration = Duration::from_secs(5);

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
    /// The longest body that is taken; at most [`event::MAX_BODY`].
    pub most_bytes: usize,
    /// From the first byte of a request to its answer; less than the five seconds that VOD waits.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub answer_within: Duration,
    /// How long a connection may be silent between two requests.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub idle: Duration,
    /// Connections at once; more wait to be accepted.
    pub most_connections: usize,
    pub tls: tls::Settings,
    pub spool: spool::Settings,
    pub forward: forward::Settings,
    pub smq: crate::smq::Settings,
}

/// What is wrong with the settings, or with the files that they name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Setting(String),
    #[error("the intake cannot start")]
    File(#[from] reload::Error),
    #[error("the intake cannot forward")]
    Forward(#[from] forward::Error),
    #[error("the intake cannot take events from SMQ")]
    Smq(#[from] crate::smq::BadSettings),
}

/// An intake that is ready to serve.
pub struct Gateway {
    router: axum::Router,
    tls: Option<tls::Tls>,
    bounds: listen::Bounds,
    store: Arc<Store>,
}

impl Settings {
    /// What no type can say. Files are not looked at.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::Setting(text));
        if !self.path.starts_with('/') || self.path.contains(['{', '}']) {
            return wrong(format!(
                "intake.path {:?} must begin with a slash and contain no braces",
                self.path
            ));
        }
        if !(1..=event::MAX_BODY).contains(&self.most_bytes) {
            return wrong(format!("intake.most_bytes must be from 1 to {}", event::MAX_BODY));
        }
        if self.most_connections == 0 || self.idle.is_zero() {
            return wrong("intake.most_connections and intake.idle must not be 0".into());
        }
        if !(self.spool.after < self.answer_within && self.answer_within < VOD_WAITS) {
            return wrong(format!(
                "intake.answer_within must be more than intake.spool.after ({:?}) and less than the \
                 {VOD_WAITS:?} that VOD waits",
                self.spool.after
            ));
        }
        let tls = [&self.tls.cert_file, &self.tls.key_file].map(|path| path.as_os_str().is_empty());
        if tls[0] != tls[1] {
            return wrong(
                "set both intake.tls.cert_file and intake.tls.key_file, or neither".into(),
            );
        }
        forward::target(&self.forward)?;
        self.smq.check()?;
        Ok(())
    }

    /// The callback URL as VOD has it.
    pub fn public_url(&self) -> String {
        let scheme = if self.tls.cert_file.as_os_str().is_empty() { "http" } else { "https" };
        match self.url.is_empty() {
            true => format!("{scheme}://{}{}", self.listen, self.path),
            false => self.url.clone(),
        }
    }
}

impl Gateway {
    /// Reads keys and certificate. `callback_key` is VOD_CALLBACK_KEY. Relays callbacks, if that is configured,
    /// until `stop`. Must be called within a tokio runtime.
    pub fn new(
        settings: &Settings,
        callback_key: Option<&str>,
        store: Store,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        let keys = Keys::load(settings, callback_key)?;
        if !keys.required() {
            warn!("callbacks are taken unsigned; set VOD_CALLBACK_KEY or intake.keys_file");
        }
        let store = Arc::new(store);
        let tls = tls::Tls::load(&settings.tls)?;
        let intake = http::Intake {
            keys,
            store: Arc::clone(&store),
            forward: forward::Forward::start(&settings.forward, stop.clone())?,
            most_bytes: settings.most_bytes,
            within: settings.answer_within,
        };
        let bounds = listen::Bounds {
            request: settings.answer_within,
            idle: settings.idle,
            connections: settings.most_connections,
        };
        Ok(Self { router: http::router(&settings.path, intake), tls, bounds, store })
    }

    /// Serves, and takes what is on the spool to the queue, until `stop`; then answers what is under way.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let serving = listen::serve(listener, self.router, self.tls, self.bounds, stop.clone());
        tokio::join!(serving, self.store.drain(stop.clone()), self.store.report(stop));
    }
}
