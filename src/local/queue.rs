//! The queue on the file. A message that is taken stays in its table until it is settled; that it is
//! taken is known only in memory, so that it is free again when the process is gone, however it went.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Local, Trouble, dead, messages, milliseconds, now};
use crate::error::Reason;
use crate::queue::{DeadLetters, Delivery, Depth, Error, Health, Message, Queue, Settlement, Tag};

/// How often the file is looked at: other processes publish into it, and delays end.
const POLL: Duration = Duration::from_millis(200);
/// How far the clock may go back unnoticed, and how often delays are counted again to be sure.
const CLOCK_STEP: i64 = 500;
const CLOCK_CHECK: i64 = 60_000;
/// Messages read at once, and bytes after which no more are read.
pub(super) const HANDFUL: usize = 32;
pub(super) const HANDFUL_BYTES: usize = 4 * 1024 * 1024;

/// Delays that are told apart.
const DELAYS: u32 = 20;

const TAKE: &str = "taking a message from the file";
const SETTLE: &str = "settling a message in the file";

/// What the worker holds in memory. Filled by the database's thread, never by a future that could be
/// dropped half-way.
#[derive(Default)]
pub(super) struct Taken {
    inner: Mutex<Inner>,
    arrived: Notify,
}

#[derive(Default)]
struct Inner {
    /// Rows that are handed out or wait in `ready`.
    ids: HashSet<i64>,
    /// Taken, and not handed out yet.
    ready: VecDeque<(i64, Message)>,
    paused: bool,
    /// Both clocks at one moment.
    clocks: Option<(i64, Instant)>,
}

impl Taken {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, found: &[(i64, Message)]) {
        let mut inner = self.lock();
        if inner.paused {
            return;
        }
        for (id, message) in found {
            // Two calls may have found the same row.
            if inner.ids.insert(*id) {
                inner.ready.push_back((*id, message.clone()));
                self.arrived.notify_one();
            }
        }
    }

    fn give_back(&self, id: i64) {
        self.lock().ids.remove(&id);
        self.arrived.notify_one();
    }

    /// Whether delays have to be counted again.
    fn clock_is_suspect(&self) -> bool {
        let wall = now();
        let mut inner = self.lock();
        let (expected, age) = match inner.clocks {
            Some((then, at)) => {
                let age = milliseconds(at.elapsed());
                (then.saturating_add(age), age)
            }
            None => (wall, 0),
        };
        let back = wall.saturating_add(CLOCK_STEP) < expected;
        let suspect = back || age > CLOCK_CHECK;
        if suspect || wall > expected || inner.clocks.is_none() {
            inner.clocks = Some((wall, Instant::now()));
        }
        suspect
    }
}

impl Local {
    /// Reads what is due into memory.
    async fn take(&self, taken: &Arc<Taken>) -> Result<(), Trouble> {
        if taken.clock_is_suspect() {
            let work =
                |connection: &rusqlite::Connection| messages::count_delays_again(connection, now());
            self.database.call(true, work, |_| ()).await?;
        }
        let (reader, keeper) = (taken.clone(), taken.clone());
        let work = move |connection: &rusqlite::Connection| {
            let ids = reader.lock().ids.clone();
            messages::due(connection, now(), &ids, HANDFUL, HANDFUL_BYTES)
        };
        let after = move |found: &Result<Vec<(i64, Message)>, Trouble>| {
            if let Ok(found) = found {
                keeper.keep(found);
            }
        };
        self.database.call(false, work, after).await.map(|_| ())
    }
}

#[async_trait]
impl Queue for Local {
    async fn publish(&self, message: Message) -> Result<(), Error> {
        let taken = self.work.as_ref().map(|work| work.taken.clone());
        let work =
            move |connection: &rusqlite::Connection| messages::add(connection, &message, now());
        let after = move |_: &Result<(), Trouble>| {
            if let Some(taken) = taken {
                taken.arrived.notify_one();
            }
        };
        self.database
            .call(true, work, after)
            .await
            .map_err(|trouble| Error::unavailable("publishing into the file", trouble))
    }

