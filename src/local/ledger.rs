//! The ledger on the file: the transitions of `ledger/redis/*.lua` in SQL, one job of the database's
//! thread each. Leases are timed by the machine's monotonic clock, which its processes share and which
//! nobody sets.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Result as SqlResult, named_params};
use serde::de::DeserializeOwned;

use super::database::PROBE;
use super::{Local, Trouble, milliseconds, now};
use crate::cover::{Intention, Record, Standing};
use crate::event::VideoId;
use crate::ledger::{Claim, Error, Key, Lease, Ledger, Owner};

/// Old rows removed by one `complete` at the most, of each table: twice what it adds and more.
const PRUNED: i64 = 8;

/// A transition's subject, as it is stored.
struct Subject {
    video: String,
    event: String,
    cause: String,
    at: Option<i64>,
    owner: String,
    /// Milliseconds by the machine's monotonic clock.
    clock: i64,
    keep: i64,
}

enum Claimed {
    Held { fence: i64, record: Option<String>, intention: Option<String>, starts: i64 },
    Busy { wait: i64 },
    Done(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accepted,
    Lost,
}

/// Called when the lock is taken: whoever held leases is gone.
pub(super) fn end_all_leases(connection: &Connection) -> SqlResult<()> {
    connection.execute("UPDATE video SET owner = NULL WHERE owner IS NOT NULL", [])?;
    Ok(())
}

impl Subject {
    fn claim(&self, connection: &Connection, length: i64) -> SqlResult<Claimed> {
        self.forget_if_old(connection)?;
        let event: Option<(Option<String>, Option<String>, i64)> = connection
            .prepare_cached(
                "SELECT done, starter, starts FROM event_done WHERE video = ?1 AND event = ?2",
            )?
            .query_row((&self.video, &self.event), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let (done, starter, starts) = event.unwrap_or_default();
        if let Some(record) = done {
            return Ok(Claimed::Done(record));
        }

        type Video = (Option<String>, i64, i64, Option<String>, Option<String>);
        let video: Option<Video> = connection
            .prepare_cached(
                "SELECT owner, until, fence, record, intention FROM video WHERE video = ?1",
            )?
            .query_row([&self.video], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })
            .optional()?;
        let (holder, until, fence, record, intention) = video.unwrap_or_default();
        let newest: Option<i64> = connection
            .prepare_cached("SELECT at FROM newest WHERE video = ?1 AND cause = ?2")?
            .query_row((&self.video, &self.cause), |row| row.get(0))
            .optional()?;
        if let (Some(at), Some(newest), Some(record)) = (self.at, newest, &record)
            && at < newest
        {
            return Ok(Claimed::Done(record.clone()));
        }

        let ours = holder.as_deref() == Some(&self.owner);
        let held = holder.is_some() && until > self.clock;
        if held && !ours {
            return Ok(Claimed::Busy { wait: until - self.clock });
        }
        let granted = self.until(length);
        let (granted, fence) =
            if held { (granted.max(until), fence) } else { (granted, fence + 1) };
        let starts =
            if starter.as_deref() == Some(&self.owner) { starts } else { starts.saturating_add(1) };
        connection
            .prepare_cached(
                "INSERT INTO event_done (video, event, starter, starts, touched)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET starter = ?3, starts = ?4, touched = ?5",
            )?
            .execute((&self.video, &self.event, &self.owner, starts, now()))?;
        connection
            .prepare_cached(
                "INSERT INTO video (video, owner, until, fence, touched)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET owner = ?2, until = ?3, fence = ?4, touched = ?5",
            )?
            .execute((&self.video, &self.owner, granted, fence, now()))?;
        Ok(Claimed::Held { fence, record, intention, starts })
    }

    fn intend(
        &self,
        connection: &Connection,
        fence: i64,
        length: i64,
        intention: &str,
    ) -> SqlResult<Answer> {
        let changed = connection
            .prepare_cached(
                "UPDATE video SET intention = :intention, until = max(until, :granted), touched = :now
                 WHERE video = :video AND owner = :owner AND fence = :fence AND until > :clock",
            )?
            .execute(named_params! {
                ":intention": intention,
                ":granted": self.until(length),
                ":now": now(),
                ":video": self.video,
                ":owner": self.owner,
                ":fence": fence,
                ":clock": self.clock,
            })?;
        Ok(if changed == 1 { Answer::Accepted } else { Answer::Lost })
    }

