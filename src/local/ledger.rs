//! The ledger on the file: the transitions of the port, one job of the database's thread each, timed by the
//! machine's monotonic clock, which its processes share and which nobody sets. The SQL is in
//! `transitions`.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use serde_json::value::{RawValue, to_raw_value};

use super::{Local, Trouble, milliseconds, now, transitions};
use crate::cover::{Memory, Record};
use crate::event::VideoId;
use crate::ledger::entry::{Changed, Claimed, Entry};
use crate::ledger::{Claim, Error, Key, Known, Lease, Ledger, Owner, Sight};
use crate::sqlite::PROBE;

/// What a transition leaves to be stored.
#[derive(Clone, Copy)]
enum Next {
    Changed,
    Unchanged,
}

impl Local {
    fn keep_as_ledger(&self, step: &'static str) -> Result<i64, Error> {
        let missing = || Error::unavailable(step, "the file was opened for publishing only");
        self.keep.map(milliseconds).ok_or_else(missing)
    }

    /// Makes a transition, told the present time. The lease's deadline is counted from the moment that is
    /// returned, which is before the database's clock is read.
    async fn change<T: Send + 'static>(
        &self,
        step: &'static str,
        video: &VideoId,
        transition: impl FnOnce(&mut Entry, i64) -> (T, Next) + Send + 'static,
    ) -> Result<(Instant, T), Error> {
        let (keep, name) = (self.keep_as_ledger(step)?, video.as_str().to_owned());
        let sent = Instant::now();
        let job = move |connection: &Connection| {
            let (clock, oldest) = (clock(), now().saturating_sub(keep));
            let mut entry = match transitions::read(connection, &name, clock, oldest)? {
                Ok(entry) => entry,
                Err(unreadable) => return Ok(Err(unreadable)),
            };
            let (outcome, next) = transition(&mut entry, clock);
            if let Next::Changed = next {
                transitions::write(connection, &name, &entry, clock, oldest)?;
            }
            Ok(Ok(outcome))
        };
        match self.database.call(true, job, |_| ()).await {
            Ok(Ok(outcome)) => Ok((sent, outcome)),
            Ok(Err(source)) => Err(Error::Unreadable { video: video.clone(), source }),
            Err(trouble) => Err(unavailable(step, trouble)),
        }
    }

    /// Makes a transition of who has the lease.
    async fn change_held(
        &self,
        step: &'static str,
        lease: &Lease,
        memory: Option<Box<RawValue>>,
        transition: impl FnOnce(&mut Entry, i64) -> Changed + Send + 'static,
    ) -> Result<Instant, Error> {
        let made = self.change(step, &lease.key.video, |entry, now| {
            let changed = transition(entry, now);
            if changed != Changed::Made {
                return (changed, Next::Unchanged);
            }
            if memory.is_some() {
                entry.body.memory = memory;
            }
            (changed, Next::Changed)
        });
        match made.await? {
            (_, Changed::Lost) => Err(Error::LeaseLost { video: lease.key.video.clone() }),
            (sent, Changed::Made | Changed::Same) => Ok(sent),
        }
    }
}

#[async_trait]
impl Ledger for Local {
    async fn claim(&self, key: &Key, owner: Owner, lease: Duration) -> Result<Claim, Error> {
        let (length, claimed) = (milliseconds(lease), key.clone());
        let made = self.change("claiming a video in the file", &key.video, move |entry, now| {
            let memory = match entry.memory() {
                Ok(memory) => memory,
                // Nobody can work on it, so nobody should wait for the end of a lease.
                Err(source) => return (Err(source), Next::Unchanged),
            };
            let claimed = entry.claim(&claimed, owner, now);
            let next = match claimed {
                Claimed::Held { .. } => {
                    entry.extend(now, length);
                    Next::Changed
                }
                _ => Next::Unchanged,
            };
            (Ok((claimed, entry.fence, memory)), next)
        });
        let (sent, outcome) = made.await?;
        let unreadable = |source| Error::Unreadable { video: key.video.clone(), source };
        let (claimed, fence, memory) = outcome.map_err(unreadable)?;
        Ok(claimed.answer(memory, || {
            let (key, deadline) = (key.clone(), sent + lease);
            Lease { key, owner, fence, deadline, known: Known::default() }
        }))
    }

