//! The callback bodies that VOD sends, written from its documentation: SnapshotComplete for a video's
//! snapshots; MediaBaseChangeComplete, DeleteMediaComplete and UploadByURLComplete for what the API or the
//! console did to it. All URLs are http.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/user-guide/snapshotcomplete>,
//! <https://www.alibabacloud.com/help/en/vod/user-guide/mediabasechangecomplete>,
//! <https://www.alibabacloud.com/help/en/vod/user-guide/deletemediacomplete>,
//! <https://www.alibabacloud.com/help/en/vod/user-guide/uploadbyurlcomplete>

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::account::Account;
use super::reply::written;
use super::video::Video;

/// The SnapshotComplete of a video: cover and sprite snapshots in one body as in the documented sample,
/// or each in its own. CoverUrl names the picture that VOD takes (or would have taken, where the upload
/// gave a cover: the documentation leaves that open).
pub(super) fn snapshots_complete(account: &Account, video: &Video, separate: bool) -> Vec<Bytes> {
    let mut envelope = json!({
        "EventType": "SnapshotComplete",
        "EventTime": time(video.created),
        "VideoId": &*video.id,
        "Status": "success",
    });
    if let Some(extend) = &video.extend {
        envelope["Extend"] = extend.clone();
    }
    let Some(middle) = video.middle() else {
        envelope["Status"] = json!("fail");
        envelope["ErrorCode"] = json!("InvalidParameter.ResourceContentBad");
        envelope["ErrorMessage"] = json!("The resource operated InputFile is bad");
        return vec![written(&envelope).into()];
    };
    let set = |kind: &str, count: u8, pattern: String, job: String| {
        json!({
            "Status": "success",
            "SnapshotType": kind,
            "SnapshotCount": count,
            "SnapshotRegular": account.url(&pattern),
            "SnapshotFormat": pattern,
            "JobId": job,
        })
    };
    let covers =
        set("CoverSnapshot", video.snapshots, video.snapshot_pattern(), video.snapshot_job());
    let sprite = set("SpriteSnapshot", 1, video.sprite_pattern(), video.sprite_job());
    let cover_url = json!(account.url(&video.snapshot_path(middle)));
    let body = |sets: Vec<Value>, cover_url: Option<Value>| {
        let mut body = envelope.clone();
        body["SnapshotInfos"] = Value::Array(sets);
        if let Some(url) = cover_url {
            body["CoverUrl"] = url;
        }
        Bytes::from(written(&body))
    };
    if separate {
        vec![body(vec![covers], Some(cover_url)), body(vec![sprite], None)]
    } else {
        vec![body(vec![covers, sprite], Some(cover_url))]
    }
}

/// What became of a video, in a MediaBaseChangeComplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operate {
    Create,
    Update,
    Delete,
}

/// One field with what was in it and what is.
pub(super) struct FieldChange<'a> {
    pub name: &'static str,
    pub old: Option<&'a str>,
    pub new: Option<&'a str>,
}

/// MediaContent is documented as a JSON string, but the sample nests an object whose members are JSON
/// strings; this follows the sample. OldValue is missing where there was nothing, NewValue where nothing
/// is left.
pub(super) fn media_base_change(
    video: &str,
    operate: Operate,
    changes: &[FieldChange<'_>],
    now: Timestamp,
) -> Bytes {
    let content = changes.iter().map(|change| {
        let values = [("OldValue", change.old), ("NewValue", change.new)].into_iter();
        let values: Map<_, _> =
            values.filter_map(|(name, value)| Some((name.into(), json!(value?)))).collect();
        (change.name.to_owned(), json!(written(&Value::Object(values))))
    });
    let body = json!({
        "EventType": "MediaBaseChangeComplete",
        "EventTime": time(now),
        "Status": "success",
        "MediaId": video,
        "MediaType": "video",
        "OperateMode": match operate {
            Operate::Create => "create",
            Operate::Update => "update",
            Operate::Delete => "delete",
        },
        "MediaContent": content.collect::<Map<_, _>>(),
    });
    written(&body).into()
}

/// A whole video was deleted.
pub(super) fn delete_media(video: &str, now: Timestamp) -> Bytes {
    let body = json!({
        "EventType": "DeleteMediaComplete",
        "EventTime": time(now),
        "Status": "success",
        "MediaId": video,
        "MediaType": "video",
        "DeleteType": "all",
    });
    written(&body).into()
}

/// A file was pulled from its address.
pub(super) fn upload_by_url(job: &str, video: &str, source: &str, now: Timestamp) -> Bytes {
    let body = json!({
        "EventType": "UploadByURLComplete",
        "EventTime": time(now),
        "Status": "success",
        "JobId": job,
        "VideoId": video,
        "SourceURL": source,
    });
    written(&body).into()
}

/// Each event once, plus `duplicates` extra copies of it on average (0.3: three in ten come twice; 1.0:
/// every one does), in an order that follows from the seed.
pub(super) fn shuffled(events: Vec<Bytes>, duplicates: f64, seed: u64) -> Vec<Bytes> {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x5_4AFF1E);
    let mut all = Vec::with_capacity(events.len());
    for event in events {
        let sure = duplicates.clamp(0.0, 100.0);
        let extra = sure.trunc() as usize + usize::from(random.f64() < sure.fract());
        all.extend(std::iter::repeat_n(event, 1 + extra));
    }
    random.shuffle(&mut all);
    all
}

