//! Where the access key comes from: files, then Alibaba's standard chain (environment, OIDC, CLI
//! profile, credentials file, ECS instance role, URI), in that order. Keys are cached, fetched anew
//! before they expire, and read again when their file changes. It never prints a secret, and never falls
//! back to another identity when one that was configured does not work.
//!
//! Documentation:
//! <https://www.alibabacloud.com/help/en/sdk/developer-reference/v2-manage-access-credentials>

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

mod chain;
mod environment;
mod error;
mod given;
mod metadata;
mod profile;
mod sts;
#[cfg(test)]
mod tests;
mod web;

use chain::{Found, Sources};
pub use environment::Environment;
pub use error::Error;

use crate::vod::sign::Identity;

/// Temporary keys are renewed this long before they expire.
const EARLY: SignedDuration = SignedDuration::from_mins(15);
/// After a failed renewal, and for keys that never live longer than [`EARLY`], the time to the next one.
const PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// Watched files are looked at no more often than this, and callers who fail together share a failure
/// for this long.
const GLANCE: Duration = Duration::from_secs(1);

/// `[vod.credentials]`. An empty value is as good as none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// File with the access key's id. Overrides `ALIBABA_CLOUD_ACCESS_KEY_ID`; the variable
    /// `ALIBABA_CLOUD_ACCESS_KEY_ID_FILE` says the same.
    pub access_key_id_file: PathBuf,
    /// File with the access key's secret. Overrides `ALIBABA_CLOUD_ACCESS_KEY_SECRET`; the variable
    /// `ALIBABA_CLOUD_ACCESS_KEY_SECRET_FILE` says the same.
    pub access_key_secret_file: PathBuf,
    /// File with the STS token of a temporary key. Overrides `ALIBABA_CLOUD_SECURITY_TOKEN`; the
    /// variable `ALIBABA_CLOUD_SECURITY_TOKEN_FILE` says the same.
    pub security_token_file: PathBuf,
    /// Base URL of the ECS metadata service; `http://100.100.100.200` on every real machine.
    pub metadata_endpoint: String,
    /// Base URL of STS. Empty: `sts.aliyuncs.com`, or the region's of `ALIBABA_CLOUD_STS_REGION`.
    /// Plain http only for a loopback address.
    pub sts_endpoint: String,
}

/// An access key, permanent or temporary.
#[derive(Debug, Clone)]
pub struct Credential {
    pub access_key_id: String,
    pub access_key_secret: SecretString,
    /// The STS token of a temporary key.
    pub security_token: Option<SecretString>,
    /// When a temporary key ends, where that is known.
    pub expiration: Option<Timestamp>,
    /// Where it came from, for people.
    pub source: String,
}

impl Credential {
    pub(crate) fn identity(&self) -> Identity<'_> {
        Identity {
            access_key_id: &self.access_key_id,
            access_key_secret: self.access_key_secret.expose_secret(),
            security_token: self.security_token.as_ref().map(|token| token.expose_secret()),
        }
    }

    pub(crate) fn is_same_key(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.identity(), other.identity());
        ours.access_key_id == theirs.access_key_id
            && ours.access_key_secret == theirs.access_key_secret
            && ours.security_token == theirs.security_token
    }
}

/// The chain with its cache. Callers share one fetch.
#[derive(Debug)]
pub struct Credentials {
    sources: Sources,
    cached: RwLock<Option<Arc<Cached>>>,
    /// Held while fetching.
    fetching: Mutex<Fetches>,
}

#[derive(Debug)]
struct Cached {
    found: Found,
    credential: Arc<Credential>,
    /// When to fetch anew, where the key expires.
    renew_at: Option<Timestamp>,
    /// When the files that the key came from were last looked at.
    looked_at: std::sync::Mutex<Instant>,
}

impl Cached {
    fn new(credential: Arc<Credential>, found: Found, renew_at: Option<Timestamp>) -> Self {
        Self { found, credential, renew_at, looked_at: Instant::now().into() }
    }

    /// Whether the key should be fetched anew: it is about to expire, or its file is another one now.
    fn is_due(&self, now: Timestamp) -> bool {
        if self.renew_at.is_some_and(|at| at <= now) {
            return true;
        }
        let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        if looked_at.elapsed() < GLANCE {
            return false;
        }
        *looked_at = Instant::now();
        !self.found.is_current()
    }
}

