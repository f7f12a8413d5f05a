//! An entry as the text that Redis keeps: `<revision> <owner> <end of the lease> <fence> <JSON>`. The first
//! three are of fixed width, because `swap.lua` reads and writes them.

use serde::de::Error as _;
use uuid::Uuid;

use crate::cover::Memory;
use crate::event::VideoId;
use crate::ledger::entry::{Body, Entry};
use crate::ledger::{Error, Known, Lease, Owner};

/// Widths of the revision and of a time in milliseconds, blanks excluded.
const REVISION: usize = 12;
const TIME: usize = 15;
const NOBODY: Uuid = Uuid::nil();

/// An entry, and what was there with it.
pub(super) struct Stored {
    pub entry: Entry,
    /// Counts changes; 0 for an entry that is not stored.
    pub revision: u64,
    /// The server's time in milliseconds.
    pub now: i64,
}

impl Stored {
    /// What is there if nobody has taken the video since this lease was granted, all but the memory.
    pub fn under(lease: &mut Lease) -> Option<Self> {
        let Known { revision, events } = std::mem::take(&mut lease.known);
        let (owner, fence, body) = (Some(lease.owner), lease.fence, Body { events, memory: None });
        let entry = Entry { owner, until: i64::MAX, fence, body };
        (revision > 0).then_some(Self { entry, revision, now: 0 })
    }

    /// What the entry must begin with to be replaced; `None` if nothing may be there.
    pub fn expected(&self) -> Option<String> {
        (self.revision > 0).then(|| stamp(&self.entry, self.revision))
    }

    /// For the lease of who has changed it last.
    pub fn known(self) -> Known {
        Known { revision: self.revision, events: self.entry.body.events }
    }
}

/// The entry under this revision, with a lease that has ended: `swap.lua` writes over that.
pub(super) fn write(
    entry: &Entry,
    revision: u64,
    memory: Option<&Memory>,
) -> serde_json::Result<String> {
    let (fence, body) = (entry.fence, entry.body(memory)?);
    Ok(format!("{} {:0TIME$} {fence} {body}", stamp(entry, revision), 0))
}

/// What no two states of an entry have in common: the revision, which begins again where Redis was emptied, and
/// the owner.
fn stamp(entry: &Entry, revision: u64) -> String {
    let owner = entry.owner.map_or(NOBODY, |owner| owner.0);
    format!("{revision:0REVISION$} {owner}")
}

/// What `swap.lua` answers with: the time, and what is there.
pub(super) fn read(video: &VideoId, answer: &str) -> Result<Stored, Error> {
    let unreadable = |source| Error::Unreadable { video: video.clone(), source };
    let foreign = || unreadable(serde_json::Error::custom("it is not of vod-cover's making"));
    let (now, text) = answer.split_at_checked(TIME).ok_or_else(foreign)?;
    let now = now.parse().map_err(|_| foreign())?;
    if text.is_empty() {
        return Ok(Stored { entry: Entry::default(), revision: 0, now });
    }
    let mut parts = text.splitn(5, ' ');
    let mut part = || parts.next().ok_or_else(foreign);
    let (revision, owner, until, fence, body) = (part()?, part()?, part()?, part()?, part()?);
    let owner: Uuid = owner.parse().map_err(|_| foreign())?;
    let entry = Entry {
        owner: Some(Owner(owner)).filter(|owner| owner.0 != NOBODY),
        until: until.parse().map_err(|_| foreign())?,
        fence: fence.parse().map_err(|_| foreign())?,
        body: serde_json::from_str::<Body>(body).map_err(unreadable)?,
    };
    Ok(Stored { entry, revision: revision.parse().map_err(|_| foreign())?, now })
}
