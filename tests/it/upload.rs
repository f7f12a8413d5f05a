//! The operator's own choice, by the real program against the simulated account: pictures that are uploaded,
//! addresses and rules; and that no event replaces it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, Rgb, RgbImage};
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};
use serde_json::Value;
use vod_cover::sim::{Fault, Settings, Simulator, Upload};
use vod_cover::vod::sign::{self, Identity, Signature, oss};

use crate::covers::deliver;
use crate::servers::redis_url;
use crate::wait::{SOON, eventually};
use crate::world::{KEY, Program, SECRET, World, http};

fn videos(videos: u32) -> Settings {
    Settings { videos, ..Settings::default() }
}

/// The ledgers that a person's choice must survive in.
async fn worlds() -> [World; 2] {
    let embedded = World::embedded(videos(2)).await;
    let mut redis = World::embedded(videos(2)).await;
    redis.set("REDIS_URL", &redis_url());
    [embedded, redis]
}

async fn set(world: &World, arguments: &[&str], more: &[(&str, &str)]) -> Output {
    let mut command = world.command(&["set"], more);
    command.args(arguments).stdin(Stdio::null());
    tokio::process::Command::from(command).output().await.unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A landscape of sorts, with enough grain that no encoder makes it small by itself.
fn picture(world: &World, name: &str, width: u32, height: u32) -> PathBuf {
    let path = world.directory.path().join(name);
    let mut random = fastrand::Rng::with_seed(7);
    let image = RgbImage::from_fn(width, height, |x, y| {
        let grain = random.u8(..24);
        Rgb([(x * 200 / width) as u8 + grain, (y * 200 / height) as u8 + grain, 90 + grain])
    });
    image.save(&path).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn faults(world: &World, texts: &[&str]) {
    let faults = texts.iter().map(|text| text.parse::<Fault>().unwrap());
    world.sim.set_faults(faults.collect());
}

/// The one upload whose picture came.
fn stored(sim: &Simulator) -> Upload {
    let mut stored: Vec<_> =
        sim.uploads().into_iter().filter(|upload| upload.stored.is_some()).collect();
    assert_eq!(stored.len(), 1, "{stored:?}");
    stored.remove(0)
}

/// Lets the program handle the video's events, and finds the cover as it was, with VOD not even asked.
async fn no_event_changes_it(world: &World, program: &Program, video: &str) {
    let cover = world.sim.cover_of(video);
    let since = world.sim.journal().last().map_or(0, |call| call.seq);
    let kept = program.metric("vod_cover_events_total", "outcome=\"kept\"").await;
    for event in world.sim.events(video) {
        deliver(program, &event).await;
    }
    eventually("the event was handled", SOON, async || {
        program.metric("vod_cover_events_total", "outcome=\"kept\"").await > kept
    })
    .await;
    assert_eq!(world.sim.cover_of(video), cover);
    let calls = world.sim.journal_since(since);
    let about: Vec<_> =
        calls.iter().filter(|call| call.videos.iter().any(|v| *v == video)).collect();
    assert!(about.is_empty(), "{about:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_4k_png_becomes_a_cover_within_every_limit_and_stays_it() {
    for mut world in worlds().await {
        // What would be replaced without a word if it were anybody else's.
        world.set("VOD_COVER__OWNERSHIP__OVERWRITE_MANUAL", "true");
        let video = world.sim.videos()[0].clone();
        let file = picture(&world, "poster.png", 3840, 2160);
        assert!(file.metadata().unwrap().len() > 5_000_000);
        let output = set(&world, &[&video, "--image", text(&file)], &[]).await;
        assert!(output.status.success(), "{}", out(&output));
        assert!(out(&output).contains("PNG 3840x2160"), "{}", out(&output));

        let upload = stored(&world.sim);
        let object = upload.stored.clone().unwrap();
        assert!(object.size <= 1_000_000, "{} bytes", object.size);
        let format = image::guess_format(&object.bytes).unwrap();
        assert!(matches!(format, ImageFormat::Jpeg | ImageFormat::Png), "{format:?}");
        assert_eq!(object.content_type, format.to_mime_type());
        assert!(format.extensions_str().iter().any(|ext| upload.key.ends_with(ext)));
        let decoded = image::load_from_memory(&object.bytes).unwrap();
        assert!(decoded.width() <= 1920 && decoded.height() <= 1080);
        assert!(decoded.width() > 1900 || decoded.height() > 1060, "smaller than it need be");

        let listed = http().get(format!("{}/_sim/uploads", world.sim.endpoint())).send().await;
        let listed: Value = serde_json::from_str(&listed.unwrap().text().await.unwrap()).unwrap();
        assert_eq!(listed[0]["stored"]["size"], object.size);

        let cover = world.sim.cover_of(&video).unwrap();
        assert_eq!(cover, upload.url);
        assert!(cover.contains("/image/cover/") && !cover.contains('?'));
        let served = http().get(&cover).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(served, object.bytes);

        let program = world.run(&[]).await;
        no_event_changes_it(&world, &program, &video).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_within_the_limits_is_uploaded_as_it_is() {
    let world = World::embedded(videos(1)).await;
    let video = world.sim.videos()[0].clone();
    let file = picture(&world, "small.jpg", 640, 360);
    let output = set(&world, &[&video, "--image", text(&file)], &[]).await;
    assert!(output.status.success(), "{}", out(&output));
    assert_eq!(stored(&world.sim).stored.unwrap().bytes, std::fs::read(&file).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_rules_are_set_beside_a_running_worker_and_stay() {
    for world in worlds().await {
        let [one, two] = <[String; 2]>::try_from(world.sim.videos()).unwrap();
        let program = world.run(&[]).await;
        let url = "https://img.example.com/covers/own.png";
        let signed = format!("{url}?auth_key=1-0-0-x");
        let output = set(&world, &[&one, "--url", &signed], &[]).await;
        assert!(output.status.success(), "{}", out(&output));
        assert_eq!(world.sim.cover_of(&one).as_deref(), Some(url));
        no_event_changes_it(&world, &program, &one).await;

        // VOD's own default, which is nobody's choice as long as nobody says so.
        let default = world.sim.cover_of(&two).unwrap();
        let output = set(&world, &[&two, "--rule", "middle"], &[]).await;
        assert!(output.status.success(), "{}", out(&output));
        assert_eq!(world.sim.cover_of(&two).unwrap(), default);
        no_event_changes_it(&world, &program, &two).await;

        let last = world.sim.snapshots_of(&two).pop();
        let output = set(&world, &[&two, "--rule", "last"], &[]).await;
        assert!(output.status.success(), "{}", out(&output));
        assert_eq!(world.sim.cover_of(&two), last);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rule_best_looks_at_the_pictures_that_the_video_has_now() {
    let world = World::embedded(videos(24)).await;
    let flawed = |video: &str| -> Vec<_> {
        world.sim.flaws_of(video).iter().map(|(number, _)| usize::from(*number)).collect()
    };
    let some_flawed = |video: &String| {
        let count = world.sim.snapshots_of(video).len();
        (1..count).contains(&flawed(video).len())
    };
    let video = world.sim.videos().into_iter().find(some_flawed).unwrap();
    let output = set(&world, &[&video, "--rule", "best"], &[]).await;
    assert!(output.status.success(), "{}", out(&output));
    assert!(out(&output).contains("best: snapshot"), "{}", out(&output));
    let (cover, snapshots) = (world.sim.cover_of(&video), world.sim.snapshots_of(&video));
    let number = 1 + snapshots.iter().position(|url| Some(url) == cover.as_ref()).unwrap();
    assert!(!flawed(&video).contains(&number), "{number}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_the_event_that_has_the_video() {
    let mut world = World::embedded(videos(1)).await;
    world.set("VOD_COVER__VOD__TIMEOUT", "5s");
    world.set("VOD_COVER__LEDGER__LEASE", "30s");
    let video = world.sim.videos()[0].clone();
    let program = world.run(&[]).await;
    faults(&world, &["UpdateVideoInfo:slow:2s:x1"]);
    deliver(&program, &world.sim.events(&video)[0]).await;
    eventually("the event reads the cover", SOON, async || {
        world.sim.journal().iter().any(|call| call.operation == "GetVideoInfo")
    })
    .await;
    let url = "https://img.example.com/own.png";
    let output = set(&world, &[&video, "--url", url], &[]).await;
    assert!(output.status.success(), "{}", out(&output));
    let covers: Vec<_> = world.sim.cover_changes().into_iter().map(|change| change.new).collect();
    assert_eq!(covers.len(), 3, "{covers:?}");
    assert_eq!(world.sim.cover_of(&video).as_deref(), Some(url));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_that_was_cut_off_after_it_took_effect_is_not_replaced() {
    for mut world in worlds().await {
        world.set("VOD_COVER__OWNERSHIP__OVERWRITE_MANUAL", "true");
        let video = world.sim.videos()[0].clone();
        faults(&world, &["UpdateVideoInfo:timeout-after-apply:x1"]);
        let url = "https://img.example.com/own.png";
        let mut command = world.command(&["set", &video, "--url", url], &[]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("the cover is written", SOON, async || {
            world.sim.cover_of(&video).as_deref() == Some(url)
        })
        .await;
        child.kill().unwrap();
        child.wait().unwrap();
        let program = world.run(&[]).await;
        deliver(&program, &world.sim.events(&video)[0]).await;
        eventually("the event was handled", SOON, async || {
            program.metric("vod_cover_events_total", "outcome=\"kept\"").await > 0.0
        })
        .await;
        assert_eq!(world.sim.cover_of(&video).as_deref(), Some(url));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_survives_an_expired_ticket_a_sick_service_and_a_broken_line() {
    let mut world = World::embedded(videos(3)).await;
    world.set("VOD_COVER__VOD__RETRIES", "3");
    let file = picture(&world, "small.jpg", 640, 360);
    for (number, (fault, tickets, puts)) in [
        ("PutObject:token-expired:x1", 2, 1),
        ("PutObject:error-5xx:x3", 1, 1),
        ("PutObject:reset-after-apply:x1", 1, 2),
    ]
    .into_iter()
    .enumerate()
    {
        let before = world.sim.uploads().len();
        faults(&world, &[fault]);
        let video = world.sim.videos()[number].clone();
        let output = set(&world, &[&video, "--image", text(&file)], &[]).await;
        assert!(output.status.success(), "{fault}: {}", out(&output));
        let uploads = world.sim.uploads();
        assert_eq!(uploads.len() - before, tickets, "{fault}");
        let last = uploads.last().unwrap();
        assert_eq!(last.stored.as_ref().unwrap().times, puts, "{fault}");
        assert_eq!(world.sim.cover_of(&video).as_ref(), Some(&last.url), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_changes_nothing_and_says_why() {
    let world = World::embedded(videos(1)).await;
    let video = &*world.sim.videos()[0].clone();
    let good = picture(&world, "small.jpg", 640, 360);
    let html = world.directory.path().join("page.png");
    std::fs::write(&html, "<!DOCTYPE html><html></html>").unwrap();
    let unknown = "f".repeat(32);
    let changes = world.sim.cover_changes().len();
    for (fault, arguments, code, says) in [
        ("", vec![&*unknown, "--url", "https://h/a.png"], 1, "InvalidVideo.NotFound"),
        ("", vec![video, "--image", "missing.png"], 1, "missing.png"),
        ("", vec![video, "--image", text(&html)], 1, "HTML"),
        ("", vec![video, "--rule", "nth=99"], 1, "nothing was changed"),
        ("", vec![video, "--rule", "keep"], 1, "keep"),
        ("", vec![video, "--rule", "prettiest"], 2, "prettiest"),
        ("", vec![video, "--url", "ftp://h/a.png"], 2, "ftp"),
        ("", vec!["{}", "--url", "https://h/a.png"], 2, "VideoId"),
        ("", vec![video, "--url", "https://h/a.png", "--rule", "first"], 2, "--rule"),
        ("", vec![video], 2, "--image"),
        ("PutObject:token-expired", vec![video, "--image", text(&good)], 1, "SecurityTokenExpired"),
        ("PutObject:unavailable", vec![video, "--image", text(&good)], 1, "nothing was changed"),
        ("PutObject:reset", vec![video, "--image", text(&good)], 1, "OSS was lost"),
        (
            "CreateUploadImage:forbidden",
            vec![video, "--image", text(&good)],
            1,
            "CreateUploadImage",
        ),
        ("UpdateVideoInfo:suspended", vec![video, "--rule", "first"], 1, "was not set"),
    ] {
        faults(&world, &[fault].into_iter().filter(|fault| !fault.is_empty()).collect::<Vec<_>>());
        let output = set(&world, &arguments, &[]).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", out(&output));
        assert!(out(&output).contains(says), "{arguments:?}: {}", out(&output));
    }
    assert_eq!(world.sim.cover_changes().len(), changes);
}

/// A PutObject that the simulator may refuse.
struct Put {
    bucket: String,
    key: String,
    identity: [String; 3],
    region: &'static str,
    time: Timestamp,
    digest: String,
    content_type: &'static str,
}

impl Put {
    /// With a new ticket, asked for by the documented call.
    async fn new(sim: &Simulator) -> Self {
        let own = [("ImageExt", "jpg"), ("ImageType", "cover")];
        let own = own.map(|(name, value)| (name, value.to_owned())).into();
        let request = sign::Request {
            method: "POST",
            host: "",
            version: "2017-03-21",
            action: "CreateUploadImage",
            parameters: &own,
        };
        let identity =
            Identity { access_key_id: KEY, access_key_secret: SECRET, security_token: None };
        let nonce = uuid::Uuid::new_v4().to_string();
        let signed = sign::sign(Signature::HmacSha1, &request, &identity, Timestamp::now(), &nonce);
        let url = format!("{}/?{}", sim.endpoint(), signed.query);
        let answer = http().post(url).send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let decode = |name: &str| -> Value {
            let text = STANDARD.decode(answer[name].as_str().unwrap()).unwrap();
            serde_json::from_slice(&text).unwrap()
        };
        let (address, auth) = (decode("UploadAddress"), decode("UploadAuth"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            bucket: text(&address["Bucket"]),
            key: text(&address["FileName"]),
            identity: ["AccessKeyId", "AccessKeySecret", "SecurityToken"].map(|n| text(&auth[n])),
            region: "cn-shanghai",
            time: Timestamp::now(),
            digest: STANDARD.encode(Md5::digest(b"picture")),
            content_type: "image/jpeg",
        }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let request = oss::Request {
            region: self.region,
            bucket: &self.bucket,
            key: &self.key,
            content_type: self.content_type,
            content_md5: Some(&self.digest),
        };
        let [access_key_id, access_key_secret, token] = &self.identity;
        let security_token = (!token.is_empty()).then_some(token.as_str());
        oss::sign(
            &request,
            &Identity { access_key_id, access_key_secret, security_token },
            self.time,
        )
    }

    /// The status and the document.
    async fn send(&self, sim: &Simulator, headers: &[(&str, String)]) -> (u16, String) {
        let host = format!("{}.oss-cn-shanghai.localhost:{}", self.bucket, sim.address().port());
        let mut put = http().put(format!("{}/{}", sim.endpoint(), self.key)).body("picture");
        for (name, value) in headers {
            put = put.header(*name, value);
        }
        if !headers.iter().any(|(name, _)| *name == "host") {
            put = put.header("host", host);
        }
        let answer = put.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_bucket_takes_nothing_that_is_not_signed_for_it() {
    let sim = Simulator::start("127.0.0.1:0".parse().unwrap(), videos(0)).await.unwrap();
    let other = Put::new(&sim).await;
    type Spoil<'a> = &'a dyn Fn(&mut Put);
    let spoils: [(Spoil<'_>, u16, &str); 9] = [
        (&|_| {}, 200, ""),
        (&|put| put.identity[1].push('x'), 403, "SignatureDoesNotMatch"),
        (&|put| put.identity[0].push('x'), 403, "InvalidAccessKeyId"),
        (&|put| put.identity[2].clear(), 403, "InvalidAccessKeyId"),
        (&|put| put.key.clone_from(&other.key), 403, "AccessDenied"),
        (&|put| put.bucket = "outin-another".to_owned(), 404, "NoSuchBucket"),
        (&|put| put.region = "cn-beijing", 400, "InvalidArgument"),
        (&|put| put.digest = STANDARD.encode(Md5::digest(b"other")), 400, "InvalidDigest"),
        (&|put| put.time += SignedDuration::from_mins(-16), 403, "RequestTimeTooSkewed"),
    ];
    for (spoil, status, code) in spoils {
        let mut put = Put::new(&sim).await;
        spoil(&mut put);
        let (found, document) = put.send(&sim, &put.headers()).await;
        assert_eq!(found, status, "{code}: {document}");
        assert!(document.contains(code) && (status == 200) == document.is_empty(), "{document}");
    }
    let put = Put::new(&sim).await;
    let refused = async |code: &str, headers: Vec<(&str, String)>| {
        let (status, document) = put.send(&sim, &headers).await;
        assert!(status >= 400 && document.contains(code), "{code}: {status} {document}");
    };
    refused("AccessDenied", Vec::new()).await;
    let changed = |name: &str, value: &str| {
        let mut headers: Vec<(&str, String)> = put.headers();
        headers.retain(|(known, _)| *known != name);
        headers.push((if name == "host" { "host" } else { "content-type" }, value.to_owned()));
        headers
    };
    refused("SignatureDoesNotMatch", changed("content-type", "image/png")).await;
    let plain = sim.address().to_string();
    refused("SecondLevelDomainForbidden", changed("host", &plain)).await;
    sim.set_clock_offset(SignedDuration::from_mins(51));
    refused("SecurityTokenExpired", put.headers()).await;
    assert_eq!(sim.uploads().iter().filter(|upload| upload.stored.is_some()).count(), 1);
}
