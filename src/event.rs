//! Reads VOD's callback JSON into an [`Event`]. Pure. Tolerant of everything that the documentation gets
//! wrong or leaves open; it refuses only what cannot be acted on at all. An event type that is not ours
//! is a value, never an error.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/user-guide/snapshotcomplete>

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cover::change::CoverChange;
use crate::cover::{Candidate, CoverUrl, Turn};
use crate::error::Reason;

mod changes;
mod follow_up;
mod snapshots;
mod time;

pub use follow_up::{KIND as FOLLOW_UP, follow_up};
pub use time::event_time;

/// Longest body that is looked into, in bytes. SMQ's own limit for an event is 64 KiB.
pub const MAX_BODY: usize = 1024 * 1024;

/// A video's id: 1 to 64 visible ASCII characters. VOD's own are 32 hexadecimal digits; what would break
/// a Redis hash tag, a comma-separated list or JSON text (`{ } , " \`) is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VideoId(String);

impl VideoId {
    pub fn new(text: impl Into<String>) -> Result<Self, ParseError> {
        let text = text.into();
        let fits = |b: u8| b.is_ascii_graphic() && !b"{},\"\\".contains(&b);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
            return Err(ParseError::BadVideoId { text: text.chars().take(64).collect() });
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VideoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for VideoId {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        Self::new(text)
    }
}

impl From<VideoId> for String {
    fn from(video: VideoId) -> Self {
        video.0
    }
}

/// What makes two deliveries the same event. VOD sends no event id, so it is derived: type, status and
/// the snapshot jobs, or the event's time where no job is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventKey(pub String);

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a message turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Snapshots that a cover can be chosen from.
    Snapshots(SnapshotsReady),
    /// A cover was changed through VOD's API, perhaps by ourselves.
    CoverChanged(CoverChanged),
    /// A file that VOD was told to fetch is a video now.
    Pulled(Pulled),
    /// The whole video was deleted.
    Deleted(Gone),
    /// Our own: a smart thumbnail may have come meanwhile.
    FollowUp(FollowUp),
    /// An event of ours that offers nothing: acknowledged, with the reason in the log.
    Nothing { kind: String, video: Option<VideoId>, why: &'static str },
    /// An event of another type.
    Other { kind: String },
}

/// A successful SnapshotComplete with at least one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotsReady {
    pub video: VideoId,
    pub key: EventKey,
    pub at: Option<Timestamp>,
    /// `SpecifiedTime` when the snapshots were ordered by SubmitSnapshotJob; absent for automatic ones.
    pub sub_type: Option<String>,
    /// What the uploader passed along in UserData.Extend, of whatever JSON type it arrived as.
    pub extend: Option<Value>,
    /// The picture that the event names as the cover. It is no proof of the current cover.
    pub event_cover: Option<CoverUrl>,
    /// Whether the candidates are automatic cover snapshots (CoverSnapshot), not ordered ones.
    pub automatic: bool,
    /// In the order of the video, never empty.
    pub candidates: Vec<Candidate>,
}

/// A MediaBaseChangeComplete with a CoverURL.
#[derive(Debug, Clone, PartialEq)]
pub struct CoverChanged {
    pub video: VideoId,
    pub key: EventKey,
    pub change: CoverChange,
}

/// An UploadByURLComplete that succeeded.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    pub video: VideoId,
    pub key: EventKey,
    /// JobId.
    pub job: String,
}

/// Under which name the ledger keeps the cover that was given to a file that VOD is to fetch.
pub fn pulled_bookmark(job: &str) -> String {
    format!("pull {job}")
}

/// The end of a video.
#[derive(Debug, Clone, PartialEq)]
pub struct Gone {
    pub video: VideoId,
    pub key: EventKey,
    pub at: Option<Timestamp>,
}

/// A later look at the video of an event.
#[derive(Debug, Clone, PartialEq)]
pub struct FollowUp {
    pub ready: SnapshotsReady,
    pub turn: Turn,
}

impl EventKey {
    /// Of a later look at the video of this event.
    pub fn look(&self, turn: Turn) -> Self {
        Self(format!("FollowUp/{}/{self}", turn.number))
    }
}

impl SnapshotsReady {
    /// The kind of cause for the ledger: automatic and ordered snapshots do not outdate one another.
    pub fn cause(&self) -> String {
        match &self.sub_type {
            Some(sub_type) => format!("SnapshotComplete.{sub_type}"),
            None => "SnapshotComplete".to_owned(),
        }
    }
}

