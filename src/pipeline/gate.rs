//! Whether events may be taken now, and how many at once. Pure: a state machine that is told what
//! happened and when. Closed, it lets nothing through; after a successful probe it opens for one event,
//! then two, four and so on, so that a dependency that just came back is not overrun.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::error::{Class, Dependency, Failure};

/// Different events that fail in a row, with no success between, that are taken for an outage although
/// none says so.
const EVENTS_IN_A_ROW: usize = 5;
/// The longest pause between probes. Short enough to be back well within 15 s of a fault's end.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// The longest pause when probes succeed and events fail all the same.
const LONGEST_PAUSE_IN_VAIN: Duration = Duration::from_secs(10);
/// A trial without a failure for so long is over, whatever the events were.
const LONGEST_TRIAL: Duration = Duration::from_secs(5);
/// Failures further apart than this are no row.
const ROW: Duration = Duration::from_secs(300);
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Gate {
    state: State,
    /// The events that failed since the last success.
    failing: HashSet<u64>,
    last_failure: Option<Instant>,
    /// Probes that failed in a row.
    failed_probes: u32,
    /// Times that a trial ended in failure since the gate was last fully open.
    failed_trials: u32,
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
        since: Instant,
    },
}

/// How much is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Everything; as far as is known every dependency works.
    Open,
    /// A little, after a probe that succeeded.
    Trial,
    Paused,
}

/// Why intake is paused, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    pub dependency: Dependency,
    pub why: String,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            state: State::Open,
            failing: HashSet::new(),
            last_failure: None,
            failed_probes: 0,
            failed_trials: 0,
        }
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

    /// Whether nothing is held back.
    pub fn is_open(&self) -> bool {
        self.flow() == Flow::Open
    }

    pub fn flow(&self) -> Flow {
        match self.state {
            State::Open => Flow::Open,
            State::Trial { .. } => Flow::Trial,
            State::Paused { .. } => Flow::Paused,
        }
    }

    /// Set while nothing is taken. A trial is no pause: its probe succeeded, and with an empty queue it
    /// may last for long.
    pub fn pause(&self) -> Option<&Pause> {
        match &self.state {
            State::Paused { pause, .. } => Some(pause),
            State::Open | State::Trial { .. } => None,
        }
    }

    /// When to probe next, and what; `None` unless paused.
    pub fn probe_due(&self) -> Option<(Instant, Dependency)> {
        match &self.state {
            State::Paused { until, pause } => Some((*until, pause.dependency)),
            State::Open | State::Trial { .. } => None,
        }
    }

    /// An event was worked on and ended well.
    pub fn succeeded(&mut self, full: usize, now: Instant) {
        self.failing.clear();
        if let State::Trial { limit, .. } = &mut self.state {
            *limit *= 2;
            if *limit >= full {
                self.open();
            }
        }
        self.passed(now);
    }

    /// An event ended in a way that proves nothing, such as one that needed no work.
    pub fn passed(&mut self, now: Instant) {
        if let State::Trial { since, .. } = self.state
            && now.saturating_duration_since(since) > LONGEST_TRIAL
        {
            self.open();
        }
    }

    fn open(&mut self) {
        self.state = State::Open;
        self.failed_trials = 0;
    }

    /// An event failed; `event` is the same number whenever the same event fails. Returns true if this
    /// paused intake.
    pub fn failed(&mut self, failure: &Failure, event: u64, now: Instant) -> bool {
        let outage = match (failure.class, failure.outage) {
            (Class::Misconfigured, blamed) => Some(blamed.unwrap_or(Dependency::Vod)),
            (Class::Transient | Class::Deferred { .. }, Some(blamed)) => Some(blamed),
            // One event that fails again and again is its own fault; several different ones are not.
            (Class::Transient, None) => {
                if self.last_failure.is_none_or(|last| now.saturating_duration_since(last) > ROW) {
                    self.failing.clear();
                }
                self.last_failure = Some(now);
                self.failing.insert(event);
                (self.failing.len() >= EVENTS_IN_A_ROW).then_some(Dependency::Vod)
            }
            (Class::Deferred { .. } | Class::Permanent, None) => None,
            (Class::Permanent, Some(_)) => None,
        };
        // What was in flight when intake paused comes in later; it changes nothing.
        let Some(dependency) = outage.filter(|_| self.pause().is_none()) else { return false };
        let wait = doubled(self.failed_trials, LONGEST_PAUSE_IN_VAIN);
        self.failed_trials += 1;
        self.failed_probes = 0;
        self.failing.clear();
        let pause = Pause { dependency, why: failure.to_string() };
        self.state = State::Paused { until: now + wait, pause };
        true
    }

    /// The probe of the dependency that is to blame ended.
    pub fn probed(&mut self, result: Result<(), String>, now: Instant) {
        if let State::Paused { until, pause } = &mut self.state {
            match result {
                Ok(()) => self.state = State::Trial { limit: 1, since: now },
                Err(why) => {
                    pause.why = why;
                    *until = now + doubled(self.failed_probes, LONGEST_PAUSE);
                    self.failed_probes += 1;
                }
            }
        }
    }
}

