//! Why a picture was not fetched. No message contains a signed URL: they name the CoverURL, which is
//! bare, and of a redirect only the host.

use std::net::IpAddr;
use std::time::Duration;

use super::address::Special;
use crate::cover::CoverUrl;

/// Says whether another attempt may help ([`Error::is_unreachable`]), and which setting would.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not before a setting is changed.
    #[error("{url} is not fetched")]
    Refused {
        url: CoverUrl,
        #[source]
        why: Refusal,
    },
    /// 404 and 410, and every other status that is neither a picture nor passes.
    #[error("there is no picture at {url}: the server answers {status}")]
    Missing { url: CoverUrl, status: u16 },
    /// 401 and 403.
    #[error("the server answers {status} for {url}; {}", hint(*signed))]
    Forbidden { url: CoverUrl, status: u16, signed: bool },
    #[error("{url} is longer than the {most} bytes of fetch.most_bytes")]
    TooLarge { url: CoverUrl, most: usize },
    /// May work later; it says nothing about the picture.
    #[error("{url} cannot be fetched at the moment")]
    Unreachable {
        url: CoverUrl,
        #[source]
        why: Trouble,
    },
}

/// What the settings do not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{host} is not in fetch.hosts; add it there if its pictures are your own")]
    Host { host: String },
    #[error(
        "port {port} of {host} is not allowed; add \"{host}:{port}\" to fetch.hosts if it is yours"
    )]
    Port { host: String, port: u16 },
    #[error("{}", forbidden(host, *address, *special))]
    Address { host: String, address: IpAddr, special: Special },
    #[error("it redirects to {scheme}:, and only http and https are fetched")]
    Scheme { scheme: String },
    #[error("it redirects to {host} with a user name or password")]
    User { host: String },
    #[error("it redirects to what is no URL")]
    NoUrl,
    #[error("it redirects more than the {most} times of fetch.redirects")]
    Redirects { most: u32 },
}

/// What went wrong on the way.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("the server answers {0}")]
    Status(u16),
    #[error("it was not there within the {0:?} of fetch.timeout")]
    Late(Duration),
    #[error("no turn came within {0:?}; raise fetch.concurrency if the network has room")]
    Queue(Duration),
    #[error("the connection failed")]
    Connection(#[source] reqwest::Error),
}

impl Error {
    /// Whether it may work later without anybody doing anything.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether it is worth another attempt at once.
    pub(super) fn is_blip(&self) -> bool {
        match self {
            Self::Unreachable { why, .. } => match why {
                Trouble::Status(status) => *status >= 500,
                Trouble::Connection(error) => !error.is_timeout(),
                Trouble::Late(_) | Trouble::Queue(_) => false,
            },
            _ => false,
        }
    }
}

fn hint(signed: bool) -> &'static str {
    if signed {
        "the type or key of fetch.url_signing is not the domain's, or this machine's clock is wrong"
    } else {
        "if the domain has URL signing, set fetch.url_signing; the bucket may be private, too"
    }
}

fn forbidden(host: &str, address: IpAddr, special: Special) -> String {
    match special {
        Special::Metadata => {
            format!("{host} is {address}, the metadata service, and nothing is fetched from there")
        }
        Special::Named(name) => format!(
            "{host} is {address}, a {name} address; add its network to fetch.allow_networks if \
             that is meant"
        ),
    }
}
