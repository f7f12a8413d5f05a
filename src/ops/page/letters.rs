//! The dead letters on the page: by reason, one by one, what would happen to them now, tried again or dropped.
//! One deed at a time goes on in the background, at a bounded rate; the page says how far it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Redirect;
use maud::{Markup, html};
use serde::Deserialize;
use tokio::time::timeout;

use super::access::Who;
use super::stream::escaped;
use super::{Change, Refused, Site, Visitor, button, frame, word};
use crate::dead::{self, Brief, Deed, Filter, Group, Listing};
use crate::error::chain;
use crate::event::VideoId;
use crate::queue::Fate;
use crate::telemetry;

/// Letters on the page, and letters of which is said what would happen now.
const MOST: usize = 200;
const FORESEEN: usize = 20;
/// Letters a second.
const RETRY_RATE: f64 = 20.0;
const DROP_RATE: f64 = 1000.0;
/// How long a form waits for what it asked for; longer deeds go on without it.
const WAIT: Duration = Duration::from_secs(2);

/// Walks of the page, one at a time: on RabbitMQ two would see half of the letters each.
#[derive(Default)]
pub(super) struct Deeds {
    turn: tokio::sync::Mutex<()>,
    /// What is going on, or what came of it.
    said: Mutex<String>,
}

impl Deeds {
    fn said(&self) -> MutexGuard<'_, String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which letters are meant. All of them only where `all` says so.
#[derive(Clone, Default, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    key: String,
    group: Option<String>,
    #[serde(default)]
    video: String,
    #[serde(default)]
    all: String,
}

impl Which {
    fn filter(&self) -> Result<Filter, Refused> {
        let wrong = |why: String| Refused::new(StatusCode::BAD_REQUEST, why);
        let video = match self.video.trim() {
            "" => None,
            text => Some(VideoId::new(text).map_err(|error| wrong(chain(&error)))?),
        };
        let keys = match self.key.as_str() {
            "" => Vec::new(),
            key => vec![key.to_owned()],
        };
        Ok(Filter { keys, video, group: self.group.clone(), ..Filter::default() })
    }

    /// The same, and nothing by accident.
    fn meant(&self) -> Result<Filter, Refused> {
        let filter = self.filter()?;
        match filter.is_everything() && self.all != "yes" {
            true => Err(Refused::new(StatusCode::BAD_REQUEST, "say which letters")),
            false => Ok(filter),
        }
    }

    fn words(&self) -> String {
        match (self.key.as_str(), &self.group) {
            ("", Some(group)) => format!("all dead letters of reason {}", named(group)),
            ("", None) => "all dead letters".to_owned(),
            (key, _) => format!("dead letter {key}"),
        }
    }
}

pub(super) async fn page(
    State(site): State<Arc<Site>>,
    Extension(who): Visitor,
    Query(which): Query<Which>,
) -> Result<Markup, Refused> {
    let filter = which.filter()?;
    let said = site.deeds.said().clone();
    let listing = match timeout(WAIT, site.deeds.turn.lock()).await {
        Ok(_turn) => Some(dead::list(site.queue.as_ref(), &filter, MOST).await.map_err(broken)?),
        Err(_) => None,
    };
    let body = html! {
        h1 { "Dead letters" }
        @if !said.is_empty() { p role="status" { (said) } }
        form class="filter" method="get" action="/dead" {
            label { "VideoId " input name="video" size="20" value=(which.video) placeholder="any"; }
            button { "Filter" }
        }
        @match &listing {
            Some(listing) => (listed(&who, listing)),
            None => p { "They can be listed when that is done. " a href="/dead" { "Look again" } },
        }
    };
    Ok(frame(&who, "dead letters", "/dead", &body))
}

fn listed(who: &Who, listing: &Listing) -> Markup {
    let hidden = listing.count.saturating_sub(listing.letters.len() as u64);
    html! {
        p { (listing.count) " in all" @if !listing.complete { ", and more that were not looked at" } }
        @if listing.groups.len() > 1 {
            section class="group" { h2 { "All of them" } (deeds(who, &[("all", "yes")])) }
        }
        @for group in &listing.groups { (of_reason(who, group, listing)) }
        @if hidden > 0 { p { "and " (hidden) " more" } }
    }
}

fn of_reason(who: &Who, group: &Group, listing: &Listing) -> Markup {
    let fields = [("group", group.reason.as_str())];
    html! {
        section class="group" {
            h2 { (named(&group.reason)) " " span class="badge" { (group.count) } }
            (deeds(who, &fields))
            ul class="letters" {
                @for brief in listing.letters.iter().filter(|brief| brief.reason == group.reason) {
                    li { (one(brief)) (deeds(who, &[("key", &brief.key)])) }
                }
            }
        }
    }
}

fn one(brief: &Brief) -> Markup {
    html! {
        p {
            a href={ "/dead/letter?key=" (escaped(&brief.key)) } { (brief.key) } " "
            @if let Some(video) = &brief.video {
                a href={ "/video?id=" (escaped(video.as_str())) } { (video) } " "
            }
            (named(&brief.kind)) ", " (brief.attempts) " attempts"
            @if brief.retried > 0 { ", tried again " (brief.retried) " times" }
            @if let Some(died) = brief.died {
                ", dead since " time datetime=(died) { (died.strftime("%Y-%m-%d %H:%M:%S")) }
            }
        }
        @if let Some(error) = &brief.error { p class="faint" { (error) } }
    }
}

