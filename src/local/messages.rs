//! The rows of the queue: what waits and what is dead. Plain SQL, no waiting and no state.

use std::collections::HashSet;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Result, Row, named_params};

use crate::queue::{DeadLetter, Depth, Failures, Message};

const COLUMNS: &str =
    "name, kind, body, attempts, deferrals, failing_since, first_error, last_error, trace, retried";

pub(super) fn add(connection: &Connection, message: &Message, now: i64) -> Result<()> {
    let mut statement = connection.prepare_cached(&format!(
        "INSERT INTO message (due, delay, added, {COLUMNS})
         VALUES (:now, 0, :now, :name, :kind, :body, :attempts, :deferrals, :since, :first, :last,
                 :trace, :retried)"
    ))?;
    let failures = message.failures.as_ref();
    statement.execute(named_params! {
        ":now": now,
        ":name": message.id,
        ":kind": message.kind,
        ":body": &message.body[..],
        ":attempts": message.attempts,
        ":deferrals": message.deferrals,
        ":since": failures.map(|failures| failures.since.as_millisecond()),
        ":first": failures.map(|failures| &failures.first),
        ":last": failures.map(|failures| &failures.last),
        ":trace": trace_text(message),
        ":retried": message.retried,
    })?;
    Ok(())
}

/// The messages that are due, in order, without those of `skip`: at most `count`, and no more after
/// `bytes` have been read.
pub(super) fn due(
    connection: &Connection,
    now: i64,
    skip: &HashSet<i64>,
    count: usize,
    bytes: usize,
) -> Result<Vec<(i64, Message)>> {
    let limit = i64::try_from(skip.len().saturating_add(count)).unwrap_or(i64::MAX);
    let mut ids = connection
        .prepare_cached("SELECT id FROM message WHERE due <= ?1 ORDER BY due, id LIMIT ?2")?;
    let ids: Vec<i64> =
        ids.query_map((now, limit), |row| row.get(0))?.collect::<Result<Vec<i64>>>()?;
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM message WHERE id = ?1"))?;
    let mut found = Vec::new();
    let mut size = 0;
    for id in ids.into_iter().filter(|id| !skip.contains(id)).take(count) {
        let message = statement.query_row([id], |row| read(row, 0))?;
        size += message.body.len();
        found.push((id, message));
        if size >= bytes {
            break;
        }
    }
    Ok(found)
}

pub(super) fn remove(connection: &Connection, id: i64) -> Result<()> {
    connection.prepare_cached("DELETE FROM message WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Puts a message back, with what it has become, for when `delay` (ms) has passed.
pub(super) fn put_back(
    connection: &Connection,
    id: i64,
    message: &Message,
    now: i64,
    delay: i64,
) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE message SET due = :due, delay = :delay, attempts = :attempts,
           deferrals = :deferrals, retried = :retried, failing_since = :since, first_error = :first, last_error = :last
         WHERE id = :id",
    )?;
    let failures = message.failures.as_ref();
    statement.execute(named_params! {
        ":id": id,
        ":due": now.saturating_add(delay),
        ":delay": delay,
        ":attempts": message.attempts,
        ":deferrals": message.deferrals,
        ":retried": message.retried,
        ":since": failures.map(|failures| failures.since.as_millisecond()),
        ":first": failures.map(|failures| &failures.first),
        ":last": failures.map(|failures| &failures.last),
    })?;
    Ok(())
}

/// Puts another message in the place of one, for when `delay` (ms) has passed.
pub(super) fn replace(
    connection: &Connection,
    id: i64,
    message: &Message,
    now: i64,
    delay: i64,
) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE message SET name = ?2, kind = ?3, body = ?4, added = ?5, trace = ?6
             WHERE id = ?1",
        )?
        .execute((id, &message.id, &message.kind, &message.body[..], now, trace_text(message)))?;
    put_back(connection, id, message, now, delay)
}

/// Moves a message to the dead letters, with what it has become.
pub(super) fn bury(
    connection: &Connection,
    id: i64,
    message: &Message,
    now: i64,
    reason: &str,
) -> Result<()> {
    put_back(connection, id, message, now, 0)?;
    let mut statement = connection.prepare_cached(&format!(
        "INSERT INTO dead (died, reason, added, {COLUMNS})
         SELECT ?2, ?3, added, {COLUMNS} FROM message WHERE id = ?1"
    ))?;
    statement.execute((id, now, reason))?;
    remove(connection, id)
}

/// Counts the delays afresh of messages that are further away than their delay, which only happens
/// when the clock was set back.
pub(super) fn count_delays_again(connection: &Connection, now: i64) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE message SET due = ?1 + delay WHERE due > ?1 AND due > ?1 + delay",
    )?;
    statement.execute([now])?;
    Ok(())
}

