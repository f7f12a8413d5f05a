//! A queue of SMQ (formerly MNS), into which the account puts its events if it has one: BatchReceiveMessage
//! with long polling, BatchDeleteMessage, GetQueueAttributes. Written from SMQ's documentation and checked
//! against published vectors; it must never use the client's own signing code.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/mns/developer-reference/batchreceivemessage>,
//! <https://www.alibabacloud.com/help/en/mns/sign-requests>

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use quick_xml::escape::escape;
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::Sha1;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::Simulator;
use super::account::{Call, Verdict};
use super::api::Operation;
use super::auth::{Key, Params};
use super::fault::Kind;
use super::http::{End, finish};
use super::listener::Peer;
use super::reply::ApiError;

mod queue;

pub use queue::Counts;
use queue::Queue;

const BATCH: usize = 16;
const MOST: usize = 1024 * 1024;
const SKEW: SignedDuration = SignedDuration::from_mins(15);
const NAMESPACE: &str = "http://mns.aliyuncs.com/doc/v1/";

/// What can be chosen about the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub name: String,
    /// How long a message that was received is invisible.
    pub visibility: Duration,
    /// Whether VOD puts its events there in Base64, which its documentation leaves open.
    pub base64: bool,
    /// Long polls at once; one more is answered at once, as if the queue were empty.
    pub places: usize,
}

impl Settings {
    pub fn named(name: &str) -> Self {
        let visibility = Duration::from_secs(30);
        Self { name: name.to_owned(), visibility, base64: false, places: 64 }
    }
}

pub(super) struct Smq {
    settings: Settings,
    queue: Mutex<Queue>,
    arrived: Notify,
    places: Semaphore,
}

impl Smq {
    pub fn new(settings: Settings) -> Self {
        let queue = Mutex::new(Queue::new(settings.visibility));
        let places = Semaphore::new(settings.places);
        Self { settings, queue, arrived: Notify::new(), places }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        super::lock(&self.queue)
    }
}

impl Simulator {
    /// Puts messages into the queue as they are; does nothing without one.
    pub fn enqueue(&self, bodies: impl IntoIterator<Item = String>) {
        let Some(smq) = &self.0.smq else { return };
        let now = self.now();
        let mut queue = smq.queue();
        bodies.into_iter().for_each(|body| queue.send(body, now));
        smq.arrived.notify_waiters();
    }

    /// Puts events into the queue as VOD would.
    pub(super) fn enqueue_events(&self, events: &[Bytes]) {
        let Some(smq) = &self.0.smq else { return };
        self.enqueue(events.iter().map(|event| match smq.settings.base64 {
            true => STANDARD.encode(event),
            false => String::from_utf8_lossy(event).into_owned(),
        }));
    }

    /// `None` without a queue.
    pub fn smq(&self) -> Option<Counts> {
        let smq = self.0.smq.as_ref()?;
        Some(smq.queue().counts(self.now()))
    }
}

/// Serves `/queues/{name}`.
pub(super) async fn attributes(
    State(simulator): State<Simulator>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    serve(simulator, peer, name, request, &[(Method::GET, Operation::GetQueueAttributes)]).await
}

/// Serves `/queues/{name}/messages`.
pub(super) async fn messages(
    State(simulator): State<Simulator>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let operations = [
        (Method::GET, Operation::BatchReceiveMessage),
        (Method::DELETE, Operation::BatchDeleteMessage),
    ];
    serve(simulator, peer, name, request, &operations).await
}

async fn serve(
    simulator: Simulator,
    peer: Peer,
    name: String,
    request: Request,
    operations: &[(Method, Operation)],
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let operation = operations.iter().find(|(method, _)| *method == parts.method);
    let checked = check(&simulator, &parts, &name, operation.map(|(_, operation)| *operation));
    let end = match checked {
        Ok(operation) => {
            let hit = simulator.faults().strike(operation);
            if hit.is_none() && operation == Operation::BatchReceiveMessage {
                simulator.wait_for_message(&parts).await;
            }
            let fault = hit.map(|hit| hit.kind);
            let query = parts.uri.query().unwrap_or_default().to_owned();
            let apply =
                move |simulator: &Simulator| simulator.carry(operation, &query, &body, fault);
            simulator.carry_out(operation, hit, apply).await
        }
        Err(error) => {
            let name = operation.map_or("SMQ", |(_, operation)| operation.name());
            simulator.refuse(name.into(), &error, None);
            End::Answer(Err(error))
        }
    };
    finish(&peer, end, write).await
}

/// What SMQ says where VOD would say something else.
pub(super) fn refusal(kind: Kind) -> Option<ApiError> {
    let (status, code) = match kind {
        Kind::Throttle => (429, "TooManyRequests"),
        Kind::Forbidden | Kind::Suspended => (403, "AccessDenied"),
        Kind::TokenExpired => (403, "InvalidSecurityToken"),
        Kind::NotFound => (404, "QueueNotExist"),
        Kind::Unavailable => (503, "InternalServerError"),
        _ => return None,
    };
    Some(ApiError::new(status, code, "The request was refused by a fault."))
}

