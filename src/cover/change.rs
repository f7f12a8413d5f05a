//! What a MediaBaseChangeComplete about a cover means: our own write that comes back, somebody's choice,
//! or evidence that one of our writes replaced a choice that we had not seen. Pure.
//!
//! These events come late, twice, in any order, or not at all, and name no author. Two things are
//! certain: each write of ours causes exactly one, and VOD's own default causes none. In doubt a change
//! is somebody's, and in doubt nothing is written.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/user-guide/mediabasechangecomplete>

use jiff::Timestamp;

use super::memory::{By, Memory, Write, same};
use super::owner::Owner;
use super::{CoverUrl, Current, Outcome, Witness};

/// Covers that are put back for one video at the most: against another program that does the same.
const MOST_RESTORED: u32 = 3;

/// A change of a cover through VOD's API, by whomever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoverChange {
    /// OperateMode `create`: the cover was given at upload.
    pub at_upload: bool,
    pub old: Option<String>,
    pub new: Option<String>,
    pub at: Option<Timestamp>,
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing, and why. If it was a write of ours, which one.
    Nothing { why: &'static str, echo: Option<usize> },
    /// It depends on the cover that the video has now.
    AskCurrent,
    /// It depends on what our own write's event says, which has not come yet.
    AwaitEcho,
    /// Somebody chose this cover; it stays.
    Theirs { cover: String, by: Witness, echo: Option<usize> },
    /// Our write replaced this cover, which somebody had chosen meanwhile.
    PutBack { cover: String, echo: Option<usize> },
}

/// `patient`: whether our own write's event is still waited for. `overwrite`: whether covers that
/// somebody chose may be replaced, in which case none is put back.
pub fn judge(
    change: &CoverChange,
    memory: &Memory,
    current: Option<&Current>,
    patient: bool,
    overwrite: bool,
) -> Meaning {
    let nothing = |why| Meaning::Nothing { why, echo: None };
    let Some(new) = change.new.as_deref() else { return nothing("the cover was removed") };
    let old = change.old.as_deref();
    if memory.outcome() == Some(&Outcome::Deleted) {
        return nothing("the video was deleted");
    }
    if old.is_some_and(|old| same(old, new)) {
        return nothing("the cover stayed the same");
    }
    let case = Judging { change, memory, current, patient, overwrite };
    match case.echo(new, old) {
        Some(at) => case.ours(at, &memory.writes[at], old),
        None => case.theirs(new, old),
    }
}

struct Judging<'a> {
    change: &'a CoverChange,
    memory: &'a Memory,
    current: Option<&'a Current>,
    patient: bool,
    overwrite: bool,
}

