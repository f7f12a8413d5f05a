//! Which rules hold for which video: a default chain, and overrides of which the first match wins. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ImageFormat, Rule};
use crate::event::SnapshotsReady;

mod conditions;

pub use conditions::{Facts, NeedsFacts};

/// Everything that [`super::select::next`] needs to know of the operator's wishes for one video.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// `default`, or the name of the override that matched.
    pub name: String,
    /// Of the configuration that it is from: the same for the same rules, another for others.
    pub version: String,
    /// Tried in order; the first that yields a picture decides. Never empty.
    pub rules: Vec<Rule>,
    /// Which kind of smart thumbnail to prefer where a video has both; `None` takes the highest Score.
    pub format: Option<ImageFormat>,
    /// The lowest Score of a smart thumbnail that is taken.
    pub minimum_score: f64,
    /// What is done while a video has no smart thumbnail yet.
    pub late: Late,
    /// How long one may come.
    pub deadline: Duration,
    /// The AITemplateId with which one is ordered, once for each video; `None` orders none.
    pub submit: Option<String>,
    /// Whether rules that go by position look at the picture, and pass over one with defects.
    pub gate: bool,
    /// Attempts at an event until pictures that cannot be had are passed over for one that is usable.
    /// Without a usable one they are waited for to the end.
    pub patience: u32,
    /// Pictures of one set that are looked at, at the most.
    pub most_pictures: usize,
    /// Whether the current cover is read before it is replaced.
    pub read_current: bool,
    /// Whether a cover that somebody else chose may be replaced.
    pub overwrite_manual: bool,
}

impl Policy {
    /// Whether any of its rules looks at pictures.
    pub fn looks(&self) -> bool {
        self.rules.iter().any(|rule| match rule {
            Rule::Best => true,
            Rule::Intelligent | Rule::Keep | Rule::LeastBad => false,
            Rule::First | Rule::Middle | Rule::Last | Rule::Nth(_) | Rule::At(_) => self.gate,
        })
    }
}

/// The `[cover]` table.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub rules: Vec<Rule>,
    pub gate: bool,
    pub patience: u32,
    pub most_pictures: usize,
    pub intelligent: Intelligent,
    #[serde(default, rename = "override")]
    pub overrides: Vec<Override>,
}

/// The `[cover.intelligent]` table.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Intelligent {
    pub format: Preference,
    /// The lowest Score that is taken. The scale is not documented.
    pub minimum_score: f64,
    pub late: Late,
    /// How long a smart thumbnail may come, from the event's time, or from when it is ordered.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub deadline: Duration,
    /// Whether smart thumbnails are ordered (SubmitAIImageJob) for videos that have none.
    pub submit: bool,
    /// The AITemplateId of type AIImage with which they are.
    pub template: String,
}

/// What is done while a video has no smart thumbnail yet. No event announces one, so it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Late {
    /// The next rule decides.
    Ignore,
    /// Nothing, until it has come or its time is over.
    Wait,
    /// The next rule decides for now.
    Provisional,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    Any,
    Png,
    Gif,
}

/// The `[ownership]` table.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ownership {
    /// Read the current cover before replacing it. Off saves one call for each event, and gives up
    /// the protection of covers that a person chose.
    pub read: bool,
    /// Replace covers that a person or another system chose.
    pub overwrite_manual: bool,
}

/// One `[[cover.override]]`: every condition that it states must hold.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Shown in decisions; `override 1` and so on where absent.
    pub name: Option<String>,
    /// SubType of the event: `SpecifiedTime`, or `""` for automatic snapshots.
    pub sub_type: Option<String>,
    /// Members that Extend must have, with these values. Extend may be an object or an object in text.
    #[serde(default)]
    pub extend: Map<String, Value>,
    /// Text that Extend must contain, whatever its type.
    pub extend_contains: Option<String>,
    /// CateId or CateName of the video, as a number or text.
    pub category: Option<Value>,
    /// All of them must be among the video's Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Text that Title must contain, in whatever case.
    pub title_contains: Option<String>,
    /// TemplateGroupId of the video.
    pub template_group: Option<String>,
    pub rules: Vec<Rule>,
    /// Overrules `[cover] gate`.
    pub gate: Option<bool>,
    /// Overrules `[cover.intelligent] format`.
    pub format: Option<Preference>,
    /// Overrules `[cover.intelligent] late`.
    pub late: Option<Late>,
    /// Overrules `[cover.intelligent] minimum_score`.
    pub minimum_score: Option<f64>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadPolicy {
    #[error("{table} has no rules; give at least one, such as rules = [\"middle\"]")]
    NoRules { table: String },
    #[error(
        "{table} has no condition; give it sub_type, extend, extend_contains, category, tags, \
         title_contains or template_group"
    )]
    NoCondition { table: String },
    #[error("category of {table} is neither a number nor text; give a CateId or a CateName")]
    OddCategory { table: String },
    #[error("{table} has rules after `keep`, which always decides; remove them")]
    AfterKeep { table: String },
    #[error("{table} names `least-bad`, which always comes last by itself; remove it")]
    LeastBad { table: String },
    #[error("cover.most_pictures is 0; it must be at least 1")]
    NoPictures,
    #[error("cover.intelligent.submit needs cover.intelligent.template, an AITemplateId")]
    NoTemplate,
    #[error(
        "{table} orders smart thumbnails and does not wait; set late to \"wait\" or \"provisional\""
    )]
    NotAwaited { table: String },
    #[error("cover.intelligent.minimum_score is no number")]
    BadScore,
}

