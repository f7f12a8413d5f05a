//! How the turns of one operation follow one another (GCRA): at an even pace, with a little slack, not
//! before a throttling answer's time is over, and slower for a while after one. Asks no clock.

use std::time::Duration;

use tokio::time::Instant;

/// How far turns may be from their even pace: within one process ahead of it, in a fleet behind it. The
/// pace is slower for it, so that no second has more turns than the rate.
pub(super) const SLACK: Duration = Duration::from_millis(30);

/// What a throttling answer leaves of the pace, at least [`LEAST`], once for all answers within
/// [`BURST`]; the whole is back after [`GROWTH`] at the latest.
pub(super) const SHRINK: f64 = 0.8;
pub(super) const LEAST: f64 = 0.1;
pub(super) const BURST: Duration = Duration::from_secs(1);
pub(super) const GROWTH: Duration = Duration::from_secs(60);

/// Whatever the rate is, a turn comes within a time that clocks can tell.
const LONGEST_INTERVAL: f64 = 86_400.0;

/// In any second, slack included, there are at most as many turns as the rate has whole calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Between two turns.
    pub interval: Duration,
}

impl Pace {
    /// `rate` is in calls a second, above 0.
    pub fn new(rate: f64) -> Self {
        // A product of shares that should be whole may be a trifle less.
        let rate = if rate < 1.0 { rate } else { (rate + 1e-6).floor() };
        let micros = (1.0 + SLACK.as_secs_f64()) * 1e6 / rate;
        // Rounded up, so that many intervals together are not too short either.
        Self { interval: Duration::from_micros(micros.min(LONGEST_INTERVAL * 1e6).ceil() as u64) }
    }

    /// In calls a second.
    pub fn rate(self) -> f64 {
        (1.0 + SLACK.as_secs_f64()) / self.interval.as_secs_f64()
    }

    /// With this part of the rate, above 0.
    pub fn slowed(self, part: f64) -> Self {
        Self { interval: self.interval.mul_f64(1.0 / part) }
    }
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    /// When the next turn is due at an even pace.
    due: Option<Instant>,
    held: Option<Instant>,
    /// When which part of the pace was left.
    shrunk: Option<(Instant, f64)>,
}

impl Lane {
    /// When a turn could be taken. Without a pace only a held lane delays it.
    pub fn earliest(&self, now: Instant, pace: Option<Pace>) -> Instant {
        let start = self.start(now);
        match (pace, self.due) {
            (Some(_), Some(due)) => due.checked_sub(SLACK).map_or(start, |early| early.max(start)),
            _ => start,
        }
    }

    /// Takes the earliest turn.
    pub fn reserve(&mut self, now: Instant, pace: Option<Pace>) -> Instant {
        let turn = self.earliest(now, pace);
        let due = self.start(now).max(self.due.unwrap_or(now));
        self.due = pace.map(|pace| due + pace.slowed(self.part(now)).interval);
        turn
    }

    /// When nobody waits here, and one who comes then does not either.
    pub fn idle_from(&self, now: Instant) -> Instant {
        let due = self.due.and_then(|due| due.checked_sub(SLACK / 2));
        self.start(now).max(due.unwrap_or(now))
    }

    /// After a throttling answer: no turn before this time has passed, and then slower ones.
    pub fn hold(&mut self, now: Instant, time: Duration) {
        self.held = self.held.max(Some(now + time));
        if self.shrunk.is_none_or(|(at, _)| now >= at + BURST) {
            self.shrunk = Some((now, (self.part(now) * SHRINK).max(LEAST)));
        }
    }

    fn start(&self, now: Instant) -> Instant {
        now.max(self.held.unwrap_or(now))
    }

