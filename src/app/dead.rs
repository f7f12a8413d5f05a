//! `dead`: the dead letters, on RabbitMQ or in the embedded file, beside a running worker. Nothing is settled
//! that was not asked for by key, by filter or with `--all`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use jiff::Timestamp;
use jiff::fmt::friendly::{Designator, SpanPrinter};
use jiff::{SpanRound, Unit};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Parts, load};
use crate::cli::{Dead, Picked, Which};
use crate::config::{QueueKind, Settings};
use crate::dead::{self, Brief, Deed, Filter, Listing};
use crate::local::Local;
use crate::queue::rabbit::Rabbit;
use crate::queue::{Fate, Queue};
use crate::vod::Environment;

/// Letters whose future is looked into, without `--limit`: each may cost calls to VOD.
const FORESEEN: usize = 20;
/// Letters dropped a second: no faster than a broker takes it easily.
const DROP_RATE: f64 = 1000.0;

pub(super) async fn dead(asked: Dead) -> anyhow::Result<ExitCode> {
    let configured = match &asked {
        Dead::List { configured, .. } | Dead::Show { configured, .. } => configured,
        Dead::Retry { configured, .. } | Dead::Drop { configured, .. } => configured,
    };
    let settings = load(configured)?;
    let Opened { queue, rabbit } = Opened::by(&settings)?;
    let done = match asked {
        Dead::List { which, limit, json, .. } => {
            let listing = dead::list(queue.as_ref(), &which.into(), limit).await?;
            show_listing(&listing, json)?;
            Ok(ExitCode::SUCCESS)
        }
        Dead::Show { keys, json, .. } => show(queue.as_ref(), keys, json).await,
        Dead::Retry { picked, .. } if picked.dry_run => {
            foresee(&settings, queue.as_ref(), &picked).await
        }
        Dead::Retry { picked, rate, .. } => {
            settle(queue.as_ref(), &picked, Fate::Retry, rate).await
        }
        Dead::Drop { picked, .. } if picked.dry_run => {
            let most = picked.limit.map_or(usize::MAX, |most| most as usize);
            let listing = dead::list(queue.as_ref(), &filter(&picked)?, most).await?;
            show_listing(&listing, picked.json)?;
            Ok(ExitCode::SUCCESS)
        }
        Dead::Drop { picked, yes, .. } => {
            if !yes && !confirmed(queue.as_ref(), &picked).await? {
                bail!("nothing was dropped");
            }
            settle(queue.as_ref(), &picked, Fate::Drop, DROP_RATE).await
        }
    };
    if let Some(rabbit) = rabbit {
        rabbit.close().await;
    }
    done
}

/// The queue for this alone: it takes no events.
struct Opened {
    queue: Arc<dyn Queue>,
    /// To be closed in the end.
    rabbit: Option<Arc<Rabbit>>,
}

impl Opened {
    fn by(settings: &Settings) -> anyhow::Result<Self> {
        if settings.queue.kind == QueueKind::Embedded {
            let local = Local::open_for_publishing(&settings.embedded.path)?;
            return Ok(Self { queue: Arc::new(local), rabbit: None });
        }
        let (settings, stop) = (settings.queue.rabbitmq.clone(), CancellationToken::new());
        let rabbit = Arc::new(Rabbit::connect_to_publish(settings, stop));
        Ok(Self { queue: Arc::<Rabbit>::clone(&rabbit), rabbit: Some(rabbit) })
    }
}

impl From<Which> for Filter {
    fn from(which: Which) -> Self {
        let Which { reason, video, older_than, newer_than } = which;
        Self { reason, video, older_than, newer_than, ..Self::default() }
    }
}

/// Those that are meant; an error if nobody said which.
fn filter(picked: &Picked) -> anyhow::Result<Filter> {
    let filter = Filter { keys: picked.keys.clone(), ..picked.which.clone().into() };
    if filter.is_everything() && !picked.all {
        bail!("say which letters: keys, a filter such as --reason, or --all");
    }
    Ok(filter)
}

