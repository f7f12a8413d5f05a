//! The queue on RabbitMQ, or on a managed broker that speaks AMQP 0-9-1. Two connections, one to consume
//! and one to publish, each mended for ever by a task of its own; every message is published with a
//! confirm, and an event is acknowledged only after what replaces it is stored. A crash in between makes a
//! duplicate, never a loss.

mod connection;
mod dead;
mod intake;
mod outlet;
mod settings;
mod status;
mod topology;
mod watchdog;
mod wire;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::connection::CLOSE_TIMEOUT;
use self::intake::{Held, Intake};
use self::outlet::{Outlet, Target};
pub use self::settings::{Declare, QueueType, Settings};
use self::status::Status;
pub use self::wire::header;
use self::wire::{Death, properties};
use super::{DeadLetters, Delivery, Depth, Error, Health, Message, Queue, Settlement, Tag};
use crate::backoff::Backoff;
use crate::error::Reason;

/// How long `settle` keeps trying to store a retry or a dead letter. Far below the half hour after which
/// RabbitMQ closes a channel that holds a delivery.
const HOLD: Duration = Duration::from_secs(120);

/// A queue on RabbitMQ. Dropping it ends it like [`Rabbit::close`], without waiting.
pub struct Rabbit {
    settings: Arc<Settings>,
    status: Arc<Status>,
    intake: Arc<Intake>,
    outlet: Arc<Outlet>,
    stop: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Rabbit {
    /// Starts to connect, and returns at once: a broker that is away, a wrong password or a missing vhost
    /// shows in `health` and is retried for ever. Takes nothing before the first `next`.
    ///
    /// `shutdown` ends everything at once, so cancel it (or call [`Rabbit::close`]) after the last
    /// delivery was settled. Must be called within a tokio runtime.
    pub fn connect(settings: Settings, shutdown: CancellationToken) -> Self {
        let queue = Self::start(settings, Status::new(), shutdown);
        queue.keep(tokio::spawn(Arc::clone(&queue.intake).run()));
        queue
    }

    /// The same with a connection to publish only: `next` never returns anything, and `health` says whether
    /// messages can be published.
    pub fn connect_to_publish(settings: Settings, shutdown: CancellationToken) -> Self {
        Self::start(settings, Status::of_publisher(), shutdown)
    }

    fn start(settings: Settings, status: Status, shutdown: CancellationToken) -> Self {
        let settings = Arc::new(settings);
        let status = Arc::new(status);
        let stop = shutdown.child_token();
        let intake =
            Arc::new(Intake::new(Arc::clone(&settings), Arc::clone(&status), stop.clone()));
        let outlet =
            Arc::new(Outlet::new(Arc::clone(&settings), Arc::clone(&status), stop.clone()));
        let queue = Self { settings, status, intake, outlet, stop, tasks: Mutex::default() };
        queue.keep(tokio::spawn(Arc::clone(&queue.outlet).run()));
        queue
    }

    fn keep(&self, task: JoinHandle<()>) {
        self.tasks.lock().unwrap_or_else(|e| e.into_inner()).push(task);
    }

    /// Ends both connections in order, within about a second. What was not settled is delivered again, to
    /// another worker or the next start; `next` returns `None`.
    pub async fn close(&self) {
        self.stop.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(|e| e.into_inner()));
        for task in tasks {
            let _ = timeout(CLOSE_TIMEOUT * 2, task).await;
        }
    }

