//! What the client does about failures: what it repeats, what it reports.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use vod_cover::error::{Class, Dependency, Failure};
use vod_cover::vod::Error;

use super::server::{Answer, Directory, Server, client, done, ok, refuse, settings, text};
use super::{VIDEO, some_cover, video};

async fn update(client: &vod_cover::vod::Client) -> Result<(), Error> {
    client.update_video_info(&video(VIDEO), &some_cover()).await
}

/// A call that changes nothing.
async fn look(client: &vod_cover::vod::Client) -> Result<(), Error> {
    client.list_ai_image_info(&video(VIDEO)).await.map(drop)
}

#[tokio::test]
async fn a_blip_is_repeated_with_a_fresh_nonce() {
    let server = Server::start(|_, before| match before {
        0 => refuse(500, "InternalError"),
        1 => refuse(400, "SignatureNonceUsed"),
        _ => done(),
    })
    .await;
    look(&server.client()).await.expect("the third attempt");
    let seen = server.seen();
    let different = |name| seen.iter().map(|r| r.query(name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!((seen.len(), different("SignatureNonce").len()), (3, 3));
    assert_eq!(different("Signature").len(), 3);
}

#[tokio::test]
async fn repetitions_have_an_end_and_a_proxys_page_is_transient() {
    let server = Server::start(|_, _| text(502, "<html>Bad Gateway</html>")).await;
    let failure = Failure::from(look(&server.client()).await.expect_err("502"));
    assert_eq!(failure.class, Class::Transient);
    assert_eq!(failure.reason.as_str(), "vod.http.502");
    assert_eq!(failure.outage, None);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn what_cannot_work_is_not_repeated() {
    for (code, status) in [
        ("InvalidVideo.NotFound", 404),
        ("InvalidParameter", 400),
        ("Forbidden.IllegalStatus", 400),
        ("OperationDenied.Suspended", 403),
    ] {
        let server = Server::start(move |_, _| refuse(status, code)).await;
        let failure = Failure::from(update(&server.client()).await.expect_err(code));
        assert_eq!(failure.reason.as_str(), format!("vod.{code}"));
        assert_eq!(server.seen().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_service_that_is_down_is_an_outage() {
    let server = Server::start(|_, _| refuse(503, "ServiceUnAvailable")).await;
    let failure = Failure::from(update(&server.client()).await.expect_err("503"));
    assert_eq!((failure.class, failure.outage), (Class::Transient, Some(Dependency::Vod)));
}

#[tokio::test]
async fn a_refused_connection_is_an_outage_and_had_no_effect() {
    // A port that no test server can be given.
    let error = update(&client(&settings("http://127.0.0.1:9"))).await.expect_err("refused");
    assert!(!error.ambiguous());
    let failure = Failure::from(error);
    assert_eq!(failure.reason.as_str(), "vod.connect");
    assert_eq!((failure.class, failure.outage), (Class::Transient, Some(Dependency::Vod)));
    // The query of the URL holds the signature.
    assert!(!failure.to_string().contains("Signature"), "{failure}");
}

#[tokio::test]
async fn a_lost_connection_may_have_had_its_effect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let task = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            // Reads the request, and hangs up instead of answering.
            let _ = connection.read(&mut [0; 4096]).await;
        }
    });
    let error = update(&client(&settings(&url))).await.expect_err("lost");
    task.abort();
    assert!(error.ambiguous(), "{error:?}");
    let failure = Failure::from(error);
    assert_eq!((failure.class, failure.outage), (Class::Transient, None));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_timeout_and_is_left_to_the_queue() {
    let server = Server::start(|_, _| Answer::Never).await;
    let mut settings = settings(&server.url);
    settings.timeout = Duration::from_millis(200);
    let error = update(&client(&settings)).await.expect_err("no answer");
    assert!(error.ambiguous());
    assert_eq!(error.reason().as_str(), "vod.timeout");
    assert_eq!(server.seen().len(), 1);
}

/// A person may change the cover in between: whoever tries again has to look first.
#[tokio::test]
async fn a_write_that_may_have_happened_is_not_repeated_blindly() {
    let server = Server::start(|_, _| refuse(500, "InternalError")).await;
    let error = update(&server.client()).await.expect_err("refused");
    assert_eq!(error.class(), Class::Transient);
    assert!(error.ambiguous());
    assert_eq!(server.seen().len(), 1);
}

/// Nor is one that would have to wait for its turn.
#[tokio::test]
async fn a_throttled_write_is_left_to_the_queue() {
    let server = Server::start(|_, _| refuse(400, "Throttling.User")).await;
    let error = update(&server.client()).await.expect_err("throttled");
    assert!(matches!(error.class(), Class::Deferred { .. }));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn success_is_only_what_vod_itself_says() {
    for answer in [
        || text(200, "<html>Please log in</html>"),
        || ok(json!({"ok": true})),
        || text(200, &format!(r#"{{"RequestId":"r","Pad":"{}"}}"#, "x".repeat(1 << 20))),
        || text(204, ""),
    ] {
        let server = Server::start(move |_, _| answer()).await;
        let error = update(&server.client()).await.expect_err("not VOD");
        assert!(matches!(error, Error::Reply { .. }) && error.ambiguous(), "{error}");
        assert_eq!(error.class(), Class::Transient);
    }
}

#[tokio::test]
async fn an_error_with_status_200_is_an_error() {
    let server = Server::start(|_, _| refuse(200, "InvalidParameter")).await;
    let error = update(&server.client()).await.expect_err("refused");
    assert_eq!(error.reason().as_str(), "vod.InvalidParameter");
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let other = Server::start(|_, _| done()).await;
    let location = other.url.clone();
    let server = Server::start(move |_, _| {
        Answer::Now(302, vec![("location", location.clone())], String::new())
    })
    .await;
    let error = update(&server.client()).await.expect_err("redirected");
    assert_eq!(error.class(), Class::Misconfigured);
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_clock_that_is_off_is_signed_for_once_more_and_then_reported() {
    let server = Server::start(|_, _| refuse(400, "InvalidTimeStamp.Expired")).await;
    let failure = Failure::from(update(&server.client()).await.expect_err("clock"));
    assert_eq!(server.seen().len(), 2);
    assert_eq!(failure.class, Class::Misconfigured);
    assert!(failure.to_string().contains("clock"), "{failure}");
}

#[tokio::test]
async fn a_wrong_secret_is_reported_once_and_without_what_was_signed() {
    let server = Server::start(|_, _| {
        let message = "Specified signature is not matched with our calculation. server string to \
                       sign is:POST&%2F&AccessKeyId%3Dtestid%26SecurityToken%3Dtopsecret";
        let code = "SignatureDoesNotMatch";
        let body = json!({"RequestId": "r", "Code": code, "Message": message});
        Answer::Now(400, Vec::new(), body.to_string())
    })
    .await;
    let failure = Failure::from(update(&server.client()).await.expect_err("wrong secret"));
    assert_eq!(server.seen().len(), 1);
    assert_eq!((failure.class, failure.outage), (Class::Misconfigured, Some(Dependency::Vod)));
    let said = failure.to_string();
    assert!(said.contains("not matched") && !said.contains("topsecret"), "{said}");
}

#[tokio::test]
async fn a_key_that_is_replaced_in_its_files_is_picked_up_by_the_call_that_was_refused() {
    let directory = Directory::new();
    let id = directory.write("id", "oldid\n");
    let mut settings = settings("http://127.0.0.1:9");
    settings.credentials.access_key_secret_file = directory.write("secret", "s\n").into();
    settings.credentials.access_key_id_file = id.clone().into();
    let server = Server::start(move |request, _| match request.query("AccessKeyId") {
        "newid" => done(),
        _ => {
            std::fs::write(&id, "newid\n").expect("a new key");
            refuse(404, "InvalidAccessKeyId.NotFound")
        }
    })
    .await;
    settings.endpoint = server.url.clone();
    update(&client(&settings)).await.expect("the new key");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn without_a_key_nothing_is_sent_and_the_error_says_what_to_set() {
    let server = Server::start(|_, _| done()).await;
    let environment =
        vod_cover::vod::Environment::of([("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")]);
    let client = vod_cover::vod::Client::with_environment(&settings(&server.url), environment);
    let failure = Failure::from(update(&client.expect("a client")).await.expect_err("no key"));
    assert!(server.seen().is_empty());
    assert_eq!((failure.class, failure.outage), (Class::Misconfigured, Some(Dependency::Vod)));
    let said = failure.to_string();
    for part in ["ALIBABA_CLOUD_ACCESS_KEY_ID", "access_key_id_file", "credentials.ini", "tried"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}
