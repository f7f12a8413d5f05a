//! Opens a file: the lock of whoever works on it, the checks that tell a bad file from a good one, the schema. It
//! never changes a file that is not ours or that a newer version wrote.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

/// How long a transaction waits for one of another process.
const BUSY: Duration = Duration::from_secs(5);
/// What a file of one purpose contains. Its schema has a table `ping` with one row and one number, which
/// [`PROBE`](super::PROBE) counts up.
#[derive(Debug)]
pub struct Format {
    /// SQLite's `application_id`, so that a database of another program or purpose is not taken for it.
    pub application: i64,
    pub schema: &'static str,
    /// What brings a file of version 1, 2 and so on to the next one; the schema is what comes out.
    pub changes: &'static [&'static str],
}

impl Format {
    fn version(&self) -> i64 {
        self.changes.len() as i64 + 1
    }
}

/// Why the file cannot be used, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the directory {} does not exist; create it or choose another path", path.display())]
    NoDirectory { path: PathBuf },
    #[error("{} is a directory; name a file in it", path.display())]
    IsDirectory { path: PathBuf },
    #[error(
        "another vod-cover works on {}; stop it, or give this one a file of its own",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error("locking {}; the directory must be writable", path.display())]
    LockFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is no SQLite database; choose another path or move it away", path.display())]
    NotADatabase { path: PathBuf },
    #[error("{} is the database of another program or purpose; choose another path", path.display())]
    NotOurs { path: PathBuf },
    #[error(
        "{} was written by a newer vod-cover (schema {found}, this one knows {known}); \
         run that version, or choose another path",
        path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{} is read-only; make it and its directory writable", path.display())]
    ReadOnly { path: PathBuf },
    #[error("the disk of {} is full; free some space", path.display())]
    Full { path: PathBuf },
    #[error("opening {}", path.display())]
    Sqlite {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("starting the thread that works on {}", path.display())]
    Thread {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl OpenError {
    fn new(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            _ => Self::Sqlite { path, source },
        }
    }
}

/// The one path of a file, however it is spelled, so that one lock guards it.
pub fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    if path.is_dir() {
        return Err(OpenError::IsDirectory { path: path.to_owned() });
    }
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let missing = || OpenError::NoDirectory { path: directory.to_owned() };
    let name = path.file_name().ok_or_else(missing)?;
    Ok(directory.canonicalize().map_err(|_| missing())?.join(name))
}

/// Takes the lock of the one who works on the file. The system gives it back when the process ends, however it ends.
pub fn lock(path: &Path) -> Result<File, OpenError> {
    let (name, file) = lock_file(path)?;
    match got(&name, file.try_lock())? {
        true => Ok(file),
        false => Err(OpenError::Locked { path: path.to_owned() }),
    }
}

/// Shares the lock with others who are no workers; `None` while there is a worker. `alone` is called if
/// there is nobody, neither worker nor other, and nobody can come until it returns.
pub fn lock_beside(
    path: &Path,
    alone: impl FnOnce() -> Result<(), OpenError>,
) -> Result<Option<File>, OpenError> {
    let (name, file) = lock_file(path)?;
    if got(&name, file.try_lock())? {
        alone()?;
        file.unlock().map_err(|source| OpenError::LockFile { path: name.clone(), source })?;
    }
    Ok(got(&name, file.try_lock_shared())?.then_some(file))
}

fn lock_file(path: &Path) -> Result<(PathBuf, File), OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&name);
    match file {
        Ok(file) => Ok((name, file)),
        Err(source) => Err(OpenError::LockFile { path: name, source }),
    }
}

fn got(name: &Path, tried: Result<(), TryLockError>) -> Result<bool, OpenError> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => {
            Err(OpenError::LockFile { path: name.to_owned(), source })
        }
    }
}

/// Opens the database, and makes it if there is none.
pub fn connect(path: &Path, format: &Format) -> Result<Connection, OpenError> {
    let bad = |source| OpenError::new(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(bad)?;
    connection.busy_timeout(BUSY).map_err(bad)?;
    check(&connection, path, format)?;
    if connection.is_readonly("main").map_err(bad)? {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    write_ahead(&connection).map_err(bad)?;
    // FULL: what `publish` has answered survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL").map_err(bad)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(bad)?;
    connection.set_prepared_statement_cache_capacity(64);

    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(bad)?;
    // Asked again under the lock: another process may have made the schema meanwhile.
    let found = check(&transaction, path, format)?;
    if found < format.version() {
        let done = usize::try_from(found).unwrap_or_default();
        let missing = match done {
            0 => &[format.schema],
            _ => format.changes.get(done - 1..).unwrap_or_default(),
        };
        for change in missing {
            transaction.execute_batch(change).map_err(bad)?;
        }
        transaction.pragma_update(None, "application_id", format.application).map_err(bad)?;
        transaction.pragma_update(None, "user_version", format.version()).map_err(bad)?;
    }
    transaction.commit().map_err(bad)?;
    Ok(connection)
}

/// The version of the schema, 0 for an empty file.
fn check(connection: &Connection, path: &Path, format: &Format) -> Result<i64, OpenError> {
    let bad = |source| OpenError::new(path, source);
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let version = number("PRAGMA user_version").map_err(bad)?;
    let application = number("PRAGMA application_id").map_err(bad)?;
    let tables = number("SELECT count(*) FROM sqlite_schema").map_err(bad)?;
    if application != format.application && (tables > 0 || version != 0) {
        return Err(OpenError::NotOurs { path: path.to_owned() });
    }
    if version > format.version() {
        let (found, known) = (version, format.version());
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    Ok(version)
}

/// Switches to a write-ahead log, so that reading and publishing processes do not block the worker.
/// SQLite does not wait by itself if another process makes the same switch.
fn write_ahead(connection: &Connection) -> Result<(), rusqlite::Error> {
    let deadline = Instant::now() + BUSY;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                ) && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}
