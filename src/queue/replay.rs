//! A file or standard input as a queue that ends: one event a line (NDJSON). Retries wait in memory, and
//! dead letters are kept for the report; the file itself is never changed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use tokio::sync::{Notify, mpsc};

use super::{DeadLetters, Delivery, Depth, Error, Health, Message, Queue, Settlement, Tag};
use crate::error::Reason;
use crate::event;

/// Reads lines as they are asked for, so that a file of any size takes little memory.
pub struct Replay {
    lines: tokio::sync::Mutex<mpsc::Receiver<io::Result<Line>>>,
    state: Mutex<State>,
    settled: Notify,
}

/// A line that is not blank, with its number from 1.
struct Line {
    number: u64,
    body: Vec<u8>,
}

#[derive(Default)]
struct State {
    /// Messages that wait for another attempt, by when it is due and their line.
    waiting: BTreeMap<(Instant, u64), Message>,
    taken: usize,
    dead: Vec<DeadLine>,
    failed: Option<String>,
}

/// A line that became a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLine {
    /// From 1.
    pub line: u64,
    pub reason: Reason,
    pub error: String,
}

impl Replay {
    /// Reads from `input` in the background. Must be called within a tokio runtime.
    pub fn new(input: impl AsyncBufRead + Send + Unpin + 'static) -> Self {
        let (sender, lines) = mpsc::channel(16);
        tokio::spawn(read(input, sender));
        Self {
            lines: tokio::sync::Mutex::new(lines),
            state: Mutex::default(),
            settled: Notify::new(),
        }
    }

    /// The dead letters so far, in the order in which they ended.
    pub fn dead(&self) -> Vec<DeadLine> {
        self.state().dead.clone()
    }

    /// Why the input could not be read to its end, if so.
    pub fn failed(&self) -> Option<String> {
        self.state().failed.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_out(&self, number: u64, message: Message) -> Delivery {
        self.state().taken += 1;
        Delivery { message, tag: Tag { generation: 0, number } }
    }

    /// The first message whose wait is over, or when that will be.
    fn due(&self) -> Result<Delivery, Option<Instant>> {
        let mut state = self.state();
        let Some(first) = state.waiting.first_entry() else { return Err(None) };
        let &(at, number) = first.key();
        if at > Instant::now() {
            return Err(Some(at));
        }
        let message = first.remove();
        drop(state);
        Ok(self.hand_out(number, message))
    }
}

#[async_trait]
impl Queue for Replay {
    /// A replayed file takes no new messages.
    async fn publish(&self, _: Message) -> Result<(), Error> {
        Err(Error::unavailable("publish to a file that is being replayed", "it is read-only"))
    }

    async fn bury(&self, message: Message, _: Reason, _: &str) -> Result<(), Error> {
        self.publish(message).await
    }

    /// They are with [`Replay::dead`] instead: none outlives the process.
    async fn dead_letters(&self) -> Result<Box<dyn DeadLetters>, Error> {
        Err(Error::unavailable("walking through dead letters", "a file keeps none"))
    }

    async fn next(&self) -> Result<Option<Delivery>, Error> {
        loop {
            let settled = self.settled.notified();
            let wait = match self.due() {
                Ok(delivery) => return Ok(Some(delivery)),
                Err(wait) => wait,
            };
            let mut lines = self.lines.lock().await;
            tokio::select! {
                line = lines.recv() => match line {
                    Some(Ok(Line { number, body })) => {
                        return Ok(Some(self.hand_out(number, Message::new(body, "", ""))));
                    }
                    Some(Err(error)) => {
                        self.state().failed = Some(error.to_string());
                        return Err(Error::unavailable("read the file to replay", error));
                    }
                    None if wait.is_none() && self.state().taken == 0 => return Ok(None),
                    None => match wait {
                        Some(at) => tokio::select! {
                            () = tokio::time::sleep_until(at.into()) => {}
                            () = settled => {}
                        },
                        None => settled.await,
                    },
                },
                () = tokio::time::sleep_until(wait.unwrap_or_else(Instant::now).into()),
                    if wait.is_some() => {}
            }
        }
    }

