//! Attempts to make the fetcher ask what it must not: each is refused, by name, and nothing is asked.

use std::sync::Arc;

use serde_json::json;
use vod_cover::error::chain;
use vod_cover::fetch::address::Special;
use vod_cover::fetch::{Error, Fetcher, Refusal};

use super::server::{ELSEWHERE, Names, Server, answer, cover, fetcher, redirect, settings};

/// One address of every kind, and of every way to write one.
const FORBIDDEN: [&str; 34] = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.1.1",
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "100.64.0.1",
    "100.118.1.1",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:100.100.100.200",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
];

fn as_host(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

#[track_caller]
fn refusal(result: Result<bytes::Bytes, Error>) -> Refusal {
    let error = result.unwrap_err();
    assert!(!error.is_unreachable(), "{error:?}");
    match error {
        Error::Refused { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn is_address(refusal: &Refusal, expected: &str) {
    let Refusal::Address { address, .. } = refusal else { panic!("{refusal:?}") };
    assert_eq!(*address, expected.parse::<std::net::IpAddr>().unwrap(), "{refusal:?}");
}

#[tokio::test]
async fn every_address_that_is_not_public_is_refused_even_on_an_allowed_host() {
    let hosts = FORBIDDEN.map(as_host);
    let hosts = hosts.each_ref().map(String::as_str);
    let fetcher = fetcher(&hosts, json!({"allow_networks": []}));
    for (address, host) in FORBIDDEN.into_iter().zip(hosts) {
        let url = cover(&format!("http://{host}/a.jpg"));
        is_address(&refusal(fetcher.get(&url).await), address);
    }
}

#[tokio::test]
async fn an_address_in_an_odd_spelling_is_the_same_address() {
    for host in ["0x7f.1", "2130706433", "017700000001", "127.1", "0177.0.0.1", "127.0.0.1."] {
        let fetcher = fetcher(&["127.0.0.1"], json!({"allow_networks": []}));
        let refused = refusal(fetcher.get(&cover(&format!("http://{host}/a.jpg"))).await);
        is_address(&refused, "127.0.0.1");
    }
    for host in ["0xa9.0xfe.0xa9fe", "2852039166", "[::ffff:a9fe:a9fe]", "[::ffff:169.254.169.254]"]
    {
        let fetcher = fetcher(
            &["169.254.169.254", "[::ffff:169.254.169.254]"],
            json!({"allow_networks": []}),
        );
        let refused = refusal(fetcher.get(&cover(&format!("http://{host}/a.jpg"))).await);
        assert!(
            matches!(refused, Refusal::Address { special: Special::Metadata, .. }),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn an_address_that_no_setting_names_is_refused_before_all_else() {
    for host in ["127.0.0.1", "[::1]", "2130706433", "8.8.8.8"] {
        let fetcher = fetcher(&["*.aliyuncs.com"], json!({}));
        let refused = refusal(fetcher.get(&cover(&format!("http://{host}/a.jpg"))).await);
        assert!(matches!(refused, Refusal::Host { .. }), "{refused:?}");
    }
}

/// A name for each forbidden address, and those of `more`.
fn forbidden_names(more: (&str, &str)) -> Arc<Names> {
    let names = FORBIDDEN.map(name_of);
    let answers = FORBIDDEN.each_ref().map(|address| [std::slice::from_ref(address)]);
    let own = [[more.1]];
    let own = own.each_ref().map(|answer| answer.as_slice());
    let mut known = vec![(more.0, own.as_slice())];
    known.extend(names.iter().map(String::as_str).zip(answers.iter().map(<[_; 1]>::as_slice)));
    Names::of(&known)
}

fn name_of(address: &str) -> String {
    format!("to-{}.example.com", address.replace([':', '.'], "-"))
}

#[tokio::test]
async fn a_name_that_resolves_to_such_an_address_is_refused() {
    let settings = settings(&["*.example.com"], json!({"allow_networks": []}));
    let names = forbidden_names(("img.example.com", "10.0.0.1"));
    let fetcher = Fetcher::with_names(&settings, None, names).unwrap();
    for address in FORBIDDEN {
        let url = cover(&format!("http://{}/a.jpg", name_of(address)));
        is_address(&refusal(fetcher.get(&url).await), address);
    }
}

/// Through the system's own resolver, and to a server that would answer.
#[tokio::test]
async fn localhost_is_refused_by_the_address_that_it_resolves_to() {
    let server = Server::start(|_, _| answer(200, "secret")).await;
    let host = format!("localhost:{}", server.address.port());
    let url = cover(&format!("http://{host}/a.jpg"));
    let closed = fetcher(&[&host], json!({"allow_networks": []}));
    let error = closed.get(&url).await.unwrap_err();
    assert!(chain(&error).contains("fetch.allow_networks"), "{}", chain(&error));
    let Refusal::Address { special, .. } = refusal(Err(error)) else { panic!("another refusal") };
    assert_eq!(special, Special::Named("loopback"));
    assert!(server.asked().is_empty());

    let open = fetcher(&[&host], json!({}));
    assert_eq!(open.get(&url).await.unwrap(), "secret");
}

#[tokio::test]
async fn the_metadata_service_is_refused_whatever_the_settings_allow() {
    let everything = json!({"allow_networks": ["0.0.0.0/0", "::/0"]});
    for address in ["100.100.100.200", "169.254.169.254", "::ffff:100.100.100.200", "fd00:ec2::254"]
    {
        let host = as_host(address);
        let names = Names::of(&[("img.example.com", &[&[address]])]);
        let settings = settings(&["img.example.com", &host], everything.clone());
        let fetcher = Fetcher::with_names(&settings, None, names).unwrap();
        for host in ["img.example.com", &host] {
            let refused = refusal(fetcher.get(&cover(&format!("http://{host}/latest"))).await);
            let Refusal::Address { special, .. } = refused else { panic!("{refused:?}") };
            assert_eq!(special, Special::Metadata, "{host}");
        }
    }
}

#[tokio::test]
async fn a_name_with_a_good_and_a_bad_address_leads_to_the_good_one_only() {
    let good = Server::start_elsewhere(|_, _| answer(200, "good")).await;
    let bad = Server::start(|_, _| answer(200, "bad")).await;
    let names = Names::of(&[("img.example.com", &[&[&bad.host(), "10.0.0.1", &good.host()]])]);
    let settings = settings(&["img.example.com"], json!({"allow_networks": [ELSEWHERE]}));
    let fetcher = Fetcher::with_names(&settings, None, names).unwrap();
    assert_eq!(fetcher.get(&cover("http://img.example.com/a.jpg")).await.unwrap(), "good");
    assert!(bad.asked().is_empty());
}

/// DNS rebinding: the answer changes between the first look-up and the next.
#[tokio::test]
async fn a_name_that_changes_its_address_gains_nothing() {
    // It closes the connection after the first answer, so that the second needs a new look-up.
    let server = Server::raw(|mut stream, _| async move {
        let head = b"HTTP/1.1 302 Found\r\nlocation: /b.jpg\r\nconnection: close\r\n\
                     content-length: 0\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, head).await
    })
    .await;
    let names = Names::of(&[("img.example.com", &[&[&server.host()], &["100.100.100.200"]])]);
    let settings = settings(&["img.example.com"], json!({}));
    let fetcher = Fetcher::with_names(&settings, None, Arc::clone(&names) as _).unwrap();
    let refused = refusal(fetcher.get(&cover("http://img.example.com/a.jpg")).await);
    is_address(&refused, "100.100.100.200");
    assert_eq!((names.looked_up(), server.asked().len()), (2, 1));
}

/// The hosts are on the list, so that it is the address that is refused.
#[tokio::test]
async fn a_redirect_to_an_address_that_is_not_public_is_refused() {
    let hosts = FORBIDDEN.map(as_host);
    let server = Server::start_elsewhere(|path, _| redirect(&format!("http:/{path}"))).await;
    let own = server.host();
    let listed: Vec<_> = hosts.iter().chain([&own]).map(String::as_str).collect();
    let fetcher = fetcher(&listed, json!({"allow_networks": [ELSEWHERE]}));
    for (address, host) in FORBIDDEN.into_iter().zip(&hosts) {
        let url = server.url(&format!("/{host}/latest/meta-data/"));
        is_address(&refusal(fetcher.get(&url).await), address);
    }
    assert_eq!(server.asked().len(), FORBIDDEN.len());
}

#[tokio::test]
async fn a_redirect_to_a_name_that_resolves_to_such_an_address_is_refused() {
    let server = Server::start_elsewhere(|path, _| redirect(&format!("http:/{path}"))).await;
    let settings = settings(&["*.example.com"], json!({"allow_networks": [ELSEWHERE]}));
    let names = forbidden_names(("img.example.com", &server.host()));
    let fetcher = Fetcher::with_names(&settings, None, names).unwrap();
    for address in FORBIDDEN {
        let url = cover(&format!("http://img.example.com/{}/a.jpg", name_of(address)));
        is_address(&refusal(fetcher.get(&url).await), address);
    }
    assert_eq!(server.asked().len(), FORBIDDEN.len());
}

/// To a server that would answer, on a host and a port that are allowed.
#[tokio::test]
async fn a_redirect_to_loopback_is_refused_in_every_spelling() {
    let secret = Server::start(|_, _| answer(200, "secret")).await;
    let port = secret.address.port();
    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"] {
        let host = format!("{host}:{port}");
        let to = format!("http://{host}/");
        let server = Server::start_elsewhere(move |_, _| redirect(&to)).await;
        let fetcher = fetcher(&[&server.host(), &host], json!({"allow_networks": [ELSEWHERE]}));
        let refused = refusal(fetcher.get(&server.url("/a.jpg")).await);
        let Refusal::Address { special, .. } = refused else { panic!("{refused:?}") };
        assert_eq!(special, Special::Named("loopback"), "{host}");
        assert_eq!(server.asked().len(), 1);
    }
    assert!(secret.asked().is_empty());
}

#[tokio::test]
async fn a_redirect_to_another_host_port_scheme_or_user_is_refused() {
    let server = Server::start(|path, _| {
        redirect(match path {
            "/host" => "http://evil.example/a.jpg",
            "/port" => "http://127.0.0.1:22/",
            "/file" => "file:///etc/passwd",
            "/ftp" => "ftp://127.0.0.1/a.jpg",
            "/data" => "data:image/png;base64,AAAA",
            "/user" => "http://user:hunter2@127.0.0.1/",
            _ => "http://[broken/",
        })
    })
    .await;
    let host = "127.0.0.1".to_owned();
    let scheme = |scheme: &str| Refusal::Scheme { scheme: scheme.into() };
    let fetcher = server.fetcher(json!({}));
    for (path, expected) in [
        ("/host", Refusal::Host { host: "evil.example".into() }),
        ("/port", Refusal::Port { host: host.clone(), port: 22 }),
        ("/file", scheme("file")),
        ("/ftp", scheme("ftp")),
        ("/data", scheme("data")),
        ("/user", Refusal::User { host }),
        ("/broken", Refusal::NoUrl),
    ] {
        let refused = refusal(fetcher.get(&server.url(path)).await);
        assert_eq!(refused, expected, "{path}");
        assert!(!refused.to_string().contains("hunter2"));
    }
    assert_eq!(server.asked().len(), 7, "nothing is asked for twice");
}

#[tokio::test]
async fn a_host_or_port_that_is_not_listed_is_refused_with_the_setting_to_change() {
    let fetcher = fetcher(&["*.aliyuncs.com"], json!({}));
    for (url, add) in [
        ("http://img.example.com/a.jpg", "img.example.com is not in fetch.hosts"),
        ("http://evilaliyuncs.com/a.jpg", "evilaliyuncs.com is not in fetch.hosts"),
        ("http://a.aliyuncs.com.evil.example/a.jpg", "fetch.hosts"),
        ("http://b.aliyuncs.com:8080/a.jpg", "add \"b.aliyuncs.com:8080\" to fetch.hosts"),
    ] {
        let error = fetcher.get(&cover(url)).await.unwrap_err();
        assert!(chain(&error).contains(add) && chain(&error).contains(url), "{}", chain(&error));
        refusal(Err(error));
    }
}
