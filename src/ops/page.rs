//! The page on the ops port, for people: what was decided and why, one video's story, the dead letters. Rendered
//! here, escaped by the template, with one stylesheet and one script, and usable without the latter. It changes
//! nothing but for an operator who gave the token.

use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Form, Router};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ledger::Ledger;
use crate::pipeline::Status;
use crate::queue::Queue;
use crate::vod;
use crate::worker::Newest;

mod access;
mod letters;
mod pictures;
mod recent;
mod state;
mod stream;
mod video;

pub use access::{Access, BadToken};
pub use recent::Recent;

use access::Who;

/// Nothing but what comes from here, and no script or style in the page itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");
const ICON: &str = include_str!("page/icon.svg");

/// What the page shows, and what it can do.
pub struct Site {
    pub queue: Arc<dyn Queue>,
    pub ledger: Arc<dyn Ledger>,
    pub vod: vod::Client,
    pub worker: Newest,
    pub pipeline: Arc<Status>,
    pub recent: Recent,
    pub access: Access,
    pictures: pictures::Pictures,
    spent: state::Spent,
    deeds: letters::Deeds,
}

impl Site {
    pub fn new(
        queue: Arc<dyn Queue>,
        ledger: Arc<dyn Ledger>,
        vod: vod::Client,
        worker: Newest,
        pipeline: Arc<Status>,
        recent: Recent,
        access: Access,
    ) -> Self {
        let (pictures, spent, deeds) = Default::default();
        Self { queue, ledger, vod, worker, pipeline, recent, access, pictures, spent, deeds }
    }
}

pub fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(stream::page))
        .route("/decisions", get(stream::news))
        .route("/state", get(state::fragment))
        .route("/video", get(video::page))
        .route("/video/cover", post(video::choose))
        .route("/dead", get(letters::page))
        .route("/dead/letter", get(letters::letter))
        .route("/dead/foresee", get(letters::foresee))
        .route("/dead/drop", get(letters::confirm).post(letters::discard))
        .route("/dead/retry", post(letters::retry))
        .route("/picture", get(pictures::picture))
        .route("/login", get(login).post(log_in))
        .route("/logout", post(log_out))
        .layer(middleware::from_fn_with_state(Arc::clone(&site), guard))
        .route("/style.css", get(|| asset("text/css; charset=utf-8", STYLE)))
        .route("/script.js", get(|| asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/icon.svg", get(|| asset("image/svg+xml", ICON)))
        .layer(middleware::map_response(secured))
        .with_state(site)
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)
}

async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Lets nobody further who may not look, and nothing change from another site.
async fn guard(State(site): State<Arc<Site>>, mut request: Request, next: Next) -> Response {
    let who = site.access.who(request.headers());
    let logs_in = request.uri().path() == "/login";
    let changes = request.method() != Method::GET && request.method() != Method::HEAD;
    if changes && !Access::is_of_this_site(request.headers()) {
        return Refused::new(StatusCode::FORBIDDEN, "this came from another site").into_response();
    }
    match who {
        _ if logs_in && site.access.has_token() => {}
        Who::Nobody if !site.access.has_token() => {
            let why = "Without a token this page can be seen on loopback only, under the name localhost. Set \
                       ops.token_file or VOD_COVER_OPS_TOKEN, and restart.";
            return Refused::new(StatusCode::FORBIDDEN, why).into_response();
        }
        Who::Nobody if !changes => return Redirect::to("/login").into_response(),
        Who::Nobody | Who::Reader if changes => return Refused::operator(&site).into_response(),
        _ => {}
    }
    request.extensions_mut().insert(who);
    next.run(request).await
}

/// A form that changes something, sent by an operator from a page of ours.
struct Change<T>(T);

#[derive(Deserialize)]
struct Worded<T> {
    #[serde(default)]
    word: String,
    #[serde(flatten)]
    form: T,
}

