//! Transitions of many videos that come at the same time, joined into one call of the script: a call costs
//! the server more than what a transition does.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use redis::{ErrorKind, RedisError, RedisResult};

use crate::gathering::{Carrier, Gathering};
use crate::link::{Link, Script, is_suspect};

/// Transitions of one call: the server does nothing else meanwhile, for about a millisecond.
const MOST: usize = 64;
/// Calls under way at once: at 10 ms to a server far away still 25,000 transitions a second.
const SLOTS: usize = 4;
/// A cluster's keys lie on different servers, so each transition is a call of its own.
const CLUSTER_SLOTS: usize = 256;

const CODE: &str = concat!(
    include_str!("prologue.lua"),
    include_str!("claim.lua"),
    include_str!("remember.lua"),
    include_str!("complete.lua"),
    include_str!("release.lua"),
    include_str!("dispatch.lua"),
);

/// One of the functions of the script, and what it is called with.
pub(super) struct Transition {
    pub name: &'static str,
    /// The two keys.
    pub video: String,
    pub event: String,
    pub arguments: Vec<String>,
}

/// When the call left, and the answer of one transition.
pub(super) type Answer = RedisResult<(Instant, Vec<String>)>;

pub(super) struct Transitions {
    gathering: Gathering<Call>,
    call: Call,
}

impl Transitions {
    pub fn new(link: Arc<Link>, keep: String) -> Self {
        let (slots, most) = if link.is_cluster() { (CLUSTER_SLOTS, 1) } else { (SLOTS, MOST) };
        let script = Arc::new(Script::new("transitions", CODE));
        let call = Call { link, script, keep: keep.into(), most };
        Self { gathering: Gathering::new(slots, most), call }
    }

    /// `None`: the task that made the call was lost.
    pub async fn run(&self, transition: Transition) -> Option<Answer> {
        self.gathering.ask(|| self.call.clone(), transition).await
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
    type Asked = Transition;
    type Answer = Answer;
    type Turn = ();

    async fn turn(&self, _waiting: usize) -> ((), usize) {
        ((), self.most)
    }

    async fn carry(&self, (): (), asked: Vec<Transition>) -> Vec<Answer> {
        match self.run(&asked).await {
            Ok((sent, answers)) => answers.into_iter().map(|answer| Ok((sent, answer))).collect(),
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
    async fn run_one(&self, one: &Transition) -> Answer {
        let (sent, answers) = self.run(std::slice::from_ref(one)).await?;
        Ok((sent, answers.into_iter().next().unwrap_or_default()))
    }

    async fn run(&self, all: &[Transition]) -> RedisResult<(Instant, Vec<Vec<String>>)> {
        let keys: Vec<&str> = all.iter().flat_map(|one| [&*one.video, &*one.event]).collect();
        let counts: Vec<_> = all.iter().map(|one| one.arguments.len().to_string()).collect();
        let mut arguments = vec![&*self.keep];
        for (one, count) in all.iter().zip(&counts) {
            arguments.extend([one.name, count]);
            arguments.extend(one.arguments.iter().map(String::as_str));
        }
        let (sent, answers): (_, Vec<Vec<String>>) =
            self.link.run(&self.script, &keys, &arguments).await?;
        if answers.len() != all.len() {
            let what = "the script gave another number of answers";
            return Err(RedisError::from((ErrorKind::UnexpectedReturnType, what)));
        }
        Ok((sent, answers))
    }
}
