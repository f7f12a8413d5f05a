//! The HTTP side: one request to the API from its bytes to its answer. The lock on the
//! account is never held while anything waits.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header, request};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::any;
use jiff::Timestamp;
use serde_json::Value;

use super::account::{Call, Verdict};
use super::api::{Api, Operation};
use super::auth::{Params, Signed};
use super::fault::{Hit, Kind};
use super::listener::Peer;
use super::reply::{ApiError, response};
use super::{Simulator, control, oss, picture, smq};

/// Longest body of a request to the API, in bytes.
const MAX_BODY: usize = 1024 * 1024;

pub(super) const SLOW: Duration = Duration::from_secs(3);
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn router(simulator: Simulator) -> Router {
    Router::new()
        .route("/", any(api))
        .nest("/_sim", control::router())
        .route("/queues/{name}", any(smq::attributes))
        .route("/queues/{name}/messages", any(smq::messages))
        .fallback(other)
        .with_state(simulator)
}

/// How a call ends for its client.
pub(super) enum End {
    Answer(Result<Value, ApiError>),
    /// A gateway's page instead of VOD's answer.
    Html(StatusCode),
    Reset,
    /// Silence for this long, then a reset.
    Silence(Duration),
}

async fn api(
    State(simulator): State<Simulator>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let arrived = simulator.now();
    let call = Incoming::read(&parts, &body);
    let as_json = wants_json(&call.params, &parts.headers);
    let action = call.action.clone();
    let end = match simulator.admit(&call, &parts, &body) {
        Ok((operation, hit)) => {
            let kind = hit.map(|hit| hit.kind);
            let apply = move |simulator: &Simulator| {
                simulator.apply(operation, &call.params, kind, arrived)
            };
            simulator.carry_out(operation, hit, apply).await
        }
        Err(error) => {
            simulator.refuse(call.action, &error, None);
            End::Answer(Err(error))
        }
    };
    finish(&peer, end, |answer| response(&action, answer, as_json)).await
}

pub(super) async fn finish(
    peer: &Peer,
    end: End,
    write: impl FnOnce(Result<Value, ApiError>) -> Response,
) -> Response {
    match end {
        End::Answer(answer) => write(answer),
        End::Html(status) => {
            (status, Html("<html><body>Bad Gateway</body></html>")).into_response()
        }
        End::Reset => reset(peer),
        End::Silence(time) => {
            tokio::time::sleep(time).await;
            reset(peer)
        }
    }
}

/// What an incoming request asks for.
struct Incoming {
    action: Cow<'static, str>,
    params: Params,
}

impl Incoming {
    fn read(parts: &request::Parts, body: &Bytes) -> Self {
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let form = kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let params = Params::read(parts.uri.query().unwrap_or_default(), form.then_some(body));
        let action = signed(parts, body, &params).action().unwrap_or_default();
        let action = match Operation::named(action) {
            Some(operation) => operation.name().into(),
            None => action.chars().take(64).collect::<String>().into(),
        };
        Self { action, params }
    }
}

impl Simulator {
    /// Everything that is checked before the operation itself, in the gateway's order: is there such an
    /// operation, who calls, may they call that often; and what fault comes in between.
    fn admit(
        &self,
        call: &Incoming,
        parts: &request::Parts,
        body: &Bytes,
    ) -> Result<(Operation, Option<Hit>), ApiError> {
        if parts.method != Method::GET && parts.method != Method::POST {
            let message = "The HTTP method is not supported.";
            return Err(ApiError::new(400, "UnsupportedHTTPMethod", message));
        }
        let signed = signed(parts, body, &call.params);
        let action = signed.action()?;
        if signed.version()? != "2017-03-21" {
            let message = "Specified parameter Version is not valid.";
            return Err(ApiError::new(400, "NoSuchVersion", message));
        }
        let operation = Operation::named(action).ok_or_else(ApiError::no_such_api)?;
        let (key, now) = (self.key(), self.now());
        let nonce = signed.verify(&key, now)?;
        if !self.nonces().remember(nonce, now) {
            let message = "Specified signature nonce was used already.";
            return Err(ApiError::new(400, "SignatureNonceUsed", message));
        }
        if !self.quota().admit(operation, Instant::now()) {
            return Err(ApiError::throttled());
        }
        Ok((operation, self.faults().strike(operation)))
    }

