//! Videos' entries in SQL, each within one transaction that its caller holds. Plain SQL, no waiting and no
//! state.

use rusqlite::{Connection, OptionalExtension, Result as SqlResult};
use serde::de::Error as _;

use super::now;
use crate::ledger::Owner;
use crate::ledger::entry::Entry;

/// Old entries removed by one that is stored at the most: more than what it adds.
const PRUNED: i64 = 4;

/// Called when the lock is taken: whoever held leases is gone.
pub(super) fn end_all_leases(connection: &Connection) -> SqlResult<()> {
    connection.execute("UPDATE video SET owner = NULL WHERE owner IS NOT NULL", [])?;
    Ok(())
}

/// The entry of a video, if it was touched since `oldest` or somebody has it: what is older counts as
/// gone, also where no pruning came by. The inner error is of what is stored.
pub(super) fn read(
    connection: &Connection,
    video: &str,
    clock: i64,
    oldest: i64,
) -> SqlResult<serde_json::Result<Entry>> {
    type Row = (Option<String>, i64, i64, String);
    let row: Option<Row> = connection
        .prepare_cached(
            "SELECT owner, until, fence, body FROM video WHERE video = ?1
               AND (touched >= ?2 OR (owner IS NOT NULL AND until > ?3))",
        )?
        .query_row((video, oldest, clock), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    Ok(row.map_or_else(
        || Ok(Entry::default()),
        |(owner, until, fence, body)| {
            let owner = owner.map(|owner| owner.parse().map(Owner)).transpose();
            let owner = owner.map_err(serde_json::Error::custom)?;
            let fence = u64::try_from(fence).unwrap_or_default();
            Ok(Entry { owner, until, fence, body: serde_json::from_str(&body)? })
        },
    ))
}

pub(super) fn write(
    connection: &Connection,
    video: &str,
    entry: &Entry,
    clock: i64,
    oldest: i64,
) -> SqlResult<()> {
    let body = entry.body(None);
    let body = body.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection
        .prepare_cached(
            "INSERT INTO video (video, owner, until, fence, body, touched)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET owner = ?2, until = ?3, fence = ?4, body = ?5, touched = ?6",
        )?
        .execute((
            video,
            entry.owner.map(|owner| owner.0.to_string()),
            entry.until,
            i64::try_from(entry.fence).unwrap_or(i64::MAX),
            body,
            now(),
        ))?;
    connection
        .prepare_cached(
            "DELETE FROM video WHERE video IN
               (SELECT video FROM video
                WHERE touched < ?1 AND (owner IS NULL OR until <= ?2) LIMIT ?3)",
        )?
        .execute((oldest, clock, PRUNED))?;
    Ok(())
}