#[derive(Debug, Default)]
struct Fetches {
    failed: Option<(Instant, Arc<Error>)>,
    renewed: Option<Instant>,
}

impl Credentials {
    /// Reads nothing yet.
    pub fn new(settings: &Settings, environment: Environment) -> Self {
        Self {
            sources: Sources::new(settings.clone(), environment),
            cached: RwLock::default(),
            fetching: Mutex::default(),
        }
    }

    /// The key to sign with now. Takes no longer than a file's time stamp, unless there is no valid key
    /// yet or it is time for a new one. A failed renewal is an error only when the old key has expired.
    pub async fn get(&self) -> Result<Arc<Credential>, Arc<Error>> {
        let now = Timestamp::now();
        let cached = self.cached();
        if let Some(cached) = &cached
            && !cached.is_due(now)
        {
            return Ok(cached.credential.clone());
        }
        let old = cached.filter(|c| c.credential.expiration.is_none_or(|at| at > now));
        let Some(old) = old else {
            let mut fetches = self.fetching.lock().await;
            return match self.fetched_since(None, now) {
                Some(new) => Ok(new),
                None => self.fetch(&mut fetches).await,
            };
        };
        // Somebody else renews it already: the old one is good until then.
        let Ok(mut fetches) = self.fetching.try_lock() else { return Ok(old.credential.clone()) };
        if let Some(new) = self.fetched_since(Some(&old), now) {
            return Ok(new);
        }
        match self.fetch(&mut fetches).await {
            Ok(new) => Ok(new),
            Err(error) => {
                tracing::warn!(
                    error = %crate::error::chain(&error),
                    expires = ?old.credential.expiration.map(|at| at.to_string()),
                    "the VOD credentials could not be renewed; the present ones stay in use"
                );
                let renew_at =
                    old.credential.expiration.map(|expiration| expiration.min(now + PAUSE));
                self.keep(Cached::new(old.credential.clone(), old.found.clone(), renew_at));
                Ok(old.credential.clone())
            }
        }
    }

    /// To be called after the service refused `used`: fetches anew, unless that has just been done. The
    /// answer may be the same key again.
    pub async fn renew(&self, used: &Credential) -> Result<Arc<Credential>, Arc<Error>> {
        let mut fetches = self.fetching.lock().await;
        if let Some(cached) = self.cached()
            && (!cached.credential.is_same_key(used)
                || fetches.renewed.is_some_and(|at| at.elapsed() < GLANCE))
        {
            return Ok(cached.credential.clone());
        }
        let new = self.fetch(&mut fetches).await?;
        fetches.renewed = Some(Instant::now());
        Ok(new)
    }

    /// What another caller fetched while this one waited for the lock.
    fn fetched_since(&self, old: Option<&Arc<Cached>>, now: Timestamp) -> Option<Arc<Credential>> {
        let cached = self.cached()?;
        let is_new = old.is_none_or(|old| !Arc::ptr_eq(old, &cached));
        let is_valid = cached.credential.expiration.is_none_or(|at| at > now);
        (is_new && is_valid).then(|| cached.credential.clone())
    }

    async fn fetch(&self, fetches: &mut Fetches) -> Result<Arc<Credential>, Arc<Error>> {
        if let Some((at, error)) = &fetches.failed
            && at.elapsed() < GLANCE
        {
            return Err(error.clone());
        }
        let (credential, found) = match self.sources.resolve().await {
            Ok(resolved) => resolved,
            Err(error) => {
                let error = Arc::new(error);
                fetches.failed = Some((Instant::now(), error.clone()));
                return Err(error);
            }
        };
        fetches.failed = None;
        let credential = Arc::new(credential);
        let renew_at = credential.expiration.map(|at| (Timestamp::now() + PAUSE).max(at - EARLY));
        tracing::info!(
            source = credential.source,
            expires = ?credential.expiration.map(|at| at.to_string()),
            "VOD credentials were read"
        );
        self.keep(Cached::new(credential.clone(), found, renew_at));
        Ok(credential)
    }

    fn cached(&self) -> Option<Arc<Cached>> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, cached: Cached) {
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(cached));
    }
}
