//! The VOD client against a server that speaks from the documentation.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use vod_cover::cover::{CoverUrl, CurrentCover, ImageFormat};
use vod_cover::error::{Class, Dependency, Failure};
use vod_cover::event::VideoId;
use vod_cover::picture::Format;
use vod_cover::vod::Error;

mod account;
mod batch;
mod credentials;
mod failures;
mod listing;
mod media;
mod quota;
mod server;
mod smart;
mod updates;

use server::{Answer, Server, client, done, ok, refuse, settings};

const VIDEO: &str = "2deda93265312baf9b0ed810d0000001";

fn video(text: &str) -> VideoId {
    VideoId::new(text).expect("a VideoId")
}

fn cover(text: &str) -> CoverUrl {
    CoverUrl::new(text).expect("a cover")
}

fn some_cover() -> CoverUrl {
    cover("http://vod.example.com/covers/a b/封面-00002.jpg".replace(' ', "%20").as_str())
}

#[tokio::test]
async fn an_update_is_a_signed_post_with_everything_in_the_query() {
    let server = Server::start(|_, _| done()).await;
    server.client().update_video_info(&video(VIDEO), &some_cover()).await.expect("updated");

    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    let request = &seen[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/"));
    assert_eq!(request.body, "");
    for (name, value) in [
        ("Action", "UpdateVideoInfo"),
        ("Version", "2017-03-21"),
        ("Format", "JSON"),
        ("VideoId", VIDEO),
        ("CoverURL", some_cover().as_str()),
        ("AccessKeyId", "testid"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureVersion", "1.0"),
    ] {
        assert_eq!(request.query(name), value, "{name}");
    }
    assert_eq!(request.query("Signature").len(), 28);
    assert_eq!(request.query("Timestamp").len(), "2024-05-01T08:00:00Z".len());
    // Nothing else is sent, so nothing else of the video changes.
    assert_eq!(request.query.len(), 11, "{:?}", request.query.keys());
    assert!(request.header("user-agent").starts_with("vod-cover/"));
}

#[tokio::test]
async fn the_newer_scheme_signs_by_header() {
    let server = Server::start(|_, _| done()).await;
    let mut settings = settings(&server.url);
    settings.signature = vod_cover::vod::Signature::Acs3HmacSha256;
    client(&settings).update_video_info(&video(VIDEO), &some_cover()).await.expect("updated");

    let request = &server.seen()[0];
    let names: Vec<_> = request.query.keys().map(String::as_str).collect();
    assert_eq!(names, ["CoverURL", "VideoId"]);
    assert_eq!(request.header("x-acs-action"), "UpdateVideoInfo");
    assert_eq!(request.header("x-acs-version"), "2017-03-21");
    assert_eq!(request.header("host"), server.url.trim_start_matches("http://"));
    let authorization = request.header("authorization");
    assert!(
        authorization.starts_with("ACS3-HMAC-SHA256 Credential=testid,SignedHeaders=host;x-acs-"),
        "{authorization}"
    );
}

#[tokio::test]
async fn a_partial_failure_of_a_batch_comes_to_the_videos_concerned() {
    let server = Server::start(|_, _| {
        ok(json!({"RequestId": "r", "NonExistVideoIds": ["b"], "ForbiddenVideoIds": ["c"]}))
    })
    .await;
    let updates = ["a", "b", "c"].map(|id| (video(id), some_cover()));
    let updated = server.client().update_video_infos(&updates).await.expect("an answer");

    assert!(updated.of(&video("a")).is_ok());
    let failure = |id| Failure::from(updated.of(&video(id)).expect_err("failed"));
    assert_eq!(failure("b").reason.as_str(), "vod.InvalidVideo.NotFound");
    assert_eq!(failure("c").reason.as_str(), "vod.forbidden-video");
    assert_eq!((failure("b").class, failure("c").class), (Class::Permanent, Class::Permanent));

    let content = server.seen()[0].query("UpdateContent").to_owned();
    let content: serde_json::Value = serde_json::from_str(&content).expect("JSON in a parameter");
    let item = |id| json!({"VideoId": id, "CoverURL": some_cover().as_str()});
    assert_eq!(content, json!([item("a"), item("b"), item("c")]));
}

#[tokio::test]
async fn a_list_too_long_for_one_query_is_sent_in_parts_and_answered_as_one() {
    let server = Server::start(|request, _| {
        let content = request.query("UpdateContent");
        let items: Vec<serde_json::Value> = serde_json::from_str(content).expect("a list");
        ok(json!({"RequestId": "r", "NonExistVideoIds": [items[0]["VideoId"]]}))
    })
    .await;
    let long = cover(&format!("http://vod.example.com/{}.jpg", "封".repeat(300)));
    let updates: Vec<_> = (0..20).map(|n| (video(&format!("v{n}")), long.clone())).collect();
    let updated = server.client().update_video_infos(&updates).await.expect("an answer");

    let parts = server.seen();
    assert!(parts.len() > 2 && updated.non_exist.len() == parts.len());
    for part in parts {
        assert!(part.query("UpdateContent").len() < 8_000);
    }
    let too_many = vec![updates[0].clone(); 21];
    let error = server.client().update_video_infos(&too_many).await.expect_err("too many");
    assert!(matches!(error, Error::TooMany { count: 21, .. }));
}

#[tokio::test]
async fn get_video_info_reads_the_documented_sample() {
    let server = Server::start(|_, _| {
        ok(json!({"RequestId": "25818875-5F78-4A13-BEF6-D7393642CA58", "Video": {
            "VideoId": VIDEO, "Title": "Title", "Tags": "tag1, tag2", "Status": "Normal",
            "Size": "10897890", "Duration": "135.6", "CateId": 781111, "CateName": "news",
            "CreationTime": "2017-11-14T09:15:50Z", "ModificationTime": "2017-11-14T09:16:50Z",
            "CoverURL": "https://example.com/covers/x.jpg?auth_key=1-0-0-a",
            "Snapshots": {"Snapshot": ["http://example.com/image01.jpg?auth_key=2"]},
            "AppId": "app-1000000", "Whatever": {"comes": "next"}}}))
    })
    .await;
    let info = server.client().get_video_info(&video(VIDEO)).await.expect("a video");
    assert_eq!(info.current().cover, CurrentCover::Is(cover("https://example.com/covers/x.jpg")));
    assert_eq!(info.snapshots, ["http://example.com/image01.jpg?auth_key=2"]);
    assert_eq!(info.tags, ["tag1", "tag2"]);
    assert_eq!((info.category_id.as_deref(), info.duration), (Some("781111"), Some(135.6)));
    assert_eq!(info.modified.map(|at| at.to_string()).as_deref(), Some("2017-11-14T09:16:50Z"));
}

#[tokio::test]
async fn an_answer_that_says_nothing_of_the_cover_is_no_proof_that_there_is_none() {
    for reply in [
        json!({"RequestId": "r"}),
        json!({"RequestId": "r", "Video": {"VideoId": "another"}}),
        json!({"RequestId": "r", "Video": {"VideoId": VIDEO, "CoverURL": {"is": "odd"}}}),
        json!({"Video": {"VideoId": VIDEO}}),
    ] {
        let server = Server::start(move |_, _| ok(reply.clone())).await;
        let error = server.client().get_video_info(&video(VIDEO)).await.expect_err("no answer");
        assert!(matches!(error, Error::Reply { .. }), "{error}");
        assert_eq!(error.class(), Class::Transient);
    }
}

#[tokio::test]
async fn get_video_infos_answers_for_each_video() {
    let server = Server::start(|_, _| {
        ok(json!({"RequestId": "r", "NonExistVideoIds": ["gone"], "VideoList": [
            {"VideoId": "a", "CoverURL": "http://x/a.jpg", "Snapshots": ["http://x/1.jpg"]},
            {"VideoId": "b", "CoverURL": "", "Size": 7},
            {"VideoId": "odd", "CoverURL": ["?"]}]}))
    })
    .await;
    let ids = ["a", "b", "gone", "odd"].map(video);
    let infos = server.client().get_video_infos(&ids).await.expect("an answer");
    assert_eq!(server.seen()[0].query("VideoIds"), "a,b,gone,odd");
    let of = |id| infos.of(&video(id));
    assert_eq!(of("a").expect("a").current().cover, CurrentCover::Is(cover("http://x/a.jpg")));
    assert_eq!(of("b").expect("b").current().cover, CurrentCover::None);
    assert!(matches!(of("gone"), Err(Error::NoSuchVideo { .. })));
    assert!(matches!(of("odd"), Err(Error::Reply { .. })));
}

#[tokio::test]
async fn that_no_video_of_several_exists_is_an_answer() {
    let server = Server::start(|_, _| refuse(404, "InvalidVideo.NotFound")).await;
    let infos = server.client().get_video_infos(&["a", "b"].map(video)).await.expect("an answer");
    assert_eq!(infos.non_exist, ["a", "b"]);
}

#[tokio::test]
async fn list_snapshots_reads_a_page_and_takes_no_set_for_an_empty_one() {
    let server = Server::start(|_, before| match before {
        0 => ok(json!({"RequestId": "r", "MediaSnapshot": {"Total": "3", "JobId": "j",
            "CreationTime": "2017-11-16T09:39:58Z",
            "Regular": "http://test.com/sample{SnapshotCount}.jpg",
            "Snapshots": {"Snapshot": [{"Index": 1, "Url": "http://test.com/sample00001.jpg"}]}}})),
        _ => refuse(404, "NoSuchResource"),
    })
    .await;
    let client = server.client();
    let id = video(VIDEO);
    let list = || client.list_snapshots(&id, "CoverSnapshot", 1, 20);
    let set = list().await.expect("a page");
    assert_eq!((set.total, set.snapshots[0].number), (3, Some(1)));
    assert_eq!(set.regular.as_deref(), Some("http://test.com/sample{SnapshotCount}.jpg"));
    assert_eq!(list().await.expect("no set").total, 0);
}

#[tokio::test]
async fn smart_thumbnails_lose_their_signature_and_unknown_formats_are_skipped() {
    let server = Server::start(|_, _| {
        let image = |format, score| {
            json!({"AIImageInfoId": "i", "VideoId": VIDEO, "JobId": "j", "Format": format,
                "FileURL": "http://example.com/image/ai/x-00001.gif?auth_key=9-0-0-f",
                "Score": score, "Version": "1", "CreationTime": "2021-01-01T00:00:00Z"})
        };
        ok(json!({"RequestId": "r", "AIImageInfoList":
            [image("gif", "5.035636554444242"), image("webp", "6"), image("png", "n/a")]}))
    })
    .await;
    let images = server.client().list_ai_image_info(&video(VIDEO)).await.expect("a list");
    assert_eq!(images.len(), 3);
    let usable: Vec<_> = images.iter().filter_map(|image| image.intelligent()).collect();
    assert_eq!(usable.len(), 1);
    assert_eq!(usable[0].url, cover("http://example.com/image/ai/x-00001.gif"));
    assert_eq!((usable[0].format, usable[0].score), (ImageFormat::Gif, 5.035636554444242));
    assert_eq!(server.seen()[0].query("Action"), "ListAIImageInfo");
}

#[tokio::test]
async fn the_probe_changes_nothing_and_takes_an_unknown_video_for_success() {
    let server = Server::start(|request, _| match request.query("Action") {
        "GetVideoInfo" => refuse(404, "InvalidVideo.NotFound"),
        _ => refuse(403, "Forbidden.RAM"),
    })
    .await;
    let results = server.client().probe(false).await;
    let names: Vec<_> = results.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["GetVideoInfo", "UpdateVideoInfo"]);
    assert!(results[0].1.is_ok());
    let error = results[1].1.as_ref().expect_err("no permission");
    assert!(error.to_string().contains("vod:UpdateVideoInfo"), "{error}");
    for request in server.seen() {
        assert_eq!(request.query("VideoId"), "00000000000000000000000000000000");
        assert!(!request.query.contains_key("CoverURL"));
    }
}

#[tokio::test]
async fn a_forbidden_video_is_told_apart_from_a_missing_permission() {
    for (batch_is_allowed, class) in [(true, Class::Permanent), (false, Class::Misconfigured)] {
        let server = Server::start(move |request, _| match request.query("Action") {
            "UpdateVideoInfos" if batch_is_allowed => {
                ok(json!({"RequestId": "r", "ForbiddenVideoIds": [VIDEO]}))
            }
            _ => refuse(403, "Forbidden"),
        })
        .await;
        let result = server.client().update_video_info(&video(VIDEO), &some_cover()).await;
        let failure = Failure::from(result.expect_err("forbidden"));
        assert_eq!(failure.class, class);
        let outage = (!batch_is_allowed).then_some(Dependency::Vod);
        assert_eq!(failure.outage, outage);
    }
}

#[tokio::test]
async fn a_throttled_operation_is_tried_once_more_and_then_held_back() {
    let throttle = |millis: &str| {
        let Answer::Now(status, _, body) = refuse(400, "Throttling.User") else { unreachable!() };
        Answer::Now(status, vec![("x-acs-retry-after", millis.to_owned())], body)
    };
    let server = Server::start(move |_, before| match before {
        0 => throttle("20"),
        1 => done(),
        _ => throttle("60000"),
    })
    .await;
    let client = server.client();
    let look = || async { client.list_ai_image_info(&video(VIDEO)).await };
    look().await.expect("the second attempt");
    assert_eq!(server.seen().len(), 2);

    let class = look().await.expect_err("throttled").class();
    assert_eq!(class, Class::Deferred { after: Duration::from_secs(60) });
    assert_eq!(server.seen().len(), 3);

    // The server is left alone now.
    let error = look().await.expect_err("held");
    assert!(matches!(&error, Error::Paced { .. }), "{error}");
    assert!(matches!(error.class(), Class::Deferred { after } if after.as_secs() > 50));
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_ticket_for_an_upload_is_read_also_as_the_oldest_sample_wraps_it() {
    let server = Server::start(|_, number| {
        let encode = |value: serde_json::Value| STANDARD.encode(value.to_string());
        let answer = json!({
            "RequestId": "25818875-5F78-4AF6-D7393642CA58****",
            "ImageId": "93ab850b4f6f44eab54b6e91d24d****",
            "ImageURL": "http://example.aliyundoc.com/cover/2017-34DB-4F4C-9373-003AA060****.png",
            "FileURL": "http://outin.oss-cn-shanghai.aliyuncs.com/cover/2017-34DB.png",
            "UploadAddress": encode(json!({"Endpoint": "https://oss-cn-shanghai.aliyuncs.com",
                "Bucket": "outin-1", "FileName": "cover/2017-34DB.png"})),
            "UploadAuth": encode(json!({"AccessKeyId": "STS.x", "AccessKeySecret": "s",
                "SecurityToken": "t", "Expiration": "3600"})),
        });
        ok(if number == 0 { answer } else { json!({ "CreateUploadImageResponse": answer }) })
    })
    .await;
    let client = server.client();
    for _ in 0..2 {
        let ticket = client.create_upload_image(Format::Png, "Cover of 1").await.expect("read");
        assert_eq!(
            ticket.image.as_str(),
            "http://example.aliyundoc.com/cover/2017-34DB-4F4C-9373-003AA060****.png"
        );
    }
    let request = &server.seen()[0];
    for (name, value) in [("ImageType", "cover"), ("ImageExt", "png"), ("Title", "Cover of 1")] {
        assert_eq!(request.query(name), value, "{name}");
    }
}
