//! The composition root: reads the configuration, builds the adapters it names, and runs one subcommand.
//! The only module that knows every other.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::backfill::Walk;
use crate::cli::{Cli, Command, Configured};
use crate::config::{self, LedgerKind, LogFormat, Settings};
use crate::cover::policy::BadPolicy;
use crate::error::{Dependency, chain};
use crate::fetch::Fetcher;
use crate::inspect::Inspector;
use crate::ledger::Ledger;
use crate::ledger::redis::{self, RedisLedger};
use crate::local::Local;
use crate::pipeline::{Ending, Pipeline, Status};
use crate::queue::{Health, Queue};
use crate::telemetry::spans;
use crate::worker::{Newest, Observer, Worker};
use crate::{fetch, sim, telemetry, vod};

mod backfill;
mod check;
mod dead;
mod demo;
mod explain;
mod feed;
mod gateway;
mod health;
mod manual;
mod media;
mod pick;
mod reload;
mod run;
mod service;
mod set;

/// Runs what the command line asks for.
pub async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    crate::tls::install();
    match cli.command {
        Command::Run(configured) => run::run(configured).await,
        Command::Gateway(asked) => gateway::gateway(load(&asked.configured)?, asked.forward).await,
        Command::Health(asked) => health::health(&load(&asked.configured)?, asked.live).await,
        Command::Demo(demo) => demo::demo(demo).await,
        Command::Check(configured) => check::check(&configured).await,
        Command::Declare(configured) => feed::declare(&load(&configured)?).await,
        Command::Publish(from) => feed::publish(&load(&from.configured)?, &from.file).await,
        Command::Replay(from) => feed::replay(&load(&from.configured)?, &from.file).await,
        Command::Set(set) => set::set(&load(&set.configured)?, set).await,
        Command::Backfill(asked) => backfill::backfill(&load(&asked.configured)?, asked).await,
        Command::Explain(asked) => explain::explain(&load(&asked.configured)?, asked).await,
        Command::Dead { asked } => dead::dead(asked).await,
        Command::Media(media) => media::media(&load(&media.configured)?, media).await,
        Command::Pick(pick) => pick::pick(pick).await,
        Command::Sim(sim) => demo::simulator(sim).await,
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { to } => manual::pages(to.as_deref()),
    }
}

/// 2 for a wrong configuration, 1 for everything else.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let configuration = error.is::<config::Error>()
        || error.is::<BadPolicy>()
        || error.is::<pick::WrongPaths>()
        || error.is::<vod::SettingsError>()
        || error.is::<fetch::SettingsError>()
        || error.is::<redis::BadSettings>()
        || error.is::<crate::gateway::Error>()
        || error.is::<crate::ops::page::BadToken>()
        || error.is::<sim::BadFault>();
    if configuration { 2 } else { 1 }
}

fn environment() -> HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn load(configured: &Configured) -> anyhow::Result<Settings> {
    let settings = Settings::load(configured.config.as_deref(), &environment())?;
    telemetry::start_logging(&settings.log.level, settings.log.format == LogFormat::Json);
    Ok(settings)
}

fn fetcher(settings: &Settings) -> Result<Fetcher, fetch::SettingsError> {
    let key = environment().remove(fetch::KEY_VARIABLE);
    Fetcher::new(&settings.fetch, key.map(Into::into))
}

fn inspector(settings: &Settings) -> Result<Inspector, fetch::SettingsError> {
    let most = settings.fetch.concurrency;
    Ok(Inspector::new(fetcher(settings)?, most, settings.caps(), settings.limits, settings.inspect))
}

/// What every way of handling events needs, as the configuration names it.
struct Parts {
    ledger: Arc<dyn Ledger>,
    vod: vod::Client,
    looking: RwLock<Looking>,
    /// See [`Worker`]; all workers of a process have them in common.
    suspect: Arc<tokio::sync::Mutex<()>>,
    unknown: Arc<AtomicU32>,
    /// Told of every decision.
    observer: Option<Observer>,
    /// The embedded file, if the ledger or the queue is in it.
    local: Option<Arc<Local>>,
}

/// What another configuration changes while events are taken.
#[derive(Clone)]
struct Looking {
    inspector: Inspector,
    /// Whether some rule asks for smart thumbnails.
    intelligent: bool,
}

impl Looking {
    fn by(settings: &Settings) -> Result<Self, fetch::SettingsError> {
        let (inspector, intelligent) = (inspector(settings)?, settings.asks_for_intelligent());
        Ok(Self { inspector, intelligent })
    }
}

impl Parts {
    /// `embedded_queue` opens the embedded file even if the ledger is elsewhere.
    fn open(
        settings: &Settings,
        environment: vod::Environment,
        embedded_queue: bool,
    ) -> anyhow::Result<Self> {
        let local = match embedded_queue || settings.ledger.kind == LedgerKind::Embedded {
            true => Some(Arc::new(Local::open(&settings.embedded)?)),
            false => None,
        };
        Self::with(settings, environment, local)
    }

