//! The one thread that touches a database. It collects the jobs that wait, runs them in one
//! transaction, each in a savepoint of its own, commits once and then answers all: a thousand events
//! published at once cost one sync to disk, and one failing job does not spoil the others.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::file::OpenError;

/// Jobs of one transaction at the most, so that the first one does not wait for long.
const BATCH: usize = 512;
/// Changes nothing that anybody reads, and needs the disk all the same.
pub const PROBE: &str = "UPDATE ping SET at = at + 1";

pub struct Database {
    /// `None` only while it is being closed. Unbounded, so that handing over a job is no point at which
    /// a caller can be dropped; callers wait for their answers, which bounds it.
    jobs: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
    wrong: Arc<Mutex<Option<String>>>,
}

/// Why a job has no result. Nothing of it is stored then.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Trouble {
    #[error("{}", hint(.0))]
    Sqlite(#[source] Arc<rusqlite::Error>),
    #[error("the file has been closed")]
    Closed,
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

struct Job {
    writes: bool,
    run: Box<Run>,
}

/// Gets the connection, or why there is no use in trying.
type Run = dyn FnOnce(Result<&Connection, Trouble>) -> Ran + Send;

struct Ran {
    /// Why what it did has to be undone.
    failed: Option<Trouble>,
    /// To be called with how the commit went.
    answer: Box<dyn FnOnce(Result<(), Trouble>) + Send>,
}

impl Database {
    /// Hands the connection to a thread of its own. `lock` is kept until the connection is closed.
    pub fn start(
        path: &Path,
        connection: Connection,
        lock: Option<File>,
    ) -> Result<Self, OpenError> {
        let (jobs, waiting) = mpsc::unbounded_channel();
        let wrong = Arc::new(Mutex::new(None));
        let report = wrong.clone();
        let thread = std::thread::Builder::new()
            .name("database".to_owned())
            .spawn(move || {
                serve(&connection, waiting, &report);
                drop(connection);
                // Not merely closed: a child process that is just being started has it open as well.
                // Should it fail, closing it is what is left to be done.
                let _ = lock.map(|lock| lock.unlock());
            })
            .map_err(|source| OpenError::Thread { path: path.to_owned(), source })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), wrong })
    }

    /// Runs `work`; what it stored is durable when this returns. Both closures run on the database's
    /// thread and also when the caller has gone: `after` is called with the final result.
    pub async fn call<T: Send + 'static>(
        &self,
        writes: bool,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        after: impl FnOnce(&Result<T, Trouble>) + Send + 'static,
    ) -> Result<T, Trouble> {
        let (reply, result) = oneshot::channel();
        let run = move |connection: Result<&Connection, Trouble>| {
            let outcome = connection.and_then(|connection| Ok(work(connection)?));
            Ran {
                failed: outcome.as_ref().err().cloned(),
                answer: Box::new(move |committed: Result<(), Trouble>| {
                    let outcome = outcome.and_then(|value| committed.map(|()| value));
                    after(&outcome);
                    // An error means that the caller has gone.
                    let _ = reply.send(outcome);
                }),
            }
        };
        let jobs = self.jobs.as_ref().ok_or(Trouble::Closed)?;
        jobs.send(Job { writes, run: Box::new(run) }).map_err(|_| Trouble::Closed)?;
        result.await.map_err(|_| Trouble::Closed)?
    }

    /// What is wrong with the file, from the latest transaction.
    pub fn wrong(&self) -> Option<String> {
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Some(Trouble::Closed.to_string());
        }
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Database {
    /// Waits until the jobs that were accepted are done and the file is closed, so that it can be
    /// opened again at once.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by then.
            let _ = thread.join();
        }
    }
}

fn serve(
    connection: &Connection,
    mut waiting: mpsc::UnboundedReceiver<Job>,
    wrong: &Mutex<Option<String>>,
) {
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(job) = waiting.try_recv()
        {
            batch.push(job);
        }
        let writes = batch.iter().any(|job| job.writes);
        let was_wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let (committed, ran) = run(connection, batch, writes);
        let failed = ran.iter().find_map(|done| done.failed.clone());
        let mut outcome = committed.clone().and(failed.map_or(Ok(()), Err));
        if was_wrong && !writes && outcome.is_ok() {
            // That reading works says nothing of writing, and perhaps nobody else tries.
            outcome = execute(connection, PROBE);
        }
        let text = outcome.err().map(|trouble| crate::error::chain(&trouble));
        if let Some(text) = &text
            && !was_wrong
        {
            tracing::error!(error = text, "the database cannot be used");
        }
        *wrong.lock().unwrap_or_else(PoisonError::into_inner) = text;
        for done in ran {
            (done.answer)(committed.clone());
        }
    }
}

