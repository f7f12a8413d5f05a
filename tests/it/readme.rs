//! Every command of the README, run as it stands there, section by section, by a shell that knows nothing but the
//! program. Only what a reader has to fill in is filled in.

use std::process::{Command, Stdio};

use serde_json::json;
use vod_cover::sim::{NewVideo, Settings};

use crate::servers::{amqp_url, free_port, redis_url};
use crate::world::World;

/// What begins a line that a reader types.
const PROMPT: &str = "$ ";
/// Sections that a test of this file runs, each whole.
const SECTIONS: [&str; 11] = [
    "vod-cover",
    "On one machine",
    "On RabbitMQ and Redis",
    "From VOD to RabbitMQ",
    "Whose cover it is",
    "Videos that no event told of",
    "What would be chosen, and why",
    "One cover by hand",
    "The page",
    "What goes wrong, and what then",
    "Commands",
];

/// The sections of the README, each with its commands, without what is said of them.
fn sections() -> Vec<(String, Vec<String>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        if let Some(title) = line.strip_prefix("# ").or_else(|| line.strip_prefix("## ")) {
            sections.push((title.to_owned(), Vec::new()));
        } else if let Some(command) = line.strip_prefix(PROMPT) {
            let command = command.split(" # ").next().unwrap().trim().to_owned();
            sections.last_mut().unwrap().1.push(command);
        }
    }
    sections.retain(|(_, commands)| !commands.is_empty());
    sections
}

fn commands(section: &str) -> Vec<String> {
    let found = sections().into_iter().find(|(title, _)| title == section);
    found.unwrap_or_else(|| panic!("the README has no commands under {section:?}")).1
}

#[test]
fn every_section_with_commands_is_run_here() {
    for (title, commands) in sections() {
        assert!(SECTIONS.contains(&title.as_str()), "nobody runs {commands:?} of {title:?}");
    }
}

/// Runs a section in a shell. `filled` has what stands for something in the README and what it stands for here.
/// What goes on until it is stopped, goes on until it is ready and `then`, more shell, has succeeded.
#[track_caller]
fn run(world: &World, commands: &[String], filled: &[(&str, &str)], then: &str) -> String {
    let shim = world.directory.path().join("bin");
    std::fs::create_dir_all(&shim).unwrap();
    let program = shim.join("vod-cover");
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_vod-cover"), &program).unwrap();
    }
    let fill = |command: &String| {
        let filled = filled.iter();
        filled.fold(command.clone(), |command, (name, value)| command.replace(name, value))
    };
    let mut script =
        String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n");
    for command in commands {
        let command = fill(command);
        match command.strip_prefix("vod-cover ").and_then(|rest| rest.split(' ').next()) {
            Some("run" | "gateway") => {
                let ready =
                    "until vod-cover health >/dev/null 2>&1; do kill -0 $going; sleep 0.1; done";
                script.push_str(&format!(
                    "{command} & going=$!\n{ready}\n{then}\nkill $going\nwait $going\n"
                ));
            }
            _ => script.push_str(&format!("{command}\n")),
        }
    }
    let path = format!("{}:{}", shim.display(), std::env::var("PATH").unwrap());
    let output = Command::new("timeout")
        .args(["120", "bash", "-c", &script])
        .env_clear()
        .envs(&world.environment)
        .env("PATH", path)
        .env("VOD_COVER__OPS__LISTEN", format!("127.0.0.1:{}", free_port()))
        .env("VOD_COVER__INTAKE__LISTEN", format!("127.0.0.1:{}", free_port()))
        .current_dir(world.directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n--- said\n{said}\n--- errors\n{errors}");
    said
}

/// A simulated account with one video more, whose id is known.
async fn with_video(mut world: World) -> (World, String) {
    let video = world.sim.add_video(NewVideo::default()).unwrap();
    world.environment.remove("VOD_CALLBACK_KEY");
    (world, video)
}

fn videos(videos: u32) -> Settings {
    Settings { videos, ..Settings::default() }
}

