//! The simulator, seen from outside: over HTTP, with a signer of its own.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use sha1::Sha1;
use vod_cover::sim::{By, Callback, Fault, NewVideo, Settings, Simulator, StartingCover, Verdict};

use crate::wait::{SOON, eventually};

mod ai;
mod changes;
mod media;
mod search;

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

async fn start(settings: Settings) -> Simulator {
    Simulator::start(LOOPBACK, settings).await.unwrap()
}

/// Without quotas, which only their own test needs.
fn calm(videos: u32) -> Settings {
    Settings { videos, qps: false, ..Settings::default() }
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap()
}

/// Calls the API with HMAC-SHA1 signatures.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    endpoint: String,
    secret: String,
}

impl Client {
    fn of(simulator: &Simulator) -> Self {
        let (endpoint, secret) = (simulator.endpoint(), "testsecret".to_owned());
        Self { http: http(), endpoint, secret }
    }

    fn query(&self, action: &str, params: &[(&str, &str)]) -> String {
        let nonce = uuid::Uuid::new_v4().to_string();
        let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut all = vec![
            ("Action", action),
            ("Format", "JSON"),
            ("Version", "2017-03-21"),
            ("AccessKeyId", "testid"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureVersion", "1.0"),
            ("SignatureNonce", &nonce),
            ("Timestamp", &time),
        ];
        // A later value replaces the common one.
        all.retain(|(name, _)| !params.iter().any(|(known, _)| known == name));
        all.extend(params);
        all.sort_unstable();
        let pairs: Vec<_> =
            all.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let canonical = pairs.join("&");
        let string_to_sign = format!("GET&%2F&{}", encode(&canonical));
        let key = format!("{}&", self.secret);
        let mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).unwrap();
        let mac = mac.chain_update(string_to_sign).finalize().into_bytes();
        format!("{canonical}&Signature={}", encode(&STANDARD.encode(mac)))
    }

    async fn send(
        &self,
        action: &str,
        params: &[(&str, &str)],
    ) -> reqwest::Result<reqwest::Response> {
        let query = self.query(action, params);
        self.http.get(format!("{}/?{query}", self.endpoint)).send().await
    }

    async fn call(&self, action: &str, params: &[(&str, &str)]) -> (u16, Value) {
        let response = self.send(action, params).await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
    }

    async fn set_cover(&self, video: &str, cover: &str) -> (u16, Value) {
        self.call("UpdateVideoInfo", &[("VideoId", video), ("CoverURL", cover)]).await
    }
}

fn encode(text: &str) -> String {
    let form: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    form.replace('+', "%20").replace('*', "%2A").replace("%7E", "~")
}

