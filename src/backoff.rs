//! Pauses between attempts: endless, growing, capped low enough that a recovered server is noticed within
//! seconds, and jittered so that a fleet does not return all at once.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause: between a half and the whole of twice the one before.
    pub fn next(&mut self) -> Duration {
        let whole = SHORTEST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_never_exceed_the_cap() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..1000).map(|_| backoff.next()).collect();
        assert!(pauses[0] <= SHORTEST);
        assert!(pauses[3] > SHORTEST);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST));
        backoff.reset();
        assert!(backoff.next() <= SHORTEST);
    }
}
