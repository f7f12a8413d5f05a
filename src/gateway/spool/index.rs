//! What of the spool is kept in memory: which lines wait in it, and how much of it there is.

use std::collections::HashMap;

use sha1::{Digest, Sha1};

/// What has to leave in the order in which it came: the events of one video. Two videos whose numbers are
/// alike by chance merely wait for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::gateway) struct Line(pub i64);

impl Line {
    /// The same number for the same name in every version of the program, since it is on disk.
    pub fn of(name: &[u8]) -> Self {
        let digest = Sha1::digest(name);
        let first = digest.iter().take(8);
        Self(first.fold(0i64, |number, byte| (number << 8) | i64::from(*byte)))
    }
}

#[derive(Default)]
pub(super) struct Index {
    lines: HashMap<Line, u32>,
    pub fill: Fill,
}

/// How full the spool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fill {
    pub events: u64,
    pub bytes: u64,
}

impl Index {
    pub fn add(&mut self, line: Line, bytes: u64) {
        *self.lines.entry(line).or_default() += 1;
        self.fill.events += 1;
        self.fill.bytes += bytes;
    }

    pub fn remove(&mut self, line: Line, bytes: u64) {
        if let Some(count) = self.lines.get_mut(&line) {
            *count -= 1;
            if *count == 0 {
                self.lines.remove(&line);
            }
        }
        self.fill.events = self.fill.events.saturating_sub(1);
        self.fill.bytes = self.fill.bytes.saturating_sub(bytes);
    }

    pub fn holds(&self, line: Line) -> bool {
        self.lines.contains_key(&line)
    }
}
