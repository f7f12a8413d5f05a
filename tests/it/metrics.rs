//! Metrics, alerts, dashboard and runbook belong together: what one names, the others know.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use vod_cover::sim::Settings;
use vod_cover::telemetry::{Kind, METRICS};

use crate::covers::deliver;
use crate::servers::{amqp_url, redis_url};
use crate::wait::eventually;
use crate::world::{Program, World, http};

const SOON: Duration = Duration::from_secs(60);

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap()
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(deploy("prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed; tests/run does that");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn is_well(output: &Output) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Names of ours in a text, without what a histogram puts behind its name.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("vod_cover_"));
    let is_histogram = |name: &str| {
        METRICS.iter().any(|metric| metric.name == name && metric.kind == Kind::Histogram)
    };
    let bare = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"].into_iter();
        let mut bare = ends.filter_map(|end| word.strip_suffix(end));
        bare.find(|name| is_histogram(name)).unwrap_or(word).to_owned()
    };
    words.map(bare).collect()
}

/// The PromQL of every panel.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_metric_is_on_the_dashboard_or_in_an_alert_and_nothing_else_is() {
    let dashboard: Value = serde_json::from_str(&read("grafana/vod-cover.json")).unwrap();
    let shown: BTreeSet<String> =
        expressions(&dashboard).iter().flat_map(|expression| named(expression)).collect();
    let alerting = named(&read("prometheus/alerts.yaml"));
    let ours: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    let used: BTreeSet<String> = shown.union(&alerting).cloned().collect();
    assert_eq!(used, ours, "on the left what is shown, on the right what there is");
    // A test of an alert with a misspelt name would show nothing.
    let tried = named(&read("prometheus/alerts.test.yaml"));
    assert!(tried.is_subset(&alerting), "{:?}", tried.difference(&alerting));
}

#[test]
fn every_alert_is_fired_and_kept_quiet_by_a_test_and_has_its_runbook() {
    is_well(&promtool(&["check", "rules", "alerts.yaml"], ""));
    is_well(&promtool(&["test", "rules", "alerts.test.yaml"], ""));
    let (alerts, tests) = (read("prometheus/alerts.yaml"), read("prometheus/alerts.test.yaml"));
    let readme = std::fs::read_to_string(deploy("../README.md")).unwrap();
    let names: Vec<_> = alerts.lines().filter_map(|line| line.split_once("- alert: ")).collect();
    assert!(names.len() > 15);
    for (_, name) in &names {
        let fires = format!("count(ALERTS{{alertname=\"{name}\", alertstate=\"firing\"}})");
        assert!(tests.contains(&fires), "nothing fires {name}");
        assert!(tests.contains(&format!("- alertname: {name}\n")), "nothing keeps {name} quiet");
        assert!(readme.contains(&format!("\n### {name}\n")), "{name} has no runbook");
        let anchor = format!("runbook: README.md#{}\n", name.to_lowercase());
        assert!(alerts.contains(&anchor), "{name} does not name its runbook");
    }
    let sections = readme.matches("\n### VodCover").count();
    assert_eq!(sections, names.len(), "a runbook without an alert");
}

#[test]
fn the_dashboard_asks_what_prometheus_understands() {
    let dashboard: Value = serde_json::from_str(&read("grafana/vod-cover.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "prometheus", "{panel}");
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel}");
    }
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (number, expression) in expressions(&dashboard).iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "1m");
        rules.push_str(&format!(
            "  - record: panel:{number}\n    expr: {}\n",
            Value::from(expression)
        ));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    is_well(&promtool(&["check", "rules", file.path().to_str().unwrap()], ""));
}

async fn rendered(program: &Program) -> String {
    let url = format!("http://{}/metrics", program.ops);
    http().get(url).send().await.unwrap().text().await.unwrap()
}

