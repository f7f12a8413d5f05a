//! `demo`: the main job with everything embedded, as a new user first sees it. The simulated account
//! posts signed callbacks to the intake over HTTP, some twice and all out of order; from there it is the
//! same path as in production, with one SQLite file as queue and ledger.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::run::stop_on_signal;
use super::{Parts, Tally, work};
use crate::cli;
use crate::config::Settings;
use crate::cover::{Decision, Verdict};
use crate::gateway::{Gateway, Store};
use crate::local::Local;
use crate::pipeline::Status;
use crate::queue::{Depth, Queue};
use crate::sim::{self, Simulator};
use crate::telemetry;
use crate::vod::Environment;

mod table;

/// Laid over the defaults.
const DEMO: &str = include_str!("../../config/demo.toml");
const CALLBACK_KEY: &str = "Demo0Callback0Key";
/// The part of the events that is sent twice.
const DUPLICATES: f64 = 0.3;
/// The demo gives up if nothing is handled for so long.
const STALLED: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(25);

pub(super) async fn demo(options: cli::Demo) -> anyhow::Result<ExitCode> {
    telemetry::start_logging("error", false);
    let stop = CancellationToken::new();
    stop_on_signal(&stop)?;
    let directory = tempfile::tempdir()?;
    let began = Instant::now();
    let world = World::start(&options, directory.path(), &stop).await?;
    let show = !options.json && std::io::stderr().is_terminal();
    let sent = world.watch(show, &stop).await?;
    let summary = world.summary(sent, began.elapsed()).await?;
    match options.json {
        true => println!("{}", summary.json()),
        false => print!("{}", table::render(&world.rows(), &summary)),
    }
    let stay = !options.once && !options.json && std::io::stdout().is_terminal();
    if stay && !stop.is_cancelled() {
        println!("\nThe simulated account stays at {}; Ctrl-C ends it.", world.sim.endpoint());
        stop.cancelled().await;
    }
    stop.cancel();
    let working = world.working;
    working.await?;
    world.sim.stop().await;
    Ok(if summary.complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The simulator by itself.
pub(super) async fn simulator(options: cli::Sim) -> anyhow::Result<ExitCode> {
    telemetry::start_logging("info", false);
    let faults = options.fault.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let callback = options.callback.map(|url| sim::Callback {
        url,
        key: options.callback_key,
        duplicates: DUPLICATES,
    });
    let receiver = callback.as_ref().map(|callback| Url::parse(&callback.url)).transpose()?;
    let settings = sim::Settings {
        videos: options.videos,
        seed: options.seed,
        qps: options.qps == "on",
        quota_scale: options.quota_scale,
        latency: Duration::from_millis(options.latency_ms),
        faults,
        access_key_id: options.access_key_id,
        access_key_secret: options.access_key_secret,
        callback,
        smq: options.smq.as_deref().map(sim::smq::Settings::named),
        ..sim::Settings::default()
    };
    let stop = CancellationToken::new();
    stop_on_signal(&stop)?;
    let sim = Simulator::start(options.listen, settings).await?;
    println!("{} videos at {}", options.videos, sim.endpoint());
    println!("events:  curl {}/_sim/events > events.ndjson", sim.endpoint());
    println!("covers:  curl {}/_sim/covers", sim.endpoint());
    if options.smq.is_some() {
        sim.emit().await;
        println!("events:  in the queue; curl {}/_sim/smq", sim.endpoint());
    }
    if let Some(receiver) = receiver {
        println!("callbacks: waiting for {receiver}");
        let emitting = async {
            wait_for(&receiver).await;
            sim.emit().await
        };
        if let Some(emission) = stop.run_until_cancelled(emitting).await.flatten() {
            println!("callbacks: {} delivered, {} lost", emission.delivered, emission.lost);
        }
    }
    stop.cancelled().await;
    sim.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Returns when something listens there: as with VOD, callbacks are lost after three tries.
async fn wait_for(receiver: &Url) {
    let host = receiver.host_str().unwrap_or_default();
    let address = format!("{host}:{}", receiver.port_or_known_default().unwrap_or_default());
    while tokio::net::TcpStream::connect(&address).await.is_err() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

struct World {
    sim: Simulator,
    queue: Arc<Local>,
    status: Arc<Status>,
    tally: Arc<Tally>,
    /// What was decided for each video, the first time that it was.
    decisions: Arc<Mutex<BTreeMap<String, Decided>>>,
    working: JoinHandle<()>,
}

struct Decided {
    decision: Decision,
    wrote: bool,
}

/// One video's line.
struct Row {
    video: String,
    rule: String,
    cover: String,
    why: String,
}

struct Summary {
    videos: usize,
    events: usize,
    covers_set: usize,
    updates_sent: usize,
    duplicates_ignored: u64,
    dead: u64,
    elapsed: Duration,
}

impl World {
    async fn start(
        options: &cli::Demo,
        directory: &Path,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        // The address of the intake is part of the callback URL, so it is bound first.
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/callback", listener.local_addr()?);
        let key = Some(CALLBACK_KEY.to_owned());
        let account = sim::Settings {
            videos: options.videos,
            seed: options.seed,
            callback: Some(sim::Callback { url: url.clone(), key, duplicates: DUPLICATES }),
            ..sim::Settings::default()
        };
        let sim = Simulator::start(([127, 0, 0, 1], 0).into(), account.clone()).await?;
        let file = directory.join("demo.sqlite3").display().to_string();
        let environment = HashMap::from([
            ("ALIBABA_CLOUD_ACCESS_KEY_ID".to_owned(), account.access_key_id),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET".to_owned(), account.access_key_secret),
            ("VOD_ENDPOINT".to_owned(), sim.endpoint()),
            ("VOD_COVER__EMBEDDED__PATH".to_owned(), file),
            ("VOD_COVER__INTAKE__URL".to_owned(), url),
            // Its pictures are on loopback, where nothing is fetched from unless one says so.
            ("VOD_COVER__FETCH__HOSTS".to_owned(), sim.address().to_string()),
            ("VOD_COVER__FETCH__ALLOW_NETWORKS".to_owned(), "127.0.0.0/8".to_owned()),
        ]);
        let overlay = directory.join("demo.toml");
        std::fs::write(&overlay, DEMO)?;
        let settings = Settings::load(Some(&overlay), &environment)?;
        let parts = Arc::new(Parts::open(&settings, Environment::of(environment), true)?);
        let Some(queue) = parts.local.clone() else { anyhow::bail!("the demo has no queue") };
        let store = Store::straight(Arc::<Local>::clone(&queue));
        let intake = Gateway::new(&settings.intake, Some(CALLBACK_KEY), store, stop)?;
        tokio::spawn(intake.serve(listener, stop.clone()));

        let (status, tally): (Arc<Status>, Arc<Tally>) = Default::default();
        let decisions: Arc<Mutex<BTreeMap<String, Decided>>> = Arc::default();
        let seen = Arc::clone(&decisions);
        let mut worker = parts.worker(&settings)?;
        worker.observer = Some(Arc::new(move |report| {
            let mut decisions = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let decided = || Decided { decision: report.decision.clone(), wrote: report.wrote };
            decisions.entry(report.video.to_string()).or_insert_with(decided);
        }));
        let (from, counts) = (Arc::<Local>::clone(&queue), Arc::clone(&tally));
        let (shown, stop) = (Arc::clone(&status), stop.clone());
        let working = tokio::spawn(async move {
            work(&settings, parts, worker.into(), from, counts, shown, stop).await;
        });
        Ok(Self { sim, queue, status, tally, decisions, working })
    }

    /// Has the events posted, and waits until all of them are handled. Returns how many there were.
    async fn watch(&self, show: bool, stop: &CancellationToken) -> anyhow::Result<usize> {
        let videos = self.sim.videos().len();
        let bar = if show { progress(videos) } else { ProgressBar::hidden() };
        let mut emitting = std::pin::pin!(self.sim.emit());
        let mut sent = None;
        let (mut handled, mut since) = (0, Instant::now());
        let mut idle = 0;
        // Twice idle, because a message that was just taken shows a moment later.
        while idle < 2 && since.elapsed() < STALLED && !stop.is_cancelled() {
            tokio::select! {
                emission = &mut emitting, if sent.is_none() => {
                    sent = Some(emission.map_or(0, |emission| emission.delivered));
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now: u64 = self.tally.counts().values().sum();
            if now != handled {
                (handled, since) = (now, Instant::now());
            }
            bar.set_position(self.covers_set() as u64);
            bar.set_message(format!("{handled} events handled"));
            let Depth { ready, delayed, .. } = self.queue.depth().await?;
            let quiet = ready + delayed == 0 && self.status.now().in_flight == 0;
            idle = if quiet && sent.is_some() { idle + 1 } else { 0 };
        }
        bar.finish_and_clear();
        Ok(sent.unwrap_or(0))
    }

    fn decisions(&self) -> MutexGuard<'_, BTreeMap<String, Decided>> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn covers_set(&self) -> usize {
        let has_cover = |decided: &&Decided| {
            matches!(decided.decision.verdict, Verdict::Set { .. } | Verdict::IsSet { .. })
        };
        self.decisions().values().filter(has_cover).count()
    }

    async fn summary(&self, events: usize, elapsed: Duration) -> anyhow::Result<Summary> {
        let updates = self.sim.journal().into_iter().filter(|call| {
            call.operation.as_ref() == "UpdateVideoInfo" && call.verdict == sim::Verdict::Ok
        });
        Ok(Summary {
            videos: self.sim.videos().len(),
            events,
            covers_set: self.covers_set(),
            updates_sent: updates.count(),
            duplicates_ignored: self.tally.counts().get("duplicate").copied().unwrap_or_default(),
            dead: self.queue.depth().await?.dead,
            elapsed,
        })
    }

    /// One for each video, in the order of the account.
    fn rows(&self) -> Vec<Row> {
        let decisions = self.decisions();
        let row = |video: String| {
            let Some(Decided { decision, wrote }) = decisions.get(&video) else {
                let (rule, cover) = ("-".to_owned(), "-".to_owned());
                return Row { video, rule, cover, why: "no decision".to_owned() };
            };
            let (rule, cover) = match &decision.verdict {
                Verdict::Set { cover, rule } | Verdict::IsSet { cover, rule } => {
                    let name = cover.path().rsplit('/').next().unwrap_or_default();
                    (rule.to_string(), name.to_owned())
                }
                Verdict::Keep(_) => ("kept".to_owned(), "-".to_owned()),
                Verdict::NoCover => ("none".to_owned(), "-".to_owned()),
                Verdict::Wait => ("waiting".to_owned(), "-".to_owned()),
            };
            let done = if *wrote { "" } else { "; nothing to write" };
            Row { video, rule, cover, why: format!("{}{done}", decision.trace.join("; ")) }
        };
        self.sim.videos().into_iter().map(row).collect()
    }
}

impl Summary {
    fn complete(&self) -> bool {
        self.covers_set == self.videos && self.dead == 0
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "videos": self.videos,
            "events": self.events,
            "covers_set": self.covers_set,
            "updates_sent": self.updates_sent,
            "duplicates_ignored": self.duplicates_ignored,
            "dead": self.dead,
            "elapsed_ms": self.elapsed.as_millis() as u64,
        })
    }
}

fn progress(videos: usize) -> ProgressBar {
    let bar = ProgressBar::new(videos as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} covers  {msg}") {
        bar.set_style(style);
    }
    bar
}
