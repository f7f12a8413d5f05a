//! The stream of decisions, the newest first, each as pictures. The script asks for what is new.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Query, State};
use maud::{Markup, html};
use serde::Deserialize;

use super::recent::{Decided, Picture};
use super::{Site, Visitor, frame, pictures, state};

/// Decisions on one page.
const MOST: usize = 50;
/// Pictures of a decision that are shown at once.
const STRIP: usize = 8;
const OUTCOMES: [&str; 5] = ["set", "was set", "kept", "no cover", "waiting"];

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    rule: String,
    #[serde(default)]
    video: String,
    /// Only what came after this one.
    #[serde(default)]
    after: u64,
}

impl Wanted {
    fn is(&self, decided: &Decided) -> bool {
        let agrees = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        decided.number > self.after
            && agrees(self.outcome.trim(), decided.outcome)
            && agrees(self.rule.trim(), decided.rule.as_deref().unwrap_or_default())
            && agrees(self.video.trim(), decided.video.as_str())
    }
}

pub(super) async fn page(
    State(site): State<Arc<Site>>,
    Extension(who): Visitor,
    Query(wanted): Query<Wanted>,
) -> Markup {
    let body = html! {
        h1 class="hidden" { "Decisions" }
        section id="state" aria-label="State" { (state::now(&site).await) }
        form class="filter" method="get" action="/" {
            label { "Outcome "
                select name="outcome" {
                    option value="" { "any" }
                    @for outcome in OUTCOMES {
                        option value=(outcome) selected[wanted.outcome == outcome] { (outcome) }
                    }
                }
            }
            label { "Rule " input name="rule" size="10" value=(wanted.rule) placeholder="any"; }
            label { "VideoId " input name="video" size="20" value=(wanted.video) placeholder="any"; }
            button { "Filter" }
            button type="button" id="pause" hidden aria-pressed="false" { "Pause" }
        }
        section id="decisions" aria-label="Decisions" { (decisions(&site, &wanted)) }
        p id="none" { "Decisions appear here as they are made." }
    };
    frame(&who, "decisions", "/", &body)
}

/// What is new, for the script.
pub(super) async fn news(State(site): State<Arc<Site>>, Query(wanted): Query<Wanted>) -> Markup {
    decisions(&site, &wanted)
}

fn decisions(site: &Site, wanted: &Wanted) -> Markup {
    let all = site.recent.all();
    html! {
        @for decided in all.iter().filter(|one| wanted.is(one)).take(MOST) { (card(site, decided)) }
    }
}

/// One decision.
pub(super) fn card(site: &Site, decided: &Decided) -> Markup {
    let shown = decided.cover.as_ref();
    let video = decided.video.as_str();
    html! {
        article data-number=(decided.number) class=(decided.outcome.replace(' ', "-")) {
            @if let Some(cover) = shown {
                img src=(pictures::address(&site.access, cover)) loading="lazy" width="320" height="180"
                    alt={ "The cover that was chosen for video " (video) };
            }
            div {
                h2 {
                    span class="badge" { (decided.outcome) }
                    @if let Some(rule) = &decided.rule { " " span class="badge rule" { (rule) } }
                    " " a href={ "/video?id=" (escaped(video)) } { (video) }
                }
                p { (decided.whose) }
                p class="faint" {
                    time datetime=(decided.at) { (decided.at.strftime("%H:%M:%S")) }
                    ", took " (short(decided.took))
                    @if let Some(age) = decided.age { ", " (short(age)) " after the event" }
                    ", policy " (decided.policy) ", rules " (decided.rules)
                }
                div class="strip" {
                    @for picture in strip(&decided.pictures) { (candidate(site, picture, &html! {})) }
                }
                details {
                    summary { "Why, and all " (decided.pictures.len()) " pictures" }
                    ol { @for note in &decided.trace { li { (note) } } }
                    div class="sheet" {
                        @for picture in &decided.pictures { (candidate(site, picture, &html! {})) }
                    }
                    p class="faint" { (decided.event) }
                }
            }
        }
    }
}

/// Some of the pictures, what was chosen among them.
fn strip(pictures: &[Picture]) -> impl Iterator<Item = &Picture> {
    let chosen = pictures.iter().position(|picture| picture.is_chosen).unwrap_or(0);
    let start = (chosen + 1).saturating_sub(STRIP);
    pictures.iter().skip(start).take(STRIP)
}

/// One picture that could be the cover, with what can be done about it.
pub(super) fn candidate(site: &Site, picture: &Picture, act: &Markup) -> Markup {
    html! {
        figure class=[picture.is_chosen.then_some("chosen")] {
            img src=(pictures::address(&site.access, &picture.url)) loading="lazy" width="160" height="90"
                alt=(picture.name);
            figcaption {
                (picture.name)
                @if let Some(score) = picture.score { " " b { (format!("{score:.1}")) } }
                @if picture.is_chosen { " " span class="badge" { "chosen" } }
                @if let Some(flaw) = &picture.flaw { " " span class="flaw" { (flaw) } }
                (act)
            }
        }
    }
}

/// For an address.
pub(super) fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn short(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
