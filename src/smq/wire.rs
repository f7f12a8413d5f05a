//! SMQ's XML, read leniently: any or no namespace, unknown elements, what is needed and nothing else. Pure.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/mns/developer-reference/batchreceivemessage>

use std::time::Duration;

use quick_xml::escape::escape;
use serde::Deserialize;

use super::Error;
use crate::vod::http::Answer;

const NAMESPACE: &str = "http://mns.aliyuncs.com/doc/v1/";
/// What SMQ says when a long poll has ended without a message.
const NONE: &str = "MessageNotExist";

/// A message that is invisible to others for a while.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Received {
    #[serde(rename = "MessageId")]
    pub id: String,
    /// What it is deleted by, until it becomes visible again.
    #[serde(rename = "ReceiptHandle")]
    pub handle: String,
    #[serde(rename = "MessageBody", default)]
    pub body: String,
    /// How often it has been received, this time included.
    #[serde(rename = "DequeueCount", default)]
    pub times: u32,
}

/// What a queue is like, as far as it matters to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// How long a message that was received is invisible.
    pub visibility: Duration,
    /// How long a message is kept, consumed or not.
    pub retention: Duration,
}

/// What an answer may be, by its root.
#[derive(Deserialize)]
enum Document {
    Messages {
        #[serde(rename = "Message", default)]
        messages: Vec<Received>,
    },
    Message(Received),
    Errors {
        #[serde(rename = "Error", default)]
        errors: Vec<NotDeleted>,
    },
    Error(Refusal),
    Queue(Queue),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct NotDeleted {}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    request_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Queue {
    visibility_timeout: u32,
    message_retention_period: u32,
}

pub(super) fn messages(answer: &Answer) -> Result<Vec<Received>, Error> {
    match read(answer)? {
        Document::Messages { messages } if answer.status == 200 => Ok(messages),
        Document::Message(message) if answer.status == 200 => Ok(vec![message]),
        Document::Error(refusal) if refusal.code == NONE => Ok(Vec::new()),
        other => Err(refused(answer, other)),
    }
}

/// How many of the handles were refused; all others are gone.
pub(super) fn not_deleted(answer: &Answer) -> Result<usize, Error> {
    if answer.status == 204 || answer.status == 200 {
        return Ok(0);
    }
    match read(answer)? {
        Document::Errors { errors } => Ok(errors.len()),
        other => Err(refused(answer, other)),
    }
}

pub(super) fn attributes(answer: &Answer) -> Result<Attributes, Error> {
    match read(answer)? {
        Document::Queue(queue) if answer.status == 200 => Ok(Attributes {
            visibility: Duration::from_secs(queue.visibility_timeout.into()),
            retention: Duration::from_secs(queue.message_retention_period.into()),
        }),
        other => Err(refused(answer, other)),
    }
}

/// The body of a BatchDeleteMessage.
pub(super) fn handles(handles: &[&str]) -> String {
    let each = |handle: &&str| format!("<ReceiptHandle>{}</ReceiptHandle>", escape(*handle));
    let each: String = handles.iter().map(each).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <ReceiptHandles xmlns=\"{NAMESPACE}\">{each}</ReceiptHandles>"
    )
}

fn read(answer: &Answer) -> Result<Document, Error> {
    let unreadable = |why: String| Error::Unreadable { status: answer.status, why };
    let text = str::from_utf8(&answer.body).map_err(|error| unreadable(error.to_string()))?;
    // No word of the document: a message may be in it.
    quick_xml::de::from_str(text).map_err(|_| unreadable("no XML that SMQ is known to send".into()))
}

fn refused(answer: &Answer, document: Document) -> Error {
    let status = answer.status;
    match document {
        Document::Error(Refusal { code, message, request_id }) => Error::Refused {
            status,
            code: short(&code, 100),
            message: short(&message, 300),
            request_id: short(&request_id, 64),
        },
        _ => Error::Unreadable { status, why: "another document than was asked for".into() },
    }
}

