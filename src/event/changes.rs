//! MediaBaseChangeComplete and DeleteMediaComplete: what others, and we ourselves, did to a video.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/user-guide/mediabasechangecomplete>

use std::borrow::Cow;

use serde_json::Value;
use sha1::{Digest, Sha1};

use super::{
    CoverChanged, Event, EventKey, Fields, Gone, ParseError, Pulled, VideoId, event_time, type_name,
};
use crate::cover::change::CoverChange;

/// The table says that MediaContent and its members are JSON strings; the sample nests an object whose
/// members are JSON strings. Any mixture is read.
pub(super) fn base_change(kind: String, fields: &Fields) -> Result<Event, ParseError> {
    let (video, at) = match subject(&kind, fields)? {
        Ok(subject) => subject,
        Err(nothing) => return Ok(nothing),
    };
    let mode = fields.text("OperateMode").unwrap_or_default().to_ascii_lowercase();
    if mode == "delete" {
        return Ok(gone(&kind, video, fields));
    }
    let content = object(fields.get("MediaContent"))?;
    let cover = content.as_ref().and_then(|content| content.get("CoverURL"));
    let Some(cover) = object(cover)? else {
        let why = "it is not about the cover";
        return Ok(Event::Nothing { kind, video: Some(video), why });
    };
    let value = |name| cover.text(name).map(Cow::into_owned);
    let (old, new) = (value("OldValue"), value("NewValue"));
    let values = format!("{}\n{}", old.as_deref().unwrap_or(""), new.as_deref().unwrap_or(""));
    let values: String = Sha1::digest(values).iter().map(|byte| format!("{byte:02x}")).collect();
    let time = fields.text("EventTime").unwrap_or_default();
    let at_upload = mode == "create";
    Ok(Event::CoverChanged(CoverChanged {
        video,
        key: EventKey(format!("{kind}/{mode}/{values}/{time}")),
        change: CoverChange { at_upload, old, new, at },
    }))
}

/// Only DeleteType `all` is the whole video; others delete its file or some of its streams.
pub(super) fn delete(kind: String, fields: &Fields) -> Result<Event, ParseError> {
    let (video, _) = match subject(&kind, fields)? {
        Ok(subject) => subject,
        Err(nothing) => return Ok(nothing),
    };
    let whole = fields.text("DeleteType").is_some_and(|text| text.eq_ignore_ascii_case("all"));
    if !whole {
        let why = "the video itself was not deleted";
        return Ok(Event::Nothing { kind, video: Some(video), why });
    }
    Ok(gone(&kind, video, fields))
}

/// UploadByURLComplete: VOD has fetched a file, and names the video that it has become.
/// <https://www.alibabacloud.com/help/en/vod/user-guide/uploadbyurlcomplete>
pub(super) fn pulled(kind: String, fields: &Fields) -> Result<Event, ParseError> {
    let done = fields.text("Status").is_none_or(|text| text.eq_ignore_ascii_case("success"));
    let (Some(job), Some(id), true) = (fields.text("JobId"), fields.text("VideoId"), done) else {
        return Ok(Event::Nothing { kind, video: None, why: "no video has come of it" });
    };
    let (video, key) = (VideoId::new(id.into_owned())?, EventKey(format!("{kind}/{job}")));
    Ok(Event::Pulled(Pulled { video, key, job: job.into_owned() }))
}

type Subject = (VideoId, Option<jiff::Timestamp>);

/// The video and the time; or that it is not about a video, or did not happen.
fn subject(kind: &str, fields: &Fields) -> Result<Result<Subject, Event>, ParseError> {
    let is = |name, value: &str| fields.text(name).is_none_or(|it| it.eq_ignore_ascii_case(value));
    let nothing = |why| Ok(Err(Event::Nothing { kind: kind.to_owned(), video: None, why }));
    if !is("MediaType", "video") {
        return nothing("it is not about a video");
    }
    if !is("Status", "success") {
        return nothing("it did not happen");
    }
    let id = fields.text("MediaId").or_else(|| fields.text("VideoId"));
    let id = id.ok_or_else(|| ParseError::NoMediaId { kind: kind.to_owned() })?;
    let at = fields.text("EventTime").and_then(|text| event_time(&text));
    Ok(Ok((VideoId::new(id.into_owned())?, at)))
}

fn gone(kind: &str, video: VideoId, fields: &Fields) -> Event {
    let at = fields.text("EventTime").and_then(|text| event_time(&text));
    Event::Deleted(Gone { video, key: EventKey(format!("{kind}/delete")), at })
}

/// An object, or an object in text; anything else that is there cannot be read.
fn object(value: Option<&Value>) -> Result<Option<Fields>, ParseError> {
    let unreadable = |found| ParseError::WrongType { field: "MediaContent", found };
    match value {
        None => Ok(None),
        Some(Value::Object(members)) => Ok(Some(Fields(members.clone()))),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(members)) => Ok(Some(Fields(members))),
            Ok(Value::Null) => Ok(None),
            // What does not speak of a cover is none of our business, whatever its form.
            _ if !text.contains("CoverURL") && !text.contains("Value") => Ok(None),
            _ => Err(unreadable("text that is no JSON object")),
        },
        Some(other) => Err(unreadable(type_name(other))),
    }
}
