//! Which addresses pictures are never fetched from: everything that is not the public internet. Pure.
//!
//! Documentation: <https://www.iana.org/assignments/iana-ipv4-special-registry>,
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;

/// An entry of `fetch.allow_networks`: `127.0.0.0/8`, `::1/128` or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(IpNet);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no network: write an address or a range, such as \"10.1.0.0/16\"")]
pub struct BadNetwork(String);

/// What an address is that nothing is fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Hands out the machine's own keys. No setting allows it.
    Metadata,
    /// Not the public internet, by this name; `fetch.allow_networks` may allow it.
    Named(&'static str),
}

/// What is wrong with an address, if anything: only public ones are right, and those in `allowed`.
pub fn special(address: IpAddr, allowed: &[Network]) -> Option<Special> {
    // What stands for an IPv4 address is judged as that.
    let address = match address {
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    if METADATA.contains(&address) {
        return Some(Special::Metadata);
    }
    if allowed.iter().any(|network| network.0.contains(&address)) {
        return None;
    }
    match address {
        IpAddr::V4(v4) => V4.iter().find(|(range, _)| range.contains(&v4)).map(|(_, name)| *name),
        IpAddr::V6(v6) => V6
            .iter()
            .find(|(range, _)| range.contains(&v6))
            .map(|(_, name)| *name)
            .or_else(|| (!PUBLIC_V6.contains(&v6)).then_some("reserved")),
    }
    .map(Special::Named)
}

/// The IPv4 address behind an IPv4-mapped or a NAT64 one; the connection goes there.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let nat64 = || {
        let [a, b, c, d] = [12, 13, 14, 15].map(|at| address.octets()[at]);
        Ipv4Addr::new(a, b, c, d)
    };
    address.to_ipv4_mapped().or_else(|| NAT64.contains(&address).then(nat64))
}

/// ECS's own, the one of most other clouds, and AWS's for IPv6.
/// <https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata>
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

const V4: [(Ipv4Net, &str); 16] = [
    (v4(0, 0, 0, 0, 8), "unspecified"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared (carrier or cloud)"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "reserved"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "tunnel"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmark"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// The only part of IPv6 that is in public use, less what [`V6`] names.
const PUBLIC_V6: Ipv6Net = v6(0x2000, 0, 0, 3);
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);

const V6: [(Ipv6Net, &str); 12] = [
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "unspecified"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback"),
    (v6(0, 0, 0, 96), "IPv4-compatible"),
    (v6(0xfc00, 0, 0, 7), "private"),
    (v6(0xfe80, 0, 0, 10), "link-local"),
    (v6(0xfec0, 0, 0, 10), "site-local"),
    (v6(0xff00, 0, 0, 8), "multicast"),
    (v6(0x2001, 0, 0, 32), "tunnel (Teredo)"),
    (v6(0x2001, 0, 0, 23), "reserved"),
    (v6(0x2001, 0xdb8, 0, 32), "documentation"),
    (v6(0x2002, 0, 0, 16), "tunnel (6to4)"),
    (v6(0x3fff, 0, 0, 20), "documentation"),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, c: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let text = text.trim();
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| BadNetwork(text.to_owned()))
    }
}

impl TryFrom<String> for Network {
    type Error = BadNetwork;
    fn try_from(text: String) -> Result<Self, BadNetwork> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
