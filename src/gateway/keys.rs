//! The signatures of callbacks: which keys there are, and whether a request was signed with one of them,
//! lately. A signature covers the URL and the time, not the body.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/user-guide/http-callbacks>

use std::time::Duration;

use axum::http::HeaderMap;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::Settings;
use super::reload::{Error, Reloaded};
use crate::vod::sign::callback::verify_callback;

/// What the signature of a callback is checked against. The file of keys is read again when it changes.
pub struct Keys {
    url: String,
    given: Option<SecretString>,
    file: Reloaded<Vec<SecretString>>,
    max_age: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("it holds no key; write one a line, or leave the setting empty")]
struct NoKey;

/// Why a request is not from VOD, or not of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("X-VOD-TIMESTAMP is missing")]
    NoTimestamp,
    #[error("X-VOD-SIGNATURE is missing")]
    NoSignature,
    #[error("X-VOD-TIMESTAMP is no number")]
    BadTimestamp,
    #[error("X-VOD-TIMESTAMP is too far from now; check both clocks")]
    Expired,
    #[error("X-VOD-SIGNATURE is wrong; check the key and intake.url")]
    Wrong,
}

impl Refusal {
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoTimestamp | Self::NoSignature => "signature.missing",
            Self::BadTimestamp | Self::Wrong => "signature.wrong",
            Self::Expired => "signature.expired",
        }
    }
}

impl Keys {
    /// `from_environment` is VOD_CALLBACK_KEY. Must be called within a tokio runtime.
    pub fn load(settings: &Settings, from_environment: Option<&str>) -> Result<Self, Error> {
        let path = &settings.keys_file;
        let files = if path.as_os_str().is_empty() { Vec::new() } else { vec![path.clone()] };
        let file = Reloaded::start("intake.keys_file", files, |contents| {
            let text: Vec<_> =
                contents.iter().map(|content| String::from_utf8_lossy(content)).collect();
            let lines = text.iter().flat_map(|text| text.lines()).map(str::trim);
            let keys: Vec<_> =
                lines.filter(|line| !line.is_empty()).map(SecretString::from).collect();
            if keys.is_empty() && !contents.is_empty() { Err(NoKey) } else { Ok(keys) }
        })?;
        let given = from_environment.map(str::trim).filter(|key| !key.is_empty());
        Ok(Self {
            url: settings.public_url(),
            given: given.map(SecretString::from),
            file,
            max_age: settings.max_age,
        })
    }

    /// Whether callbacks must be signed.
    pub fn required(&self) -> bool {
        self.given.is_some() || !self.file.now().is_empty()
    }

    /// The callback URL that signatures are checked against.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn admit(&self, headers: &HeaderMap, now: Timestamp) -> Result<(), Refusal> {
        if !self.required() {
            return Ok(());
        }
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let timestamp = header("x-vod-timestamp").ok_or(Refusal::NoTimestamp)?;
        let signature = header("x-vod-signature").ok_or(Refusal::NoSignature)?;
        let seconds: i64 = timestamp.parse().map_err(|_| Refusal::BadTimestamp)?;
        if now.as_second().abs_diff(seconds) > self.max_age.as_secs() {
            return Err(Refusal::Expired);
        }
        // Every key is tried, whichever matches, so that the time taken tells nothing.
        let file = self.file.now();
        let matching = file.iter().chain(&self.given).fold(false, |matched, key| {
            matched | verify_callback(&self.url, timestamp, key.expose_secret(), signature)
        });
        matching.then_some(()).ok_or(Refusal::Wrong)
    }
}
