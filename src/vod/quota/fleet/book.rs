//! What is asked of Redis about the fleet's turns. A question never takes long, and is not even asked for a
//! while after one without an answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::RedisError;
use tokio::time::Instant;

use super::super::lane::{BURST, GROWTH, LEAST, Pace, SHRINK, SLACK};
use super::super::operation::Operation;
use super::{AHEAD, Asked, Refusal};
use crate::link::{BadSettings, Link, Script, Settings};

/// Longest wait for an answer of Redis, connecting included.
const LONGEST_ASK: Duration = Duration::from_millis(2_500);
/// How long Redis is left alone after it did not answer.
const REST: Duration = Duration::from_secs(1);

/// The hashes `<prefix>:quota:<operation>`.
pub struct Book {
    link: Link,
    prefix: String,
    turns: Script,
    hold: Script,
    /// Until when Redis is left alone.
    away: Mutex<Option<Instant>>,
}

/// Permission for one call within this time.
#[derive(Clone, Copy)]
pub struct Turn {
    pub from: Instant,
    pub until: Instant,
}

pub enum Answer {
    Turns {
        turns: Vec<Turn>,
        /// Between two turns, as things are.
        interval: Duration,
    },
    None {
        /// When it makes sense to ask again.
        opens: Instant,
    },
}

/// A script's text with the common opening.
macro_rules! script {
    ($name:literal) => {
        Script::new(
            $name,
            concat!(include_str!("prologue.lua"), include_str!(concat!($name, ".lua"))),
        )
    };
}

impl Book {
    pub fn new(settings: &Settings) -> Result<Self, BadSettings> {
        Ok(Self {
            link: Link::new(settings)?,
            prefix: settings.prefix.clone(),
            turns: script!("turns"),
            hold: script!("hold"),
            away: Mutex::default(),
        })
    }

    /// So many turns at most; with a pace of walks, one at most, and only if nobody else needs it now.
    /// Turns of an answer that is lost are lost with it.
    pub async fn ask(
        &self,
        Asked { operation, pace }: Asked,
        wanted: usize,
        walks: Option<Pace>,
    ) -> Result<Answer, Refusal> {
        let mut arguments =
            vec![micros(GROWTH), wanted.to_string(), micros(pace.interval), micros(AHEAD)];
        if let Some(walks) = walks {
            arguments.extend([micros(walks.interval), micros(SLACK)]);
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let (sent, words) = self.run(&self.turns, &self.key(operation), &arguments).await?;
        let received = Instant::now();
        // Redis has read its clock about halfway in between.
        let then = sent + received.saturating_duration_since(sent) / 2;
        let numbers: Vec<u64> = words.iter().skip(1).filter_map(|word| word.parse().ok()).collect();
        match (words.first().map(String::as_str), &numbers[..]) {
            (Some("turns"), [count, first, interval]) => {
                let interval = Duration::from_micros(*interval);
                let first = then + Duration::from_micros(*first);
                let turns = (0..u32::try_from(*count).unwrap_or_default()).map(|number| {
                    let from = first + interval * number;
                    // A slow Redis means few turns, and not none.
                    let arrived = if number == 0 { received } else { from };
                    Turn { from, until: from.max(arrived) + SLACK }
                });
                Ok(Answer::Turns { turns: turns.collect(), interval })
            }
            (Some("none"), [wait]) => {
                Ok(Answer::None { opens: then + Duration::from_micros(*wait) })
            }
            _ => {
                self.leave_alone(&"an answer that the script does not give");
                Err(Refusal::Away)
            }
        }
    }

    pub async fn hold(&self, operation: Operation, time: Duration) -> Result<(), Refusal> {
        let arguments =
            [micros(GROWTH), micros(time), SHRINK.to_string(), LEAST.to_string(), micros(BURST)];
        let arguments = arguments.each_ref().map(String::as_str);
        self.run(&self.hold, &self.key(operation), &arguments).await.map(drop)
    }

    async fn run(
        &self,
        script: &Script,
        key: &str,
        arguments: &[&str],
    ) -> Result<(Instant, Vec<String>), Refusal> {
        if self.away().is_some_and(|until| Instant::now() < until) {
            return Err(Refusal::Away);
        }
        let keys = [key];
        let run = self.link.run(script, &keys, arguments);
        let why = match tokio::time::timeout(LONGEST_ASK, run).await {
            Ok(Ok((sent, answer))) => {
                *self.away() = None;
                return Ok((Instant::from_std(sent), answer));
            }
            Ok(Err(error)) => error,
            Err(_) => RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)),
        };
        self.leave_alone(&why);
        Err(Refusal::Away)
    }

    fn leave_alone(&self, why: &dyn std::fmt::Display) {
        if self.away().replace(Instant::now() + REST).is_none() {
            tracing::warn!(error = %why, "redis does not keep the fleet's quota; calls go on slowly");
        }
    }

    fn away(&self) -> MutexGuard<'_, Option<Instant>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, operation: Operation) -> String {
        format!("{}:quota:{}", self.prefix, operation.name())
    }
}

fn micros(length: Duration) -> String {
    length.as_micros().to_string()
}
