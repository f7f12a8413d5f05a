//! Covers chosen by what the pictures look like, and what happens where they cannot be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use vod_cover::cover::Finding;
use vod_cover::inspect::Source;
use vod_cover::sim::{Kind, NewVideo, Settings};

use crate::covers::deliver;
use crate::wait::eventually;
use crate::worker::inspector;
use crate::world::{Program, World};

const SOON: Duration = Duration::from_secs(180);
/// After a fault has ended, everything works again by itself within this time.
const RECOVERY: Duration = Duration::from_secs(15);

/// A world in which pictures are looked at, and which waits for them for seconds only.
async fn looking(rules: &str, settings: Settings) -> World {
    let mut world = World::embedded(Settings { qps: false, ..settings }).await;
    world.set("VOD_COVER__COVER__RULES", rules);
    world.set("VOD_COVER__COVER__GATE", "true");
    // The simulator draws while one waits, and this machine may have other things to do.
    world.set("VOD_COVER__FETCH__TIMEOUT", "20s");
    world.set("VOD_COVER__LEDGER__LEASE", "60s");
    world
}

fn videos(videos: u32) -> Settings {
    Settings { videos, ..Settings::default() }
}

async fn post_all(world: &World, program: &Program) {
    for event in world.sim.all_events() {
        deliver(program, &event).await;
    }
}

/// Every event has ended, well or badly.
async fn all_done(world: &World, program: &Program) {
    let videos = world.sim.videos().len() as f64;
    eventually("every event has ended", SOON, async || {
        let done = program.metric("vod_cover_settlements_total", "how=\"done\"").await;
        let dead = program.metric("vod_cover_dead_letters_total", "").await;
        done + dead >= videos
    })
    .await;
}

/// The number of the snapshot that is the cover.
fn cover(world: &World, video: &str) -> usize {
    let cover = world.sim.cover_of(video).unwrap();
    let at = world.sim.snapshots_of(video).iter().position(|snapshot| *snapshot == cover);
    1 + at.unwrap_or_else(|| panic!("{cover} is no snapshot"))
}

fn flawed(world: &World, video: &str) -> Vec<usize> {
    world.sim.flaws_of(video).iter().map(|(number, _)| usize::from(*number)).collect()
}

fn fetched(world: &World) -> Vec<String> {
    let calls = world.sim.journal().into_iter();
    let pictures = calls.filter(|call| call.operation == "GetPicture");
    pictures.flat_map(|call| call.videos).map(|video| video.to_string()).collect()
}

