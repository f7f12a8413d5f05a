//! Whose the current cover is. VOD keeps no such field, so it is read from the URL, by the heuristic of
//! our reading of VOD's documentation. Pure. When in doubt the answer is [`Owner::Somebody`], because
//! overwriting a person's choice is the worst that this program can do.

use serde::{Deserialize, Serialize};

use super::{By, Case, CoverUrl, Current, CurrentCover, Evidence};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// No cover is set.
    Nobody,
    /// The snapshot that VOD takes by itself.
    Vod,
    /// A smart thumbnail: set by an AI template, or by a person out of VOD's proposals.
    Intelligent,
    /// Our own write, recorded or intended.
    Ours,
    /// What the operator chose with `set`, whose end was not recorded.
    Operator,
    /// A person or another system.
    Somebody,
}

/// Compares paths only: the same picture may come with another scheme, host or query. A person who
/// picks exactly VOD's middle snapshot cannot be told from VOD. Where a domain signs URLs in their paths
/// (types B and C), nothing can be recognised, and every cover counts as somebody's.
pub fn whose(current: &Current, case: &Case<'_>, seen: &Evidence) -> Owner {
    let cover = match &current.cover {
        CurrentCover::None => return Owner::Nobody,
        CurrentCover::Odd(_) => return Owner::Somebody,
        CurrentCover::Is(cover) => cover,
    };
    let same = |other: &CoverUrl| other.path() == cover.path();
    match case.memory.left(cover.as_str()) {
        Some(By::Rule(_)) => return Owner::Ours,
        Some(By::Operator) => return Owner::Operator,
        // Theirs, put back.
        Some(By::Restoration) => return Owner::Somebody,
        None => {}
    }
    // The event's snapshots, if they are of the kind that VOD takes its cover from.
    let of_event = if case.automatic { case.candidates } else { &[] };
    let middle = of_event.get(of_event.len() / 2).map(|one| &one.url);
    let middles = middle.into_iter().chain(&current.middle);
    // VOD's index for N = 1..8 is documented by one sample only (2 of 2), so the event's own CoverUrl
    // counts as well, but only if it is one of the event's automatic snapshots: otherwise it may be a
    // cover that was given at upload, since the documentation leaves open which of the two it names.
    // And only before we ever set a cover: a later event may name what a person has picked since.
    let is_of_event = |named: &&CoverUrl| of_event.iter().any(|one| one.url.path() == named.path());
    let is_first = case.memory.standing.is_none();
    let named = case.event_cover.filter(is_of_event).filter(|_| is_first);
    if middles.chain(named).any(same) {
        // VOD takes its default where no cover is set. Once ours was, somebody put this one back.
        return if is_first { Owner::Vod } else { Owner::Somebody };
    }
    let listed = seen.intelligent.iter().flatten().any(|image| same(&image.url));
    if listed || cover.path().contains("/image/ai/") {
        return Owner::Intelligent;
    }
    Owner::Somebody
}
