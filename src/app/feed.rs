//! `publish`, `replay` and `declare`: events from files, and the topology.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::io::{AsyncBufRead, BufReader};
use tokio_util::sync::CancellationToken;

use super::run::stop_on_signal;
use super::{Parts, Tally, work};
use crate::config::{QueueKind, Settings};
use crate::event;
use crate::local::Local;
use crate::queue::rabbit::Rabbit;
use crate::queue::replay::Replay;
use crate::queue::{Message, Queue, Settlement, rabbit};
use crate::vod::Environment;
use crate::worker::Worker;

/// Messages that may wait for their confirm at once.
const UNCONFIRMED: usize = 128;

pub(super) async fn declare(settings: &Settings) -> anyhow::Result<ExitCode> {
    if settings.queue.kind != QueueKind::Rabbitmq {
        println!("Nothing to declare: the queue is embedded. Set AMQP_URL to use RabbitMQ.");
        return Ok(ExitCode::SUCCESS);
    }
    for line in rabbit::declare(&settings.queue.rabbitmq).await? {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn publish(settings: &Settings, file: &Path) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let mut close = None;
    let queue: Arc<dyn Queue> = match settings.queue.kind {
        QueueKind::Rabbitmq => {
            let rabbit = Arc::new(Rabbit::connect(settings.queue.rabbitmq.clone(), stop.clone()));
            close = Some(Arc::clone(&rabbit));
            rabbit
        }
        QueueKind::Embedded => Arc::new(Local::open_for_publishing(&settings.embedded.path)?),
    };
    // The file is read as a queue of its own: a line is settled when it is stored.
    let lines = Arc::new(Replay::new(open(file).await?));
    let mut publishing = tokio::task::JoinSet::new();
    let mut published = 0u64;
    let mut first_error = None;
    while let Some(line) = lines.next().await? {
        while publishing.len() >= UNCONFIRMED {
            collect(publishing.join_next().await, &mut published, &mut first_error);
        }
        if first_error.is_some() {
            break;
        }
        // A line that is no event is published as well: the worker says what is wrong with it.
        let kind = event::kind(&line.message.body).unwrap_or_default();
        let id = uuid::Uuid::new_v4().to_string();
        let message = Message::new(line.message.body.clone(), kind, id);
        let (queue, lines) = (Arc::clone(&queue), Arc::clone(&lines));
        publishing.spawn(async move {
            let number = line.tag.number;
            let result = queue.publish(message).await;
            let settled = lines.settle(line, Settlement::Done).await;
            result.and(settled).map_err(|error| (number, error))
        });
    }
    while let Some(done) = publishing.join_next().await {
        collect(Some(done), &mut published, &mut first_error);
    }
    stop.cancel();
    if let Some(rabbit) = close {
        rabbit.close().await;
    }
    println!("{published} events published");
    match first_error {
        None => Ok(ExitCode::SUCCESS),
        Some((line, error)) => Err(anyhow::Error::new(error).context(format!(
            "line {line} was not published; the lines before it may be missing too"
        ))),
    }
}

type Published = Result<Result<(), (u64, crate::queue::Error)>, tokio::task::JoinError>;

fn collect(
    done: Option<Published>,
    published: &mut u64,
    first_error: &mut Option<(u64, crate::queue::Error)>,
) {
    match done {
        Some(Ok(Ok(()))) => *published += 1,
        Some(Ok(Err(error))) if first_error.is_none() => *first_error = Some(error),
        _ => {}
    }
}

pub(super) async fn replay(settings: &Settings, file: &Path) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    stop_on_signal(&stop)?;
    let parts = Arc::new(Parts::open(settings, Environment::of_process(), false)?);
    // A file has an end, which nobody waits an hour for.
    let worker = Worker { may_wait: false, ..parts.worker(settings)? };
    let lines = Arc::new(Replay::new(open(file).await?));
    let tally = Arc::new(Tally::default());
    let (queue, counted) = (Arc::<Replay>::clone(&lines), Arc::clone(&tally));
    work(settings, parts, worker.into(), queue, counted, Arc::default(), stop.clone()).await;
    for (outcome, count) in tally.counts() {
        println!("{count:>8} {outcome}");
    }
    let dead = lines.dead();
    println!("{:>8} dead", dead.len());
    for letter in &dead {
        eprintln!("line {}: {}", letter.line, letter.error);
    }
    let failed = lines.failed();
    if let Some(why) = &failed {
        eprintln!("{} could not be read to its end: {why}", file.display());
    }
    let all = dead.is_empty() && failed.is_none() && !stop.is_cancelled();
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn open(file: &Path) -> anyhow::Result<Box<dyn AsyncBufRead + Send + Unpin>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(tokio::io::stdin())));
    }
    let opened = tokio::fs::File::open(file).await;
    let opened = opened.with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}
