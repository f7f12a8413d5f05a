//! Why a call to SMQ did not work, and what that calls for.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Class;
use crate::vod::credentials;

/// How long to leave SMQ alone after it said that there were too many calls.
const THROTTLED: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no key to sign calls to SMQ with")]
    Credentials(#[source] Arc<credentials::Error>),
    #[error("SMQ cannot be asked")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("SMQ refused a call: {code} (HTTP {status}): {message}; request id {request_id:?}{}", hint(.code, *.status))]
    Refused { status: u16, code: String, message: String, request_id: String },
    #[error("SMQ's answer cannot be read (HTTP {status}): {why}")]
    Unreadable { status: u16, why: String },
    #[error("intake.smq.endpoint and intake.smq.queue make no URL")]
    Url,
}

/// What an operator can do about it.
fn hint(code: &str, status: u16) -> &'static str {
    match code {
        "QueueNotExist" => "; check intake.smq.queue and the region of intake.smq.endpoint",
        "TimeExpired" | "InvalidDateHeader" => "; check this machine's clock",
        _ if status == 403 => {
            "; check the key and its permissions (mns:BatchReceiveMessage and so on)"
        }
        _ => "",
    }
}

impl Error {
    /// By the HTTP status where a code is not known: not all of them are documented.
    pub fn class(&self) -> Class {
        match self {
            Self::Credentials(_) | Self::Url => Class::Misconfigured,
            Self::Http(_) => Class::Transient,
            Self::Refused { status, code, .. } => match (*status, code.as_str()) {
                (429, _) | (_, "TooManyRequests" | "QpsLimitExceeded") => {
                    Class::Deferred { after: THROTTLED }
                }
                (500.., _) => Class::Transient,
                _ => Class::Misconfigured,
            },
            Self::Unreadable { .. } => Class::Transient,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, code: &str) -> Class {
        let (message, request_id) = (String::new(), String::new());
        Error::Refused { status, code: code.to_owned(), message, request_id }.class()
    }

    #[test]
    fn refusals_have_their_classes() {
        for (status, code) in [(500, "InternalError"), (503, "InternalServerError"), (502, "?")] {
            assert_eq!(class(status, code), Class::Transient, "{code}");
        }
        for (status, code) in [(429, "TooManyRequests"), (400, "QpsLimitExceeded"), (429, "?")] {
            assert_eq!(class(status, code), Class::Deferred { after: THROTTLED }, "{code}");
        }
        for (status, code) in [
            (404, "QueueNotExist"),
            (403, "AccessDenied"),
            (403, "SignatureDoesNotMatch"),
            (408, "TimeExpired"),
            (400, "InvalidArgument"),
            (418, "?"),
        ] {
            assert_eq!(class(status, code), Class::Misconfigured, "{code}");
        }
    }
}
