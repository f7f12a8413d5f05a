//! Takes deliveries, and mends its connection by itself for ever. Each channel that deliveries come from
//! is a generation: when it ends, the broker delivers again what was not acknowledged on it, so nothing of
//! an ended generation is handed out or acknowledged any more. Holds at most `prefetch` deliveries.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery as Received;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, Channel, Connection, Consumer};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{self, CLOSE_TIMEOUT, Trouble, within};
use super::settings::{Declare, QueueType, Settings};
use super::status::{Role, Status};
use super::wire::{self, brief};
use super::{topology, watchdog};
use crate::backoff::Backoff;
use crate::queue::{Delivery, Tag};

/// How long what is done waits for something older, to be acknowledged together with it.
const GAP_PATIENCE: Duration = Duration::from_millis(20);

pub(super) struct Intake {
    pub(super) settings: Arc<Settings>,
    status: Arc<Status>,
    stop: CancellationToken,
    /// Whether `next` was called since the last pause.
    wanted: watch::Sender<bool>,
    /// Whether messages are taken one by one; see [`crate::queue::Queue::take_singly`].
    singly: watch::Sender<bool>,
    /// Whether a consumer is set up or being set up.
    taking: watch::Sender<bool>,
    connection: watch::Sender<Option<Arc<Connection>>>,
    arrived: Notify,
    deliveries: Mutex<Deliveries>,
    /// Held while acknowledging or returning: an acknowledgement of several must never overtake what is
    /// said of one of them.
    speaking: tokio::sync::Mutex<()>,
}

/// The deliveries of one generation.
#[derive(Default)]
struct Deliveries {
    generation: u64,
    /// Not handed out yet.
    buffer: VecDeque<Received>,
    /// Handed out and not settled, by delivery tag.
    held: BTreeMap<u64, Held>,
    arrivals: u64,
    consuming_since: Option<Instant>,
}

impl Deliveries {
    /// The last of the oldest that are all done, which are forgotten with it.
    fn take_run(&mut self) -> Option<Acker> {
        let mut last = None;
        while let Some(first) = self.held.first_entry().filter(|first| first.get().done) {
            last = Some(first.remove().acker);
        }
        last
    }
}

/// A delivery that was handed out.
#[derive(Clone)]
pub(super) struct Held {
    acker: Acker,
    /// Done, and only not acknowledged yet.
    done: bool,
}

/// What the watchdog compares the broker's numbers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Activity {
    pub consuming_since: Option<Instant>,
    pub arrivals: u64,
    pub idle: bool,
}

impl Intake {
    pub fn new(settings: Arc<Settings>, status: Arc<Status>, stop: CancellationToken) -> Self {
        Self {
            settings,
            status,
            stop,
            wanted: watch::Sender::new(false),
            singly: watch::Sender::new(false),
            taking: watch::Sender::new(false),
            connection: watch::Sender::new(None),
            arrived: Notify::new(),
            deliveries: Mutex::default(),
            speaking: tokio::sync::Mutex::default(),
        }
    }

    /// The next delivery, or `None` when the adapter has been closed.
    pub async fn next(&self) -> Option<Delivery> {
        self.wanted.send_if_modified(|wanted| !std::mem::replace(wanted, true));
        loop {
            if let Some(delivery) = self.hand_out() {
                return Some(delivery);
            }
            tokio::select! {
                () = self.arrived.notified() => {}
                () = self.stop.cancelled() => return None,
            }
        }
    }

    /// Stops taking, and waits until what was not handed out has returned, within a bound.
    pub async fn pause(&self) {
        self.wanted.send_replace(false);
        let mut taking = self.taking.subscribe();
        let stopped = taking.wait_for(|taking| !taking);
        let _ = timeout(self.settings.confirm_timeout * 2, stopped).await;
    }

    pub fn take_singly(&self, singly: bool) {
        self.singly.send_if_modified(|before| std::mem::replace(before, singly) != singly);
    }

    /// What belongs to a tag, or `None` when its generation has ended or it is settled.
    pub fn held(&self, tag: Tag) -> Option<Held> {
        let deliveries = self.lock();
        (deliveries.generation == tag.generation)
            .then(|| deliveries.held.get(&tag.number).cloned())
            .flatten()
    }

    /// Acknowledges what is done: a run of the oldest deliveries by one frame. What is younger than one
    /// that is not done waits a moment for that, and is then acknowledged by itself.
    pub async fn acknowledge(&self, tags: &[Tag]) -> Result<(), Trouble> {
        if self.acknowledge_run(tags).await? {
            return Ok(());
        }
        sleep(GAP_PATIENCE).await;
        let _speaking = self.speaking.lock().await;
        for tag in tags {
            let left = self.held(*tag).filter(|held| held.done);
            if let Some(held) = left {
                self.speak(&held.acker, false).await?;
                self.forget(*tag);
            }
        }
        Ok(())
    }

