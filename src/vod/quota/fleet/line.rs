//! Those of this process who wait for turns of one operation: one behind the other, and only the first of
//! them asks Redis. Asks nobody itself.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::super::lane::Pace;
use super::super::operation::Operation;
use super::book::Turn;

/// Callers of this process who wait for turns of one operation.
#[derive(Default)]
pub struct Line {
    /// Whoever has it is the first in the line; it is fair.
    pub first: tokio::sync::Mutex<()>,
    pub waiting: AtomicUsize,
    known: Mutex<Known>,
}

/// What this process knows of an operation's turns.
#[derive(Default)]
pub struct Known {
    /// Turns that were taken from Redis for those who wait.
    pub turns: VecDeque<Turn>,
    /// Asking earlier is no use.
    pub closed: Option<Instant>,
    /// Between two turns of the fleet, as of the last answer.
    pub interval: Option<Duration>,
}

/// One who waits, as long as this exists.
pub struct Waiting<'a>(&'a Line);

impl<'a> Waiting<'a> {
    pub fn new(line: &'a Line) -> Self {
        line.waiting.fetch_add(1, Ordering::Relaxed);
        Self(line)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Line {
    /// Whether only Redis can tell when there is a turn. Turns whose moment is over are dropped.
    pub fn is_unknown(&self, now: Instant) -> bool {
        let mut known = self.known();
        while known.turns.front().is_some_and(|turn| turn.until < now) {
            known.turns.pop_front();
        }
        known.turns.is_empty() && known.closed.is_none_or(|closed| closed <= now)
    }

    pub fn first_turn(&self) -> Option<Instant> {
        self.known().turns.front().map(|turn| turn.from)
    }

    /// Whether there was one.
    pub fn take_turn(&self, now: Instant) -> bool {
        self.known().turns.pop_front_if(|turn| turn.from <= now).is_some()
    }

    /// At least how long the last one here will wait.
    pub fn estimate(&self, pace: Pace) -> Duration {
        let waiting = u32::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        self.interval(pace).saturating_mul(waiting.saturating_sub(1))
    }

    pub fn interval(&self, pace: Pace) -> Duration {
        self.known().interval.unwrap_or(pace.interval)
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        // It is whole at any moment, so a panic elsewhere does not spoil it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until the caller is the first in these lines; `None` if that takes too long.
pub async fn line_up(
    lines: &[Line; Operation::COUNT],
    asked: impl Iterator<Item = Operation>,
    until: Instant,
) -> Option<Vec<tokio::sync::MutexGuard<'_, ()>>> {
    // Always in the same order, so that nobody waits for one who waits for him.
    let order: BTreeSet<_> = asked.map(|operation| operation as usize).collect();
    let mut first = Vec::new();
    for index in order {
        first.push(timeout_at(until, lines[index].first.lock()).await.ok()?);
    }
    Some(first)
}
