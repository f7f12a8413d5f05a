//! The control plane below `/_sim/`, for curl and for tests in other processes. It is not signed, counts
//! against no quota and meets no fault; nothing in it belongs to VOD. The routes are described in
//! [`crate::sim`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post, put};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::video::NewVideo;
use super::{By, Simulator};

/// Before the connections are cut, so that the answer gets out.
const BEFORE_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn router() -> Router<Simulator> {
    Router::new()
        .route("/health", get(async || "ok\n"))
        .route("/journal", get(journal))
        .route("/changes", get(changes))
        .route("/covers", get(covers))
        .route("/flaws", get(flaws))
        .route("/events", get(events))
        .route("/lost", get(lost))
        .route("/smq", get(smq))
        .route("/uploads", get(uploads))
        .route("/videos", get(videos).post(add_video))
        .route("/edit", post(edit))
        .route("/delete", post(delete))
        .route("/finish-upload", post(finish_upload))
        .route("/ai-jobs", get(ai_jobs))
        .route("/finish-ai", post(finish_ai))
        .route("/faults", get(faults).put(set_faults).delete(clear_faults))
        .route("/secret", put(set_secret))
        .route("/emit", post(emit))
        .route("/pause", post(pause))
}

/// Videos whose events are made in one go.
const EVENTS_AT_ONCE: usize = 1000;

const NDJSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/x-ndjson")];

/// Said with HTTP 400.
struct Refusal(String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({ "error": self.0 }))).into_response()
    }
}

/// Bodies are read whatever their Content-Type says, so that `curl -d` works.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Refusal(format!("the body does not fit: {error}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    #[serde(default)]
    since: u64,
    by: Option<String>,
    video: Option<String>,
}

impl Since {
    fn is_for(&self, video: &str) -> bool {
        self.video.as_deref().is_none_or(|wanted| wanted == video)
    }
}

async fn journal(State(simulator): State<Simulator>, Query(query): Query<Since>) -> Response {
    let mut calls = simulator.journal_since(query.since);
    if query.video.is_some() {
        calls.retain(|call| call.videos.iter().any(|video| query.is_for(video)));
    }
    listed("calls", calls, simulator.account().journal.written())
}

async fn changes(State(simulator): State<Simulator>, Query(query): Query<Since>) -> Response {
    let mut changes = simulator.cover_changes_since(query.since);
    let name = |by| match by {
        By::Api => "api",
        By::Default => "default",
        By::Editor => "editor",
    };
    changes.retain(|change| {
        query.by.as_deref().is_none_or(|by| by == name(change.by)) && query.is_for(&change.video)
    });
    listed("changes", changes, simulator.account().changes.written())
}

/// `last` is what to ask for with `since` the next time.
fn listed<T: Serialize>(name: &str, entries: Vec<T>, last: u64) -> Response {
    Json(json!({ name: entries, "last": last })).into_response()
}

#[derive(Deserialize)]
struct Which {
    video: Option<String>,
}

async fn covers(State(simulator): State<Simulator>, Query(which): Query<Which>) -> Response {
    let account = simulator.account();
    let wanted = |id: &str| which.video.as_deref().is_none_or(|video| video == id);
    let videos = account.videos.iter().filter(|video| wanted(&video.id));
    let covers: Map<String, Value> =
        videos.map(|video| (video.id.to_string(), json!(video.cover))).collect();
    Json(covers).into_response()
}

async fn flaws(State(simulator): State<Simulator>, Query(which): Query<Which>) -> Response {
    let wanted = |id: &String| which.video.as_deref().is_none_or(|video| video == id);
    let of = |id: String| {
        let flaws = simulator.flaws_of(&id).into_iter();
        let flaws: Map<String, Value> =
            flaws.map(|(at, what)| (at.to_string(), json!(what))).collect();
        (id, Value::Object(flaws))
    };
    let all: Map<String, Value> = simulator.videos().into_iter().filter(wanted).map(of).collect();
    Json(all).into_response()
}

async fn videos(State(simulator): State<Simulator>) -> Response {
    let account = simulator.account();
    let video = |video: &super::video::Video| {
        json!({
            "id": video.id, "title": video.title, "cover": video.cover, "status": video.status,
            "snapshots": video.snapshots, "smart": video.smart, "forbidden": video.forbidden,
        })
    };
    Json(account.videos.iter().map(video).collect::<Vec<_>>()).into_response()
}

