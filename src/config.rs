//! The configuration: embedded defaults, then one file, then the environment. Settings live in the
//! modules they configure; this one only composes them, checks what crosses modules, and prints the
//! result without its secrets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::config::{Config, File, FileFormat};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use crate::cover::Rule;
use crate::cover::policy::{self, BadPolicy, Policies};
use crate::ledger::redis;
use crate::picture::{self, Caps};
use crate::queue::rabbit;
use crate::{backfill, fetch, gateway, inspect, local, vod};

mod redact;

/// `config/default.toml`: every setting with its default and what it means.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// What must be left of a lease when a write begins, beyond the write itself.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub cover: policy::Settings,
    pub ownership: policy::Ownership,
    pub picture: picture::Settings,
    pub inspect: inspect::Settings,
    pub limits: picture::conform::Limits,
    pub vod: vod::Settings,
    pub fetch: fetch::Settings,
    pub queue: Queue,
    pub ledger: Ledger,
    pub embedded: local::Settings,
    pub intake: gateway::Settings,
    pub backfill: backfill::Settings,
    pub reconcile: backfill::Reconcile,
    pub pipeline: Pipeline,
    pub ops: Ops,
    pub log: Log,
    /// Of the rules, see [`policy::Policy::version`].
    #[serde(skip)]
    pub version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    Embedded,
    Rabbitmq,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LedgerKind {
    Embedded,
    Redis,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub kind: QueueKind,
    pub embedded: EmbeddedQueue,
    pub rabbitmq: rabbit::Settings,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedQueue {
    pub in_flight: u16,
    #[serde(deserialize_with = "durations")]
    pub retry: Vec<Duration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    pub kind: LedgerKind,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub lease: Duration,
    pub redis: redis::Settings,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub drain: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ops {
    pub listen: SocketAddr,
    pub token_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the configuration file {} cannot be read; check the path given with --config or VOD_COVER_CONFIG", .0.display())]
    NoFile(PathBuf),
    #[error("the configuration is wrong")]
    Wrong(#[from] ::config::ConfigError),
    #[error("the rules are wrong")]
    Policy(#[from] BadPolicy),
    #[error("the intake is set up wrongly")]
    Intake(#[from] gateway::Error),
    #[error("{0}")]
    Conflict(String),
}

impl Settings {
    /// Reads the configuration. `environment` is the process's, or a test's.
    pub fn load(file: Option<&Path>, environment: &HashMap<String, String>) -> Result<Self, Error> {
        let merged = merged(file, environment)?;
        let version = rules_version(&merged)?;
        let settings = Self { version, ..merged.try_deserialize()? };
        settings.check()?;
        Ok(settings)
    }

    /// Events in flight at once.
    pub fn in_flight(&self) -> usize {
        usize::from(match self.queue.kind {
            QueueKind::Embedded => self.queue.embedded.in_flight,
            QueueKind::Rabbitmq => self.queue.rabbitmq.prefetch,
        })
    }

    /// The delay before each further attempt.
    pub fn ladder(&self) -> &[Duration] {
        match self.queue.kind {
            QueueKind::Embedded => &self.queue.embedded.retry,
            QueueKind::Rabbitmq => &self.queue.rabbitmq.retry_tiers,
        }
    }

    /// Whether any rule, default or override, is `intelligent`.
    pub fn asks_for_intelligent(&self) -> bool {
        let overrides = self.cover.overrides.iter().flat_map(|item| &item.rules);
        self.cover.rules.iter().chain(overrides).any(|rule| *rule == Rule::Intelligent)
    }

    pub fn policies(&self) -> Result<Policies, Error> {
        Ok(Policies::new(&self.cover, &self.ownership, &self.version)?)
    }

    /// What is refused before it is decoded.
    pub fn caps(&self) -> Caps {
        Caps { bytes: self.fetch.most_bytes, pixels: self.picture.most_pixels }
    }

    /// How long fetching the pictures of one video may take while no other is worked on.
    fn longest_look(&self) -> Duration {
        let rounds = self.cover.most_pictures.div_ceil(self.fetch.concurrency.max(1));
        match self.policies().is_ok_and(|policies| policies.look()) {
            true => self.fetch.timeout.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX)),
            false => Duration::ZERO,
        }
    }

    /// What no single module can check.
    fn check(&self) -> Result<(), Error> {
        self.policies()?;
        self.intake.check()?;
        let conflict = |text: String| Err(Error::Conflict(text));
        if self.in_flight() == 0 {
            return conflict(
                "no event could be in flight; set queue.rabbitmq.prefetch (or \
                             queue.embedded.in_flight) to at least 1"
                    .into(),
            );
        }
        if self.ladder().is_empty() || self.ladder().windows(2).any(|pair| pair[0] > pair[1]) {
            return conflict(
                "the retry delays must be at least one, and grow; see \
                             queue.rabbitmq.retry_tiers and queue.embedded.retry"
                    .into(),
            );
        }
        let limits = &self.limits;
        if limits.bytes == 0 || limits.width == 0 || limits.height == 0 {
            return conflict("no picture could satisfy limits; each must be at least 1".into());
        }
        let call = self.vod.longest_call();
        let look = self.longest_look();
        if self.ledger.lease < look + call + LEASE_MARGIN && !look.is_zero() {
            return conflict(format!(
                "ledger.lease is {:?}, but fetching the pictures of one video may take {look:?} \
                 (fetch.timeout for every fetch.concurrency of cover.most_pictures) and the call to \
                 VOD after that {call:?}; a video must stay locked {LEASE_MARGIN:?} longer than that",
                self.ledger.lease
            ));
        }
        if self.ledger.lease < call + LEASE_MARGIN {
            return conflict(format!(
                "ledger.lease is {:?}, but one call to VOD may take {call:?} (vod.timeout times \
                 2, and its turn); a video must stay locked {LEASE_MARGIN:?} longer than that",
                self.ledger.lease
            ));
        }
        if self.keep() < self.retries_end() {
            return conflict(format!(
                "the ledger forgets after {:?}, but the last retry comes after {:?}; raise \
                 embedded.keep or ledger.redis.keep",
                self.keep(),
                self.retries_end()
            ));
        }
        Ok(())
    }

    /// For what walks through the account beside live events. Where there is one budget for the fleet in
    /// Redis, walks are a part of it; without, a `backfill` beside `run` has only its own share to go by.
    pub fn check_shares(&self) -> Result<(), Error> {
        let (live, walks) = (self.vod.quota_share, self.backfill.quota_share);
        let together = match self.ledger.kind {
            LedgerKind::Embedded => live + walks,
            LedgerKind::Redis => walks,
        };
        if !(walks > 0.0 && together <= 1.0 + f64::EPSILON) {
            return Err(Error::Conflict(format!(
                "backfill.quota_share is {walks} and vod.quota_share {live}; the first must be above 0, \
                 and both together (with ledger.kind = \"redis\" each) no more than 1.0, or the account \
                 is throttled"
            )));
        }
        Ok(())
    }

    /// How long after its first attempt an event may be tried for the last time.
    pub fn retries_end(&self) -> Duration {
        self.ladder().iter().sum()
    }

    /// How long the ledger remembers.
    pub fn keep(&self) -> Duration {
        match self.ledger.kind {
            LedgerKind::Embedded => self.embedded.keep,
            LedgerKind::Redis => self.ledger.redis.keep,
        }
    }
}

/// The effective configuration as TOML, every secret replaced by `***`.
pub fn effective(
    file: Option<&Path>,
    environment: &HashMap<String, String>,
) -> Result<String, Error> {
    let mut values = merged(file, environment)?.try_deserialize::<toml::Table>()?;
    // A path that was chosen to be secret keeps strangers from posting callbacks.
    if let Some(toml::Value::Table(intake)) = values.get_mut("intake")
        && intake.get("path").and_then(toml::Value::as_str) != Some("/callback")
    {
        intake.insert("path".into(), "***".into());
        intake.insert("url".into(), "***".into());
    }
    Ok(redact::table(values).to_string())
}

/// What is not read again while `run` works, as text.
pub fn fixed(file: Option<&Path>, environment: &HashMap<String, String>) -> Result<String, Error> {
    let mut values = merged(file, environment)?.try_deserialize::<toml::Table>()?;
    for live in ["cover", "ownership", "picture", "inspect", "limits", "fetch"] {
        values.remove(live);
    }
    Ok(values.to_string())
}

/// Eight digits of a digest of `[cover]` and `[ownership]`, wherever their values come from.
fn rules_version(merged: &Config) -> Result<String, Error> {
    let rules = ["cover", "ownership"].map(|table| merged.get::<toml::Table>(table));
    let [cover, ownership] = rules.map(|table| table.map(|table| table.to_string()));
    let digest = Sha256::digest(format!("{}\n{}", cover?, ownership?));
    Ok(digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect())
}

fn merged(file: Option<&Path>, environment: &HashMap<String, String>) -> Result<Config, Error> {
    let mut builder = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
    if let Some(path) = file {
        if !path.is_file() {
            return Err(Error::NoFile(path.to_owned()));
        }
        builder = builder.add_source(File::from(path).format(FileFormat::Toml));
    }
    // The names that other programs use for the same things. A URL also says what to use it for.
    for (name, keys) in [
        ("AMQP_URL", &[("queue.rabbitmq.url", None), ("queue.kind", Some("rabbitmq"))][..]),
        ("REDIS_URL", &[("ledger.redis.url", None), ("ledger.kind", Some("redis"))]),
        ("VOD_ENDPOINT", &[("vod.endpoint", None)]),
        ("VOD_REGION", &[("vod.region", None)]),
    ] {
        if let Some(value) = environment.get(name).filter(|value| !value.is_empty()) {
            for (key, fixed) in keys {
                builder = builder.set_override(*key, fixed.unwrap_or(value))?;
            }
        }
    }
    for (name, value) in environment {
        let Some(name) = name.strip_prefix("VOD_COVER__") else { continue };
        let key = name.to_ascii_lowercase().replace("__", ".");
        builder = match LISTS.contains(&key.as_str()) {
            true => {
                let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
                builder.set_override(key, items.collect::<Vec<_>>())?
            }
            false => builder.set_override(key, value.as_str())?,
        };
    }
    Ok(builder.build()?)
}

/// Settings that take a list: in the environment its items are separated by commas.
const LISTS: [&str; 7] = [
    "cover.rules",
    "fetch.allow_networks",
    "fetch.hosts",
    "fetch.url_signing.hosts",
    "queue.embedded.retry",
    "queue.rabbitmq.bindings",
    "queue.rabbitmq.retry_tiers",
];

/// Durations of a list, each written as everywhere.
pub(crate) fn durations<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct One(
        #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
        Duration,
    );
    Ok(Vec::<One>::deserialize(source)?.into_iter().map(|one| one.0).collect())
}

#[cfg(test)]
mod tests;
