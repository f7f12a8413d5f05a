//! The latest decisions, as the page shows them. Bounded in number and in what each holds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::cover::{CoverUrl, Finding, Verdict};
use crate::event::VideoId;
use crate::worker::Report;

/// Decisions that are remembered.
const MOST: usize = 300;
/// Pictures that are remembered of one.
const MOST_PICTURES: usize = 60;

/// Cheap to clone; clones share the decisions.
#[derive(Clone, Default)]
pub struct Recent(Arc<Mutex<VecDeque<Arc<Decided>>>>);

/// One decision.
#[derive(Debug)]
pub struct Decided {
    /// From 1, each one more than the one before.
    pub number: u64,
    pub at: Timestamp,
    pub video: VideoId,
    pub event: String,
    pub policy: String,
    /// The version of the rules.
    pub rules: String,
    /// `set`, `was set`, `kept`, `no cover` or `waiting`.
    pub outcome: &'static str,
    /// The rule that yielded the cover.
    pub rule: Option<String>,
    pub cover: Option<CoverUrl>,
    /// Whose the cover is now, and why.
    pub whose: String,
    pub trace: Vec<String>,
    pub took: Duration,
    /// From the event's time until now.
    pub age: Option<Duration>,
    pub pictures: Vec<Picture>,
}

/// A picture that could have become the cover.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// `snapshot 3`, or `smart thumbnail`.
    pub name: String,
    pub url: CoverUrl,
    /// 0 to 100 where it was looked at; VOD's own for a smart thumbnail.
    pub score: Option<f64>,
    /// What is wrong with it.
    pub flaw: Option<String>,
    pub is_chosen: bool,
}

impl Recent {
    pub fn add(&self, report: &Report<'_>) {
        let mut all = self.lock();
        let number = all.back().map_or(0, |last| last.number) + 1;
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(Arc::new(decided(number, report)));
    }

    /// The newest first.
    pub fn all(&self) -> Vec<Arc<Decided>> {
        self.lock().iter().rev().map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Decided>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn decided(number: u64, report: &Report<'_>) -> Decided {
    let now = Timestamp::now();
    let (outcome, whose, chosen) = match &report.decision.verdict {
        Verdict::Set { cover, rule } if report.wrote => {
            ("set", format!("ours, set by rule {rule}"), Some((cover, rule)))
        }
        Verdict::Set { cover, rule } | Verdict::IsSet { cover, rule } => {
            ("was set", format!("as it was, and what rule {rule} wants"), Some((cover, rule)))
        }
        Verdict::Keep(why) => ("kept", format!("left as it is: {why}"), None),
        Verdict::NoCover => ("no cover", "left as it is: no rule yields a better one".into(), None),
        Verdict::Wait => ("waiting", "left as it is until a smart thumbnail comes".into(), None),
    };
    Decided {
        number,
        at: now,
        video: report.video.clone(),
        event: report.event.to_string(),
        policy: report.policy.name.clone(),
        rules: report.policy.version.clone(),
        outcome,
        rule: chosen.map(|(_, rule)| rule.to_string()),
        cover: chosen.map(|(cover, _)| cover.clone()),
        whose,
        trace: report.decision.trace.clone(),
        took: report.took,
        age: report.event_time.and_then(|at| Duration::try_from(now.duration_since(at)).ok()),
        pictures: pictures(report, chosen.map(|(cover, _)| cover)),
    }
}

fn pictures(report: &Report<'_>, chosen: Option<&CoverUrl>) -> Vec<Picture> {
    let is_chosen = |url: &CoverUrl| chosen.is_some_and(|chosen| chosen.path() == url.path());
    let snapshots = report.candidates.iter().map(|candidate| {
        let finding = report.seen.pictures.as_ref().and_then(|seen| seen.get(&candidate.number));
        Picture {
            name: format!("snapshot {}", candidate.number),
            url: candidate.url.clone(),
            score: finding.and_then(Finding::seen).map(|seen| seen.score),
            flaw: finding.and_then(Finding::flaw_and_cause),
            is_chosen: is_chosen(&candidate.url),
        }
    });
    let smart = report.seen.intelligent.iter().flatten().map(|image| Picture {
        name: "smart thumbnail".to_owned(),
        url: image.url.clone(),
        score: Some(image.score),
        flaw: None,
        is_chosen: is_chosen(&image.url),
    });
    let mut pictures: Vec<Picture> = smart.chain(snapshots).collect();
    // What was chosen is among them, however many there are.
    if pictures.len() > MOST_PICTURES {
        pictures.sort_by_key(|picture| !picture.is_chosen);
        pictures.truncate(MOST_PICTURES);
    }
    pictures
}
