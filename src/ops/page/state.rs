//! The state of the pipeline, of the queue and of the quota, as the page shows it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use maud::{Markup, html};
use tokio::time::timeout;

use super::Site;
use crate::vod::quota::Use;

/// How long the queue is waited for.
const ASK_WITHIN: Duration = Duration::from_millis(800);
/// Over how long the rate of calls is counted, and how often.
const WINDOW: Duration = Duration::from_secs(20);
const SAMPLES_APART: Duration = Duration::from_secs(1);

/// What was taken of the quota lately, by operation.
#[derive(Default)]
pub(super) struct Spent(Mutex<VecDeque<(Instant, Vec<u64>)>>);

impl Spent {
    /// Calls a second of each operation, as far as somebody looked before.
    fn rates(&self, uses: &[Use], now: Instant) -> Vec<Option<f64>> {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while samples.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            samples.pop_front();
        }
        let first = samples.front().filter(|(at, _)| now - *at >= SAMPLES_APART);
        let rate = |(index, one): (usize, &Use)| {
            let (at, then) = first?;
            let taken = one.taken.saturating_sub(*then.get(index)?);
            Some(taken as f64 / (now - *at).as_secs_f64())
        };
        let rates = uses.iter().enumerate().map(rate).collect();
        if samples.back().is_none_or(|(at, _)| now - *at >= SAMPLES_APART) {
            samples.push_back((now, uses.iter().map(|one| one.taken).collect()));
        }
        rates
    }
}

/// For the script.
pub(super) async fn fragment(State(site): State<Arc<Site>>) -> Markup {
    now(&site).await
}

pub(super) async fn now(site: &Site) -> Markup {
    let pipeline = site.pipeline.now();
    let depth = async { site.queue.depth().await.ok() };
    let delays = async { site.queue.delays().await.unwrap_or_default() };
    let asked = timeout(ASK_WITHIN, async { tokio::join!(depth, delays) }).await;
    let (depth, delays) = asked.unwrap_or_default();
    let uses = site.vod.quota_uses();
    let rates = site.spent.rates(&uses, Instant::now());
    html! {
        @match &pipeline.pause {
            Some(pause) => p class="paused" role="status" {
                b { "Paused: " (pause.dependency.name()) } " " (pause.why)
            },
            None if pipeline.draining => p role="status" { b { "Stopping" } },
            None => p class="well" role="status" { b { "Taking events" } },
        }
        dl {
            (number("in flight", pipeline.in_flight))
            @match depth {
                Some(depth) => {
                    (number("ready", depth.ready))
                    (number("wait", depth.delayed))
                    (number("dead", depth.dead))
                },
                None => (number("queue", "cannot be asked")),
            }
            @for (delay, count) in delays.iter().filter(|(_, count)| *count > 0) {
                (number(&format!("wait {delay:?}"), count))
            }
            @for (one, rate) in uses.iter().zip(rates).filter(|(one, _)| one.taken > 0) {
                div {
                    dt { (one.operation.name()) }
                    dd { (quota(one, rate)) }
                }
            }
        }
    }
}

fn number(name: &str, value: impl ToString) -> Markup {
    html! { div { dt { (name) } dd { (value.to_string()) } } }
}

/// `12.0 of 80/s`.
fn quota(one: &Use, rate: Option<f64>) -> String {
    let rate = rate.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}"));
    let most = one.ours.unwrap_or(one.account);
    let held = one.held.map(|left| format!(", held for {left:.0?}")).unwrap_or_default();
    format!("{rate} of {most:.0}/s{held}")
}
