//! One call: its turn, its signature, its attempts, and what came back. Repeats only what a repetition
//! can mend at once; everything else is for the queue to wait out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tracing::Instrument;

use super::error::{Break, THROTTLED};
use super::quota::LONGEST_WAIT;
use super::{Error, Inner, Operation, Parameters, http, wire};
use crate::error::Class;
use crate::telemetry::{self, spans};
use crate::vod::credentials::Credential;

/// Waits between attempts start about here and double.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// A throttling answer that asks for no more than this is waited out on the spot, once.
const SHORT_THROTTLE: Duration = Duration::from_secs(2);

/// What may still be done about failures.
struct Remedies {
    retries: u32,
    new_key: bool,
    new_time: bool,
    throttle: bool,
}

/// Whether a call has its turn already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Take,
    Taken,
}

pub(super) async fn call<T: DeserializeOwned>(
    inner: &Inner,
    operation: Operation,
    parameters: &Parameters,
    turn: Turn,
) -> Result<T, Error> {
    let whole = attempts(inner, operation, parameters, turn);
    let longest = match turn {
        Turn::Take => inner.settings.longest_call(),
        Turn::Taken => inner.settings.longest_call().saturating_sub(LONGEST_WAIT),
    };
    match tokio::time::timeout(longest, whole).await {
        Ok(result) => result,
        Err(elapsed) => Err(too_long(operation, elapsed)),
    }
}

/// A call that was cut off where the longest of them has to end.
fn too_long(operation: Operation, elapsed: Elapsed) -> Error {
    let source = Arc::new(elapsed);
    Error::Transport { operation: operation.name(), how: Break::Timeout, ambiguous: true, source }
}