    async fn remember(
        &self,
        lease: Lease,
        memory: &Memory,
        fresh: Duration,
    ) -> Result<Lease, Error> {
        const STEP: &str = "announcing an effect in the file";
        let (ours, length) = ((lease.owner, lease.fence), milliseconds(fresh));
        let transition = move |entry: &mut Entry, now: i64| {
            let changed = entry.remember(ours, now);
            entry.extend(now, length);
            changed
        };
        let memory = Some(write(STEP, memory)?);
        let sent = self.change_held(STEP, &lease, memory, transition).await?;
        Ok(Lease { deadline: sent + fresh, ..lease })
    }

    async fn complete(&self, lease: Lease, record: &Record, memory: &Memory) -> Result<(), Error> {
        const STEP: &str = "storing the end of an event in the file";
        let keep = self.keep_as_ledger(STEP)?;
        let (ours, key, record) = ((lease.owner, lease.fence), lease.key.clone(), record.clone());
        let transition = move |entry: &mut Entry, _: i64| entry.complete(ours, &key, &record, keep);
        let memory = Some(write(STEP, memory)?);
        self.change_held(STEP, &lease, memory, transition).await.map(|_| ())
    }

    async fn release(&self, lease: Lease, memory: Option<&Memory>) -> Result<(), Error> {
        const STEP: &str = "freeing a video in the file";
        let memory = memory.map(|memory| write(STEP, memory)).transpose()?;
        let (ours, event) = ((lease.owner, lease.fence), lease.key.event.clone());
        let transition = move |entry: &mut Entry, _: i64| entry.release(ours, &event);
        self.change_held(STEP, &lease, memory, transition).await.map(|_| ())
    }

    async fn look(&self, video: &VideoId) -> Result<Option<Sight>, Error> {
        const STEP: &str = "looking at a video in the file";
        let (keep, name) = (self.keep_as_ledger(STEP)?, video.as_str().to_owned());
        let work = move |connection: &Connection| {
            let clock = clock();
            let entry = transitions::read(connection, &name, clock, now().saturating_sub(keep))?;
            Ok(entry.and_then(|entry| entry.sight(clock)))
        };
        let seen = self.database.call(false, work, |_| ()).await;
        seen.map_err(|trouble| unavailable(STEP, trouble))?
            .map_err(|source| Error::Unreadable { video: video.clone(), source })
    }

    async fn bookmark(&self, name: &str) -> Result<Option<String>, Error> {
        const STEP: &str = "reading a bookmark in the file";
        let keep = self.keep_as_ledger(STEP)?;
        let name = name.to_owned();
        let work = move |connection: &Connection| {
            connection
                .prepare_cached("SELECT text FROM bookmark WHERE name = ?1 AND touched >= ?2")?
                .query_row((name, now().saturating_sub(keep)), |row| row.get(0))
                .optional()
        };
        let found = self.database.call(false, work, |_| ()).await;
        found.map_err(|trouble| unavailable(STEP, trouble))
    }

    async fn set_bookmark(&self, name: &str, text: Option<&str>) -> Result<(), Error> {
        const STEP: &str = "storing a bookmark in the file";
        self.keep_as_ledger(STEP)?;
        let text = text.filter(|text| !text.is_empty()).map(str::to_owned);
        let name = name.to_owned();
        let work = move |connection: &Connection| match &text {
            Some(text) => connection
                .prepare_cached(
                    "INSERT INTO bookmark (name, text, touched) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET text = ?2, touched = ?3",
                )?
                .execute((&name, text, now())),
            None => {
                connection.prepare_cached("DELETE FROM bookmark WHERE name = ?1")?.execute([&name])
            }
        };
        let stored = self.database.call(true, work, |_| ()).await;
        stored.map(|_| ()).map_err(|trouble| unavailable(STEP, trouble))
    }

    async fn ping(&self) -> Result<(), Error> {
        const STEP: &str = "asking the file whether it can be written";
        self.keep_as_ledger(STEP)?;
        let work = |connection: &Connection| connection.execute(PROBE, []).map(|_| ());
        let outcome = self.database.call(true, work, |_| ()).await;
        outcome.map_err(|trouble| unavailable(STEP, trouble))
    }
}

/// Milliseconds since some moment at or before the machine's start.
fn clock() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000)
}

fn unavailable(step: &'static str, trouble: Trouble) -> Error {
    Error::unavailable(step, trouble)
}

fn write(step: &'static str, memory: &Memory) -> Result<Box<RawValue>, Error> {
    to_raw_value(memory).map_err(|error| Error::unavailable(step, error))
}
