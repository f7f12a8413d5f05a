//! One queue of SMQ (Simple Message Queue, formerly MNS), as far as a consumer needs it: long polling for
//! several messages, deleting them, and what the queue is like. Every call is signed anew, bounded in time and
//! size, and ends as a value or an [`Error`] that knows its class.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/mns/developer-reference/batchreceivemessage>,
//! <https://www.alibabacloud.com/help/en/mns/developer-reference/batchdeletemessage>

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Client, Method};
use serde::Deserialize;
use url::Url;

use crate::vod::http;
use crate::vod::sign::mns;
use crate::vod::{Credential, Credentials};

mod error;
mod wire;

pub use error::Error;
pub use wire::{Attributes, Received};

/// Most messages in one call.
pub const BATCH: usize = 16;
/// The longest wait of a long poll that SMQ takes.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);
/// Beyond the wait of a long poll, for everything else of a call.
const CALL: Duration = Duration::from_secs(10);
/// Sixteen bodies of 64 KiB, of which every character may be written as an XML entity of six.
const MOST_BYTES: usize = 8 * 1024 * 1024;
const XML: &str = "text/xml;charset=UTF-8";

/// The `[intake.smq]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The endpoint of account and region as the console shows it; empty for none.
    pub endpoint: String,
    /// The queue's name.
    pub queue: String,
    /// Consumers that ask for messages at once.
    pub consumers: usize,
    /// How long SMQ waits for a message before it answers that there is none, in whole seconds.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub wait: Duration,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    #[error(
        "intake.smq.endpoint {endpoint:?} must be a URL such as \
         \"http://123.mns.cn-shanghai.aliyuncs.com\", without query"
    )]
    Endpoint { endpoint: String },
    #[error("intake.smq.queue {queue:?} must have 1 to 120 letters, digits and hyphens")]
    Queue { queue: String },
    #[error(
        "intake.smq.wait must be from 1s to 30s in whole seconds, and intake.smq.consumers from 1 to 64"
    )]
    Numbers,
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

impl Settings {
    pub fn is_used(&self) -> bool {
        !self.endpoint.is_empty() || !self.queue.is_empty()
    }

    /// The endpoint, if the settings can be used and are.
    pub fn check(&self) -> Result<Option<Url>, BadSettings> {
        let whole = self.wait.subsec_nanos() == 0 && !self.wait.is_zero();
        if !whole || self.wait > LONGEST_WAIT || !(1..=64).contains(&self.consumers) {
            return Err(BadSettings::Numbers);
        }
        if !self.is_used() {
            return Ok(None);
        }
        let is_named = |name: &str| {
            (1..=120).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !is_named(&self.queue) {
            return Err(BadSettings::Queue { queue: self.queue.clone() });
        }
        let url = Url::parse(&self.endpoint).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        url.map(Some).ok_or_else(|| BadSettings::Endpoint { endpoint: self.endpoint.clone() })
    }
}

/// A client for one queue.
pub struct Smq {
    http: Client,
    /// Of the queue, without a slash at its end.
    url: String,
    wait: Duration,
    credentials: Credentials,
}

impl Smq {
    /// `None` where none is configured. Asks nothing yet.
    pub fn new(settings: &Settings, credentials: Credentials) -> Result<Option<Self>, BadSettings> {
        let Some(endpoint) = settings.check()? else { return Ok(None) };
        let http = http::client(&endpoint, CONNECT, settings.wait + CALL).build();
        let http = http.map_err(BadSettings::Client)?;
        let url = format!("{}/queues/{}", endpoint.as_str().trim_end_matches('/'), settings.queue);
        Ok(Some(Self { http, url, wait: settings.wait, credentials }))
    }

    /// How long a poll waits at the most.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// Up to [`BATCH`] messages, which nobody else gets for the queue's VisibilityTimeout; none if none came
    /// in time, or if SMQ has too many who wait: then it answers at once.
    pub async fn receive(&self) -> Result<Vec<Received>, Error> {
        let rest = format!("/messages?numOfMessages={BATCH}&waitseconds={}", self.wait.as_secs());
        let answer = self.call(Method::GET, &rest, String::new()).await?;
        wire::messages(&answer)
    }

    /// Deletes messages by the handles that they were received with. Returns how many of them SMQ would not
    /// delete, because they have become visible again or are gone.
    pub async fn delete(&self, handles: &[&str]) -> Result<usize, Error> {
        let answer = self.call(Method::DELETE, "/messages", wire::handles(handles)).await?;
        wire::not_deleted(&answer)
    }

    pub async fn attributes(&self) -> Result<Attributes, Error> {
        wire::attributes(&self.call(Method::GET, "", String::new()).await?)
    }

    /// A call whose key is refused is repeated once, if there is another key by now.
    async fn call(&self, method: Method, rest: &str, body: String) -> Result<http::Answer, Error> {
        let credential = self.credentials.get().await.map_err(Error::Credentials)?;
        let answer = self.send(&method, rest, &body, &credential).await?;
        if answer.status != 403 {
            return Ok(answer);
        }
        match self.credentials.renew(&credential).await {
            Ok(new) if !new.is_same_key(&credential) => self.send(&method, rest, &body, &new).await,
            _ => Ok(answer),
        }
    }

    async fn send(
        &self,
        method: &Method,
        rest: &str,
        body: &str,
        credential: &Credential,
    ) -> Result<http::Answer, Error> {
        // Of letters, digits and what needs no encoding, so it is sent as it is signed.
        let url = Url::parse(&format!("{}{rest}", self.url)).map_err(|_| Error::Url)?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let request = mns::Request {
            method: method.as_str(),
            content_type: (!body.is_empty()).then_some(XML),
            resource: &format!("{}{query}", url.path()),
        };
        let headers = mns::sign(&request, &credential.identity(), Timestamp::now());
        let mut request = self.http.request(method.clone(), url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_LENGTH, body.len()).body(body.to_owned());
        }
        http::send_up_to(request, MOST_BYTES).await.map_err(|error| Error::Http(error.into()))
    }
}
