//! Bringing videos into the account through the API.

use super::*;

const COVER: &str = "http://a/given.png";

/// EventType and OperateMode of everything that happened.
fn kinds(simulator: &Simulator) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = |event: &Value| (text(&event["EventType"]), text(&event["OperateMode"]));
    parse(simulator.base_change_events()).iter().map(kind).collect()
}

fn created() -> (String, String) {
    ("MediaBaseChangeComplete".into(), "create".into())
}

fn unpacked(text: &Value) -> Value {
    serde_json::from_slice(&STANDARD.decode(text.as_str().unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn an_upload_begins_with_the_cover_that_it_is_given() {
    let simulator = start(calm(0)).await;
    let client = Client::of(&simulator);
    let params = [
        ("Title", "a title"),
        ("FileName", "film.mp4"),
        ("CoverURL", COVER),
        ("CateId", "7"),
        ("Tags", "one,two"),
        ("TemplateGroupId", "group-1"),
        ("UserData", r#"{"Extend":{"a":1}}"#),
    ];
    let (status, body) = client.call("CreateUploadVideo", &params).await;
    assert_eq!(status, 200, "{body}");
    let video = body["VideoId"].as_str().unwrap();
    assert!(unpacked(&body["UploadAddress"])["FileName"].as_str().unwrap().ends_with(".mp4"));
    assert!(unpacked(&body["UploadAuth"])["SecurityToken"].is_string());
    let (_, body) = client.call("GetVideoInfo", &[("VideoId", video)]).await;
    let info = &body["Video"];
    assert_eq!((&info["CoverURL"], &info["Status"]), (&json!(COVER), &json!("Uploading")));
    assert_eq!((&info["CateId"], &info["TemplateGroupId"]), (&json!(7), &json!("group-1")));
    assert_eq!(kinds(&simulator), [created()]);
    assert_eq!(parse(simulator.events(video))[0]["Extend"], json!({ "a": 1 }));
    assert_eq!(simulator.journal()[0].videos, [video]);

    // Without a cover VOD takes one when the file has come, and tells nobody.
    let plain = [("Title", "plain"), ("FileName", "film.mp4")];
    let (_, body) = client.call("CreateUploadVideo", &plain).await;
    let plain = body["VideoId"].as_str().unwrap();
    assert_eq!(simulator.cover_of(plain), None);
    assert!(simulator.finish_upload(plain) && simulator.finish_upload(video));
    assert_eq!(simulator.cover_of(plain).unwrap(), simulator.snapshots_of(plain)[4]);
    assert_eq!(simulator.cover_of(video).unwrap(), COVER);
    assert_eq!(kinds(&simulator), [created(), created()]);
    assert!(!simulator.finish_upload("nobody"));

    for (params, code) in [
        (vec![("FileName", "film.mp4")], "MissingTitle"),
        (vec![("Title", "a")], "MissingFileName"),
        (vec![("Title", "a"), ("FileName", "film")], "InvalidFileName.Extension"),
    ] {
        let (status, body) = client.call("CreateUploadVideo", &params).await;
        assert_eq!((status, body["Code"].as_str().unwrap()), (400, code));
    }
}

#[tokio::test]
async fn files_are_pulled_from_their_addresses_and_told_of() {
    let simulator = start(calm(0)).await;
    let client = Client::of(&simulator);
    let (one, two) = ("http://files/one.mp4?a=1&b=2", "http://files/two.mp4");
    let metadata = json!([{ "SourceURL": one, "Title": "one", "CoverURL": COVER }]).to_string();
    let urls = format!("{},{two}", encode(one));
    let params = [("UploadURLs", urls.as_str()), ("UploadMetadatas", metadata.as_str())];
    let (status, body) = client.call("UploadMediaByURL", &params).await;
    assert_eq!(status, 200, "{body}");
    let videos = simulator.videos();
    let told: Vec<_> = parse(simulator.base_change_events())
        .into_iter()
        .filter(|event| event["EventType"] == "UploadByURLComplete")
        .collect();
    let jobs = body["UploadJobs"].as_array().unwrap();
    assert_eq!((jobs.len(), told.len(), videos.len()), (2, 2, 2));
    for (((job, event), video), url) in jobs.iter().zip(&told).zip(&videos).zip([one, two]) {
        assert_eq!((&job["SourceURL"], &event["SourceURL"]), (&json!(url), &json!(url)));
        assert_eq!((&event["JobId"], &event["VideoId"]), (&job["JobId"], &json!(video)));
        assert_eq!(event["Status"], "success");
    }
    assert_ne!(jobs[0]["JobId"], jobs[1]["JobId"]);
    assert_eq!(simulator.cover_of(&videos[0]).unwrap(), COVER);
    // VOD's own default cover is nobody's news.
    assert_eq!(simulator.cover_of(&videos[1]).unwrap(), simulator.snapshots_of(&videos[1])[4]);
    let events = parse(simulator.base_change_events());
    let second = events.iter().find(|event| event["MediaId"] == json!(videos[1])).unwrap();
    assert!(second["MediaContent"]["CoverURL"].is_null() && second["OperateMode"] == "create");
}

#[tokio::test]
async fn a_registered_file_is_one_video_however_often() {
    let simulator = start(calm(0)).await;
    let client = Client::of(&simulator);
    let register = async |entries: Value| {
        let text = entries.to_string();
        client.call("RegisterMedia", &[("RegisterMetadatas", text.as_str())]).await
    };
    let file = json!({ "FileURL": "http://bucket/one.mp4", "Title": "one", "CoverURL": COVER });
    let (status, body) = register(json!([file])).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["FailedFileURLs"], json!([]));
    let first = body["RegisteredMediaList"][0].clone();
    let video = first["MediaId"].as_str().unwrap();
    assert_eq!(first["NewRegister"], true);
    assert_eq!(first["FileURL"], file["FileURL"]);
    assert_eq!(simulator.cover_of(video).unwrap(), COVER);
    let (_, body) = register(json!([file])).await;
    let again = &body["RegisteredMediaList"][0];
    assert_eq!((&again["MediaId"], &again["NewRegister"]), (&json!(video), &json!(false)));
    assert_eq!(kinds(&simulator), [created()]);

    let many = json!(vec![file.clone(); 11]);
    for (entries, code) in [
        (many, "CountExceededMax"),
        (json!([]), "MissingRegisterMetadatas"),
        (json!([{ "Title": "one" }]), "MissingFileURL"),
        (json!([{ "FileURL": "http://bucket/two.mp4" }]), "MissingTitle"),
        (json!("text"), "InvalidRegisterMetadatas"),
    ] {
        let (status, body) = register(entries).await;
        assert_eq!((status, body["Code"].as_str().unwrap()), (400, code));
    }
    assert_eq!(simulator.videos(), [video]);
}
