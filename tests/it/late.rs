//! Smart thumbnails that come late, or are ordered, or never come.

use std::time::Duration;

use vod_cover::sim::{NewVideo, Settings, Simulator};

use crate::broker::Broker;
use crate::covers::deliver;
use crate::servers::{amqp_url, redis_url};
use crate::wait::eventually;
use crate::world::{Program, World};

const SOON: Duration = Duration::from_secs(60);

fn nothing() -> Settings {
    Settings { videos: 0, ..Settings::default() }
}

/// Of a video whose three smart thumbnails are not there yet.
fn late(sim: &Simulator) -> String {
    let new = NewVideo { smart: 3, ai_after: Some(1e6), ..NewVideo::default() };
    sim.add_video(new).unwrap()
}

fn waits(world: &mut World, how: &str, deadline: &str) {
    world.set("VOD_COVER__COVER__RULES", "intelligent,first");
    world.set("VOD_COVER__COVER__INTELLIGENT__LATE", how);
    world.set("VOD_COVER__COVER__INTELLIGENT__DEADLINE", deadline);
}

fn is_first(sim: &Simulator, video: &str) -> bool {
    sim.cover_of(video).is_some_and(|cover| cover.ends_with("-00001.jpg"))
}

fn is_best(sim: &Simulator, video: &str) -> bool {
    let all = sim.smart_thumbnails_of(video);
    let best = all.into_iter().max_by(|one, other| one.1.total_cmp(&other.1));
    best.is_some_and(|(best, _)| sim.cover_of(video) == Some(best))
}

async fn post_all(program: &Program, sim: &Simulator, video: &str) {
    for event in sim.events(video) {
        deliver(program, &event).await;
    }
}

