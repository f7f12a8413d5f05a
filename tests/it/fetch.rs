//! Fetching pictures from real servers on loopback: what is fetched, what is never asked, and what each
//! failure is called.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use vod_cover::error::chain;
use vod_cover::fetch::{Error, Fetcher, Refusal, Trouble};
use vod_cover::sim::{self, Simulator};

mod refusals;
mod server;

use crate::world::World;
use server::{Names, Server, answer, cover, fetcher, redirect, settings};

#[tokio::test]
async fn a_picture_is_fetched_byte_for_byte() {
    let picture: Vec<u8> = (0..=255).cycle().take(99_999).collect();
    let body = picture.clone();
    let server = Server::start(move |_, _| answer(200, body.clone())).await;
    let bytes = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap();
    assert_eq!(bytes, picture);
    assert_eq!(server.asked(), ["/a.jpg"]);
}

#[tokio::test]
async fn a_page_with_status_200_is_bytes_like_any_other() {
    let server = Server::start(|_, _| answer(200, "<html>")).await;
    let bytes = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap();
    assert_eq!(bytes, "<html>");
}

#[tokio::test]
async fn no_compressed_answer_is_asked_for_and_none_is_unpacked() {
    let server = Server::raw(|mut stream, _| async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(b"\x1f\x8b\x08\x00").await
    })
    .await;
    let bytes = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap();
    assert_eq!(bytes.as_ref(), b"\x1f\x8b\x08\x00");
    assert!(server.asked()[0].contains("accept-encoding: identity"), "{:?}", server.asked());
}

#[tokio::test]
async fn a_redirect_within_the_allowed_hosts_is_followed() {
    let other = Server::start(|_, _| answer(200, "there")).await;
    let to = format!("http://{}/b.jpg?x=1", other.host());
    let server = Server::start(move |path, _| match path {
        "/a.jpg" => redirect("c/../relative.jpg"),
        _ => redirect(&to),
    })
    .await;
    let fetcher = fetcher(&[&server.host(), &other.host()], json!({}));
    assert_eq!(fetcher.get(&server.url("/a.jpg")).await.unwrap(), "there");
    assert_eq!(server.asked(), ["/a.jpg", "/relative.jpg"]);
    assert_eq!(other.asked(), ["/b.jpg?x=1"]);
}

#[tokio::test]
async fn a_redirect_loop_ends_at_the_limit() {
    let server = Server::start(|_, _| redirect("/again")).await;
    let error = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap_err();
    let Error::Refused { why, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*why, Refusal::Redirects { most: 3 });
    assert!(chain(&error).contains("fetch.redirects"), "{}", chain(&error));
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    for (length, chunked) in [(1000, false), (1000, true), (1001, false), (1001, true)] {
        let server = Server::start(move |_, _| {
            let bytes = vec![7; length];
            match chunked {
                true => answer(200, Body::from_stream(pieces(bytes))),
                false => answer(200, bytes),
            }
        })
        .await;
        let fetched = server.fetcher(json!({"most_bytes": 1000})).get(&server.url("/")).await;
        match fetched {
            Ok(bytes) => assert_eq!((bytes.len(), length), (1000, 1000)),
            Err(error) => {
                assert_eq!(length, 1001, "{error}");
                assert!(matches!(error, Error::TooLarge { most: 1000, .. }), "{error:?}");
                assert!(!error.is_unreachable() && chain(&error).contains("fetch.most_bytes"));
                assert_eq!(server.asked().len(), 1, "it was asked for again");
            }
        }
    }
}

fn pieces(
    bytes: Vec<u8>,
) -> impl futures_util::Stream<Item = Result<Vec<u8>, std::convert::Infallible>> {
    futures_util::stream::iter(
        bytes.chunks(100).map(|piece| Ok(piece.to_vec())).collect::<Vec<_>>(),
    )
}

#[tokio::test]
async fn an_endless_body_is_given_up_at_the_limit() {
    let server = Server::raw(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        // It ends when the client goes away.
        loop {
            stream.write_all(b"400\r\n").await?;
            stream.write_all(&[0; 0x400]).await?;
            stream.write_all(b"\r\n").await?;
        }
    })
    .await;
    let error = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn a_body_shorter_than_its_length_is_no_picture_yet() {
    let server = Server::saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\nshort").await;
    let error = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
}