    /// Returns whether that was all of them.
    async fn acknowledge_run(&self, tags: &[Tag]) -> Result<bool, Trouble> {
        {
            let mut deliveries = self.lock();
            let generation = deliveries.generation;
            for tag in tags.iter().filter(|tag| tag.generation == generation) {
                if let Some(held) = deliveries.held.get_mut(&tag.number) {
                    held.done = true;
                }
            }
        }
        let _speaking = self.speaking.lock().await;
        let run = self.lock().take_run();
        if let Some(acker) = run {
            self.speak(&acker, true).await?;
        }
        Ok(tags.iter().all(|tag| self.held(*tag).is_none()))
    }

    async fn speak(&self, acker: &Acker, multiple: bool) -> Result<(), Trouble> {
        let limit = self.settings.confirm_timeout;
        let said = acker.ack(BasicAckOptions { multiple });
        if !within(limit, "acknowledging", said).await? {
            tracing::debug!("the channel is gone: will be redelivered");
        }
        Ok(())
    }

    /// Returns a delivery to the queue, to be delivered again soon.
    pub async fn give_back(&self, tag: Tag, held: &Held) {
        let _speaking = self.speaking.lock().await;
        requeue(&held.acker, self.settings.confirm_timeout).await;
        // Not before: until then nothing that is younger may be acknowledged together with it.
        self.forget(tag);
    }

    pub fn connection(&self) -> Option<Arc<Connection>> {
        self.connection.borrow().clone()
    }

    pub fn activity(&self) -> Activity {
        let deliveries = self.lock();
        Activity {
            consuming_since: deliveries.consuming_since,
            arrivals: deliveries.arrivals,
            idle: deliveries.buffer.is_empty() && deliveries.held.is_empty(),
        }
    }

