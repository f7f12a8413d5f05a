//! The key of URL signing: from a file, or given by the environment. It is read again when a server
//! refuses what was signed with it, and never printed.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};

use super::settings::SettingsError;

/// Longest key file that is read.
const MOST: usize = 1024;

#[derive(Debug)]
pub(super) struct Key {
    file: Option<PathBuf>,
    current: RwLock<SecretString>,
}

impl Key {
    /// A file wins over the key that was given.
    pub fn load(file: &Path, given: Option<SecretString>) -> Result<Self, SettingsError> {
        if file.as_os_str().is_empty() {
            let given = given.filter(|key| !key.expose_secret().trim().is_empty());
            let key = given.ok_or(SettingsError::NoKey)?;
            return Ok(Self { file: None, current: tidy(key.expose_secret()).into() });
        }
        let path = file.to_owned();
        match std::fs::read(file).and_then(|bytes| parse(&bytes)) {
            Ok(key) => Ok(Self { file: Some(path), current: key.into() }),
            Err(source) => Err(SettingsError::KeyFile { path, source }),
        }
    }

    pub fn current(&self) -> SecretString {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again; true if it holds another key than `used`.
    pub async fn is_renewed(&self, used: &SecretString) -> bool {
        let Some(path) = &self.file else { return false };
        match tokio::fs::read(path).await.and_then(|bytes| parse(&bytes)) {
            Ok(key) => {
                let renewed = key.expose_secret() != used.expose_secret();
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = key;
                renewed
            }
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "fetch.url_signing.key_file cannot be read again");
                false
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Result<SecretString, Error> {
    let odd = |why| Error::new(ErrorKind::InvalidData, why);
    if bytes.len() > MOST {
        return Err(odd("it is too long to be a key"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| odd("it is not text"))?;
    match text.trim() {
        "" => Err(odd("it is empty")),
        _ => Ok(tidy(text)),
    }
}

fn tidy(text: &str) -> SecretString {
    text.trim().into()
}