async fn get(url: &str) -> (u16, Vec<u8>) {
    let response = http().get(url).send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

async fn get_json(url: &str) -> Value {
    serde_json::from_slice(&get(url).await.1).unwrap()
}

fn parse(bodies: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Value> {
    bodies.into_iter().map(|body| serde_json::from_slice(body.as_ref()).unwrap()).collect()
}

fn faults(texts: &[&str]) -> Vec<Fault> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_published_signature_sets_a_cover_once_and_its_nonce_is_used_then() {
    let simulator = start(calm(0)).await;
    let video = "2deda93265312baf9b0ed810d0000001";
    simulator.add_video(NewVideo { id: Some(video.into()), ..NewVideo::default() }).unwrap();
    let cover = "http://vod.example.com/2327a6ec24b44844b3a5e2c1b6910000/covers/\
                 990f3820db2948b5b4a13d65d9a40000-00002.jpg";
    let query = format!(
        "Format=JSON&Version=2017-03-21&AccessKeyId=testid&SignatureMethod=HMAC-SHA1\
         &SignatureVersion=1.0&SignatureNonce=9166ab59-f445-4005-911d-664c1570df0f\
         &Timestamp=2024-05-01T08%3A00%3A00Z&Action=UpdateVideoInfo&VideoId={video}\
         &CoverURL={}",
        encode(cover)
    );
    let get = format!(
        "{}/?{query}&Signature={}",
        simulator.endpoint(),
        encode("Hr2rOC8LuaQ/+5/ics5dDXtGApM=")
    );
    let send = async |request: reqwest::RequestBuilder| -> Value {
        serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
    };

    let late = send(http().get(&get)).await;
    assert_eq!(late["Code"], "InvalidTimeStamp.Expired");
    let then: Timestamp = "2024-05-01T08:00:00Z".parse().unwrap();
    simulator.set_clock_offset(then.duration_since(Timestamp::now()));
    let done = send(http().get(&get)).await;
    assert!(done["RequestId"].is_string() && done["Code"].is_null(), "{done}");
    assert_eq!(simulator.cover_of(video).as_deref(), Some(cover));
    assert_eq!(send(http().get(&get)).await["Code"], "SignatureNonceUsed");

    // The same as a form, whose signature is another one because the method is.
    let form = format!("{query}&Signature={}", encode("e4yiMc/UcHtH59qbiyIXhCDOGfg="));
    let request = http()
        .post(simulator.endpoint())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    assert_eq!(send(request).await["Code"], "SignatureNonceUsed");
}

#[tokio::test]
async fn a_published_acs3_signature_is_accepted_over_http() {
    let simulator = start(calm(0)).await;
    let video = "2deda93265312baf9b0ed810d0000001";
    simulator.add_video(NewVideo { id: Some(video.into()), ..NewVideo::default() }).unwrap();
    let then: Timestamp = "2024-05-01T08:00:00Z".parse().unwrap();
    simulator.set_clock_offset(then.duration_since(Timestamp::now()));
    let cover = "http://vod.example.com/2327a6ec24b44844b3a5e2c1b6910000/covers/\
                 990f3820db2948b5b4a13d65d9a40000-00002.jpg";
    let send = async |signature: &str| -> Value {
        let request = http()
            .post(format!("{}/?VideoId={video}&CoverURL={}", simulator.endpoint(), encode(cover)))
            .header("host", "vod.cn-shanghai.aliyuncs.com")
            .header("accept", "application/json")
            .header("x-acs-action", "UpdateVideoInfo")
            .header("x-acs-version", "2017-03-21")
            .header("x-acs-date", "2024-05-01T08:00:00Z")
            .header("x-acs-signature-nonce", "9166ab59f4454005911d664c1570df0f")
            .header(
                "x-acs-content-sha256",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            )
            .header(
                "authorization",
                format!(
                    "ACS3-HMAC-SHA256 Credential=testid,SignedHeaders=host;x-acs-action;\
                     x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,\
                     Signature={signature}"
                ),
            );
        serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
    };
    assert_eq!(send(&"0".repeat(64)).await["Code"], "SignatureDoesNotMatch");
    let done = send("1b1384ed82b8ba34a66e1b70d83187143920e0190c7a6d7b995fd00fa3740d4e").await;
    assert!(done["Code"].is_null(), "{done}");
    assert_eq!(simulator.cover_of(video).as_deref(), Some(cover));
}

#[tokio::test]
async fn callers_who_get_it_wrong_are_told_so_in_the_documented_way() {
    let simulator = start(calm(1)).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(0);
    let named = [("VideoId", video.as_str())];
    let refused = async |action: &str, params: &[(&str, &str)]| {
        let (status, body) = client.call(action, params).await;
        for member in ["RequestId", "HostId", "Code", "Message"] {
            assert!(body[member].is_string(), "{body}");
        }
        (status, body["Code"].as_str().unwrap().to_owned())
    };
    assert_eq!(refused("DeleteVideo", &named).await, (404, "InvalidApi.NotFound".into()));
    let version = [named[0], ("Version", "2014-05-26")];
    assert_eq!(refused("GetVideoInfo", &version).await, (400, "NoSuchVersion".into()));
    assert_eq!(refused("GetVideoInfo", &[]).await, (400, "MissingVideoId".into()));
    let nobody = [("VideoId", "nobody")];
    assert_eq!(refused("GetVideoInfo", &nobody).await, (404, "InvalidVideo.NotFound".into()));
    let other_key = [named[0], ("AccessKeyId", "other")];
    let unknown_key = refused("GetVideoInfo", &other_key).await;
    assert_eq!(unknown_key, (404, "InvalidAccessKeyId.NotFound".into()));

    simulator.set_secret("another");
    assert_eq!(refused("GetVideoInfo", &named).await, (400, "SignatureDoesNotMatch".into()));
    simulator.set_secret("testsecret");
    assert_eq!(client.call("GetVideoInfo", &named).await.0, 200);
    simulator.set_clock_offset(SignedDuration::from_mins(-16));
    assert_eq!(refused("GetVideoInfo", &named).await, (400, "InvalidTimeStamp.Expired".into()));

    let verdicts: Vec<_> = simulator.journal().into_iter().map(|call| call.verdict).collect();
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Ok).count(), 1);
    assert!(verdicts.contains(&Verdict::Error("SignatureDoesNotMatch".into())));
    assert_eq!(verdicts.len(), 8);
}

