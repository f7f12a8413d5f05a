//! What is configured about Redis: where it is, and how long things last. The URL is a secret, since it may
//! hold a password.

use std::path::PathBuf;
use std::time::Duration;

use redis::RedisError;
use secrecy::SecretString;
use serde::Deserialize;

/// Where Redis is and how long things last. There are no defaults here: they are in the embedded
/// configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// See [`BadSettings::FORMS`].
    pub url: SecretString,
    /// Every key starts with it and a colon. Must not contain braces.
    pub prefix: String,
    /// Longest wait for one answer.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub timeout: Duration,
    /// Longest wait for one connection.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub connect_timeout: Duration,
    /// How long a video and its events are remembered after the last transition. Must outlive the
    /// longest redelivery.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub keep: Duration,
    /// A PEM file with the authorities to trust instead of the system's, for a `rediss` URL.
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    #[error("the redis url has none of the known forms: {}", Self::FORMS)]
    Form,
    #[error("the redis url cannot be used; its forms are {}", Self::FORMS)]
    Url(#[source] RedisError),
    #[error("the redis ca_file is only for a url that starts with rediss")]
    CaWithoutTls,
    #[error("reading the redis ca_file {}", path.display())]
    CaFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the redis key prefix {prefix:?} contains braces, which would scatter a cluster's keys"
    )]
    Prefix { prefix: String },
    #[error("the redis {name} must be more than zero")]
    Zero { name: &'static str },
}

impl BadSettings {
    pub const FORMS: &str = "redis://[USER:PASSWORD@]HOST[:PORT][/DB], \
        redis+sentinel://[USER:PASSWORD@]HOST[:PORT],.../MASTER[/DB][?sentinel_username=U&sentinel_password=P] \
        and redis+cluster://[USER:PASSWORD@]HOST[:PORT],...; \
        rediss in place of redis for TLS; user and password percent-encoded";
}

impl Settings {
    /// Checks everything but the URL.
    pub(super) fn check(&self) -> Result<(), BadSettings> {
        if self.prefix.contains(['{', '}']) {
            return Err(BadSettings::Prefix { prefix: self.prefix.clone() });
        }
        let durations = [
            ("timeout", self.timeout),
            ("connect_timeout", self.connect_timeout),
            ("keep", self.keep),
        ];
        if let Some((name, _)) = durations.into_iter().find(|(_, length)| length.as_millis() == 0) {
            return Err(BadSettings::Zero { name });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Link;

    fn settings(prefix: &str, keep: &str) -> Settings {
        let text = serde_json::json!({
            "url": "redis://127.0.0.1", "prefix": prefix,
            "timeout": "500ms", "connect_timeout": "2s", "keep": keep,
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn durations_are_written_with_their_unit() {
        let settings = settings("vod-cover", "720h");
        assert_eq!(settings.timeout, Duration::from_millis(500));
        assert_eq!(settings.keep, Duration::from_secs(30 * 86_400));
        assert!(Link::new(&settings).is_ok());
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let new = |settings: Settings| Link::new(&settings).err().expect("accepted");
        let braces = new(settings("{vod}", "720h"));
        assert!(matches!(braces, BadSettings::Prefix { .. }));
        assert!(matches!(new(settings("vod", "0s")), BadSettings::Zero { name: "keep" }));
    }
}
