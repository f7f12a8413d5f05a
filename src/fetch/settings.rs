//! `[fetch]`. The key of URL signing is never in it, only the way to its file.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer};
use url::Url;

use super::address::Network;
use super::hosts::{Listed, Pattern, listed};
use crate::vod::sign;

/// `[fetch]`. Durations are text such as `"10s"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where pictures may be fetched from.
    pub hosts: Vec<Pattern>,
    /// Addresses that may be used although they are not public. The metadata service never is.
    pub allow_networks: Vec<Network>,
    /// Longest picture, in bytes.
    pub most_bytes: usize,
    /// Longest time to open a connection.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub connect_timeout: Duration,
    /// Longest time for one picture, from connecting to the last byte, everything included.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub timeout: Duration,
    /// How many redirects are followed for one picture. Each is checked like the first address.
    pub redirects: u32,
    pub https: Https,
    /// Pictures that are fetched at once.
    pub concurrency: usize,
    pub url_signing: UrlSigning,
}

/// `fetch.https`. VOD's events always say http.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Https {
    AsIs,
    /// Fetches over https what is said to be at http. The cover keeps its own scheme.
    Upgrade,
}

/// `[fetch.url_signing]`: the `auth_key` that domains with URL signing ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UrlSigning {
    #[serde(rename = "type", deserialize_with = "kind")]
    pub kind: Option<sign::url::Kind>,
    /// A file with the key, read again when the server answers 403. Empty: [`super::KEY_VARIABLE`].
    pub key_file: PathBuf,
    /// The hosts whose URLs are signed. Empty: all but OSS's own, which do not know this signature.
    pub hosts: Vec<Pattern>,
}

/// What is wrong with `[fetch]`.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("fetch.{0} must be more than nothing")]
    Nothing(&'static str),
    #[error(
        "fetch.url_signing.type is set, but there is no key: set {} or fetch.url_signing.key_file",
        super::KEY_VARIABLE
    )]
    NoKey,
    #[error("fetch.url_signing.key_file {} cannot be read", path.display())]
    KeyFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the client that fetches pictures cannot be made")]
    Tls(#[source] reqwest::Error),
}

impl Settings {
    /// Checks everything that can be checked without the network and without the key.
    pub fn check(&self) -> Result<(), SettingsError> {
        for (name, is_nothing) in [
            ("hosts", self.hosts.is_empty()),
            ("most_bytes", self.most_bytes == 0),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("timeout", self.timeout.is_zero()),
            ("concurrency", self.concurrency == 0),
        ] {
            if is_nothing {
                return Err(SettingsError::Nothing(name));
            }
        }
        Ok(())
    }

    /// Longest time that [`super::Fetcher::get`] takes, its turn included.
    pub fn longest_get(&self) -> Duration {
        2 * self.timeout
    }
}

impl UrlSigning {
    /// How URLs of this host are signed, if they are.
    pub(super) fn of(&self, url: &Url) -> Option<sign::url::Kind> {
        let signed = match self.hosts.as_slice() {
            [] => !is_oss(url),
            hosts => listed(url, hosts) == Listed::Yes,
        };
        self.kind.filter(|_| signed)
    }
}

/// Buckets by Alibaba's own names; a domain of one's own in front of them is a CDN's.
fn is_oss(url: &Url) -> bool {
    let host = url.domain().unwrap_or_default();
    host.trim_end_matches('.').ends_with(".aliyuncs.com")
}

/// `"none"`, or a signing type.
fn kind<'de, D: Deserializer<'de>>(source: D) -> Result<Option<sign::url::Kind>, D::Error> {
    match String::deserialize(source)?.as_str() {
        "none" => Ok(None),
        text => sign::url::Kind::deserialize(text.into_deserializer()).map(Some),
    }
}