    async fn settle(&self, delivery: Delivery, how: Settlement) -> Result<(), Error> {
        let mut state = self.state();
        state.taken -= 1;
        let line = delivery.tag.number;
        match how {
            Settlement::Done => {}
            Settlement::Replace { message, after } => {
                state.waiting.insert((Instant::now() + after, line), message);
            }
            Settlement::Retry { after, counts, error } => {
                let message = delivery.message.after_failure(counts, &error, Timestamp::now());
                state.waiting.insert((Instant::now() + after, line), message);
            }
            Settlement::Dead { reason, error } => state.dead.push(DeadLine { line, reason, error }),
        }
        drop(state);
        self.settled.notify_waiters();
        Ok(())
    }

    /// Nothing is held that was not handed out.
    async fn pause(&self) {}

    async fn depth(&self) -> Result<Depth, Error> {
        let state = self.state();
        let delayed = state.waiting.len() as u64;
        Ok(Depth { ready: 0, delayed, dead: state.dead.len() as u64 })
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}

/// Sends every line that is not blank. Of a line that no event can be as long as, only so much is kept
/// that the parser sees it is too long.
async fn read(mut input: impl AsyncBufRead + Unpin, lines: mpsc::Sender<io::Result<Line>>) {
    for number in 1.. {
        let mut body = Vec::new();
        let mut rest = Vec::new();
        let line = async {
            let limit = event::MAX_BODY as u64 + 1;
            let mut read = (&mut input).take(limit).read_until(b'\n', &mut body).await?;
            while read as u64 == limit && !body.ends_with(b"\n") && !rest.ends_with(b"\n") {
                rest.clear();
                let more = (&mut input).take(limit).read_until(b'\n', &mut rest).await?;
                read = if more == 0 { 0 } else { limit as usize };
            }
            Ok(())
        };
        let read = line.await;
        let ended = body.is_empty();
        let body = body.trim_ascii().to_vec();
        let message = match read {
            Ok(()) if ended => return,
            Ok(()) if body.is_empty() => continue,
            Ok(()) => Ok(Line { number, body }),
            Err(error) => Err(error),
        };
        let failed = message.is_err();
        if lines.send(message).await.is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn all(input: &'static [u8]) -> Vec<(u64, usize)> {
        let replay = Replay::new(input);
        let mut found = Vec::new();
        while let Some(delivery) = replay.next().await.unwrap() {
            found.push((delivery.tag.number, delivery.message.body.len()));
            replay.settle(delivery, Settlement::Done).await.unwrap();
        }
        found
    }

    #[tokio::test]
    async fn every_line_that_is_not_blank_is_a_message() {
        assert_eq!(all(b"{}\n\n  \n{\"a\":1}\r\n[]").await, [(1, 2), (4, 7), (5, 2)]);
        assert_eq!(all(b"").await, []);
    }

    #[tokio::test]
    async fn a_line_longer_than_any_event_is_one_message_too_long_to_be_one() {
        let long = vec![b'x'; 3 * event::MAX_BODY + 5];
        let input = [&long[..], b"\n{}\n", &long[..]].concat();
        let found = all(Box::leak(input.into_boxed_slice())).await;
        assert_eq!(found, [(1, event::MAX_BODY + 1), (2, 2), (3, event::MAX_BODY + 1)]);
    }

    #[tokio::test]
    async fn it_ends_only_when_the_last_retry_is_settled() {
        let replay = Replay::new(&b"{}"[..]);
        let first = replay.next().await.unwrap().unwrap();
        let (after, error) = (Duration::from_millis(20), "why".to_owned());
        let retry = Settlement::Retry { after, counts: true, error };
        let (next, settled) = tokio::join!(replay.next(), replay.settle(first, retry));
        settled.unwrap();
        let again = next.unwrap().unwrap();
        assert_eq!(again.message.attempts, 1);
        let reason = Reason::new("test");
        let dead = Settlement::Dead { reason, error: "end".into() };
        replay.settle(again, dead).await.unwrap();
        assert!(replay.next().await.unwrap().is_none());
        assert_eq!(replay.dead()[0].line, 1);
    }
}