fn questions(sim: &Simulator) -> usize {
    sim.journal().iter().filter(|call| call.operation == "ListAIImageInfo").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provisional_cover_is_upgraded_when_the_thumbnail_comes_also_across_kill_nine() {
    let mut world = World::embedded(nothing()).await;
    waits(&mut world, "provisional", "10m");
    let video = late(&world.sim);
    let mut program = world.run(&[]).await;
    // Ten minutes' first step is nine seconds; the queue's own clock brings it.
    post_all(&program, &world.sim, &video).await;
    eventually("it has a cover for now", SOON, async || is_first(&world.sim, &video)).await;
    program.kill();
    drop(program);
    world.sim.finish_ai(&video);
    let program = world.run(&[]).await;
    eventually("it has the better one", SOON, async || is_best(&world.sim, &video)).await;
    assert_eq!(world.changes()[&video], 2);
    // Nobody asks again.
    let asked = questions(&world.sim);
    post_all(&program, &world.sim, &video).await;
    let done = async || program.metric("vod_cover_events_total", "duplicate").await >= 1.0;
    eventually("the same event again is done", SOON, done).await;
    assert_eq!(questions(&world.sim), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_ups_travel_through_rabbitmqs_tiers_and_survive_the_worker() {
    let (amqp, redis) = (amqp_url(), redis_url());
    let mut world = World::served(nothing(), &amqp, &redis).await;
    waits(&mut world, "provisional", "5m");
    let videos: Vec<_> = (0..10).map(|_| late(&world.sim)).collect();
    let broker = Broker::connect(&amqp).await;
    let mut program = world.run(&[]).await;
    eventually("it is ready", SOON, async || program.ready().await.0 == 200).await;
    for event in world.sim.shuffled_events(0.5) {
        broker.publish(&world.name, &event, 0).await;
    }
    eventually("covers for now", SOON, async || {
        videos.iter().all(|video| is_first(&world.sim, video))
    })
    .await;
    program.kill();
    for video in &videos {
        world.sim.finish_ai(video);
    }
    let _survivor = world.run(&[]).await;
    eventually("better ones", SOON, async || videos.iter().all(|video| is_best(&world.sim, video)))
        .await;
    assert!(world.changes().values().all(|count| *count == 2), "{:?}", world.changes());
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_does_nothing_until_the_thumbnail_is_there() {
    let mut world = World::embedded(nothing()).await;
    waits(&mut world, "wait", "2m");
    let video = late(&world.sim);
    let program = world.run(&[]).await;
    post_all(&program, &world.sim, &video).await;
    eventually("it was asked twice", SOON, async || questions(&world.sim) >= 2).await;
    assert!(world.changes().is_empty());
    world.sim.finish_ai(&video);
    eventually("it is set", SOON, async || is_best(&world.sim, &video)).await;
    assert_eq!(world.changes()[&video], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_deadline_the_next_rule_decides_for_good() {
    let mut world = World::embedded(nothing()).await;
    waits(&mut world, "wait", "3s");
    let video = late(&world.sim);
    let program = world.run(&[]).await;
    post_all(&program, &world.sim, &video).await;
    eventually("the next rule's cover", SOON, async || is_first(&world.sim, &video)).await;
    let waiting = async || program.metric("vod_cover_events_total", "waiting").await;
    assert!(waiting().await >= 1.0);
    // It comes too late, and no message is under way to notice.
    world.sim.finish_ai(&video);
    assert_eq!(program.metric("vod_cover_queue_messages", "delayed").await, 0.0);
    assert!(is_first(&world.sim, &video));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_chooses_meanwhile_ends_the_waiting() {
    let mut world = World::embedded(nothing()).await;
    waits(&mut world, "provisional", "2m");
    let video = late(&world.sim);
    let program = world.run(&[]).await;
    post_all(&program, &world.sim, &video).await;
    eventually("it has a cover for now", SOON, async || is_first(&world.sim, &video)).await;
    let choice = "http://img.example.com/mine.png";
    world.sim.edit_cover(&video, choice);
    for event in world.sim.change_events_since(0).0 {
        deliver(&program, &event).await;
    }
    let known = async || program.metric("vod_cover_events_total", "manual").await == 1.0;
    eventually("it is known", SOON, known).await;
    world.sim.finish_ai(&video);
    let ended = async || program.metric("vod_cover_events_total", "kept").await >= 1.0;
    eventually("the next look ends it", SOON, ended).await;
    eventually("no message is under way", SOON, async || {
        program.metric("vod_cover_queue_messages", "delayed").await == 0.0
    })
    .await;
    assert_eq!(world.sim.cover_of(&video).as_deref(), Some(choice));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_ordered_once_for_each_video_whatever_happens() {
    let settings = Settings { ai_job_takes: Duration::from_secs(2), ..nothing() };
    let mut world = World::embedded(settings).await;
    waits(&mut world, "provisional", "2m");
    world.set("VOD_COVER__COVER__INTELLIGENT__SUBMIT", "true");
    world.set("VOD_COVER__COVER__INTELLIGENT__TEMPLATE", "tpl-smart");
    let sim = world.sim.clone();
    let new = |ai_fails| NewVideo { ai_fails, ..NewVideo::default() };
    let videos: Vec<_> = (0..6).map(|number| sim.add_video(new(number == 0)).unwrap()).collect();
    let mut program = world.run(&[]).await;
    for event in sim.shuffled_events(1.0) {
        deliver(&program, &event).await;
    }
    let ordered = async || videos.iter().any(|video| sim.ai_jobs_of(video) > 0);
    eventually("some are ordered", SOON, ordered).await;
    program.kill();
    drop(program);
    let program = world.run(&[]).await;
    let (failing, others) = videos.split_first().unwrap();
    eventually("they are set", SOON, async || others.iter().all(|video| is_best(&sim, video)))
        .await;
    eventually("the next rule's where the job failed", SOON, async || is_first(&sim, failing))
        .await;
    for video in &videos {
        assert!(sim.ai_jobs_of(video) <= 1, "{} jobs for {video}", sim.ai_jobs_of(video));
    }
    assert_eq!(program.metric("vod_cover_dead_letters_total", "").await, 0.0);
}