#[tokio::test]
async fn a_body_longer_than_its_length_ends_where_it_said() {
    let server =
        Server::saying(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nshort and more").await;
    assert_eq!(server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap(), "short");
}

#[tokio::test]
async fn a_huge_declared_length_is_refused_before_a_byte_is_read() {
    let server = Server::saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000000\r\n\r\nx").await;
    let error = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn a_slow_drip_is_given_up_after_the_time_for_one_picture() {
    let server = Server::raw(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n").await?;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            stream.write_all(b"x").await?;
        }
    })
    .await;
    let fetcher = server.fetcher(json!({"timeout": "300ms"}));
    let error = fetcher.get(&server.url("/a.jpg")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { why: Trouble::Late(_), .. }), "{error:?}");
    assert!(error.is_unreachable() && chain(&error).contains("fetch.timeout"));
    assert_eq!(server.asked().len(), 1, "there was no time for another attempt");
}

#[tokio::test]
async fn a_full_house_is_said_to_be_one() {
    let server = Server::raw(|stream, _| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    let fetcher = server.fetcher(json!({"timeout": "300ms", "concurrency": 1}));
    let url = server.url("/a.jpg");
    // The first two begin together; the second gets its turn when the first has run out of time, or
    // gives up at that very moment. Four more cannot all have one.
    let all = futures_util::future::join_all((0..6).map(|_| fetcher.get(&url))).await;
    let errors: Vec<_> = all.into_iter().map(Result::unwrap_err).collect();
    assert!(errors.iter().all(Error::is_unreachable), "{errors:?}");
    let queued =
        |error: &&Error| matches!(error, Error::Unreachable { why: Trouble::Queue(_), .. });
    assert!(errors.iter().filter(queued).count() >= 4, "{errors:?}");
}

#[tokio::test]
async fn a_blip_is_over_with_the_second_attempt() {
    for status in [500, 502, 503, 504] {
        let server = Server::start(move |_, before| match before {
            0 => answer(status, ""),
            _ => answer(200, "picture"),
        })
        .await;
        let bytes = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap();
        assert_eq!((bytes.as_ref(), server.asked().len()), (&b"picture"[..], 2));
    }
}

#[tokio::test]
async fn a_server_that_stays_broken_is_asked_twice() {
    let server = Server::start(|_, _| answer(503, "")).await;
    let error = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { why: Trouble::Status(503), .. }), "{error:?}");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_server_that_asks_for_patience_is_not_asked_again_at_once() {
    for status in [408, 425, 429] {
        let server = Server::start(move |_, _| answer(status, "")).await;
        let error = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap_err();
        assert!(error.is_unreachable(), "{error:?}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn what_is_not_there_is_missing_and_not_unreachable() {
    let moved = || Response::builder().status(301).body(Body::empty()).unwrap();
    for status in [404, 410, 400, 451, 204, 206, 304] {
        let server = Server::start(move |_, _| answer(status, "")).await;
        let error = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap_err();
        let Error::Missing { status: found, .. } = error else { panic!("{error:?}") };
        assert_eq!(found, status);
        assert!(!error.is_unreachable());
        assert_eq!(server.asked().len(), 1);
    }
    let server = Server::start(move |_, _| moved()).await;
    let error = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap_err();
    assert!(matches!(error, Error::Refused { why: Refusal::NoUrl, .. }), "{error:?}");
}

#[tokio::test]
async fn a_refusal_by_the_server_hints_at_url_signing() {
    for status in [401, 403] {
        let server = Server::start(move |_, _| answer(status, "")).await;
        let error = server.fetcher(json!({})).get(&server.url("/a.jpg")).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden { signed: false, .. }), "{error:?}");
        assert!(!error.is_unreachable() && chain(&error).contains("fetch.url_signing"));
    }
}

#[tokio::test]
async fn nobody_there_and_no_such_name_are_unreachable() {
    let address = Server::saying(b"").await.host();
    let error = fetcher(&[&address], json!({})).get(&cover(&format!("http://{address}/"))).await;
    assert!(error.as_ref().is_err_and(Error::is_unreachable), "{error:?}");

    let names = Names::of(&[]);
    let fetcher = Fetcher::with_names(&settings(&["gone.example"], json!({})), None, names.clone());
    let error = fetcher.unwrap().get(&cover("http://gone.example/a.jpg")).await.unwrap_err();
    assert!(error.is_unreachable() && chain(&error).contains("no such name"), "{error:?}");
    assert_eq!(names.looked_up(), 2, "a name server may have a blip, too");
}