    async fn bury(&self, message: Message, reason: Reason, error: &str) -> Result<(), Error> {
        let message = message.after_failure(true, error, Timestamp::now());
        let work = move |connection: &rusqlite::Connection| {
            messages::add(connection, &message, now())?;
            let id = connection.last_insert_rowid();
            messages::bury(connection, id, &message, now(), reason.as_str())
        };
        self.database
            .call(true, work, |_| ())
            .await
            .map_err(|trouble| Error::unavailable("storing a dead letter in the file", trouble))
    }

    async fn next(&self) -> Result<Option<Delivery>, Error> {
        let work = self.work().map_err(|why| Error::unavailable(TAKE, why))?;
        work.taken.lock().paused = false;
        loop {
            let arrived = work.taken.arrived.notified();
            if let Some((id, message)) = work.taken.lock().ready.pop_front() {
                let number = u64::try_from(id).unwrap_or_default();
                let tag = Tag { generation: work.generation, number };
                return Ok(Some(Delivery { message, tag }));
            }
            self.take(&work.taken).await.map_err(|trouble| Error::unavailable(TAKE, trouble))?;
            if work.taken.lock().ready.is_empty() {
                // Ends early if something has arrived, and late is as good as early.
                let _ = tokio::time::timeout(POLL, arrived).await;
            }
        }
    }

    async fn settle(&self, delivery: Delivery, how: Settlement) -> Result<(), Error> {
        let Some(work) = &self.work else { return Ok(()) };
        let Delivery { message, tag } = delivery;
        let Ok(id) = i64::try_from(tag.number) else { return Ok(()) };
        if tag.generation != work.generation || !work.taken.lock().ids.contains(&id) {
            return Ok(());
        }
        let taken = work.taken.clone();
        let work = move |connection: &rusqlite::Connection| match how {
            Settlement::Done => messages::remove(connection, id),
            Settlement::Replace { message, after } => {
                messages::replace(connection, id, &message, now(), milliseconds(after))
            }
            Settlement::Retry { after, counts, error } => {
                let message = message.after_failure(counts, &error, Timestamp::now());
                messages::put_back(connection, id, &message, now(), milliseconds(after))
            }
            Settlement::Dead { reason, error } => {
                let message = message.after_failure(true, &error, Timestamp::now());
                messages::bury(connection, id, &message, now(), reason.as_str())
            }
        };
        // Whether it worked or not, the row is not ours any more: if it did not, it comes again.
        let after = move |_: &Result<(), Trouble>| taken.give_back(id);
        self.database
            .call(true, work, after)
            .await
            .map_err(|trouble| Error::unavailable(SETTLE, trouble))
    }

    async fn pause(&self) {
        let Some(work) = &self.work else { return };
        let mut inner = work.taken.lock();
        inner.paused = true;
        for (id, _) in std::mem::take(&mut inner.ready) {
            inner.ids.remove(&id);
        }
    }

    async fn dead_letters(&self) -> Result<Box<dyn DeadLetters>, Error> {
        Ok(Box::new(dead::Walk::begin(Arc::clone(&self.database)).await?))
    }

    async fn depth(&self) -> Result<Depth, Error> {
        let work = |connection: &rusqlite::Connection| messages::depth(connection, now());
        let mut depth = self
            .database
            .call(false, work, |_| ())
            .await
            .map_err(|trouble| Error::unavailable("counting messages in the file", trouble))?;
        if let Some(work) = &self.work {
            let inner = work.taken.lock();
            let handed_out = inner.ids.len() - inner.ready.len();
            depth.ready = depth.ready.saturating_sub(handed_out as u64);
        }
        Ok(depth)
    }

    async fn delays(&self) -> Result<Vec<(Duration, u64)>, Error> {
        let work = |connection: &rusqlite::Connection| messages::delays(connection, now(), DELAYS);
        let delays = self.database.call(false, work, |_| ()).await;
        let delays = delays.map_err(|trouble| {
            Error::unavailable("counting messages that wait in the file", trouble)
        })?;
        let length = |delay| Duration::from_millis(u64::try_from(delay).unwrap_or(0));
        let mut delays: Vec<_> =
            delays.into_iter().map(|(delay, count)| (length(delay), count)).collect();
        delays.sort();
        Ok(delays)
    }

    fn health(&self) -> Health {
        match self.database.wrong() {
            None => Health::Ready,
            Some(wrong) => Health::Away(wrong),
        }
    }
}
