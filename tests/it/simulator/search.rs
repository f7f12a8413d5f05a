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
