//! Our own message: look at a video again, because a smart thumbnail may have come meanwhile. It holds
//! the event that it follows, so that it needs nothing else to be decided again.

use serde_json::{Value, json};

use super::{Event, Fields, FollowUp, ParseError, read, snapshots};
use crate::cover::Turn;

/// Its EventType.
pub const KIND: &str = "vod-cover.FollowUp";

/// The message that follows this one; `None` if it has none to follow.
pub fn follow_up(body: &[u8], turn: Turn) -> Option<Vec<u8>> {
    let mut fields = read(body).ok()?;
    let event = match fields.text("EventType").as_deref() {
        Some(KIND) => fields.0.remove("Event")?,
        Some(_) => Value::Object(fields.0),
        None => return None,
    };
    let message = json!({
        "EventType": KIND,
        "VideoId": event.get("VideoId").or_else(|| event.get("MediaId")),
        "Number": turn.number,
        "Deadline": turn.deadline,
        "Event": event,
    });
    serde_json::to_vec(&message).ok()
}

pub(super) fn parse(fields: &Fields) -> Result<Event, ParseError> {
    let wrong = |field, found| Err(ParseError::WrongType { field, found });
    let Some(number) = fields.count("Number") else { return wrong("Number", "not a number") };
    let deadline = fields.text("Deadline").and_then(|text| text.parse().ok());
    let Some(deadline) = deadline else { return wrong("Deadline", "not a time") };
    let Some(Value::Object(event)) = fields.get("Event") else {
        return wrong("Event", "not an object");
    };
    let event = Fields(event.clone());
    let kind = event.text("EventType").unwrap_or_default().into_owned();
    match snapshots::parse(kind, event)? {
        Event::Snapshots(ready) => {
            Ok(Event::FollowUp(FollowUp { ready, turn: Turn { number, deadline } }))
        }
        other => Ok(other),
    }
}
