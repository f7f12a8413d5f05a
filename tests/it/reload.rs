//! Rules and limits that change while `run` works.

use std::path::PathBuf;
use std::time::Duration;

use vod_cover::sim::{NewVideo, Settings};

use crate::covers::deliver;
use crate::wait::{SOON, eventually};
use crate::world::{Program, World};

/// A world without rules of its own, and the file that they are in.
async fn world() -> (World, PathBuf) {
    let mut world = World::embedded(Settings { videos: 0, ..Settings::default() }).await;
    world.environment.remove("VOD_COVER__COVER__RULES");
    let file = world.directory.path().join("vod-cover.toml");
    (world, file)
}

fn rules(rule: &str) -> String {
    format!("[cover]\nrules = [\"{rule}\"]\n")
}

async fn start(world: &World, file: &std::path::Path) -> Program {
    world.run_with(&["--config", file.to_str().unwrap()], &[]).await
}

/// The number of the snapshot that a new video gets for its cover.
async fn chosen(world: &World, program: &Program) -> (String, String) {
    let video = world.sim.add_video(NewVideo::default()).unwrap();
    let before = world.sim.cover_of(&video);
    for event in world.sim.events(&video) {
        deliver(program, &event).await;
    }
    eventually("it is set", SOON, async || world.sim.cover_of(&video) != before).await;
    let cover = world.sim.cover_of(&video).unwrap();
    (video, cover[cover.len() - 9..cover.len() - 4].to_owned())
}

async fn says(program: &Program, text: &str) {
    eventually(text, SOON, async || program.log().contains(text)).await;
}

/// What `explain` says of the rules that decided.
fn version(world: &World, file: &std::path::Path, video: &str) -> String {
    let arguments = ["explain", video, "--json", "--config", file.to_str().unwrap()];
    let output = world.command(&arguments, &[]).output().unwrap();
    let story: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    story["standing"]["rules"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_changes_the_rules_of_what_comes_then() {
    let (world, file) = world().await;
    std::fs::write(&file, rules("first")).unwrap();
    let program = start(&world, &file).await;
    let (one, cover) = chosen(&world, &program).await;
    assert_eq!(cover, "00001");
    std::fs::write(&file, rules("last")).unwrap();
    says(&program, "rules and limits were read again").await;
    let (two, cover) = chosen(&world, &program).await;
    assert_eq!(cover, "00008");

    let (first, last) = (version(&world, &file, &one), version(&world, &file, &two));
    assert!(first.len() == 8 && last.len() == 8 && first != last, "{first} {last}");
    assert!(program.log().contains(&last), "the log names the version: {}", program.log());
    // The same rules have the same version again.
    std::fs::write(&file, rules("first")).unwrap();
    says(&program, &format!("rules=\"{first}\"")).await;
    let (three, _) = chosen(&world, &program).await;
    assert_eq!(version(&world, &file, &three), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_changes_nothing_and_is_said() {
    let (world, file) = world().await;
    std::fs::write(&file, rules("last")).unwrap();
    let program = start(&world, &file).await;
    for (wrong, named) in [
        ("[cover]\nrules = [\"best-of-all\"]\n", "best-of-all"),
        ("[cover]\nrule = [\"first\"]\n", "unknown field `rule`"),
        ("[cover\n", "vod-cover.toml"),
        ("[cover]\nrules = []\n", "[cover]"),
        ("[cover]\nrules = [\"first\"]\n[fetch.url_signing]\ntype = \"a\"\n", "there is no key"),
    ] {
        std::fs::write(&file, wrong).unwrap();
        let told = async || {
            let log = program.log();
            log.lines().any(|line| line.contains("stays as it was") && line.contains(named))
        };
        eventually(wrong, SOON, told).await;
    }
    std::fs::remove_file(&file).unwrap();
    program.signal("HUP");
    says(&program, "cannot be read").await;
    assert_eq!(chosen(&world, &program).await.1, "00008");
    std::fs::write(&file, rules("first")).unwrap();
    says(&program, "were read again").await;
    assert_eq!(chosen(&world, &program).await.1, "00001");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_reads_it_again_and_names_what_waits_for_the_next_start() {
    let (world, file) = world().await;
    std::fs::write(&file, rules("first")).unwrap();
    let mut program = start(&world, &file).await;
    program.signal("HUP");
    says(&program, "rules and limits were read again").await;
    assert!(!program.log().contains("next start"), "{}", program.log());
    std::fs::write(&file, format!("{}[pipeline]\ndrain = \"7s\"\n", rules("last"))).unwrap();
    says(&program, "take effect at the next start").await;
    assert_eq!(chosen(&world, &program).await.1, "00008");
    program.signal("TERM");
    assert!(program.ended(Duration::from_secs(20)).await);
}
