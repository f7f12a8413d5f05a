//! `pick` by the real program: from files without any account, and from events and videos of the simulated
//! one.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use image::{Rgb, RgbImage};
use serde_json::Value;
use vod_cover::sim::{NewVideo, Settings};

use crate::world::World;

/// Without configuration, account or anything else from the environment.
fn pick(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vod-cover"));
    command.env_clear().current_dir(directory).arg("pick").args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(output: &Output) -> Value {
    assert!(output.status.code() < Some(2), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stdout)))
}

fn files(report: &Value) -> Vec<String> {
    let entries = report["ranking"].as_array().unwrap().iter();
    entries.map(|entry| entry["file"].as_str().unwrap().to_owned()).collect()
}

fn entry<'a>(report: &'a Value, file: &str) -> &'a Value {
    report["ranking"].as_array().unwrap().iter().find(|entry| entry["file"] == file).unwrap()
}

/// A landscape of sorts; `light` from 0 (black) to 1.
fn landscape(path: &Path, shift: u32, light: f64) {
    let mut random = fastrand::Rng::with_seed(u64::from(shift));
    let image = RgbImage::from_fn(480, 270, |x, y| {
        let hill = 150.0 + 40.0 * f64::from(x + 20 * shift).mul_add(0.02, 0.0).sin();
        let grain = f64::from(random.u8(..20));
        let colour = match f64::from(y) < hill {
            true => [90.0 + f64::from(y) / 3.0, 140.0, 210.0],
            false => [60.0 + grain, 110.0 + grain, 40.0 + grain],
        };
        let sun =
            f64::from(x).mul_add(1.0, -80.0 - 30.0 * f64::from(shift)).hypot(f64::from(y) - 60.0);
        let colour = if sun < 30.0 { [250.0, 230.0, 120.0] } else { colour };
        Rgb(colour.map(|value| (value * light) as u8))
    });
    image.save(path).unwrap();
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (number, light) in [(1, 0.0), (2, 0.9), (3, 1.0), (4, 0.05), (5, 0.95)] {
        landscape(&folder.path().join(format!("0000{number}.jpg")), number, light);
    }
    folder
}

#[test]
fn a_directory_is_ranked_best_first_with_every_file_and_a_reason_for_each_that_is_no_picture() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("empty.jpg"), b"").unwrap();
    std::fs::write(path("page.jpg"), b"<html><body>not found</body></html>").unwrap();
    let jpeg = std::fs::read(path("00003.jpg")).unwrap();
    std::fs::write(path("half.jpg"), &jpeg[..jpeg.len() / 2]).unwrap();
    std::fs::write(path(".hidden.jpg"), &jpeg).unwrap();
    std::fs::create_dir(path("inner")).unwrap();
    std::os::unix::fs::symlink("nowhere.jpg", path("gone.jpg")).unwrap();

    let output = pick(folder.path(), &[".", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let report = json(&output);
    let names = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&report), ["picked", "ranking"]);
    assert_eq!(names(&report["ranking"][0]), ["defects", "features", "file", "score"]);
    let mut all = files(&report);
    let scores: Vec<f64> =
        all.iter().map(|file| entry(&report, file)["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|one, other| one >= other), "{scores:?}");
    assert_eq!(report["picked"].as_str().unwrap(), all[0]);
    assert!(["00002.jpg", "00003.jpg", "00005.jpg"].contains(&all[0].as_str()), "{all:?}");
    all.sort();
    let there = [
        "00001.jpg",
        "00002.jpg",
        "00003.jpg",
        "00004.jpg",
        "00005.jpg",
        "empty.jpg",
        "gone.jpg",
        "half.jpg",
        "page.jpg",
    ];
    assert_eq!(all, there);

    let defects = |file: &str| entry(&report, file)["defects"].to_string();
    assert!(defects("00001.jpg").contains("black"), "{}", defects("00001.jpg"));
    assert_eq!(defects(report["picked"].as_str().unwrap()), "[]");
    assert!(defects("empty.jpg").contains("empty"));
    assert!(defects("page.jpg").contains("HTML"));
    assert!(defects("half.jpg").contains("truncated"));
    let features = entry(&report, "00003.jpg")["features"].as_object().unwrap();
    assert!(features.values().all(|value| (0.0..=1.0).contains(&value.as_f64().unwrap())));
}

#[test]
fn files_keep_the_order_in_which_they_are_given_and_rules_choose_among_them() {
    let folder = folder();
    let given = ["00005.jpg", "00003.jpg", "00001.jpg", "--json", "--rules"];
    let picked = |rules: &str| {
        json(&pick(folder.path(), &[&given[..], &[rules]].concat()))["picked"].clone()
    };
    assert_eq!(picked("first,best"), "00005.jpg");
    assert_eq!(picked("middle"), "00003.jpg");
    // The last is black.
    assert_eq!(picked("last"), "00003.jpg");
    assert_eq!(picked("keep"), Value::Null);

    let shown = text(&pick(folder.path(), &["00005.jpg", "00001.jpg", "--rules", "last"]).stdout);
    assert!(shown.contains("picked 00005.jpg by last") && shown.contains("black"), "{shown}");
}

#[test]
fn the_page_is_one_file_and_escapes_what_comes_from_outside() {
    let folder = folder();
    let name = "<script>alert(1)&.jpg";
    landscape(&folder.path().join(name), 9, 1.0);
    let output = pick(folder.path(), &[".", "--html", "page.html"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(1)&amp;.jpg"));
    assert!(page.contains("Content-Security-Policy") && page.contains("data:image/jpeg;base64,"));
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"));
    for file in ["00001.jpg", "00005.jpg"] {
        assert!(page.contains(file));
    }
}

#[test]
fn what_cannot_be_picked_from_is_said_with_what_to_do() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("inner")).unwrap();
    let failed = |arguments: &[&str], code: i32, words: &str| {
        let output = pick(folder.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words) && output.stdout.is_empty(), "{arguments:?}: {said}");
    };
    failed(&["inner"], 1, "no files");
    failed(&["missing"], 1, "missing");
    failed(&[], 2, "Usage");
    failed(&[".", "--rules", "nicest"], 2, "nicest");
    failed(&["inner", "00001.jpg"], 2, "is a directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_and_a_video_are_looked_at_as_the_worker_does() {
    let world = World::embedded(Settings::default()).await;
    let video = world.sim.add_video(NewVideo { snapshots: 8, ..NewVideo::default() }).unwrap();
    let event = world.sim.events(&video).into_iter().find(|event| {
        serde_json::from_slice::<Value>(event).unwrap()["EventType"] == "SnapshotComplete"
    });
    let file = world.directory.path().join("event.json");
    std::fs::write(&file, event.unwrap()).unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = world.command(&["pick"], &[]);
        command.args(arguments).args(["--json", "--rules", "best"]);
        let output = tokio::process::Command::from(command).output().await.unwrap();
        json(&output)
    };
    let from_event = run(&[file.to_str().unwrap()]).await;
    let from_video = run(&["--video", &video]).await;
    assert_eq!(files(&from_event).len(), 8);
    let picked = from_event["picked"].as_str().unwrap();
    assert!(picked.starts_with("http://") && !picked.contains("auth_key"), "{picked}");
    assert_eq!(from_event["picked"], from_video["picked"]);
    assert_eq!(entry(&from_event, picked)["defects"].to_string(), "[]");
    assert!(world.changes().is_empty(), "nothing is changed");
}
