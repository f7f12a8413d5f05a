//! What an override asks of an event and of its video. Pure.

use serde_json::{Map, Value};

use super::Override;
use crate::event::SnapshotsReady;

/// What an override may ask of a video beyond its event; VOD has to be asked for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub title: Option<String>,
    pub tags: Vec<String>,
    pub category_id: Option<String>,
    pub category_name: Option<String>,
    pub template_group: Option<String>,
}

/// It cannot be said which policy holds without [`Facts`].
#[derive(Debug, PartialEq, Eq)]
pub struct NeedsFacts;

impl Override {
    /// Whether it asks for something that the event does not say.
    pub(super) fn asks_for_facts(&self) -> bool {
        self.category.is_some()
            || self.title_contains.is_some()
            || self.template_group.is_some()
            || !self.tags.is_empty()
    }

    pub(super) fn asks_for_extend(&self) -> bool {
        !self.extend.is_empty() || self.extend_contains.is_some()
    }

    pub(super) fn fits_event(&self, event: &SnapshotsReady) -> bool {
        let sub_type = event.sub_type.as_deref().unwrap_or_default();
        self.sub_type.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(sub_type))
            && (self.extend.is_empty() || extend_has(event.extend.as_ref(), &self.extend))
            && self.extend_contains.as_deref().is_none_or(|text| {
                event.extend.as_ref().is_some_and(|extend| plain(extend).contains(text))
            })
    }

    pub(super) fn fits_video(&self, facts: &Facts) -> bool {
        let category = self.category.as_ref().map(plain);
        let is = |fact: &Option<String>, wanted: &str| fact.as_deref() == Some(wanted);
        let title = facts.title.as_deref().unwrap_or_default().to_lowercase();
        category.is_none_or(|it| is(&facts.category_id, &it) || is(&facts.category_name, &it))
            && self.tags.iter().all(|wanted| facts.tags.contains(wanted))
            && self.title_contains.as_ref().is_none_or(|it| title.contains(&it.to_lowercase()))
            && self.template_group.as_ref().is_none_or(|it| is(&facts.template_group, it))
    }
}

/// Extend is documented as text; what an uploader passed as an object may arrive as either.
fn extend_has(extend: Option<&Value>, wanted: &Map<String, Value>) -> bool {
    let parsed;
    let members = match extend {
        Some(Value::Object(members)) => members,
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(members)) => {
                parsed = members;
                &parsed
            }
            _ => return false,
        },
        _ => return false,
    };
    // 7 in the configuration also means "7" in the event, and the reverse.
    wanted
        .iter()
        .all(|(name, value)| members.get(name).is_some_and(|found| plain(found) == plain(value)))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
