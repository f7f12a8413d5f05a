//! The picture domain: snapshots and smart thumbnails, drawn when they are asked for, and uploaded pictures.
//! With URL signing enforced, only for who has an auth_key. Faults of the operation `GetPicture` hit it.

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use futures_util::{StreamExt, stream};

use super::account::{Call, Verdict};
use super::api::Operation;
use super::fault::{Hit, Kind};
use super::http::{SLOW, TIMEOUT, reset};
use super::listener::Peer;
use super::{Simulator, draw};

pub(super) async fn get(simulator: Simulator, peer: Peer, uri: &Uri) -> Response {
    let now = simulator.now();
    let admitted = simulator.url_key().admits(uri.path(), uri.query().unwrap_or_default(), now);
    let hit = simulator.faults().strike(Operation::GetPicture);
    let response = match admitted {
        true => simulator.struck(&peer, uri, hit).await,
        false => StatusCode::FORBIDDEN.into_response(),
    };
    let status = response.status();
    let verdict = match hit.map(|hit| hit.kind) {
        Some(Kind::Reset | Kind::Timeout) if admitted => Verdict::Unanswered,
        _ if status.is_success() => Verdict::Ok,
        _ => Verdict::Error(status.as_str().to_owned().into()),
    };
    let id = uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
    let mut account = simulator.account();
    let videos = account.video(id).map(|video| video.id.clone()).into_iter().collect();
    let operation = Operation::GetPicture.name().into();
    let fault = hit.map(|hit| hit.kind);
    let call = |seq| Call { seq, arrived: now, at: now, operation, videos, verdict, fault };
    account.journal.push(call);
    drop(account);
    response
}

impl Simulator {
    async fn struck(&self, peer: &Peer, uri: &Uri, hit: Option<Hit>) -> Response {
        let Some(Hit { kind, duration }) = hit else { return self.picture(uri).await };
        match kind {
            Kind::NotFound => StatusCode::NOT_FOUND.into_response(),
            Kind::Forbidden | Kind::Suspended | Kind::TokenExpired => {
                StatusCode::FORBIDDEN.into_response()
            }
            Kind::Error5xx | Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Kind::Throttle => StatusCode::TOO_MANY_REQUESTS.into_response(),
            Kind::Garbage => Html("<html><body>Please log in</body></html>").into_response(),
            Kind::Slow => {
                tokio::time::sleep(duration.unwrap_or(SLOW)).await;
                self.picture(uri).await
            }
            Kind::Timeout | Kind::TimeoutAfterApply => {
                tokio::time::sleep(duration.unwrap_or(TIMEOUT)).await;
                reset(peer)
            }
            Kind::Reset => reset(peer),
            Kind::ResetAfterApply => cut(self.picture(uri).await).await,
        }
    }

    async fn picture(&self, uri: &Uri) -> Response {
        if let Some(stored) = self.account().uploads.picture(uri.path()) {
            let kind = [(header::CONTENT_TYPE, stored.content_type.clone())];
            return (kind, stored.bytes.clone()).into_response();
        }
        let found = uri.path().trim_start_matches('/').split_once('/').and_then(|(id, rest)| {
            let account = self.account();
            let video = account.video(id)?;
            Some((video.seed, video.snapshots, video.picture(rest)?))
        });
        let Some((seed, snapshots, picture)) = found else {
            return StatusCode::NOT_FOUND.into_response();
        };
        // Drawn anew each time, off the threads that serve; the permit keeps the processors free for them.
        let permit = self.permit_to_draw().await;
        let drawn = tokio::task::spawn_blocking(move || draw::jpeg(seed, snapshots, picture)).await;
        drop(permit);
        match drawn {
            Ok(Ok(jpeg)) => ([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response(),
            _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// The head of the answer and half of the body, and then the connection breaks.
async fn cut(whole: Response) -> Response {
    let (parts, body) = whole.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let half: Result<Bytes, std::io::Error> = Ok(bytes.slice(..bytes.len() / 2));
    let broken = stream::once(async { Err(std::io::Error::other("cut on purpose")) });
    let length = bytes.len();
    let body = Body::from_stream(stream::once(async { half }).chain(broken));
    let mut response = Response::from_parts(parts, body);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}