#[tokio::test]
async fn upgraded_to_https_a_picture_is_asked_for_over_tls_and_never_in_clear() {
    let server = Server::saying(b"").await;
    let port = server.address.port().to_string();
    let fetcher = fetcher(&[&format!("localhost:{port}")], json!({"https": "upgrade"}));
    let url = cover(&format!("http://localhost:{port}/secret.jpg"));
    assert!(fetcher.get(&url).await.is_err_and(|error| error.is_unreachable()));
    for hello in server.asked() {
        // A TLS record of the type handshake, with the server's name in it.
        assert!(hello.starts_with('\u{16}') && hello.contains("localhost"), "{hello:?}");
        assert!(!hello.contains("secret.jpg"));
    }
    assert!(!server.asked().is_empty());
}

/// A proxy would resolve names, and so go around every check. The test runs another one of this binary
/// in an environment that names a proxy.
#[tokio::test]
async fn a_proxy_of_the_environment_is_not_used() {
    let proxy = Server::start(|_, _| answer(200, "by proxy")).await;
    let url = format!("http://{}", proxy.host());
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "fetch::a_picture_is_fetched_byte_for_byte"]);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, &url);
    }
    let output = command.env_remove("NO_PROXY").env_remove("no_proxy").output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(proxy.asked().is_empty());
}

#[test]
fn check_says_what_is_fetched_and_signed_and_misses_the_key() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::embedded(sim::Settings::default()));
    let check = |more: &[(&str, &str)]| {
        let output = world.command(&["check"], more).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
    };
    let defaults =
        [("VOD_COVER__FETCH__HOSTS", "*.aliyuncs.com"), ("VOD_COVER__FETCH__ALLOW_NETWORKS", "")];
    let (code, text) = check(&defaults);
    assert_eq!(code, 0, "{text}");
    let line = "pictures: fetched from *.aliyuncs.com, public addresses only; not signed";
    assert!(text.contains(line), "{text}");

    let signing = ("VOD_COVER__FETCH__URL_SIGNING__TYPE", "b-decimal");
    let (code, text) = check(&[signing]);
    assert!(code == 2 && text.contains("VOD_URL_SIGNING_KEY"), "{code} {text}");

    let more = [
        signing,
        ("VOD_URL_SIGNING_KEY", "hunter2hunter2hu"),
        ("VOD_COVER__FETCH__HOSTS", "img.example.com, *.aliyuncs.com"),
        ("VOD_COVER__FETCH__ALLOW_NETWORKS", "100.64.0.0/10"),
    ];
    let (code, text) = check(&more);
    assert_eq!(code, 0, "{text}");
    let line = "fetched from img.example.com, *.aliyuncs.com, public addresses and 100.64.0.0/10; \
                signed by type B (decimal), except *.aliyuncs.com";
    assert!(text.contains(line) && !text.contains("hunter2"), "{text}");
}

/// As a small container may be; VOD's own addresses are plain http.
#[test]
fn a_machine_without_certificate_authorities_can_fetch_over_http() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "fetch::a_picture_is_fetched_byte_for_byte"]);
    command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/nowhere");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

const URL_KEY: &str = "aliyunvodexp1234";

async fn signing_account() -> (Simulator, String) {
    let settings =
        sim::Settings { videos: 1, url_key: Some(URL_KEY.to_owned()), ..sim::Settings::default() };
    let simulator = Simulator::start("127.0.0.1:0".parse().unwrap(), settings).await.unwrap();
    let host = simulator.address().to_string();
    (simulator, host)
}

#[tokio::test]
async fn a_signed_url_gets_the_picture_that_a_bare_one_does_not() {
    let (simulator, host) = signing_account().await;
    let url = cover(&simulator.snapshots_of(&simulator.videos()[0])[0]);
    let error = fetcher(&[&host], json!({})).get(&url).await.unwrap_err();
    assert!(matches!(error, Error::Forbidden { status: 403, signed: false, .. }), "{error:?}");

    let signing = json!({"url_signing": {"type": "a", "key_file": "", "hosts": []}});
    let signing = settings(&[&host], signing);
    let fetcher = Fetcher::new(&signing, Some(URL_KEY.into())).unwrap();
    let bytes = fetcher.get(&url).await.unwrap();
    assert!(bytes.starts_with(b"\xff\xd8\xff"), "no JPEG");

    let wrong = Fetcher::new(&signing, Some("another0another0".into())).unwrap();
    let error = wrong.get(&url).await.unwrap_err();
    assert!(matches!(error, Error::Forbidden { signed: true, .. }), "{error:?}");
    let text = chain(&error);
    assert!(!text.contains("auth_key") && !text.contains("another0"), "{text}");
}

