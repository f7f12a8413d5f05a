//! `backfill`: covers for videos that no event told of, with a progress bar for people and lines of JSON
//! for programs.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Parts;
use super::run::stop_on_signal;
use crate::backfill::{Found, Stopped, Summary, Watch};
use crate::cli::Backfill;
use crate::config::Settings;
use crate::cover::Verdict;
use crate::error::chain;
use crate::vod::{Environment, Filter, VideoInfo};
use crate::worker::{Observer, Report, Worker};

/// Videos after which a log says how far it has come, where nobody sees a bar.
const SAY_AFTER: u64 = 1_000;

pub(super) async fn backfill(settings: &Settings, asked: Backfill) -> anyhow::Result<ExitCode> {
    settings.check_shares()?;
    let stop = CancellationToken::new();
    stop_on_signal(&stop)?;
    let parts = Parts::open_beside(settings, Environment::of_process())?;
    let filter = Filter {
        since: asked.since,
        until: asked.until,
        category: asked.category,
        ..Filter::default()
    };
    let bookmark = name(&filter);
    if asked.from_start && !asked.dry_run {
        parts.ledger.set_bookmark(&bookmark, None).await?;
    }
    let reports = Arc::new(Reports::default());
    let told = Arc::clone(&reports);
    let observer: Observer = Arc::new(move |report| told.keep(report));
    let worker = Worker { observer: Some(observer), ..parts.walker(settings)? };
    let mut walk = parts.walk(settings, worker.into(), filter, Some(bookmark));
    (walk.rate, walk.dry_run) = (asked.rate, asked.dry_run);
    let mut shown = Shown::new(asked.json, asked.dry_run, reports);
    let ended = walk.run(&stop, &mut shown).await;
    shown.bar.finish_and_clear();
    let (summary, stopped) = match ended {
        Ok(summary) => (summary, None),
        Err((summary, stopped)) => (summary, Some(stopped)),
    };
    say(&summary, stopped.as_ref(), &asked);
    let all = stopped.is_none() && summary.failed() == 0 && summary.unreadable == 0;
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same walk has the same name.
fn name(filter: &Filter) -> String {
    let Filter { since, until, category, .. } = filter;
    let text = |part: Option<String>| part.unwrap_or_else(|| "-".to_owned());
    format!(
        "backfill {} {} {}",
        text(since.map(|time| time.to_string())),
        text(until.map(|time| time.to_string())),
        text(category.map(|category| category.to_string()))
    )
}

fn say(summary: &Summary, stopped: Option<&Stopped>, asked: &Backfill) {
    let why = stopped.map(|stopped| chain(stopped));
    if asked.json {
        let summary = json!({
            "summary": {
                "seen": summary.seen, "found": summary.found, "unreadable": summary.unreadable,
                "resumed": summary.resumed, "stopped": why, "dry_run": asked.dry_run,
            }
        });
        println!("{summary}");
        return;
    }
    if let Some(resumed) = summary.resumed {
        println!("went on at videos of {resumed}, where an earlier walk had ended");
    }
    println!("{:>8} videos seen", summary.seen);
    for (name, count) in &summary.found {
        println!("{count:>8} {name}");
    }
    if summary.unreadable > 0 {
        println!("{:>8} could not be read from VOD's list", summary.unreadable);
    }
    if let Some(why) = why {
        println!("Ended early: {why}. The same command goes on from there.");
    }
}

/// What was decided for videos that have not been shown yet.
#[derive(Default)]
struct Reports(Mutex<HashMap<String, (String, String)>>);

impl Reports {
    fn keep(&self, report: &Report<'_>) {
        if let Verdict::Set { cover, rule } | Verdict::IsSet { cover, rule } =
            &report.decision.verdict
        {
            let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            reports.insert(report.video.to_string(), (rule.to_string(), cover.to_string()));
        }
    }

    fn take(&self, video: &str) -> Option<(String, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(video)
    }
}

struct Shown {
    json: bool,
    dry_run: bool,
    bar: ProgressBar,
    reports: Arc<Reports>,
    seen: u64,
}

impl Shown {
    fn new(json: bool, dry_run: bool, reports: Arc<Reports>) -> Self {
        let bar = match !json && std::io::stderr().is_terminal() {
            true => ProgressBar::no_length(),
            false => ProgressBar::hidden(),
        };
        let style = "{bar:30} {pos}/{len} videos  {per_sec}  {eta} left  {msg}";
        // The template is right, or the default one is shown.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { json, dry_run, bar, reports, seen: 0 }
    }
}

impl Watch for Shown {
    fn page(&mut self, total: u64) {
        // VOD counts all pages each time, and a little more than are walked.
        self.bar.set_length(total.max(self.seen));
    }

    fn video(&mut self, video: &VideoInfo, found: &Found) {
        self.seen += 1;
        self.bar.inc(1);
        let id = video.video.as_str();
        let decided = self.reports.take(id);
        match found {
            Found::Failed(why) if self.json => {
                println!("{}", json!({ "video": id, "outcome": found.name(), "error": why }));
            }
            Found::Failed(why) => self.bar.suspend(|| eprintln!("{id}: {why}")),
            Found::Handled(_) | Found::Undecided if self.json => {
                let (rule, cover) = decided.unzip();
                let line =
                    json!({ "video": id, "outcome": found.name(), "rule": rule, "cover": cover });
                println!("{line}");
            }
            Found::Undecided if self.dry_run => self.bar.suspend(|| println!("{id}")),
            _ => {}
        }
        if self.bar.is_hidden() && self.seen.is_multiple_of(SAY_AFTER) {
            info!(seen = self.seen, "walking");
        }
    }
}
