//! The way to Redis: one shared connection, opened when it is first needed and replaced when it is
//! suspect, so that whoever uses it works again by itself once Redis does. The client's own
//! ConnectionManager is no help: it keeps a connection that times out or has become read-only.

use std::time::{Duration, Instant};

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::Mutex;
use tokio::time::timeout;

mod address;
mod settings;

use address::{Address, Connection};

pub use settings::{BadSettings, Settings};

use crate::telemetry;

pub(crate) struct Link {
    address: Address,
    /// Longest wait for an answer.
    timeout: Duration,
    /// Longest wait for a connection, finding the master and logging in included.
    connect_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts connections, so that many calls that fail together replace it once.
    generation: u64,
    connection: Option<Connection>,
    failed: Option<(Instant, RedisError)>,
}

/// A script with its text, for a server that does not know it (any more).
pub(crate) struct Script {
    name: &'static str,
    code: &'static str,
    hash: String,
}

impl Script {
    pub fn new(name: &'static str, code: &'static str) -> Self {
        Self { name, code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// `EVALSHA hash keys... arguments...`, or the same with the whole text.
    fn command(&self, whole: bool, keys: &[&str], arguments: &[&str]) -> Cmd {
        let mut command = redis::cmd(if whole { "EVAL" } else { "EVALSHA" });
        command.arg(if whole { self.code } else { &self.hash });
        command.arg(keys.len()).arg(keys).arg(arguments);
        command
    }
}

impl Link {
    /// Talks to nobody yet: Redis may be away. For a `rediss` URL the process's rustls provider has to
    /// be installed before the first call.
    pub fn new(settings: &Settings) -> Result<Self, BadSettings> {
        settings.check()?;
        let Settings { timeout, connect_timeout, .. } = *settings;
        let address = Address::parse(settings)?;
        Ok(Self { address, timeout, connect_timeout, state: Mutex::default() })
    }

    /// Whether one script must not touch keys of different hash tags.
    pub fn is_cluster(&self) -> bool {
        matches!(self.address, Address::Cluster(_))
    }

    /// Runs a script. If the connection breaks or does not answer in time, nobody knows whether it
    /// ran: it is run once more over a new connection, which is safe because transitions are idempotent
    /// for their owner. Takes at most two `timeout`s, and as long as the connections need: no more than
    /// four `connect_timeout`s, others' attempts that are waited for included. Answers with the moment when
    /// the run that was answered left, too.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&str],
    ) -> RedisResult<(Instant, T)> {
        match self.run_once(script, keys, arguments).await {
            Err(Broken::InUse(error)) => {
                tracing::debug!(script = script.name, %error, "running it again");
                self.run_once(script, keys, arguments).await
            }
            outcome => outcome,
        }
        .map_err(Broken::into_error)
    }

    async fn run_once<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&str],
    ) -> Result<(Instant, T), Broken> {
        let (generation, mut connection) = self.connection().await.map_err(Broken::Not)?;
        let sent = Instant::now();
        let answer = timeout(self.timeout, async {
            let known = script.command(false, keys, arguments);
            match known.query_async(&mut connection).await {
                Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
                    script.command(true, keys, arguments).query_async(&mut connection).await
                }
                answer => answer,
            }
        })
        .await
        .unwrap_or_else(|_| Err(timed_out("no answer in time")));
        match answer {
            Ok(answer) => Ok((sent, answer)),
            Err(error) if is_suspect(&error) => {
                self.replace(generation).await;
                Err(Broken::InUse(error))
            }
            Err(error) => Err(Broken::Not(error)),
        }
    }

    async fn connection(&self) -> RedisResult<(u64, Connection)> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((state.generation, connection.clone()));
        }
        // An attempt that ended while this call waited speaks for it, too: otherwise the calls of an
        // outage would queue up and try one after the other.
        if let Some((at, error)) = &state.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        let attempt = timeout(self.connect_timeout, self.address.connect(self.connect_timeout));
        match attempt.await.unwrap_or_else(|_| Err(timed_out("no connection in time"))) {
            Ok(connection) => {
                state.generation += 1;
                state.connection = Some(connection.clone());
                Ok((state.generation, connection))
            }
            Err(error) => {
                telemetry::reconnects("redis");
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn replace(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation && state.connection.take().is_some() {
            tracing::warn!("connection to redis given up; opening another");
            telemetry::reconnects("redis");
        }
    }
}

enum Broken {
    /// The connection failed while it was used.
    InUse(RedisError),
    /// The connection is in order, or there was none.
    Not(RedisError),
}

impl Broken {
    fn into_error(self) -> RedisError {
        match self {
            Self::InUse(error) | Self::Not(error) => error,
        }
    }
}

/// Whether the connection must not be used again. An answer that is merely unwelcome speaks for it; one
/// of a server that has become a replica, or that knows us no more, does not.
pub(super) fn is_suspect(error: &RedisError) -> bool {
    use ServerErrorKind::{ClusterDown, MasterDown, ReadOnly};
    match error.kind() {
        ErrorKind::Server(ReadOnly | MasterDown | ClusterDown) => true,
        ErrorKind::Server(_) | ErrorKind::UnexpectedReturnType => false,
        ErrorKind::Extension => matches!(error.code(), Some("NOAUTH" | "WRONGPASS")),
        _ => true,
    }
}

fn timed_out(what: &'static str) -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, what).into()
}