impl<T: DeserializeOwned> FromRequest<Arc<Site>> for Change<T> {
    type Rejection = Response;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, Response> {
        let right = match request.extensions().get::<Who>() {
            Some(Who::Operator { word }) => word.clone(),
            _ => return Err(Refused::operator(site).into_response()),
        };
        // No other site can set this header.
        let bears = request.headers().contains_key(header::AUTHORIZATION);
        let form = Form::<Worded<T>>::from_request(request, &()).await;
        let Form(Worded { word, form }) = form.map_err(IntoResponse::into_response)?;
        match bears || subtle::ConstantTimeEq::ct_eq(right.as_bytes(), word.as_bytes()).into() {
            true => Ok(Self(form)),
            false => Err(Refused::new(StatusCode::FORBIDDEN, STALE).into_response()),
        }
    }
}

const STALE: &str = "This form is of another session. Load its page again.";

/// Why something was not done.
struct Refused {
    status: StatusCode,
    why: String,
}

impl Refused {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    fn operator(site: &Site) -> Self {
        let why = match site.access.has_token() {
            true => "Only an operator may do this: log in with the token first.",
            false => {
                "Only an operator may do this: set ops.token_file or VOD_COVER_OPS_TOKEN, and restart."
            }
        };
        Self::new(StatusCode::FORBIDDEN, why)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = html! { h1 { "Not done" } p { (self.why) } p { a href="/" { "Decisions" } } };
        (self.status, frame(&Who::Nobody, "not done", "", &body)).into_response()
    }
}

/// What every page has around its body. `here` is the address in the menu that it belongs to.
fn frame(who: &Who, title: &str, here: &str, body: &Markup) -> Markup {
    let item = |address: &str, name: &str| {
        html! { a href=(address) aria-current=[(here == address).then_some("page")] { (name) } }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "vod-cover: " (title) }
                link rel="icon" href="/icon.svg";
                link rel="stylesheet" href="/style.css";
                script src="/script.js" defer {}
            }
            body {
                header {
                    strong { "vod-cover" }
                    nav aria-label="Pages" { (item("/", "Decisions")) (item("/dead", "Dead letters")) }
                    @match who {
                        Who::Operator { .. } => form method="post" action="/logout" {
                            (word(who)) button { "Log out" }
                        },
                        Who::Reader => a href="/login" { "Log in" },
                        Who::Nobody => {},
                    }
                }
                main { (body) }
            }
        }
    }
}

/// The hidden field that says that a form is of a page of ours.
fn word(who: &Who) -> Markup {
    match who {
        Who::Operator { word } => html! { input type="hidden" name="word" value=(word); },
        _ => html! {},
    }
}

/// A button that does one thing; nothing for who may not.
fn button(who: &Who, action: &str, fields: &[(&str, &str)], name: &str) -> Markup {
    if !matches!(who, Who::Operator { .. }) {
        return html! {};
    }
    html! {
        form method="post" action=(action) {
            (word(who))
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            button { (name) }
        }
    }
}

async fn login(State(site): State<Arc<Site>>) -> Response {
    if !site.access.has_token() {
        return Refused::operator(&site).into_response();
    }
    login_form(false).into_response()
}

fn login_form(was_wrong: bool) -> Markup {
    let body = html! {
        h1 { "Log in" }
        @if was_wrong { p role="alert" { "That is not the token." } }
        form method="post" action="/login" {
            // For programs that keep passwords.
            input name="username" value="operator" autocomplete="username" hidden;
            label for="token" { "Token (ops.token_file)" }
            input id="token" name="token" type="password" autocomplete="current-password" required;
            button { "Log in" }
        }
    };
    frame(&Who::Nobody, "log in", "/login", &body)
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

async fn log_in(State(site): State<Arc<Site>>, Form(given): Form<Token>) -> Response {
    match site.access.log_in(given.token.trim()).await {
        Some(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        None => (StatusCode::FORBIDDEN, login_form(true)).into_response(),
    }
}

#[derive(Deserialize)]
struct NoFields {}

async fn log_out(_: Change<NoFields>) -> Response {
    ([(header::SET_COOKIE, Access::log_out())], Redirect::to("/")).into_response()
}

type Visitor = Extension<Who>;
