//! Walking through the videos of an account: against printed answers for how pages follow one another,
//! and against the simulated account for whether all videos come.

use jiff::Timestamp;
use serde_json::{Value, json};
use vod_cover::vod::{Client, Filter, VideoInfo, VideoPage};

use super::server::{Answer, Seen, Server, ok, refuse};

fn at(text: &str) -> Option<Timestamp> {
    Some(text.parse().expect("a time"))
}

/// Every page to the end, and each video's id in the order of the walk.
pub async fn walk(client: &Client, filter: &Filter) -> (Vec<VideoPage>, Vec<String>) {
    let (mut pages, mut next) = (Vec::<VideoPage>::new(), None);
    loop {
        let page = client.list_videos(filter, next).await.expect("a page");
        next = page.next.clone();
        pages.push(page);
        assert!(pages.len() < 1_000, "the walk has no end");
        if next.is_none() {
            break;
        }
    }
    let id = |info: &VideoInfo| info.video.to_string();
    let ids = pages.iter().flat_map(|page| page.videos.iter().map(id)).collect();
    (pages, ids)
}

/// Videos `v0`, `v1`, ... of which GetVideoList shows all, with a Total of its own.
fn listing(request: &Seen, videos: usize, total: usize) -> Answer {
    let number = |name: &str| request.query(name).parse::<usize>().expect(name);
    let (page, size) = (number("PageNo"), number("PageSize"));
    let range = (page - 1) * size..(page * size).min(videos);
    let video =
        |n: usize| json!({"VideoId": format!("v{n}"), "CreationTime": "2020-01-01T00:00:00Z"});
    if request.query("Action") == "GetVideoList" {
        let videos: Vec<_> = range.map(video).collect();
        return ok(json!({"RequestId": "r", "Total": total, "VideoList": {"Video": videos}}));
    }
    assert_eq!(request.query("ScrollToken"), if page == 1 { "" } else { "always the same" });
    let media: Vec<_> =
        range.map(|n| json!({"MediaId": format!("v{n}"), "Video": video(n)})).collect();
    ok(json!({"RequestId": "r", "Total": total, "MediaList": media,
        "ScrollToken": "always the same"}))
}

fn actions(server: &Server) -> Vec<String> {
    server.seen().iter().map(|seen| seen.query("Action").to_owned()).collect()
}

#[tokio::test]
async fn a_short_list_is_walked_by_page_number() {
    let server = Server::start(|request, _| listing(request, 5, 5)).await;
    let filter = Filter { page_size: 2, ..Filter::default() };
    let (pages, ids) = walk(&server.client(), &filter).await;
    assert_eq!(ids, ["v0", "v1", "v2", "v3", "v4"]);
    assert!(pages.iter().all(|page| page.total == 5 && page.unreadable == 0));
    assert_eq!(actions(&server), ["GetVideoList"; 3]);
    let first = &server.seen()[0];
    assert_eq!((first.query("SortBy"), first.query("PageSize")), ("CreationTime:Asc", "2"));
    for absent in ["CateId", "StartTime", "EndTime", "Status"] {
        assert!(!first.query.contains_key(absent), "{absent}");
    }
}

#[tokio::test]
async fn a_long_list_is_searched_to_its_end() {
    let server = Server::start(|request, _| listing(request, 5_020, 5_020)).await;
    let (_, ids) = walk(&server.client(), &Filter::default()).await;
    assert_eq!(ids.len(), 5_020);
    let actions = actions(&server);
    // The last page is known as such only after one more.
    assert_eq!((actions[0].as_str(), actions.len()), ("GetVideoList", 1 + 51 + 1));
    assert!(actions[1..].iter().all(|action| action == "SearchMedia"));
    assert!(server.seen()[1].query("Fields").contains("CoverURL"));
}

#[tokio::test]
async fn a_list_that_says_it_is_too_long_is_searched() {
    let server = Server::start(|request, _| match request.query("Action") {
        "GetVideoList" => refuse(400, "VideoListExceededMax"),
        _ => listing(request, 3, 3),
    })
    .await;
    assert_eq!(walk(&server.client(), &Filter::default()).await.1, ["v0", "v1", "v2"]);
}

/// A server that never comes to its end must not keep a program forever.
#[tokio::test]
async fn a_search_whose_pages_never_end_is_ended() {
    let server = Server::start(|request, _| match request.query("Action") {
        "GetVideoList" => refuse(400, "VideoListExceededMax"),
        _ => listing(request, usize::MAX, 1_000),
    })
    .await;
    walk(&server.client(), &Filter::default()).await;
    assert_eq!(server.seen().len(), 1 + 10 + 1);
}

#[tokio::test]
async fn an_account_without_videos_has_one_empty_page() {
    let server = Server::start(|_, _| refuse(404, "InvalidVideo.NotFound")).await;
    let (pages, ids) = walk(&server.client(), &Filter::default()).await;
    assert_eq!((pages.len(), pages[0].total, ids.len()), (1, 0, 0));
}

#[tokio::test]
async fn the_filter_is_asked_for_generously_and_kept_exactly() {
    for long in [false, true] {
        let server = Server::start(move |request, _| {
            let video = |id: &str, created: &str| json!({"VideoId": id, "CreationTime": created});
            let videos = [
                video("early", "2020-01-01T00:00:00Z"),
                video("first", "2020-01-01T00:00:01Z"),
                video("last", "2020-12-31T23:59:59Z"),
                video("late", "2021-01-01T00:00:00Z"),
            ];
            match (request.query("Action"), long) {
                ("GetVideoList", true) => refuse(400, "VideoListExceededMax"),
                ("GetVideoList", false) => {
                    ok(json!({"RequestId": "r", "Total": 4, "VideoList": {"Video": videos}}))
                }
                _ => {
                    let media = videos.map(|video| json!({ "Video": video }));
                    ok(json!({"RequestId": "r", "Total": 4, "MediaList": media}))
                }
            }
        })
        .await;
        let filter = Filter {
            since: at("2020-01-01T00:00:01Z"),
            until: at("2021-01-01T00:00:00Z"),
            category: Some(78),
            ..Filter::default()
        };
        let (_, ids) = walk(&server.client(), &filter).await;
        assert_eq!(ids, ["first", "last"]);
        let seen = server.seen();
        let request = seen.last().expect("a call");
        if long {
            let condition = "CateId = 78 and CreationTime = \
                             ['2020-01-01T00:00:00Z','2021-01-01T00:00:01Z']";
            assert_eq!(request.query("Match"), condition);
        } else {
            assert_eq!(request.query("CateId"), "78");
            assert_eq!(request.query("StartTime"), "2020-01-01T00:00:00Z");
            assert_eq!(request.query("EndTime"), "2021-01-01T00:00:01Z");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_passed_over() {
    let server = Server::start(|_, _| {
        let videos: Vec<Value> = vec![
            json!({"VideoId": "a", "CoverURL": "http://x/a.jpg", "Snapshots": {"Snapshot": "[\"u\"]"}}),
            json!({"VideoId": "b", "CoverURL": {}}),
            json!({"Title": "without an id"}),
            json!("text"),
        ];
        ok(json!({"RequestId": "r", "Total": "4", "VideoList": {"Video": videos}}))
    })
    .await;
    let page = server.client().list_videos(&Filter::default(), None).await.expect("a page");
    assert_eq!((page.videos.len(), page.unreadable, page.total), (1, 3, 4));
    assert_eq!(page.videos[0].snapshots, ["u"]);
}