/// `ready` includes what was taken and is not settled.
pub(super) fn depth(connection: &Connection, now: i64) -> Result<Depth> {
    let count = |sql: &str| -> Result<u64> {
        let found: Option<i64> =
            connection.prepare_cached(sql)?.query_row([now], |row| row.get(0)).optional()?;
        Ok(found.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    };
    Ok(Depth {
        ready: count("SELECT count(*) FROM message WHERE due <= ?1")?,
        delayed: count("SELECT count(*) FROM message WHERE due > ?1")?,
        dead: count("SELECT count(*) FROM dead WHERE ?1 IS NOT NULL")?,
    })
}

/// Messages that are not due, by the delay that each was given; the most frequent `count` delays.
pub(super) fn delays(connection: &Connection, now: i64, count: u32) -> Result<Vec<(i64, u64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT delay, count(*) FROM message WHERE due > ?1 GROUP BY delay ORDER BY 2 DESC LIMIT ?2",
    )?;
    let rows = statement.query_map((now, count), |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
    rows.map(|row| row.map(|(delay, count)| (delay, u64::try_from(count).unwrap_or(0)))).collect()
}

/// Dead letters beyond this row, in order: at most `count`, and no more after `bytes` have been read.
pub(super) fn dead(
    connection: &Connection,
    beyond: i64,
    count: usize,
    bytes: usize,
) -> Result<Vec<(i64, DeadLetter)>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, reason, died, {COLUMNS} FROM dead WHERE id > ?1 ORDER BY id LIMIT ?2"
    ))?;
    let mut rows = statement.query((beyond, i64::try_from(count).unwrap_or(i64::MAX)))?;
    let (mut found, mut size) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let message = read(row, 3)?;
        size += message.body.len();
        let died = Some(time(row.get(2)?));
        found.push((row.get(0)?, DeadLetter { message, reason: row.get(1)?, died }));
        if size >= bytes {
            break;
        }
    }
    Ok(found)
}

/// The last row of the dead letters.
pub(super) fn last_dead(connection: &Connection) -> Result<i64> {
    let last = "SELECT coalesce(max(id), 0) FROM dead";
    connection.prepare_cached(last)?.query_row([], |row| row.get(0))
}

/// Takes a row out of the dead letters, and stores this message in its place if one is given. `false` if it is
/// not there any more.
pub(super) fn exhume(
    connection: &Connection,
    id: i64,
    message: Option<&Message>,
    now: i64,
) -> Result<bool> {
    let was_there = connection.prepare_cached("DELETE FROM dead WHERE id = ?1")?.execute([id])? > 0;
    if let Some(message) = message.filter(|_| was_there) {
        add(connection, message, now)?;
    }
    Ok(was_there)
}

fn read(row: &Row<'_>, first: usize) -> Result<Message> {
    let since: Option<i64> = row.get(first + 5)?;
    let failures = match since {
        Some(since) => Some(Failures {
            since: time(since),
            first: row.get(first + 6)?,
            last: row.get(first + 7)?,
        }),
        None => None,
    };
    Ok(Message {
        id: row.get(first)?,
        kind: row.get(first + 1)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(first + 2)?),
        attempts: row.get(first + 3)?,
        deferrals: row.get(first + 4)?,
        retried: row.get(first + 9)?,
        failures,
        trace: row.get::<_, Option<String>>(first + 8)?.and_then(|text| text.parse().ok()),
    })
}

fn trace_text(message: &Message) -> Option<String> {
    message.trace.map(|trace| trace.to_string())
}

fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_delays_nothing_for_longer_than_its_delay() {
        let directory = tempfile::tempdir().unwrap();
        let connection =
            crate::sqlite::connect(&directory.path().join("vod-cover.db"), &crate::local::FORMAT)
                .unwrap();
        let (before, back) = (1_000_000_000, 1_000_000);
        let message = Message::new("a", "kind", "");
        for _ in 0..3 {
            add(&connection, &message, before).unwrap();
        }
        put_back(&connection, 2, &message, before, 5_000).unwrap();
        // Stored after the clock was set back, so its time is right already.
        put_back(&connection, 3, &message, back - 1_000, 5_000).unwrap();

        count_delays_again(&connection, back).unwrap();
        let due_at = |now| -> Vec<i64> {
            let found = due(&connection, now, &HashSet::new(), 10, usize::MAX).unwrap();
            found.into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!(due_at(back), [1]);
        assert_eq!(due_at(back + 4_000), [1, 3]);
        assert_eq!(due_at(back + 5_000), [1, 3, 2]);
        assert_eq!(depth(&connection, back).unwrap(), Depth { ready: 1, delayed: 2, dead: 0 });
    }
}
