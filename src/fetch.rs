//! Fetches pictures, whose addresses come from outside: only from hosts on the allow-list, only from
//! public addresses unless a setting says otherwise, bounded in bytes and time, and each redirect is
//! checked like the first address. It never asks the metadata service, goes through no proxy, which would
//! resolve names unchecked, and never decodes what it fetched.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use reqwest::dns::Resolve;
use reqwest::header::{ACCEPT_ENCODING, LOCATION};
use reqwest::{Client, ClientBuilder, Response, redirect};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::{Host, Url};

pub mod address;
mod error;
pub mod hosts;
mod key;
mod resolve;
mod settings;

pub use error::{Error, Refusal, Trouble};
pub use settings::{Https, Settings, SettingsError, UrlSigning};

use crate::cover::CoverUrl;
use crate::vod::sign;
use hosts::Listed;
use key::Key;

/// The environment variable with the key of URL signing.
pub const KEY_VARIABLE: &str = "VOD_URL_SIGNING_KEY";

/// The pause before the one further attempt after a blip, in milliseconds.
const PAUSE: std::ops::Range<u64> = 50..250;

/// Cheap to clone; clones share connections and the bound on pictures at once.
#[derive(Debug, Clone)]
pub struct Fetcher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    /// There is one if, and only if, something is signed.
    key: Option<Key>,
    http: Client,
    turns: Semaphore,
}

impl Fetcher {
    /// `key` is what [`KEY_VARIABLE`] says. Reads the key file, and connects to nothing yet.
    pub fn new(settings: &Settings, key: Option<SecretString>) -> Result<Self, SettingsError> {
        Self::with_names(settings, key, Arc::new(resolve::System))
    }

    /// With another source of names than the system's. What it yields is checked all the same.
    pub fn with_names(
        settings: &Settings,
        key: Option<SecretString>,
        names: Arc<dyn Resolve>,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let signing = &settings.url_signing;
        let key = signing.kind.map(|_| Key::load(&signing.key_file, key)).transpose()?;
        let allowed = settings.allow_networks.as_slice().into();
        let guarded = Arc::new(resolve::Guarded { names, allowed });
        let http = client(settings, guarded)?;
        let turns = Semaphore::new(settings.concurrency.min(Semaphore::MAX_PERMITS));
        Ok(Self(Arc::new(Inner { settings: settings.clone(), key, http, turns })))
    }

    /// The bytes of a picture, or of whatever the server calls one with status 200: nobody has looked at
    /// them yet. Takes at most [`Settings::longest_get`].
    pub async fn get(&self, url: &CoverUrl) -> Result<Bytes, Error> {
        let inner = &*self.0;
        let limit = inner.settings.timeout;
        let unreachable = |why| Error::Unreachable { url: url.clone(), why };
        let Ok(_turn) = timeout(limit, inner.turns.acquire()).await else {
            return Err(unreachable(Trouble::Queue(limit)));
        };
        match timeout(limit, inner.get(url)).await {
            Ok(result) => result,
            Err(_) => Err(unreachable(Trouble::Late(limit))),
        }
    }
}

