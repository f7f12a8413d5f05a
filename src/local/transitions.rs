//! The transitions of `ledger/redis/*.lua` in SQL, each within one transaction that its caller holds. Plain
//! SQL, no waiting and no state.

use rusqlite::{Connection, OptionalExtension, Result as SqlResult, named_params};

use super::now;

/// Old rows removed by one `complete` at the most, of each table: twice what it adds and more.
const PRUNED: i64 = 8;

/// A transition's subject, as it is stored.
pub(super) struct Subject {
    pub video: String,
    pub event: String,
    pub cause: String,
    pub at: Option<i64>,
    pub owner: String,
    /// Milliseconds by the machine's monotonic clock.
    pub clock: i64,
    pub keep: i64,
}

pub(super) enum Claimed {
    Held { fence: i64, memory: Option<String>, starts: i64 },
    Busy { wait: i64 },
    Done(String),
    Outdated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    Lost,
}

/// Called when the lock is taken: whoever held leases is gone.
pub(super) fn end_all_leases(connection: &Connection) -> SqlResult<()> {
    connection.execute("UPDATE video SET owner = NULL WHERE owner IS NOT NULL", [])?;
    Ok(())
}

impl Subject {
    pub fn claim(&self, connection: &Connection, length: i64) -> SqlResult<Claimed> {
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

        type Video = (Option<String>, i64, i64, Option<String>);
        let video: Option<Video> = connection
            .prepare_cached("SELECT owner, until, fence, memory FROM video WHERE video = ?1")?
            .query_row([&self.video], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let (holder, until, fence, memory) = video.unwrap_or_default();
        let newest: Option<i64> = connection
            .prepare_cached("SELECT at FROM newest WHERE video = ?1 AND cause = ?2")?
            .query_row((&self.video, &self.cause), |row| row.get(0))
            .optional()?;
        if self.at.zip(newest).is_some_and(|(at, newest)| at < newest) {
            return Ok(Claimed::Outdated);
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
        Ok(Claimed::Held { fence, memory, starts })
    }

    pub fn remember(
        &self,
        connection: &Connection,
        fence: i64,
        length: i64,
        memory: &str,
    ) -> SqlResult<Answer> {
        let changed = connection
            .prepare_cached(
                "UPDATE video SET memory = :memory, until = max(until, :granted), touched = :now
                 WHERE video = :video AND owner = :owner AND fence = :fence AND until > :clock",
            )?
            .execute(named_params! {
                ":memory": memory,
                ":granted": self.until(length),
                ":now": now(),
                ":video": self.video,
                ":owner": self.owner,
                ":fence": fence,
                ":clock": self.clock,
            })?;
        Ok(if changed == 1 { Answer::Accepted } else { Answer::Lost })
    }

    pub fn complete(
        &self,
        connection: &Connection,
        fence: i64,
        record: &str,
        memory: &str,
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
        self.store(connection, memory)?;
        if let Some(at) = self.at.filter(|_| set) {
            connection
                .prepare_cached(
                    "INSERT INTO newest (video, cause, at) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET at = max(at, ?3)",
                )?
                .execute((&self.video, &self.cause, at))?;
        }
        self.prune(connection)?;
        Ok(Answer::Accepted)
    }

    fn store(&self, connection: &Connection, memory: &str) -> SqlResult<()> {
        connection
            .prepare_cached("UPDATE video SET memory = ?2 WHERE video = ?1")?
            .execute((&self.video, memory))?;
        Ok(())
    }

    pub fn release(
        &self,
        connection: &Connection,
        fence: i64,
        memory: Option<&str>,
    ) -> SqlResult<()> {
        if self.give_back(connection, fence)? {
            if let Some(memory) = memory {
                self.store(connection, memory)?;
            }
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
