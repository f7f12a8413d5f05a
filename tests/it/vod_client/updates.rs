//! Covers that are set together: who leaves with whom, and whose failure is whose. Those that come in one
//! breath of a runtime of one thread leave together.

use futures_util::future::join_all;
use serde_json::{Value, json};
use vod_cover::cover::CoverUrl;
use vod_cover::error::Class;
use vod_cover::vod::{Client, Error};

use super::server::{Answer, Seen, Server, ok, refuse};
use super::video;

/// The videos of a call, in its order.
fn named(request: &Seen) -> Vec<String> {
    match request.query("Action") {
        "UpdateVideoInfo" => vec![request.query("VideoId").to_owned()],
        _ => {
            let items: Value = serde_json::from_str(request.query("UpdateContent")).expect("JSON");
            let id = |item: &Value| item["VideoId"].as_str().expect("VideoId").to_owned();
            items.as_array().expect("a list").iter().map(id).collect()
        }
    }
}

fn vod(request: &Seen) -> Answer {
    let of = |kind: &str| {
        let mut ids = named(request);
        ids.retain(|id| id.starts_with(kind));
        ids
    };
    match (request.query("Action"), request.query("VideoId")) {
        ("UpdateVideoInfo", "gone") => refuse(404, "InvalidVideo.NotFound"),
        ("UpdateVideoInfo", _) => ok(json!({"RequestId": "r"})),
        _ => ok(json!({
            "RequestId": "r", "NonExistVideoIds": of("gone"), "ForbiddenVideoIds": of("foreign"),
        })),
    }
}

async fn set(client: &Client, ids: &[&str]) -> Vec<Result<(), Error>> {
    let set = async |id: &&str| {
        let cover = CoverUrl::new(&format!("http://x/{id}.jpg")).expect("a cover");
        client.set_cover(&video(id), &cover).await
    };
    join_all(ids.iter().map(set)).await
}

fn calls(server: &Server) -> Vec<(String, String)> {
    let call = |seen: &Seen| (seen.query("Action").to_owned(), named(seen).join(","));
    server.seen().iter().map(call).collect()
}

fn call(operation: &str, videos: &str) -> (String, String) {
    (operation.to_owned(), videos.to_owned())
}

#[tokio::test]
async fn a_lone_cover_is_set_at_once_by_itself() {
    let server = Server::start(|request, _| vod(request)).await;
    let client = server.client();
    for id in ["v1", "v2"] {
        assert!(set(&client, &[id]).await[0].is_ok());
    }
    let one = |id| call("UpdateVideoInfo", id);
    assert_eq!(calls(&server), [one("v1"), one("v2")]);
}

#[tokio::test]
async fn covers_that_are_set_together_have_an_answer_each() {
    let server = Server::start(|request, _| vod(request)).await;
    let answers = set(&server.client(), &["v1", "gone", "foreign", "v2"]).await;
    assert_eq!(calls(&server), [call("UpdateVideoInfos", "v1,gone,foreign,v2")]);
    assert!(answers[0].is_ok() && answers[3].is_ok());
    assert!(matches!(answers[1], Err(Error::NoSuchVideo { .. })));
    assert!(matches!(answers[2], Err(Error::ForbiddenVideo { .. })));
}

#[tokio::test]
async fn no_call_sets_more_than_20_covers() {
    let server = Server::start(|request, _| vod(request)).await;
    let ids: Vec<_> = (0..45).map(|number| format!("v{number}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    assert!(set(&server.client(), &ids).await.iter().all(Result::is_ok));
    let sizes = calls(&server).iter().map(|(_, ids)| ids.split(',').count()).collect::<Vec<_>>();
    assert!(sizes.iter().all(|size| *size <= 20) && sizes.contains(&20), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 45);
}

#[tokio::test]
async fn two_covers_of_one_video_are_set_one_after_the_other() {
    let server = Server::start(|request, _| vod(request)).await;
    assert!(set(&server.client(), &["v1", "v1"]).await.iter().all(Result::is_ok));
    assert_eq!(calls(&server), [call("UpdateVideoInfo", "v1"), call("UpdateVideoInfo", "v1")]);
}

#[tokio::test]
async fn a_call_that_is_refused_as_a_whole_is_split_to_find_the_one_who_spoils_it() {
    let server = Server::start(|request, _| match named(request).iter().any(|id| id == "bad") {
        true => refuse(400, "InvalidParameter"),
        false => vod(request),
    })
    .await;
    let ids = ["v1", "v2", "v3", "bad", "v5", "v6", "v7", "v8"];
    for (id, answer) in ids.iter().zip(set(&server.client(), &ids).await) {
        match answer {
            Ok(()) => assert_ne!(*id, "bad"),
            Err(error) => assert_eq!((*id, error.class()), ("bad", Class::Permanent)),
        }
    }
    // Halved thrice: 8, then 4 and 4, 2 and 2, 1 and 1.
    assert_eq!(server.seen().len(), 7);
}

#[tokio::test]
async fn a_key_that_may_set_one_cover_only_sets_them_one_by_one_from_then_on() {
    let server = Server::start(|request, _| match request.query("Action") {
        "UpdateVideoInfos" => refuse(403, "Forbidden.RAM"),
        _ => vod(request),
    })
    .await;
    let client = server.client();
    assert!(set(&client, &["v1", "v2", "v3"]).await.iter().all(Result::is_ok));
    assert!(set(&client, &["v4", "v5"]).await.iter().all(Result::is_ok));
    let several = calls(&server).into_iter().filter(|(operation, _)| operation.ends_with("Infos"));
    assert_eq!(several.count(), 1);
}

#[tokio::test]
async fn a_key_that_may_set_no_cover_at_all_costs_few_calls_and_blames_itself() {
    let server = Server::start(|_, _| refuse(403, "Forbidden.RAM")).await;
    let ids: Vec<_> = (0..20).map(|number| format!("v{number}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    for answer in set(&server.client(), &ids).await {
        assert_eq!(answer.expect_err("refused").class(), Class::Misconfigured);
    }
    assert!(server.seen().len() <= 3, "{:?}", calls(&server));
}

#[tokio::test]
async fn what_may_have_happened_to_all_is_said_to_all_and_not_repeated() {
    let server = Server::start(|_, _| refuse(500, "InternalError")).await;
    for answer in set(&server.client(), &["v1", "v2", "v3"]).await {
        let error = answer.expect_err("failed");
        assert!(error.ambiguous() && error.class() == Class::Transient);
    }
    assert_eq!(server.seen().len(), 1);
}
