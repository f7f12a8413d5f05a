//! Every metric that there is, with its unit and what it says, and how it is counted. Labels take values of
//! bounded number only: what comes from outside is one of a list, or among the first so many.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use jiff::Timestamp;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::error::{Class, Dependency, Reason};
use crate::event;
use crate::queue::{Depth, Settlement};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; `_total`.
    Counter,
    Gauge,
    /// `_bucket`, `_sum` and `_count`.
    Histogram,
}

/// A metric, as `/metrics` describes it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub help: &'static str,
}

const fn counter_of(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit: Unit::Count, help }
}

const fn gauge_of(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, help }
}

const fn seconds_of(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, unit: Unit::Seconds, help }
}

/// Every metric, of the worker first and of the gateway last.
pub const METRICS: &[Metric] = &[
    counter_of("vod_cover_events_total", "Events handled, by type and outcome"),
    seconds_of("vod_cover_handling_seconds", "Time to handle one event, by type"),
    gauge_of(
        "vod_cover_event_age_seconds",
        Unit::Seconds,
        "Age of the event that was taken last, by its EventTime; 0 while none waits",
    ),
    seconds_of("vod_cover_critical_seconds", "From the EventTime until the cover was set"),
    counter_of("vod_cover_decisions_total", "Covers set or found to be set, by rule"),
    counter_of(
        "vod_cover_put_back_total",
        "Covers that somebody chose, replaced by one of our writes in the gap before it, and put back",
    ),
    counter_of("vod_cover_settlements_total", "Messages settled, by how"),
    counter_of("vod_cover_retries_total", "Further attempts, by the delay before them"),
    counter_of("vod_cover_dead_letters_total", "Dead letters, by reason"),
    counter_of(
        "vod_cover_dead_letters_settled_total",
        "Dead letters that an operator had tried again or dropped on the page",
    ),
    gauge_of("vod_cover_in_flight", Unit::Count, "Events being worked on"),
    gauge_of("vod_cover_paused", Unit::Count, "1 while intake is paused, by what it waits for"),
    gauge_of("vod_cover_queue_messages", Unit::Count, "Messages in the queue, by state"),
    gauge_of("vod_cover_broker_connected", Unit::Count, "1 while RabbitMQ is connected, by role"),
    gauge_of("vod_cover_broker_blocked", Unit::Count, "1 while RabbitMQ takes no messages"),
    counter_of("vod_cover_reconnects_total", "Connections lost or not to be had, by server"),
    counter_of("vod_cover_leases_total", "Leases on videos, by what came of asking for one"),
    counter_of("vod_cover_api_calls_total", "Calls to VOD, by operation and code"),
    seconds_of("vod_cover_api_seconds", "Time of one call to VOD, by operation"),
    counter_of("vod_cover_throttled_total", "Calls that VOD throttled, by operation"),
    seconds_of("vod_cover_quota_wait_seconds", "Time that calls waited for their turn"),
    counter_of("vod_cover_pictures_total", "Pictures looked at, by outcome"),
    counter_of("vod_cover_picture_defects_total", "Defects of pictures, by kind"),
    seconds_of("vod_cover_decoding_seconds", "Time to decode one picture"),
    counter_of("vod_cover_backfill_videos_total", "Videos that a walk met, by what it found"),
    gauge_of("vod_cover_build_info", Unit::Count, "1, by version"),
    gauge_of("vod_cover_rules_info", Unit::Count, "1 for the rules that decide now, by version"),
    counter_of("vod_cover_callbacks_total", "HTTP callbacks answered, by status"),
    counter_of("vod_cover_callbacks_refused_total", "Callbacks refused for good, by reason"),
    seconds_of("vod_cover_callback_seconds", "Time to store one callback, by where"),
    gauge_of("vod_cover_intake_connections", Unit::Count, "Open connections of the intake"),
    counter_of("vod_cover_spooled_total", "Callbacks put on the spool"),
    counter_of("vod_cover_unspooled_total", "Callbacks taken from the spool to the queue"),
    gauge_of("vod_cover_spool_events", Unit::Count, "Callbacks on the spool"),
    gauge_of("vod_cover_spool_bytes", Unit::Bytes, "Size of the callbacks on the spool"),
    gauge_of(
        "vod_cover_spool_age_seconds",
        Unit::Seconds,
        "How long the oldest one has been there",
    ),
    counter_of("vod_cover_forwarded_total", "Callbacks for the second target, by outcome"),
    counter_of("vod_cover_smq_received_total", "Messages received from SMQ"),
    counter_of("vod_cover_smq_deleted_total", "Messages of SMQ deleted after they were stored"),
    counter_of("vod_cover_smq_failures_total", "Calls to SMQ that failed, by class"),
];

