//! The local file where callbacks wait while the broker is away. What `put` has answered survives `kill -9`
//! and a power cut. One gateway has it open at a time; a burst shares its syncs to disk.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::Notify;

use crate::queue::Message;
use crate::sqlite::{self, Database, OpenError, PROBE, Trouble};
use crate::telemetry;

mod index;
mod rows;

pub use index::Fill;
use index::Index;
pub(super) use index::Line;
pub(super) use rows::{Page, Row};

/// What a row takes beside its body, roughly.
const ROW: u64 = 256;
/// Bodies that are read at once, in bytes, give or take one.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// The `[intake.spool]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Made if it does not exist; its directory must exist, and outlive the process.
    pub path: PathBuf,
    /// How much may wait in it, in bytes; what comes then is refused.
    pub most_bytes: u64,
    /// How long a callback waits for the broker's confirm before it goes to the spool.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub after: Duration,
}

/// Why a callback is not in the spool.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the spool is full: {} bytes wait in it; raise intake.spool.most_bytes, or see to the broker", .0)]
    Full(u64),
    #[error("writing to the spool")]
    Failed(#[source] Trouble),
}

/// An opened spool. Dropping the last reference closes it, which waits for what is being stored.
pub struct Spool {
    database: Database,
    index: Arc<Mutex<Index>>,
    arrived: Arc<Notify>,
    most_bytes: u64,
}

impl Spool {
    /// Blocks for a moment.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let path = sqlite::resolve(&settings.path)?;
        let lock = sqlite::lock(&path)?;
        let connection = sqlite::connect(&path, &rows::FORMAT)?;
        let mut index = Index::default();
        let waiting = rows::lines(&connection)
            .map_err(|source| OpenError::Sqlite { path: path.clone(), source })?;
        for (line, bytes) in waiting {
            index.add(line, bytes);
        }
        let database = Database::start(&path, connection, Some(lock))?;
        let (index, arrived) = (Arc::new(Mutex::new(index)), Arc::default());
        Ok(Self { database, index, arrived, most_bytes: settings.most_bytes })
    }

    pub fn fill(&self) -> Fill {
        self.index().fill
    }

    /// How long the oldest has waited.
    pub async fn age(&self) -> Option<Duration> {
        let oldest = self.database.call(false, rows::oldest, |_| ()).await.ok().flatten()?;
        let age = Timestamp::now().as_millisecond().saturating_sub(oldest);
        Some(Duration::from_millis(u64::try_from(age).unwrap_or_default()))
    }

    /// Why nothing can be put into it, as far as is known; asks the file where it was wrong before.
    pub async fn trouble(&self) -> Option<String> {
        let Fill { bytes, .. } = self.fill();
        if bytes >= self.most_bytes {
            return Some(Error::Full(bytes).to_string());
        }
        if self.database.wrong().is_some() {
            let probe = |connection: &rusqlite::Connection| connection.execute(PROBE, []);
            let _ = self.database.call(true, probe, |_| ()).await;
        }
        self.database.wrong()
    }

    pub(super) fn holds(&self, line: Line) -> bool {
        self.index().holds(line)
    }

    /// Durable when it returns. Goes on when the caller is dropped. From the first poll on, the line counts
    /// as waiting here.
    pub(super) async fn put(&self, line: Line, message: Message) -> Result<(), Error> {
        let bytes = message.body.len() as u64 + ROW;
        {
            let mut index = self.index();
            if index.fill.bytes.saturating_add(bytes) > self.most_bytes {
                return Err(Error::Full(index.fill.bytes));
            }
            index.add(line, bytes);
        }
        let now = Timestamp::now().as_millisecond();
        let work = move |connection: &rusqlite::Connection| {
            rows::add(connection, line, bytes, &message, now)
        };
        let (index, arrived) = (Arc::clone(&self.index), Arc::clone(&self.arrived));
        let after = move |done: &Result<(), Trouble>| match done {
            Ok(()) => {
                telemetry::spooled();
                arrived.notify_one();
            }
            Err(_) => lock(&index).remove(line, bytes),
        };
        self.database.call(true, work, after).await.map_err(Error::Failed)
    }

    /// Waits until there is something in it.
    pub(super) async fn filled(&self) {
        while self.fill().events == 0 {
            self.arrived.notified().await;
        }
    }

    /// The oldest after `after` of other kinds than these; looks at `count` at the most.
    pub(super) async fn page(
        &self,
        after: i64,
        without: Vec<String>,
        count: usize,
    ) -> Result<Page, Trouble> {
        let work = move |connection: &rusqlite::Connection| {
            rows::page(connection, after, &without, count, PAGE_BYTES)
        };
        self.database.call(false, work, |_| ()).await
    }

    pub(super) async fn remove(&self, gone: Vec<Gone>) -> Result<(), Trouble> {
        let ids: Vec<_> = gone.iter().map(|gone| gone.id).collect();
        let work = move |connection: &rusqlite::Connection| {
            ids.into_iter().try_for_each(|id| rows::remove(connection, id))
        };
        let index = Arc::clone(&self.index);
        let after = move |done: &Result<(), Trouble>| {
            if done.is_ok() {
                let mut index = lock(&index);
                for Gone { line, bytes, .. } in gone {
                    index.remove(line, bytes);
                }
            }
        };
        self.database.call(true, work, after).await
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }
}

/// A row that the broker has.
#[derive(Clone, Copy)]
pub(super) struct Gone {
    id: i64,
    line: Line,
    bytes: u64,
}

impl From<Row> for Gone {
    fn from(row: Row) -> Self {
        Self { id: row.id, line: row.line, bytes: row.bytes }
    }
}

fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}
