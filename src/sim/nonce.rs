//! Remembers nonces, so that a request cannot be sent twice.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use jiff::{SignedDuration, Timestamp};

/// Nonces of one generation. With two generations at most twice as many are kept, as 64-bit hashes.
const MOST: usize = 1_000_000;

/// Longer than a request's time may lie back and ahead together, so that a nonce is known for as long
/// as its request would be accepted.
const GENERATION: SignedDuration = SignedDuration::from_mins(31);

/// The nonces of the last half hour or more; at a rate that brings more than a million in that time,
/// only the latest million or more.
pub(super) struct Nonces {
    hasher: RandomState,
    current: HashSet<u64>,
    previous: HashSet<u64>,
    since: Timestamp,
    most: usize,
}

impl Nonces {
    pub fn new(now: Timestamp) -> Self {
        Self {
            hasher: RandomState::new(),
            current: HashSet::new(),
            previous: HashSet::new(),
            since: now,
            most: MOST,
        }
    }

    /// False if it was used before.
    pub fn remember(&mut self, nonce: &str, now: Timestamp) -> bool {
        if self.current.len() >= self.most || now.duration_since(self.since) > GENERATION {
            self.previous = std::mem::take(&mut self.current);
            self.since = now;
        }
        let hash = self.hasher.hash_one(nonce);
        !self.previous.contains(&hash) && self.current.insert(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_refused_the_second_time() {
        let now = Timestamp::UNIX_EPOCH;
        let mut nonces = Nonces { most: 100, ..Nonces::new(now) };
        assert!(nonces.remember("a", now));
        assert!(!nonces.remember("a", now));
        for n in 0..100 {
            assert!(nonces.remember(&n.to_string(), now));
        }
        let later = now + SignedDuration::from_mins(40);
        assert!(!nonces.remember("99", later));
        assert!(nonces.current.len() + nonces.previous.len() <= 200);
    }
}
