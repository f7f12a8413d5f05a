//! Sends events over HTTP as VOD does: POST, 200 and nothing else is success, 5 seconds for an answer,
//! three tries one second apart; then the event is gone for good.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/user-guide/http-callbacks>

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use md5::{Digest, Md5};
use tokio::sync::Semaphore;

use super::auth::hex;

const TIMEOUT: Duration = Duration::from_secs(5);
const TRIES: usize = 3;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// Callbacks on their way at one time.
const MOST_AT_ONCE: usize = 16;

/// Where events go.
#[derive(Clone, PartialEq)]
pub struct Callback {
    /// http only; part of the signature, exactly as written here.
    pub url: String,
    /// With a key, every callback carries X-VOD-TIMESTAMP and X-VOD-SIGNATURE.
    pub key: Option<String>,
    /// Extra copies of each event on average when [`super::Simulator::emit`] sends them.
    pub duplicates: f64,
}

#[derive(Clone)]
pub(super) struct Sender {
    pub settings: Callback,
    client: reqwest::Client,
    permits: Arc<Semaphore>,
}

impl Sender {
    pub fn new(settings: Callback) -> Result<Self, reqwest::Error> {
        // reqwest wants a process-wide provider even for http. Whoever was first wins; all are alike.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // A redirect counts as a failure.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { settings, client, permits: Arc::new(Semaphore::new(MOST_AT_ONCE)) })
    }

    /// Ends when the event was taken, or with what the last try met with.
    pub async fn send(&self, body: Bytes) -> Result<(), String> {
        let mut why = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
            // Held for one try only, so that a dead receiver does not block for its pauses as well.
            let permit = self.permits.acquire().await;
            let sent = self.request(body.clone()).send().await;
            drop(permit);
            match sent {
                Ok(response) if response.status() == reqwest::StatusCode::OK => return Ok(()),
                Ok(response) => why = format!("HTTP {}", response.status().as_u16()),
                Err(error) => why = crate::error::chain(&error),
            }
        }
        Err(why)
    }

    fn request(&self, body: Bytes) -> reqwest::RequestBuilder {
        let request =
            self.client.post(&self.settings.url).header("Content-Type", "application/json");
        let request = match &self.settings.key {
            None => request,
            Some(key) => {
                let timestamp = Timestamp::now().as_second().to_string();
                let signature = signature(&self.settings.url, &timestamp, key);
                request.header("X-VOD-TIMESTAMP", timestamp).header("X-VOD-SIGNATURE", signature)
            }
        };
        request.body(body)
    }
}

/// The body is not part of it.
fn signature(url: &str, timestamp: &str, key: &str) -> String {
    hex(&Md5::digest(format!("{url}|{timestamp}|{key}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_signature_is_reproduced() {
        let url = "https://www.example.com/your/callback";
        assert_eq!(signature(url, "1519375990", "test123"), "c72b60894140fa98920f1279219b7ed4");
    }
}