    /// Keeps a connection until the adapter is closed.
    pub async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        let mut alone = 0;
        while !self.stop.is_cancelled() {
            let started = Instant::now();
            let Err(trouble) = self.session(alone).await else { break };
            self.status.down(Role::Consume, &trouble, &self.settings);
            if started.elapsed() > Duration::from_secs(30) {
                backoff.reset();
            }
            // A message that cannot be parsed ends the connection with everything that was prefetched,
            // which would count as a delivery of its innocent neighbours. Taken one by one, it counts for
            // itself only, until the delivery limit takes it away. It is somewhere among as many messages
            // as were prefetched, all of which come before any others.
            alone = if trouble.is_unreadable_message() {
                // Only a quorum queue gets rid of it in the end, and then the sooner the better.
                if self.settings.r#type == QueueType::Quorum {
                    backoff.reset();
                }
                self.settings.prefetch
            } else {
                0
            };
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// One connection, from its opening to its end. The first `alone` messages are taken one by one. `Ok`
    /// when the adapter was closed.
    async fn session(&self, alone: u16) -> Result<(), Trouble> {
        let connection = tokio::select! {
            opened = connection::open(&self.settings, Role::Consume.name()) => Arc::new(opened?),
            () = self.stop.cancelled() => return Ok(()),
        };
        let ended = tokio::select! {
            ended = self.serve(&connection, alone) => ended,
            () = self.stop.cancelled() => Ok(()),
        };
        self.connection.send_replace(None);
        self.end_generation();
        self.taking.send_replace(false);
        let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "done".into())).await;
        ended
    }

    async fn serve(&self, connection: &Arc<Connection>, mut alone: u16) -> Result<(), Trouble> {
        let settings = &*self.settings;
        let mut events = std::pin::pin!(connection.events_listener());
        topology::prepare(connection, settings, settings.declare).await?;
        let opening = connection.create_channel();
        let channel = within(settings.confirm_timeout, "opening a channel", opening).await?;
        self.connection.send_replace(Some(Arc::clone(connection)));
        self.status.up(Role::Consume);

        let mut wanted = self.wanted.subscribe();
        let mut watchdog = std::pin::pin!(watchdog::watch(connection, self));
        let mut singly = self.singly.subscribe();
        let mut consumer: Option<Consumer> = None;
        let mut consumed_with = 0;
        loop {
            let want = *wanted.borrow_and_update();
            let one_by_one = *singly.borrow_and_update() || alone > 0;
            let prefetch = if one_by_one { 1 } else { settings.prefetch.max(1) };
            if let Some(running) = consumer.take() {
                // A larger prefetch holds for new consumers only.
                if want && prefetch <= consumed_with {
                    consumer = Some(running);
                } else {
                    self.cancel(&channel, running).await?;
                }
            }
            if want && consumer.is_none() {
                consumer = Some(self.consume(&channel, prefetch).await?);
                consumed_with = prefetch;
            }
            tokio::select! {
                received = next_of(&mut consumer) => {
                    let mut received = Some(received);
                    while let Some(one) = received {
                        match one {
                            Some(Ok(one)) => self.arrive(one),
                            Some(Err(source)) => {
                                let step = format!("consuming queue {:?}", settings.queue);
                                return Err(Trouble::Refused { step, source });
                            }
                            None => {
                                let queue = settings.queue.clone();
                                return Err(Trouble::ConsumerCancelled { queue });
                            }
                        }
                        // What came with it needs no round of its own.
                        received = match alone.checked_sub(1) {
                            Some(left) => {
                                alone = left;
                                None
                            }
                            None => next_of(&mut consumer).now_or_never(),
                        };
                    }
                }
                changed = wanted.changed() => debug_assert!(changed.is_ok()),
                changed = singly.changed() => debug_assert!(changed.is_ok()),
                trouble = &mut watchdog => return Err(trouble),
                event = events.next() => connection::check(connection, event)?,
                () = sleep(connection::CHECK_INTERVAL) => connection::check(connection, None)?,
            }
        }
    }

    async fn consume(&self, channel: &Channel, prefetch: u16) -> Result<Consumer, Trouble> {
        let limit = self.settings.confirm_timeout;
        self.taking.send_replace(true);
        let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
        within(limit, "setting the prefetch", qos).await?;
        let consuming = channel.basic_consume(
            brief(&self.settings.queue),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let step = format!("consuming queue {:?}", self.settings.queue);
        let consumer = within(limit, step, consuming).await?;
        self.lock().consuming_since = Some(Instant::now());
        Ok(consumer)
    }

    /// Cancels the consumer and returns what was not handed out. The channel stays, for what was.
    async fn cancel(&self, channel: &Channel, mut consumer: Consumer) -> Result<(), Trouble> {
        let limit = self.settings.confirm_timeout;
        self.lock().consuming_since = None;
        let cancelled = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        within(limit, "cancelling the consumer", cancelled).await?;
        let mut left = std::mem::take(&mut self.lock().buffer);
        // The stream ends once everything that had arrived before the cancellation was read.
        while let Ok(Some(Ok(received))) = timeout(limit, consumer.next()).await {
            left.push_back(received);
        }
        for received in left {
            requeue(&received.acker, limit).await;
        }
        self.taking.send_replace(false);
        Ok(())
    }

    fn arrive(&self, received: Received) {
        let mut deliveries = self.lock();
        deliveries.arrivals += 1;
        deliveries.buffer.push_back(received);
        drop(deliveries);
        self.arrived.notify_one();
    }

    pub fn hand_out(&self) -> Option<Delivery> {
        let mut deliveries = self.lock();
        let mut received = deliveries.buffer.pop_front()?;
        let tag = Tag { generation: deliveries.generation, number: received.delivery_tag };
        let message = wire::message(&mut received);
        deliveries.held.insert(tag.number, Held { acker: received.acker, done: false });
        Some(Delivery { message, tag })
    }

    fn forget(&self, tag: Tag) {
        let mut deliveries = self.lock();
        if deliveries.generation == tag.generation {
            deliveries.held.remove(&tag.number);
        }
    }

    fn end_generation(&self) {
        let mut deliveries = self.lock();
        *deliveries = Deliveries {
            generation: deliveries.generation + 1,
            arrivals: deliveries.arrivals,
            ..Deliveries::default()
        };
    }

    fn lock(&self) -> MutexGuard<'_, Deliveries> {
        self.deliveries.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Settings {
    /// Whether the broker may be asked about queues while running.
    pub(super) fn may_inspect(&self) -> bool {
        self.declare != Declare::None
    }
}

async fn next_of(consumer: &mut Option<Consumer>) -> Option<lapin::Result<Received>> {
    match consumer {
        Some(consumer) => consumer.next().await,
        None => std::future::pending().await,
    }
}

/// If it fails, the channel is gone and the broker delivers the message again by itself.
async fn requeue(acker: &Acker, limit: Duration) {
    let returned = acker.reject(BasicRejectOptions { requeue: true });
    if let Err(trouble) = within(limit, "returning a delivery", returned).await {
        tracing::debug!(error = crate::error::chain(&trouble), "a delivery was not returned");
    }
}
