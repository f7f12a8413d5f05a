//! What the machine allows, as the simplest possible loops: no retry, no lease, no ownership, nothing that keeps
//! an event from being lost. Started by `tests/bench/flow`, which compares the worker with them; AMQP_URL,
//! REDIS_URL and VOD_ENDPOINT say where the servers are. Prints a line of JSON for each measurement.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, Consumer};
use serde_json::json;

mod api;
mod intake;
mod limits;
mod publish;
mod simple;

const PREFETCH: u16 = 1000;

#[derive(Parser)]
enum Command {
    /// Takes messages and acknowledges them, 50 at a time
    Consume { queue: String, events: usize },
    /// SET NX EX, 64 at once and in pipelines of 20
    Redis { calls: usize },
    /// UpdateVideoInfo, and UpdateVideoInfos of 20, for the videos of these events, 64 at once
    Http { events: PathBuf },
    /// The worker's work in batches of 20
    Simple { queue: String, events: usize },
    /// Publishes lines as events
    Publish {
        exchange: String,
        events: PathBuf,
        /// Events a second, instead of as many as possible
        #[arg(long)]
        rate: Option<f64>,
        /// Where to write each video's time of publishing, in microseconds of Unix time
        #[arg(long)]
        times: Option<PathBuf>,
    },
    /// Posts lines as signed callbacks
    Post {
        url: String,
        events: PathBuf,
        #[arg(long, default_value_t = 64)]
        at_once: usize,
        /// Callbacks a second, instead of as many as possible
        #[arg(long)]
        rate: Option<f64>,
    },
    /// Takes callbacks, and publishes them without waiting for a confirm
    Bare { listen: SocketAddr, exchange: String },
}

#[tokio::main]
async fn main() -> Result<()> {
    vod_cover::tls::install();
    // `cargo bench` adds an argument of its own.
    match Command::parse_from(std::env::args().filter(|argument| argument != "--bench")) {
        Command::Consume { queue, events } => limits::consume(&queue, events).await,
        Command::Redis { calls } => limits::redis(calls).await,
        Command::Http { events } => limits::http(&events).await,
        Command::Simple { queue, events } => simple::run(&queue, events).await,
        Command::Publish { exchange, events, rate, times } => {
            publish::run(&exchange, &events, rate, times).await
        }
        Command::Post { url, events, at_once, rate } => {
            intake::send(url, &events, at_once, rate).await
        }
        Command::Bare { listen, exchange } => intake::bare(listen, exchange).await,
    }
}

/// Measures from its making to its report.
struct Clock {
    began: Instant,
    cpu: f64,
}

impl Clock {
    fn start() -> Result<Self> {
        Ok(Self { began: Instant::now(), cpu: cpu()? })
    }

    fn report(&self, what: &str, count: usize) -> Result<()> {
        let (seconds, cpu) = (self.began.elapsed().as_secs_f64(), cpu()? - self.cpu);
        let status = fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.split_whitespace().next()).context("no VmHWM")?;
        let peak = peak.parse::<f64>()? / 1024.0;
        let line = json!({
            "loop": what, "events": count, "seconds": seconds, "cpu": cpu, "peak_mib": peak,
        });
        println!("{line}");
        Ok(())
    }
}

/// Seconds of user and system time; Linux counts 100 ticks a second.
fn cpu() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no /proc/self/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("set {name}"))
}

/// A channel lives as long as its connection.
async fn connect() -> Result<(Connection, Channel)> {
    let url = variable("AMQP_URL")?;
    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

async fn consumer(channel: &Channel, queue: &str) -> Result<Consumer> {
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    Ok(channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?)
}
