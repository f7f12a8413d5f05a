//! The rows of the spool. Plain SQL, no waiting and no state.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, named_params};

use super::index::Line;
use crate::queue::Message;
use crate::sqlite::Format;

pub(super) const FORMAT: Format = Format {
    // "vods".
    application: 0x766f_6473,
    schema: include_str!("schema.sql"),
    changes: &[],
};

/// One callback that waits.
pub(in crate::gateway) struct Row {
    pub id: i64,
    pub line: Line,
    pub bytes: u64,
    pub message: Message,
}

/// Some rows, and up to which one was looked.
#[derive(Default)]
pub(in crate::gateway) struct Page {
    pub rows: Vec<Row>,
    /// `None` if there was none.
    pub last: Option<i64>,
}

pub(super) fn add(
    connection: &Connection,
    line: Line,
    bytes: u64,
    message: &Message,
    now: i64,
) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO event (line, at, bytes, name, kind, body, trace)
         VALUES (:line, :at, :bytes, :name, :kind, :body, :trace)",
    )?;
    statement.execute(named_params! {
        ":line": line.0,
        ":at": now,
        ":bytes": bytes as i64,
        ":name": message.id,
        ":kind": message.kind,
        ":body": &message.body[..],
        ":trace": message.trace.map(|trace| trace.to_string()),
    })?;
    Ok(())
}

/// The oldest rows after `after` that are not of these kinds: of at most `count` that are looked at, and
/// no more once `bytes` of bodies have been read.
pub(super) fn page(
    connection: &Connection,
    after: i64,
    without: &[String],
    count: usize,
    bytes: usize,
) -> Result<Page> {
    let mut ids = connection
        .prepare_cached("SELECT id, kind FROM event WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let found = ids.query_map((after, count as i64), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    let found = found.collect::<Result<Vec<_>>>()?;
    let mut body = connection
        .prepare_cached("SELECT line, bytes, name, body, trace FROM event WHERE id = ?1")?;
    let mut page = Page::default();
    let mut size = 0;
    for (id, kind) in found {
        page.last = Some(id);
        if without.contains(&kind) {
            continue;
        }
        let row = body.query_row([id], |row| {
            let body = Bytes::from(row.get::<_, Vec<u8>>(3)?);
            let trace = row.get::<_, Option<String>>(4)?.and_then(|text| text.parse().ok());
            Ok(Row {
                id,
                line: Line(row.get(0)?),
                bytes: row.get::<_, i64>(1)?.unsigned_abs(),
                message: Message { trace, ..Message::new(body, kind, row.get::<_, String>(2)?) },
            })
        })?;
        size += row.message.body.len();
        page.rows.push(row);
        if size >= bytes {
            break;
        }
    }
    Ok(page)
}

pub(super) fn remove(connection: &Connection, id: i64) -> Result<()> {
    connection.prepare_cached("DELETE FROM event WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// How much waits in each line.
pub(super) fn lines(connection: &Connection) -> Result<Vec<(Line, u64)>> {
    let mut statement =
        connection.prepare("SELECT line, bytes FROM event INDEXED BY event_line")?;
    let rows = statement
        .query_map([], |row| Ok((Line(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs())))?;
    rows.collect()
}

/// When the oldest came.
pub(super) fn oldest(connection: &Connection) -> Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT at FROM event ORDER BY id LIMIT 1")?;
    statement.query_row([], |row| row.get(0)).optional()
}
