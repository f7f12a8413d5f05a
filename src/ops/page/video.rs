//! One video: its whole story, and another cover by the operator's choice.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use serde::Deserialize;
use tracing::info;

use super::access::Who;
use super::recent::Picture;
use super::stream::{candidate, card, escaped};
use super::{Change, Refused, Site, Visitor, button, frame, pictures};
use crate::cover::CoverUrl;
use crate::error::chain;
use crate::event::VideoId;
use crate::story::Story;

#[derive(Deserialize)]
pub(super) struct Asked {
    id: String,
}

pub(super) async fn page(
    State(site): State<Arc<Site>>,
    Extension(who): Visitor,
    Query(asked): Query<Asked>,
) -> Response {
    let video = match VideoId::new(asked.id) {
        Ok(video) => video,
        Err(error) => return Refused::new(StatusCode::BAD_REQUEST, chain(&error)).into_response(),
    };
    let story = match Story::of(&video, &site.vod, site.ledger.as_ref()).await {
        Ok(story) => story,
        Err(error) => return Refused::new(StatusCode::BAD_GATEWAY, chain(&error)).into_response(),
    };
    let all = site.recent.all();
    let of_video: Vec<_> = all.iter().filter(|decided| decided.video == video).collect();
    let current = story.cover().and_then(|cover| CoverUrl::new(&cover).ok());
    let choice = match of_video.iter().find(|decided| !decided.pictures.is_empty()) {
        Some(decided) => Ok(decided.pictures.clone()),
        None => snapshots(&site, &video).await,
    };
    let is_current = |picture: &Picture| {
        current.as_ref().is_some_and(|current| current.path() == picture.url.path())
    };
    let body = html! {
        h1 { "Video " (video) }
        @if let Some(cover) = &current {
            img class="cover" src=(pictures::address(&site.access, cover)) width="320" height="180"
                alt="The cover that the video has now";
        }
        dl class="story" {
            @for (name, text) in story.lines() { dt { (name) } dd { (text) } }
        }
        h2 { "Choose another cover" }
        @if !matches!(who, Who::Operator { .. }) {
            p { "Only an operator may: " a href="/login" { "log in" } " with the token." }
        }
        @match choice {
            Ok(pictures) => div class="sheet" {
                @for picture in &pictures {
                    @let picture = Picture { is_chosen: is_current(picture), ..picture.clone() };
                    (candidate(&site, &picture, &act(&site, &who, &video, &picture)))
                }
            },
            Err(why) => p { "VOD does not say which snapshots there are: " (why) },
        }
        @if !of_video.is_empty() {
            h2 { "Decided lately" }
            @for decided in of_video { (card(&site, decided)) }
        }
    };
    frame(&who, video.as_str(), "/video", &body).into_response()
}

async fn snapshots(site: &Site, video: &VideoId) -> Result<Vec<Picture>, String> {
    let candidates = site.vod.cover_snapshots(video).await.map_err(|error| chain(&error))?;
    let picture = |candidate: crate::cover::Candidate| Picture {
        name: format!("snapshot {}", candidate.number),
        url: candidate.url,
        score: None,
        flaw: None,
        is_chosen: false,
    };
    Ok(candidates.into_iter().map(picture).collect())
}

fn act(site: &Site, who: &Who, video: &VideoId, picture: &Picture) -> maud::Markup {
    if picture.is_chosen {
        return html! {};
    }
    let (video, url) = (video.as_str(), picture.url.as_str());
    let signature = site.access.sign("choose", &[video, url]);
    let fields = [("video", video), ("url", url), ("signature", signature.as_str())];
    button(who, "/video/cover", &fields, "Make it the cover")
}

#[derive(Deserialize)]
pub(super) struct Choice {
    video: String,
    url: String,
    /// That the page offered this cover for this video.
    signature: String,
}

pub(super) async fn choose(
    State(site): State<Arc<Site>>,
    Change(choice): Change<Choice>,
) -> Result<Redirect, Refused> {
    let Choice { video, url, signature } = choice;
    if !site.access.is_signed("choose", &[&video, &url], &signature) {
        return Err(Refused::new(StatusCode::FORBIDDEN, super::STALE));
    }
    let wrong = |error: &dyn ToString| Refused::new(StatusCode::BAD_REQUEST, error.to_string());
    let video = VideoId::new(video).map_err(|error| wrong(&error))?;
    let cover = CoverUrl::new(&url).map_err(|error| wrong(&error))?;
    let chosen = site.worker.now().choose(&video, &cover).await;
    chosen.map_err(|error| Refused::new(StatusCode::BAD_GATEWAY, error.to_string()))?;
    info!(video.id = %video, %cover, "the operator chose the cover on the page");
    Ok(Redirect::to(&format!("/video?id={}", escaped(video.as_str()))))
}
