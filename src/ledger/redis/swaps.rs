//! Swaps of many videos' entries that come at the same time, joined into one call of the script: a call costs
//! the server more than what a swap does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::{ErrorKind, RedisError, RedisResult};

use super::milliseconds;
use crate::gathering::{Carrier, Gathering};
use crate::link::{Link, Script, is_suspect};

/// Swaps of one call: the server does nothing else meanwhile, for less than a millisecond.
const MOST: usize = 64;
/// Calls under way at once: at 10 ms to a server far away still 25,000 swaps a second.
const SLOTS: usize = 4;
/// A cluster's keys lie on different servers, so each swap is a call of its own.
const CLUSTER_SLOTS: usize = 256;

/// What is to be done to an entry.
pub(super) struct Swap {
    pub key: String,
    /// `None` to be told what is there.
    pub to: Option<Successor>,
}

/// What takes an entry's place.
pub(super) struct Successor {
    /// See [`super::Stored::expected`].
    pub expected: Option<String>,
    /// Whether the lease must not have run out.
    pub must_last: bool,
    /// How long the lease lasts from now on, and no shorter than it does; `None` ends it.
    pub lease: Option<Duration>,
    /// See [`super::stored::write`].
    pub text: String,
}

/// When the call left, and, if the entry was not swapped, what was found instead: see [`super::stored::read`].
pub(super) type Answer = RedisResult<(Instant, Option<String>)>;

pub(super) struct Swaps {
    gathering: Gathering<Call>,
    call: Call,
}

impl Swaps {
    /// `keep`: how long entries live after the last swap.
    pub fn new(link: Arc<Link>, keep: Duration) -> Self {
        let (slots, most) = if link.is_cluster() { (CLUSTER_SLOTS, 1) } else { (SLOTS, MOST) };
        let script = Arc::new(Script::new("swap", include_str!("swap.lua")));
        let call = Call { link, script, keep: milliseconds(keep).into(), most };
        Self { gathering: Gathering::new(slots, most), call }
    }

    /// `None`: the task that made the call was lost.
    pub async fn run(&self, swap: Swap) -> Option<Answer> {
        self.gathering.ask(|| self.call.clone(), swap).await
    }
}

#[derive(Clone)]
struct Call {
    link: Arc<Link>,
    script: Arc<Script>,
    keep: Arc<str>,
    most: usize,
}

impl Carrier for Call {
    type Asked = Swap;
    type Answer = Answer;
    type Turn = ();

    async fn turn(&self, _waiting: usize) -> ((), usize) {
        ((), self.most)
    }

    async fn carry(&self, (): (), asked: Vec<Swap>) -> Vec<Answer> {
        match self.run(&asked).await {
            Ok((sent, found)) => found.into_iter().map(|found| Ok((sent, found))).collect(),
            // A key of another program, for one, ends the whole script; those before it are done, and
            // may be done again.
            Err(error) if asked.len() > 1 && !is_suspect(&error) => {
                join_all(asked.iter().map(|one| self.run_one(one))).await
            }
            Err(error) => asked.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

impl Call {
    async fn run_one(&self, one: &Swap) -> Answer {
        let (sent, found) = self.run(std::slice::from_ref(one)).await?;
        Ok((sent, found.into_iter().next().flatten()))
    }

    async fn run(&self, all: &[Swap]) -> RedisResult<(Instant, Vec<Option<String>>)> {
        let keys: Vec<&str> = all.iter().map(|one| &*one.key).collect();
        let lease = |one: &Swap| one.to.as_ref()?.lease.map(milliseconds);
        let leases: Vec<_> = all.iter().map(|one| lease(one).unwrap_or_default()).collect();
        let mut arguments = vec![&*self.keep];
        for (one, lease) in all.iter().zip(&leases) {
            arguments.extend(match &one.to {
                Some(to) => {
                    let must_last = if to.must_last { "1" } else { "" };
                    [to.expected.as_deref().unwrap_or_default(), must_last, lease, &*to.text]
                }
                None => ["-", "", "", ""],
            });
        }
        let (sent, found): (_, Vec<String>) =
            self.link.run(&self.script, &keys, &arguments).await?;
        if found.len() != all.len() {
            let what = "the script gave another number of answers";
            return Err(RedisError::from((ErrorKind::UnexpectedReturnType, what)));
        }
        Ok((sent, found.into_iter().map(|found| Some(found).filter(|it| !it.is_empty())).collect()))
    }
}