impl Inner {
    /// At most two attempts: a blip may be over, and a key may have been replaced.
    async fn get(&self, cover: &CoverUrl) -> Result<Bytes, Error> {
        let key = self.key.as_ref().map(Key::current);
        let error = match self.attempt(cover, key.as_ref()).await {
            Err(error) => error,
            bytes => return bytes,
        };
        if error.is_blip() {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(PAUSE))).await;
            return self.attempt(cover, key.as_ref()).await;
        }
        if let (Error::Forbidden { signed: true, .. }, Some(kept), Some(used)) =
            (&error, &self.key, &key)
            && kept.is_renewed(used).await
        {
            return self.attempt(cover, Some(&kept.current())).await;
        }
        Err(error)
    }

    /// Only the first address is signed: where a server redirects to is meant as it is.
    async fn attempt(&self, cover: &CoverUrl, key: Option<&SecretString>) -> Result<Bytes, Error> {
        let refused = |why| Error::Refused { url: cover.clone(), why };
        let url = Url::parse(cover.as_str()).map_err(|_| refused(Refusal::NoUrl))?;
        let mut url = self.checked(url).map_err(refused)?;
        let kind = self.settings.url_signing.of(&url);
        let signed = if let (Some(kind), Some(key)) = (kind, key) {
            url = signed(kind, &url, key);
            true
        } else {
            false
        };
        for _ in 0..=self.settings.redirects {
            let response = self.send(cover, url.clone()).await?;
            let status = response.status().as_u16();
            match status {
                200 => return self.body(cover, response).await,
                301 | 302 | 303 | 307 | 308 => {
                    let next = redirected(&url, &response).map_err(refused)?;
                    url = self.checked(next).map_err(refused)?;
                }
                401 | 403 => return Err(Error::Forbidden { url: cover.clone(), status, signed }),
                408 | 425 | 429 | 500.. => {
                    let why = Trouble::Status(status);
                    return Err(Error::Unreachable { url: cover.clone(), why });
                }
                _ => return Err(Error::Missing { url: cover.clone(), status }),
            }
        }
        Err(refused(Refusal::Redirects { most: self.settings.redirects }))
    }

    /// The URL as it may be asked for. What a name resolves to is checked when it is connected to.
    fn checked(&self, mut url: Url) -> Result<Url, Refusal> {
        if self.settings.https == Https::Upgrade && url.scheme() == "http" {
            url.set_scheme("https").map_err(|()| Refusal::NoUrl)?;
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::Scheme { scheme: url.scheme().to_owned() });
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::User { host });
        }
        match hosts::listed(&url, &self.settings.hosts) {
            Listed::Yes => {}
            Listed::WrongPort => {
                let port = url.port_or_known_default().unwrap_or_default();
                return Err(Refusal::Port { host, port });
            }
            Listed::No => return Err(Refusal::Host { host }),
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) | None => return Ok(url),
        };
        match address::special(address, &self.settings.allow_networks) {
            Some(special) => Err(Refusal::Address { host, address, special }),
            None => Ok(url),
        }
    }

    async fn send(&self, cover: &CoverUrl, url: Url) -> Result<Response, Error> {
        // Nothing here decompresses: a picture is compressed already, and a bomb stays as small as it is.
        let request = self.http.get(url).header(ACCEPT_ENCODING, "identity");
        request.send().await.map_err(|error| failed(cover, error))
    }

    async fn body(&self, cover: &CoverUrl, mut response: Response) -> Result<Bytes, Error> {
        let most = self.settings.most_bytes;
        let too_large = || Error::TooLarge { url: cover.clone(), most };
        // What the server says is only good for giving up early.
        if response.content_length().is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(cover, error))? {
            if body.len() + chunk.len() > most {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

fn client(settings: &Settings, names: Arc<resolve::Guarded>) -> Result<Client, SettingsError> {
    crate::tls::install();
    let builder = || -> ClientBuilder {
        Client::builder()
            .user_agent(concat!("vod-cover/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(50))
            .tcp_nodelay(true)
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .http1_only()
            .dns_resolver(Arc::clone(&names))
    };
    // VOD's own addresses are plain http, which a container without certificate authorities can fetch.
    builder().build().or_else(|error| {
        tracing::warn!(
            error = %crate::error::chain(&error),
            "no picture can be fetched over https; install ca-certificates or set SSL_CERT_FILE"
        );
        builder().tls_certs_only(std::iter::empty()).build().map_err(SettingsError::Tls)
    })
}

fn signed(kind: sign::url::Kind, url: &Url, key: &SecretString) -> Url {
    let rand = uuid::Uuid::new_v4().simple().to_string();
    let stamp = sign::url::Stamp { at: Timestamp::now(), rand: &rand, uid: "0" };
    sign::url::sign(kind, url, key.expose_secret(), &stamp)
}

/// Where a redirect leads.
fn redirected(from: &Url, response: &Response) -> Result<Url, Refusal> {
    let location = response.headers().get(LOCATION).map(|value| value.as_bytes());
    let location = std::str::from_utf8(location.unwrap_or_default());
    // An empty one would be the same URL again.
    let location = location.ok().filter(|text| !text.is_empty()).ok_or(Refusal::NoUrl)?;
    from.join(location).map_err(|_| Refusal::NoUrl)
}

/// A refusal by the resolver comes through the client as the source of one of its own errors.
fn failed(cover: &CoverUrl, error: reqwest::Error) -> Error {
    let url = cover.clone();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(why) = cause.downcast_ref::<Refusal>() {
            return Error::Refused { url, why: why.clone() };
        }
        source = cause.source();
    }
    Error::Unreachable { url, why: Trouble::Connection(error.without_url()) }
}
