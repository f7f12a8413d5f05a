//! Walks through an account: every video whose cover nobody decided gets one, once, however often the walk
//! is cut off.

use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use vod_cover::sim::{By, NewVideo, Settings, Verdict};

use crate::servers::{amqp_url, redis_url};
use crate::wait::eventually;
use crate::world::World;

const SOON: Duration = Duration::from_secs(60);
/// How much larger the simulated account's quotas are, so that a test does not take a quarter of an hour.
const SCALE: f64 = 40.0;
const QUOTAS: [(&str, f64); 6] = [
    ("GETVIDEOLIST", 50.0),
    ("SEARCHMEDIA", 50.0),
    ("LISTSNAPSHOTS", 30.0),
    ("GETVIDEOINFO", 100.0),
    ("GETVIDEOINFOS", 100.0),
    ("UPDATEVIDEOINFO", 100.0),
];

fn account(videos: u32) -> Settings {
    Settings { videos, quota_scale: SCALE, console_events: false, ..Settings::default() }
}

fn hurry(world: &mut World) {
    for (operation, limit) in QUOTAS {
        let name = format!("VOD_COVER__VOD__QUOTAS__{operation}");
        world.set(&name, &(limit * SCALE).to_string());
    }
    world.set("VOD_COVER__VOD__QUOTA_SHARE", "0.5");
    world.set("VOD_COVER__BACKFILL__QUOTA_SHARE", "0.5");
    world.set("VOD_COVER__BACKFILL__CONCURRENCY", "24");
}