/// Runs a batch. An error means that nothing of it was stored.
fn run(connection: &Connection, batch: Vec<Job>, writes: bool) -> (Result<(), Trouble>, Vec<Ran>) {
    // A batch that only reads needs no transaction, and must not wait for one of another process.
    let mut outcome = if writes { execute(connection, "BEGIN IMMEDIATE") } else { Ok(()) };
    let mut ran = Vec::with_capacity(batch.len());
    for job in batch {
        ran.push(match &outcome {
            Ok(()) if writes => run_in_savepoint(connection, job, &mut outcome),
            Ok(()) => (job.run)(Ok(connection)),
            Err(trouble) => (job.run)(Err(trouble.clone())),
        });
    }
    if writes {
        if outcome.is_ok() {
            outcome = execute(connection, "COMMIT");
        }
        if !connection.is_autocommit() {
            // It fails only where SQLite has rolled back by itself.
            let _ = execute(connection, "ROLLBACK");
        }
    }
    (outcome, ran)
}

fn run_in_savepoint(
    connection: &Connection,
    job: Job,
    transaction: &mut Result<(), Trouble>,
) -> Ran {
    if let Err(trouble) = execute(connection, "SAVEPOINT job") {
        *transaction = Err(trouble.clone());
        return (job.run)(Err(trouble));
    }
    let ran = (job.run)(Ok(connection));
    let ended = match &ran.failed {
        // A full disk makes SQLite roll back the whole transaction by itself.
        Some(trouble) if connection.is_autocommit() => Err(trouble.clone()),
        Some(_) => {
            execute(connection, "ROLLBACK TO job").and_then(|()| execute(connection, "RELEASE job"))
        }
        None => execute(connection, "RELEASE job"),
    };
    if ended.is_err() {
        *transaction = ended;
    }
    ran
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Trouble> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process keeps the database busy"
        }
        Some(ErrorCode::ReadOnly) => "the database has become read-only",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "the database is damaged",
        Some(ErrorCode::SystemIoFailure) => "the disk does not read or write",
        _ => "the database failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(pages: u32) -> (tempfile::TempDir, Database) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vod-cover.db");
        let connection = crate::sqlite::connect(&path, &crate::local::FORMAT).unwrap();
        connection.pragma_update(None, "max_page_count", pages).unwrap();
        (directory, Database::start(&path, connection, None).unwrap())
    }

    async fn store(database: &Database, bytes: usize) -> Result<usize, Trouble> {
        let work = move |connection: &Connection| {
            let sql = "INSERT INTO bookmark (name, text, touched)
                       VALUES (hex(randomblob(8)), hex(zeroblob(?1)), 0)";
            connection.execute(sql, [bytes as i64])
        };
        database.call(true, work, |_| ()).await
    }

    async fn stored(database: &Database) -> i64 {
        let work = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM bookmark", [], |row| row.get(0))
        };
        database.call(false, work, |_| ()).await.unwrap()
    }

    #[tokio::test]
    async fn a_job_that_fails_does_not_spoil_the_others_of_its_transaction() {
        let (_directory, database) = database(100_000);
        let broken = |connection: &Connection| {
            connection.execute("INSERT INTO ping VALUES (7)", [])?;
            connection.execute("INSERT INTO nowhere VALUES (1)", [])
        };
        let (one, two, three) = tokio::join!(
            store(&database, 1),
            database.call(true, broken, |_| ()),
            store(&database, 2),
        );
        assert!(one.is_ok() && three.is_ok());
        assert!(two.is_err());
        assert_eq!(stored(&database).await, 2);
        let work = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM ping", [], |row| row.get::<_, i64>(0))
        };
        assert_eq!(database.call(false, work, |_| ()).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_full_disk_fails_what_needs_it_says_so_and_is_got_over() {
        let (_directory, database) = database(60);
        store(&database, 10).await.unwrap();
        let trouble = store(&database, 1_000_000).await.unwrap_err();
        assert_eq!(trouble.to_string(), "the disk is full");
        assert!(database.wrong().is_some_and(|wrong| wrong.contains("the disk is full")));
        // Nobody writes, and yet it is noticed that writing works again.
        stored(&database).await;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while database.wrong().is_some() {
            assert!(std::time::Instant::now() < deadline, "still wrong");
            tokio::task::yield_now().await;
        }
        store(&database, 10).await.unwrap();
        assert_eq!(stored(&database).await, 2);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_does_not_stop_its_job() {
        let (_directory, database) = database(100_000);
        let mut job = Box::pin(store(&database, 1));
        futures_util::future::poll_immediate(&mut job).await;
        drop(job);
        assert_eq!(stored(&database).await, 1);
    }
}
