//! The allow-list of hosts: exact names and addresses, and `*.domain` for every host below a domain.
//! Pure. It compares whole labels in the form that a parsed URL has (lower case, IDNA), never text.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use url::{Host, Url};

/// Without a port of its own an entry allows these, the schemes' own.
const PORTS: [u16; 2] = [80, 443];

/// One entry: `img.example.com`, `*.example.com`, `127.0.0.1:8800`, `[::1]:8800`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    host: Named,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Exactly(Host),
    /// Every host below this domain, and not the domain itself.
    Below(String),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no host: write a name, \"*.\" and a domain, or an address, each with \":\" and a port \
     if it is not 80 or 443"
)]
pub struct BadPattern(String);

/// What the allow-list says of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    Yes,
    /// The host is, with another port.
    WrongPort,
    No,
}

/// Looks a URL up in the list. One without a host is on no list.
pub fn listed(url: &Url, patterns: &[Pattern]) -> Listed {
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
        return Listed::No;
    };
    let host = plain(host.to_owned());
    let mut found = Listed::No;
    for pattern in patterns.iter().filter(|pattern| pattern.covers(&host)) {
        if pattern.port.map_or(PORTS.contains(&port), |only| only == port) {
            return Listed::Yes;
        }
        found = Listed::WrongPort;
    }
    found
}

impl Pattern {
    fn covers(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (Named::Exactly(named), host) => named == host,
            (Named::Below(domain), Host::Domain(name)) => name
                .strip_suffix(domain.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
            // An address is below no domain.
            (Named::Below(_), _) => false,
        }
    }
}

impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern(text.to_owned());
        let trimmed = text.trim();
        let (name, port) = match trimmed.rsplit_once(':') {
            // A colon within brackets is part of an IPv6 address.
            Some((name, port)) if !port.contains(']') => {
                (name, Some(port.parse().map_err(|_| bad())?))
            }
            _ => (trimmed, None),
        };
        let (below, name) = match name.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, name),
        };
        let host = plain(Host::parse(name).map_err(|_| bad())?);
        let host = match host {
            // Else a slip such as "*" or "a..b" would be an entry that never matches.
            Host::Domain(name) if name.contains('*') || name.split('.').any(str::is_empty) => {
                return Err(bad());
            }
            Host::Domain(domain) if below => Named::Below(domain),
            _ if below => return Err(bad()),
            host => Named::Exactly(host),
        };
        Ok(Self { host, port })
    }
}

impl TryFrom<String> for Pattern {
    type Error = BadPattern;
    fn try_from(text: String) -> Result<Self, BadPattern> {
        text.parse()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Named::Exactly(host) => host.fmt(f)?,
            Named::Below(domain) => write!(f, "*.{domain}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Without the dot of the root: `a.example.` is `a.example`.
fn plain(host: Host) -> Host {
    match host {
        Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(&name).to_owned()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up(url: &str, patterns: &[&str]) -> Listed {
        let patterns: Vec<Pattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
        listed(&Url::parse(url).unwrap(), &patterns)
    }

    #[test]
    fn a_host_is_compared_by_whole_labels_without_case() {
        for (host, pattern, expected) in [
            ("a.aliyuncs.com", "*.aliyuncs.com", Listed::Yes),
            ("a.b.aliyuncs.com", "*.aliyuncs.com", Listed::Yes),
            ("A.AliyunCS.com", "*.ALIYUNCS.com", Listed::Yes),
            ("a.aliyuncs.com.", "*.aliyuncs.com", Listed::Yes),
            ("a.aliyuncs.com", "*.aliyuncs.com.", Listed::Yes),
            ("aliyuncs.com", "*.aliyuncs.com", Listed::No),
            ("evilaliyuncs.com", "*.aliyuncs.com", Listed::No),
            ("a.aliyuncs.com.evil.example", "*.aliyuncs.com", Listed::No),
            ("aliyuncs.com", "aliyuncs.com", Listed::Yes),
            ("a.aliyuncs.com", "aliyuncs.com", Listed::No),
            ("封面.example", "xn--zfru03c.example", Listed::No),
            ("bücher.example", "xn--bcher-kva.example", Listed::Yes),
            ("img.xn--bcher-kva.example", "*.BÜCHER.example", Listed::Yes),
            ("ａ.example", "a.example", Listed::Yes),
        ] {
            assert_eq!(
                look_up(&format!("http://{host}/x"), &[pattern]),
                expected,
                "{host} {pattern}"
            );
        }
    }

    #[test]
    fn an_address_is_the_same_however_it_is_spelt() {
        for host in ["127.0.0.1", "0x7f.1", "2130706433", "017700000001", "127.1", "0x7f.0.0.1."] {
            assert_eq!(look_up(&format!("http://{host}/"), &["127.0.0.1"]), Listed::Yes, "{host}");
        }
        assert_eq!(look_up("http://[0:0::1]/", &["[::1]"]), Listed::Yes);
        assert_eq!(look_up("http://[::1]:81/", &["[::1]:81"]), Listed::Yes);
        assert_eq!(look_up("http://1.2.3.4/", &["*.example"]), Listed::No);
    }

    #[test]
    fn only_the_usual_ports_are_allowed_unless_one_is_named() {
        let host = ["h.example", "other.example:8800"];
        for (url, expected) in [
            ("http://h.example/", Listed::Yes),
            ("https://h.example/", Listed::Yes),
            ("https://h.example:80/", Listed::Yes),
            ("http://h.example:22/", Listed::WrongPort),
            ("http://other.example:8800/", Listed::Yes),
            ("http://other.example/", Listed::WrongPort),
            ("http://third.example/", Listed::No),
        ] {
            assert_eq!(look_up(url, &host), expected, "{url}");
        }
        assert_eq!(look_up("http://h.example:22/", &["h.example", "h.example:22"]), Listed::Yes);
    }

    #[test]
    fn what_is_no_pattern_is_refused_and_what_is_one_is_shown_as_it_is_compared() {
        for bad in [
            "",
            "*",
            "*.",
            "a.*",
            "*.*.com",
            "*.1.2.3",
            "http://a",
            "a/b",
            "a:b",
            "a:70000",
            "a..b",
            ".a",
            "*.127.0.0.1",
            "u@h",
            "a b",
            "*.[::1]",
        ] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
        for (text, shown) in [
            ("*.Example.COM.", "*.example.com"),
            ("[0::1]:80", "[::1]:80"),
            ("0x7f.1:8800", "127.0.0.1:8800"),
        ] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), shown);
        }
    }
}