    /// Lets a call take effect by `apply`, and its answer meet the fault.
    pub(super) async fn carry_out(
        &self,
        operation: Operation,
        hit: Option<Hit>,
        apply: impl FnOnce(&Self) -> Result<Value, ApiError> + Send + 'static,
    ) -> End {
        let kind = hit.map(|hit| hit.kind);
        let duration = hit.and_then(|hit| hit.duration);
        if let Some(end) = kind.and_then(|kind| self.before(operation, kind, duration)) {
            return end;
        }
        let slow = if kind == Some(Kind::Slow) { duration.unwrap_or(SLOW) } else { Duration::ZERO };
        let wait = self.latency() + slow;
        let answer = if wait.is_zero() {
            apply(self)
        } else {
            // In a task of its own: a server goes on when its client has left.
            let simulator = self.clone();
            let work = tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                apply(&simulator)
            });
            match work.await {
                Ok(answer) => answer,
                Err(_) => return End::Reset,
            }
        };
        match kind {
            Some(Kind::TimeoutAfterApply) => End::Silence(duration.unwrap_or(TIMEOUT)),
            Some(Kind::ResetAfterApply) => End::Reset,
            Some(Kind::Garbage) => End::Html(StatusCode::OK),
            _ => End::Answer(answer),
        }
    }

    /// The end of a call that a fault keeps from taking effect; `None` if it does take effect.
    fn before(&self, operation: Operation, kind: Kind, duration: Option<Duration>) -> Option<End> {
        let error =
            |status, code: &'static str, message: &str| ApiError::new(status, code, message);
        let unavailable = || error(503, "ServiceUnAvailable", "The service is unavailable.");
        let refusal = match kind {
            Kind::Slow | Kind::TimeoutAfterApply | Kind::ResetAfterApply | Kind::Garbage => {
                return None;
            }
            Kind::Reset | Kind::Timeout => {
                self.record(operation.name().into(), Verdict::Unanswered, Some(kind));
                let silence = End::Silence(duration.unwrap_or(TIMEOUT));
                return Some(if kind == Kind::Reset { End::Reset } else { silence });
            }
            Kind::Error5xx => match self.faults().pick(4) {
                0 => error(500, "InternalError", "The request processing has failed."),
                1 => unavailable(),
                gateway => {
                    let status =
                        [StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT][gateway - 2];
                    let verdict = Verdict::Error(status.as_str().to_owned().into());
                    self.record(operation.name().into(), verdict, Some(kind));
                    return Some(End::Html(status));
                }
            },
            Kind::Unavailable => unavailable(),
            Kind::Throttle => ApiError { retry_after: duration, ..ApiError::throttled() },
            Kind::Forbidden => error(403, "Forbidden.RAM", "User not authorized to operate."),
            Kind::Suspended => {
                error(403, "OperationDenied.Suspended", "Your VOD service is suspended.")
            }
            Kind::TokenExpired => {
                error(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
            }
            Kind::NotFound => error(404, "InvalidVideo.NotFound", "The video does not exist."),
        };
        let refusal = match operation {
            Operation::PutObject => oss::refusal(kind).unwrap_or(refusal),
            Operation::BatchReceiveMessage
            | Operation::BatchDeleteMessage
            | Operation::GetQueueAttributes => smq::refusal(kind).unwrap_or(refusal),
            _ => refusal,
        };
        self.refuse(operation.name().into(), &refusal, Some(kind));
        Some(End::Answer(Err(refusal)))
    }

    /// Carries the operation out, in one short turn of the lock, and journals it.
    fn apply(
        &self,
        operation: Operation,
        params: &Params,
        fault: Option<Kind>,
        arrived: Timestamp,
    ) -> Result<Value, ApiError> {
        let now = self.now();
        self.change(|account, events| {
            let url_key = self.url_key();
            let mut api = Api { account, params, url_key, now, named: Vec::new(), events };
            let answer = api.answer(operation);
            let videos = api.named;
            let verdict = match &answer {
                Ok(_) => Verdict::Ok,
                Err(error) => Verdict::Error(error.code.clone()),
            };
            let operation = operation.name().into();
            let call = |seq| Call { seq, arrived, at: now, operation, videos, verdict, fault };
            account.journal.push(call);
            answer
        })
    }

    pub(super) fn refuse(&self, action: Cow<'static, str>, error: &ApiError, fault: Option<Kind>) {
        let verdict = match error.code.starts_with("Throttling") {
            true => Verdict::Throttled,
            false => Verdict::Error(error.code.clone()),
        };
        self.record(action, verdict, fault);
    }

    fn record(&self, operation: Cow<'static, str>, verdict: Verdict, fault: Option<Kind>) {
        let (at, videos) = (self.now(), Vec::new());
        let call = |seq| Call { seq, arrived: at, at, operation, videos, verdict, fault };
        self.account().journal.push(call);
    }
}

async fn other(
    State(simulator): State<Simulator>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    match oss::is_asked(&request) {
        true => oss::put(simulator, peer, request).await,
        false => picture::get(simulator, peer, request.uri()).await,
    }
}

fn signed<'a>(parts: &'a request::Parts, body: &'a Bytes, params: &'a Params) -> Signed<'a> {
    Signed {
        method: parts.method.as_str(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body,
        params,
    }
}

/// XML is the default of the API.
fn wants_json(params: &Params, headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    match params.get("Format") {
        Some(format) => format.eq_ignore_ascii_case("JSON"),
        None => accept.is_some_and(|accept| accept.contains("json")),
    }
}

/// What is returned here never reaches the peer.
pub(super) fn reset(peer: &Peer) -> Response {
    peer.reset();
    Response::new(Body::empty())
}
