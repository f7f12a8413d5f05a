//! HTTP for the sources that are services. Clients are made when they are first needed, because https
//! wants certificate authorities and most machines never ask.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use url::Url;

use super::{Credential, Error};
use crate::vod::http;

/// The time limits of Alibaba's own credentials library.
const METADATA: Limits = Limits { connect: Duration::from_secs(1), total: Duration::from_secs(2) };
const SERVICE: Limits = Limits { connect: Duration::from_secs(5), total: Duration::from_secs(10) };

struct Limits {
    connect: Duration,
    total: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Web {
    metadata: OnceLock<Client>,
    service: OnceLock<Client>,
    plain_service: OnceLock<Client>,
}

impl Web {
    /// For the metadata service of this machine: impatient, and never through a proxy.
    pub(super) fn metadata(&self, endpoint: &Url) -> Result<Client, Error> {
        make(&self.metadata, endpoint, &METADATA, true)
    }

    pub(super) fn service(&self, endpoint: &Url) -> Result<Client, Error> {
        if endpoint.scheme() == "http" {
            make(&self.plain_service, endpoint, &SERVICE, true)
        } else {
            make(&self.service, endpoint, &SERVICE, false)
        }
    }
}

fn make(
    place: &OnceLock<Client>,
    endpoint: &Url,
    limits: &Limits,
    local: bool,
) -> Result<Client, Error> {
    if let Some(client) = place.get() {
        return Ok(client.clone());
    }
    let builder = http::client(endpoint, limits.connect, limits.total);
    let builder = if local { builder.no_proxy() } else { builder };
    let client = builder.build().map_err(|source| transport(&http::host(endpoint), source))?;
    Ok(place.get_or_init(|| client).clone())
}

pub(super) fn transport(
    service: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Transport { service: service.to_owned(), source: source.into() }
}

/// Status and body of an answer, whatever they are.
pub(super) async fn ask(service: &str, request: RequestBuilder) -> Result<(u16, Vec<u8>), Error> {
    let answer = http::send(request).await.map_err(|source| transport(service, source))?;
    Ok((answer.status, answer.body.to_vec()))
}

/// A key as STS, the metadata service and a credentials URI send it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Key {
    pub access_key_id: String,
    pub access_key_secret: String,
    pub security_token: String,
    /// RFC 3339, UTC.
    pub expiration: String,
}

impl Key {
    pub(super) fn into_credential(self, source: String) -> Result<Credential, Error> {
        let expiration = self.expiration.parse().map_err(|_| Error::Malformed {
            what: format!("the key from {source}"),
            why: format!("Expiration {:?} is no time", self.expiration),
        })?;
        Ok(Credential {
            access_key_id: self.access_key_id,
            access_key_secret: self.access_key_secret.into(),
            security_token: Some(self.security_token.into()),
            expiration: Some(expiration),
            source,
        })
    }
}

/// A refusal as STS words it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    code: String,
}

pub(super) fn refused(service: &str, status: u16, body: &[u8]) -> Error {
    let code = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.code);
    Error::Refused {
        service: service.to_owned(),
        status,
        code: code.unwrap_or_else(|_| "no code".to_owned()).chars().take(100).collect(),
    }
}

/// The JSON error of a body that may hold a secret, which therefore is not quoted.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(service: &str, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Malformed {
        what: format!("the answer of {service}"),
        why: format!("{:?} at line {} column {}", error.classify(), error.line(), error.column()),
    })
}