/// Bounds of the histograms, in seconds: from an event that is skipped to one that waits for its turn.
const SECONDS: [f64; 11] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0];
/// The same for what begins with the event at VOD: to the day of the last retry.
const LONG: [f64; 11] =
    [1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0];

/// Makes this process record metrics; the handle renders them for `/metrics`.
pub fn start_metrics() -> PrometheusHandle {
    let critical = Matcher::Full("vod_cover_critical_seconds".to_owned());
    let buckets = PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(critical, &LONG));
    let recorder = buckets.unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
    let handle = recorder.handle();
    // Only the first recorder of a process counts; a later one renders nothing.
    let _ = ::metrics::set_global_recorder(recorder);
    for &Metric { name, kind, unit, help } in METRICS {
        match kind {
            Kind::Counter => describe_counter!(name, unit, help),
            Kind::Gauge => describe_gauge!(name, unit, help),
            Kind::Histogram => describe_histogram!(name, unit, help),
        }
    }
    gauge!("vod_cover_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    // What begins at 1 has not increased, and alerts on what is rare would miss the first.
    counter!("vod_cover_put_back_total").absolute(0);
    counter!("vod_cover_leases_total", "outcome" => "lost").absolute(0);
    for status in ["200", "408", "503"] {
        counter!("vod_cover_callbacks_total", "status" => status).absolute(0);
    }
    handle
}

/// Texts from outside that have been labels: the first so many, and "other" from then on.
struct Labels {
    known: Mutex<BTreeSet<String>>,
    most: usize,
}

impl Labels {
    const fn at_most(most: usize) -> Self {
        Self { known: Mutex::new(BTreeSet::new()), most }
    }

    fn of(&self, text: &str) -> String {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(text) {
            return text.to_owned();
        }
        if known.len() >= self.most {
            return "other".to_owned();
        }
        known.insert(text.to_owned());
        text.to_owned()
    }
}

static REASONS: Labels = Labels::at_most(100);
static CODES: Labels = Labels::at_most(100);

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

pub fn handled(kind: &str, outcome: &'static str, took: Duration) {
    let kind = EVENT_TYPES.into_iter().find(|known| *known == kind).unwrap_or("other");
    counter!("vod_cover_events_total", "type" => kind, "outcome" => outcome).increment(1);
    histogram!("vod_cover_handling_seconds", "type" => kind).record(took.as_secs_f64());
}

/// `rule` is the operator's, so its number is bounded by the configuration.
pub fn cover_set(rule: String) {
    counter!("vod_cover_decisions_total", "rule" => rule).increment(1);
}