impl Simulator {
    /// A long poll, without taking anything.
    async fn wait_for_message(&self, parts: &request::Parts) {
        let Some(smq) = &self.0.smq else { return };
        let Ok(_place) = smq.places.try_acquire() else { return };
        let params = Params::read(parts.uri.query().unwrap_or_default(), None);
        let seconds = params.get("waitseconds").and_then(|text| text.parse().ok()).unwrap_or(0);
        let end = Instant::now() + Duration::from_secs(seconds);
        while !smq.queue().has_visible(self.now()) && Instant::now() < end {
            // What becomes visible again is noticed by looking.
            let look = end.min(Instant::now() + Duration::from_millis(50));
            let _ = timeout_at(look, smq.arrived.notified()).await;
        }
    }

    fn carry(
        &self,
        operation: Operation,
        query: &str,
        body: &Bytes,
        fault: Option<Kind>,
    ) -> Result<Value, ApiError> {
        let answer = match operation {
            Operation::BatchReceiveMessage => self.receive(query),
            Operation::BatchDeleteMessage => self.delete(body),
            _ => self.describe(),
        };
        let verdict = match &answer {
            Ok(_) => Verdict::Ok,
            Err(error) => Verdict::Error(error.code.clone()),
        };
        let (at, videos, operation) = (self.now(), Vec::new(), operation.name().into());
        let call = |seq| Call { seq, arrived: at, at, operation, videos, verdict, fault };
        self.account().journal.push(call);
        answer
    }

    fn receive(&self, query: &str) -> Result<Value, ApiError> {
        let params = Params::read(query, None);
        let number = |name| params.get(name).map(str::parse::<usize>).transpose();
        let invalid = |_| ApiError::new(400, "InvalidArgument", "A parameter is no number.");
        let count = number("numOfMessages").map_err(invalid)?.unwrap_or(0);
        let wait = number("waitseconds").map_err(invalid)?.unwrap_or(0);
        if !(1..=BATCH).contains(&count) || wait > 30 {
            let message = "The value of numOfMessages or waitseconds is out of range.";
            return Err(ApiError::new(400, "InvalidArgument", message));
        }
        let smq = self.0.smq.as_ref().ok_or_else(no_queue)?;
        let received = smq.queue().receive(count, self.now());
        if received.is_empty() {
            return Err(ApiError::new(404, "MessageNotExist", "Message not exist."));
        }
        let texts: String = received.iter().map(message).collect();
        Ok(json!(format!("<Messages xmlns=\"{NAMESPACE}\">{texts}</Messages>")))
    }

    fn delete(&self, body: &Bytes) -> Result<Value, ApiError> {
        #[derive(Deserialize)]
        struct Handles {
            #[serde(rename = "ReceiptHandle", default)]
            handles: Vec<String>,
        }
        let text = String::from_utf8_lossy(body);
        let handles = quick_xml::de::from_str::<Handles>(&text).map(|read| read.handles);
        let malformed = |_| ApiError::new(400, "MalformedXML", "The XML is not well formed.");
        let handles = handles.map_err(malformed)?;
        if handles.is_empty() || handles.len() > BATCH {
            return Err(ApiError::new(400, "InvalidArgument", "From 1 to 16 ReceiptHandles."));
        }
        let smq = self.0.smq.as_ref().ok_or_else(no_queue)?;
        let (mut queue, now) = (smq.queue(), self.now());
        let failed = handles.iter().filter_map(|handle| {
            let code = queue.delete(handle, now).err()?;
            Some(format!(
                "<Error><ErrorCode>{code}</ErrorCode><ErrorMessage>It is not valid.</ErrorMessage>\
                 <ReceiptHandle>{}</ReceiptHandle></Error>",
                escape(handle.as_str())
            ))
        });
        let failed: String = failed.collect();
        Ok(match failed.is_empty() {
            true => Value::Null,
            false => json!(format!("<Errors xmlns=\"{NAMESPACE}\">{failed}</Errors>")),
        })
    }

    fn describe(&self) -> Result<Value, ApiError> {
        let smq = self.0.smq.as_ref().ok_or_else(no_queue)?;
        let (name, visibility) = (&smq.settings.name, smq.settings.visibility.as_secs());
        Ok(json!(format!(
            "<Queue xmlns=\"{NAMESPACE}\"><QueueName>{name}</QueueName>\
             <VisibilityTimeout>{visibility}</VisibilityTimeout>\
             <MessageRetentionPeriod>345600</MessageRetentionPeriod>\
             <PollingWaitSeconds>0</PollingWaitSeconds></Queue>"
        )))
    }
}

fn message(one: &queue::Message) -> String {
    let (id, handle, body) = (&one.id, escape(one.handle.as_str()), escape(one.body.as_str()));
    let (enqueued, times) = (one.enqueued.as_millisecond(), one.times);
    let next = one.next_visible.as_millisecond();
    format!(
        "<Message><MessageId>{id}</MessageId><ReceiptHandle>{handle}</ReceiptHandle>\
         <MessageBody>{body}</MessageBody><EnqueueTime>{enqueued}</EnqueueTime>\
         <NextVisibleTime>{next}</NextVisibleTime><DequeueCount>{times}</DequeueCount>\
         <Priority>8</Priority></Message>"
    )
}