#[tokio::test]
async fn the_answer_is_xml_unless_json_is_asked_for() {
    let simulator = start(calm(1)).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(0);
    let params = [("VideoId", video.as_str()), ("Format", "XML")];
    let response = client.send("GetVideoInfo", &params).await.unwrap();
    let text = response.text().await.unwrap();
    assert!(text.contains("<GetVideoInfoResponse>"), "{text}");
    assert!(text.contains(&format!("<VideoId>{video}</VideoId>")), "{text}");
}

#[tokio::test]
async fn snapshots_are_wrapped_in_one_operation_and_flat_in_the_other() {
    let simulator = start(calm(3)).await;
    let client = Client::of(&simulator);
    let videos = simulator.videos();
    let (_, one) = client.call("GetVideoInfo", &[("VideoId", &videos[0])]).await;
    let expected = json!(simulator.snapshots_of(&videos[0]));
    assert_eq!(one["Video"]["Snapshots"], json!({ "Snapshot": expected }));
    assert_eq!(one["Video"]["CoverURL"], json!(simulator.cover_of(&videos[0])));

    let ids = format!("{},nobody,{}", videos[0], videos[2]);
    let (status, several) = client.call("GetVideoInfos", &[("VideoIds", &ids)]).await;
    assert_eq!(status, 200);
    assert_eq!(several["VideoList"][0]["Snapshots"], expected);
    assert_eq!(several["VideoList"][1]["VideoId"], json!(videos[2]));
    assert_eq!(several["NonExistVideoIds"], json!(["nobody"]));
    let (status, none) = client.call("GetVideoInfos", &[("VideoIds", "a,b")]).await;
    assert_eq!((status, &none["Code"]), (404, &json!("InvalidVideo.NotFound")));
}

#[tokio::test]
async fn a_batch_has_at_most_twenty_videos_and_tells_which_ones_failed() {
    let simulator = start(Settings { default_covers: false, ..calm(20) }).await;
    let client = Client::of(&simulator);
    let forbidden = NewVideo { forbidden: true, ..NewVideo::default() };
    let forbidden = simulator.add_video(forbidden).unwrap();
    let update = async |ids: &[String]| {
        let item = |id: &String| json!({ "VideoId": id, "CoverURL": format!("http://c/{id}.jpg") });
        let content = Value::Array(ids.iter().map(item).collect()).to_string();
        client.call("UpdateVideoInfos", &[("UpdateContent", &content)]).await
    };

    let mut ids = simulator.videos();
    let (status, body) = update(&ids).await;
    assert_eq!((status, &body["Code"]), (400, &json!("CountExceededMax")));
    let changes = || -> Vec<_> {
        let all = simulator.cover_changes().into_iter();
        all.filter(|change| change.by == By::Api).collect()
    };
    assert_eq!(changes(), []);

    ids.truncate(18);
    ids.extend([forbidden.clone(), "nobody".to_owned()]);
    let (status, body) = update(&ids).await;
    assert_eq!(status, 200);
    assert_eq!(body["NonExistVideoIds"], json!(["nobody"]));
    assert_eq!(body["ForbiddenVideoIds"], json!([forbidden]));
    assert_eq!(changes().len(), 18);
    assert!(changes().iter().all(|change| change.old.is_none()));
    assert_eq!(simulator.journal().pop().unwrap().videos.len(), 20);
    assert_eq!(simulator.cover_of(&forbidden), simulator.snapshots_of(&forbidden).get(4).cloned());

    let (status, body) = client.set_cover(&forbidden, "http://c/x.jpg").await;
    assert_eq!((status, &body["Code"]), (403, &json!("Forbidden")));
    let (_, body) = client.call("UpdateVideoInfos", &[("UpdateContent", "{}")]).await;
    assert_eq!(body["Code"], "InvalidUpdateContent");
}

#[tokio::test]
async fn any_url_is_stored_and_what_is_not_given_stays() {
    let simulator = start(calm(1)).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(0);
    let cover = "not even a URL: 封面*~?a=b&c=d";
    let before = client.call("GetVideoInfo", &[("VideoId", &video)]).await.1;
    assert_eq!(client.set_cover(&video, cover).await.0, 200);
    let after = client.call("GetVideoInfo", &[("VideoId", &video)]).await.1;
    assert_eq!(after["Video"]["CoverURL"], cover);
    assert_eq!(after["Video"]["Title"], before["Video"]["Title"]);
    // The same again is a call, but no change.
    assert_eq!(client.set_cover(&video, cover).await.0, 200);
    let by: Vec<_> = simulator.cover_changes().into_iter().map(|change| change.by).collect();
    assert_eq!(by, [By::Default, By::Api]);

    assert!(simulator.edit_cover(&video, "http://a/chosen.png"));
    assert_eq!(simulator.cover_changes().pop().unwrap().by, By::Editor);
    assert!(!simulator.edit_cover("nobody", "http://a/chosen.png"));

    let events = parse(simulator.base_change_events());
    assert_eq!(events.len(), 3);
    let values = events[0]["MediaContent"]["CoverURL"].as_str().unwrap();
    let values: Value = serde_json::from_str(values).unwrap();
    assert_eq!(values["NewValue"], cover);
    assert_eq!(values["OldValue"], before["Video"]["CoverURL"]);
}

