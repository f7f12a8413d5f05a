//! What a video tells of itself, and finding videos: GetVideoList and SearchMedia.

use super::*;

fn time(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

#[tokio::test]
async fn a_video_tells_what_it_was_added_with() {
    let simulator = start(calm(0)).await;
    let client = Client::of(&simulator);
    let new = NewVideo {
        title: Some("a title".into()),
        description: "what it shows".into(),
        tags: "one,two".into(),
        category: Some(78),
        category_name: Some("News".into()),
        template_group: Some("group-1".into()),
        created: time("2020-01-02T03:04:05Z"),
        ..NewVideo::default()
    };
    let video = simulator.add_video(new).unwrap();
    let (_, body) = client.call("GetVideoInfo", &[("VideoId", &video)]).await;
    for (member, value) in [
        ("Title", json!("a title")),
        ("Description", json!("what it shows")),
        ("Tags", json!("one,two")),
        ("CateId", json!(78)),
        ("CateName", json!("News")),
        ("TemplateGroupId", json!("group-1")),
        ("CreationTime", json!("2020-01-02T03:04:05Z")),
    ] {
        assert_eq!(body["Video"][member], value, "{member}");
    }
}

/// Videos of one account, a day apart from 2020-01-01 on.
fn daily(simulator: &Simulator, count: i64) -> Vec<String> {
    let first: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
    let add = |day: i64| {
        let created = Some(first + SignedDuration::from_hours(24 * day));
        let category = Some(day % 2);
        simulator.add_video(NewVideo { created, category, ..NewVideo::default() }).unwrap()
    };
    (0..count).map(add).collect()
}

fn ids(list: &Value) -> Vec<String> {
    let id = |one: &Value| one["VideoId"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(id).collect()
}

#[tokio::test]
async fn videos_are_listed_by_time_category_and_status() {
    let simulator = start(calm(0)).await;
    let client = Client::of(&simulator);
    let videos = daily(&simulator, 5);
    let listed = async |params: &[(&str, &str)]| {
        let (_, body) = client.call("GetVideoList", params).await;
        (body["Total"].as_u64().unwrap_or_default(), ids(&body["VideoList"]["Video"]))
    };
    let newest: Vec<_> = videos.iter().rev().cloned().collect();
    assert_eq!(listed(&[]).await, (5, newest));
    let oldest = ("SortBy", "CreationTime:Asc");
    let page = [oldest, ("PageNo", "2"), ("PageSize", "2")];
    assert_eq!(listed(&page).await, (5, videos[2..4].to_vec()));
    let time = [oldest, ("StartTime", "2020-01-02T00:00:00Z"), ("EndTime", "2020-01-04T00:00:00Z")];
    assert_eq!(listed(&time).await, (3, videos[1..4].to_vec()));
    let one = vec![videos[1].clone(), videos[3].clone()];
    assert_eq!(listed(&[oldest, ("CateId", "1"), ("Status", "Blocked,Normal")]).await, (2, one));

    let (_, body) = client.call("GetVideoList", &[oldest]).await;
    let first = &body["VideoList"]["Video"][0];
    assert_eq!(first["Snapshots"]["Snapshot"], json!(simulator.snapshots_of(&videos[0])));
    assert_eq!(first["CoverURL"], json!(simulator.cover_of(&videos[0])));

    for (params, status, code) in [
        (&[("Status", "Blocked")], 404, "InvalidVideo.NotFound"),
        (&[("PageSize", "101")], 400, "InvalidPageSize"),
        (&[("StartTime", "yesterday")], 400, "InvalidStartTime"),
        (&[("SortBy", "Title:Asc")], 400, "InvalidSortBy"),
        (&[("PageNo", "501")], 400, "VideoListExceededMax"),
    ] {
        let (got, body) = client.call("GetVideoList", params).await;
        assert_eq!((got, body["Code"].as_str().unwrap()), (status, code));
    }
}

#[tokio::test]
async fn a_search_finds_what_it_asks_for_and_tells_the_fields_that_it_names() {
    let simulator = start(calm(0)).await;
    let client = Client::of(&simulator);
    let videos = daily(&simulator, 5);
    let condition = "CreationTime = ['2020-01-02T00:00:00Z','2020-01-05T00:00:00Z') and CateId = 1";
    let params = [
        ("SearchType", "video"),
        ("Fields", "Title,CoverURL,Snapshots"),
        ("Match", condition),
        ("SortBy", "CreationTime:Asc"),
    ];
    let (_, body) = client.call("SearchMedia", &params).await;
    assert_eq!(body["Total"], 2);
    let list = body["MediaList"].as_array().unwrap();
    let found: Vec<_> = list.iter().map(|one| one["MediaId"].as_str().unwrap()).collect();
    assert_eq!(found, [&videos[1], &videos[3]]);
    assert_eq!(list[0]["MediaType"], "video");
    assert_eq!(list[0]["CreationTime"], "2020-01-02T00:00:00Z");
    let video = list[0]["Video"].as_object().unwrap();
    let names: Vec<_> = video.keys().map(String::as_str).collect();
    assert_eq!(names, ["CoverURL", "CreationTime", "Snapshots", "Title", "VideoId"]);
    assert_eq!(video["Snapshots"], json!(simulator.snapshots_of(&videos[1])));

    for (params, code) in [
        (&[("Match", "Colour = 'red'")], "InvalidParameter"),
        (&[("SearchType", "film")], "InvalidSearchType"),
        (&[("PageNo", "201")], "MissingScrollToken"),
        (&[("ScrollToken", "unknown")], "InvalidScrollToken"),
    ] {
        let (status, body) = client.call("SearchMedia", params).await;
        assert_eq!((status, body["Code"].as_str().unwrap()), (400, code));
    }
}

#[tokio::test]
async fn only_a_token_leads_beyond_five_thousand_videos() {
    let simulator = start(calm(5_230)).await;
    let client = Client::of(&simulator);
    let common = [("PageSize", "100"), ("SortBy", "CreationTime:Asc")];
    let (mut found, mut token) = (Vec::new(), String::new());
    for page in 1..=54 {
        let number = page.to_string();
        let mut params = common.to_vec();
        params.push(("PageNo", &number));
        if page > 1 {
            params.push(("ScrollToken", &token));
        }
        let (_, body) = client.call("SearchMedia", &params).await;
        assert_eq!(body["Total"], 5_230);
        let list = body["MediaList"].as_array().unwrap();
        found.extend(list.iter().map(|one| one["MediaId"].as_str().unwrap().to_owned()));
        // A video that goes away on the way does not shift the others.
        if page == 10 {
            let gone = found[0].clone();
            let created = Some("2026-01-01T00:00:00Z".parse().unwrap());
            assert!(simulator.delete_video(&gone));
            simulator.add_video(NewVideo { created, ..NewVideo::default() }).unwrap();
        }
        match body["ScrollToken"].as_str() {
            Some(next) => {
                assert_eq!(next.len(), 32);
                token = next.to_owned();
            }
            None => assert_eq!((page, list.len()), (54, 0)),
        }
    }
    assert_eq!(found.len(), 5_230);
    assert_eq!(found.iter().collect::<HashSet<_>>().len(), 5_230);

    let code = async |action: &str, params: &[(&str, &str)]| {
        let (_, body) = client.call(action, params).await;
        body["Code"].as_str().unwrap_or_default().to_owned()
    };
    let fifty = [common[0], common[1], ("PageNo", "50")];
    let fifty_one = [common[0], common[1], ("PageNo", "51")];
    assert_eq!(code("SearchMedia", &fifty).await, "");
    assert_eq!(code("SearchMedia", &fifty_one).await, "InvalidPageNo");
    assert_eq!(code("GetVideoList", &fifty).await, "");
    assert_eq!(code("GetVideoList", &fifty_one).await, "VideoListExceededMax");
    // The token says which page is next, and of which search.
    let wrong = [common[0], common[1], ("PageNo", "60"), ("ScrollToken", token.as_str())];
    assert_eq!(code("SearchMedia", &wrong).await, "InvalidPageNo");
    let other = [common[0], ("PageNo", "54"), ("ScrollToken", token.as_str())];
    assert_eq!(code("SearchMedia", &other).await, "InvalidScrollToken");
    // An answer that was lost can be asked for again.
    let again = [common[0], common[1], ("PageNo", "54"), ("ScrollToken", token.as_str())];
    assert_eq!(code("SearchMedia", &again).await, "");
}