#[tokio::test]
async fn a_key_that_was_replaced_in_its_file_is_read_again_after_a_403() {
    let (simulator, host) = signing_account().await;
    let url = cover(&simulator.snapshots_of(&simulator.videos()[0])[0]);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "old0old0old0old0").unwrap();
    let signing = json!({"type": "a", "key_file": file.path(), "hosts": ["127.0.0.1:1", host]});
    let settings = settings(&[&host], json!({"url_signing": signing}));
    // The file wins over the variable.
    let fetcher = Fetcher::new(&settings, Some(URL_KEY.into())).unwrap();
    assert!(matches!(fetcher.get(&url).await, Err(Error::Forbidden { .. })));

    std::fs::write(file.path(), format!("{URL_KEY}\n")).unwrap();
    assert!(fetcher.get(&url).await.is_ok());
}

#[tokio::test]
async fn only_the_hosts_that_ask_for_it_get_a_signature_and_no_redirect_does() {
    let server = Server::start(|path, _| match path.starts_with("/first") {
        true => redirect("/second.jpg"),
        false => answer(200, "picture"),
    })
    .await;
    let host = server.host();
    let of = |kind: &str, hosts: &[&str]| {
        let signing = json!({"url_signing": {"type": kind, "key_file": "", "hosts": hosts}});
        Fetcher::new(&settings(&[&host], signing), Some(URL_KEY.into())).unwrap()
    };
    of("a", &[]).get(&server.url("/first.jpg")).await.unwrap();
    let asked = server.asked();
    assert!(asked[0].starts_with("/first.jpg?auth_key="), "{asked:?}");
    assert_eq!(asked[1], "/second.jpg");

    of("a", &["other.example"]).get(&server.url("/third.jpg")).await.unwrap();
    assert_eq!(server.asked()[2], "/third.jpg");
    of("c", &[&host]).get(&server.url("/fourth.jpg")).await.unwrap();
    let asked = server.asked();
    let parts: Vec<_> = asked[3].split('/').collect();
    assert_eq!((parts.len(), parts[1].len(), parts[3]), (4, 32, "fourth.jpg"), "{asked:?}");
}

/// OSS takes no auth_key; a bucket that is fetched from by its own name is not behind the CDN.
#[tokio::test]
async fn buckets_under_their_own_names_are_not_signed_unless_named() {
    let server = Server::start(|_, _| answer(200, "picture")).await;
    let names = Names::of(&[
        ("b.oss-cn-shanghai.aliyuncs.com", &[&[&server.host()]]),
        ("img.example.com", &[&[&server.host()]]),
    ]);
    let get = async |hosts: &[&str], url: &str| {
        let signing = json!({"url_signing": {"type": "a", "key_file": "", "hosts": hosts}});
        let settings = settings(&["*.aliyuncs.com", "img.example.com"], signing);
        let names = Arc::clone(&names);
        let fetcher = Fetcher::with_names(&settings, Some(URL_KEY.into()), names).unwrap();
        fetcher.get(&cover(url)).await.unwrap();
        server.asked().pop().unwrap().contains("auth_key=")
    };
    let (bucket, cdn) =
        ("http://b.oss-cn-shanghai.aliyuncs.com/a.jpg", "http://img.example.com/a.jpg");
    assert!(!get(&[], bucket).await);
    assert!(get(&[], cdn).await);
    assert!(get(&["*.oss-cn-shanghai.aliyuncs.com"], bucket).await);
}

#[test]
fn a_signing_type_without_its_key_is_a_wrong_configuration() {
    let signing = |file: &str| {
        settings(&["h"], json!({"url_signing": {"type": "b", "key_file": file, "hosts": []}}))
    };
    for key in [None, Some(" \n".into())] {
        let error = Fetcher::new(&signing(""), key).unwrap_err().to_string();
        assert!(error.contains("VOD_URL_SIGNING_KEY"), "{error}");
    }
    let error = Fetcher::new(&signing("/nowhere/key"), Some("k".into())).unwrap_err().to_string();
    assert!(error.contains("/nowhere/key"), "{error}");
    let empty = tempfile::NamedTempFile::new().unwrap();
    assert!(Fetcher::new(&signing(empty.path().to_str().unwrap()), None).is_err());

    for nothing in [
        json!({"hosts": []}),
        json!({"most_bytes": 0}),
        json!({"timeout": "0s"}),
        json!({"connect_timeout": "0s"}),
        json!({"concurrency": 0}),
    ] {
        let name = nothing.as_object().unwrap().keys().next().unwrap().clone();
        let error = Fetcher::new(&settings(&["h"], nothing), None).unwrap_err().to_string();
        assert!(error.contains(&name), "{error}");
    }
}
