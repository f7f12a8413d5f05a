//! Why there is no access key. Every variant says what to look at.

use std::path::PathBuf;

/// None of these is any event's fault; all of them are for an operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no access key was found; set ALIBABA_CLOUD_ACCESS_KEY_ID and \
         ALIBABA_CLOUD_ACCESS_KEY_SECRET, or access_key_id_file and access_key_secret_file in \
         [vod.credentials] (tried: {tried})"
    )]
    Nothing { tried: String },
    #[error("the file {path:?} with {what} cannot be read")]
    Unreadable {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the file {path:?} with {what} is empty")]
    Empty { what: &'static str, path: PathBuf },
    #[error("{what} is not what it should be: {why}")]
    Malformed { what: String, why: String },
    #[error("{what} lacks {missing}")]
    Incomplete { what: String, missing: &'static str },
    #[error("{what} is {found:?}, which vod-cover does not support; {instead}")]
    Unsupported { what: String, found: String, instead: &'static str },
    #[error("{service} cannot be asked for a key")]
    Transport {
        service: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{service} gave no key: {code} (status {status})")]
    Refused { service: String, status: u16, code: String },
    #[error("{url:?} in {setting} cannot be used: {why}")]
    BadUrl { setting: &'static str, url: String, why: &'static str },
}