/// What can be done to some letters.
fn deeds(who: &Who, fields: &[(&str, &str)]) -> Markup {
    let ask = |action: &str, name: &str| {
        html! {
            form method="get" action=(action) {
                @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
                button { (name) }
            }
        }
    };
    html! {
        div class="deeds" {
            (ask("/dead/foresee", "What would happen?"))
            (button(who, "/dead/retry", fields, "Try again"))
            @if matches!(who, Who::Operator { .. }) { (ask("/dead/drop", "Drop …")) }
        }
    }
}

pub(super) async fn letter(
    State(site): State<Arc<Site>>,
    Extension(who): Visitor,
    Query(which): Query<Which>,
) -> Result<Markup, Refused> {
    let filter = which.meant()?;
    let found = {
        let _turn = site.deeds.turn.lock().await;
        dead::find(site.queue.as_ref(), &filter, 1).await.map_err(broken)?
    };
    let Some(letter) = found.first() else {
        return Err(Refused::new(StatusCode::NOT_FOUND, "There is no such dead letter any more."));
    };
    let body = html! {
        h1 { "Dead letter " (letter.key()) }
        (one(&Brief::from(letter)))
        (deeds(&who, &[("key", &letter.key())]))
        pre { (format!("{:#}", letter.whole())) }
    };
    Ok(frame(&who, "dead letter", "/dead", &body))
}

pub(super) async fn foresee(
    State(site): State<Arc<Site>>,
    Extension(who): Visitor,
    Query(which): Query<Which>,
) -> Result<Markup, Refused> {
    let filter = which.meant()?;
    let found = {
        let _turn = site.deeds.turn.lock().await;
        dead::find(site.queue.as_ref(), &filter, FORESEEN + 1).await.map_err(broken)?
    };
    let worker = site.worker.now();
    let mut foreseen = Vec::new();
    for letter in found.iter().take(FORESEEN) {
        foreseen.push((Brief::from(letter), worker.foresee(&letter.message).await));
    }
    let body = html! {
        h1 { "What would happen now" }
        p { "Nothing was changed: " (which.words()) "." }
        ul class="letters" {
            @for (brief, would) in &foreseen {
                li { (one(brief)) p { b { (would) } } (deeds(&who, &[("key", &brief.key)])) }
            }
        }
        @if found.len() > FORESEEN { p { "and more" } }
        @if foreseen.is_empty() { p { "There are none." } }
    };
    Ok(frame(&who, "what would happen", "/dead", &body))
}

pub(super) async fn confirm(
    Extension(who): Visitor,
    Query(which): Query<Which>,
) -> Result<Markup, Refused> {
    which.meant()?;
    let body = html! {
        h1 { "Drop " (which.words()) "?" }
        p { "They cannot be brought back." }
        form method="post" action="/dead/drop" {
            (word(&who))
            input type="hidden" name="key" value=(which.key);
            input type="hidden" name="all" value=(which.all);
            @if let Some(group) = &which.group { input type="hidden" name="group" value=(group); }
            button { "Drop for good" }
        }
        p { a href="/dead" { "Keep them" } }
    };
    Ok(frame(&who, "drop", "/dead", &body))
}

pub(super) async fn retry(
    State(site): State<Arc<Site>>,
    Change(which): Change<Which>,
) -> Result<Redirect, Refused> {
    settle(site, &which, Fate::Retry, RETRY_RATE).await
}

pub(super) async fn discard(
    State(site): State<Arc<Site>>,
    Change(which): Change<Which>,
) -> Result<Redirect, Refused> {
    settle(site, &which, Fate::Drop, DROP_RATE).await
}

async fn settle(
    site: Arc<Site>,
    which: &Which,
    fate: Fate,
    rate: f64,
) -> Result<Redirect, Refused> {
    let deed = Deed { filter: which.meant()?, fate, most: u64::MAX, rate };
    let done = match fate {
        Fate::Retry => "tried again",
        Fate::Drop => "dropped",
    };
    let what = which.words();
    let going = tokio::spawn(async move {
        let _turn = site.deeds.turn.lock().await;
        let mut count = 0u64;
        let settled = dead::settle(site.queue.as_ref(), &deed, |_| {
            count += 1;
            telemetry::dead_letter_settled(fate.name());
            *site.deeds.said() = format!("{what}: {count} {done} so far");
        });
        let settled = settled.await;
        *site.deeds.said() = match settled {
            Ok(settled) if settled.complete => format!("{what}: {} {done}", settled.settled),
            Ok(settled) => format!("{what}: {} {done}, and there are more", settled.settled),
            Err(error) => format!("{what}: {count} {done}, and then: {}", chain(&error)),
        };
    });
    // It goes on if it takes longer.
    let _ = timeout(WAIT, going).await;
    Ok(Redirect::to("/dead"))
}

fn named(text: &str) -> &str {
    if text.is_empty() { "(not known)" } else { text }
}

fn broken(error: crate::queue::Error) -> Refused {
    Refused::new(StatusCode::BAD_GATEWAY, chain(&error))
}
