//! `[vod]`, and how the endpoint follows from it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::vod::quota::{LONGEST_WAIT, Operation};
use crate::vod::sign::Signature;
use crate::vod::{credentials, http};

/// `[vod]`. Durations are text such as `"10s"` or `"500ms"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the API is: a host name (https) or a URL without path. Empty: follows from `region`.
    pub endpoint: String,
    /// The service region of the videos, such as `cn-shanghai`. Calls across regions do not work.
    pub region: String,
    /// Where pictures are uploaded: an OSS endpoint without bucket, such as that of the VPC. Empty: the
    /// one that VOD names with each upload.
    pub oss_endpoint: String,
    /// How calls are signed: `hmac-sha1` or `acs3-hmac-sha256`.
    pub signature: Signature,
    /// Longest time to open a connection.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub connect_timeout: Duration,
    /// Longest time of one HTTP attempt, from opening the connection to the last byte.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub timeout: Duration,
    /// How often a call is repeated at once after a blip. None begins later than `timeout` after the
    /// call; longer outages are for the queue to wait out.
    pub retries: u32,
    /// Allows an `http://` endpoint that is not on this machine. Keys are not sent in clear, but STS
    /// tokens and all answers are.
    pub allow_plain_http: bool,
    /// How much of the account's documented calls a second this process, or its fleet, may take: above 0,
    /// at most 1.
    pub quota_share: f64,
    /// False: calls are not paced at all, and only VOD's throttling answers delay them. Only for an
    /// account whose quota was lifted, and for measuring.
    pub pace: bool,
    /// Calls a second that the account may make, by the operation's name, where that is not what is
    /// documented: `UpdateVideoInfo = 200.0`.
    #[serde(default)]
    pub quotas: BTreeMap<String, f64>,
    pub credentials: credentials::Settings,
}

/// What is wrong with `[vod]`.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(
        "set vod.region to the region of your videos, such as \"cn-shanghai\", or vod.endpoint"
    )]
    NoRegion,
    #[error("vod.region {0:?} is no region: it needs small letters, digits and hyphens")]
    BadRegion(String),
    #[error("vod.endpoint {text:?} cannot be used: {why}")]
    BadEndpoint { text: String, why: &'static str },
    #[error(
        "vod.endpoint {0:?} is plain http and not on this machine; use https, or set \
         vod.allow_plain_http = true if you are sure"
    )]
    PlainHttp(String),
    #[error("vod.quota_share is {0}, but must be above 0 and at most 1")]
    BadShare(f64),
    #[error(
        "vod.quotas.{0} is no operation that is used; its name is written as in UpdateVideoInfo"
    )]
    UnknownOperation(String),
    #[error("vod.quotas.{name} is {rate}, but must be more than 0 calls a second")]
    BadQuota { name: String, rate: f64 },
    #[error("vod.{0} must be longer than nothing")]
    NoTime(&'static str),
    #[error(
        "the https client cannot be made; on a machine without certificate authorities install \
         ca-certificates or set SSL_CERT_FILE"
    )]
    Tls(#[source] reqwest::Error),
}

impl Settings {
    /// Checks everything that can be checked without the network.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.endpoint_url()?;
        if !(self.quota_share > 0.0 && self.quota_share <= 1.0) {
            return Err(SettingsError::BadShare(self.quota_share));
        }
        for (name, rate) in &self.quotas {
            if Operation::named(name).is_none() {
                return Err(SettingsError::UnknownOperation(name.clone()));
            }
            if !(rate.is_finite() && *rate > 0.0) {
                return Err(SettingsError::BadQuota { name: name.clone(), rate: *rate });
            }
        }
        for (name, time) in [("connect_timeout", self.connect_timeout), ("timeout", self.timeout)] {
            if time.is_zero() {
                return Err(SettingsError::NoTime(name));
            }
        }
        Ok(())
    }

    /// Where calls go: `vod.endpoint`, or the public endpoint of `vod.region`.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-endpoint>
    pub fn endpoint_url(&self) -> Result<Url, SettingsError> {
        let text = match self.endpoint.trim() {
            "" => derived(self.region.trim())?,
            text if text.contains("://") => text.to_owned(),
            host => format!("https://{host}"),
        };
        let bad = |why| SettingsError::BadEndpoint { text: text.clone(), why };
        let url = Url::parse(&text).map_err(|_| bad("it is neither a host name nor a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("it must start with https://"));
        }
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it must be a host alone, without path, query or user"));
        }
        if url.scheme() == "http" && !self.allow_plain_http && !http::is_loopback(&url) {
            return Err(SettingsError::PlainHttp(text));
        }
        Ok(url)
    }

    /// Longest time that one call takes, whatever happens: its turn, retries and all. A lease on a video
    /// must be longer.
    pub fn longest_call(&self) -> Duration {
        LONGEST_WAIT + 2 * self.timeout
    }
}