/// `age` is what has passed since the EventTime; by a clock that is ahead of VOD's it may be negative.
pub fn cover_written(age: jiff::SignedDuration) {
    histogram!("vod_cover_critical_seconds").record(age.as_secs_f64().max(0.0));
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

pub fn picture_decoded(took: Duration) {
    histogram!("vod_cover_decoding_seconds").record(took.as_secs_f64());
}

pub fn settled(settlement: &Settlement) {
    let how = match settlement {
        Settlement::Done => "done",
        Settlement::Replace { .. } => "followed",
        Settlement::Retry { counts: true, after, .. } => {
            // Of the ladder, so their number is bounded by the configuration.
            counter!("vod_cover_retries_total", "delay" => format!("{after:?}")).increment(1);
            "retry"
        }
        Settlement::Retry { .. } => "deferred",
        Settlement::Dead { reason, .. } => {
            dead_letter(reason);
            "dead"
        }
    };
    counter!("vod_cover_settlements_total", "how" => how).increment(1);
}

fn dead_letter(reason: &Reason) {
    counter!("vod_cover_dead_letters_total", "reason" => REASONS.of(reason.as_str())).increment(1);
}

/// `fate` is one of two.
pub fn dead_letter_settled(fate: &'static str) {
    counter!("vod_cover_dead_letters_settled_total", "fate" => fate).increment(1);
}

pub fn pipeline(in_flight: usize, paused: Option<Dependency>) {
    gauge!("vod_cover_in_flight").set(in_flight as f64);
    for dependency in Dependency::ALL {
        let waits = if paused == Some(dependency) { 1.0 } else { 0.0 };
        gauge!("vod_cover_paused", "dependency" => dependency.name()).set(waits);
    }
}

/// When the event happened that was taken last, in milliseconds; 0: none was.
static LAST_TAKEN: AtomicI64 = AtomicI64::new(0);

pub fn taken(event_time: Option<Timestamp>) {
    if let Some(at) = event_time {
        LAST_TAKEN.store(at.as_millisecond(), Ordering::Relaxed);
    }
}

/// What waits has happened after what was taken last, give or take retries: this is how far behind we are.
fn age(waiting: u64, now: Timestamp) -> f64 {
    let last = LAST_TAKEN.load(Ordering::Relaxed);
    let age = now.as_millisecond().saturating_sub(last);
    if waiting == 0 || last == 0 { 0.0 } else { age.max(0) as f64 / 1000.0 }
}

pub fn depth(depth: Depth) {
    for (state, count) in [("ready", depth.ready), ("delayed", depth.delayed), ("dead", depth.dead)]
    {
        gauge!("vod_cover_queue_messages", "state" => state).set(count as f64);
    }
    gauge!("vod_cover_event_age_seconds").set(age(depth.ready, Timestamp::now()));
}

pub fn broker_connected(role: &'static str, is_connected: bool) {
    let value = if is_connected { 1.0 } else { 0.0 };
    gauge!("vod_cover_broker_connected", "role" => role).set(value);
}

pub fn broker_blocked(is_blocked: bool) {
    gauge!("vod_cover_broker_blocked").set(if is_blocked { 1.0 } else { 0.0 });
}

/// `server` is one of two.
pub fn reconnects(server: &'static str) {
    counter!("vod_cover_reconnects_total", "server" => server).increment(1);
}

/// `outcome` is one of the few that there are.
pub fn lease(outcome: &'static str) {
    counter!("vod_cover_leases_total", "outcome" => outcome).increment(1);
}

/// `code` is VOD's own, or a word of ours.
pub fn api_call(operation: &'static str, code: Option<&str>, took: Duration) {
    match code {
        None => counter!("vod_cover_api_calls_total", "operation" => operation, "code" => "ok"),
        Some(code) => {
            let code = CODES.of(code);
            counter!("vod_cover_api_calls_total", "operation" => operation, "code" => code)
        }
    }
    .increment(1);
    histogram!("vod_cover_api_seconds", "operation" => operation).record(took.as_secs_f64());
}

pub fn quota_wait(operation: &'static str, waited: Duration) {
    histogram!("vod_cover_quota_wait_seconds", "operation" => operation)
        .record(waited.as_secs_f64());
}

/// The rules that decide from now on, and those that did before.
pub fn rules(version: &str, before: Option<&str>) {
    if let Some(before) = before {
        gauge!("vod_cover_rules_info", "rules" => before.to_owned()).set(0.0);
    }
    gauge!("vod_cover_rules_info", "rules" => version.to_owned()).set(1.0);
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

pub fn callback_stored(place: &'static str, took: Duration) {
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

pub fn spool(events: u64, bytes: u64, age: Option<Duration>) {
    gauge!("vod_cover_spool_events").set(events as f64);
    gauge!("vod_cover_spool_bytes").set(bytes as f64);
    gauge!("vod_cover_spool_age_seconds").set(age.unwrap_or_default().as_secs_f64());
}

pub fn forwarded(outcome: &'static str) {
    counter!("vod_cover_forwarded_total", "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_count_and_in_which_unit() {
        let mut names = BTreeSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("vod_cover_") && !metric.help.is_empty(), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(metric.unit == Unit::Seconds, name.ends_with("_seconds"), "{name}");
            assert_eq!(metric.unit == Unit::Bytes, name.ends_with("_bytes"), "{name}");
        }
    }

    #[test]
    fn what_comes_from_outside_makes_so_many_labels_and_no_more() {
        let labels = Labels::at_most(2);
        assert_eq!([labels.of("a"), labels.of("b"), labels.of("c")], ["a", "b", "other"]);
        assert_eq!([labels.of("b"), labels.of("d")], ["b", "other"]);
    }

    #[test]
    fn nothing_is_behind_while_nothing_waits() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(age(5, now), 0.0, "nothing was taken yet");
        taken(Timestamp::from_second(1_799_999_940).ok());
        taken(None);
        assert_eq!((age(5, now), age(0, now)), (60.0, 0.0));
    }
}