/// `yyyy-MM-ddTHH:mm:ssZ`, as all events but the AI ones have it.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The same form, as requests have it.
pub(super) fn read_time(text: &str) -> Option<Timestamp> {
    let fits = text.len() == "yyyy-MM-ddTHH:mm:ssZ".len() && text.ends_with('Z');
    text.parse().ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn a_snapshot_event_has_the_documented_shape() {
        let account = Account::new("http://127.0.0.1:9".into(), 1, 1, true);
        let video = &account.videos[0];
        let events = snapshots_complete(&account, video, false);
        assert_eq!(events.len(), 1);
        let event = parsed(&events[0]);
        assert_eq!(event["EventType"], "SnapshotComplete");
        assert_eq!(event["VideoId"], &*video.id);
        assert_eq!(event["Status"], "success");
        assert_eq!(event["EventTime"], "2026-01-01T00:00:00Z");
        assert_eq!(event["CoverUrl"], video.cover.as_deref().unwrap());
        let covers = &event["SnapshotInfos"][0];
        assert_eq!(covers["SnapshotType"], "CoverSnapshot");
        assert_eq!(covers["SnapshotCount"], video.snapshots);
        let regular = covers["SnapshotRegular"].as_str().unwrap();
        assert!(regular.starts_with("http://127.0.0.1:9/"), "{regular}");
        let first = regular.replace("{SnapshotCount}", "00001");
        assert_eq!(first, account.url(&video.snapshot_path(1)));
        assert_eq!(event["SnapshotInfos"][1]["SnapshotType"], "SpriteSnapshot");

        let separate = snapshots_complete(&account, video, true);
        assert_eq!(separate.len(), 2);
        assert_eq!(parsed(&separate[1])["SnapshotInfos"][0]["SnapshotType"], "SpriteSnapshot");
    }

    #[test]
    fn a_change_event_nests_json_strings_in_an_object() {
        let changes = [
            FieldChange { name: "CoverURL", old: None, new: Some("http://a/1.jpg") },
            FieldChange { name: "Title", old: Some("a"), new: Some("b") },
            FieldChange { name: "Tags", old: Some("c"), new: None },
        ];
        let now = Timestamp::UNIX_EPOCH;
        let event = parsed(&media_base_change("v1", Operate::Update, &changes, now));
        assert_eq!(event["OperateMode"], "update");
        assert_eq!(event["MediaContent"]["Tags"], r#"{"OldValue":"c"}"#);
        assert_eq!(event["MediaId"], "v1");
        assert_eq!(event["EventTime"], "1970-01-01T00:00:00Z");
        assert_eq!(event["MediaContent"]["CoverURL"], r#"{"NewValue":"http://a/1.jpg"}"#);
        assert_eq!(event["MediaContent"]["Title"], r#"{"NewValue":"b","OldValue":"a"}"#);
    }

    #[test]
    fn duplicates_and_order_follow_from_the_seed() {
        let events: Vec<_> = (0..1_000).map(|n: u32| Bytes::from(n.to_string())).collect();
        let all = shuffled(events.clone(), 0.3, 5);
        assert!((1_200..1_400).contains(&all.len()), "{}", all.len());
        assert_eq!(all, shuffled(events.clone(), 0.3, 5));
        assert_ne!(all, shuffled(events.clone(), 0.3, 6));
        assert_eq!(shuffled(events.clone(), 1.0, 5).len(), 2_000);
        assert!(events.iter().all(|event| all.contains(event)));
    }
}
