//! Whether events may be taken now, and how many at once. Pure: a state machine that is told what
//! happened and when. Closed, it lets nothing through; after a successful probe it opens for one event,
//! then two, four and so on, so that a dependency that just came back is not overrun.

use std::time::{Duration, Instant};

use crate::error::{Class, Dependency, Failure};

/// Failures in a row, across events, that are taken for an outage although none says so.
const FAILURES_IN_A_ROW: u32 = 5;
/// The longest pause between probes. Short enough to be back well within 15 s of a fault's end.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Gate {
    state: State,
    failures_in_a_row: u32,
    /// Probes that failed, or trials that ended in failure, since the gate was last fully open.
    setbacks: u32,
}

#[derive(Debug)]
enum State {
    Open,
    Paused {
        until: Instant,
        pause: Pause,
    },
    /// Open for `limit` events at once.
    Trial {
        limit: usize,
        pause: Pause,
    },
}

/// Why intake is paused, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    pub dependency: Dependency,
    pub why: String,
}

impl Default for Gate {
    fn default() -> Self {
        Self { state: State::Open, failures_in_a_row: 0, setbacks: 0 }
    }
}

impl Gate {
    /// How many events may be in flight, where `full` is the configured number.
    pub fn limit(&self, full: usize) -> usize {
        match self.state {
            State::Open => full,
            State::Trial { limit, .. } => limit.min(full),
            State::Paused { .. } => 0,
        }
    }

    /// Whether events succeed at the moment, as far as is known.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Set while paused, and still during a trial.
    pub fn pause(&self) -> Option<&Pause> {
        match &self.state {
            State::Open => None,
            State::Paused { pause, .. } | State::Trial { pause, .. } => Some(pause),
        }
    }

    /// When to probe next, and what; `None` unless paused.
    pub fn probe_due(&self) -> Option<(Instant, Dependency)> {
        match &self.state {
            State::Paused { until, pause } => Some((*until, pause.dependency)),
            State::Open | State::Trial { .. } => None,
        }
    }

    /// An event ended well.
    pub fn succeeded(&mut self, full: usize) {
        self.failures_in_a_row = 0;
        if let State::Trial { limit, .. } = &mut self.state {
            *limit *= 2;
            if *limit >= full {
                self.state = State::Open;
                self.setbacks = 0;
            }
        }
    }

    /// An event failed. Returns true if this paused intake.
    pub fn failed(&mut self, failure: &Failure, now: Instant) -> bool {
        let outage = match (failure.class, failure.outage) {
            (Class::Misconfigured, blamed) => Some(blamed.unwrap_or(Dependency::Vod)),
            (Class::Transient, Some(blamed)) => Some(blamed),
            (Class::Transient, None) => {
                self.failures_in_a_row += 1;
                (self.failures_in_a_row >= FAILURES_IN_A_ROW).then_some(Dependency::Vod)
            }
            (Class::Deferred { .. } | Class::Permanent, _) => None,
        };
        match (outage, &self.state) {
            (Some(dependency), State::Open | State::Trial { .. }) => {
                self.close(Pause { dependency, why: failure.to_string() }, now);
                true
            }
            // What was in flight when intake paused comes in later; it changes nothing.
            _ => false,
        }
    }

    /// The probe of the dependency that is to blame ended.
    pub fn probed(&mut self, result: Result<(), String>, now: Instant) {
        if let State::Paused { pause, .. } = &self.state {
            match result {
                Ok(()) => self.state = State::Trial { limit: 1, pause: pause.clone() },
                Err(why) => self.close(Pause { why, ..pause.clone() }, now),
            }
        }
    }

    fn close(&mut self, pause: Pause, now: Instant) {
        let wait = SHORTEST_PAUSE * 2u32.saturating_pow(self.setbacks.min(8));
        self.setbacks += 1;
        self.failures_in_a_row = 0;
        self.state = State::Paused { until: now + wait.min(LONGEST_PAUSE), pause };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    fn failure(class: Class, outage: Option<Dependency>) -> Failure {
        Failure { class, reason: Reason::new("test"), outage, source: "why".into() }
    }

    #[test]
    fn a_wrong_key_pauses_at_once_and_names_itself() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        assert!(gate.failed(&failure(Class::Misconfigured, Some(Dependency::Vod)), now));
        assert_eq!(gate.limit(64), 0);
        assert_eq!(gate.pause().map(|pause| pause.why.as_str()), Some("test: why"));
        assert!(!gate.failed(&failure(Class::Misconfigured, None), now), "paused already");
    }

    #[test]
    fn a_few_failures_of_single_events_do_not_pause_but_a_row_of_them_does() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        let transient = failure(Class::Transient, None);
        for _ in 0..3 {
            assert!(!(0..4).any(|_| gate.failed(&transient, now)));
            gate.succeeded(64);
        }
        assert!((0..5).any(|_| gate.failed(&transient, now)));
        let throttled = failure(Class::Deferred { after: Duration::ZERO }, None);
        assert!(!(0..100).any(|_| Gate::default().failed(&throttled, now)));
    }

    #[test]
    fn after_a_good_probe_it_opens_step_by_step() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.failed(&failure(Class::Transient, Some(Dependency::Ledger)), now);
        assert_eq!(gate.probe_due().map(|(_, dependency)| dependency), Some(Dependency::Ledger));
        gate.probed(Err("still away".into()), now);
        assert_eq!((gate.limit(8), gate.is_open()), (0, false));
        gate.probed(Ok(()), now);
        let mut limits = vec![gate.limit(8)];
        while !gate.is_open() {
            gate.succeeded(8);
            limits.push(gate.limit(8));
        }
        assert_eq!(limits, [1, 2, 4, 8]);
        assert_eq!(gate.pause(), None);
    }

    #[test]
    fn probes_come_at_most_four_seconds_apart() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.failed(&failure(Class::Misconfigured, None), now);
        for _ in 0..50 {
            gate.probed(Err("no".into()), now);
            assert!(gate.probe_due().is_some_and(|(at, _)| at <= now + LONGEST_PAUSE));
        }
    }
}