    /// How long no turn comes, after a throttling answer.
    pub fn held(&self, now: Instant) -> Option<Duration> {
        self.held?.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Which part of the pace is used.
    pub fn part(&self, now: Instant) -> f64 {
        self.shrunk.map_or(1.0, |(at, part)| {
            let grown = now.saturating_duration_since(at).as_secs_f64() / GROWTH.as_secs_f64();
            (part + grown).min(1.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The most turns that any second has.
    fn most(turns: &[Instant]) -> usize {
        let within = |from: &Instant| {
            turns.iter().filter(|turn| (*from..*from + SECOND).contains(turn)).count()
        };
        turns.iter().map(within).max().unwrap_or_default()
    }

    /// The turns of `count` callers who all come at `now`.
    fn turns(lane: &mut Lane, now: Instant, rate: f64, count: usize) -> Vec<Instant> {
        (0..count).map(|_| lane.reserve(now, Some(Pace::new(rate)))).collect()
    }

    #[test]
    fn no_second_has_more_turns_than_the_rate_and_few_less() {
        for rate in [0.5, 1.0, 1.5, 6.0, 24.0, 28.5, 80.0, 100.0, 700.0] {
            let all = turns(&mut Lane::default(), Instant::now(), rate, 1_500);
            let most = most(&all);
            assert!(most as f64 <= rate.max(1.0), "{most} at a rate of {rate}");
            let long = (*all.last().expect("many") - all[0]).as_secs_f64();
            let sustained = 1_500.0 / long;
            assert!(rate < 1.0 || sustained > 0.97 * rate.floor(), "{sustained} of {rate}");
        }
    }

    proptest! {
        /// Whoever comes whenever, and is throttled in between.
        #[test]
        fn no_second_has_more_turns_than_the_rate_whenever_callers_come(
            rate in 1.0..120.0,
            callers in prop::collection::vec((0..60u64, 0..6usize, 0..100u8), 1..150),
        ) {
            let (mut lane, mut now, mut all) = (Lane::default(), Instant::now(), Vec::new());
            for (millis, count, luck) in callers {
                now += Duration::from_millis(millis);
                if luck == 0 {
                    lane.hold(now, Duration::from_millis(300));
                }
                all.extend(turns(&mut lane, now, rate, count));
            }
            prop_assert!(most(&all) as f64 <= rate);
        }
    }

    #[test]
    fn the_first_callers_do_not_wait() {
        let now = Instant::now();
        let all = turns(&mut Lane::default(), now, 80.0, 4);
        assert!(all[..3].iter().all(|turn| *turn == now) && all[3] > now);
    }

    #[test]
    fn the_smallest_rate_is_a_long_wait_and_no_panic() {
        for rate in [f64::MIN_POSITIVE, 1e-9] {
            let now = Instant::now();
            let all = turns(&mut Lane::default(), now, rate, 2);
            assert_eq!(all[0], now);
            assert!(all[1] > now + Duration::from_secs(80_000));
        }
    }

    #[test]
    fn without_a_pace_nobody_waits_but_for_a_held_lane() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        assert!((0..10_000).all(|_| lane.reserve(now, None) == now));
        lane.hold(now, SECOND);
        assert_eq!(lane.reserve(now, None), now + SECOND);
        lane.hold(now, SECOND / 2);
        assert_eq!(lane.reserve(now, None), now + SECOND);
    }

    #[test]
    fn throttling_slows_a_lane_once_a_burst_and_it_grows_back_within_a_minute() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        for _ in 0..50 {
            lane.hold(now, Duration::ZERO);
        }
        assert_eq!(lane.part(now), SHRINK);
        lane.hold(now + BURST, Duration::ZERO);
        let twice = lane.part(now + BURST);
        assert!((SHRINK * SHRINK..SHRINK * SHRINK + 0.02).contains(&twice), "{twice}");
        for second in 2..60 {
            lane.hold(now + SECOND * second, Duration::ZERO);
            assert!(lane.part(now + SECOND * second) >= LEAST);
        }
        let end = now + SECOND * 59;
        assert!(lane.part(end) < 0.15, "{}", lane.part(end));
        assert!(lane.part(end + GROWTH / 2) < 0.65);
        assert_eq!(lane.part(end + GROWTH), 1.0);
        let pace = Pace::new(10.0);
        assert_eq!(pace.slowed(0.5).interval, pace.interval * 2);
    }

    #[test]
    fn a_lane_is_idle_once_a_caller_would_not_wait_again() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        assert_eq!(lane.idle_from(now), now);
        let pace = Pace::new(10.0);
        lane.reserve(now, Some(pace));
        assert_eq!(lane.idle_from(now), now + pace.interval - SLACK / 2);
        lane.hold(now, SECOND);
        assert_eq!(lane.idle_from(now), now + SECOND);
    }
}
