//! What `pick` found out: every picture, best first, and what the rules said. Decides nothing.

use serde::{Serialize, Serializer};

use crate::cover::{Finding, Rule};
use crate::inspect::View;
use crate::picture::Facts;

#[derive(Serialize)]
pub(super) struct Report {
    /// Best first; among equals the earlier one.
    pub ranking: Vec<Entry>,
    /// The file of one in the ranking.
    pub picked: Option<String>,
    /// The one that picked it.
    #[serde(skip)]
    pub rule: Option<Rule>,
    /// One note for each rule that was tried, in order.
    #[serde(skip)]
    pub trace: Vec<String>,
    #[serde(skip)]
    pub title: String,
}

/// One picture. Of one that could not be looked at, the only defect says why.
#[derive(Serialize)]
pub(super) struct Entry {
    pub file: String,
    /// 0 to 100.
    pub score: f64,
    pub defects: Vec<String>,
    #[serde(serialize_with = "by_name")]
    pub features: Vec<(&'static str, f64)>,
    /// Its place in the set, from 1; `None` for a smart thumbnail.
    #[serde(skip)]
    pub number: Option<u32>,
    #[serde(skip)]
    pub is_picked: bool,
    #[serde(skip)]
    pub facts: Option<Facts>,
    #[serde(skip)]
    pub thumbnail: Option<Vec<u8>>,
}

impl Report {
    pub fn new(
        title: String,
        mut entries: Vec<Entry>,
        rule: Option<Rule>,
        trace: Vec<String>,
    ) -> Self {
        entries.sort_by(|one, other| other.score.total_cmp(&one.score));
        let picked = entries.iter().find(|entry| entry.is_picked).map(|entry| entry.file.clone());
        Self { ranking: entries, picked, rule, trace, title }
    }

    /// The one picked, and by what.
    pub fn verdict(&self) -> String {
        match (&self.picked, self.rule) {
            (Some(picked), Some(rule)) => format!("picked {picked} by {rule}"),
            (Some(picked), None) => format!("picked {picked}"),
            (None, _) => "no picture was picked".into(),
        }
    }
}

impl Entry {
    pub fn new(file: String, number: Option<u32>, is_picked: bool, view: View) -> Self {
        let (score, defects, features, facts) = match view.finding {
            Finding::Seen(seen) => (seen.score, seen.defects, seen.features, Some(seen.facts)),
            Finding::Bad(why) => (0.0, vec![format!("unreadable: {why}")], Vec::new(), None),
            Finding::Unreachable(why) => {
                (0.0, vec![format!("not looked at: {why}")], Vec::new(), None)
            }
        };
        let score = if score.is_finite() { score } else { 0.0 };
        let thumbnail = view.thumbnail;
        Self { file, score, defects, features, number, is_picked, facts, thumbnail }
    }

    /// The last part of its name, by which a person tells it from the others.
    pub fn short(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }
}

/// For programs; one line.
pub(super) fn json(report: &Report) -> serde_json::Result<String> {
    Ok(serde_json::to_string(report)? + "\n")
}

/// As many digits as a person can use.
pub(super) fn brief(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn by_name<S: Serializer>(
    features: &[(&'static str, f64)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(features.iter().copied())
}
