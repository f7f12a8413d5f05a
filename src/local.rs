//! One SQLite file that is both the queue and the ledger of one machine, with nothing to install. One
//! worker at a time takes events from a file, which its lock enforces; any number of processes of the
//! machine may publish into it, and claim videos beside the worker. What was published survives `kill -9` and
//! a power cut; what was taken and not settled is delivered again by the next opening.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

pub use crate::sqlite::OpenError;
use crate::sqlite::{self, Database, Format, Trouble};

mod dead;
mod ledger;
mod messages;
mod queue;
mod transitions;

/// "vodc".
pub(crate) const FORMAT: Format = Format {
    application: 0x766f_6463,
    schema: include_str!("local/schema.sql"),
    changes: &[
        include_str!("local/from-1.sql"),
        include_str!("local/from-2.sql"),
        include_str!("local/from-3.sql"),
    ],
};

/// Where the file is and how long its records live. There are no defaults here: they are in the
/// embedded configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Made if it does not exist; its directory must exist.
    pub path: PathBuf,
    /// How long a video and its events are remembered after the last transition. Must outlive the
    /// longest redelivery.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub keep: Duration,
}

/// An opened file. Dropping the last reference closes it, which waits for what is being stored.
pub struct Local {
    database: Arc<Database>,
    /// `None` where the file was not opened to take messages.
    work: Option<Work>,
    /// How long the ledger remembers; `None` where the file was opened for publishing only.
    keep: Option<Duration>,
}

/// What only the worker's opening has.
struct Work {
    /// What `Tag::generation` says of deliveries of this opening.
    generation: u64,
    taken: Arc<queue::Taken>,
}

static OPENINGS: AtomicU64 = AtomicU64::new(1);

impl Local {
    /// Opens the file to work on it. All deliveries and all leases of whoever worked on it before are
    /// free from here on: the lock proves that it is gone. Blocks for a moment.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let path = sqlite::resolve(&settings.path)?;
        let lock = sqlite::lock(&path)?;
        let connection = sqlite::connect(&path, &FORMAT)?;
        transitions::end_all_leases(&connection)
            .and_then(|()| messages::count_delays_again(&connection, now()))
            .map_err(|source| OpenError::Sqlite { path: path.clone(), source })?;
        let work =
            Work { generation: OPENINGS.fetch_add(1, Ordering::Relaxed), taken: Arc::default() };
        let database = Database::start(&path, connection, Some(lock))?;
        Ok(Self { database: Arc::new(database), work: Some(work), keep: Some(settings.keep) })
    }

    /// Opens the file as a ledger only, also while a worker has it open, whose leases count here and
    /// the reverse. A worker that dies and is started again meanwhile ends the leases that were taken
    /// here: the transition after that answers `LeaseLost`. With no worker none can start until this is
    /// dropped. Blocks for a moment.
    pub fn open_beside(settings: &Settings) -> Result<Self, OpenError> {
        let path = sqlite::resolve(&settings.path)?;
        let connection = sqlite::connect(&path, &FORMAT)?;
        let lock = sqlite::lock_beside(&path, || {
            transitions::end_all_leases(&connection)
                .map_err(|source| OpenError::Sqlite { path: path.clone(), source })
        })?;
        let database = Database::start(&path, connection, lock)?;
        Ok(Self { database: Arc::new(database), work: None, keep: Some(settings.keep) })
    }

    /// Opens the file to publish into it, also while a worker has it open. Taking messages and the
    /// ledger answer with an error.
    pub fn open_for_publishing(path: &Path) -> Result<Self, OpenError> {
        let path = sqlite::resolve(path)?;
        let connection = sqlite::connect(&path, &FORMAT)?;
        let database = Database::start(&path, connection, None)?;
        Ok(Self { database: Arc::new(database), work: None, keep: None })
    }

    fn work(&self) -> Result<&Work, &'static str> {
        self.work.as_ref().ok_or("the file was not opened to take messages")
    }
}

/// Milliseconds since 1970 by the machine's clock, which may be set at any time.
fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Rounded up.
fn milliseconds(length: Duration) -> i64 {
    // A century: far from any overflow when times are added.
    const MOST: u128 = 100 * 366 * 86_400_000;
    i64::try_from(length.as_micros().div_ceil(1000).min(MOST)).unwrap_or(i64::MAX)
}