async fn add_video(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Refusal> {
    let new: NewVideo = read(&body)?;
    let id = simulator.add_video(new).map_err(|error| Refusal(error.to_string()))?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
}

#[derive(Deserialize)]
struct Edit {
    video: String,
    url: String,
}

async fn edit(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Refusal> {
    let edit: Edit = read(&body)?;
    done(simulator.edit_cover(&edit.video, &edit.url), &edit.video)
}

#[derive(Deserialize)]
struct One {
    video: String,
}

async fn delete(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Refusal> {
    let one: One = read(&body)?;
    done(simulator.delete_video(&one.video), &one.video)
}

async fn ai_jobs(State(simulator): State<Simulator>) -> Response {
    Json(simulator.ai_jobs()).into_response()
}

async fn finish_ai(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Refusal> {
    let one: One = read(&body)?;
    done(simulator.finish_ai(&one.video), &one.video)
}

async fn finish_upload(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let one: One = read(&body)?;
    done(simulator.finish_upload(&one.video), &one.video)
}

fn done(known: bool, video: &str) -> Result<Response, Refusal> {
    match known {
        true => Ok(Json(json!({})).into_response()),
        false => Err(Refusal(format!("there is no video {video:?}"))),
    }
}

#[derive(Deserialize)]
struct WhichEvents {
    video: Option<String>,
    duplicates: Option<f64>,
    shuffle: Option<u8>,
    /// `snapshots` (the default) or `changes`.
    kind: Option<String>,
    /// For `changes`.
    #[serde(default)]
    since: u64,
}

async fn events(State(simulator): State<Simulator>, Query(query): Query<WhichEvents>) -> Response {
    let mut last = None;
    let events = match (query.kind.as_deref(), &query.video) {
        (Some("changes"), _) => {
            let (events, seq) = simulator.change_events_since(query.since);
            last = Some(seq);
            events
        }
        (_, Some(video)) => simulator.events(video),
        _ if query.shuffle == Some(1) || query.duplicates.is_some() => {
            simulator.shuffled_events(query.duplicates.unwrap_or_default())
        }
        _ => return (NDJSON, in_order(simulator)).into_response(),
    };
    let last = last.map(|seq| [("x-sim-last", seq.to_string())]);
    (last, NDJSON, lines(&events)).into_response()
}

/// Written as it is read, since a million of them fill a gigabyte.
fn in_order(simulator: Simulator) -> Body {
    let videos: Vec<_> = simulator.account().videos.iter().map(|video| video.id.clone()).collect();
    let mut videos = videos.into_iter();
    let some = std::iter::from_fn(move || {
        let some = videos.by_ref().take(EVENTS_AT_ONCE);
        let events: Vec<_> = some.flat_map(|video| simulator.events(&video)).collect();
        (!events.is_empty()).then(|| Ok::<_, Infallible>(lines(&events)))
    });
    Body::from_stream(futures_util::stream::iter(some))
}

fn lines(events: &[Bytes]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(events.iter().map(|event| event.len() + 1).sum());
    for event in events {
        lines.extend_from_slice(event);
        lines.push(b'\n');
    }
    lines
}

async fn smq(State(simulator): State<Simulator>) -> Result<Response, Refusal> {
    let counts = simulator.smq().ok_or_else(|| Refusal("the simulator has no queue".into()))?;
    Ok(Json(counts).into_response())
}

async fn lost(State(simulator): State<Simulator>) -> Response {
    let one = |lost: &super::LostCallback| {
        let body = String::from_utf8_lossy(&lost.body);
        json!({ "at": lost.at, "body": body, "why": lost.why })
    };
    Json(simulator.lost_callbacks().iter().map(one).collect::<Vec<_>>()).into_response()
}

async fn uploads(State(simulator): State<Simulator>) -> Response {
    Json(simulator.uploads()).into_response()
}

async fn faults(State(simulator): State<Simulator>) -> Response {
    let faults: Vec<_> = simulator.faults().active().iter().map(Fault::to_string).collect();
    Json(faults).into_response()
}

async fn set_faults(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Refusal> {
    let faults: Result<Vec<Fault>, _> =
        read::<Vec<String>>(&body)?.iter().map(|text| text.parse()).collect();
    simulator.set_faults(faults.map_err(|error| Refusal(error.to_string()))?);
    Ok(Json(json!({})).into_response())
}

async fn clear_faults(State(simulator): State<Simulator>) -> Response {
    simulator.clear_faults();
    Json(json!({})).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    access_key_id: Option<String>,
    access_key_secret: Option<String>,
    security_token: Option<String>,
}

async fn set_secret(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Refusal> {
    let given: Secret = read(&body)?;
    let mut key = simulator.key().as_ref().clone();
    key.id = given.access_key_id.unwrap_or(key.id);
    key.secret = given.access_key_secret.unwrap_or(key.secret);
    key.token = given.security_token;
    simulator.set_key(Arc::new(key));
    Ok(Json(json!({})).into_response())
}

async fn emit(
    State(simulator): State<Simulator>,
    Query(which): Query<Which>,
) -> Result<Response, Refusal> {
    let emission = match &which.video {
        Some(video) => simulator.emit_events(simulator.events(video)).await,
        None => simulator.emit().await,
    };
    let emission = emission.ok_or_else(|| {
        Refusal("the simulator has neither a callback URL nor a queue of SMQ".into())
    })?;
    let body = json!({ "delivered": emission.delivered, "lost": emission.lost });
    Ok(Json(body).into_response())
}

#[derive(Deserialize)]
struct Pause {
    seconds: f64,
}

async fn pause(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Refusal> {
    let pause: Pause = read(&body)?;
    let time = Duration::try_from_secs_f64(pause.seconds)
        .map_err(|error| Refusal(format!("seconds: {error}")))?;
    tokio::spawn(async move {
        tokio::time::sleep(BEFORE_PAUSE).await;
        if let Err(error) = simulator.pause().await {
            tracing::error!(%error, "the simulator cannot pause");
        }
        tokio::time::sleep(time).await;
        if let Err(error) = simulator.resume().await {
            tracing::error!(%error, "the simulator cannot resume");
        }
    });
    Ok(StatusCode::ACCEPTED.into_response())
}
