//! What the ledger keeps of one video, and what each transition of the port makes of it. Pure: an adapter
//! reads it, lets a transition change it, and stores it, with the memory that came with the transition, if
//! nobody else has changed it meanwhile. Times are milliseconds by the adapter's clock.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Claim, Key, Lease, Owner, Sight};
use crate::cover::{Memory, Record, Turn};
use crate::event::EventKey;

/// Events of one video of which the end, or a start without an end, is remembered; of more of them
/// the oldest are forgotten, and would be handled again. A video has a handful in its life.
const MOST_EVENTS: usize = 256;

/// An entry as it is stored: the lease, and the rest as JSON. [`Entry::default`] is one that is not stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    /// Who has the lease, and until when.
    pub owner: Option<Owner>,
    pub until: i64,
    /// Counts leases.
    pub fence: u64,
    pub body: Body,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
// What a newer version knows must not be lost by an older one: rather it waits for the end of a rollout.
#[serde(default, deny_unknown_fields)]
pub(crate) struct Body {
    #[serde(skip_serializing_if = "Events::is_empty")]
    pub events: Events,
    /// Not read before somebody asks: most transitions only replace it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Box<RawValue>>,
}

/// What happened to the events of a video.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Events {
    /// Those that began and did not end in an orderly way.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    begun: BTreeMap<EventKey, Begun>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    done: BTreeMap<EventKey, Ended>,
    /// The newest EventTime for which a cover was set, for each cause.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    newest: BTreeMap<String, i64>,
}

impl Events {
    fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.done.is_empty() && self.newest.is_empty()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Begun {
    times: u32,
    /// Who began last.
    by: Owner,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Ended {
    by: Owner,
    at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    follow_up: Option<Turn>,
}

/// What a claim comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// The entry's lease is the claimant's; how long it lasts is left to the adapter.
    Held {
        starts: u32,
    },
    Busy {
        wait: i64,
    },
    Done(Option<Turn>),
    Outdated,
}

impl Claimed {
    /// As the port says it.
    pub fn answer(self, memory: Memory, lease: impl FnOnce() -> Lease) -> Claim {
        match self {
            Self::Done(follow_up) => Claim::Done(follow_up),
            Self::Outdated => Claim::Outdated,
            Self::Busy { wait } => {
                let wait = u64::try_from(wait).unwrap_or_default();
                Claim::Busy { retry_after: Duration::from_millis(wait) }
            }
            Self::Held { starts } => Claim::Acquired { lease: lease(), memory, starts },
        }
    }
}

/// What another transition comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    Made,
    /// It had been made before, or has nothing to change.
    Same,
    /// The lease is no longer the caller's.
    Lost,
}

impl Entry {
    pub fn claim(&mut self, key: &Key, owner: Owner, now: i64) -> Claimed {
        let events = &mut self.body.events;
        if let Some(ended) = events.done.get(&key.event) {
            return Claimed::Done(ended.follow_up);
        }
        // A cover was set for a later event of this cause: this one comes too late, whoever has the video.
        let newest = events.newest.get(&key.cause);
        if key.at.zip(newest).is_some_and(|(at, newest)| at.as_millisecond() < *newest) {
            return Claimed::Outdated;
        }
        let held = self.owner.filter(|_| self.until > now);
        match held {
            Some(holder) if holder != owner => return Claimed::Busy { wait: self.until - now },
            // The same owner asks again because the reply was lost: the same lease.
            Some(_) => {}
            None => {
                (self.owner, self.until) = (Some(owner), 0);
                self.fence += 1;
            }
        }
        forget_most(&mut events.begun, |begun| i64::from(begun.times));
        let begun = events.begun.entry(key.event.clone()).or_insert(Begun { times: 0, by: owner });
        if begun.times == 0 || begun.by != owner {
            *begun = Begun { times: begun.times.saturating_add(1), by: owner };
        }
        Claimed::Held { starts: begun.times }
    }

    /// An effect follows, so a lease that ran out is lost even if nobody else has taken the video yet.
    pub fn remember(&self, lease: (Owner, u64), now: i64) -> Changed {
        if self.is_held(lease) && self.until > now { Changed::Made } else { Changed::Lost }
    }