const KEYS: [(&str, &str); 3] = [
    ("KEY_ID=…", "KEY_ID=testid"),
    ("KEY_SECRET=…", "KEY_SECRET=testsecret"),
    ("CALLBACK_KEY=…", "CALLBACK_KEY=key"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_user_sees_first_works() {
    let commands = commands("vod-cover");
    // The second is what runs this, and the first is what the built program does.
    assert_eq!(commands, ["cargo run --release -- demo", "tests/run"]);
    let world = World::embedded(videos(0)).await;
    let said = run(&world, &["vod-cover demo --videos 3".to_owned()], &[], "");
    assert!(said.contains("3"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_machine_works_as_the_readme_says() {
    let commands = commands("On one machine");
    let (account, simulated) = commands.split_at(4);
    let world = World::embedded(videos(2)).await;
    let said = run(&world, account, &KEYS, "");
    assert!(said.contains("All is well."), "{said}");

    // The simulated account of the README has an address of its own.
    let mut world = World::embedded(videos(0)).await;
    let (sim, intake) = (free_port(), free_port());
    world.set("VOD_COVER__INTAKE__LISTEN", &format!("127.0.0.1:{intake}"));
    let (at_sim, at_intake) = (format!("127.0.0.1:{sim}"), format!("127.0.0.1:{intake}"));
    let started = format!("vod-cover sim --listen {at_sim}");
    let intake = format!("export VOD_COVER__INTAKE__LISTEN={at_intake}");
    let simulated = [&[intake][..], simulated].concat();
    let filled = [
        ("vod-cover sim", started.as_str()),
        ("127.0.0.1:8800", &at_sim),
        ("127.0.0.1:8080", &at_intake),
    ];
    let set = format!(
        "until curl -s http://{at_sim}/_sim/covers > covers && [ $(grep -o -- -00001.jpg covers | wc -l) = 12 ]; \
                       do sleep 0.2; done"
    );
    run(&world, &simulated, &filled, &set);
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_and_redis_work_as_the_readme_says() {
    let world = World::embedded(videos(3)).await;
    let events: Vec<u8> = world
        .sim
        .shuffled_events(0.0)
        .iter()
        .flat_map(|event| [event, &b"\n"[..]].concat())
        .collect();
    std::fs::write(world.directory.path().join("events.ndjson"), events).unwrap();
    let (amqp, redis) = (amqp_url(), redis_url());
    let servers = [
        ("amqp://user:password@rabbit:5672/vhost", amqp.as_str()),
        ("redis://:password@redis:6379/0", &redis),
    ];
    let covers = format!("curl -s {}/_sim/covers", world.sim.endpoint());
    let set = format!(
        "vod-cover publish events.ndjson\n\
                       until [ $({covers} | grep -o -- -00001.jpg | wc -l) = 3 ]; do sleep 0.2; done"
    );
    run(&world, &commands("On RabbitMQ and Redis"), &servers, &set);
    assert_eq!(world.without_cover(), Vec::<String>::new());

    let filled = [&servers[..], &KEYS[..]].concat();
    let stored = "signed=$(date +%s)\n\
        signature=$(printf '%s' \"https://callbacks.example.com/vod|$signed|key\" | md5sum | cut -d' ' -f1)\n\
        curl -sf -H \"X-VOD-TIMESTAMP: $signed\" -H \"X-VOD-SIGNATURE: $signature\" \
            -d '{\"EventType\":\"Other\"}' http://$VOD_COVER__INTAKE__LISTEN/callback";
    run(&world, &commands("From VOD to RabbitMQ"), &filled, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_videos_story_and_its_cover_by_hand_work_as_the_readme_says() {
    let (world, video) = with_video(World::embedded(videos(0)).await).await;
    let cover = ("https://…", "https://img.example.com/a.jpg");
    let filled = [("7d28d2ab…", video.as_str()), cover, ("\"…\"", "\"A title\"")];
    let said = run(&world, &commands("Whose cover it is"), &filled, "");
    assert!(
        said.contains("VOD's: it is the snapshot that VOD takes") && said.contains("VideoId"),
        "{said}"
    );

    let poster =
        image::RgbImage::from_fn(640, 360, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
    poster.save(world.directory.path().join("poster.png")).unwrap();
    let said = run(&world, &commands("One cover by hand"), &filled, "");
    assert!(said.contains("uploaded http"), "{said}");
    assert_eq!(said.matches("No event replaces it").count(), 3, "{said}");
    assert_eq!(world.sim.cover_of(&video).as_deref(), Some(cover.1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_and_a_choice_without_an_account_work_as_the_readme_says() {
    let (world, _) = with_video(World::embedded(videos(3)).await).await;
    let said = run(&world, &commands("Videos that no event told of"), &[], "");
    assert!(said.contains("4 videos seen"), "{said}");
    assert_eq!(world.without_cover(), Vec::<String>::new());

    let snapshots = world.directory.path().join("snapshots");
    std::fs::create_dir(&snapshots).unwrap();
    for url in world.sim.snapshots_of(&world.sim.videos()[0]) {
        let picture = crate::world::http().get(&url).send().await.unwrap().bytes().await.unwrap();
        std::fs::write(snapshots.join(url.rsplit('/').next().unwrap()), picture).unwrap();
    }
    run(&world, &commands("What would be chosen, and why"), &[], "");
    let sheet = std::fs::read_to_string(world.directory.path().join("sheet.html")).unwrap();
    assert!(sheet.contains("picked"), "{sheet}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_the_dead_letters_work_as_the_readme_says() {
    let mut world = World::embedded(videos(2)).await;
    world.environment.remove("VOD_CALLBACK_KEY");
    let page = "curl -sf http://$VOD_COVER__OPS__LISTEN/ | grep -q 'Taking events'\n\
                curl -sf -H \"Authorization: Bearer $VOD_COVER_OPS_TOKEN\" -d all=yes http://$VOD_COVER__OPS__LISTEN/dead/retry";
    run(&world, &commands("The page"), &[], page);

    let dead = json!({ "EventType": "SnapshotComplete", "VideoId": "gone", "Status": "success",
        "SnapshotInfos": [{ "SnapshotType": "CoverSnapshot", "SnapshotCount": 1, "Status": "success",
                            "JobId": "j", "SnapshotRegular": format!("{}/a.jpg", world.sim.endpoint()) }] });
    std::fs::write(world.directory.path().join("events.ndjson"), dead.to_string()).unwrap();
    let until = "until vod-cover dead list --json | grep -q InvalidVideo; do sleep 0.2; done";
    let fill = ["vod-cover publish events.ndjson".to_owned(), "vod-cover run".to_owned()];
    run(&world, &fill, &[], until);
    let listed = world.command(&["dead", "list", "--json"], &[]).output().unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let key = listed["letters"][0]["key"].as_str().unwrap();
    let said =
        run(&world, &commands("What goes wrong, and what then"), &[("5f0c2a9be113", key)], "");
    for part in [
        "1 dead letters",
        "\"VideoId\": \"gone\"",
        "would be a dead letter again",
        "1 are tried again",
        "0 were dropped",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_and_man_learn_the_commands_as_the_readme_says() {
    let world = World::embedded(videos(0)).await;
    let more = "bash -c 'source ./vod-cover.bash && complete -p vod-cover'".to_owned();
    let said = run(&world, &[commands("Commands"), vec![more]].concat(), &[], "");
    assert!(said.contains("vod-cover"), "{said}");
    let page =
        std::fs::read_to_string(world.directory.path().join("vod-cover-dead-retry.1")).unwrap();
    assert!(page.contains("dry\\-run"), "{page}");
    assert!(world.directory.path().join("vod-cover.1").exists());
}

#[test]
fn every_link_of_the_readme_leads_somewhere() {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let mut links = 0;
    for target in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        if target.starts_with("http") || target.starts_with('#') {
            continue;
        }
        links += 1;
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
        assert!(path.exists(), "{target} is not there");
    }
    assert!(links > 10);
    for anchor in readme.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        let of = |line: &str| {
            line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-").replace(',', "")
        };
        let is_heading = readme.lines().any(|line| line.starts_with('#') && of(line) == anchor);
        assert!(is_heading, "nothing is called #{anchor}");
    }
}
