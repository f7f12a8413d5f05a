//! Pictures for the page: fetched and decoded as the worker does it, within the same bounds, and passed on as
//! small JPEGs of our own making. Only addresses that a page of ours has signed are fetched.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::form_urlencoded::Serializer;

use super::Site;
use super::access::Access;
use crate::cover::CoverUrl;
use crate::inspect::Source;

/// Pictures at once: the events come first.
const AT_ONCE: usize = 1;
/// How long one waits for its turn and for the picture.
const LONGEST: Duration = Duration::from_secs(30);
/// How long an address is good, in seconds, at least; and how often it changes, so that browsers can keep
/// what they have.
const GOOD_FOR: u64 = 24 * 3600;
const CHANGES_EVERY: u64 = 3600;

pub(super) struct Pictures(Semaphore);

impl Default for Pictures {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

#[derive(Deserialize)]
pub(super) struct Asked {
    url: String,
    until: u64,
    signature: String,
}

/// The address on this page of a picture that is elsewhere.
pub(super) fn address(access: &Access, url: &CoverUrl) -> String {
    let until = (now() + GOOD_FOR).next_multiple_of(CHANGES_EVERY).to_string();
    let signature = access.sign("picture", &[url.as_str(), &until]);
    let mut query = Serializer::new(String::new());
    query.append_pair("url", url.as_str()).append_pair("until", &until);
    format!("/picture?{}", query.append_pair("signature", &signature).finish())
}

pub(super) async fn picture(State(site): State<Arc<Site>>, Query(asked): Query<Asked>) -> Response {
    let Asked { url, until, signature } = asked;
    if !site.access.is_signed("picture", &[&url, &until.to_string()], &signature) || until < now() {
        return (StatusCode::FORBIDDEN, "this address is not one of this page\n").into_response();
    }
    let Ok(url) = CoverUrl::new(&url) else { return StatusCode::BAD_REQUEST.into_response() };
    let seen = async {
        let _turn = site.pictures.0.acquire().await.ok()?;
        let inspector = site.worker.now().inspector.clone();
        inspector.view(vec![Source::Url(url)], true).await.pop()?.thumbnail
    };
    match timeout(LONGEST, seen).await {
        Ok(Some(jpeg)) => {
            let headers = [
                (header::CONTENT_TYPE, "image/jpeg"),
                (header::CACHE_CONTROL, "private, max-age=86400, immutable"),
            ];
            (headers, jpeg).into_response()
        }
        _ => (StatusCode::BAD_GATEWAY, "the picture cannot be shown\n").into_response(),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    Timestamp::now().as_second().try_into().unwrap_or_default()
}
