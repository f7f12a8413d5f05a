//! The ledger on Redis: a round trip for each transition, or for several that come together, in one Lua
//! script that is timed by the server's clock. A video is a hash and the end of an event a text, which share
//! the hash tag `{VideoId}`, so a cluster keeps them together: `vod-cover:{<VideoId>}` and
//! `vod-cover:{<VideoId>}:done:<event>`; a bookmark is a hash of its own. Replication is asynchronous, so a
//! failover may forget the newest transitions; nothing here can promise more than Redis does.
//!
//! The user needs `+evalsha +eval +time +get +set +hget +hmget +hset +hdel +pexpire` on
//! `~vod-cover:*` (and `+role +info` behind Sentinel, `+cluster` for a cluster). The fleet's quota beside
//! it, in `vod-cover:quota:<operation>`, needs nothing more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use serde::de::{DeserializeOwned, Error as _};

use crate::cover::{Memory, Record};
use crate::event::VideoId;
use crate::ledger::{Claim, Error, Key, Lease, Ledger, Owner, Sight};
use crate::link::{Link, Script};

mod transitions;

pub use crate::link::{BadSettings, Settings};
use transitions::{Transition, Transitions};

pub struct RedisLedger {
    link: Arc<Link>,
    transitions: Transitions,
    prefix: String,
    keep: String,
    look: Script,
    bookmark: Script,
    ping: Script,
}