/// Every policy of a configuration, checked.
#[derive(Debug, Clone)]
pub struct Policies {
    default: Policy,
    overrides: Vec<(Override, Policy)>,
}

impl Policies {
    /// `version` is the [`Policy::version`] of all.
    pub fn new(
        settings: &Settings,
        ownership: &Ownership,
        version: &str,
    ) -> Result<Self, BadPolicy> {
        if settings.most_pictures == 0 {
            return Err(BadPolicy::NoPictures);
        }
        let intelligent = &settings.intelligent;
        if intelligent.submit && intelligent.template.trim().is_empty() {
            return Err(BadPolicy::NoTemplate);
        }
        if intelligent.minimum_score.is_nan() {
            return Err(BadPolicy::BadScore);
        }
        let submit = intelligent.submit.then(|| intelligent.template.trim().to_owned());
        let policy = |name: String, rules: &[Rule], gate, preference, late, minimum_score| Policy {
            name,
            version: version.to_owned(),
            rules: rules.to_vec(),
            format: match preference {
                Preference::Any => None,
                Preference::Png => Some(ImageFormat::Png),
                Preference::Gif => Some(ImageFormat::Gif),
            },
            minimum_score,
            late,
            deadline: intelligent.deadline,
            submit: submit.clone(),
            gate,
            patience: settings.patience,
            most_pictures: settings.most_pictures,
            read_current: ownership.read,
            overwrite_manual: ownership.overwrite_manual,
        };
        check_rules("[cover]", &settings.rules)?;
        let (preference, late) = (intelligent.format, intelligent.late);
        let least = intelligent.minimum_score;
        let default =
            policy("default".into(), &settings.rules, settings.gate, preference, late, least);
        check_late("[cover.intelligent]", &default)?;
        let mut overrides = Vec::new();
        for (index, item) in settings.overrides.iter().enumerate() {
            let name = item.name.clone().unwrap_or_else(|| format!("override {}", index + 1));
            let table = format!("[[cover.override]] {name:?}");
            check_rules(&table, &item.rules)?;
            if item.sub_type.is_none() && !item.asks_for_extend() && !item.asks_for_facts() {
                return Err(BadPolicy::NoCondition { table });
            }
            if !matches!(item.category, None | Some(Value::Number(_) | Value::String(_))) {
                return Err(BadPolicy::OddCategory { table });
            }
            let gate = item.gate.unwrap_or(settings.gate);
            let preference = item.format.unwrap_or(preference);
            let (late, least) = (item.late.unwrap_or(late), item.minimum_score.unwrap_or(least));
            let policy = policy(name, &item.rules, gate, preference, late, least);
            check_late(&table, &policy)?;
            overrides.push((item.clone(), policy));
        }
        Ok(Self { default, overrides })
    }

    /// Whether any rule of any policy looks at pictures.
    pub fn look(&self) -> bool {
        self.default.looks() || self.overrides.iter().any(|(_, policy)| policy.looks())
    }

    /// This rule alone, by the operator's word: whose the current cover is does not matter, and neither
    /// does what a picture looks like that is named by its position.
    pub fn only(&self, rule: Rule) -> Policy {
        Policy {
            name: "operator".into(),
            rules: vec![rule],
            gate: false,
            late: Late::Ignore,
            read_current: false,
            overwrite_manual: true,
            ..self.default.clone()
        }
    }

    /// Of one event's video, or with these rules instead; whose the current cover is does not matter.
    pub fn trial(&self, policy: &Policy, rules: Option<Vec<Rule>>) -> Result<Policy, BadPolicy> {
        let rules = rules.unwrap_or_else(|| policy.rules.clone());
        check_rules("--rules", &rules)?;
        Ok(Policy {
            rules,
            late: Late::Ignore,
            read_current: false,
            overwrite_manual: true,
            ..policy.clone()
        })
    }

    /// Where no override holds.
    pub fn default(&self) -> &Policy {
        &self.default
    }

    /// Whether any override looks at Extend, which only events carry.
    pub fn ask_for_extend(&self) -> bool {
        self.overrides.iter().any(|(conditions, _)| conditions.asks_for_extend())
    }

    /// The policy for one event's video: of the first override that holds.
    pub fn of(&self, event: &SnapshotsReady, facts: Option<&Facts>) -> Result<&Policy, NeedsFacts> {
        for (conditions, policy) in &self.overrides {
            if !conditions.fits_event(event) {
                continue;
            }
            match facts {
                None if conditions.asks_for_facts() => return Err(NeedsFacts),
                Some(facts) if !conditions.fits_video(facts) => {}
                _ => return Ok(policy),
            }
        }
        Ok(&self.default)
    }
}

fn check_late(table: &str, policy: &Policy) -> Result<(), BadPolicy> {
    let ordered = policy.submit.is_some() && policy.rules.contains(&Rule::Intelligent);
    match ordered && policy.late == Late::Ignore {
        true => Err(BadPolicy::NotAwaited { table: table.into() }),
        false => Ok(()),
    }
}

fn check_rules(table: &str, rules: &[Rule]) -> Result<(), BadPolicy> {
    if rules.is_empty() {
        return Err(BadPolicy::NoRules { table: table.into() });
    }
    if rules.contains(&Rule::LeastBad) {
        return Err(BadPolicy::LeastBad { table: table.into() });
    }
    match rules.iter().position(|rule| *rule == Rule::Keep) {
        Some(at) if at + 1 < rules.len() => Err(BadPolicy::AfterKeep { table: table.into() }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
