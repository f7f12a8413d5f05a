//! The ledger on Redis. A video's entry is a text under `vod-cover:{<VideoId>}` (the braces are a cluster's
//! hash tag): a revision, the lease by the server's clock, and what `entry` writes. A transition is worked
//! out here, and one small script swaps the entry if revision and owner are still the expected ones: for a
//! video that is not known, and for who has the lease, that is one round trip; else one more, because the
//! script answers with the entry that it found. Replication is asynchronous, so a failover may forget the
//! newest transitions; nothing here can promise more than Redis does.
//!
//! The user needs `+evalsha +eval +time +get +set +getrange +setrange +hget +hmget +hset +hdel +pexpire` on
//! `~vod-cover:*` (and `+role +info` behind Sentinel, `+cluster` for a cluster). The fleet's quota beside
//! it, in `vod-cover:quota:<operation>`, needs nothing more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use serde::de::Error as _;

use super::entry::{Changed, Claimed, Entry};
use crate::cover::{Memory, Record};
use crate::event::VideoId;
use crate::ledger::{Claim, Error, Key, Lease, Ledger, Owner, Sight};
use crate::link::{Link, Script};

mod stored;
mod swaps;

pub use crate::link::{BadSettings, Settings};
use stored::Stored;
use swaps::{Successor, Swap, Swaps};

/// Rounds of one transition, each lost to somebody else who changed the entry first. Two are common.
const ROUNDS: usize = 16;

pub struct RedisLedger {
    link: Arc<Link>,
    swaps: Swaps,
    prefix: String,
    keep: Duration,
    bookmark: Script,
    ping: Script,
}

/// What a transition leaves to be stored.
#[derive(Clone, Copy)]
enum Next {
    /// The video is the caller's for this long, or as long as it was, if that is longer. `must_last`: it
    /// must not have run out before.
    Leased {
        length: Duration,
        must_last: bool,
    },
    Free,
    Unchanged,
}

/// A transition that was made.
struct Made<T> {
    outcome: T,
    /// When the call left that made it.
    sent: Instant,
    /// What is stored now, without the clock.
    stored: Stored,
}

impl RedisLedger {
    /// Talks to nobody yet: Redis may be away. See [`crate::link`].
    pub fn new(settings: &Settings) -> Result<Self, BadSettings> {
        let link = Arc::new(Link::new(settings)?);
        Ok(Self {
            swaps: Swaps::new(link.clone(), settings.keep),
            link,
            prefix: settings.prefix.clone(),
            keep: settings.keep,
            bookmark: Script::new("bookmark", include_str!("redis/bookmark.lua")),
            ping: Script::new("ping", include_str!("redis/ping.lua")),
        })
    }

    fn video_key(&self, video: &VideoId) -> String {
        format!("{}:{{{video}}}", self.prefix)
    }

    async fn run_bookmark(
        &self,
        step: &'static str,
        name: &str,
        more: &[&str],
    ) -> Result<Option<String>, Error> {
        let key = format!("{}:bookmark:{name}", self.prefix);
        let keep = milliseconds(self.keep);
        let arguments = [&[keep.as_str()], more].concat();
        let answer = self.link.run::<[String; 1]>(&self.bookmark, &[&key], &arguments).await;
        let (_, [text]) = answer.map_err(|error| refused_or_unavailable(step, error))?;
        Ok((!text.is_empty()).then_some(text))
    }