fn output(world: &World, arguments: &[&str]) -> Output {
    world.command(&[&["backfill"], arguments].concat(), &[]).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Somebody has chosen the cover of every second video.
fn edit_half(world: &World) -> BTreeSet<String> {
    let chosen: BTreeSet<_> = world.sim.videos().into_iter().step_by(2).collect();
    for video in &chosen {
        world.sim.edit_cover(video, "http://img.example.com/theirs.png");
    }
    chosen
}

fn check(world: &World, chosen: &BTreeSet<String>) {
    let changes = world.changes();
    for video in world.sim.videos() {
        let cover = world.sim.cover_of(&video).unwrap();
        let changed = changes.get(&video).copied().unwrap_or_default();
        if chosen.contains(&video) {
            assert_eq!((cover.as_str(), changed), ("http://img.example.com/theirs.png", 0));
        } else {
            assert!(cover.ends_with("-00001.jpg"), "{video} has {cover}");
            // None where VOD's default is what the rule chooses.
            assert_eq!(changed, usize::from(world.sim.snapshots_of(&video).len() > 1));
        }
    }
    let refused = world.sim.journal().into_iter().find(|call| call.verdict == Verdict::Throttled);
    assert_eq!(refused, None, "the quota was exceeded");
}

async fn killed_twice(mut world: World) {
    hurry(&mut world);
    let chosen = edit_half(&world);
    let uncovered = world.sim.videos().len() - chosen.len();
    let before = world.sim.cover_changes().last().unwrap().seq;
    for part in [5, 2] {
        let mut child = world
            .command(&["backfill"], &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let changed = || world.sim.cover_changes_since(before).len();
        eventually("it is under way", 10 * SOON, async || changed() > uncovered / part).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let last = output(&world, &["--json"]);
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    let lines = lines(&last);
    let summary = &lines.last().unwrap()["summary"];
    assert!(summary["resumed"].is_string(), "{summary}");
    check(&world, &chosen);
    // And again: nothing is left to do, from the beginning.
    let calls = world.sim.journal().last().unwrap().seq;
    let again = output(&world, &["--json"]);
    assert!(again.status.success());
    let since = world.sim.journal_since(calls);
    assert!(since.iter().all(|call| !call.operation.starts_with("Update")));
    check(&world, &chosen);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_videos_half_of_them_covered_and_killed_twice() {
    killed_twice(World::embedded(account(20_000)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_twice_with_redis() {
    killed_twice(World::served(account(1_500), &amqp_url(), &redis_url()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_names_the_videos_and_changes_nothing() {
    let mut world = World::embedded(account(30)).await;
    hurry(&mut world);
    let chosen = edit_half(&world);
    let dry = output(&world, &["--dry-run", "--json"]);
    assert!(dry.status.success(), "{}", String::from_utf8_lossy(&dry.stderr));
    let lines = lines(&dry);
    let named = lines.iter().filter_map(|line| line["video"].as_str()).map(str::to_owned);
    let all: BTreeSet<_> = world.sim.videos().into_iter().collect();
    assert_eq!(named.collect::<BTreeSet<_>>(), &all - &chosen);
    assert_eq!(lines.last().unwrap()["summary"]["found"]["covered"], 15);
    assert!(world.changes().is_empty());
    assert!(world.sim.journal().iter().all(|call| call.operation != "ListSnapshots"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_that_fails_is_named_and_the_others_are_handled() {
    let mut world = World::embedded(account(5)).await;
    hurry(&mut world);
    let forbidden = NewVideo { forbidden: true, ..NewVideo::default() };
    let forbidden = world.sim.add_video(forbidden).unwrap();
    let silent = NewVideo { snapshots: 0, ..NewVideo::default() };
    world.sim.add_video(silent).unwrap();
    let uploading = NewVideo { status: "Uploading".to_owned(), ..NewVideo::default() };
    world.sim.add_video(uploading).unwrap();
    let ended = output(&world, &["--json"]);
    assert_eq!(ended.status.code(), Some(1));
    let lines = lines(&ended);
    let failed: Vec<_> = lines.iter().filter(|line| line["outcome"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{lines:?}");
    assert_eq!(failed[0]["video"], *forbidden);
    let why = failed[0]["error"].as_str().unwrap_or_default();
    assert!(why.contains("permi"), "{why}");
    let found = &lines.last().unwrap()["summary"]["found"];
    assert_eq!((&found["not_ready"], &found["no_snapshots"]), (&1.into(), &1.into()), "{found}");
    let covered = |video: &String| {
        world.sim.cover_of(video).is_some_and(|cover| cover.ends_with("-00001.jpg"))
    };
    assert_eq!(world.sim.videos().iter().filter(|video| covered(video)).count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn since_until_category_and_rate_are_kept_to() {
    let mut world = World::embedded(account(0)).await;
    hurry(&mut world);
    let add = |day: &str, category| {
        let created = Some(format!("{day}T12:00:00Z").parse().unwrap());
        world.sim.add_video(NewVideo { created, category, ..NewVideo::default() }).unwrap()
    };
    let wanted = add("2026-02-02", Some(7));
    for (day, category) in [("2026-02-01", 7), ("2026-02-03", 7), ("2026-02-02", 8)] {
        add(day, Some(category));
    }
    let limits = ["--since", "2026-02-02", "--until", "2026-02-03", "--category", "7"];
    assert!(output(&world, &[&limits[..], &["--rate", "2.5"]].concat()).status.success());
    let changed: Vec<_> = world.changes().into_keys().collect();
    assert_eq!(changed, [wanted]);
    let wrong = output(&world, &["--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("2026-01-31"));
    for rate in ["0", "-1", "NaN", "1e-300", "inf", "fast"] {
        assert_eq!(output(&world, &[&format!("--rate={rate}")]).status.code(), Some(2), "{rate}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_that_exceed_the_account_are_refused() {
    let mut world = World::embedded(account(1)).await;
    world.set("VOD_COVER__VOD__QUOTA_SHARE", "0.9");
    let refused = output(&world, &[]);
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("backfill.quota_share"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_finds_videos_whose_callback_was_lost() {
    let mut world = World::embedded(account(0)).await;
    hurry(&mut world);
    world.set("VOD_COVER__RECONCILE__EVERY", "1s");
    world.set("VOD_COVER__RECONCILE__GRACE", "0s");
    let program = world.run(&[]).await;
    let lost = world.sim.add_video(NewVideo::default()).unwrap();
    let old = Some("2020-01-01T00:00:00Z".parse().unwrap());
    let old = world.sim.add_video(NewVideo { created: old, ..NewVideo::default() }).unwrap();
    let found = async || world.changes().contains_key(&lost);
    eventually("it has its cover", SOON, found).await;
    let walked = async || program.metric("vod_cover_backfill_videos_total", "covered").await >= 1.0;
    eventually("the next walk passes it over", SOON, walked).await;
    assert!(!world.changes().contains_key(&old), "it is older than the window");
    assert_eq!(world.sim.cover_changes().iter().filter(|c| c.by == By::Api).count(), 1);
}