    /// For what may go on beside a worker: takes no events.
    fn open_beside(settings: &Settings, environment: vod::Environment) -> anyhow::Result<Self> {
        let local = match settings.ledger.kind {
            LedgerKind::Embedded => Some(Arc::new(Local::open_beside(&settings.embedded)?)),
            LedgerKind::Redis => None,
        };
        Self::with(settings, environment, local)
    }

    fn with(
        settings: &Settings,
        environment: vod::Environment,
        local: Option<Arc<Local>>,
    ) -> anyhow::Result<Self> {
        let ledger: Arc<dyn Ledger> = match (settings.ledger.kind, &local) {
            (LedgerKind::Embedded, Some(local)) => Arc::<Local>::clone(local),
            _ => Arc::new(RedisLedger::new(&settings.ledger.redis)?),
        };
        let mut vod = vod::Client::with_environment(&settings.vod, environment)?;
        if settings.ledger.kind == LedgerKind::Redis {
            vod = vod.in_fleet(vod::quota::Fleet::new(&settings.ledger.redis)?);
        }
        let looking = RwLock::new(Looking::by(settings)?);
        let (suspect, unknown) = Default::default();
        Ok(Self { ledger, vod, looking, suspect, unknown, observer: None, local })
    }

    fn looking(&self) -> Looking {
        self.looking.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Pictures are looked at by these settings from now on.
    fn look_by(&self, settings: &Settings) -> anyhow::Result<()> {
        let looking = Looking::by(settings)?;
        *self.looking.write().unwrap_or_else(PoisonError::into_inner) = looking;
        Ok(())
    }

    fn worker(&self, settings: &Settings) -> anyhow::Result<Worker> {
        Ok(Worker {
            ledger: Arc::clone(&self.ledger),
            vod: self.vod.clone(),
            inspector: self.looking().inspector,
            policies: settings.policies()?,
            ownership: settings.ownership.clone(),
            may_wait: true,
            lease: settings.ledger.lease,
            call: settings.vod.longest_call(),
            observer: self.observer.clone(),
            suspect: Arc::clone(&self.suspect),
            unknown: Arc::clone(&self.unknown),
        })
    }

    /// For walks: leaves the quota to live events.
    fn walker(&self, settings: &Settings) -> anyhow::Result<Worker> {
        let vod = self.vod.for_walks(settings.backfill.quota_share);
        Ok(Worker { vod, may_wait: false, ..self.worker(settings)? })
    }

    /// A walk through the account.
    fn walk(
        &self,
        settings: &Settings,
        worker: Newest,
        filter: vod::Filter,
        bookmark: Option<String>,
    ) -> Walk {
        Walk {
            worker,
            client: self.vod.for_walks(settings.backfill.quota_share),
            ledger: Arc::clone(&self.ledger),
            filter,
            concurrency: settings.backfill.concurrency,
            rate: None,
            dry_run: false,
            bookmark,
        }
    }

    /// Whether a dependency can be used again.
    async fn probe(&self, queue: &dyn Queue, dependency: Dependency) -> Result<(), String> {
        match dependency {
            Dependency::Ledger => self.ledger.ping().await.map_err(|error| chain(&error)),
            Dependency::Queue => {
                // Asking makes the file's health up to date; a broker may refuse the question.
                let _ = queue.depth().await;
                match queue.health() {
                    Health::Ready => Ok(()),
                    Health::Away(why) => Err(why),
                }
            }
            Dependency::Pictures => self.looking().inspector.probe().await,
            Dependency::Vod => {
                let results = self.vod.probe(self.looking().intelligent).await.into_iter();
                let failed = results.filter_map(|(_, result)| result.err()).next();
                failed.map_or(Ok(()), |error| Err(chain(&error)))
            }
        }
    }
}

/// Events by how they ended, under the names of [`crate::worker::Handled::name`].
#[derive(Default)]
struct Tally(Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    fn add(&self, outcome: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
    }

    fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Handles what `queue` holds until `stop`, or until a finite queue has ended.
async fn work(
    settings: &Settings,
    parts: Arc<Parts>,
    worker: Newest,
    queue: Arc<dyn Queue>,
    tally: Arc<Tally>,
    status: Arc<Status>,
    stop: CancellationToken,
) {
    let handle = move |message| {
        let (worker, tally) = (worker.now(), Arc::clone(&tally));
        async move {
            let done = worker.handle(&message).instrument(spans::handling(&message)).await?;
            tally.add(done.handled.name());
            Ok(Ending { worked: done.worked, then: done.then })
        }
    };
    let probed = Arc::clone(&queue);
    let probe = move |dependency| {
        let (parts, queue) = (Arc::clone(&parts), Arc::clone(&probed));
        async move { parts.probe(queue.as_ref(), dependency).await }
    };
    let pipeline = Pipeline {
        queue,
        in_flight: settings.in_flight(),
        ladder: settings.ladder().to_vec(),
        drain: settings.pipeline.drain,
        status,
        stop,
    };
    pipeline.run(handle, probe).await;
}
