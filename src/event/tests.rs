use serde_json::json;

use super::*;

/// The official sample's shape: no VideoId, no Status.
fn sample() -> Value {
    json!({
        "EventType": "SnapshotComplete", "EventTime": "2018-07-31T10:07:31Z",
        "CoverUrl": "http://sample/covers/990f-00002.jpg?auth_key=x", "Extend": "test data",
        "SnapshotInfos": [
            {"Status": "success", "SnapshotType": "SpriteSnapshot", "SnapshotCount": 1,
             "SnapshotRegular": "http://sample/covers/sprite/990f-{SnapshotCount}.jpg", "JobId": "b31"},
            {"Status": "success", "SnapshotType": "CoverSnapshot", "SnapshotCount": 2,
             "SnapshotFormat": "2327/covers/990f-{SnapshotCount}.jpg",
             "SnapshotRegular": "http://sample/covers/990f-{SnapshotCount}.jpg", "JobId": "ee1"}
        ]
    })
}

fn with(change: impl FnOnce(&mut Value)) -> Result<Event, ParseError> {
    let mut event = sample();
    event["VideoId"] = json!("2327a6ec24b44844b3a5e2c1b691****");
    change(&mut event);
    parse(event.to_string().as_bytes())
}

fn snapshots(event: Result<Event, ParseError>) -> SnapshotsReady {
    match event {
        Ok(Event::Snapshots(ready)) => ready,
        other => panic!("expected snapshots, got {other:?}"),
    }
}

fn urls(ready: &SnapshotsReady) -> Vec<&str> {
    ready.candidates.iter().map(|candidate| candidate.url.as_str()).collect()
}

#[test]
fn the_official_sample_without_a_video_id_is_refused_with_that_reason() {
    let error = parse(sample().to_string().as_bytes()).unwrap_err();
    assert_eq!(error.reason().as_str(), "event.no-video-id");
}

#[test]
fn cover_snapshots_are_expanded_and_sprites_are_never_candidates() {
    let ready = snapshots(with(|_| ()));
    assert_eq!(
        urls(&ready),
        ["http://sample/covers/990f-00001.jpg", "http://sample/covers/990f-00002.jpg"]
    );
    assert_eq!(
        ready.event_cover.map(String::from).as_deref(),
        Some("http://sample/covers/990f-00002.jpg")
    );
    assert_eq!(ready.key.0, "SnapshotComplete/success/b31+ee1");
}

#[test]
fn what_the_documentation_leaves_open_is_tolerated() {
    let ready = snapshots(with(|e| {
        e["SnapshotInfos"][1]["SnapshotCount"] = json!("3");
        e["SnapshotInfos"][1]["SnapshotRegular"] = json!("http://s/c-{Count}.jpg");
        e["SnapshotInfos"][1].as_object_mut().unwrap().remove("Status");
        e["CoverURL"] = e["CoverUrl"].take();
        e["Extend"] = json!({"a": [1]});
        e["Status"] = json!("Success");
        e["EventTime"] = json!("2022-10-20T10:29:46:540Z");
        e["Surprise"] = json!([{"deep": null}]);
    }));
    assert_eq!(
        urls(&ready),
        ["http://s/c-00001.jpg", "http://s/c-00002.jpg", "http://s/c-00003.jpg"]
    );
    assert!(ready.event_cover.is_some() && ready.automatic);
    assert_eq!(ready.extend, Some(json!({"a": [1]})));
    assert_eq!(ready.at.map(|t| t.as_millisecond()), Some(1_666_261_786_540));
}

#[test]
fn ordered_snapshots_count_only_where_sub_type_says_so() {
    let normal = |sub_type: Option<&str>| {
        with(|e| {
            e["SnapshotInfos"][1]["SnapshotType"] = json!("NormalSnapshot");
            if let Some(sub_type) = sub_type {
                e["SubType"] = json!(sub_type);
            }
        })
    };
    let ordered = snapshots(normal(Some("SpecifiedTime")));
    assert_eq!((urls(&ordered).len(), ordered.automatic), (2, false));
    assert!(matches!(normal(None), Ok(Event::Nothing { .. })));
}

#[test]
fn events_that_offer_nothing_are_not_errors() {
    for change in [
        json!({"Status": "fail", "ErrorCode": "InvalidParameter.ResourceContentBad"}),
        json!({"SnapshotInfos": []}),
        json!({"SnapshotInfos": null}),
        json!({"SnapshotInfos": [{"SnapshotType": "WebVttSnapshot", "SnapshotRegular": "http://h/a.vtt"}]}),
        json!({"SnapshotInfos": [{"SnapshotType": "CoverSnapshot", "Status": "fail", "SnapshotRegular": "http://h/a.jpg"}]}),
        json!({"SnapshotInfos": [{"SnapshotType": "CoverSnapshot", "SnapshotRegular": "no url"}]}),
        json!({"SnapshotInfos": [7, "x", null]}),
    ] {
        let event =
            with(|e| e.as_object_mut().unwrap().extend(change.as_object().unwrap().clone()));
        assert!(matches!(event, Ok(Event::Nothing { .. })), "{change}: {event:?}");
    }
}

