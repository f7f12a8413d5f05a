//! `gateway`: VOD's callbacks into RabbitMQ, with the spool beside it and the ops port.

use std::process::ExitCode;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::info;
use url::Url;

use super::run::{LAST_ANSWERS, bind, consumers, metrics, serve, stop_on_signal};
use super::service;
use crate::config::{self, QueueKind, Settings};
use crate::gateway::{Gateway, Spool, Store};
use crate::ops::{self, Storing};
use crate::queue::Queue;
use crate::queue::rabbit::Rabbit;
use crate::telemetry::spans;

pub(super) async fn gateway(
    mut settings: Settings,
    forward: Option<Url>,
) -> anyhow::Result<ExitCode> {
    if settings.queue.kind != QueueKind::Rabbitmq {
        let why = "`gateway` publishes to RabbitMQ: set AMQP_URL; with the embedded queue, `run` takes \
                   callbacks itself";
        return Err(config::Error::Conflict(why.into()).into());
    }
    if let Some(url) = forward {
        settings.intake.forward.url = url.into();
    }
    let (stop, close) = (CancellationToken::new(), CancellationToken::new());
    let metrics = metrics();
    stop_on_signal(&stop)?;
    let spool = Arc::new(Spool::open(&settings.intake.spool)?);
    let waiting = spool.fill().events;
    let rabbit =
        Arc::new(Rabbit::connect_to_publish(settings.queue.rabbitmq.clone(), close.clone()));
    let queue = Arc::<Rabbit>::clone(&rabbit) as Arc<dyn Queue>;
    let after = settings.intake.spool.after;
    let store = Store::spooled(Arc::clone(&queue), Arc::clone(&spool), after);
    let key = std::env::var("VOD_CALLBACK_KEY").ok();
    let gateway = Gateway::new(&settings.intake, key.as_deref(), store, &stop)?;
    let ops = bind("ops.listen", settings.ops.listen).await?;
    let smq = consumers(&settings, &queue)?;
    let storing = Arc::new(Storing { queue, spool, smq: smq.clone(), metrics });
    let ops = serve(ops, ops::gateway(storing), &close);
    let intake = bind("intake.listen", settings.intake.listen).await?;
    info!(spooled = waiting, "taking callbacks");
    service::ready(&stop);
    let pulling = async {
        if let Some(smq) = smq {
            smq.run(stop.clone()).await;
        }
    };
    tokio::join!(gateway.serve(intake, stop.clone()), pulling);
    close.cancel();
    let _ = tokio::time::timeout(LAST_ANSWERS, ops).await;
    rabbit.close().await;
    info!("stopped");
    let _ = tokio::task::spawn_blocking(spans::finish).await;
    Ok(ExitCode::SUCCESS)
}