    /// Makes a transition, beginning with what is thought to be stored, if anything is. The memory takes
    /// the place of what was remembered, if it is given; if not, what is thought must hold it.
    async fn change<T: Send>(
        &self,
        step: &'static str,
        video: &VideoId,
        guess: Option<Stored>,
        memory: Option<&Memory>,
        mut transition: impl FnMut(&mut Entry, i64) -> (T, Next) + Send,
    ) -> Result<Made<T>, Error> {
        let mut present = guess.map(|guess| (guess, None));
        for _ in 0..ROUNDS {
            let (mut stored, seen) = match present.take() {
                Some(present) => present,
                None => self.see(step, video).await.map(|(stored, sent)| (stored, Some(sent)))?,
            };
            let expected = stored.expected();
            let (outcome, next) = transition(&mut stored.entry, stored.now);
            let (lease, must_last) = match next {
                Next::Leased { length, must_last } => (Some(length), must_last),
                Next::Free => (None, false),
                Next::Unchanged => match seen {
                    Some(sent) => return Ok(Made { outcome, sent, stored }),
                    // What is only thought to be there is no ground for an answer.
                    None => continue,
                },
            };
            let text = stored::write(&stored.entry, stored.revision + 1, memory);
            let text = text.map_err(|error| Error::unavailable(step, error))?;
            let to = Successor { expected, must_last, lease, text };
            match self.swap(step, video, Some(to)).await? {
                (sent, None) => {
                    stored.revision += 1;
                    return Ok(Made { outcome, sent, stored });
                }
                (sent, Some(found)) => present = Some((stored::read(video, &found)?, Some(sent))),
            }
        }
        Err(Error::unavailable(step, "others changed the video's entry again and again"))
    }

    /// Makes a transition of who has the lease.
    async fn change_held(
        &self,
        step: &'static str,
        mut lease: Lease,
        memory: Option<&Memory>,
        next: Next,
        transition: impl Fn(&mut Entry, &Lease, i64) -> Changed + Send + Sync,
    ) -> Result<(Lease, Made<()>), Error> {
        // What is not replaced has to be read.
        let guess = memory.and_then(|_| Stored::under(&mut lease));
        let made = self.change(step, &lease.key.video, guess, memory, |entry, now| {
            let changed = transition(entry, &lease, now);
            (changed, if changed == Changed::Made { next } else { Next::Unchanged })
        });
        let Made { outcome, sent, stored } = made.await?;
        match outcome {
            Changed::Made | Changed::Same => Ok((lease, Made { outcome: (), sent, stored })),
            Changed::Lost => Err(Error::LeaseLost { video: lease.key.video }),
        }
    }

    async fn see(&self, step: &'static str, video: &VideoId) -> Result<(Stored, Instant), Error> {
        let (sent, found) = self.swap(step, video, None).await?;
        let found = found.ok_or_else(|| odd(step))?;
        Ok((stored::read(video, &found)?, sent))
    }

    async fn swap(
        &self,
        step: &'static str,
        video: &VideoId,
        to: Option<Successor>,
    ) -> Result<(Instant, Option<String>), Error> {
        match self.swaps.run(Swap { key: self.video_key(video), to }).await {
            Some(answer) => answer.map_err(|error| foreign_or(step, video, error)),
            None => Err(Error::unavailable(step, "the call was lost before its answer came")),
        }
    }
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn claim(&self, key: &Key, owner: Owner, lease: Duration) -> Result<Claim, Error> {
        const STEP: &str = "claiming a video in redis";
        let next = Next::Leased { length: lease, must_last: false };
        // Most videos are not known yet.
        let unknown = Stored { entry: Entry::default(), revision: 0, now: 0 };
        let made = self.change(STEP, &key.video, Some(unknown), None, |entry, now| {
            let memory = match entry.memory() {
                Ok(memory) => memory,
                // Nobody can work on it, so nobody should wait for the end of a lease.
                Err(source) => return (Err(source), Next::Unchanged),
            };
            let claimed = entry.claim(key, owner, now);
            let held = matches!(claimed, Claimed::Held { .. });
            (Ok((claimed, memory)), if held { next } else { Next::Unchanged })
        });
        let Made { outcome, sent, stored } = made.await?;
        let (claimed, memory) =
            outcome.map_err(|source| Error::Unreadable { video: key.video.clone(), source })?;
        let (fence, deadline) = (stored.entry.fence, sent + lease);
        let lease = || Lease { key: key.clone(), owner, fence, deadline, known: stored.known() };
        Ok(claimed.answer(memory, lease))
    }