/// The names that a process shows, each described, and nothing that is not ours.
fn shown(text: &str) -> BTreeSet<String> {
    let checked = promtool(&["check", "metrics"], text);
    is_well(&checked);
    assert!(checked.stdout.is_empty() && checked.stderr.is_empty(), "{checked:?}");
    let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let names = named(&values.join("\n"));
    for name in &names {
        assert!(METRICS.iter().any(|metric| metric.name == name), "{name} is described nowhere");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    for line in values.iter().filter(|line| !line.is_empty()) {
        assert!(line.starts_with("vod_cover_"), "{line}");
        line.rsplit_once(' ').unwrap().1.parse::<f64>().expect(line);
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_a_gateway_show_everything_that_they_count() {
    let settings = Settings { videos: 6, ..Settings::default() };
    let mut world = World::served(settings, &amqp_url(), &redis_url()).await;
    world.set("VOD_COVER__LEDGER__LEASE", "60s");
    let spool = world.directory.path().join("spool.sqlite3");
    world.set("VOD_COVER__INTAKE__SPOOL__PATH", spool.to_str().unwrap());
    let faults = ["throttle:x2", "UpdateVideoInfo:error-5xx:x3", "GetVideoInfo:reset:x2"];
    world.sim.set_faults(faults.iter().map(|fault| fault.parse().unwrap()).collect());
    let worker = world.run(&[("VOD_COVER__COVER__RULES", "best")]).await;
    let gateway = world.start(&["gateway"], &[]).await;
    let mut events = world.sim.shuffled_events(1.0);
    events.push(br#"{"EventType":"SnapshotComplete"}"#.to_vec().into());
    for event in events {
        deliver(&gateway, &event).await;
    }
    let unsigned = http().post(format!("http://{}/callback", gateway.intake)).body("{}");
    assert_eq!(unsigned.send().await.unwrap().status(), 403);
    let covers = async || worker.metric("vod_cover_decisions_total", "rule=\"best\"").await >= 6.0;
    eventually("every cover is set", SOON, covers).await;
    let dead = async || worker.metric("vod_cover_dead_letters_total", "").await == 1.0;
    eventually("garbage is dead", SOON, dead).await;

    let (worker_shows, gateway_shows) = (rendered(&worker).await, rendered(&gateway).await);
    let all: BTreeSet<String> =
        shown(&worker_shows).union(&shown(&gateway_shows)).cloned().collect();
    // What needs an outage, a person in the gap, an operator, a walk, SMQ or a second target.
    let rare = [
        "vod_cover_put_back_total",
        "vod_cover_dead_letters_settled_total",
        "vod_cover_reconnects_total",
        "vod_cover_backfill_videos_total",
        "vod_cover_spooled_total",
        "vod_cover_unspooled_total",
        "vod_cover_forwarded_total",
        "vod_cover_smq_received_total",
        "vod_cover_smq_deleted_total",
        "vod_cover_smq_failures_total",
    ];
    for metric in METRICS.iter().filter(|metric| !rare.contains(&metric.name)) {
        assert!(all.contains(metric.name), "{} is not shown", metric.name);
    }
    for part in [
        "vod_cover_api_calls_total{operation=\"GetVideoInfo\",code=\"vod.connection-lost\"}",
        "vod_cover_leases_total{outcome=\"acquired\"}",
        "vod_cover_leases_total{outcome=\"done\"}",
        "vod_cover_paused{dependency=\"vod\"}",
        "vod_cover_broker_connected{role=\"consume\"} 1",
        "vod_cover_critical_seconds_bucket{le=\"86400\"}",
        "vod_cover_dead_letters_total{reason=\"event.no-video-id\"} 1",
    ] {
        assert!(worker_shows.contains(part), "{part} is not in\n{worker_shows}");
    }
    let refused = "vod_cover_callbacks_refused_total{reason=\"signature.missing\"} 1";
    assert!(gateway_shows.contains(refused), "{gateway_shows}");
}
