//! A walk through the file's dead letters. Nothing is held meanwhile, so two walks meet the same letters; each
//! is settled once, in one transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;

use super::queue::{HANDFUL, HANDFUL_BYTES};
use super::{messages, now};
use crate::queue::{DeadLetter, DeadLetters, Error, Fate};
use crate::sqlite::Database;

const STEP: &str = "walking through the dead letters in the file";

pub(super) struct Walk {
    database: Arc<Database>,
    /// The last row that there was at the beginning.
    end: i64,
    /// The last row that was read.
    reached: i64,
    read: VecDeque<(i64, DeadLetter)>,
    current: Option<(i64, DeadLetter)>,
}

impl Walk {
    pub async fn begin(database: Arc<Database>) -> Result<Self, Error> {
        let last = database.call(false, messages::last_dead, |_| ()).await;
        let end = last.map_err(|trouble| Error::unavailable(STEP, trouble))?;
        Ok(Self { database, end, reached: 0, read: VecDeque::new(), current: None })
    }
}

#[async_trait]
impl DeadLetters for Walk {
    async fn next(&mut self) -> Result<Option<DeadLetter>, Error> {
        if self.read.is_empty() {
            let beyond = self.reached;
            let work = move |connection: &rusqlite::Connection| {
                messages::dead(connection, beyond, HANDFUL, HANDFUL_BYTES)
            };
            let read = self.database.call(false, work, |_| ()).await;
            self.read = read.map_err(|trouble| Error::unavailable(STEP, trouble))?.into();
            self.reached = self.read.back().map_or(self.end, |(id, _)| *id);
        }
        self.current = self.read.pop_front().filter(|(id, _)| *id <= self.end);
        Ok(self.current.as_ref().map(|(_, letter)| letter.clone()))
    }

    async fn settle(&mut self, fate: Fate) -> Result<bool, Error> {
        let Some((id, letter)) = self.current.take() else { return Ok(false) };
        let message = (fate == Fate::Retry).then(|| letter.message.tried_again());
        let work = move |connection: &rusqlite::Connection| {
            messages::exhume(connection, id, message.as_ref(), now())
        };
        // A worker in the same process sees the message at its next look at the file.
        let settled = self.database.call(true, work, |_| ()).await;
        settled.map_err(|trouble| Error::unavailable(STEP, trouble))
    }

    async fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}
