//! SnapshotComplete: which pictures an event offers.

use std::borrow::Cow;

use serde_json::Value;
use sha1::{Digest, Sha1};

use super::{Event, EventKey, Fields, ParseError, SnapshotsReady, VideoId, event_time, type_name};
use crate::cover::{Candidate, CoverUrl};

/// Most pictures that are taken from one set. VOD itself takes at most 8 for covers; SubmitSnapshotJob's
/// Count has no documented bound.
const MAX_CANDIDATES: u32 = 1_000;

/// Longest SnapshotRegular, query and all: one longer than this makes no cover's URL.
const MAX_PATTERN: usize = 4 * CoverUrl::MAX_LEN;

pub(super) fn parse(kind: String, mut fields: Fields) -> Result<Event, ParseError> {
    // The id is MediaId in VOD's newer event types; accepting it here costs nothing.
    let video = match (fields.get("VideoId"), fields.text("VideoId").or(fields.text("MediaId"))) {
        (_, Some(text)) => VideoId::new(text.into_owned())?,
        (None | Some(Value::String(_)), None) => return Err(ParseError::NoVideoId),
        (Some(other), None) => {
            return Err(ParseError::WrongType { field: "VideoId", found: type_name(other) });
        }
    };
    let nothing = |why| Ok(Event::Nothing { kind: kind.clone(), video: Some(video.clone()), why });

    // The official sample has no Status although the table requires it: what is missing is a success.
    let status = fields.text("Status").unwrap_or(Cow::Borrowed("success")).into_owned();
    if !status.eq_ignore_ascii_case("success") {
        return nothing("the snapshot job failed");
    }
    let sub_type = fields.text("SubType").map(Cow::into_owned);
    let sets = sets(&mut fields)?;
    let key = key(&[&kind, sub_type.as_deref().unwrap_or_default(), &status], &sets, &fields);

    // Automatic snapshots come as CoverSnapshot; those that SubmitSnapshotJob made as NormalSnapshot.
    // SnapshotType is an open enumeration: sprites, WebVTT and whatever comes next are never covers.
    let usable = |set: &Fields, kind: &str| {
        let is = |name, value: &str| set.text(name).is_some_and(|t| t.eq_ignore_ascii_case(value));
        is("SnapshotType", kind) && (set.get("Status").is_none() || is("Status", "success"))
    };
    let specified = sub_type.as_deref().is_some_and(|t| t.eq_ignore_ascii_case("SpecifiedTime"));
    let first_of =
        |kind| sets.iter().filter(|set| usable(set, kind)).map(expand).find(|set| !set.is_empty());
    let ordered = if specified { first_of("NormalSnapshot") } else { None };
    let automatic = ordered.is_none();
    let Some(candidates) = ordered.or_else(|| first_of("CoverSnapshot")) else {
        return nothing("it has no snapshots that can be a cover");
    };

    let cover = fields.text("CoverUrl").or_else(|| fields.text("CoverURL"));
    let event_cover = cover.and_then(|url| CoverUrl::new(&url).ok());
    Ok(Event::Snapshots(SnapshotsReady {
        video,
        key,
        at: fields.text("EventTime").and_then(|text| event_time(&text)),
        sub_type,
        extend: fields.take("Extend"),
        event_cover,
        automatic,
        candidates,
    }))
}

/// SnapshotInfos is an array of objects; a single object and an array in a string pass as well.
fn sets(fields: &mut Fields) -> Result<Vec<Fields>, ParseError> {
    let found = fields.take("SnapshotInfos").or_else(|| fields.take("SnapshotInfo"));
    let value = match found {
        Some(Value::String(text)) => serde_json::from_str(&text).map_err(ParseError::NotJson)?,
        Some(value) => value,
        None => return Ok(Vec::new()),
    };
    let items = match value {
        Value::Array(items) => items,
        Value::Object(item) => vec![Value::Object(item)],
        other => {
            return Err(ParseError::WrongType { field: "SnapshotInfos", found: type_name(&other) });
        }
    };
    let object = |item| match item {
        Value::Object(set) => Some(Fields(set)),
        _ => None,
    };
    Ok(items.into_iter().filter_map(object).collect())
}

/// Names the jobs; where no set names its job, the event's time; where there is none either, the
/// pictures. A long list of jobs is hashed, so that the key stays short.
fn key(kind: &[&str], sets: &[Fields], fields: &Fields) -> EventKey {
    let all = |name| {
        let mut all: Vec<_> = sets.iter().filter_map(|set| set.text(name)).collect();
        all.sort();
        all.dedup();
        (!all.is_empty()).then(|| all.join("+"))
    };
    let which = all("JobId")
        .or_else(|| fields.text("EventTime").map(Cow::into_owned))
        .or_else(|| all("SnapshotRegular"));
    let which = match which.unwrap_or_default() {
        short if short.len() <= 128 => short,
        long => Sha1::digest(long).iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let kind: Vec<_> = kind.iter().filter(|part| !part.is_empty()).copied().collect();
    EventKey(format!("{}/{which}", kind.join("/")))
}

/// Every picture of a set, in order. SnapshotRegular is a whole URL; the placeholder stands for a serial
/// number that starts at 1 and has five digits.
fn expand(set: &Fields) -> Vec<Candidate> {
    let pattern = set.text("SnapshotRegular").filter(|text| text.len() <= MAX_PATTERN);
    let Some(pattern) = pattern else { return Vec::new() };
    // `{Count}` belongs to the templates of VOD's sibling services; it is accepted in case.
    let placeholder = ["{SnapshotCount}", "{Count}"].into_iter().find(|p| pattern.contains(p));
    let count = set.count("SnapshotCount").unwrap_or(1).min(MAX_CANDIDATES);
    let url = |number: u32| match placeholder {
        Some(placeholder) => CoverUrl::new(&pattern.replace(placeholder, &format!("{number:05}"))),
        None => CoverUrl::new(&pattern),
    };
    // Without a placeholder there is one picture, whatever the count says.
    let count = if placeholder.is_some() { count } else { count.min(1) };
    (1..=count).filter_map(|number| Some(Candidate { number, url: url(number).ok()? })).collect()
}
