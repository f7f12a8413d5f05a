//! A walk through the dead queue. RabbitMQ shows a message only by delivering it, so each is taken, stays
//! unacknowledged while it is looked at, and returns at the end, in its place. A quorum queue counts that as
//! a delivery, and RabbitMQ 4 drops what was delivered 20 times, if nothing else is configured: a letter that
//! comes near is stored anew, at the end of the queue, before the old one is acknowledged.

use std::sync::Arc;

use async_trait::async_trait;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::{Acker, Channel, Connection};
use tokio::time::timeout;

use super::connection::{self, CLOSE_TIMEOUT, Trouble, within};
use super::outlet::{Outlet, Target};
use super::settings::Settings;
use super::topology;
use super::wire::{self, Death, brief};
use crate::queue::{DeadLetter, DeadLetters, Error, Fate, Message};

/// Deliveries after which a letter is stored anew: half of what RabbitMQ 4 allows by itself.
/// <https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling>
const WORN: u32 = 10;

const STEP: &str = "walking through the dead letters on RabbitMQ";

/// On a connection of its own, which takes nothing from whoever takes events.
pub(super) struct Walk {
    settings: Arc<Settings>,
    outlet: Arc<Outlet>,
    connection: Connection,
    channel: Channel,
    /// Messages that there were at the beginning and have not been taken.
    left: u64,
    current: Option<Taken>,
}

struct Taken {
    acker: Acker,
    letter: DeadLetter,
    deliveries: u32,
}

impl Walk {
    pub async fn begin(settings: Arc<Settings>, outlet: Arc<Outlet>) -> Result<Self, Error> {
        let begun = async {
            let limit = settings.confirm_timeout;
            let connection = connection::open(&settings, "dead letters").await?;
            let channel = within(limit, "opening a channel", connection.create_channel()).await?;
            let (left, _) = topology::inspect(&channel, &settings.dead_queue(), limit).await?;
            Ok((connection, channel, left))
        };
        match begun.await {
            Ok((connection, channel, left)) => {
                Ok(Self { settings, outlet, connection, channel, left, current: None })
            }
            Err(trouble) => Err(failed(&settings, &trouble)),
        }
    }

    /// Stores the letter as a new one if it comes near the end of what it can be looked at.
    async fn keep(&self, taken: &Taken) -> Result<(), Error> {
        if taken.deliveries < WORN {
            return Ok(());
        }
        let DeadLetter { message, reason, died } = &taken.letter;
        let death = Death { reason, at: *died };
        self.store(&self.settings.dead_queue(), message, Some(death)).await?;
        self.acknowledge(taken).await.map(|_| ())
    }

    async fn store(
        &self,
        queue: &str,
        message: &Message,
        death: Option<Death<'_>>,
    ) -> Result<(), Error> {
        let target = Target { exchange: "", key: queue };
        self.outlet.publish(target, wire::properties(message, death), &message.body).await
    }

    /// `false` if it has returned to the queue meanwhile.
    async fn acknowledge(&self, taken: &Taken) -> Result<bool, Error> {
        let acknowledged = taken.acker.ack(BasicAckOptions { multiple: false });
        let limit = self.settings.confirm_timeout;
        let acknowledged = within(limit, "acknowledging a dead letter", acknowledged).await;
        acknowledged.map_err(|trouble| failed(&self.settings, &trouble))
    }
}

#[async_trait]
impl DeadLetters for Walk {
    async fn next(&mut self) -> Result<Option<DeadLetter>, Error> {
        if let Some(taken) = self.current.take() {
            self.keep(&taken).await?;
        }
        // What comes in during the walk, such as what is stored anew, is for the next one.
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let limit = self.settings.confirm_timeout;
        let queue = self.settings.dead_queue();
        let taken = self.channel.basic_get(brief(&queue), BasicGetOptions { no_ack: false });
        let taken = within(limit, format!("taking from {queue:?}"), taken).await;
        let Some(mut got) = taken.map_err(|trouble| failed(&self.settings, &trouble))? else {
            return Ok(None);
        };
        let letter = wire::dead_letter(&mut got.delivery);
        let deliveries = wire::deliveries(&got.delivery);
        let acker = got.delivery.acker.clone();
        self.current = Some(Taken { acker, letter: letter.clone(), deliveries });
        Ok(Some(letter))
    }

    async fn settle(&mut self, fate: Fate) -> Result<bool, Error> {
        let Some(taken) = self.current.take() else { return Ok(false) };
        if fate == Fate::Retry {
            let message = taken.letter.message.clone().tried_again();
            // Straight to the queue: whoever else listens to the exchange has had it.
            self.store(&self.settings.queue, &message, None).await?;
        }
        self.acknowledge(&taken).await
    }

    async fn close(mut self: Box<Self>) -> Result<(), Error> {
        let kept = match self.current.take() {
            Some(taken) => self.keep(&taken).await,
            None => Ok(()),
        };
        // What is not acknowledged returns to its place, as it does if nobody gets here.
        let _ = timeout(CLOSE_TIMEOUT, self.connection.close(200, "done".into())).await;
        kept
    }
}

fn failed(settings: &Settings, trouble: &Trouble) -> Error {
    Error::unavailable(STEP, trouble.explain(settings))
}