fn short(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    /// The sample of the documentation, twice, and what newer queues add.
    const BATCH: &str = r#"<?xml version="1.0" encoding="UTF-8" ?>
<Messages xmlns="http://mns.aliyuncs.com/doc/v1/">
  <Message>
    <MessageId>5F290C926D472878-2-14D9529A8FA-200000001</MessageId>
    <ReceiptHandle>1-ODU4OTkzNDU5My0xNDMyNzI3ODI3LTItOA==</ReceiptHandle>
    <MessageBodyMD5>C5DD56A39F5F7BB8B3337C6D11B6D8C7</MessageBodyMD5>
    <MessageBody>{&quot;EventType&quot;:&quot;A &amp; B&quot;}</MessageBody>
    <EnqueueTime>1250700979248</EnqueueTime>
    <NextVisibleTime>1250700799348</NextVisibleTime>
    <FirstDequeueTime>1250700779318</FirstDequeueTime>
    <DequeueCount>1</DequeueCount>
    <Priority>8</Priority>
    <UserProperties><PropertyValue><Name>a</Name></PropertyValue></UserProperties>
  </Message>
  <Message><MessageId>2</MessageId><ReceiptHandle>h</ReceiptHandle><MessageBody/></Message>
</Messages>"#;

    #[test]
    fn messages_are_read_whatever_their_namespace() {
        let found = messages(&answer(200, BATCH)).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].handle, "1-ODU4OTkzNDU5My0xNDMyNzI3ODI3LTItOA==");
        assert_eq!(found[0].body, r#"{"EventType":"A & B"}"#);
        assert_eq!((found[0].times, found[1].body.as_str()), (1, ""));
        for (from, to) in [
            (r#" xmlns="http://mns.aliyuncs.com/doc/v1/""#, ""),
            ("doc/v1/", "doc/v1"),
            ("<Messages xmlns", "<Messages a=\"1\" xmlns"),
        ] {
            let changed = BATCH.replace(from, to);
            assert_eq!(messages(&answer(200, &changed)).unwrap(), found, "{changed}");
        }
        let prefixed = BATCH
            .replace("xmlns=", "xmlns:m=")
            .replace("</", "\0")
            .replace('<', "<m:")
            .replace('\0', "</m:")
            .replace("<m:?", "<?");
        assert_eq!(messages(&answer(200, &prefixed)).unwrap(), found, "{prefixed}");
    }

    #[test]
    fn an_empty_queue_is_no_error() {
        let none =
            "<Error><Code>MessageNotExist</Code><Message>Message not exist.</Message></Error>";
        assert_eq!(messages(&answer(404, none)).unwrap(), []);
        assert_eq!(messages(&answer(200, "<Messages/>")).unwrap(), []);
    }

    #[test]
    fn a_refusal_is_told_from_what_was_deleted_in_part() {
        let part = "<Errors xmlns=\"u\"><Error><ErrorCode>ReceiptHandleError</ErrorCode>\
            <ErrorMessage>m</ErrorMessage><ReceiptHandle>h</ReceiptHandle></Error></Errors>";
        assert_eq!(not_deleted(&answer(404, part)).unwrap(), 1);
        assert_eq!(not_deleted(&answer(204, "")).unwrap(), 0);
        let refusal = "<Error><Code>QueueNotExist</Code><RequestId>1\n2</RequestId></Error>";
        let error = not_deleted(&answer(404, refusal)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("QueueNotExist") && text.contains("intake.smq.queue"), "{text}");
        assert!(text.contains("\"12\""), "{text}");
    }

    #[test]
    fn what_is_not_of_smq_is_unreadable() {
        for (status, body) in [
            (502, "<html><body>Bad Gateway</body></html>"),
            (200, ""),
            (200, "{}"),
            (200, "<Messages><Message><MessageId>1</MessageId></Message></Messages>"),
            (200, "<Messages>"),
            (200, "<Queue/>"),
        ] {
            let read = messages(&answer(status, body));
            assert!(matches!(read, Err(Error::Unreadable { .. })), "{body}: {read:?}");
        }
        let error = messages(&answer(500, "<Messages/>")).unwrap_err();
        assert!(matches!(error, Error::Unreadable { status: 500, .. }));
    }

    #[test]
    fn what_a_queue_is_like_is_read() {
        let queue = "<Queue xmlns=\"u\"><QueueName>q</QueueName><VisibilityTimeout>60</VisibilityTimeout>\
            <MessageRetentionPeriod>345600</MessageRetentionPeriod></Queue>";
        let found = attributes(&answer(200, queue)).unwrap();
        assert_eq!(found.visibility, Duration::from_secs(60));
        assert_eq!(found.retention, Duration::from_secs(4 * 86_400));
    }

    #[test]
    fn handles_are_written_as_the_sdk_does() {
        let all =
            ["1-ODU4OTkzNDU5My0xNDMyNzI3ODI3LTItOA==", "1-ODU4OTkzNDU5NC0xNDM1MTk3NjAwLTItNg=="];
        assert_eq!(
            handles(&all),
            r#"<?xml version="1.0" encoding="utf-8"?><ReceiptHandles xmlns="http://mns.aliyuncs.com/doc/v1/"><ReceiptHandle>1-ODU4OTkzNDU5My0xNDMyNzI3ODI3LTItOA==</ReceiptHandle><ReceiptHandle>1-ODU4OTkzNDU5NC0xNDM1MTk3NjAwLTItNg==</ReceiptHandle></ReceiptHandles>"#
        );
        assert!(handles(&["a&b<c"]).contains("a&amp;b&lt;c"));
    }

    proptest! {
        #[test]
        fn no_answer_is_too_odd(status in 100u16..600, body in ".{0,200}") {
            let answer = answer(status, &body);
            let _ = (messages(&answer), not_deleted(&answer), attributes(&answer));
        }
    }
}
