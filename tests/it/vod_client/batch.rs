//! Look-ups that are joined into calls for several videos. Those that come in one breath of a runtime of
//! one thread leave together, so these tests know what is in a batch.

use futures_util::future::join_all;
use serde_json::{Value, json};
use vod_cover::error::Class;
use vod_cover::vod::{Client, Error, VideoInfo};

use super::server::{Answer, Seen, Server, ok, refuse};
use super::video;

/// Knows the videos that begin with `v`; `odd` has a cover that cannot be read, and of `foreign` it says
/// nothing in a list.
fn vod(request: &Seen) -> Answer {
    let known = |id: &str| json!({"VideoId": id, "CoverURL": format!("http://x/{id}.jpg")});
    if request.query("Action") == "GetVideoInfo" {
        return match request.query("VideoId") {
            "foreign" => refuse(403, "Forbidden"),
            "odd" => ok(json!({"RequestId": "r", "Video": {"VideoId": "odd", "CoverURL": [1]}})),
            id if id.starts_with('v') => ok(json!({"RequestId": "r", "Video": known(id)})),
            _ => refuse(404, "InvalidVideo.NotFound"),
        };
    }
    let (mut list, mut unknown): (Vec<Value>, Vec<&str>) = Default::default();
    for id in request.query("VideoIds").split(',') {
        match id {
            "foreign" => {}
            "odd" => list.push(json!({"VideoId": "odd", "CoverURL": [1]})),
            id if id.starts_with('v') => list.push(known(id)),
            id => unknown.push(id),
        }
    }
    ok(json!({"RequestId": "r", "VideoList": list, "NonExistVideoIds": unknown}))
}

async fn look_up(client: &Client, ids: &[&str]) -> Vec<Result<VideoInfo, Error>> {
    let ids: Vec<_> = ids.iter().map(|id| video(id)).collect();
    join_all(ids.iter().map(|id| client.look_up(id))).await
}

fn calls(server: &Server) -> Vec<(String, String)> {
    let call = |seen: &Seen| {
        let videos = seen.query("VideoId").to_owned() + seen.query("VideoIds");
        (seen.query("Action").to_owned(), videos)
    };
    server.seen().iter().map(call).collect()
}

#[tokio::test]
async fn a_lone_look_up_is_a_call_for_one_video() {
    let server = Server::start(|request, _| vod(request)).await;
    let client = server.client();
    for id in ["v1", "v2"] {
        let info = client.look_up(&video(id)).await.expect("a video");
        assert_eq!(info.cover, Some(format!("http://x/{id}.jpg")));
    }
    let one = |id: &str| ("GetVideoInfo".to_owned(), id.to_owned());
    assert_eq!(calls(&server), [one("v1"), one("v2")]);
}

#[tokio::test]
async fn look_ups_that_leave_together_have_an_answer_each() {
    let server = Server::start(|request, _| vod(request)).await;
    let answers = look_up(&server.client(), &["v1", "gone", "v2", "v1", "gone"]).await;
    assert_eq!(calls(&server), [("GetVideoInfos".to_owned(), "gone,v1,v2".to_owned())]);
    for (at, id) in [(0, "v1"), (2, "v2"), (3, "v1")] {
        let info = answers[at].as_ref().expect("a video");
        assert_eq!(info.cover, Some(format!("http://x/{id}.jpg")));
    }
    for at in [1, 4] {
        assert!(matches!(answers[at], Err(Error::NoSuchVideo { .. })));
    }
}

#[tokio::test]
async fn no_call_is_for_more_than_20_videos() {
    let server = Server::start(|request, _| vod(request)).await;
    let ids: Vec<_> = (0..45).map(|number| format!("v{number}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let answers = look_up(&server.client(), &ids).await;
    for (id, answer) in ids.iter().zip(&answers) {
        assert_eq!(answer.as_ref().expect("a video").video, video(id));
    }
    let mut sizes: Vec<_> = calls(&server).iter().map(|(_, ids)| ids.split(',').count()).collect();
    sizes.sort();
    assert_eq!(sizes, [5, 20, 20]);
}

#[tokio::test]
async fn a_video_that_the_list_is_silent_about_is_asked_for_by_itself() {
    let server = Server::start(|request, _| vod(request)).await;
    let answers = look_up(&server.client(), &["v1", "foreign", "odd"]).await;
    assert!(answers[0].is_ok());
    assert!(matches!(answers[1], Err(Error::ForbiddenVideo { .. })), "{:?}", answers[1]);
    let odd = answers[2].as_ref().expect_err("unreadable");
    assert_eq!(odd.class(), Class::Transient);
}

#[tokio::test]
async fn a_batch_that_is_refused_as_a_whole_fails_only_the_one_who_spoils_it() {
    for (status, code) in [(400, "InvalidParameter"), (403, "Forbidden")] {
        let server = Server::start(move |request, _| match request.query("Action") {
            "GetVideoInfos" => refuse(status, code),
            _ if request.query("VideoId") == "bad" => refuse(400, "InvalidVideoId"),
            _ => vod(request),
        })
        .await;
        let answers = look_up(&server.client(), &["v1", "bad", "v2"]).await;
        assert!(answers[0].is_ok() && answers[2].is_ok());
        let error = answers[1].as_ref().expect_err("refused");
        assert_eq!(error.reason().as_str(), "vod.InvalidVideoId");
    }
}

/// One error code says so of all of them, and no page says that it could not mean one of them.
#[tokio::test]
async fn that_none_of_several_exists_is_not_believed_unasked() {
    let server = Server::start(|request, _| match request.query("Action") {
        "GetVideoInfos" => refuse(404, "InvalidVideo.NotFound"),
        _ => vod(request),
    })
    .await;
    let answers = look_up(&server.client(), &["v1", "gone"]).await;
    assert!(answers[0].is_ok());
    let gone = answers[1].as_ref().expect_err("gone");
    assert_eq!(gone.reason().as_str(), "vod.InvalidVideo.NotFound");
}

#[tokio::test]
async fn what_passes_fails_everybody_alike_and_is_not_asked_one_by_one() {
    let server = Server::start(|_, _| refuse(500, "InternalError")).await;
    for answer in look_up(&server.client(), &["v1", "v2", "v3"]).await {
        let error = answer.expect_err("refused");
        assert_eq!(error.reason().as_str(), "vod.InternalError");
        assert_eq!(error.class(), Class::Transient);
    }
    // The attempts of the one call.
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn an_answer_that_never_comes_ends_the_look_up_and_not_the_next_one() {
    let server = Server::start(|request, _| match request.query("VideoId") {
        "v1" => Answer::Never,
        _ => vod(request),
    })
    .await;
    let mut settings = super::settings(&server.url);
    settings.timeout = std::time::Duration::from_millis(200);
    let client = super::client(&settings);
    let (stuck, fine) = (video("v1"), video("v2"));
    let error = client.look_up(&stuck).await.expect_err("no answer");
    assert_eq!(error.reason().as_str(), "vod.timeout");
    assert!(client.look_up(&fine).await.is_ok());
}
