//! The dependency rule of `src/lib.rs` and the house rules that a machine can check, kept by tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below `path` (relative to the repository), with its text.
fn sources(path: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root.join(path)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(!found.is_empty(), "{path} has no sources");
    found.sort();
    found
}

/// A module's files: `src/x.rs` and everything below `src/x/`.
fn module(name: &str) -> Vec<(String, String)> {
    let inner = name.replace("::", "/");
    let all = sources("src");
    let (file, folder) = (format!("src/{inner}.rs"), format!("src/{inner}/"));
    let found: Vec<_> =
        all.into_iter().filter(|(path, _)| *path == file || path.starts_with(&folder)).collect();
    assert!(!found.is_empty(), "there is no module {name}");
    found
}

/// The code of a file: no comments, and nothing from its unit tests on.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = body.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[track_caller]
fn never(module_name: &str, forbidden: &[&str]) {
    for (path, text) in module(module_name).iter().filter(|(path, _)| !is_test(path)) {
        for word in forbidden {
            assert!(!code(text).contains(word), "{path} must not use {word}");
        }
    }
}

const IO: [&str; 10] = [
    "tokio",
    "reqwest",
    "lapin",
    "rusqlite",
    "axum",
    "std::fs",
    "std::net",
    "SystemTime::now",
    "Timestamp::now",
    "fastrand",
];

#[test]
fn the_pure_modules_do_no_io() {
    for pure in ["error", "event", "cover", "picture", "vod::sign", "ledger::entry"] {
        never(pure, &IO);
    }
    never("cover", &["Instant::now", "redis::"]);
}

#[test]
fn the_worker_cannot_acknowledge_and_the_pipeline_cannot_know_the_work() {
    never("worker", &["dyn Queue", "Settlement", "Delivery", "rabbit"]);
    never(
        "pipeline",
        &["crate::vod", "crate::ledger", "crate::worker", "crate::cover", "crate::event"],
    );
    never("backfill", &["dyn Queue", "Settlement", "Delivery", "crate::pipeline"]);
    never("gateway", &["crate::worker", "crate::pipeline", "crate::ledger"]);
    never("smq", &["crate::queue", "crate::gateway", "crate::worker"]);
}

#[test]
fn ports_do_not_import_adapters_and_adapters_do_not_import_one_another() {
    let port = |path: &str| {
        let (_, text) = sources(path).remove(0);
        code(&text)
    };
    assert!(!port("src/queue.rs").contains("lapin"));
    assert!(!port("src/ledger.rs").contains("redis::Client"));
    never("queue::rabbit", &["crate::local", "crate::ledger", "crate::vod", "crate::worker"]);
    never("ledger::redis", &["crate::local", "crate::queue", "crate::vod", "crate::worker"]);
    never("local", &["crate::vod", "crate::worker", "lapin"]);
    never("link", &["crate::ledger", "crate::vod", "crate::worker"]);
}

/// Fetching is for the worker and for people alike, and knows of VOD only how its URLs are signed.
#[test]
fn fetching_knows_neither_the_worker_nor_the_vod_client() {
    never("fetch", &["crate::worker", "crate::queue", "crate::ledger", "crate::config"]);
    for (path, text) in module("fetch") {
        let known = code(&text).replace("use crate::vod::sign;", "");
        assert!(!known.contains("crate::vod"), "{path} may use vod::sign only");
    }
    for pure in ["fetch::address", "fetch::hosts"] {
        never(pure, &["tokio", "reqwest", "std::fs", "fastrand", "Timestamp::now"]);
    }
}

/// Else a wrong field name or a wrong signature would be wrong on both sides, and no test would notice.
#[test]
fn the_simulator_shares_no_code_with_the_client() {
    never("sim", &["crate::vod"]);
}

#[test]
fn nothing_outside_tests_panics_on_purpose() {
    for (path, text) in sources("src").iter().filter(|(path, _)| !is_test(path)) {
        for word in [".unwrap()", "todo!(", "unimplemented!(", "dbg!(", "panic!("] {
            assert!(!code(text).contains(word), "{path} uses {word}");
        }
    }
}

/// Else one is described nowhere, and on no dashboard.
#[test]
fn every_metric_is_counted_where_all_of_them_are_named() {
    for (path, text) in sources("src") {
        let counts = ["counter!(", "gauge!(", "histogram!("].iter().any(|word| text.contains(word));
        assert!(!counts || path == "src/telemetry/metrics.rs", "{path} counts by itself");
    }
}

#[test]
fn files_stay_small_and_say_what_they_are() {
    for (path, text) in sources("src").iter().filter(|(path, _)| !is_test(path)) {
        let lines = code(text).lines().count();
        assert!(lines <= 400, "{path} has {lines} lines of code; split it");
        assert!(text.starts_with("//!"), "{path} must open with what it does");
    }
}
