//! Whose a cover is, from outside: people who set covers at upload, later, and in the very moment between
//! our look and our write, while what VOD tells of it flows back into the queue.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vod_cover::sim::{By, Call, NewVideo, Settings, Simulator, StartingCover};

use crate::broker::Broker;
use crate::covers::deliver;
use crate::servers::{amqp_url, redis_url};
use crate::wait::eventually;
use crate::world::World;

const SOON: Duration = Duration::from_secs(120);

/// What VOD tells of changes goes into the queue as it happens, some of it late and some of it twice.
struct Bridge {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Bridge {
    fn start(sim: &Simulator, broker: Broker, queue: &str) -> Self {
        let (sim, queue, stop) = (sim.clone(), queue.to_owned(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let (mut seq, mut held) = (0, Vec::new());
            let mut random = fastrand::Rng::with_seed(7);
            loop {
                let last = stopped.load(Ordering::SeqCst);
                let (events, now) = sim.change_events_since(seq);
                (seq, held) = (now, [held, events].concat());
                random.shuffle(&mut held);
                let send = if last { held.len() } else { held.len().div_ceil(2) };
                for event in held.drain(..send) {
                    for _ in 0..=random.u32(..5) / 4 {
                        broker.publish(&queue, &event, 0).await;
                    }
                }
                if last {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { stop, task }
    }

    /// Ends when everything that VOD has told is in the queue.
    async fn caught_up(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
    }
}

/// Calls of this operation that named the video.
/// Alone or with others.
fn updates(sim: &Simulator, video: &str) -> usize {
    calls(sim, "UpdateVideoInfo", video) + calls(sim, "UpdateVideoInfos", video)
}

fn calls(sim: &Simulator, operation: &str, video: &str) -> usize {
    let is = |call: &&Call| {
        call.operation == operation && call.videos.iter().any(|named| &**named == video)
    };
    sim.journal().iter().filter(is).count()
}

/// The last cover that a person chose for each video, if any did.
fn choices(sim: &Simulator) -> HashMap<String, String> {
    let changes = sim.cover_changes().into_iter().filter(|change| change.by == By::Editor);
    changes.map(|change| (change.video.to_string(), change.new.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_videos_and_an_editor() {
    let settings = Settings {
        videos: 850,
        qps: false,
        latency: Duration::from_millis(15),
        ..Settings::default()
    };
    let (amqp, redis) = (amqp_url(), redis_url());
    let world = World::served(settings, &amqp, &redis).await;
    let sim = &world.sim;
    let mut given = HashMap::new();
    for number in 0..150 {
        let url = format!("http://img.example.com/given-{number}.png");
        let cover = StartingCover::Given(url.clone());
        given.insert(sim.add_video(NewVideo { cover, ..NewVideo::default() }).unwrap(), url);
    }
    let broker = Broker::connect(&amqp).await;
    let mut first = world.run(&[]).await;
    let second = world.run(&[]).await;
    for program in [&first, &second] {
        eventually("it is ready", SOON, async || program.ready().await.0 == 200).await;
    }
    let bridge = Bridge::start(sim, Broker::connect(&amqp).await, &world.name);

    // The editor changes one in three: before, while and after the workers do.
    let (editor, stop) = (sim.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let editing = tokio::spawn(async move {
        let mut random = fastrand::Rng::with_seed(3);
        let videos: Vec<_> = editor.videos().into_iter().step_by(3).collect();
        let mut number = 0;
        while !stopped.load(Ordering::SeqCst) {
            let video = &videos[random.usize(..videos.len())];
            let mut url = format!("http://img.example.com/{number}.png");
            // Also another of the video's own snapshots than VOD's and ours.
            let snapshots = editor.snapshots_of(video);
            if number % 5 == 0 && snapshots.len() > 3 {
                url.clone_from(&snapshots[1]);
            }
            editor.edit_cover(video, &url);
            number += 1;
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    });
    for (number, event) in sim.shuffled_events(0.3).into_iter().enumerate() {
        broker.publish(&world.name, &event, 0).await;
        if number == 400 || number == 900 {
            first.kill();
            first = world.run(&[]).await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    editing.await.unwrap();
    broker.everything_is_settled(&world.name, &first, SOON).await;
    bridge.caught_up().await;
    broker.everything_is_settled(&world.name, &first, SOON).await;
    // What was put back last has been told as well, and nothing comes of it.
    let bridge = Bridge::start(sim, Broker::connect(&amqp).await, &world.name);
    bridge.caught_up().await;
    broker.everything_is_settled(&world.name, &second, SOON).await;

    let (edited, changes) = (choices(sim), world.changes());
    assert!(edited.len() > 200, "the editor was slow: {}", edited.len());
    let mut put_back = 0;
    for video in sim.videos() {
        let cover = sim.cover_of(&video).unwrap();
        let written = changes.get(&video).copied().unwrap_or_default();
        match edited.get(&video).or(given.get(&video)) {
            Some(choice) => {
                assert_eq!(&cover, choice, "the choice for {video}");
                put_back += written.saturating_sub(1);
            }
            None => {
                let updates = updates(sim, &video);
                assert!(cover.ends_with("-00001.jpg"), "{video} has {cover}");
                // None where VOD's default is what the rule chooses.
                let expected = usize::from(sim.snapshots_of(&video).len() > 1);
                assert_eq!((written, updates.min(1)), (expected, expected), "writes to {video}");
                // One more where a worker was killed in the middle of it.
                assert!(updates <= 2, "{updates} writes to {video}: a loop");
            }
        }
    }
    println!("{} edited, {put_back} put back", edited.len());
    assert!(given.keys().all(|video| edited.contains_key(video) || !changes.contains_key(video)));
}

/// A world whose answers take so long that an editor gets in between.
async fn slow() -> World {
    let latency = Duration::from_millis(400);
    World::embedded(Settings { videos: 1, latency, ..Settings::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_between_our_look_and_our_write_is_put_back_and_said() {
    let world = slow().await;
    let (sim, program) = (&world.sim, world.run(&[]).await);
    let video = sim.videos().remove(0);
    for event in sim.events(&video) {
        deliver(&program, &event).await;
    }
    let looked = async || calls(sim, "GetVideoInfo", &video) > 0;
    eventually("the worker has looked", SOON, looked).await;
    let choice = "http://img.example.com/mine.png?x-oss-process=style/big";
    assert!(sim.edit_cover(&video, choice));
    let written = async || sim.cover_of(&video).is_some_and(|cover| cover != choice);
    eventually("our write has replaced it", SOON, written).await;
    let (events, _) = sim.change_events_since(0);
    assert_eq!(events.len(), 2, "the editor's and ours");
    for event in events {
        deliver(&program, &event).await;
    }
    let back = async || sim.cover_of(&video).as_deref() == Some(choice);
    eventually("it is back, with its query", SOON, back).await;
    let counted = async || program.metric("vod_cover_put_back_total", "").await == 1.0;
    eventually("it was counted", SOON, counted).await;
    assert!(program.log().contains("had replaced somebody's cover"), "{}", program.log());
    // Whatever comes now, it stays.
    let before = updates(sim, &video);
    for event in [sim.change_events_since(0).0, sim.events(&video)].concat() {
        deliver(&program, &event).await;
    }
    let noted = async || program.metric("vod_cover_events_total", "noted").await >= 1.0;
    eventually("the later events are through", SOON, noted).await;
    assert_eq!(sim.cover_of(&video).as_deref(), Some(choice));
    assert_eq!(updates(sim, &video), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cover_given_at_upload_is_known_before_the_snapshots_and_costs_no_call() {
    let world = World::embedded(Settings { videos: 0, ..Settings::default() }).await;
    let sim = &world.sim;
    let cover = StartingCover::Given("http://img.example.com/given.png".into());
    let video = sim.add_video(NewVideo { cover, ..NewVideo::default() }).unwrap();
    let program = world.run(&[]).await;
    for event in sim.change_events_since(0).0 {
        deliver(&program, &event).await;
    }
    let known = async || program.metric("vod_cover_events_total", "manual").await == 1.0;
    eventually("it is known", SOON, known).await;
    for event in sim.events(&video) {
        deliver(&program, &event).await;
    }
    let kept = async || program.metric("vod_cover_events_total", "kept").await == 1.0;
    eventually("it is kept", SOON, kept).await;
    assert_eq!(calls(sim, "GetVideoInfo", &video), 0);
    assert_eq!(sim.cover_of(&video).as_deref(), Some("http://img.example.com/given.png"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_deleted_video_are_dropped_and_no_dead_letters() {
    let world = World::embedded(Settings { videos: 2, ..Settings::default() }).await;
    let (sim, program) = (&world.sim, world.run(&[]).await);
    let video = sim.videos().remove(0);
    let events = sim.events(&video);
    assert!(sim.delete_video(&video));
    for event in sim.change_events_since(0).0 {
        deliver(&program, &event).await;
    }
    let deleted = async || program.metric("vod_cover_events_total", "deleted").await >= 1.0;
    eventually("it is known", SOON, deleted).await;
    for event in events {
        deliver(&program, &event).await;
    }
    let kept = async || program.metric("vod_cover_events_total", "kept").await == 1.0;
    eventually("its event was dropped", SOON, kept).await;
    assert_eq!(program.metric("vod_cover_dead_letters_total", "").await, 0.0);
    let asked: HashSet<_> = sim.journal().into_iter().flat_map(|call| call.videos).collect();
    assert!(!asked.iter().any(|named| **named == *video), "VOD was asked about it");
}
