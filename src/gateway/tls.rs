//! TLS by the operator's own certificate, read again when its files change. Open connections keep what they
//! began with.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use super::reload::{self, Reloaded};

/// The `[intake.tls]` table. Both are PEM files, or both empty: plain http, behind a proxy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The certificate, and those that lead from it to an authority.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("a file is no PEM, or does not hold what it should")]
    Pem(#[source] pem::Error),
    #[error("it holds no certificate")]
    NoCertificate,
    #[error("certificate and key do not go together")]
    Unusable(#[source] rustls::Error),
}

pub(super) struct Tls(Reloaded<Arc<ServerConfig>>);

impl Tls {
    /// `None` where none is configured. Must be called within a tokio runtime.
    pub fn load(settings: &Settings) -> Result<Option<Self>, reload::Error> {
        if settings.cert_file.as_os_str().is_empty() {
            return Ok(None);
        }
        let files = vec![settings.cert_file.clone(), settings.key_file.clone()];
        let config = Reloaded::start("intake.tls.cert_file", files, |contents| match contents {
            [cert, key] => server(cert, key),
            _ => Err(Error::NoCertificate),
        })?;
        Ok(Some(Self(config)))
    }

    pub fn now(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.now())
    }
}

fn server(cert: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, Error> {
    let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(Error::Pem)?;
    if chain.is_empty() {
        return Err(Error::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(Error::Pem)?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(Error::Unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
