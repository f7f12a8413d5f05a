//! The one way in which Alibaba's services are spoken to: bounded in time and size, HTTP/1.1 as their SDKs
//! do, no redirects, and no URL in an error, because the query of a signed URL contains secrets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, ClientBuilder, RequestBuilder, redirect};
use url::{Host, Url};

/// Most bytes of an answer of VOD that are read. The longest one that is expected lists 100 videos.
pub(super) const MAX_BODY: usize = 1024 * 1024;

pub(crate) struct Answer {
    pub status: u16,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    pub body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Transport(reqwest::Error),
    #[error("the answer is longer than {most} bytes")]
    TooLong { status: u16, most: usize },
}

/// A client for this endpoint and others like it. One for plain http gets by without certificate
/// authorities, which a small container may not have.
pub(crate) fn client(endpoint: &Url, connect: Duration, total: Duration) -> ClientBuilder {
    crate::tls::install();
    let builder = Client::builder()
        .user_agent(concat!("vod-cover/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect)
        .timeout(total)
        .pool_idle_timeout(Duration::from_secs(50))
        .tcp_nodelay(true)
        .redirect(redirect::Policy::none())
        .http1_only();
    let builder = if endpoint.scheme() == "http" {
        builder.tls_certs_only(std::iter::empty())
    } else {
        builder
    };
    if !is_loopback(endpoint) {
        return builder;
    }
    // Names below localhost are this machine, which not every resolver knows (RFC 6761, section 6.3).
    let here = [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
    let host = endpoint.host_str().unwrap_or_default();
    builder.no_proxy().resolve_to_addrs(host, &here)
}

pub(super) async fn send(request: RequestBuilder) -> Result<Answer, Error> {
    send_up_to(request, MAX_BODY).await
}

/// Reads an answer of `most` bytes.
pub(crate) async fn send_up_to(request: RequestBuilder, most: usize) -> Result<Answer, Error> {
    let bare = |error: reqwest::Error| Error::Transport(error.without_url());
    let mut response = request.send().await.map_err(bare)?;
    let status = response.status().as_u16();
    let text = |name| Some(response.headers().get(name)?.to_str().ok()?.trim());
    let header = |name| text(name)?.parse::<u64>().ok();
    // The first is Alibaba's own, in milliseconds; the second is what a proxy would send.
    let retry_after = header("x-acs-retry-after")
        .map(Duration::from_millis)
        .or_else(|| header("retry-after").map(Duration::from_secs));
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(bare)? {
        if body.len() + chunk.len() > most {
            return Err(Error::TooLong { status, most });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, retry_after, body: body.freeze() })
}

pub(super) fn is_loopback(endpoint: &Url) -> bool {
    match endpoint.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// As in the `Host` header: with the port only if it is not the scheme's own.
pub(super) fn host(endpoint: &Url) -> String {
    let host = endpoint.host_str().unwrap_or_default();
    endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