/// An XML text; none is 204, and a list of errors comes as 404.
fn write(answer: Result<Value, ApiError>) -> Response {
    let (status, text) = match answer {
        Ok(Value::String(text)) if text.starts_with("<Errors") => (StatusCode::NOT_FOUND, text),
        Ok(Value::String(text)) => (StatusCode::OK, text),
        Ok(_) => return StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            let status = StatusCode::from_u16(error.status);
            let (code, message) = (escape(&*error.code), escape(error.message.as_str()));
            let text = format!(
                "<Error xmlns=\"{NAMESPACE}\"><Code>{code}</Code><Message>{message}</Message>\
                 <RequestId>512B2A634403E52B1956133E</RequestId><HostId>http://simulated</HostId></Error>"
            );
            (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), text)
        }
    };
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n{text}");
    (status, [(header::CONTENT_TYPE, "text/xml;charset=UTF-8")], text).into_response()
}

fn check(
    simulator: &Simulator,
    parts: &request::Parts,
    name: &str,
    operation: Option<Operation>,
) -> Result<Operation, ApiError> {
    check_signature(parts, &simulator.key(), simulator.now())?;
    let known = simulator.0.smq.as_ref().is_some_and(|smq| smq.settings.name == name);
    if !known {
        return Err(no_queue());
    }
    operation.ok_or_else(|| ApiError::new(400, "InvalidRequestURL", "The method is not supported."))
}

fn check_signature(parts: &request::Parts, key: &Key, now: Timestamp) -> Result<(), ApiError> {
    let header = |name| text(&parts.headers, name);
    let missing = |code: &'static str| ApiError::new(400, code, "A header is missing.");
    let refused = |code: &'static str, message: &str| Err(ApiError::new(403, code, message));
    if header("x-mns-version").is_none() {
        return Err(missing("MissingVersionHeader"));
    }
    let date = header("date").ok_or_else(|| missing("MissingDateHeader"))?;
    let authorization =
        header("authorization").ok_or_else(|| missing("MissingAuthorizationHeader"))?;
    let time = jiff::fmt::rfc2822::parse(date).map(|time| time.timestamp());
    let time = time.map_err(|_| ApiError::new(400, "InvalidDateHeader", "It is no date."))?;
    if now.duration_since(time).abs() > SKEW {
        return Err(ApiError::new(408, "TimeExpired", "The date is too far from now."));
    }
    let given = authorization.strip_prefix("MNS ").and_then(|rest| rest.split_once(':'));
    let Some((id, given)) = given else {
        let message = "It must be MNS, an id and a signature.";
        return Err(ApiError::new(400, "InvalidAuthorizationHeader", message));
    };
    if id != key.id {
        return refused("InvalidAccessKeyId", "The AccessKey ID does not exist.");
    }
    if key.token.as_deref() != header("security-token") {
        return refused("InvalidSecurityToken", "The security token is not valid.");
    }
    if given != signature(&key.secret, &to_sign(parts)) {
        return refused("SignatureDoesNotMatch", "The signature does not match.");
    }
    Ok(())
}

fn to_sign(parts: &request::Parts) -> String {
    let header = |name| text(&parts.headers, name).unwrap_or_default();
    let names = parts.headers.keys().map(|name| name.as_str());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("x-mns-")).collect();
    names.sort_unstable();
    let lines: String = names.iter().map(|name| format!("{name}:{}\n", header(name))).collect();
    let (method, path) = (&parts.method, parts.uri.path());
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let [md5, kind, date] = ["content-md5", "content-type", "date"].map(header);
    format!("{method}\n{md5}\n{kind}\n{date}\n{lines}{path}{query}")
}

fn signature(secret: &str, text: &str) -> String {
    let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(secret.as_bytes());
    let mac = mac.map(|mac| mac.chain_update(text)).expect("HMAC takes keys of every length");
    STANDARD.encode(mac.finalize().into_bytes())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn no_queue() -> ApiError {
    ApiError::new(404, "QueueNotExist", "The queue does not exist.")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Alibaba's own SDKs compute them.
    #[test]
    fn the_published_signatures_are_reproduced() {
        let request = |method: &str, uri: &str, kind: Option<&str>| {
            let mut request = Request::builder().method(method).uri(uri);
            request = request.header("date", "Wed, 01 May 2024 08:00:00 GMT");
            request = request.header("x-mns-version", "2015-06-06");
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            signature("testAccessKeySecret", &to_sign(&parts))
        };
        let queue = "/queues/vod-callback/messages";
        let receive = format!("{queue}?numOfMessages=16&waitseconds=30");
        assert_eq!(request("GET", &receive, None), "owNs8mghvekjPCWAWwhS02jX8TY=");
        let xml = Some("text/xml;charset=UTF-8");
        assert_eq!(request("DELETE", queue, xml), "bFQZ9LFjFtWKtPtEkKSNiPV81pQ=");
        assert_eq!(request("GET", "/queues/vod-callback", None), "wT6rJNEWf+iuxw7jMOv2o69h+SQ=");
    }
}