    async fn remember(
        &self,
        lease: Lease,
        memory: &Memory,
        fresh: Duration,
    ) -> Result<Lease, Error> {
        const STEP: &str = "announcing an effect in redis";
        let next = Next::Leased { length: fresh, must_last: true };
        let made = self.change_held(STEP, lease, Some(memory), next, |entry, lease, now| {
            entry.remember((lease.owner, lease.fence), now)
        });
        let (lease, Made { sent, stored, .. }) = made.await?;
        Ok(Lease { deadline: sent + fresh, known: stored.known(), ..lease })
    }

    async fn complete(&self, lease: Lease, record: &Record, memory: &Memory) -> Result<(), Error> {
        const STEP: &str = "storing the end of an event in redis";
        let keep = i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX);
        let made = self.change_held(STEP, lease, Some(memory), Next::Free, |entry, lease, _| {
            entry.complete((lease.owner, lease.fence), &lease.key, record, keep)
        });
        made.await.map(|_| ())
    }

    async fn release(&self, lease: Lease, memory: Option<&Memory>) -> Result<(), Error> {
        const STEP: &str = "freeing a video in redis";
        let made = self.change_held(STEP, lease, memory, Next::Free, |entry, lease, _| {
            entry.release((lease.owner, lease.fence), &lease.key.event)
        });
        made.await.map(|_| ())
    }

    async fn look(&self, video: &VideoId) -> Result<Option<Sight>, Error> {
        let (Stored { entry, now, .. }, _) = self.see("looking at a video in redis", video).await?;
        entry.sight(now).map_err(|source| Error::Unreadable { video: video.clone(), source })
    }

    async fn bookmark(&self, name: &str) -> Result<Option<String>, Error> {
        self.run_bookmark("reading a bookmark in redis", name, &[]).await
    }

    async fn set_bookmark(&self, name: &str, text: Option<&str>) -> Result<(), Error> {
        let arguments = [text.unwrap_or_default()];
        self.run_bookmark("storing a bookmark in redis", name, &arguments).await.map(|_| ())
    }

    async fn ping(&self) -> Result<(), Error> {
        const STEP: &str = "asking redis whether it is there";
        let (hash, text) =
            (format!("{}:{{ping}}", self.prefix), format!("{}:{{ping}}:done", self.prefix));
        let answer = self
            .link
            .run::<Vec<String>>(&self.ping, &[&hash, &text], &[&milliseconds(self.keep)])
            .await;
        answer.map(|_| ()).map_err(|error| refused_or_unavailable(STEP, error))
    }
}

fn foreign_or(step: &'static str, video: &VideoId, error: RedisError) -> Error {
    if error.code() != Some("WRONGTYPE") {
        return refused_or_unavailable(step, error);
    }
    let text = format!("a key of another program is in its place: {error}");
    Error::Unreadable { video: video.clone(), source: serde_json::Error::custom(text) }
}

fn refused_or_unavailable(step: &'static str, error: RedisError) -> Error {
    let text = error.detail().unwrap_or_default();
    let refused = match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => true,
        // A script's own commands are refused under the code of the script's failure, and a long
        // command of somebody who has not logged in is not even read.
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            ["unknown command", "The user executing the script", "ACL failure", "unauthenticated"]
                .iter()
                .any(|said| text.contains(said))
        }
        ErrorKind::Extension => {
            matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED"))
        }
        _ => false,
    };
    if refused {
        Error::Refused { step, source: error.into() }
    } else {
        Error::unavailable(step, error)
    }
}

fn odd(step: &'static str) -> Error {
    Error::unavailable(step, "redis gave an answer that the script does not give")
}

/// Rounded up, so that a lease is not shorter in Redis than its deadline says.
fn milliseconds(length: Duration) -> String {
    length.as_micros().div_ceil(1000).to_string()
}
