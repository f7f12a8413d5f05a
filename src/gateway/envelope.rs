//! A callback's body as the message that goes into the queue.
use bytes::Bytes;

use crate::event::{self, ParseError};
use crate::queue::Message;

pub(super) fn message(body: Bytes) -> Result<Message, ParseError> {
    let kind = event::kind(&body)?;
    let id =
        crate::vod::sign::callback::callback_signature("", &String::from_utf8_lossy(&body), "");
    Ok(Message::new(body, kind, id))
}