async fn show(queue: &dyn Queue, keys: Vec<String>, as_json: bool) -> anyhow::Result<ExitCode> {
    let filter = Filter { keys: keys.clone(), ..Filter::default() };
    let found = dead::find(queue, &filter, usize::MAX).await?;
    for letter in &found {
        match as_json {
            true => println!("{}", letter.whole()),
            false => println!("{:#}\n", letter.whole()),
        }
    }
    let missing = |key: &&String| !found.iter().any(|letter| letter.key() == **key);
    for key in keys.iter().filter(missing) {
        eprintln!("there is no dead letter {key} (or somebody else looks at it now)");
    }
    Ok(if keys.iter().any(|key| missing(&key)) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn settle(
    queue: &dyn Queue,
    picked: &Picked,
    fate: Fate,
    rate: f64,
) -> anyhow::Result<ExitCode> {
    let (as_json, most) = (picked.json, picked.limit.unwrap_or(u64::MAX));
    let deed = Deed { filter: filter(picked)?, fate, most, rate };
    let mut told = 0u64;
    let settled = dead::settle(queue, &deed, |letter| {
        told += 1;
        if as_json {
            println!("{}", json!(Brief::from(letter)));
        }
    });
    let settled = settled.await;
    let settled = settled.with_context(|| format!("{told} letters were done before"))?;
    match (as_json, fate) {
        (true, _) => println!("{}", json!(settled)),
        (false, Fate::Retry) => println!("{} are tried again", settled.settled),
        (false, Fate::Drop) => println!("{} were dropped", settled.settled),
    }
    if !settled.complete {
        eprintln!("there are more: a walk ends after a quarter of an hour; run it again");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn foresee(
    settings: &Settings,
    queue: &dyn Queue,
    picked: &Picked,
) -> anyhow::Result<ExitCode> {
    let as_json = picked.json;
    let most = picked.limit.map_or(FORESEEN, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let filter = filter(picked)?;
    let parts = Parts::open_beside(settings, Environment::of_process())?;
    let worker = parts.worker(settings)?;
    let found = dead::find(queue, &filter, most.saturating_add(1)).await?;
    for letter in found.iter().take(most) {
        let (brief, would) = (Brief::from(letter), worker.foresee(&letter.message).await);
        match as_json {
            true => println!("{}", json!({ "letter": brief, "would": would })),
            false => println!("{}\n    {}", line(&brief), plain(&would)),
        }
    }
    if found.len() > most && !as_json {
        println!("and more; --limit says how many to look into");
    }
    Ok(ExitCode::SUCCESS)
}

async fn confirmed(queue: &dyn Queue, picked: &Picked) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nothing was dropped: give --yes where there is no terminal to ask at");
    }
    let count = dead::list(queue, &filter(picked)?, 0).await?.count;
    let count = picked.limit.map_or(count, |most| count.min(most));
    print!("Drop {count} dead letters for good? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn show_listing(listing: &Listing, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        println!("{}", serde_json::to_string(listing)?);
        return Ok(());
    }
    println!("{} dead letters", listing.count);
    for group in &listing.groups {
        let ages = match (group.oldest, group.newest) {
            (Some(oldest), Some(newest)) => format!("{} to {}", age(oldest), age(newest)),
            _ => String::new(),
        };
        println!("{:>8}  {:<40} {ages}", group.count, named(&group.reason));
    }
    if !listing.letters.is_empty() {
        println!();
    }
    for brief in &listing.letters {
        println!("{}", line(brief));
        if let Some(error) = &brief.error {
            println!("    {}", plain(error));
        }
    }
    let hidden = listing.count.saturating_sub(listing.letters.len() as u64);
    if hidden > 0 {
        println!("and {hidden} more; --limit says how many to show");
    }
    if !listing.complete {
        eprintln!("not all were looked at: a walk ends after a quarter of an hour");
    }
    Ok(())
}

fn line(brief: &Brief) -> String {
    let Brief { key, died, reason, video, kind, attempts, retried, .. } = brief;
    let died = died.map_or_else(|| "at an unknown time".to_owned(), age);
    let video = video.as_ref().map_or_else(|| "no video".to_owned(), ToString::to_string);
    let again = if *retried > 0 { format!(", tried again {retried} times") } else { String::new() };
    plain(&format!(
        "{key}  {died}  {}  {video}  {}, {attempts} attempts{again}",
        named(reason),
        named(kind)
    ))
}

fn named(text: &str) -> &str {
    if text.is_empty() { "(not known)" } else { text }
}

fn age(died: Timestamp) -> String {
    let rounding = SpanRound::new().smallest(Unit::Second).largest(Unit::Hour);
    let age = (Timestamp::now() - died).round(rounding).unwrap_or_default();
    format!("{} ago", SpanPrinter::new().designator(Designator::Compact).span_to_string(&age))
}

/// For a terminal, which strangers' text must not steer.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
