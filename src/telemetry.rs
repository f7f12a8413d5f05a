//! Logs and metrics: how logging is set up, and every metric's name, in one place. Labels take values of
//! bounded number only.

use std::io::IsTerminal;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::error::{Class, Reason};
use crate::event;
use crate::queue::{Depth, Settlement};

/// Starts logging to standard error. `RUST_LOG` overrides `level`; `json` prints one object a line.
pub fn start_logging(level: &str, json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // It prints the bodies of messages that the broker returns, and errors that we report ourselves.
    let filter = match "lapin=off".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second subscriber, as in a test that runs the program twice in one process, changes nothing.
    let _ = match json {
        true => lines.json().try_init(),
        false => lines.with_target(false).try_init(),
    };
}

/// Bounds of the histograms, in seconds: from an event that is skipped to one that waits for its turn.
const SECONDS: [f64; 11] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0];

/// Makes this process record metrics; the handle renders them for `/metrics`.
pub fn start_metrics() -> PrometheusHandle {
    let buckets = PrometheusBuilder::new().set_buckets(&SECONDS);
    let recorder = buckets.unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
    let handle = recorder.handle();
    // Only the first recorder of a process counts; a later one renders nothing.
    let _ = metrics::set_global_recorder(recorder);
    describe_counter!("vod_cover_events_total", "Events handled, by type and outcome");
    describe_counter!("vod_cover_settlements_total", "Messages settled, by how");
    describe_counter!("vod_cover_dead_letters_total", "Dead letters, by reason");
    describe_counter!("vod_cover_decisions_total", "Covers set, by rule");
    describe_counter!(
        "vod_cover_put_back_total",
        "Covers that somebody chose, replaced by one of our writes in the gap before it, and put back"
    );
    describe_counter!(
        "vod_cover_backfill_videos_total",
        "Videos that a walk met, by what it found"
    );
    describe_counter!("vod_cover_throttled_total", "Calls that VOD throttled, by operation");
    describe_counter!("vod_cover_callbacks_total", "HTTP callbacks answered, by status");
    describe_counter!("vod_cover_callbacks_refused_total", "Callbacks refused for good, by reason");
    describe_histogram!(
        "vod_cover_callback_seconds",
        "Time to store one callback, in seconds, by where it was stored"
    );
    describe_gauge!("vod_cover_intake_connections", "Open connections of the intake");
    describe_counter!("vod_cover_spooled_total", "Callbacks put on the spool");
    describe_counter!("vod_cover_unspooled_total", "Callbacks taken from the spool to the queue");
    describe_gauge!("vod_cover_spool_events", "Callbacks on the spool");
    describe_gauge!("vod_cover_spool_bytes", "Size of the callbacks on the spool");
    describe_gauge!("vod_cover_spool_age_seconds", "How long the oldest one has been there");
    describe_counter!("vod_cover_forwarded_total", "Callbacks for the second target, by outcome");
    describe_counter!("vod_cover_smq_received_total", "Messages received from SMQ");
    describe_counter!(
        "vod_cover_smq_deleted_total",
        "Messages of SMQ deleted after they were stored"
    );
    describe_counter!("vod_cover_smq_failures_total", "Calls to SMQ that failed, by class");
    describe_gauge!("vod_cover_in_flight", "Messages being worked on");
    describe_gauge!("vod_cover_paused", "1 while intake is paused");
    describe_gauge!("vod_cover_queue_messages", "Messages in the queue, by state");
    describe_counter!("vod_cover_pictures_total", "Pictures looked at, by outcome");
    describe_counter!("vod_cover_picture_defects_total", "Defects of pictures, by kind");
    describe_histogram!("vod_cover_decoding_seconds", "Time to decode one picture, in seconds");
    describe_histogram!("vod_cover_handling_seconds", "Time to handle one event, in seconds");
    handle
}

/// Events of unknown types share one label, so that no publisher can grow the number of series.
const EVENT_TYPES: [&str; 14] = [
    "SnapshotComplete",
    event::FOLLOW_UP,
    "MediaBaseChangeComplete",
    "DeleteMediaComplete",
    "FileUploadComplete",
    "VideoAnalysisComplete",
    "StreamTranscodeComplete",
    "TranscodeComplete",
    "AIMediaAuditComplete",
    "AIVideoTagComplete",
    "DynamicImageComplete",
    "CreateAuditComplete",
    "UploadByURLComplete",
    "ImageUploadComplete",
];

