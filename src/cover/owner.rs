//! Whose the current cover is. VOD keeps no such field, so it is read from the URL, by the heuristic of
//! our reading of VOD's documentation. Pure. When in doubt the answer is [`Owner::Somebody`], because
//! overwriting a person's choice is the worst that this program can do.

use super::{Case, CoverUrl, CurrentCover, Evidence, Outcome, Standing};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// No cover is set.
    Nobody,
    /// The snapshot that VOD takes by itself.
    Vod,
    /// A smart thumbnail: set by an AI template, or by a person out of VOD's proposals.
    Intelligent,
    /// Our own write, recorded or intended.
    Ours,
    /// A person or another system.
    Somebody,
}

/// Compares paths only: the same picture may come with another scheme, host or query. A person who
/// picks exactly VOD's middle snapshot cannot be told from VOD.
pub fn whose(current: &CurrentCover, case: &Case<'_>, seen: &Evidence) -> Owner {
    let current = match current {
        CurrentCover::None => return Owner::Nobody,
        CurrentCover::Odd(_) => return Owner::Somebody,
        CurrentCover::Is(cover) => cover,
    };
    let same = |other: &CoverUrl| other.path() == current.path();
    let recorded = match case.standing {
        Standing::Ours(record) => match &record.outcome {
            Outcome::Set { cover, .. } => Some(cover),
            Outcome::Kept { .. } | Outcome::NoCover => None,
        },
        Standing::Unknown => None,
    };
    let intended = case.intention.map(|intention| &intention.cover);
    if recorded.into_iter().chain(intended).any(same) {
        return Owner::Ours;
    }
    // VOD's index for N = 1..8 is documented by one sample only (2 of 2), so the event's own CoverUrl
    // counts first. With neither, the computed middle stands in.
    let middle = case.candidates.get(case.candidates.len() / 2).map(|candidate| &candidate.url);
    if case.default_cover.into_iter().chain(middle).any(same) {
        return Owner::Vod;
    }
    let listed = seen.intelligent.iter().flatten().any(|image| same(&image.url));
    if listed || current.path().contains("/image/ai/") {
        return Owner::Intelligent;
    }
    Owner::Somebody
}