async fn attempts<T: DeserializeOwned>(
    inner: &Inner,
    operation: Operation,
    parameters: &Parameters,
    turn: Turn,
) -> Result<T, Error> {
    let name = operation.name();
    let no_key = |source| Error::Credentials { operation: name, source };
    let mut credential = inner.credentials.get().await.map_err(no_key)?;
    if turn == Turn::Take {
        take_turn(inner, operation).await?;
    }
    let last_start = Instant::now() + inner.settings.timeout;
    let mut left =
        Remedies { retries: inner.settings.retries, new_key: true, new_time: true, throttle: true };
    loop {
        let started = Instant::now();
        let attempt = attempt(inner, operation, parameters, &credential);
        let result = attempt.instrument(spans::attempt(name)).await;
        let error = match result {
            Ok(reply) => {
                telemetry::api_call(name, None, started.elapsed());
                return Ok(reply);
            }
            Err(error) => error,
        };
        telemetry::api_call(name, Some(error.reason().as_str()), started.elapsed());
        tracing::debug!(
            operation = name,
            reason = %error.reason(),
            duration_ms = started.elapsed().as_millis() as u64,
            "a VOD call failed"
        );
        if let Class::Deferred { after } = error.class() {
            inner.quota.hold(operation, after).await;
        }
        // A write that may have happened, or would have to wait, is not repeated blindly: a person may
        // have changed the cover since. The next attempt of the event looks first.
        let later = matches!(error.class(), Class::Deferred { .. });
        if operation.writes() && (later || error.ambiguous()) {
            return Err(error);
        }
        let wait = if error.is_about_the_key() && left.new_key {
            left.new_key = false;
            let new = inner.credentials.renew(&credential).await.map_err(no_key)?;
            if Arc::ptr_eq(&new, &credential) || new.is_same_key(&credential) {
                return Err(error);
            }
            credential = new;
            Duration::ZERO
        } else {
            match pause(&error, &mut left, inner.settings.retries) {
                Some(wait) => wait,
                None => return Err(error),
            }
        };
        if Instant::now() + wait > last_start {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        // The turn may take longer than is left.
        if take_turn(inner, operation).await.is_err() || Instant::now() > last_start {
            return Err(error);
        }
    }
}

async fn take_turn(inner: &Inner, operation: Operation) -> Result<(), Error> {
    let paced = |after| Error::Paced { operation: operation.name(), after };
    inner.quota.take(operation).await.map_err(paced)
}

/// How long to wait before another attempt; `None` if there is to be none.
fn pause(error: &Error, left: &mut Remedies, retries: u32) -> Option<Duration> {
    if let Class::Deferred { after } = error.class() {
        // The turn comes after the time that the server asked for; the rest is so that not everybody
        // comes back in the same moment.
        let repeat = left.throttle && after <= SHORT_THROTTLE && retries > 0;
        left.throttle = false;
        return repeat.then(|| jitter(THROTTLED / 4));
    }
    // The attempt may have waited long between signing and arriving; a clock that is off stays off.
    if error.is_code("InvalidTimeStamp.Expired") {
        let repeat = left.new_time;
        left.new_time = false;
        return repeat.then_some(Duration::ZERO);
    }
    // A state of the video that passes takes longer than a blip.
    if error.class() != Class::Transient
        || error.is_code("Forbidden.IllegalStatus")
        || left.retries == 0
    {
        return None;
    }
    let wait = backoff(retries - left.retries);
    left.retries -= 1;
    Some(wait)
}

/// How long to wait after so many attempts, not counting the first.
pub(super) fn backoff(repeated: u32) -> Duration {
    jitter((FIRST_WAIT * 2u32.saturating_pow(repeated)).min(LONGEST_BACKOFF))
}

/// Between half of the time and all of it.
fn jitter(most: Duration) -> Duration {
    most.mul_f64(0.5 + fastrand::f64() / 2.0)
}

async fn attempt<T: DeserializeOwned>(
    inner: &Inner,
    operation: Operation,
    parameters: &Parameters,
    credential: &Credential,
) -> Result<T, Error> {
    let name = operation.name();
    let signed = inner.sign(operation, parameters, credential);
    let mut url = inner.endpoint.clone();
    url.set_query(Some(&signed.query));
    let mut request = inner.http.post(url);
    for (header, value) in &signed.headers {
        request = request.header(header, value);
    }
    let answer = http::send(request).await.map_err(|error| broken_off(name, error))?;
    read(name, answer)
}

pub(super) fn broken_off(operation: &'static str, error: http::Error) -> Error {
    match error {
        http::Error::TooLong { status, .. } => Error::Reply {
            operation,
            status,
            why: error.to_string(),
            retry_after: None,
            ambiguous: true,
        },
        http::Error::Transport(source) => {
            // Whatever went wrong after the connection was there may have gone wrong after the effect.
            let how = match &source {
                error if error.is_connect() || error.is_builder() => Break::Connect,
                error if error.is_timeout() => Break::Timeout,
                _ => Break::Lost,
            };
            let ambiguous = how != Break::Connect;
            Error::Transport { operation, how, ambiguous, source: Arc::new(source) }
        }
    }
}

fn read<T: DeserializeOwned>(operation: &'static str, answer: http::Answer) -> Result<T, Error> {
    let http::Answer { status, retry_after, body, .. } = answer;
    let body = unwrapped(operation, body);
    let is_success = (200..300).contains(&status);
    let odd = |why: String| Error::Reply {
        operation,
        status,
        why,
        retry_after,
        ambiguous: is_success || status >= 500,
    };
    let envelope: wire::Envelope = serde_json::from_slice(&body)
        .map_err(|error| odd(format!("no JSON object ({:?})", error.classify())))?;
    let code = envelope.code.filter(|code| !(is_success && is_no_error(code)));
    spans::answered(envelope.request_id.as_deref(), code.as_deref());
    if let Some(code) = code {
        let is_duplicate = code.eq_ignore_ascii_case("SignatureNonceUsed");
        return Err(Error::Api {
            operation,
            code: code.chars().take(100).collect(),
            message: without_signed_text(&envelope.message.unwrap_or_default()),
            status,
            request_id: envelope.request_id.unwrap_or_else(|| "unknown".to_owned()),
            retry_after,
            ambiguous: status >= 500 || is_duplicate,
        });
    }
    if !is_success {
        return Err(odd("it has no code".to_owned()));
    }
    // Every documented answer has one; without it, this may be anybody's JSON.
    if envelope.request_id.is_none() {
        return Err(odd("it has no RequestId".to_owned()));
    }
    serde_json::from_slice(&body).map_err(|error| odd(error.to_string()))
}

/// A documented sample of CreateUploadImage holds the whole answer in a member of its own.
fn unwrapped(operation: &str, body: Bytes) -> Bytes {
    let wrapper = format!("{operation}Response");
    // It comes first, and answers are long: only what looks like it is read for it.
    let start = body.get(..body.len().min(64)).unwrap_or_default();
    if !String::from_utf8_lossy(start).contains(&wrapper) {
        return body;
    }
    match serde_json::from_slice::<BTreeMap<String, Value>>(&body) {
        Ok(mut outer) if outer.len() == 1 => match outer.remove(&wrapper) {
            Some(inner @ Value::Object(_)) => inner.to_string().into(),
            _ => body,
        },
        _ => body,
    }
}

fn is_no_error(code: &str) -> bool {
    ["200", "ok", "success"].contains(&code.to_ascii_lowercase().as_str())
}

/// Alibaba repeats the whole text it signed, STS token included, when a signature is wrong.
fn without_signed_text(message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    let end = ["server string to sign", "string to sign is", "securitytoken", "accesskeyid="]
        .iter()
        .filter_map(|mark| lower.find(mark))
        .min()
        .unwrap_or(message.len());
    let kept = message.get(..end).unwrap_or_default();
    kept.chars().filter(|c| !c.is_control()).take(300).collect::<String>().trim().to_owned()
}