    fn complete(
        &self,
        connection: &Connection,
        fence: i64,
        record: &str,
        set: bool,
    ) -> SqlResult<Answer> {
        let done_by: Option<String> = connection
            .prepare_cached("SELECT done_by FROM event_done WHERE video = ?1 AND event = ?2")?
            .query_row((&self.video, &self.event), |row| row.get(0))
            .optional()?
            .flatten();
        if done_by.as_deref() == Some(&self.owner) {
            return Ok(Answer::Accepted);
        }
        if !self.give_back(connection, fence)? {
            return Ok(Answer::Lost);
        }
        connection
            .prepare_cached(
                "INSERT INTO event_done (video, event, starts, done, done_by, touched)
                 VALUES (?1, ?2, 0, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE
                   SET starter = NULL, starts = 0, done = ?3, done_by = ?4, touched = ?5",
            )?
            .execute((&self.video, &self.event, record, &self.owner, now()))?;
        if set {
            // Whatever the events' times say, what was written last is what the video shows.
            connection
                .prepare_cached("UPDATE video SET record = ?2, intention = NULL WHERE video = ?1")?
                .execute((&self.video, record))?;
            if let Some(at) = self.at {
                connection
                    .prepare_cached(
                        "INSERT INTO newest (video, cause, at) VALUES (?1, ?2, ?3)
                         ON CONFLICT DO UPDATE SET at = max(at, ?3)",
                    )?
                    .execute((&self.video, &self.cause, at))?;
            }
        }
        self.prune(connection)?;
        Ok(Answer::Accepted)
    }

    fn release(&self, connection: &Connection, fence: i64) -> SqlResult<()> {
        if self.give_back(connection, fence)? {
            connection
                .prepare_cached(
                    "UPDATE event_done SET starter = NULL, starts = 0, touched = ?3
                     WHERE video = ?1 AND event = ?2 AND done IS NULL",
                )?
                .execute((&self.video, &self.event, now()))?;
        }
        Ok(())
    }

    /// The end of a lease of this length, rounded up: the file must not grant less than the lease's
    /// deadline says.
    fn until(&self, length: i64) -> i64 {
        self.clock.saturating_add(length).saturating_add(1)
    }

    /// Ends the lease, if it is the latest one of the video. It may have run out.
    fn give_back(&self, connection: &Connection, fence: i64) -> SqlResult<bool> {
        let changed = connection
            .prepare_cached(
                "UPDATE video SET owner = NULL, touched = ?4
                 WHERE video = ?1 AND owner = ?2 AND fence = ?3",
            )?
            .execute((&self.video, &self.owner, fence, now()))?;
        Ok(changed == 1)
    }

    /// What is older than `keep` counts as gone, also where no pruning came by.
    fn forget_if_old(&self, connection: &Connection) -> SqlResult<()> {
        let oldest = now().saturating_sub(self.keep);
        connection
            .prepare_cached(
                "DELETE FROM event_done WHERE video = ?1 AND event = ?2 AND touched < ?3",
            )?
            .execute((&self.video, &self.event, oldest))?;
        connection
            .prepare_cached(
                "DELETE FROM video WHERE video = ?1 AND touched < ?2
                   AND (owner IS NULL OR until <= ?3)",
            )?
            .execute((&self.video, oldest, self.clock))?;
        Ok(())
    }

    fn prune(&self, connection: &Connection) -> SqlResult<()> {
        let oldest = now().saturating_sub(self.keep);
        connection
            .prepare_cached(
                "DELETE FROM event_done WHERE (video, event) IN
                   (SELECT video, event FROM event_done WHERE touched < ?1 LIMIT ?2)",
            )?
            .execute((oldest, PRUNED))?;
        connection
            .prepare_cached(
                "DELETE FROM video WHERE video IN
                   (SELECT video FROM video
                    WHERE touched < ?1 AND (owner IS NULL OR until <= ?3) LIMIT ?2)",
            )?
            .execute((oldest, PRUNED, self.clock))?;
        Ok(())
    }
}

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
        let (fence, record, intention, starts) = match claimed {
            Claimed::Done(record) => return Ok(Claim::Done(read(&key.video, &record)?)),
            Claimed::Busy { wait } => {
                let retry_after = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
                return Ok(Claim::Busy { retry_after });
            }
            Claimed::Held { fence, record, intention, starts } => {
                (fence, record, intention, starts)
            }
        };
        let fence = u64::try_from(fence).unwrap_or_default();
        let lease = Lease { key: key.clone(), owner, fence, deadline: sent + lease };
        let stored = (|| {
            let record = record.map(|text| read(&key.video, &text)).transpose()?;
            Ok((record, intention.map(|text| read(&key.video, &text)).transpose()?))
        })();
        match stored {
            Ok((record, intention)) => Ok(Claim::Acquired {
                lease,
                standing: record.map_or(Standing::Unknown, Standing::Ours),
                intention,
                starts: u32::try_from(starts).unwrap_or(u32::MAX),
            }),
            Err(error) => {
                // Nobody will work under this lease, so nobody else should wait for its end.
                self.release(lease).await.ok();
                Err(error)
            }
        }
    }

    async fn intend(
        &self,
        lease: Lease,
        intention: &Intention,
        fresh: Duration,
    ) -> Result<Lease, Error> {
        const STEP: &str = "announcing a write in the file";
        let (fence, length) = (stored_fence(&lease), milliseconds(fresh));
        let text = write(STEP, intention)?;
        let run = move |subject: &Subject, connection: &Connection| {
            subject.intend(connection, fence, length, &text)
        };
        let (sent, answer) = self.transition(STEP, &lease.key, lease.owner, run).await?;
        accepted(&lease.key, answer)?;
        Ok(Lease { deadline: sent + fresh, ..lease })
    }

    async fn complete(&self, lease: Lease, record: &Record) -> Result<(), Error> {
        const STEP: &str = "storing the end of an event in the file";
        let (fence, set) = (stored_fence(&lease), record.outcome.cover().is_some());
        let text = write(STEP, record)?;
        let run = move |subject: &Subject, connection: &Connection| {
            subject.complete(connection, fence, &text, set)
        };
        let (_, answer) = self.transition(STEP, &lease.key, lease.owner, run).await?;
        accepted(&lease.key, answer)
    }

    async fn release(&self, lease: Lease) -> Result<(), Error> {
        let fence = stored_fence(&lease);
        let run =
            move |subject: &Subject, connection: &Connection| subject.release(connection, fence);
        let step = "freeing a video in the file";
        self.transition(step, &lease.key, lease.owner, run).await.map(|_| ())
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