    /// A lease that ran out is still good as long as nobody has taken the video since. An entry that is not
    /// stored any more was lost after the lease was granted: what is stored now is true all the same, and
    /// worth having, because without it our own cover would look like somebody else's. What ended longer
    /// than `keep` ago is forgotten.
    pub fn complete(
        &mut self,
        (owner, fence): (Owner, u64),
        key: &Key,
        record: &Record,
        keep: i64,
    ) -> Changed {
        let events = &mut self.body.events;
        if events.done.get(&key.event).is_some_and(|ended| ended.by == owner) {
            return Changed::Same;
        }
        if self.fence == 0 {
            self.fence = fence;
        } else if self.owner != Some(owner) || self.fence != fence {
            return Changed::Lost;
        }
        (self.owner, self.until) = (None, 0);
        events.begun.remove(&key.event);
        let at = record.decided_at.as_millisecond();
        events.done.retain(|_, ended| ended.at >= at.saturating_sub(keep));
        forget_most(&mut events.done, |ended| ended.at);
        let ended = Ended { by: owner, at, follow_up: record.follow_up };
        events.done.insert(key.event.clone(), ended);
        if let Some(at) = key.at.filter(|_| record.outcome.cover().is_some()) {
            let at = at.as_millisecond();
            match events.newest.entry(key.cause.clone()) {
                Slot::Vacant(newest) => {
                    newest.insert(at);
                }
                Slot::Occupied(mut newest) => {
                    let newest = newest.get_mut();
                    *newest = at.max(*newest);
                }
            }
        }
        Changed::Made
    }

    pub fn release(&mut self, lease: (Owner, u64), event: &EventKey) -> Changed {
        if !self.is_held(lease) {
            return Changed::Same;
        }
        (self.owner, self.until) = (None, 0);
        self.body.events.begun.remove(event);
        Changed::Made
    }

    /// Makes the lease last this long, and no shorter than it does. One more, because `now` is rounded down:
    /// the ledger must never grant less than the worker believes.
    pub fn extend(&mut self, now: i64, length: i64) {
        self.until = self.until.max(now.saturating_add(length).saturating_add(1));
    }

    /// For people; `None` if nothing is known of the video.
    pub fn sight(&self, now: i64) -> serde_json::Result<Option<Sight>> {
        if self.fence == 0 {
            return Ok(None);
        }
        let left = self.owner.map_or(0, |_| self.until.saturating_sub(now));
        let left = u64::try_from(left).ok().filter(|left| *left > 0);
        let (memory, leased) = (self.memory()?, left.map(Duration::from_millis));
        Ok(Some(Sight { memory, fence: self.fence, leased }))
    }

    /// The body as JSON, with the memory replaced by this one, if one is given.
    pub fn body(&self, memory: Option<&Memory>) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Replaced<'a> {
            #[serde(skip_serializing_if = "Events::is_empty")]
            events: &'a Events,
            memory: &'a Memory,
        }
        let events = &self.body.events;
        match memory {
            Some(memory) => serde_json::to_string(&Replaced { events, memory }),
            None => serde_json::to_string(&self.body),
        }
    }

    /// Nothing stored is nothing known.
    pub fn memory(&self) -> serde_json::Result<Memory> {
        let stored = self.body.memory.as_deref();
        stored.map_or_else(|| Ok(Memory::default()), |memory| serde_json::from_str(memory.get()))
    }

    /// Whether this lease is the latest one of the video and was not given back. It may have run out.
    fn is_held(&self, (owner, fence): (Owner, u64)) -> bool {
        self.owner == Some(owner) && self.fence == fence
    }
}

/// Makes room for one more, by what is least in this.
fn forget_most<T>(events: &mut BTreeMap<EventKey, T>, by: impl Fn(&T) -> i64) {
    while events.len() >= MOST_EVENTS
        && let Some(least) =
            events.iter().min_by_key(|(_, one)| by(one)).map(|(key, _)| key.clone())
    {
        events.remove(&least);
    }
}