    /// Stores a message instead of a delivery, and keeps trying for [`HOLD`] while the broker is away,
    /// blocked, or lacks the queue. `Ok(false)` when the delivery's generation ended meanwhile: it comes
    /// again, so there is nothing to replace any more.
    async fn store(
        &self,
        queue: &str,
        message: &Message,
        death: Option<Death<'_>>,
        tag: Tag,
    ) -> Result<bool, Error> {
        let target = Target { exchange: "", key: queue };
        let properties = properties(message, death);
        let deadline = Instant::now() + HOLD;
        let mut backoff = Backoff::default();
        loop {
            if self.intake.held(tag).is_none() {
                return Ok(false);
            }
            let published = self.outlet.publish(target, properties.clone(), &message.body).await;
            let Err(error) = published else { return Ok(true) };
            let pause = backoff.next();
            if Instant::now() + pause >= deadline || self.stop.is_cancelled() {
                return Err(error);
            }
            tracing::debug!(queue, error = crate::error::chain(&error), "not stored yet");
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    async fn later(
        &self,
        message: Message,
        after: Duration,
        tag: Tag,
        held: &Held,
    ) -> Result<(), Error> {
        let Some(queue) = self.settings.retry_queue_for(after) else {
            self.intake.give_back(tag, held).await;
            let why = "queue.rabbitmq.retry_tiers is empty";
            return Err(Error::unavailable("choosing a retry tier", why));
        };
        self.replace(&queue, message, None, tag, held).await
    }

    async fn replace(
        &self,
        queue: &str,
        message: Message,
        death: Option<Death<'_>>,
        tag: Tag,
        held: &Held,
    ) -> Result<(), Error> {
        match self.store(queue, &message, death, tag).await {
            Ok(true) => self.acknowledge(&[tag]).await,
            Ok(false) => Ok(()),
            Err(error) => {
                self.intake.give_back(tag, held).await;
                Err(error)
            }
        }
    }

    async fn acknowledge(&self, tags: &[Tag]) -> Result<(), Error> {
        let acknowledged = self.intake.acknowledge(tags).await;
        acknowledged.map_err(|trouble| {
            Error::unavailable("acknowledging an event", trouble.explain(&self.settings))
        })
    }
}

#[async_trait]
impl Queue for Rabbit {
    async fn publish(&self, message: Message) -> Result<(), Error> {
        let target = Target { exchange: &self.settings.exchange, key: &message.kind };
        let properties = properties(&message, None);
        self.outlet.publish(target, properties, &message.body).await
    }

    async fn bury(&self, message: Message, reason: Reason, error: &str) -> Result<(), Error> {
        let now = Timestamp::now();
        let message = message.after_failure(true, error, now);
        let properties =
            properties(&message, Some(Death { reason: reason.as_str(), at: Some(now) }));
        let target = Target { exchange: "", key: &self.settings.dead_queue() };
        self.outlet.publish(target, properties, &message.body).await
    }

    async fn next(&self) -> Result<Option<Delivery>, Error> {
        Ok(self.intake.next().await)
    }

    async fn settle(&self, delivery: Delivery, how: Settlement) -> Result<(), Error> {
        let Delivery { message, tag } = delivery;
        let Some(held) = self.intake.held(tag) else {
            tracing::debug!(tag.generation, tag.number, "the channel is gone: will be redelivered");
            return Ok(());
        };
        match how {
            Settlement::Done => self.acknowledge(&[tag]).await,
            Settlement::Replace { message, after } => self.later(message, after, tag, &held).await,
            Settlement::Retry { after, counts, error } => {
                let message = message.after_failure(counts, &error, Timestamp::now());
                self.later(message, after, tag, &held).await
            }
            Settlement::Dead { reason, error } => {
                let now = Timestamp::now();
                let message = message.after_failure(true, &error, now);
                let death = Death { reason: reason.as_str(), at: Some(now) };
                let queue = self.settings.dead_queue();
                self.replace(&queue, message, Some(death), tag, &held).await
            }
        }
    }

    fn at_hand(&self) -> Option<Delivery> {
        self.intake.hand_out()
    }

    async fn settle_done(&self, deliveries: Vec<Delivery>) -> Result<(), Error> {
        let tags: Vec<_> = deliveries.iter().map(|delivery| delivery.tag).collect();
        self.acknowledge(&tags).await
    }

    async fn pause(&self) {
        self.intake.pause().await;
    }

    fn take_singly(&self, singly: bool) {
        self.intake.take_singly(singly);
    }

    async fn dead_letters(&self) -> Result<Box<dyn DeadLetters>, Error> {
        let (settings, outlet) = (Arc::clone(&self.settings), Arc::clone(&self.outlet));
        Ok(Box::new(dead::Walk::begin(settings, outlet).await?))
    }

    async fn depth(&self) -> Result<Depth, Error> {
        const STEP: &str = "asking RabbitMQ for the depth of the queues";
        let Some(connection) = self.intake.connection() else {
            return Err(Error::unavailable(STEP, "it is not connected"));
        };
        let depth = topology::depth(&connection, &self.settings).await;
        depth.map_err(|trouble| Error::unavailable(STEP, trouble.explain(&self.settings)))
    }

    async fn delays(&self) -> Result<Vec<(Duration, u64)>, Error> {
        const STEP: &str = "asking RabbitMQ for the depth of the retry queues";
        let Some(connection) = self.intake.connection() else {
            return Err(Error::unavailable(STEP, "it is not connected"));
        };
        let delays = topology::delays(&connection, &self.settings).await;
        delays.map_err(|trouble| Error::unavailable(STEP, trouble.explain(&self.settings)))
    }

    fn health(&self) -> Health {
        self.status.health()
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Creates what is missing of exchange, queues and bindings, whatever `declare` says of running workers.
/// Returns a line for each. An error says what is wrong and what to do.
pub async fn declare(settings: &Settings) -> Result<Vec<String>, Error> {
    once(settings, "declare", Declare::Create).await
}

/// Logs in and looks whether everything is there, unless `declare = "none"`. Returns a line for each thing
/// found; changes nothing.
pub async fn check(settings: &Settings) -> Result<Vec<String>, Error> {
    let how = if settings.declare == Declare::None { Declare::None } else { Declare::Verify };
    once(settings, "check", how).await
}

async fn once(settings: &Settings, role: &str, how: Declare) -> Result<Vec<String>, Error> {
    let asked = async {
        let connection = connection::open(settings, role).await?;
        let done = topology::prepare(&connection, settings, how).await;
        let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "done".into())).await;
        done
    };
    let step = "preparing RabbitMQ";
    asked.await.map_err(|trouble| Error::unavailable(step, trouble.explain(settings)))
}