async fn no_dead_letters(program: &Program) {
    assert_eq!(program.metric("vod_cover_dead_letters_total", "").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn best_chooses_no_flawed_picture_and_looks_at_each_once() {
    let world = looking("best", videos(24)).await;
    let program = world.run(&[]).await;
    post_all(&world, &program).await;
    all_done(&world, &program).await;
    let mut defaults = 0;
    for video in world.sim.videos() {
        let (flawed, count) = (flawed(&world, &video), world.sim.snapshots_of(&video).len());
        if flawed.len() < count {
            let chosen = cover(&world, &video);
            assert!(!flawed.contains(&chosen), "{chosen} of {video}: {flawed:?}");
            defaults += usize::from(flawed.contains(&(count / 2 + 1)));
        }
        let looks = fetched(&world).iter().filter(|fetched| **fetched == video).count();
        assert_eq!(looks, count);
    }
    assert!(defaults > 3, "the middle was bad {defaults} times");
    assert!(program.metric("vod_cover_picture_defects_total", "").await >= defaults as f64);
    let seen = program.metric("vod_cover_pictures_total", "outcome=\"seen\"").await;
    assert_eq!(seen, fetched(&world).len() as f64);
    no_dead_letters(&program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_gives_way_to_its_nearest_neighbour_that_is_all_right() {
    let world = looking("first", videos(0)).await;
    let mut moved = 0;
    let program = world.run(&[]).await;
    for _ in 0..12 {
        world.sim.add_video(NewVideo { snapshots: 3, ..NewVideo::default() }).unwrap();
    }
    post_all(&world, &program).await;
    all_done(&world, &program).await;
    for video in world.sim.videos() {
        let flawed = flawed(&world, &video);
        let expected = (1..=3).find(|number| !flawed.contains(number)).unwrap();
        assert_eq!(cover(&world, &video), expected, "{flawed:?}");
        moved += usize::from(expected > 1);
    }
    assert!((1..12).contains(&moved), "{moved} of 12");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_gate_nothing_is_fetched() {
    let mut world = looking("first", videos(6)).await;
    world.set("VOD_COVER__COVER__GATE", "false");
    let program = world.run(&[]).await;
    post_all(&world, &program).await;
    world.every_cover_is_set(SOON).await;
    assert!(fetched(&world).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_with_url_signing_is_asked_with_a_signature_that_no_cover_carries() {
    let signing = Settings { url_key: Some("aliyunvodexp1234".into()), ..videos(8) };
    let mut world = looking("best", signing).await;
    world.set("VOD_COVER__FETCH__URL_SIGNING__TYPE", "a");
    world.set("VOD_URL_SIGNING_KEY", "aliyunvodexp1234");
    let program = world.run(&[]).await;
    post_all(&world, &program).await;
    all_done(&world, &program).await;
    no_dead_letters(&program).await;
    assert!(!world.changes().is_empty());
    for video in world.sim.videos() {
        assert!(!world.sim.cover_of(&video).unwrap().contains('?'));
    }
    assert!(!program.log().contains("auth_key="), "no signed URL is logged");
}

/// Intake pauses and names the setting, nothing is dead-lettered, and mended it goes on.
async fn pauses(world: &World, more: &[(&str, &str)], named: &str) -> Program {
    let program = world.run(more).await;
    post_all(world, &program).await;
    eventually("it says what to set", SOON, async || {
        let (status, body) = program.ready().await;
        let why = body["dependencies"]["pictures"].as_str().unwrap_or_default().to_owned();
        status == 503 && body["paused"] == Value::Bool(true) && why.contains(named)
    })
    .await;
    assert!(world.changes().is_empty());
    no_dead_letters(&program).await;
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_allowed_pauses_intake_and_names_the_setting() {
    let world = looking("best", videos(12)).await;
    let wrong = [("VOD_COVER__FETCH__HOSTS", "*.example.com")];
    drop(pauses(&world, &wrong, "fetch.hosts").await);
    assert!(fetched(&world).is_empty());
    let program = world.run(&[]).await;
    all_done(&world, &program).await;
    no_dead_letters(&program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_are_forbidden_pause_intake_until_they_are_not() {
    let world = looking("best", videos(12)).await;
    world.sim.set_faults(vec!["GetPicture:forbidden".parse().unwrap()]);
    let program = pauses(&world, &[], "fetch.url_signing").await;
    world.sim.clear_faults();
    eventually("it is ready again", RECOVERY, async || program.ready().await.0 == 200).await;
    all_done(&world, &program).await;
    no_dead_letters(&program).await;
    assert!(!world.changes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_of_which_nothing_can_be_seen_is_a_dead_letter_and_holds_nobody_up() {
    let world = looking("best", videos(0)).await;
    let program = world.run(&[]).await;
    eventually("it is ready", SOON, async || program.ready().await.0 == 200).await;
    let odd = world.sim.add_video(NewVideo::default()).unwrap();
    world.sim.set_faults(vec!["GetPicture:not-found".parse().unwrap()]);
    for event in world.sim.events(&odd) {
        deliver(&program, &event).await;
    }
    let dead = async || {
        let reason = "reason=\"picture.unreachable\"";
        assert_eq!(program.ready().await.0, 200, "{}", program.log());
        program.metric("vod_cover_dead_letters_total", reason).await == 1.0
    };
    eventually("it is a dead letter", SOON, dead).await;
    assert!(world.changes().is_empty());
    assert!(program.log().contains("404"), "{}", program.log());
    world.sim.clear_faults();
    let good = world.sim.add_video(NewVideo::default()).unwrap();
    for event in world.sim.events(&good) {
        deliver(&program, &event).await;
    }
    all_done(&world, &program).await;
    assert!(!flawed(&world, &good).contains(&cover(&world, &good)));
}

#[tokio::test(flavor = "multi_thread")]
async fn covers_are_chosen_although_many_pictures_are_broken_slow_or_cut_off() {
    for kind in [Kind::Garbage, Kind::NotFound, Kind::ResetAfterApply, Kind::Timeout] {
        let mut world = looking("best", videos(0)).await;
        if kind == Kind::Timeout {
            world.set("VOD_COVER__FETCH__TIMEOUT", "5s");
        }
        let fault = format!("GetPicture:{}=0.3", kind.name());
        world.sim.set_faults(vec![fault.parse().unwrap()]);
        let program = world.run(&[]).await;
        for _ in 0..4 {
            world.sim.add_video(NewVideo::default()).unwrap();
        }
        post_all(&world, &program).await;
        all_done(&world, &program).await;
        no_dead_letters(&program).await;
        for video in world.sim.videos() {
            assert!(!flawed(&world, &video).contains(&cover(&world, &video)), "{kind:?}");
        }
    }
}

/// Large pictures, many events at once, and little memory that may be used for them.
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_whatever_the_number_of_events_in_flight() {
    let mut world = looking("best", videos(0)).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let picture = bytes::Bytes::from(large_png());
    let serve = axum::Router::new().fallback(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let picture = picture.clone();
        async move { picture }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, serve).await });
    world.set("VOD_COVER__FETCH__HOSTS", &address.to_string());
    world.set("VOD_COVER__FETCH__CONCURRENCY", "64");
    world.set("VOD_COVER__INSPECT__MEMORY_MIB", "70");
    // Decoding is slow in code that is not optimised.
    world.set("VOD_COVER__LEDGER__LEASE", "170s");
    let program = world.run(&[]).await;
    for _ in 0..8 {
        let video = world.sim.add_video(NewVideo::default()).unwrap();
        for event in world.sim.events(&video) {
            let event = String::from_utf8(event.to_vec()).unwrap();
            let event = event.replace(&world.sim.address().to_string(), &address.to_string());
            deliver(&program, event.as_bytes()).await;
        }
    }
    all_done(&world, &program).await;
    server.abort();
    assert!(asked.load(Ordering::SeqCst) >= 8 * 8);
    // One decoder at a time holds 6 MiB of pixels and their copy; 64 would hold far more than this.
    assert!(program.peak_memory() < 150, "{} MiB", program.peak_memory());
    no_dead_letters(&program).await;
}

/// 1920x1080, of which compression leaves little.
fn large_png() -> Vec<u8> {
    let row: Vec<u8> = (0..1920u32).flat_map(|x| [(x / 8) as u8, 90, (x % 251) as u8]).collect();
    let pixels = row.repeat(1080);
    let mut png = std::io::Cursor::new(Vec::new());
    let size = (1920, 1080, image::ExtendedColorType::Rgb8);
    let format = image::ImageFormat::Png;
    image::write_buffer_with_format(&mut png, &pixels, size.0, size.1, size.2, format).unwrap();
    png.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_picture_has_its_finding_in_their_order() {
    let png = bytes::Bytes::from(large_png());
    let truncated = png.slice(..png.len() / 2);
    let page = bytes::Bytes::from_static(b"<html><body>Please log in</body></html>");
    let folder = tempfile::tempdir().unwrap();
    let pictures = [png.clone(), bytes::Bytes::new(), page, truncated, png];
    let file = |(number, bytes): (usize, &bytes::Bytes)| {
        let path = folder.path().join(number.to_string());
        std::fs::write(&path, bytes).unwrap();
        Source::File(path)
    };
    let given: Vec<Source> = pictures.iter().enumerate().map(file).collect();
    let found = |more: &[(&str, &str)]| {
        let environment = more.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let settings = vod_cover::config::Settings::load(None, &environment.collect()).unwrap();
        let (inspector, given) = (inspector(&settings), given.clone());
        async move {
            let views = inspector.view(given, false).await;
            views.into_iter().map(|view| view.finding).collect::<Vec<_>>()
        }
    };
    let all = found(&[]).await;
    assert!(matches!(&all[0], Finding::Seen(seen) if seen.facts.width == 1920), "{:?}", all[0]);
    assert_eq!(all[0], all[4], "the same picture");
    assert!(all[1..4].iter().all(|bad| matches!(bad, Finding::Bad(_))), "{all:?}");
    let poor = found(&[("VOD_COVER__INSPECT__MEMORY_MIB", "20")]).await;
    let why = |why: &str| why.contains("inspect.memory_mib");
    assert!(matches!(&poor[0], Finding::Bad(bad) if why(bad)), "{:?}", poor[0]);
    let limited = [("VOD_COVER__INSPECT__LIMITS", "true"), ("VOD_COVER__LIMITS__WIDTH", "1280")];
    let limited = found(&limited).await.remove(0);
    let defects = limited.seen().unwrap().defects.clone();
    assert!(defects.contains(&"beyond the limits".to_owned()), "{defects:?}");
}
