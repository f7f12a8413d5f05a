//! Makes a message of an event as it came in: where it goes, how it is called, and the trace that it
//! begins. The body is passed on untouched. It judges nothing but whether it is an event at all.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tracing::Span;

use crate::event::{self, ParseError};
use crate::queue::{Message, Trace};
use crate::telemetry::spans;

/// The message that is published for one event. Its kind, by which it is routed, is the EventType. Its id
/// is the same each time that VOD sends this event: the video and the event's key, or, where none is
/// known, the SHA-256 of the body.
pub(super) fn message(body: Bytes) -> Result<Message, ParseError> {
    let (kind, identity) = event::identity(&body)?;
    let id = match identity {
        Some((video, key)) => format!("{video}/{key}"),
        None => digest(&body),
    };
    Ok(Message { trace: trace(), ..Message::new(body, kind, id) })
}

/// A trace that begins now: with the span that we are in, if it goes anywhere.
fn trace() -> Option<Trace> {
    let random = || Trace::new(fastrand::u128(1..), fastrand::u64(1..));
    spans::begun(&Span::current()).or_else(random)
}

fn digest(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str) -> Message {
        message(Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn an_event_is_called_the_same_each_time_that_it_comes() {
        let first = of(r#"{"EventType":"SnapshotComplete","VideoId":"v1","Status":"success",
            "SnapshotInfos":[{"JobId":"j1","SnapshotType":"CoverSnapshot","SnapshotCount":1,
            "SnapshotRegular":"http://h/a.jpg"}]}"#);
        let again = of(r#"{"VideoId":"v1","EventType":"SnapshotComplete","Extend":"x",
            "SnapshotInfos":[{"JobId":"j1","SnapshotType":"CoverSnapshot","SnapshotCount":1,
            "SnapshotRegular":"http://h/a.jpg"}]}"#);
        assert_eq!(first.id, "v1/SnapshotComplete/success/j1");
        assert_eq!((&again.id, &again.kind), (&first.id, &first.kind));
        assert_ne!(again.trace, first.trace);
    }

    #[test]
    fn events_of_two_videos_are_two() {
        let delete = r#"{"EventType":"DeleteMediaComplete","MediaId":"v1","DeleteType":"all"}"#;
        assert_eq!(of(delete).id, "v1/DeleteMediaComplete/delete");
    }

    #[test]
    fn one_that_is_not_ours_or_that_the_worker_will_refuse_is_called_by_its_digest() {
        let other = of(r#"{"EventType":"FileUploadComplete"}"#);
        // By sha256sum of coreutils.
        assert_eq!(other.id, "071999539542c40cd2353175c94d0a9b4c6ba6d8d1f3fcb75caaacb15d9f6f00");
        assert_eq!(other.kind, "FileUploadComplete");
        let bad = of(r#"{"EventType":"SnapshotComplete"}"#);
        assert_eq!((bad.id.len(), bad.kind.as_str()), (64, "SnapshotComplete"));
    }

    #[test]
    fn what_is_no_event_is_refused_and_the_body_is_never_changed() {
        for wrong in ["", "no", "[]", "{}", r#"{"EventType":""}"#] {
            assert!(message(Bytes::from_static(wrong.as_bytes())).is_err(), "{wrong}");
        }
        let odd = " {\"EventType\" : \"Other\" ,\n \"x\":1}\n";
        assert_eq!(of(odd).body, odd);
    }
}
