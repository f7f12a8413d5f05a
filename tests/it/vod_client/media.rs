//! Videos that come into VOD with a cover from the start.

use serde_json::{Value, json};
use vod_cover::vod::Media;

use super::server::{Server, ok, refuse};
use super::{VIDEO, some_cover, video};

fn everything() -> Media {
    Media {
        title: "a title".into(),
        description: Some("what it shows".into()),
        tags: vec!["one".into(), "two".into()],
        category: Some(78),
        cover: Some(some_cover()),
        template_group: Some("group-1".into()),
        user_data: Some(r#"{"Extend":{"a":1}}"#.into()),
    }
}

fn only_a_title() -> Media {
    Media { title: "a title".into(), ..Media::default() }
}

fn metadata(place: &str, url: &str) -> Value {
    json!([{"Title": "a title", "Description": "what it shows", "Tags": "one,two", "CateId": 78,
        "CoverURL": some_cover().as_str(), place: url}])
}

#[tokio::test]
async fn a_ticket_for_a_video_comes_with_its_id_and_is_never_printed() {
    let server = Server::start(|_, _| {
        ok(json!({"RequestId": "r", "VideoId": VIDEO, "UploadAddress": "e30=",
            "UploadAuth": "topsecret"}))
    })
    .await;
    let client = server.client();
    let created = client.create_upload_video(&everything(), "a.mp4").await.expect("a ticket");
    assert_eq!(
        (created.video.as_str(), &created.reply["UploadAuth"]),
        (VIDEO, &json!("topsecret"))
    );
    assert!(!format!("{created:?}").contains("topsecret"));
    let request = &server.seen()[0];
    for (name, value) in [
        ("Action", "CreateUploadVideo"),
        ("FileName", "a.mp4"),
        ("Title", "a title"),
        ("Description", "what it shows"),
        ("Tags", "one,two"),
        ("CateId", "78"),
        ("CoverURL", some_cover().as_str()),
        ("TemplateGroupId", "group-1"),
        ("UserData", r#"{"Extend":{"a":1}}"#),
    ] {
        assert_eq!(request.query(name), value, "{name}");
    }
    client.create_upload_video(&only_a_title(), "a.mp4").await.expect("a ticket");
    for absent in ["Description", "Tags", "CateId", "CoverURL", "TemplateGroupId", "UserData"] {
        assert!(!server.seen()[1].query.contains_key(absent), "{absent}");
    }
}

#[tokio::test]
async fn a_file_is_fetched_by_its_address_even_if_that_has_a_comma() {
    let server = Server::start(|_, _| {
        ok(json!({"RequestId": "r", "UploadJobs": [{"JobId": "job-1", "SourceURL": "u"}]}))
    })
    .await;
    let pulled = server.client().upload_media_by_url(&everything(), "https://x/a,b.mp4").await;
    assert_eq!(pulled.expect("a job").jobs, ["job-1"]);
    let request = &server.seen()[0];
    assert_eq!(request.query("UploadURLs"), "https://x/a%2Cb.mp4");
    let sent: Value = serde_json::from_str(request.query("UploadMetadatas")).expect("JSON");
    assert_eq!(sent, metadata("SourceURL", "https://x/a%2Cb.mp4"));
    assert_eq!(request.query("TemplateGroupId"), "group-1");
    assert_eq!(request.query("UserData"), r#"{"Extend":{"a":1}}"#);
}

#[tokio::test]
async fn a_stored_file_is_registered_or_named_as_failed() {
    let server = Server::start(|_, before| match before {
        0 => ok(json!({"RequestId": "r", "FailedFileURLs": [], "RegisteredMediaList":
            [{"MediaId": VIDEO, "FileURL": "u", "NewRegister": true}]})),
        _ => ok(json!({"RequestId": "r", "FailedFileURLs": ["u"], "RegisteredMediaList": []})),
    })
    .await;
    let client = server.client();
    let registered = client.register_media(&everything(), "u").await.expect("an answer");
    assert_eq!((registered.videos, registered.failed.len()), (vec![video(VIDEO)], 0));
    let sent = server.seen()[0].query("RegisterMetadatas").to_owned();
    assert_eq!(serde_json::from_str::<Value>(&sent).expect("JSON"), metadata("FileURL", "u"));
    let failed = client.register_media(&everything(), "u").await.expect("an answer");
    assert_eq!((failed.videos.len(), failed.failed), (0, vec!["u".to_owned()]));
}

#[tokio::test]
async fn a_video_that_may_have_been_made_is_not_made_again() {
    for answer in [|| refuse(500, "InternalError"), || ok(json!({"RequestId": "r"}))] {
        let server = Server::start(move |_, _| answer()).await;
        let (client, media) = (server.client(), only_a_title());
        let error = client.create_upload_video(&media, "a.mp4").await.expect_err("no id");
        assert!(error.ambiguous(), "{error}");
        let error = client.upload_media_by_url(&media, "https://x/a.mp4").await.expect_err("no id");
        assert!(error.ambiguous(), "{error}");
        assert_eq!(server.seen().len(), 2);
    }
    let server = Server::start(|_, _| refuse(500, "InternalError")).await;
    let error = server.client().register_media(&only_a_title(), "u").await.expect_err("refused");
    assert!(error.ambiguous(), "{error}");
    assert_eq!(server.seen().len(), 1);
}