fn derived(region: &str) -> Result<String, SettingsError> {
    if region.is_empty() {
        return Err(SettingsError::NoRegion);
    }
    if !region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(SettingsError::BadRegion(region.to_owned()));
    }
    // Hangzhou has no endpoint of its own; the SDKs map it like this.
    let region = if region == "cn-hangzhou" { "cn-shanghai" } else { region };
    Ok(format!("https://vod.{region}.aliyuncs.com"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: &str, region: &str) -> Settings {
        let text = format!(
            r#"{{"endpoint":"{endpoint}","region":"{region}","oss_endpoint":"","signature":"hmac-sha1",
                "connect_timeout":"5s","timeout":"10s","retries":2,"allow_plain_http":false,
                "quota_share":0.8,"pace":true,"credentials":{{"access_key_id_file":"",
                "access_key_secret_file":"","security_token_file":"",
                "metadata_endpoint":"http://100.100.100.200","sts_endpoint":""}}}}"#
        );
        serde_json::from_str(&text).expect("settings")
    }

    fn endpoint(endpoint: &str, region: &str) -> Result<String, String> {
        let url = settings(endpoint, region).endpoint_url();
        url.map(|url| url.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_endpoint_follows_from_the_region() {
        let of = |region| endpoint("", region);
        assert_eq!(of("cn-beijing"), Ok("https://vod.cn-beijing.aliyuncs.com/".into()));
        assert_eq!(of("cn-hangzhou"), Ok("https://vod.cn-shanghai.aliyuncs.com/".into()));
        assert!(of("").is_err_and(|error| error.contains("vod.region")));
        assert!(of("evil.example/").is_err());
    }

    #[test]
    fn a_given_endpoint_wins_and_a_bare_host_means_https() {
        let of = |text| endpoint(text, "cn-shanghai");
        let vpc = "vod-vpc.cn-shanghai.aliyuncs.com";
        assert_eq!(of(vpc), Ok(format!("https://{vpc}/")));
        assert_eq!(of("http://127.0.0.1:8080"), Ok("http://127.0.0.1:8080/".into()));
        assert_eq!(of("http://[::1]:8080"), Ok("http://[::1]:8080/".into()));
        for bad in ["ftp://a", "https://a/b", "https://u:p@a", "https://a?x", "https://"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_http_to_another_machine_needs_its_setting() {
        let mut settings = settings("http://vod.internal", "");
        let error = settings.check().expect_err("plain").to_string();
        assert!(error.contains("allow_plain_http"), "{error}");
        settings.allow_plain_http = true;
        assert!(settings.check().is_ok());
    }

    #[test]
    fn impossible_values_are_refused_by_name() {
        let mut settings = settings("", "cn-shanghai");
        for share in [0.0, -1.0, 1.5, f64::NAN] {
            settings.quota_share = share;
            let error = settings.check().expect_err("share").to_string();
            assert!(error.contains("quota_share"), "{error}");
        }
        settings.quota_share = 1.0;
        for (name, rate) in [("DeleteVideo", 1.0), ("UpdateVideoInfo", 0.0), ("SearchMedia", -1.0)]
        {
            settings.quotas = [(name.to_owned(), rate)].into();
            let error = settings.check().expect_err("quota").to_string();
            assert!(error.contains(&format!("vod.quotas.{name}")), "{error}");
        }
        settings.quotas = [("UpdateVideoInfo".to_owned(), 200.0)].into();
        assert!(settings.check().is_ok());
    }
}
