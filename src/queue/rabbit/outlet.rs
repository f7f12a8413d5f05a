//! Publishes with a confirm and `mandatory`, always, on a connection of its own that it mends by itself.
//! One message is under way on a channel at a time: lapin pairs a returned message with a confirm by order
//! only, so with two of them it could report the stored one as unroutable and the lost one as stored.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::protocol::BasicProperties;
use lapin::{Channel, Confirmation, Connection, Event};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{self, CLOSE_TIMEOUT, Trouble, within};
use super::settings::Settings;
use super::status::{Role, Status};
use super::topology;
use super::wire::brief;
use crate::backoff::Backoff;
use crate::queue::Error;

/// Messages under way at the same time, each on a channel; ApsaraMQ allows at least 64 on a connection.
const CHANNELS: usize = 32;
/// Confirms that fail to come in a row before the connection is taken for dead.
const TIMEOUTS: u32 = 3;

pub(super) struct Outlet {
    settings: Arc<Settings>,
    status: Arc<Status>,
    stop: CancellationToken,
    /// `None` while there is no connection, or the broker takes no messages.
    link: watch::Sender<Option<Arc<Link>>>,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub exchange: &'a str,
    pub key: &'a str,
}

struct Link {
    connection: Connection,
    idle: Mutex<Vec<Channel>>,
    slots: Semaphore,
    timeouts: AtomicU32,
    /// Cancelled when a publisher has seen that the connection or the topology has to be made anew.
    broken: CancellationToken,
}

impl Outlet {
    pub fn new(settings: Arc<Settings>, status: Arc<Status>, stop: CancellationToken) -> Self {
        Self { settings, status, stop, link: watch::Sender::new(None) }
    }

    /// Publishes once. `Ok` when the broker has confirmed that the message is stored in a queue.
    pub async fn publish(
        &self,
        target: Target<'_>,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<(), Error> {
        const STEP: &str = "publishing to RabbitMQ";
        let mut links = self.link.subscribe();
        let usable = links.wait_for(Option::is_some);
        let link = match timeout(self.settings.confirm_timeout, usable).await {
            Ok(Ok(link)) => link.clone(),
            _ => None,
        };
        let Some(link) = link else {
            return Err(match self.status.health() {
                crate::queue::Health::Away(why) => Error::unavailable(STEP, why),
                crate::queue::Health::Ready => Error::unavailable(STEP, "it was not ready in time"),
            });
        };
        match link.publish(target, properties, body, self.settings.confirm_timeout).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                // One of our own queues is gone: a new connection declares it again.
                if target.exchange.is_empty() {
                    link.broken.cancel();
                }
                Err(Error::Unroutable {
                    exchange: target.exchange.to_owned(),
                    kind: target.key.to_owned(),
                })
            }
            Err(trouble) => {
                if trouble.code() == Some(404) {
                    link.broken.cancel();
                }
                Err(Error::unavailable(STEP, trouble.explain(&self.settings)))
            }
        }
    }

    /// Keeps a connection until the adapter is closed.
    pub async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        while !self.stop.is_cancelled() {
            let started = Instant::now();
            let Err(trouble) = self.session().await else { break };
            self.status.down(Role::Publish, &trouble, &self.settings);
            if started.elapsed() > Duration::from_secs(30) {
                backoff.reset();
            }
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    async fn session(&self) -> Result<(), Trouble> {
        let connection = tokio::select! {
            opened = connection::open(&self.settings, Role::Publish.name()) => opened?,
            () = self.stop.cancelled() => return Ok(()),
        };
        let link = Arc::new(Link {
            connection,
            idle: Mutex::default(),
            slots: Semaphore::new(CHANNELS),
            timeouts: AtomicU32::new(0),
            broken: CancellationToken::new(),
        });
        let ended = tokio::select! {
            ended = self.serve(&link) => ended,
            () = self.stop.cancelled() => Ok(()),
        };
        self.link.send_replace(None);
        let _ = timeout(CLOSE_TIMEOUT, link.connection.close(200, "done".into())).await;
        ended
    }

    async fn serve(&self, link: &Arc<Link>) -> Result<(), Trouble> {
        let connection = &link.connection;
        let mut events = std::pin::pin!(connection.events_listener());
        topology::prepare(connection, &self.settings, self.settings.declare).await?;
        self.status.up(Role::Publish);
        self.link.send_replace(Some(Arc::clone(link)));
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        self.link.send_replace(None);
                        self.status.blocked(&reason);
                    }
                    Some(Event::ConnectionUnblocked) => {
                        self.status.unblocked();
                        self.link.send_replace(Some(Arc::clone(link)));
                    }
                    other => connection::check(connection, other)?,
                },
                () = sleep(connection::CHECK_INTERVAL) => connection::check(connection, None)?,
                () = link.broken.cancelled() => {
                    return Err(Trouble::Silence("publishing failed in a way that needs a new start"));
                }
            }
        }
    }
}

impl Link {
    /// `false` when the broker had no queue for the message.
    async fn publish(
        &self,
        target: Target<'_>,
        properties: BasicProperties,
        body: &[u8],
        limit: Duration,
    ) -> Result<bool, Trouble> {
        let Ok(Ok(_slot)) = timeout(limit, self.slots.acquire()).await else {
            return Err(Trouble::TimedOut { step: "waiting for a free channel".to_owned(), limit });
        };
        let published = self.publish_and_wait(target, properties, body, limit).await;
        if let Err(Trouble::TimedOut { .. }) = published {
            // Blocked connections time out too, but they are not used again until they are unblocked.
            if self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS
                && !self.connection.status().blocked()
            {
                self.broken.cancel();
            }
        } else {
            self.timeouts.store(0, Ordering::Relaxed);
        }
        published
    }

    /// A channel on which anything was left open is dropped, which closes it.
    async fn publish_and_wait(
        &self,
        target: Target<'_>,
        properties: BasicProperties,
        body: &[u8],
        limit: Duration,
    ) -> Result<bool, Trouble> {
        let channel = match self.take_idle() {
            Some(channel) => channel,
            None => self.open_channel(limit).await?,
        };
        let sending = channel.basic_publish(
            brief(target.exchange),
            brief(target.key),
            BasicPublishOptions { mandatory: true, immediate: false },
            body,
            properties,
        );
        let confirm = within(limit, "sending the message", sending).await?;
        let stored = match within(limit, "waiting for the broker's confirm", confirm).await? {
            Confirmation::Ack(None) => true,
            // A managed broker uses other reply codes than RabbitMQ: any return means "not stored".
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => false,
            Confirmation::Nack(None) => {
                return Err(Trouble::Silence("the broker refused to store the message"));
            }
            Confirmation::NotRequested => {
                return Err(Trouble::Silence("the broker does not confirm what is published"));
            }
        };
        self.idle.lock().unwrap_or_else(|e| e.into_inner()).push(channel);
        Ok(stored)
    }

    fn take_idle(&self) -> Option<Channel> {
        let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
        while let Some(channel) = idle.pop() {
            if channel.status().connected() {
                return Some(channel);
            }
        }
        None
    }

    async fn open_channel(&self, limit: Duration) -> Result<Channel, Trouble> {
        let opening = self.connection.create_channel();
        let channel = within(limit, "opening a channel", opening).await?;
        let selecting = channel.confirm_select(ConfirmSelectOptions::default());
        within(limit, "asking for confirms", selecting).await?;
        Ok(channel)
    }
}