pub fn handled(kind: &str, outcome: &'static str, took: std::time::Duration) {
    let kind = EVENT_TYPES.into_iter().find(|known| *known == kind).unwrap_or("other");
    counter!("vod_cover_events_total", "type" => kind, "outcome" => outcome).increment(1);
    histogram!("vod_cover_handling_seconds", "type" => kind).record(took.as_secs_f64());
}

/// `rule` is the operator's, so its number is bounded by the configuration.
pub fn cover_set(rule: String) {
    counter!("vod_cover_decisions_total", "rule" => rule).increment(1);
}

/// `found` is one of the few ends that a video can have.
pub fn backfilled(found: &'static str) {
    counter!("vod_cover_backfill_videos_total", "found" => found).increment(1);
}

pub fn cover_put_back() {
    counter!("vod_cover_put_back_total").increment(1);
}

/// `operation` is one of the few that there are.
pub fn throttled(operation: &'static str) {
    counter!("vod_cover_throttled_total", "operation" => operation).increment(1);
}

pub fn picture(outcome: &'static str) {
    counter!("vod_cover_pictures_total", "outcome" => outcome).increment(1);
}

/// `defect` is one of the few kinds that there are.
pub fn picture_defect(defect: &str) {
    counter!("vod_cover_picture_defects_total", "defect" => defect.to_owned()).increment(1);
}

pub fn picture_decoded(took: std::time::Duration) {
    histogram!("vod_cover_decoding_seconds").record(took.as_secs_f64());
}

pub fn settled(settlement: &Settlement) {
    let how = match settlement {
        Settlement::Done => "done",
        Settlement::Replace { .. } => "followed",
        Settlement::Retry { counts: true, .. } => "retry",
        Settlement::Retry { .. } => "deferred",
        Settlement::Dead { reason, .. } => {
            dead_letter(reason);
            "dead"
        }
    };
    counter!("vod_cover_settlements_total", "how" => how).increment(1);
}

fn dead_letter(reason: &Reason) {
    counter!("vod_cover_dead_letters_total", "reason" => reason.as_str().to_owned()).increment(1);
}

pub fn pipeline(in_flight: usize, paused: bool) {
    gauge!("vod_cover_in_flight").set(in_flight as f64);
    gauge!("vod_cover_paused").set(if paused { 1.0 } else { 0.0 });
}

pub fn depth(depth: Depth) {
    for (state, count) in [("ready", depth.ready), ("delayed", depth.delayed), ("dead", depth.dead)]
    {
        gauge!("vod_cover_queue_messages", "state" => state).set(count as f64);
    }
}

pub fn callback(status: u16) {
    counter!("vod_cover_callbacks_total", "status" => status.to_string()).increment(1);
}

pub fn smq_received(count: usize) {
    counter!("vod_cover_smq_received_total").increment(count as u64);
}

pub fn smq_deleted(count: usize) {
    counter!("vod_cover_smq_deleted_total").increment(count as u64);
}

pub fn smq_failed(class: Class) {
    counter!("vod_cover_smq_failures_total", "class" => class.name()).increment(1);
}

/// `reason` is one of the few that there are.
pub fn callback_refused(reason: &str) {
    counter!("vod_cover_callbacks_refused_total", "reason" => reason.to_owned()).increment(1);
}

pub fn callback_stored(place: &'static str, took: std::time::Duration) {
    histogram!("vod_cover_callback_seconds", "place" => place).record(took.as_secs_f64());
}

pub fn intake_connections(open: usize) {
    gauge!("vod_cover_intake_connections").set(open as f64);
}

pub fn spooled() {
    counter!("vod_cover_spooled_total").increment(1);
}

pub fn unspooled(count: usize) {
    counter!("vod_cover_unspooled_total").increment(count as u64);
}

pub fn spool(events: u64, bytes: u64, age: Option<std::time::Duration>) {
    gauge!("vod_cover_spool_events").set(events as f64);
    gauge!("vod_cover_spool_bytes").set(bytes as f64);
    gauge!("vod_cover_spool_age_seconds").set(age.unwrap_or_default().as_secs_f64());
}

pub fn forwarded(outcome: &'static str) {
    counter!("vod_cover_forwarded_total", "outcome" => outcome).increment(1);
}
