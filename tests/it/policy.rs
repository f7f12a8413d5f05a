//! Other rules for some videos, by what VOD says of them.

use std::time::Duration;

use vod_cover::sim::{NewVideo, Settings};

use crate::covers::deliver;
use crate::wait::eventually;
use crate::world::World;

const SOON: Duration = Duration::from_secs(60);

const OVERRIDES: &str = r#"
[[cover.override]]
name = "ordered"
sub_type = "SpecifiedTime"
rules = ["keep"]
[[cover.override]]
name = "sports"
category = 42
rules = ["last"]
[[cover.override]]
name = "concerts"
tags = ["live", "music"]
title_contains = "concert"
rules = ["nth=2"]
"#;

fn look_ups(world: &World) -> usize {
    let is = |operation: &str| matches!(operation, "GetVideoInfo" | "GetVideoInfos");
    let calls = world.sim.journal().into_iter().filter(|call| is(&call.operation));
    // The probe at the start asks about a video that cannot exist.
    let known = world.sim.videos();
    calls.flat_map(|call| call.videos).filter(|video| known.contains(&video.to_string())).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn category_tags_and_title_choose_the_rules_and_facts_cost_a_look_up_only_where_needed() {
    let world = World::embedded(Settings { videos: 0, ..Settings::default() }).await;
    let add = |category, tags: &str, title: &str| {
        let new = NewVideo {
            category,
            tags: tags.to_owned(),
            title: Some(title.to_owned()),
            ..NewVideo::default()
        };
        world.sim.add_video(new).unwrap()
    };
    let sports = add(Some(42), "", "A match");
    let concert = add(Some(7), "music,live,x", "A CONCERT in the park");
    let other = add(Some(7), "music", "A concert");
    let file = world.directory.path().join("overrides.toml");
    std::fs::write(&file, OVERRIDES).unwrap();
    let mut program = world.run_with(&["--config", file.to_str().unwrap()], &[]).await;
    for event in world.sim.all_events() {
        deliver(&program, &event).await;
    }
    let is = |video: &str, end: &str| {
        world.sim.cover_of(video).is_some_and(|cover| cover.ends_with(end))
    };
    eventually("each has its own rule's cover", SOON, async || {
        is(&sports, "-00008.jpg") && is(&concert, "-00002.jpg") && is(&other, "-00001.jpg")
    })
    .await;
    // One for the facts, one right before the write.
    assert_eq!(look_ups(&world), 6);
    // In order, so that no event is left to the next one.
    program.signal("TERM");
    assert!(program.ended(SOON).await);

    // Without such overrides there is no more than the usual one.
    let plain = world.sim.add_video(NewVideo::default()).unwrap();
    let program = world.run(&[]).await;
    for event in world.sim.events(&plain) {
        deliver(&program, &event).await;
    }
    eventually("it is set", SOON, async || is(&plain, "-00001.jpg")).await;
    assert_eq!(look_ups(&world), 7);
}