impl Judging<'_> {
    /// The write of ours that this change is, if it is one that has not come back yet: rather one that
    /// fits the old value, else the oldest.
    fn echo(&self, new: &str, old: Option<&str>) -> Option<usize> {
        let fits = |write: &Write| match (write.before.as_deref(), old) {
            (Some(before), Some(old)) => same(before, old),
            (before, old) => before.is_none() && old.is_none(),
        };
        // A cover that we put back was chosen by somebody before, by an event of its own; times are whole
        // seconds.
        let follows = |write: &Write| match (write.since, self.change.at) {
            (Some(since), Some(at)) => at > since || at == since && fits(write),
            _ => true,
        };
        let open = |write: &Write| {
            !write.echoed && write.is(new) && write.may_be_of(self.change.at) && follows(write)
        };
        let writes = &self.memory.writes;
        let fitting = writes.iter().position(|write| open(write) && fits(write));
        fitting.or_else(|| writes.iter().position(open))
    }

    /// Our own write: did it replace what we had read?
    fn ours(&self, at: usize, write: &Write, old: Option<&str>) -> Meaning {
        let nothing = |why| Meaning::Nothing { why, echo: Some(at) };
        let Some(old) = old else { return nothing("our own write") };
        if write.by == By::Operator || self.overwrite {
            return nothing("our own write, whatever it replaced");
        }
        let as_read = write.before.as_deref().is_some_and(|before| same(before, old));
        if as_read || self.memory.wrote(old) {
            return nothing("our own write");
        }
        let Some(current) = self.current else { return Meaning::AskCurrent };
        if default_of(current).is_some_and(|default| same(default, old)) {
            return nothing("our own write, which replaced VOD's default");
        }
        self.replaced(write, old, Some(at), current)
    }

    /// Somebody else's change: what has become of it?
    fn theirs(&self, new: &str, old: Option<&str>) -> Meaning {
        let nothing = |why| Meaning::Nothing { why, echo: None };
        let by = match self.change.at_upload {
            true => Witness::GivenAtUpload,
            false => Witness::ChangeEvent,
        };
        let theirs = |cover: &str| Meaning::Theirs { cover: bare(cover), by, echo: None };
        // Nothing of ours comes after that, but for putting a cover back, which may race as well.
        let back = self.memory.writes.last().is_some_and(|write| write.by == By::Restoration);
        if matches!(self.memory.outcome(), Some(Outcome::Manual { .. })) && !back {
            return nothing("the cover is known to be somebody's");
        }
        // Those of our writes that can have come after it.
        let writes = &self.memory.writes;
        let after = old.and_then(|old| writes.iter().rposition(|write| write.is(old)));
        let later = &writes[after.map_or(0, |at| at + 1)..];
        if later.is_empty() {
            return theirs(new);
        }
        let at = self.change.at;
        let knowingly = |write: &Write| {
            write.by == By::Operator || write.over == Some(Owner::Somebody) || self.overwrite
        };
        if later.iter().any(|write| knowingly(write) && write.not_after(at)) {
            return nothing("it was there when it was replaced knowingly");
        }
        let Some(current) = self.current else { return Meaning::AskCurrent };
        let Some(now) = current.text() else { return nothing("the cover was removed since") };
        // Somebody has chosen again, or, if this came after our last write, what we had written.
        let last = later.last();
        if self.memory.left(&now).is_none() || last.is_some_and(|write| !write.not_after(at)) {
            return theirs(&now);
        }
        // They chose the very picture that we took for VOD's default and replaced; if it is one of ours,
        // this may as well be told twice.
        let chosen = |write: &&Write| {
            write.before.as_deref().is_some_and(|before| same(before, new)) && write.not_after(at)
        };
        if let Some(write) = later.iter().find(chosen).filter(|_| !self.memory.wrote(new)) {
            return self.replaced(write, new, None, current);
        }
        // It may have lain between our look and our write. What the write replaced, its own event says.
        let covers =
            |write: &&Write| (write.over.is_none() || write.not_before(at)) && write.not_after(at);
        let Some(_) = later.iter().find(covers) else {
            return nothing("it had been replaced before we looked");
        };
        match later.iter().find(|write| covers(write) && !write.echoed) {
            None => nothing("our write replaced another one"),
            Some(_) if self.patient => Meaning::AwaitEcho,
            Some(write) => self.replaced(write, new, None, current),
        }
    }

    /// Our write replaced somebody's cover. It is put back, unless somebody has chosen again since.
    fn replaced(
        &self,
        write: &Write,
        lost: &str,
        echo: Option<usize>,
        current: &Current,
    ) -> Meaning {
        let now = current.text();
        let theirs = |cover: &str, by| Meaning::Theirs { cover: bare(cover), by, echo };
        let Some(now) = now else {
            return Meaning::Nothing { why: "the cover was removed since", echo };
        };
        // A later choice than this one is back already.
        let outdone = |one: &Write| {
            one.by == By::Restoration
                && !one.is(lost)
                && one.since.zip(self.change.at).is_none_or(|(since, at)| since > at)
        };
        if self.memory.writes.iter().any(outdone) {
            return Meaning::Nothing { why: "a later choice was put back", echo };
        }
        let is_back = same(&now, lost);
        let by_us = self.memory.left(&now).is_some_and(|by| by != By::Operator) || write.is(&now);
        match by_us && !is_back {
            // Somebody chose again, or the operator did.
            false if is_back && self.memory.left(&now).is_some() => theirs(lost, Witness::Restored),
            false if self.memory.left(&now) == Some(By::Operator) => {
                Meaning::Nothing { why: "the operator has chosen since", echo }
            }
            false => theirs(&now, Witness::CurrentCover),
            true if self.memory.restored >= MOST_RESTORED || CoverUrl::as_given(lost).is_err() => {
                theirs(lost, Witness::ChangeEvent)
            }
            true => Meaning::PutBack { cover: lost.to_owned(), echo },
        }
    }
}

/// The picture that VOD takes by itself.
fn default_of(current: &Current) -> Option<&str> {
    current.middle.as_ref().map(CoverUrl::as_str)
}

/// Without what a signature may have added, and no longer than what can be written.
fn bare(cover: &str) -> String {
    cover.split(['?', '#']).next().unwrap_or_default().chars().take(CoverUrl::MAX_LEN).collect()
}

#[cfg(test)]
mod tests;
