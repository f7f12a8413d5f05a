//! The events that changes cause: by the API, by people, by deletion; and those that cause none.

use super::*;

/// One member of MediaContent.
fn values(event: &Value, field: &str) -> Value {
    let text = event["MediaContent"][field].as_str().unwrap_or("null");
    serde_json::from_str(text).unwrap()
}

fn changes(simulator: &Simulator) -> Vec<Value> {
    parse(simulator.base_change_events())
}

#[tokio::test]
async fn an_edit_in_the_console_is_told_with_what_was_there() {
    let simulator = start(calm(1)).await;
    let video = simulator.videos().remove(0);
    let default = simulator.cover_of(&video).unwrap();
    assert_eq!(changes(&simulator), [json!(null); 0], "VOD's own default cover causes none");
    assert!(simulator.edit_cover(&video, "http://a/1.jpg"));
    let event = changes(&simulator).remove(0);
    assert_eq!(event["EventType"], "MediaBaseChangeComplete");
    assert_eq!(event["OperateMode"], "update");
    assert_eq!(event["MediaId"], json!(video));
    let expected = json!({ "OldValue": default, "NewValue": "http://a/1.jpg" });
    assert_eq!(values(&event, "CoverURL"), expected);
    assert!(!simulator.edit_cover("nobody", "http://a/1.jpg"));

    let quiet = start(Settings { console_events: false, ..calm(1) }).await;
    assert!(quiet.edit_cover(&quiet.videos()[0], "http://a/1.jpg"));
    assert_eq!(changes(&quiet).len(), 0);
}

#[tokio::test]
async fn a_cover_given_at_upload_is_told_and_a_default_one_is_not() {
    let simulator = start(calm(0)).await;
    simulator.add_video(NewVideo::default()).unwrap();
    assert_eq!(changes(&simulator).len(), 0);
    let cover = StartingCover::Given("http://a/given.png".into());
    let video = simulator.add_video(NewVideo { cover, ..NewVideo::default() }).unwrap();
    let event = changes(&simulator).remove(0);
    assert_eq!((&event["OperateMode"], &event["MediaId"]), (&json!("create"), &json!(video)));
    assert_eq!(values(&event, "CoverURL"), json!({ "NewValue": "http://a/given.png" }));
}

#[tokio::test]
async fn a_deleted_video_is_told_twice_and_gone() {
    let simulator = start(calm(3)).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(1);
    let cover = simulator.cover_of(&video).unwrap();
    assert!(simulator.delete_video(&video));
    assert!(!simulator.delete_video(&video));
    let events = changes(&simulator);
    assert_eq!(events.len(), 2);
    for (member, value) in [
        ("EventType", "DeleteMediaComplete"),
        ("MediaId", &video),
        ("MediaType", "video"),
        ("DeleteType", "all"),
        ("Status", "success"),
    ] {
        assert_eq!(events[0][member], value, "{member}");
    }
    assert_eq!(events[1]["OperateMode"], "delete");
    assert_eq!(values(&events[1], "CoverURL"), json!({ "OldValue": cover }));
    assert_eq!(client.call("GetVideoInfo", &[("VideoId", &video)]).await.0, 404);
    assert_eq!(simulator.videos().len(), 2);
    for other in simulator.videos() {
        let (status, body) = client.call("GetVideoInfo", &[("VideoId", &other)]).await;
        assert_eq!((status, &body["Video"]["VideoId"]), (200, &json!(other)));
    }
}

#[tokio::test]
async fn every_field_of_an_update_is_told() {
    let simulator = start(calm(1)).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(0);
    let update = [("VideoId", video.as_str()), ("Description", "one"), ("CateId", "7")];
    assert_eq!(client.call("UpdateVideoInfo", &update).await.0, 200);
    let update = [("VideoId", video.as_str()), ("Description", "two")];
    assert_eq!(client.call("UpdateVideoInfo", &update).await.0, 200);
    let (events, last) = simulator.change_events_since(0);
    let events = parse(events);
    assert_eq!((events.len(), last), (2, 2));
    assert_eq!(values(&events[0], "CateId")["NewValue"], "7");
    assert_eq!(values(&events[1], "Description"), json!({ "OldValue": "one", "NewValue": "two" }));
    assert_eq!(events[1]["MediaContent"].as_object().unwrap().len(), 1);
    assert_eq!(parse(simulator.change_events_since(1).0), events[1..]);
}

#[test]
fn an_editor_may_be_outside_of_the_runtime_and_is_called_back_all_the_same() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (url, received) = runtime.block_on(receiver(200));
    let callback = Some(Callback { url, key: None, duplicates: 0.0 });
    let simulator = runtime.block_on(start(Settings { callback, ..calm(1) }));
    assert!(simulator.delete_video(&simulator.videos()[0]));
    let told = async || received.lock().unwrap().len() == 2;
    runtime.block_on(eventually("both events are called back", SOON, told));
}