fn doubled(times: u32, longest: Duration) -> Duration {
    (SHORTEST_PAUSE * 2u32.saturating_pow(times.min(8))).min(longest)
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
        assert!(gate.failed(&failure(Class::Misconfigured, Some(Dependency::Vod)), 1, now));
        assert_eq!(gate.limit(64), 0);
        assert_eq!(gate.pause().map(|pause| pause.why.as_str()), Some("test: why"));
        assert!(!gate.failed(&failure(Class::Misconfigured, None), 2, now), "paused already");
    }

    #[test]
    fn one_failing_event_never_pauses_and_five_different_ones_do() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        let transient = failure(Class::Transient, None);
        assert!(!(0..100).any(|_| gate.failed(&transient, 7, now)));
        assert!(!(8..11).any(|event| gate.failed(&transient, event, now)));
        gate.succeeded(64, now);
        assert!(!(0..4).any(|event| gate.failed(&transient, event, now)));
        assert!(gate.failed(&transient, 4, now));
        let throttled = failure(Class::Deferred { after: Duration::ZERO }, None);
        assert!(!(0..100).any(|event| Gate::default().failed(&throttled, event, now)));
    }

    #[test]
    fn after_a_good_probe_it_opens_step_by_step_and_counts_as_ready() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.failed(&failure(Class::Transient, Some(Dependency::Ledger)), 1, now);
        assert_eq!(gate.probe_due().map(|(_, dependency)| dependency), Some(Dependency::Ledger));
        gate.probed(Err("still away".into()), now);
        assert_eq!((gate.limit(8), gate.pause().is_some()), (0, true));
        gate.probed(Ok(()), now);
        assert_eq!(gate.pause(), None);
        let mut limits = vec![gate.limit(8)];
        while !gate.is_open() {
            gate.succeeded(8, now);
            limits.push(gate.limit(8));
        }
        assert_eq!(limits, [1, 2, 4, 8]);
    }

    #[test]
    fn a_trial_ends_by_itself_if_nothing_fails_and_failures_far_apart_are_no_row() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.failed(&failure(Class::Transient, Some(Dependency::Vod)), 1, now);
        gate.probed(Ok(()), now);
        gate.passed(now);
        assert!(!gate.is_open());
        gate.passed(now + 2 * LONGEST_TRIAL);
        assert!(gate.is_open());
        let transient = failure(Class::Transient, None);
        assert!(!(0..50u32).any(|n| gate.failed(&transient, n.into(), now + n * 2 * ROW)));
    }

    #[test]
    fn probes_come_at_most_four_seconds_apart_but_trials_in_vain_ever_more_rarely() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        let wrong = failure(Class::Misconfigured, None);
        gate.failed(&wrong, 1, now);
        for _ in 0..50 {
            gate.probed(Err("no".into()), now);
            assert!(gate.probe_due().is_some_and(|(at, _)| at <= now + LONGEST_PAUSE));
        }
        for _ in 0..50 {
            gate.probed(Ok(()), now);
            assert!(gate.failed(&wrong, 1, now));
        }
        assert_eq!(gate.probe_due().map(|(at, _)| at), Some(now + LONGEST_PAUSE_IN_VAIN));
    }
}
