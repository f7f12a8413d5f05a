//! What is remembered of a video between events: whose its cover is, and what we wrote. Pure; `ledger`
//! stores it whole, and only who holds the video's lease changes it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::owner::Owner;
use super::{CoverUrl, Outcome, Record, Rule, path};
use crate::event::EventKey;

/// Writes and history entries that are remembered: far more than a video has in its life, and small
/// enough to travel with every claim.
const MOST_WRITES: usize = 8;
const MOST_ENTRIES: usize = 32;
/// Longest text of one entry, in bytes.
const MOST_TEXT: usize = 600;

/// How far VOD's clock and ours may differ, and how long a write that was announced may take to appear
/// as an event's time. Signatures bind the clocks to 15 minutes; in practice they are seconds apart.
const SKEW: SignedDuration = SignedDuration::from_mins(2);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
// What a newer version knows must not be lost by an older one: rather it waits for the end of a rollout.
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// The latest record that says whose the cover is.
    pub standing: Option<Record>,
    /// Our own latest writes, the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<Write>,
    /// The job for smart thumbnails that we ordered, of which there is one for each video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// Whether some event was decided, whatever came of it.
    #[serde(skip_serializing_if = "is_false")]
    pub decided: bool,
    /// Covers that were put back after one of our writes had replaced them.
    #[serde(skip_serializing_if = "is_zero")]
    pub restored: u32,
    /// What happened, for people; the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Entry>,
}

/// A write of ours, announced before it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    pub cover: CoverUrl,
    pub by: By,
    pub event: EventKey,
    /// The cover that was read before, without query. `None`: there was none, or nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Whose that was. `None`: nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Owner>,
    /// When it was announced.
    pub at: Timestamp,
    /// By VOD's clock, when that happened which it answers, if it does: its own event comes after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Whether VOD has confirmed it. If not, it may or may not have happened.
    #[serde(default)]
    pub made: bool,
    /// Whether its own MediaBaseChangeComplete has come. There is one for each write.
    #[serde(default)]
    pub echoed: bool,
}

/// On whose behalf something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    Rule(Rule),
    /// The operator, with `set`.
    Operator,
    /// Somebody whose cover we had replaced.
    Restoration,
}

/// A job for smart thumbnails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// `None`: it was about to be ordered, and may or may not have been.
    pub id: Option<String>,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Timestamp,
    pub event: EventKey,
    pub what: String,
}

impl Memory {
    pub fn outcome(&self) -> Option<&Outcome> {
        self.standing.as_ref().map(|record| &record.outcome)
    }

    /// The write that may or may not have happened.
    pub fn pending(&self) -> Option<&Write> {
        self.writes.last().filter(|write| !write.made)
    }

    /// Whether the latest write's end was never recorded, because whoever made it died.
    pub fn is_unsettled(&self) -> bool {
        let recorded = self.outcome().and_then(Outcome::cover);
        self.writes.last().is_some_and(|write| !recorded.is_some_and(|at| write.is(at.as_str())))
    }

    /// On whose behalf the video has this cover, if we wrote it and nothing of ours came after: the
    /// standing, the last write that was made, or a later one that may have been.
    pub fn left(&self, cover: &str) -> Option<By> {
        let recent = self.writes.iter().rposition(|write| write.made).unwrap_or(0);
        let mut recent = self.writes[recent..].iter().rev();
        let written = recent.find(|write| write.is(cover)).map(|write| write.by);
        written.or_else(|| match self.outcome() {
            Some(Outcome::Set { cover: ours, rule }) if same(ours.as_str(), cover) => {
                Some(By::Rule(*rule))
            }
            Some(Outcome::Chosen { cover: ours }) if same(ours.as_str(), cover) => {
                Some(By::Operator)
            }
            _ => None,
        })
    }

    /// Whether we ever wrote this cover of our own accord, as far back as is remembered.
    pub fn wrote(&self, cover: &str) -> bool {
        let ours = |write: &Write| write.by != By::Restoration && write.is(cover);
        self.writes.iter().any(ours) || self.left(cover).is_some_and(|by| by != By::Restoration)
    }

    /// Remembers a write that is about to be made. One of the same cover that was announced and not
    /// confirmed is the same write, made again.
    pub fn announce(&mut self, write: Write) {
        self.writes.retain(|one| one.made || one.echoed || !one.is(write.cover.as_str()));
        self.writes.push(write);
        let surplus = self.writes.len().saturating_sub(MOST_WRITES);
        self.writes.drain(..surplus);
    }

    /// The last announced write was confirmed.
    pub fn confirm(&mut self) {
        if let Some(write) = self.writes.last_mut() {
            write.made = true;
        }
    }

    /// The last announced write has certainly not happened.
    pub fn withdraw(&mut self) {
        self.writes.pop_if(|write| !write.made && !write.echoed);
    }

    /// Remembers how an event ended.
    pub fn end(&mut self, record: &Record, what: &str) {
        if record.outcome.stands() {
            self.standing = Some(record.clone());
        }
        self.decided |= !matches!(record.outcome, Outcome::Noted { .. });
        if record.outcome == Outcome::Deleted {
            self.writes.clear();
            self.job = None;
        }
        self.tell(record.decided_at, &record.event, what);
    }

    /// Adds to the history; what is told several times in a row is kept once, with its latest time.
    pub fn tell(&mut self, at: Timestamp, event: &EventKey, what: &str) {
        let mut what = what.to_owned();
        what.truncate(what.floor_char_boundary(MOST_TEXT));
        self.history.pop_if(|last| last.event == *event && last.what == what);
        self.history.push(Entry { at, event: event.clone(), what });
        let surplus = self.history.len().saturating_sub(MOST_ENTRIES);
        self.history.drain(..surplus);
    }
}

impl Write {
    pub fn is(&self, cover: &str) -> bool {
        same(self.cover.as_str(), cover)
    }

    /// Whether something that VOD did at this time can have been this write.
    pub fn may_be_of(&self, at: Option<Timestamp>) -> bool {
        self.not_before(at) && self.not_after(at)
    }

    /// Whether something that VOD did at this time came before this write, or may have.
    pub fn not_after(&self, at: Option<Timestamp>) -> bool {
        at.is_none_or(|at| at <= self.at.saturating_add(SKEW).unwrap_or(Timestamp::MAX))
    }

    /// Whether something that VOD did at this time came after we had looked, or may have.
    pub fn not_before(&self, at: Option<Timestamp>) -> bool {
        at.is_none_or(|at| at >= self.at.saturating_sub(SKEW).unwrap_or(Timestamp::MIN))
    }
}

/// Whether two addresses are of the same picture, which may come with another scheme, host or query.
pub fn same(one: &str, other: &str) -> bool {
    path(one) == path(other)
}

fn is_false(yes: &bool) -> bool {
    !yes
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