#[test]
fn two_events_are_the_same_only_if_their_jobs_are() {
    let key = |job: Value, time: &str| {
        snapshots(with(|e| {
            e["SnapshotInfos"][0]["JobId"] = job.clone();
            e["SnapshotInfos"][1]["JobId"] = job;
            e["EventTime"] = json!(time);
        }))
        .key
    };
    assert_eq!(key(json!("a"), "2018-07-31T10:07:31Z"), key(json!("a"), "2018-07-31T10:07:32Z"));
    assert_ne!(key(json!("a"), "2018-07-31T10:07:31Z"), key(json!("b"), "2018-07-31T10:07:31Z"));
    assert_ne!(key(json!(null), "2018-07-31T10:07:31Z"), key(json!(null), "2018-07-31T10:07:32Z"));
    assert!(key(json!("j".repeat(5_000)), "").0.len() < 100);
    let ordered = snapshots(with(|e| {
        e["SubType"] = json!("SpecifiedTime");
        e["SnapshotInfos"][0]["JobId"] = json!(null);
        e["SnapshotInfos"][1]["JobId"] = json!(null);
    }));
    assert_ne!(ordered.key, key(json!(null), "2018-07-31T10:07:31Z"));
}

#[test]
fn other_types_are_values_and_garbage_has_a_reason() {
    let other = parse(br#"{"EventType":"TranscodeComplete","VideoId":5}"#);
    assert_eq!(other.unwrap(), Event::Other { kind: "TranscodeComplete".into() });
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let huge = vec![b' '; MAX_BODY].into_iter().chain(*b"{}").collect::<Vec<u8>>();
    for (body, reason) in [
        (&b""[..], "event.empty"),
        (b" \n", "event.empty"),
        (b"{", "event.not-json"),
        (b"\xff\xfe{}", "event.not-json"),
        (b"{\"EventType\":\"Snapshot\xc3\"}", "event.not-json"),
        (deep.as_bytes(), "event.not-json"),
        (b"[1]", "event.not-an-object"),
        (b"null", "event.not-an-object"),
        (b"{}", "event.no-event-type"),
        (br#"{"EventType":{}}"#, "event.no-event-type"),
        (br#"{"EventType":"SnapshotComplete"}"#, "event.no-video-id"),
        (br#"{"EventType":"SnapshotComplete","VideoId":["x"]}"#, "event.wrong-type"),
        (br#"{"EventType":"SnapshotComplete","VideoId":"a}b"}"#, "event.bad-video-id"),
        (
            br#"{"EventType":"SnapshotComplete","VideoId":"a","SnapshotInfos":7}"#,
            "event.wrong-type",
        ),
        (&huge, "event.too-large"),
    ] {
        assert_eq!(parse(body).unwrap_err().reason().as_str(), reason);
    }
    assert!(parse(b"\xef\xbb\xbf{\"EventType\":\"X\"}").is_ok(), "a byte order mark is no harm");
}

proptest::proptest! {
    #[test]
    fn no_mutilated_event_panics(cut in 0usize..600, byte: u8, at in 0usize..600) {
        let values = json!({"OldValue": "http://h/a.jpg", "NewValue": "http://h/b.jpg"});
        let change = json!({
            "EventType": "MediaBaseChangeComplete", "MediaId": "v", "OperateMode": "update",
            "MediaContent": {"CoverURL": values.to_string()},
        });
        let deadline = "2026-01-01T01:00:00Z".parse().unwrap();
        let turn = Turn { number: 1, deadline };
        let again = follow_up(sample().to_string().as_bytes(), turn).unwrap();
        for mut body in [sample().to_string().into_bytes(), change.to_string().into_bytes(), again] {
            body.truncate(cut.max(1));
            let at = at % body.len();
            body[at] = byte;
            let _ = (parse(&body), follow_up(&body, turn));
        }
    }
}

fn change(fields: Value) -> Result<Event, ParseError> {
    let mut event = json!({
        "EventType": "MediaBaseChangeComplete", "EventTime": "2019-06-20T02:18:58Z",
        "Status": "success", "MediaId": "3b46", "MediaType": "video", "OperateMode": "update",
    });
    event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    parse(event.to_string().as_bytes())
}

fn cover_change(event: Result<Event, ParseError>) -> CoverChanged {
    match event {
        Ok(Event::CoverChanged(changed)) => changed,
        other => panic!("expected a change of a cover, got {other:?}"),
    }
}

#[test]
fn a_change_of_the_cover_is_read_in_every_form() {
    let values = json!({"OldValue": "http://h/a.jpg", "NewValue": "http://h/b.jpg"});
    for content in [
        // The documented sample, the documented table, and what lies between.
        json!({"Title": "{\"NewValue\":\"t\"}", "CoverURL": values.to_string()}),
        json!({"CoverURL": values}),
        json!(json!({"CoverURL": values.to_string()}).to_string()),
        json!(json!({"CoverURL": values}).to_string()),
    ] {
        let changed = cover_change(change(json!({"MediaContent": content})));
        assert_eq!(changed.video.as_str(), "3b46");
        assert_eq!(changed.change.old.as_deref(), Some("http://h/a.jpg"));
        assert_eq!(changed.change.new.as_deref(), Some("http://h/b.jpg"));
        assert!(!changed.change.at_upload && changed.change.at.is_some());
    }
    let first = json!({"CoverURL": "{\"NewValue\":\"http://h/c.jpg\"}"});
    let given = change(json!({"OperateMode": "create", "MediaContent": first}));
    let given = cover_change(given);
    assert!(given.change.at_upload && given.change.old.is_none());
}

#[test]
fn the_same_change_has_the_same_key_and_another_has_not() {
    let at = |new: &str, time: &str| {
        let content = json!({"CoverURL": {"NewValue": new}});
        cover_change(change(json!({"EventTime": time, "MediaContent": content}))).key
    };
    let (early, late) = ("2019-06-20T02:18:58Z", "2019-06-20T02:18:59Z");
    assert_eq!(at("http://h/a.jpg", early), at("http://h/a.jpg", early));
    assert_ne!(at("http://h/a.jpg", early), at("http://h/a.jpg", late));
    assert_ne!(at("http://h/a.jpg", early), at("http://h/b.jpg", early));
}

#[test]
fn a_change_of_something_else_is_nothing_and_one_that_cannot_be_read_is_an_error() {
    let nothing = |fields| matches!(change(fields), Ok(Event::Nothing { .. }));
    let cover = json!({"CoverURL": {"NewValue": "http://h/a.jpg"}});
    assert!(nothing(json!({"MediaContent": {"Title": "{}"}})));
    assert!(nothing(json!({})));
    assert!(nothing(json!({"MediaContent": ""})));
    assert!(nothing(json!({"MediaContent": "a description"})));
    assert!(nothing(json!({"MediaType": "image", "MediaContent": cover})));
    assert!(nothing(json!({"Status": "fail", "MediaContent": cover})));
    for odd in [json!({"CoverURL": 7}), json!([cover]), json!("{\"CoverURL\": ")] {
        let error = change(json!({"MediaContent": odd})).unwrap_err();
        assert_eq!(error.reason().as_str(), "event.wrong-type", "{odd}");
    }
    let error = change(json!({"MediaId": null, "MediaContent": cover})).unwrap_err();
    assert_eq!(error.reason().as_str(), "event.no-video-id");
}

#[test]
fn only_the_end_of_the_whole_video_is_its_end() {
    let deleted = |fields: Value| {
        let mut event = json!({
            "EventType": "DeleteMediaComplete", "EventTime": "2019-06-20T02:18:58Z",
            "Status": "success", "MediaId": "3b46", "MediaType": "video",
        });
        event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        parse(event.to_string().as_bytes()).unwrap()
    };
    assert!(matches!(deleted(json!({"DeleteType": "all"})), Event::Deleted(_)));
    for other in [json!({"DeleteType": "stream"}), json!({"DeleteType": "mezzanine"}), json!({})] {
        assert!(matches!(deleted(other), Event::Nothing { .. }));
    }
    let by_change = change(json!({"OperateMode": "delete"}));
    assert!(matches!(by_change, Ok(Event::Deleted(_))));
}

#[test]
fn a_follow_up_holds_the_event_that_it_follows() {
    let mut event = sample();
    event["VideoId"] = json!("v1");
    let deadline = "2026-01-01T01:00:00Z".parse().unwrap();
    let first = follow_up(event.to_string().as_bytes(), Turn { number: 1, deadline }).unwrap();
    let second = follow_up(&first, Turn { number: 2, deadline }).unwrap();
    assert_eq!(kind(&second).unwrap(), FOLLOW_UP);
    let original = snapshots(parse(event.to_string().as_bytes()));
    match (parse(&first), parse(&second)) {
        (Ok(Event::FollowUp(first)), Ok(Event::FollowUp(second))) => {
            assert_eq!((&first.ready, &second.ready), (&original, &original));
            assert_eq!(second.turn, Turn { number: 2, deadline });
            let key = &original.key;
            assert_ne!(key.look(first.turn), key.look(second.turn));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(follow_up(b"no json", Turn { number: 1, deadline }), None);
    let broken = json!({"EventType": FOLLOW_UP, "VideoId": "v", "Number": 1}).to_string();
    assert_eq!(parse(broken.as_bytes()).unwrap_err().reason().as_str(), "event.wrong-type");
}