/// Why a message can never be acted on: each is a dead letter with [`ParseError::reason`].
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    #[error("the message is empty; publish the callback's JSON body")]
    Empty,
    #[error("the message has {bytes} bytes, more than the {MAX_BODY} that an event can have")]
    TooLarge { bytes: usize },
    #[error("the message is not JSON")]
    NotJson(#[source] serde_json::Error),
    #[error("the message is JSON but no object: {found}")]
    NotAnObject { found: &'static str },
    #[error("the event has no EventType")]
    NoEventType,
    #[error("the SnapshotComplete has no VideoId")]
    NoVideoId,
    #[error("the {kind} has no MediaId")]
    NoMediaId { kind: String },
    #[error("{text:?} is no VideoId: it needs 1 to 64 visible ASCII characters without {{}},\"\\")]
    BadVideoId { text: String },
    #[error("{field} of the event is {found}")]
    WrongType { field: &'static str, found: &'static str },
}

impl ParseError {
    pub fn reason(&self) -> Reason {
        Reason::new(match self {
            Self::Empty => "event.empty",
            Self::TooLarge { .. } => "event.too-large",
            Self::NotJson(_) => "event.not-json",
            Self::NotAnObject { .. } => "event.not-an-object",
            Self::NoEventType => "event.no-event-type",
            Self::NoVideoId | Self::NoMediaId { .. } => "event.no-video-id",
            Self::BadVideoId { .. } => "event.bad-video-id",
            Self::WrongType { .. } => "event.wrong-type",
        })
    }
}

/// Reads one message. Costs no more than one pass over the body; nesting deeper than 128 is refused as
/// not JSON.
pub fn parse(body: &[u8]) -> Result<Event, ParseError> {
    let fields = read(body)?;
    let kind = fields.text("EventType").ok_or(ParseError::NoEventType)?.into_owned();
    interpret(kind, fields)
}

fn interpret(kind: String, fields: Fields) -> Result<Event, ParseError> {
    match kind.as_str() {
        "SnapshotComplete" => snapshots::parse(kind, fields),
        "MediaBaseChangeComplete" => changes::base_change(kind, &fields),
        "UploadByURLComplete" => changes::pulled(kind, &fields),
        "DeleteMediaComplete" => changes::delete(kind, &fields),
        follow_up::KIND => follow_up::parse(&fields),
        _ => Ok(Event::Other { kind }),
    }
}

fn read(body: &[u8]) -> Result<Fields, ParseError> {
    if body.trim_ascii().is_empty() {
        return Err(ParseError::Empty);
    }
    if body.len() > MAX_BODY {
        return Err(ParseError::TooLarge { bytes: body.len() });
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    match serde_json::from_slice(body).map_err(ParseError::NotJson)? {
        Value::Object(fields) => Ok(Fields(fields)),
        other => Err(ParseError::NotAnObject { found: type_name(&other) }),
    }
}

/// The EventType of a message, and nothing else of it: for those who only pass messages on.
pub fn kind(body: &[u8]) -> Result<String, ParseError> {
    read(body)?.text("EventType").map(Cow::into_owned).ok_or(ParseError::NoEventType)
}

/// The EventType of a message, and what makes two deliveries of it the same event where that is known,
/// for those who only pass messages on: what is wrong with an event is for the worker to say.
pub fn identity(body: &[u8]) -> Result<(String, Option<(VideoId, EventKey)>), ParseError> {
    let fields = read(body)?;
    let kind = fields.text("EventType").ok_or(ParseError::NoEventType)?.into_owned();
    let identity = match interpret(kind.clone(), fields) {
        Ok(Event::Snapshots(ready)) => Some((ready.video, ready.key)),
        Ok(Event::CoverChanged(changed)) => Some((changed.video, changed.key)),
        Ok(Event::Pulled(pulled)) => Some((pulled.video, pulled.key)),
        Ok(Event::Deleted(gone)) => Some((gone.video, gone.key)),
        Ok(Event::FollowUp(again)) => Some((again.ready.video, again.ready.key.look(again.turn))),
        Ok(Event::Nothing { .. } | Event::Other { .. }) | Err(_) => None,
    };
    Ok((kind, identity))
}

/// The members of a JSON object, read leniently: a number passes as text, blank text is absent, and a
/// name may carry stray white space (a documented sample has `"SourceURL "`).
struct Fields(Map<String, Value>);

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        let found = self
            .0
            .get(name)
            .or_else(|| self.0.iter().find(|(key, _)| key.trim() == name).map(|(_, value)| value));
        found.filter(|value| !value.is_null())
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.get(name)?;
        let exact = self.0.get_mut(name);
        let found = match exact {
            Some(_) => exact,
            None => self.0.iter_mut().find(|(key, _)| key.trim() == name).map(|(_, value)| value),
        };
        found.map(Value::take)
    }

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let text = match self.get(name)? {
            Value::String(text) => Cow::Borrowed(text.trim()),
            Value::Number(number) => Cow::Owned(number.to_string()),
            _ => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    fn count(&self, name: &str) -> Option<u32> {
        let text = self.text(name)?;
        text.parse().ok().or_else(|| {
            let float: f64 = text.parse().ok()?;
            (float.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&float))
                .then_some(float as u32)
        })
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
