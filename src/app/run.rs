//! `run`: the worker, its ops port, and with the embedded queue the intake of callbacks.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::reload::{Following, Source};
use super::{Configured, Parts, load, service, work};
use crate::backfill::reconcile;
use crate::config::{LedgerKind, QueueKind, Settings};
use crate::error::chain;
use crate::gateway::{Consumers, Gateway, Store};
use crate::local::Local;
use crate::ops::page::{self, Access, BadToken, Recent, Site};
use crate::ops::{self, Watched};
use crate::pipeline::Status;
use crate::queue::Queue;
use crate::queue::rabbit::Rabbit;
use crate::smq::Smq;
use crate::telemetry::{self, spans};
use crate::vod::{Credentials, Environment, Filter};
use crate::worker::Newest;

/// How long open requests may take after everything else has ended.
pub(super) const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// How often metrics are tidied, also if nobody reads them.
const UPKEEP: Duration = Duration::from_secs(5);

pub(super) async fn run(configured: Configured) -> anyhow::Result<ExitCode> {
    let source = Source::new(configured.config.clone())?;
    let settings = &load(&configured)?;
    let stop = CancellationToken::new();
    let metrics = metrics();
    stop_on_signal(&stop)?;
    // The queue outlives `stop`: running events still have to be settled.
    let close = CancellationToken::new();
    let embedded = settings.queue.kind == QueueKind::Embedded;
    let access = access(settings)?;
    let recent = Recent::default();
    let mut parts = Parts::open(settings, Environment::of_process(), embedded)?;
    let told = recent.clone();
    parts.observer = Some(Arc::new(move |report| told.add(report)));
    let parts = Arc::new(parts);
    let rabbit = match settings.queue.kind {
        QueueKind::Rabbitmq => {
            Some(Arc::new(Rabbit::connect(settings.queue.rabbitmq.clone(), close.clone())))
        }
        QueueKind::Embedded => None,
    };
    tokio::spawn(say_early(Arc::clone(&parts)));
    let queue: Arc<dyn Queue> = match (&rabbit, &parts.local) {
        (Some(rabbit), _) => Arc::<Rabbit>::clone(rabbit),
        (None, Some(local)) => Arc::<Local>::clone(local),
        (None, None) => anyhow::bail!("no queue is configured; set queue.kind"),
    };
    let (live, worker) = Newest::replaceable(parts.worker(settings)?);
    let (walking, walker) = Newest::replaceable(parts.walker(settings)?);
    let following = Following {
        parts: Arc::clone(&parts),
        worker: live,
        walker: walking,
        rules: settings.version.clone(),
    };
    telemetry::rules(&settings.version, None);
    tokio::spawn(following.run(source, stop.clone()));
    let status = Arc::new(Status::default());
    let watched = Arc::new(Watched {
        queue: Arc::clone(&queue),
        ledger: Arc::clone(&parts.ledger),
        pipeline: Arc::clone(&status),
        metrics,
    });
    let ops = bind("ops.listen", settings.ops.listen).await?;
    let site = Site::new(
        Arc::clone(&queue),
        Arc::clone(&parts.ledger),
        parts.vod.clone(),
        worker.clone(),
        Arc::clone(&status),
        recent,
        access,
    );
    let router = ops::router(watched).merge(page::router(Arc::new(site)));
    let mut serving = vec![serve(ops, router, &close)];
    if embedded {
        let key = std::env::var("VOD_CALLBACK_KEY").ok();
        let store = Store::straight(Arc::clone(&queue));
        let intake = Gateway::new(&settings.intake, key.as_deref(), store, &close)?;
        let listener = bind("intake.listen", settings.intake.listen).await?;
        // Also while the events in flight are finished: a callback that is not taken within two
        // seconds is lost for good, and one that is stored waits for the next start.
        serving.push(tokio::spawn(intake.serve(listener, close.clone())));
        if let Some(smq) = consumers(settings, &queue)? {
            let stop = stop.clone();
            serving.push(tokio::spawn(async move { smq.run(stop).await }));
        }
    }
    if !embedded && settings.ledger.kind == LedgerKind::Embedded {
        warn!("the ledger is a file of this machine: run one worker only, or set REDIS_URL");
    }
    if !settings.reconcile.every.is_zero() {
        settings.check_shares()?;
        let walk = parts.walk(settings, walker, Filter::default(), None);
        let (settings, stop) = (settings.reconcile.clone(), stop.clone());
        tokio::spawn(async move { reconcile(&settings, walk, stop).await });
    }
    info!(
        queue = ?settings.queue.kind,
        ledger = ?settings.ledger.kind,
        in_flight = settings.in_flight(),
        "taking events"
    );
    service::ready(&stop);
    work(settings, parts, worker, queue, Arc::default(), status, stop).await;
    close.cancel();
    for server in serving {
        let _ = tokio::time::timeout(LAST_ANSWERS, server).await;
    }
    if let Some(rabbit) = rabbit {
        rabbit.close().await;
    }
    info!("stopped");
    let _ = tokio::task::spawn_blocking(spans::finish).await;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn access(settings: &Settings) -> Result<Access, BadToken> {
    let given = std::env::var("VOD_COVER_OPS_TOKEN").ok().map(Into::into);
    Access::new(given, &settings.ops.token_file, settings.ops.listen.ip())
}

/// A wrong key is better said at the start than at the first event. It pauses nothing: events do that.
async fn say_early(parts: Arc<Parts>) {
    for (operation, result) in parts.vod.probe(parts.looking().intelligent).await {
        if let Err(error) = result {
            error!(operation, error = chain(&error), "VOD cannot be used; see `vod-cover check`");
        }
    }
}

/// Of SMQ, with the keys that VOD is called with; `None` where no queue of SMQ is configured.
pub(super) fn consumers(
    settings: &Settings,
    queue: &Arc<dyn Queue>,
) -> anyhow::Result<Option<Arc<Consumers>>> {
    let credentials = Credentials::new(&settings.vod.credentials, Environment::of_process());
    let smq = Smq::new(&settings.intake.smq, credentials)?;
    let count = settings.intake.smq.consumers;
    Ok(smq.map(|smq| Arc::new(Consumers::new(smq, Arc::clone(queue), count))))
}

/// Makes this process record metrics.
pub(super) fn metrics() -> PrometheusHandle {
    let metrics = telemetry::start_metrics();
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    metrics
}

/// Binds now, so that a taken port is an error at start-up.
pub(super) async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    let listener = listener
        .with_context(|| format!("cannot listen on {address}; free it or change {setting}"))?;
    info!(address = %listener.local_addr()?, setting, "listening");
    Ok(listener)
}

/// Serves in the background until `stop`.
pub(super) fn serve(
    listener: TcpListener,
    router: Router,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
            warn!(%error, "stopped serving");
        }
    })
}

/// SIGTERM and SIGINT stop taking and drain; a second one ends the process at once.
pub(super) fn stop_on_signal(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                warn!("stopped at once; unfinished events will be delivered again");
                std::process::exit(1);
            }
            info!("stopping: finishing the events in flight");
            stop.cancel();
        }
    });
    Ok(())
}
