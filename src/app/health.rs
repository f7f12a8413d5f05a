//! `health`: whether the process beside this one works, for those who can run a command but ask no HTTP, such as
//! Docker. Asks its ops port once, changes nothing, and never takes much longer than [`WITHIN`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use crate::config::Settings;

const WITHIN: Duration = Duration::from_secs(2);
/// Docker keeps as much of what a health check prints.
const MOST_SHOWN: usize = 4096;

/// `live`: only whether it answers, not whether it can work.
pub(super) async fn health(settings: &Settings, live: bool) -> anyhow::Result<ExitCode> {
    let path = if live { "/livez" } else { "/readyz" };
    let url = format!("http://{}{path}", reachable(settings.ops.listen));
    let client = reqwest::Client::builder().no_proxy().timeout(WITHIN).build()?;
    let answer = client.get(&url).send().await;
    let mut answer = answer.with_context(|| format!("{url} does not answer; see ops.listen"))?;
    if answer.status().is_success() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut body = Vec::new();
    while body.len() < MOST_SHOWN
        && let Some(part) = answer.chunk().await?
    {
        body.extend_from_slice(&part);
    }
    body.truncate(MOST_SHOWN);
    anyhow::bail!("{url} answers {}: {}", answer.status(), String::from_utf8_lossy(&body))
}

/// Where to ask what listens there: everything includes loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
