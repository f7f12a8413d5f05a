//! The ledger on the file: the transitions of the port, one job of the database's thread each, timed by the
//! machine's monotonic clock, which its processes share and which nobody sets. The SQL is in
//! `transitions`.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Result as SqlResult};
use serde::de::DeserializeOwned;

use super::database::PROBE;
use super::transitions::{Answer, Claimed, Subject};
use super::{Local, Trouble, milliseconds, now};
use crate::cover::{Memory, Record};
use crate::event::VideoId;
use crate::ledger::{Claim, Error, Key, Lease, Ledger, Owner, Sight};

impl Local {
    fn keep_as_ledger(&self, step: &'static str) -> Result<Duration, Error> {
        self.keep.ok_or_else(|| Error::unavailable(step, "the file was opened for publishing only"))
    }

    /// Runs a transition. The lease's deadline is counted from the moment that is returned, which is
    /// before the database's clock is read.
    async fn transition<T: Send + 'static>(
        &self,
        step: &'static str,
        key: &Key,
        owner: Owner,
        run: impl FnOnce(&Subject, &Connection) -> SqlResult<T> + Send + 'static,
    ) -> Result<(Instant, T), Error> {
        let keep = self.keep_as_ledger(step)?;
        let sent = Instant::now();
        let mut subject = Subject {
            video: key.video.as_str().to_owned(),
            event: key.event.0.clone(),
            cause: key.cause.clone(),
            at: key.at.map(|at| at.as_millisecond()),
            owner: owner.0.to_string(),
            clock: 0,
            keep: milliseconds(keep),
        };
        let job = move |connection: &Connection| {
            subject.clock = clock();
            run(&subject, connection)
        };
        let outcome = self.database.call(true, job, |_| ()).await;
        outcome.map(|value| (sent, value)).map_err(|trouble| unavailable(step, trouble))
    }
}

#[async_trait]
impl Ledger for Local {
    async fn claim(&self, key: &Key, owner: Owner, lease: Duration) -> Result<Claim, Error> {
        let length = milliseconds(lease);
        let run =
            move |subject: &Subject, connection: &Connection| subject.claim(connection, length);
        let (sent, claimed) =
            self.transition("claiming a video in the file", key, owner, run).await?;
        let (fence, memory, starts) = match claimed {
            Claimed::Done(record) => return Ok(Claim::Done(read(&key.video, &record)?)),
            Claimed::Outdated => return Ok(Claim::Outdated),
            Claimed::Busy { wait } => {
                let retry_after = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
                return Ok(Claim::Busy { retry_after });
            }
            Claimed::Held { fence, memory, starts } => (fence, memory, starts),
        };
        let fence = u64::try_from(fence).unwrap_or_default();
        let lease = Lease { key: key.clone(), owner, fence, deadline: sent + lease };
        match read_memory(&key.video, memory.as_deref()) {
            Ok(memory) => {
                let starts = u32::try_from(starts).unwrap_or(u32::MAX);
                Ok(Claim::Acquired { lease, memory, starts })
            }
            Err(error) => {
                // Nobody will work under this lease, so nobody else should wait for its end.
                self.release(lease, None).await.ok();
                Err(error)
            }
        }
    }

    async fn remember(
        &self,
        lease: Lease,
        memory: &Memory,
        fresh: Duration,
    ) -> Result<Lease, Error> {
        const STEP: &str = "announcing an effect in the file";
        let (fence, length) = (stored_fence(&lease), milliseconds(fresh));
        let text = write(STEP, memory)?;
        let run = move |subject: &Subject, connection: &Connection| {
            subject.remember(connection, fence, length, &text)
        };
        let (sent, answer) = self.transition(STEP, &lease.key, lease.owner, run).await?;
        accepted(&lease.key, answer)?;
        Ok(Lease { deadline: sent + fresh, ..lease })
    }

    async fn complete(&self, lease: Lease, record: &Record, memory: &Memory) -> Result<(), Error> {
        const STEP: &str = "storing the end of an event in the file";
        let (fence, set) = (stored_fence(&lease), record.outcome.cover().is_some());
        let (record, memory) = (write(STEP, record)?, write(STEP, memory)?);
        let run = move |subject: &Subject, connection: &Connection| {
            subject.complete(connection, fence, &record, &memory, set)
        };
        let (_, answer) = self.transition(STEP, &lease.key, lease.owner, run).await?;
        accepted(&lease.key, answer)
    }

    async fn release(&self, lease: Lease, memory: Option<&Memory>) -> Result<(), Error> {
        const STEP: &str = "freeing a video in the file";
        let fence = stored_fence(&lease);
        let memory = memory.map(|memory| write(STEP, memory)).transpose()?;
        let run = move |subject: &Subject, connection: &Connection| {
            subject.release(connection, fence, memory.as_deref())
        };
        self.transition(STEP, &lease.key, lease.owner, run).await.map(|_| ())
    }

    async fn look(&self, video: &VideoId) -> Result<Option<Sight>, Error> {
        const STEP: &str = "looking at a video in the file";
        let keep = milliseconds(self.keep_as_ledger(STEP)?);
        let name = video.as_str().to_owned();
        let work = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "SELECT fence, memory, CASE WHEN owner IS NULL THEN 0 ELSE until - ?2 END
                     FROM video WHERE video = ?1
                       AND (touched >= ?3 OR (owner IS NOT NULL AND until > ?2))",
                )?
                .query_row((name, clock(), now().saturating_sub(keep)), |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()
        };
        let found: Option<(i64, Option<String>, i64)> = self
            .database
            .call(false, work, |_| ())
            .await
            .map_err(|trouble| unavailable(STEP, trouble))?;
        let Some((fence, memory, left)) = found else { return Ok(None) };
        let left = u64::try_from(left).ok().filter(|left| *left > 0);
        Ok(Some(Sight {
            memory: read_memory(video, memory.as_deref())?,
            fence: u64::try_from(fence).unwrap_or_default(),
            leased: left.map(Duration::from_millis),
        }))
    }

    async fn bookmark(&self, name: &str) -> Result<Option<String>, Error> {
        const STEP: &str = "reading a bookmark in the file";
        let keep = milliseconds(self.keep_as_ledger(STEP)?);
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

fn accepted(key: &Key, answer: Answer) -> Result<(), Error> {
    match answer {
        Answer::Accepted => Ok(()),
        Answer::Lost => Err(Error::LeaseLost { video: key.video.clone() }),
    }
}

fn unavailable(step: &'static str, trouble: Trouble) -> Error {
    Error::unavailable(step, trouble)
}

fn stored_fence(lease: &Lease) -> i64 {
    i64::try_from(lease.fence).unwrap_or(i64::MAX)
}

fn write(step: &'static str, value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::unavailable(step, error))
}

fn read<T: DeserializeOwned>(video: &VideoId, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|source| Error::Unreadable { video: video.clone(), source })
}

/// Nothing stored is nothing known.
fn read_memory(video: &VideoId, text: Option<&str>) -> Result<Memory, Error> {
    text.map_or_else(|| Ok(Memory::default()), |text| read(video, text))
}