impl RedisLedger {
    /// Talks to nobody yet: Redis may be away. See [`crate::link`].
    pub fn new(settings: &Settings) -> Result<Self, BadSettings> {
        let link = Arc::new(Link::new(settings)?);
        let keep = milliseconds(settings.keep);
        Ok(Self {
            transitions: Transitions::new(link.clone(), keep.clone()),
            link,
            prefix: settings.prefix.clone(),
            keep,
            look: Script::new("look", include_str!("redis/look.lua")),
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
        let arguments = [&[self.keep.as_str()], more].concat();
        let answer = self.link.run::<[String; 1]>(&self.bookmark, &[&key], &arguments).await;
        let (_, [text]) = answer.map_err(|error| refused_or_unavailable(step, error))?;
        Ok((!text.is_empty()).then_some(text))
    }

    /// Runs a transition on the event's two keys. The answer is a status and what belongs to it.
    async fn run<const N: usize>(
        &self,
        step: &'static str,
        name: &'static str,
        key: &Key,
        owner: Owner,
        more: [String; N],
    ) -> Result<(Instant, Vec<String>), Error> {
        let video = self.video_key(&key.video);
        let event = format!("{video}:done:{}", key.event);
        let arguments = [owner.0.to_string()].into_iter().chain(more).collect();
        let answer = self.transitions.run(Transition { name, video, event, arguments }).await;
        match answer {
            Some(answer) => answer.map_err(|error| foreign_or(step, &key.video, error)),
            None => Err(Error::unavailable(step, "the call was lost before its answer came")),
        }
    }
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn claim(&self, key: &Key, owner: Owner, lease: Duration) -> Result<Claim, Error> {
        const STEP: &str = "claiming a video in redis";
        let name = key.event.0.clone();
        let arguments = [milliseconds(lease), name, newest_field(key), event_time(key)];
        let (sent, answer) = self.run(STEP, "claim", key, owner, arguments).await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["done", record] => Ok(Claim::Done(read(&key.video, record)?)),
            ["outdated"] => Ok(Claim::Outdated),
            ["busy", wait] => {
                Ok(Claim::Busy { retry_after: Duration::from_millis(number(STEP, wait)?) })
            }
            ["held", fence, memory, starts] => {
                let lease = Lease {
                    key: key.clone(),
                    owner,
                    fence: number(STEP, fence)?,
                    deadline: sent + lease,
                };
                let starts = u32::try_from(number(STEP, starts)?).unwrap_or(u32::MAX);
                match read_memory(&key.video, memory) {
                    Ok(memory) => Ok(Claim::Acquired { lease, memory, starts }),
                    Err(error) => {
                        // Nobody will work under this lease, so nobody else should wait for its end;
                        // if that fails, it ends by itself.
                        self.release(lease, None).await.ok();
                        Err(error)
                    }
                }
            }
            _ => Err(odd(STEP)),
        }
    }

    async fn remember(
        &self,
        lease: Lease,
        memory: &Memory,
        fresh: Duration,
    ) -> Result<Lease, Error> {
        const STEP: &str = "announcing an effect in redis";
        let arguments = [lease.fence.to_string(), milliseconds(fresh), write(STEP, memory)?];
        let (sent, answer) = self.run(STEP, "remember", &lease.key, lease.owner, arguments).await?;
        accepted(STEP, &lease.key, &answer)?;
        Ok(Lease { deadline: sent + fresh, ..lease })
    }

    async fn complete(&self, lease: Lease, record: &Record, memory: &Memory) -> Result<(), Error> {
        const STEP: &str = "storing the end of an event in redis";
        let set = if record.outcome.cover().is_some() { "1" } else { "0" };
        let arguments = [
            lease.fence.to_string(),
            write(STEP, record)?,
            set.to_owned(),
            lease.key.event.0.clone(),
            newest_field(&lease.key),
            event_time(&lease.key),
            write(STEP, memory)?,
        ];
        let (_, answer) = self.run(STEP, "complete", &lease.key, lease.owner, arguments).await?;
        accepted(STEP, &lease.key, &answer)
    }

    async fn release(&self, lease: Lease, memory: Option<&Memory>) -> Result<(), Error> {
        const STEP: &str = "freeing a video in redis";
        let memory = memory.map(|memory| write(STEP, memory)).transpose()?.unwrap_or_default();
        let arguments = [lease.fence.to_string(), lease.key.event.0.clone(), memory];
        let (_, answer) = self.run(STEP, "release", &lease.key, lease.owner, arguments).await?;
        accepted(STEP, &lease.key, &answer)
    }

    async fn look(&self, video: &VideoId) -> Result<Option<Sight>, Error> {
        const STEP: &str = "looking at a video in redis";
        let key = self.video_key(video);
        let answer = self.link.run::<Vec<String>>(&self.look, &[&key], &[]).await;
        let (_, answer) = answer.map_err(|error| foreign_or(STEP, video, error))?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["unknown"] => Ok(None),
            ["known", fence, memory, left] => {
                let left = number(STEP, left)?;
                Ok(Some(Sight {
                    memory: read_memory(video, memory)?,
                    fence: number(STEP, fence)?,
                    leased: (left > 0).then(|| Duration::from_millis(left)),
                }))
            }
            _ => Err(odd(STEP)),
        }
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
        let answer = self.link.run::<Vec<String>>(&self.ping, &[&hash, &text], &[&self.keep]).await;
        answer.map(|_| ()).map_err(|error| refused_or_unavailable(STEP, error))
    }
}

fn accepted(step: &'static str, key: &Key, answer: &[String]) -> Result<(), Error> {
    match answer {
        [status] if status == "ok" => Ok(()),
        [status] if status == "lost" => Err(Error::LeaseLost { video: key.video.clone() }),
        _ => Err(odd(step)),
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

fn number(step: &'static str, text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| odd(step))
}

/// Rounded up, so that a lease is not shorter in Redis than its deadline says.
fn milliseconds(length: Duration) -> String {
    length.as_micros().div_ceil(1000).to_string()
}

fn newest_field(key: &Key) -> String {
    format!("t:{}", key.cause)
}

fn event_time(key: &Key) -> String {
    key.at.map(|at| at.as_millisecond().to_string()).unwrap_or_default()
}

fn write(step: &'static str, value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::unavailable(step, error))
}

fn read<T: DeserializeOwned>(video: &VideoId, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|source| Error::Unreadable { video: video.clone(), source })
}

/// Nothing stored is nothing known.
fn read_memory(video: &VideoId, text: &str) -> Result<Memory, Error> {
    if text.is_empty() { Ok(Memory::default()) } else { read(video, text) }
}
