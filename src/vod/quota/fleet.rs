//! One budget of calls for all workers whose keys in Redis have the same prefix. A turn has its moment by
//! Redis's clock and is never used much later, so that no second of the whole fleet has more calls than
//! the rate. Turns are taken in lots, for those who wait in this process, one question at a time for each
//! operation. Never waits long for Redis: without it there are no turns here.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::LONGEST_WAIT;
use super::lane::Pace;
use super::operation::Operation;
use crate::link::{BadSettings, Settings};

mod book;
mod line;

use book::{Answer, Book};
use line::{Line, Waiting, line_up};

/// Turns of this time are taken at once, if as many callers wait.
const LOT: Duration = Duration::from_millis(100);
/// How long a worker who got fewer turns than it wanted leaves them to others before it asks again.
const AGAIN: Duration = Duration::from_millis(200);
/// How far ahead of their moment turns are given: more than that, so that nobody runs dry meanwhile, and
/// little enough for a throttling answer to be honoured by all within a second.
const AHEAD: Duration = Duration::from_millis(400);

/// The fleet's budget, for one client of this process and those that come from it.
pub struct Fleet {
    book: Book,
    live: [Line; Operation::COUNT],
    /// Walks take nothing in advance, so nothing is known here.
    walks: [Line; Operation::COUNT],
}

/// Why there is no turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It would take this long.
    Late(Duration),
    /// Redis does not answer.
    Away,
}

/// What turns are asked for, and the pace of the whole fleet.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub operation: Operation,
    pub pace: Pace,
}

impl Fleet {
    /// Talks to nobody yet, and needs no other commands of Redis than its ledger.
    pub fn new(settings: &Settings) -> Result<Self, BadSettings> {
        let (live, walks) = Default::default();
        Ok(Self { book: Book::new(settings)?, live, walks })
    }

    /// Waits for the first turn of any of these operations; of turns of the same moment for that of the
    /// operation that is named first.
    pub(super) async fn first(
        &self,
        asked: &[Asked],
        until: Instant,
    ) -> Result<Operation, Refusal> {
        let line = |asked: &Asked| &self.live[asked.operation as usize];
        let _waiting: Vec<_> = asked.iter().map(|asked| Waiting::new(line(asked))).collect();
        let estimate = || asked.iter().map(|asked| line(asked).estimate(asked.pace)).min();
        let late = || Refusal::Late(estimate().unwrap_or_default().max(LONGEST_WAIT));
        if estimate() > Some(LONGEST_WAIT) {
            return Err(late());
        }
        let operations = asked.iter().map(|asked| asked.operation);
        let _first = line_up(&self.live, operations, until).await.ok_or_else(late)?;
        loop {
            let now = Instant::now();
            if now >= until {
                return Err(late());
            }
            let unknown = asked.iter().filter(|asked| line(asked).is_unknown(now));
            let answers = try_join_all(unknown.map(|asked| self.ask_for(*asked, line(asked))));
            if !answers.await?.is_empty() {
                continue;
            }
            let turn = |asked: &Asked| Some((*asked, line(asked).first_turn()?.max(now)));
            match asked.iter().filter_map(turn).min_by_key(|(_, from)| *from) {
                Some((asked, from)) if from <= now => {
                    if line(&asked).take_turn(now) {
                        return Ok(asked.operation);
                    }
                }
                // Not taken before its moment: a throttling answer may come first.
                Some((_, from)) => tokio::time::sleep_until(from.min(until)).await,
                // All are closed.
                None => {
                    let opens = asked.iter().filter_map(|asked| line(asked).known().closed).min();
                    let opens = opens.unwrap_or(until);
                    if opens > until {
                        return Err(Refusal::Late(opens + AHEAD - now));
                    }
                    tokio::time::sleep_until(opens).await;
                }
            }
        }
    }

    /// Takes a turn if one is there this moment.
    pub(super) async fn now(&self, asked: Asked) -> Result<bool, Refusal> {
        let line = &self.live[asked.operation as usize];
        // Somebody waits.
        let Ok(_first) = line.first.try_lock() else { return Ok(false) };
        if line.is_unknown(Instant::now()) {
            self.ask_for(asked, line).await?;
        }
        Ok(line.take_turn(Instant::now()))
    }

    /// Waits until one of these operations has a turn that no event needs, within the pace of walks. Takes
    /// none in advance.
    pub(super) async fn walk(
        &self,
        asked: &[(Asked, Pace)],
        until: Instant,
    ) -> Result<Operation, Refusal> {
        let operations = asked.iter().map(|(asked, _)| asked.operation);
        let Some(_first) = line_up(&self.walks, operations, until).await else {
            return Err(Refusal::Late(LONGEST_WAIT));
        };
        loop {
            let mut opens = None;
            for (asked, pace) in asked {
                match self.book.ask(*asked, 1, Some(*pace)).await? {
                    Answer::Turns { .. } => return Ok(asked.operation),
                    Answer::None { opens: at } => opens = Some(opens.map_or(at, |o| at.min(o))),
                }
            }
            // A little more, since it would be refused for any less.
            let again = opens.unwrap_or(until) + Duration::from_millis(1);
            if again > until {
                return Err(Refusal::Late(again.saturating_duration_since(Instant::now())));
            }
            tokio::time::sleep_until(again).await;
        }
    }

    /// After a throttling answer: nobody of the fleet gets a turn before this time has passed, and fewer
    /// for a while after that.
    pub(super) async fn hold(&self, operation: Operation, time: Duration) {
        let until = Instant::now() + time;
        {
            let mut known = self.live[operation as usize].known();
            known.turns.clear();
            known.closed = known.closed.max(until.checked_sub(AHEAD));
        }
        // Whoever does not hear of it is told by VOD.
        let _ = self.book.hold(operation, time).await;
    }

    /// Takes a lot for those who wait.
    async fn ask_for(&self, asked: Asked, line: &Line) -> Result<(), Refusal> {
        let lot = LOT.div_duration_f64(line.interval(asked.pace)).ceil() as usize;
        let wanted = line.waiting.load(Ordering::Relaxed).min(lot).max(1);
        let again = Instant::now() + AGAIN;
        let answer = self.book.ask(asked, wanted, None).await?;
        let mut known = line.known();
        match answer {
            Answer::Turns { turns, interval } => {
                let short = turns.len() < wanted;
                known.closed = short.then_some(again);
                known.interval = Some(interval);
                known.turns.extend(turns);
            }
            Answer::None { opens } => known.closed = Some(opens.max(again)),
        }
        Ok(())
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fleet")
    }
}
