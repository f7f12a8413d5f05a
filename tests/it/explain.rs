//! What people are told of one video, and videos that come with a cover from the start.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use vod_cover::sim::{NewVideo, Settings};

use crate::covers::deliver;
use crate::servers::{amqp_url, redis_url};
use crate::wait::eventually;
use crate::world::{Program, World};

const SOON: Duration = Duration::from_secs(60);
const COVER: &str = "http://img.example.com/mine.png";

fn nothing() -> Settings {
    Settings { videos: 0, ..Settings::default() }
}

fn output(world: &World, arguments: &[&str]) -> Output {
    world.command(arguments, &[]).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn explained(world: &World, video: &str) -> Value {
    serde_json::from_str(&text(&output(world, &["explain", video, "--json"]))).unwrap()
}

async fn handled(program: &Program, outcome: &str) {
    let counted = async || program.metric("vod_cover_events_total", outcome).await >= 1.0;
    eventually(outcome, SOON, counted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_videos_whole_story_is_told_beside_the_worker() {
    let world = World::embedded(nothing()).await;
    let title = Some("A \u{1b}[31mtitle".to_owned());
    let video = world.sim.add_video(NewVideo { title, ..NewVideo::default() }).unwrap();
    let before = explained(&world, &video);
    assert_eq!((&before["owner"], &before["claims"]), (&json!("vod"), &Value::Null));
    assert_eq!(before["conclusion"], "Nothing is remembered: the next event decides.");

    let program = world.run(&[]).await;
    for event in world.sim.events(&video) {
        deliver(&program, &event).await;
    }
    handled(&program, "outcome=\"set\"").await;
    let ours = explained(&world, &video);
    assert_eq!(ours["owner"], "ours");
    assert_eq!(ours["standing"]["outcome"]["rule"], "first");
    assert_eq!(ours["writes"][0]["over"], "vod");
    assert!(ours["history"][0]["what"].as_str().unwrap().contains("set http"), "{ours}");

    world.sim.edit_cover(&video, COVER);
    for event in world.sim.change_events_since(0).0 {
        deliver(&program, &event).await;
    }
    handled(&program, "manual").await;
    handled(&program, "noted").await;
    let theirs = explained(&world, &video);
    assert_eq!(theirs["owner"], "somebody");
    assert_eq!(theirs["writes"][0]["echoed"], true);
    let told = text(&output(&world, &["explain", &video]));
    for expected in [
        "cover     http://img.example.com/mine.png",
        "whose     somebody's: it was changed later, as a MediaBaseChangeComplete says",
        "over VOD's default; reported back by VOD",
        "claims    3, none now",
        "so        No event replaces it: somebody chose it.",
    ] {
        assert!(told.contains(expected), "{expected:?} is missing in\n{told}");
    }
    assert!(!told.contains('\u{1b}'), "what an uploader wrote moves the cursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_said() {
    let world = World::embedded(nothing()).await;
    let unknown = text(&output(&world, &["explain", "nobody"]));
    assert!(unknown.contains("VOD") && unknown.contains("Nothing is remembered"), "{unknown}");
    let served = World::served(nothing(), &amqp_url(), &redis_url()).await;
    let video = served.sim.add_video(NewVideo::default()).unwrap();
    let away = [("REDIS_URL", "redis://127.0.0.1:1")];
    let without = served.command(&["explain", &video], &away).output().unwrap();
    assert!(text(&without).contains("ledger    looking at a video in redis"));
    let both = [away[0], ("VOD_ENDPOINT", "http://127.0.0.1:1")];
    let neither = served.command(&["explain", &video], &both).output().unwrap();
    assert_eq!(neither.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cover_that_is_given_with_media_is_somebodys_from_the_first_moment() {
    for world in [
        World::embedded(nothing()).await,
        World::served(nothing(), &amqp_url(), &redis_url()).await,
    ] {
        let given = ["--title", "T", "--cover", COVER, "--tags", "a,b", "--category", "7"];
        let run = |what: &[&str]| {
            let printed = text(&output(&world, &[&["media"], what, &given[..]].concat()));
            serde_json::from_str::<Value>(&printed).unwrap()
        };
        let created = run(&["create", "a.mp4"]);
        assert!(created["UploadAuth"].is_string() && created["UploadAddress"].is_string());
        let created = created["VideoId"].as_str().unwrap().to_owned();
        let registered = run(&["register", "http://oss.example.com/b.mp4"]);
        let registered =
            registered["RegisteredMediaList"][0]["MediaId"].as_str().unwrap().to_owned();
        for video in [&created, &registered] {
            let known = explained(&world, video);
            assert_eq!(known["standing"]["outcome"]["by"], "media_command", "{known}");
            assert_eq!(world.sim.cover_of(video).as_deref(), Some(COVER));
        }
        // A file that is a video already stays as it is, and so does what is known of it.
        let again = ["media", "register", "http://oss.example.com/b.mp4", "--title", "T"];
        let again = output(&world, &[&again[..], &["--cover", "http://h/other.png"]].concat());
        assert!(String::from_utf8_lossy(&again.stderr).contains("has been video"));
        let known = explained(&world, &registered);
        assert_eq!(known["standing"]["outcome"]["cover"], COVER);
        // One that came without a cover is nobody's.
        let plain = output(&world, &["media", "create", "c.mp4", "--title", "T"]);
        let plain: Value = serde_json::from_str(&text(&plain)).unwrap();
        assert!(explained(&world, plain["VideoId"].as_str().unwrap())["standing"].is_null());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cover_that_is_given_to_a_pulled_file_is_remembered_when_the_video_is_there() {
    let world = World::embedded(nothing()).await;
    let program = world.run(&[]).await;
    let url = "http://files.example.com/a.mp4";
    let pulled = output(&world, &["media", "pull", url, "--title", "T", "--cover", COVER]);
    let pulled: Value = serde_json::from_str(&text(&pulled)).unwrap();
    assert!(pulled["UploadJobs"][0]["JobId"].is_string(), "{pulled}");
    let events = world.sim.change_events_since(0).0;
    let is_pulled = |body: &Value| body["EventType"] == "UploadByURLComplete";
    let mut bodies = events.iter().map(|event| serde_json::from_slice::<Value>(event).unwrap());
    let event = bodies.rfind(is_pulled).expect("VOD tells of it");
    let video = event["VideoId"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        deliver(&program, event.to_string().as_bytes()).await;
    }
    handled(&program, "manual").await;
    handled(&program, "outcome=\"nothing\"").await;
    let known = explained(&world, &video);
    assert_eq!(known["standing"]["outcome"]["by"], "media_command", "{known}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_refuses_a_template_with_which_vod_sets_covers_itself() {
    let mut world = World::embedded(nothing()).await;
    world.set("VOD_COVER__COVER__RULES", "intelligent,first");
    world.set("VOD_COVER__COVER__INTELLIGENT__LATE", "provisional");
    world.set("VOD_COVER__COVER__INTELLIGENT__SUBMIT", "true");
    for (template, code, expected) in [
        ("tpl-smart", 0, "ok      vod GetAITemplate"),
        ("tpl-sets-cover", 1, "FAILED  vod GetAITemplate: template tpl-sets-cover has SetDefault"),
        ("nobody", 1, "FAILED  vod GetAITemplate"),
    ] {
        world.set("VOD_COVER__COVER__INTELLIGENT__TEMPLATE", template);
        let checked = output(&world, &["check"]);
        let told = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(told.contains(expected), "{told}");
        assert_eq!(checked.status.code(), Some(code), "{told}");
    }
}
