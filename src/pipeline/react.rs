//! The one place that turns the end of an attempt into what happens to its message. Pure.

use std::time::Duration;

use crate::error::{Class, Failure};
use crate::queue::{Message, Settlement};

use super::gate::Flow;

/// Deferrals of a message after which a failure that blames a dependency, while probes of it succeed, is
/// taken for the message's own: else one event that is refused like that would pause intake for ever.
const DEFERRALS_BEFORE_BLAME: u32 = 20;

/// `ladder` holds the delay before each further attempt; a message that fails after the last one is a
/// dead letter. Attempts are for an event's own faults, so they are counted only while everything else
/// works, as far as is known. What was put off very often is counted in a trial as well, so that nothing
/// goes round for ever; while intake is paused nothing counts.
pub fn react(failure: &Failure, message: &Message, flow: Flow, ladder: &[Duration]) -> Settlement {
    let error = failure.to_string();
    let first = ladder.first().copied().unwrap_or_default();
    let put_off = |after| Settlement::Retry { after, counts: false, error: error.clone() };
    let dead = || Settlement::Dead { reason: failure.reason.clone(), error: error.clone() };
    let blames_another = failure.class == Class::Misconfigured || failure.outage.is_some();
    let innocent = match flow {
        Flow::Open if !blames_another => false,
        Flow::Open | Flow::Trial => message.deferrals < DEFERRALS_BEFORE_BLAME,
        Flow::Paused => true,
    };
    match failure.class {
        Class::Permanent => dead(),
        Class::Deferred { after } => put_off(after),
        Class::Misconfigured | Class::Transient if innocent => put_off(first),
        Class::Misconfigured | Class::Transient => match ladder.get(message.attempts as usize) {
            Some(&after) => Settlement::Retry { after, counts: true, error },
            None => dead(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Dependency, Reason};

    const LADDER: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

    fn failure(class: Class) -> Failure {
        Failure::new(class, Reason::new("test"), "why")
    }

    fn message(attempts: u32, deferrals: u32) -> Message {
        Message { attempts, deferrals, ..Message::new("{}", "", "") }
    }

    fn retry(after: u64, counts: bool) -> Settlement {
        let after = Duration::from_secs(after);
        Settlement::Retry { after, counts, error: "test: why".into() }
    }

    #[test]
    fn a_transient_failure_climbs_the_ladder_and_then_is_dead() {
        let transient = failure(Class::Transient);
        assert_eq!(react(&transient, &message(0, 0), Flow::Open, &LADDER), retry(5, true));
        assert_eq!(react(&transient, &message(1, 9), Flow::Open, &LADDER), retry(30, true));
        let end = react(&transient, &message(2, 0), Flow::Open, &LADDER);
        assert!(matches!(end, Settlement::Dead { .. }));
    }

    #[test]
    fn an_outage_counts_no_attempt_however_often() {
        let outage = failure(Class::Transient).outage_of(Dependency::Vod);
        assert_eq!(react(&outage, &message(2, 19), Flow::Open, &LADDER), retry(5, false));
        assert_eq!(react(&outage, &message(2, 500), Flow::Paused, &LADDER), retry(5, false));
        assert_eq!(
            react(&failure(Class::Transient), &message(2, 5), Flow::Trial, &LADDER),
            retry(5, false)
        );
        let wrong_key = failure(Class::Misconfigured).outage_of(Dependency::Vod);
        assert_eq!(react(&wrong_key, &message(2, 500), Flow::Paused, &LADDER), retry(5, false));
    }

    #[test]
    fn a_video_that_alone_looks_like_a_wrong_configuration_ends_as_a_dead_letter() {
        let refused = failure(Class::Misconfigured);
        assert_eq!(react(&refused, &message(0, 19), Flow::Open, &LADDER), retry(5, false));
        assert_eq!(react(&refused, &message(0, 20), Flow::Open, &LADDER), retry(5, true));
        let end = react(&refused, &message(2, 20), Flow::Open, &LADDER);
        assert!(matches!(end, Settlement::Dead { .. }));
    }

    #[test]
    fn what_can_never_work_is_dead_at_once_and_a_throttled_event_waits() {
        let dead = react(&failure(Class::Permanent), &message(0, 0), Flow::Paused, &LADDER);
        assert!(matches!(dead, Settlement::Dead { .. }));
        let after = Duration::from_secs(7);
        let deferred = failure(Class::Deferred { after });
        assert_eq!(react(&deferred, &message(9, 900), Flow::Open, &LADDER), retry(7, false));
    }
}