#[tokio::test]
async fn snapshots_are_listed_in_pages_from_index_one() {
    let simulator = start(calm(0)).await;
    let client = Client::of(&simulator);
    let add = |new| simulator.add_video(new).unwrap();
    let video = add(NewVideo { snapshots: 7, ..NewVideo::default() });
    let params = [("VideoId", video.as_str()), ("PageNo", "2"), ("PageSize", "3")];
    let (_, body) = client.call("ListSnapshots", &params).await;
    let media = &body["MediaSnapshot"];
    assert_eq!(media["Total"], 7);
    assert!(media["Regular"].as_str().unwrap().ends_with("-{SnapshotCount}.jpg"));
    let page: Vec<_> = media["Snapshots"]["Snapshot"].as_array().unwrap().iter().collect();
    let indexes: Vec<_> = page.iter().map(|one| one["Index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, [4, 5, 6]);
    assert_eq!(page[0]["Url"], json!(simulator.snapshots_of(&video)[3]));

    let code = async |params: &[(&str, &str)]| {
        let (status, body) = client.call("ListSnapshots", params).await;
        (status, body["Code"].as_str().unwrap_or_default().to_owned())
    };
    let normal = [("VideoId", video.as_str()), ("SnapshotType", "NormalSnapshot")];
    assert_eq!(code(&normal).await, (404, "NoSuchResource".into()));
    let size = [("VideoId", video.as_str()), ("PageSize", "101")];
    assert_eq!(code(&size).await, (400, "InvalidPageSize".into()));
    let uploading = add(NewVideo { status: "Uploading".into(), ..NewVideo::default() });
    assert_eq!(code(&[("VideoId", &uploading)]).await, (400, "Forbidden.IllegalStatus".into()));
    let audio = add(NewVideo { snapshots: 0, ..NewVideo::default() });
    assert_eq!(code(&[("VideoId", &audio)]).await, (404, "NoSuchResource".into()));
    let event = &parse(simulator.events(&audio))[0];
    assert_eq!(event["Status"], "fail");
    assert!(event["SnapshotInfos"].is_null() && event["CoverUrl"].is_null());
}

#[tokio::test]
async fn smart_thumbnails_have_scores_as_text_and_signed_addresses_that_work() {
    let simulator = start(calm(0)).await;
    let client = Client::of(&simulator);
    let video = simulator.add_video(NewVideo { smart: 3, ..NewVideo::default() }).unwrap();
    let (_, body) = client.call("ListAIImageInfo", &[("VideoId", &video)]).await;
    let list = body["AIImageInfoList"].as_array().unwrap();
    let formats: Vec<_> = list.iter().map(|one| one["Format"].as_str().unwrap()).collect();
    assert_eq!(formats, ["png", "gif", "png"]);
    for (one, (url, score)) in list.iter().zip(simulator.smart_thumbnails_of(&video)) {
        assert_eq!(one["Score"].as_str().unwrap().parse(), Ok(score));
        let signed = one["FileURL"].as_str().unwrap();
        assert!(signed.starts_with(&format!("{url}?auth_key=")), "{signed}");
        let (status, picture) = get(signed).await;
        assert_eq!(status, 200);
        assert!(image::load_from_memory(&picture).is_ok());
    }
    let plain = simulator.add_video(NewVideo::default()).unwrap();
    let (status, body) = client.call("ListAIImageInfo", &[("VideoId", &plain)]).await;
    assert_eq!((status, &body["AIImageInfoList"]), (200, &json!([])));
}

#[tokio::test]
async fn every_picture_of_an_event_decodes() {
    let simulator = start(calm(2)).await;
    for event in parse(simulator.all_events()) {
        for set in event["SnapshotInfos"].as_array().unwrap() {
            let regular = set["SnapshotRegular"].as_str().unwrap();
            for number in 1..=set["SnapshotCount"].as_u64().unwrap() {
                let url = regular.replace("{SnapshotCount}", &format!("{number:05}"));
                let (status, picture) = get(&url).await;
                assert_eq!(status, 200, "{url}");
                let picture = image::load_from_memory(&picture).unwrap();
                assert_eq!((picture.width(), picture.height()), (640, 360));
            }
            assert_eq!(get(&regular.replace("{SnapshotCount}", "00009")).await.0, 404);
        }
    }
    assert_eq!(get(&format!("{}/nobody/covers/x.jpg", simulator.endpoint())).await.0, 404);
}

#[tokio::test]
async fn with_url_signing_on_a_bare_address_is_forbidden_and_a_returned_one_is_not() {
    let settings = Settings { url_key: Some("aliyunvodexp1234".into()), ..calm(1) };
    let simulator = start(settings).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(0);
    let bare = simulator.cover_of(&video).unwrap();
    assert_eq!(get(&bare).await.0, 403);
    let (_, body) = client.call("GetVideoInfo", &[("VideoId", &video)]).await;
    let signed = body["Video"]["CoverURL"].as_str().unwrap();
    assert!(signed.starts_with(&format!("{bare}?auth_key=")), "{signed}");
    assert_eq!(get(signed).await.0, 200);
    assert_eq!(get(&signed.replace("-0-0-", "-0-1-")).await.0, 403);
}

#[tokio::test]
async fn over_the_quota_a_call_is_throttled_and_journaled() {
    let simulator = start(Settings { videos: 1, ..Settings::default() }).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(0);
    let deadline = Instant::now() + Duration::from_secs(20);
    let refused = loop {
        assert!(Instant::now() < deadline, "never throttled");
        let burst = (0..60).map(|_| {
            let (client, video) = (client.clone(), video.clone());
            tokio::spawn(async move { client.call("ListSnapshots", &[("VideoId", &video)]).await })
        });
        let mut refused = Vec::new();
        for call in burst.collect::<Vec<_>>() {
            let (status, body) = call.await.unwrap();
            if status != 200 {
                refused.push((status, body["Code"].clone()));
            }
        }
        if !refused.is_empty() {
            break refused;
        }
    };
    assert!(refused.iter().all(|refusal| *refusal == (400, json!("Throttling.User"))));
    let throttled = |call: &vod_cover::sim::Call| call.verdict == Verdict::Throttled;
    let journal = simulator.journal();
    assert_eq!(journal.iter().filter(|call| throttled(call)).count(), refused.len());
    // Another operation has its own quota.
    assert_eq!(client.call("GetVideoInfo", &[("VideoId", &video)]).await.0, 200);
}

#[tokio::test]
async fn a_reset_breaks_the_connection_with_or_without_the_effect() {
    let simulator = start(calm(1)).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(0);
    let send = async |cover| {
        let params = [("VideoId", video.as_str()), ("CoverURL", cover)];
        client.send("UpdateVideoInfo", &params).await
    };
    let before = simulator.cover_of(&video);
    simulator.set_faults(faults(&["reset:x1", "reset-after-apply:x1"]));
    assert!(send("http://a/1.jpg").await.is_err());
    assert_eq!(simulator.cover_of(&video), before);
    assert_eq!(simulator.journal().pop().unwrap().verdict, Verdict::Unanswered);
    assert!(send("http://a/2.jpg").await.is_err());
    assert_eq!(simulator.cover_of(&video).as_deref(), Some("http://a/2.jpg"));
    let call = simulator.journal().pop().unwrap();
    assert_eq!((call.verdict, call.fault.unwrap().name()), (Verdict::Ok, "reset-after-apply"));
    assert!(send("http://a/3.jpg").await.is_ok());
    assert_eq!(simulator.journal().pop().unwrap().fault, None);
}

#[tokio::test]
async fn a_call_may_take_effect_although_its_client_gave_up() {
    let simulator = start(calm(1)).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(0);
    for (fault, cover) in [
        ("UpdateVideoInfo:timeout-after-apply:x1", "http://a/1.jpg"),
        ("UpdateVideoInfo:slow:1s:x1", "http://a/2.jpg"),
    ] {
        simulator.set_faults(faults(&[fault]));
        let call = tokio::spawn({
            let (client, video) = (client.clone(), video.clone());
            async move { client.set_cover(&video, cover).await }
        });
        // The fault is used up as soon as the call has arrived; then its client leaves.
        let active = format!("{}/_sim/faults", simulator.endpoint());
        let arrived = async || get_json(&active).await[0].as_str().unwrap().ends_with(":x0");
        eventually("the call has arrived", SOON, arrived).await;
        call.abort();
        eventually(cover, SOON, async || simulator.cover_of(&video).as_deref() == Some(cover))
            .await;
    }
}

#[tokio::test]
async fn the_other_faults_answer_as_a_sick_service_does() {
    let simulator = start(calm(1)).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(0);
    let before = simulator.cover_of(&video);
    let strike = async |fault: &str| {
        simulator.set_faults(faults(&[fault]));
        let params = [("VideoId", video.as_str()), ("CoverURL", "http://a/1.jpg")];
        let response = client.send("UpdateVideoInfo", &params).await.unwrap();
        let retry = response.headers().get("x-acs-retry-after").cloned();
        let status = response.status().as_u16();
        let body: Option<Value> = serde_json::from_slice(&response.bytes().await.unwrap()).ok();
        let code = body.map(|body| body["Code"].as_str().unwrap_or_default().to_owned());
        (status, code, retry.map(|value| value.to_str().unwrap().to_owned()))
    };
    let answer = |status, code: &str| (status, Some(code.to_owned()), None);
    assert_eq!(strike("unavailable").await, answer(503, "ServiceUnAvailable"));
    assert_eq!(strike("forbidden").await, answer(403, "Forbidden.RAM"));
    assert_eq!(strike("suspended").await, answer(403, "OperationDenied.Suspended"));
    assert_eq!(strike("token-expired").await, answer(400, "InvalidSecurityToken.Expired"));
    assert_eq!(strike("not-found").await, answer(404, "InvalidVideo.NotFound"));
    let throttled = strike("throttle:250ms").await;
    assert_eq!(throttled, (400, Some("Throttling.User".into()), Some("250".into())));
    let mut statuses = HashSet::new();
    for _ in 0..40 {
        statuses.insert(strike("error-5xx").await.0);
    }
    assert_eq!(statuses, HashSet::from([500, 502, 503, 504]));
    assert_eq!(simulator.cover_of(&video), before);

    assert_eq!(strike("garbage").await, (200, None, None));
    assert_eq!(simulator.cover_of(&video).as_deref(), Some("http://a/1.jpg"));
    simulator.clear_faults();
    assert_eq!(client.set_cover(&video, "http://a/2.jpg").await.0, 200);
}

#[tokio::test]
async fn paused_it_refuses_connections_and_comes_back_with_its_state() {
    let simulator = start(calm(1)).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(0);
    assert_eq!(client.set_cover(&video, "http://a/1.jpg").await.0, 200);
    for _ in 0..3 {
        simulator.pause().await.unwrap();
        simulator.pause().await.unwrap();
        let refused = tokio::net::TcpStream::connect(simulator.address()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(client.send("GetVideoInfo", &[("VideoId", &video)]).await.is_err());
        simulator.resume().await.unwrap();
        simulator.resume().await.unwrap();
        let (_, body) = client.call("GetVideoInfo", &[("VideoId", &video)]).await;
        assert_eq!(body["Video"]["CoverURL"], "http://a/1.jpg");
    }
    simulator.stop().await;
    simulator.resume().await.unwrap();
    assert!(client.send("GetVideoInfo", &[("VideoId", &video)]).await.is_err());
    assert_eq!(simulator.journal().len(), 4);
}

#[tokio::test]
async fn pausing_cuts_a_call_that_is_waiting() {
    let simulator = start(calm(1)).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(0);
    simulator.set_faults(faults(&["timeout-after-apply"]));
    let cover = "http://a/1.jpg";
    let call = tokio::spawn({
        let (client, video) = (client.clone(), video.clone());
        async move { client.send("UpdateVideoInfo", &[("VideoId", &video), ("CoverURL", cover)]).await }
    });
    eventually("the call took effect", SOON, async || {
        simulator.cover_of(&video).as_deref() == Some(cover)
    })
    .await;
    simulator.pause().await.unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert!(!error.is_timeout(), "{error:?}");
}

#[tokio::test]
async fn the_same_seed_makes_the_same_account() {
    let seeded = async |seed| start(Settings { seed, ..calm(300) }).await;
    let events = |simulator: &Simulator| -> Vec<String> {
        let events = simulator.shuffled_events(0.3).into_iter();
        let text = events.map(|event| String::from_utf8(event.to_vec()).unwrap());
        text.map(|event| event.replace(&simulator.endpoint(), "http://vod")).collect()
    };
    let (one, same, other) = (seeded(4).await, seeded(4).await, seeded(5).await);
    assert_eq!(events(&one), events(&same));
    assert_ne!(events(&one), events(&other));
    assert!(events(&one).len() > 330);
    let url = |simulator: &Simulator| simulator.snapshots_of(&simulator.videos()[0]).remove(0);
    assert_eq!(get(&url(&one)).await, get(&url(&same)).await);
}

#[tokio::test]
async fn ten_thousand_videos_have_ids_of_their_own() {
    let simulator = start(calm(10_000)).await;
    let ids: HashSet<_> = simulator.videos().into_iter().collect();
    assert_eq!(ids.len(), 10_000);
    assert_eq!(simulator.shuffled_events(1.0).len(), 20_000);
}

#[tokio::test]
async fn it_stays_on_loopback_unless_it_is_told_otherwise() {
    let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let refused = Simulator::start(everywhere, calm(0)).await.err().unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    let taken = start(calm(0)).await;
    assert!(Simulator::start(taken.address(), calm(0)).await.is_err());
}

/// Takes callbacks: answers with the given status and remembers headers and bodies.
async fn receiver(status: u16) -> (String, Arc<Mutex<Vec<(HashMap<String, String>, Value)>>>) {
    let received = Arc::new(Mutex::new(Vec::new()));
    let listener = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("http://{}/callback", listener.local_addr().unwrap());
    let seen = received.clone();
    let take = async move |headers: axum::http::HeaderMap, body: axum::body::Bytes| {
        let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        let body = serde_json::from_slice(&body).unwrap();
        seen.lock().unwrap().push((headers.collect(), body));
        axum::http::StatusCode::from_u16(status).unwrap()
    };
    let app = axum::Router::new().route("/callback", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

#[tokio::test]
async fn callbacks_are_signed_and_come_with_duplicates() {
    let (url, received) = receiver(200).await;
    let callback = Callback { url: url.clone(), key: Some("Test123".into()), duplicates: 1.0 };
    let simulator = start(Settings { callback: Some(callback), ..calm(20) }).await;
    let emission = simulator.emit().await.unwrap();
    assert_eq!((emission.delivered, emission.lost), (40, 0));
    let seen = std::mem::take(&mut *received.lock().unwrap());
    for (headers, body) in &seen {
        let signed = format!("{url}|{}|Test123", headers["x-vod-timestamp"]);
        let digest = Md5::digest(signed);
        let expected: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(headers["x-vod-signature"], expected);
        assert_eq!(body["EventType"], "SnapshotComplete");
    }
    let videos: HashSet<_> = seen.iter().map(|(_, body)| body["VideoId"].to_string()).collect();
    assert_eq!((seen.len(), videos.len()), (40, 20));

    // A change through the API calls back by itself.
    let video = simulator.videos().remove(0);
    Client::of(&simulator).set_cover(&video, "http://a/1.jpg").await;
    eventually("the change is called back", SOON, async || !received.lock().unwrap().is_empty())
        .await;
    let change = received.lock().unwrap()[0].1.clone();
    assert_eq!(change["EventType"], "MediaBaseChangeComplete");
    assert_eq!(change["MediaId"], json!(video));
}

#[tokio::test]
async fn a_callback_is_tried_three_times_and_then_lost() {
    let (url, received) = receiver(204).await;
    let callback = Callback { url, key: None, duplicates: 0.0 };
    let simulator = start(Settings { callback: Some(callback), ..calm(2) }).await;
    let emission = simulator.emit().await.unwrap();
    assert_eq!((emission.delivered, emission.lost), (0, 2));
    assert_eq!(received.lock().unwrap().len(), 6);
    assert!(!received.lock().unwrap()[0].0.contains_key("x-vod-signature"));
    let lost = simulator.lost_callbacks();
    assert_eq!(lost.len(), 2);
    assert_eq!(lost[0].why, "HTTP 204");
    assert_eq!(start(calm(1)).await.emit().await, None);
}

#[tokio::test]
async fn the_control_plane_does_for_other_processes_what_the_handle_does() {
    let simulator = start(calm(2)).await;
    let client = Client::of(&simulator);
    let at = |path: &str| format!("{}/_sim/{path}", simulator.endpoint());
    let send = async |method: reqwest::Method, path: &str, body: Value| {
        let request = http().request(method, at(path)).body(body.to_string());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.text().await.unwrap())
    };
    let (post, put, delete) =
        (reqwest::Method::POST, reqwest::Method::PUT, reqwest::Method::DELETE);

    assert_eq!(get(&at("health")).await, (200, b"ok\n".to_vec()));
    let new =
        json!({ "id": "abc", "snapshots": 3, "smart": 1, "cover": "none", "extend": {"a": 1} });
    assert_eq!(send(post.clone(), "videos", new.clone()).await.0, 201);
    assert_eq!(send(post.clone(), "videos", new).await.0, 400);
    assert_eq!(send(post.clone(), "videos", json!({ "snapshot": 3 })).await.0, 400);
    assert_eq!(get_json(&at("videos")).await.as_array().unwrap().len(), 3);
    assert_eq!(get_json(&at("covers?video=abc")).await, json!({ "abc": null }));

    client.set_cover("abc", "http://a/1.jpg").await;
    let edit = json!({ "video": "abc", "url": "http://a/2.jpg" });
    assert_eq!(send(post.clone(), "edit", edit).await.0, 200);
    assert_eq!(get_json(&at("covers?video=abc")).await, json!({ "abc": "http://a/2.jpg" }));
    let changes = get_json(&at("changes?video=abc")).await;
    assert_eq!(changes["changes"][0]["by"], "api");
    assert_eq!(changes["changes"][1]["old"], "http://a/1.jpg");
    let by_api = get_json(&at("changes?by=api")).await;
    assert_eq!(by_api["changes"].as_array().unwrap().len(), 1);
    let journal = get_json(&at("journal")).await;
    assert_eq!(journal["calls"][0]["operation"], "UpdateVideoInfo");
    assert_eq!(journal["calls"][0]["verdict"], "ok");
    assert_eq!(journal["calls"][0]["videos"], json!(["abc"]));
    let rest = get_json(&at(&format!("journal?since={}", journal["last"]))).await;
    assert_eq!(rest["calls"], json!([]));

    let lines = |bytes: Vec<u8>| parse(bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()));
    let of_one = lines(get(&at("events?video=abc")).await.1);
    assert_eq!(of_one[0]["Extend"], json!({ "a": 1 }));
    assert_eq!(lines(get(&at("events?duplicates=1&shuffle=1")).await.1).len(), 6);
    assert_eq!(lines(get(&at("events?kind=changes")).await.1).len(), 2);
    let later = http().get(at("events?kind=changes&since=1")).send().await.unwrap();
    assert_eq!(later.headers()["x-sim-last"], "2");
    assert_eq!(lines(later.bytes().await.unwrap().to_vec()).len(), 1);

    let bad = send(put.clone(), "faults", json!(["often"])).await;
    assert!(bad.0 == 400 && bad.1.contains("error-5xx"), "{bad:?}");
    assert_eq!(send(put.clone(), "faults", json!(["unavailable"])).await.0, 200);
    assert_eq!(get_json(&at("faults")).await, json!(["unavailable=1"]));
    assert_eq!(client.set_cover("abc", "http://a/3.jpg").await.0, 503);
    assert_eq!(send(delete, "faults", json!({})).await.0, 200);

    send(put.clone(), "secret", json!({ "access_key_secret": "another" })).await;
    assert_eq!(client.set_cover("abc", "http://a/3.jpg").await.0, 400);
    send(put, "secret", json!({ "access_key_secret": "testsecret" })).await;
    assert_eq!(client.set_cover("abc", "http://a/3.jpg").await.0, 200);

    let gone = json!({ "video": "abc" });
    assert_eq!(send(post.clone(), "delete", gone.clone()).await.0, 200);
    assert_eq!(send(post.clone(), "delete", gone).await.0, 400);
    assert_eq!(client.set_cover("abc", "http://a/4.jpg").await.0, 404);

    assert_eq!(send(post.clone(), "emit", json!({})).await.0, 400);
    assert_eq!(send(post, "pause", json!({ "seconds": 3 })).await.0, 202);
    // With a bound, since a connection that is not answered would outlast the pause.
    let answers = async || {
        let connect = tokio::net::TcpStream::connect(simulator.address());
        matches!(tokio::time::timeout(Duration::from_millis(200), connect).await, Ok(Ok(_)))
    };
    eventually("it is paused", SOON, async || !answers().await).await;
    eventually("it is back", SOON, answers).await;
}

#[tokio::test]
async fn a_video_may_start_with_a_cover_of_its_own() {
    let simulator = start(calm(0)).await;
    let given = StartingCover::Given("http://a/given.png".into());
    let new = NewVideo { cover: given, ..NewVideo::default() };
    let video = simulator.add_video(new).unwrap();
    assert_eq!(simulator.cover_of(&video).as_deref(), Some("http://a/given.png"));
    let event = &parse(simulator.events(&video))[0];
    assert_eq!(event["CoverUrl"], json!(simulator.snapshots_of(&video)[4]));
}
