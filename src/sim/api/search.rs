//! GetVideoList and SearchMedia: finding videos, in pages. Neither hands out more than the first 5,000
//! matches by page number; SearchMedia goes on by ScrollToken, one page after the other.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getvideolist>,
//! <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-searchmedia>

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::event::{read_time, time};
use super::super::reply::ApiError;
use super::super::video::Video;
use super::{Api, no_video};

mod condition;

use condition::Condition;

/// Matches that can be had by page number.
const MOST_PAGED: usize = 5_000;
/// SearchMedia wants a ScrollToken from the next page on, whatever the size of the pages.
const MOST_PAGES: usize = 200;
/// Positions that are kept; who comes later has to begin again.
const MOST_SCROLLS: usize = 1_000;

/// What GetVideoInfo(s) tell, and lists do not.
const NOT_LISTED: [&str; 3] = ["TemplateGroupId", "AuditStatus", "RegionId"];
/// What SearchMedia tells of a video unasked.
const UNASKED: [&str; 2] = ["VideoId", "CreationTime"];

/// Videos are sorted by when they were created, and alike ones by when they were added.
type Key = (Timestamp, u64);

struct Pages {
    number: usize,
    size: usize,
    newest_first: bool,
}

/// Where a search has got to. It stays good when its answer was lost.
struct Scroll {
    token: String,
    condition: String,
    pages: Pages,
    last: Key,
}

#[derive(Default)]
pub(in crate::sim) struct Scrolls(VecDeque<Scroll>);

impl Scrolls {
    fn find(&self, token: &str) -> Option<&Scroll> {
        self.0.iter().find(|scroll| scroll.token == token)
    }

    fn add(&mut self, scroll: Scroll) {
        if self.0.len() == MOST_SCROLLS {
            self.0.pop_front();
        }
        self.0.push_back(scroll);
    }
}

impl Api<'_> {
    pub(super) fn get_video_list(&mut self) -> Result<Value, ApiError> {
        let pages = self.pages()?;
        let category = self.category()?;
        let statuses = self.params.get("Status").filter(|text| !text.is_empty());
        let (since, until) = (self.time("StartTime")?, self.time("EndTime")?);
        let found = self.found(pages.newest_first, |video| {
            category.is_none_or(|category| video.category == Some(category))
                && statuses.is_none_or(|some| some.split(',').any(|status| video.status == status))
                && since.is_none_or(|since| video.created >= since)
                && until.is_none_or(|until| video.created <= until)
        });
        // The documentation lists the error without saying when.
        if found.is_empty() {
            return Err(no_video());
        }
        let first = (pages.number - 1).saturating_mul(pages.size);
        if first >= MOST_PAGED {
            let message = "The video list exceeded maximum.";
            return Err(ApiError::new(400, "VideoListExceededMax", message));
        }
        let one = |video: &&Video| {
            let mut info = self.listed(video);
            info["Snapshots"] = json!({ "Snapshot": self.snapshots(video) });
            info
        };
        let page = found.iter().take(MOST_PAGED).skip(first).take(pages.size);
        let list: Vec<_> = page.map(one).collect();
        Ok(json!({ "Total": found.len(), "VideoList": { "Video": list } }))
    }

    pub(super) fn search_media(&mut self) -> Result<Value, ApiError> {
        match self.params.get("SearchType") {
            None | Some("" | "video") => {}
            Some("audio" | "image" | "attached") => {
                return Ok(json!({ "Total": 0, "MediaList": [] }));
            }
            Some(_) => return Err(ApiError::invalid("SearchType", "there is no such type")),
        }
        let text = self.params.get("Match").unwrap_or_default();
        let condition = Condition::read(text).ok_or_else(|| {
            let message = "The parameter Match is invalid, or not known to the simulator.";
            ApiError::new(400, "InvalidParameter", message)
        })?;
        let pages = self.pages()?;
        let found = self.found(pages.newest_first, |video| condition.holds(video));
        let first = match self.params.get("ScrollToken").filter(|token| !token.is_empty()) {
            None => first_of(&pages)?,
            Some(token) => {
                let last = self.resume(token, text, &pages)?;
                found.partition_point(|video| match pages.newest_first {
                    true => key(video) >= last,
                    false => key(video) <= last,
                })
            }
        };
        let page = found.get(first..).unwrap_or_default();
        let page = page.get(..pages.size).unwrap_or(page);
        let fields: Vec<_> =
            self.params.get("Fields").unwrap_or_default().split(',').map(str::trim).collect();
        let list: Vec<_> = page.iter().map(|video| self.media(video, &fields)).collect();
        let mut answer = json!({ "Total": found.len(), "MediaList": list });
        // A token comes with whatever was found, so a page that is empty is the last one.
        if let Some(last) = page.last().map(|video| key(video)) {
            let token = Uuid::new_v4().simple().to_string();
            answer["ScrollToken"] = json!(token);
            self.account.scrolls.add(Scroll { token, condition: text.to_owned(), pages, last });
        }
        Ok(answer)
    }

    /// The last video that was handed out with this token, if the request goes on from there.
    fn resume(&self, token: &str, condition: &str, pages: &Pages) -> Result<Key, ApiError> {
        let unknown = || ApiError::invalid("ScrollToken", "there is no such search");
        let scroll = self.account.scrolls.find(token).ok_or_else(unknown)?;
        let before = &scroll.pages;
        let same = (before.size, before.newest_first) == (pages.size, pages.newest_first);
        if scroll.condition != condition || !same {
            return Err(ApiError::invalid("ScrollToken", "it belongs to another search"));
        }
        if pages.number != before.number + 1 {
            return Err(ApiError::invalid("PageNo", "it is not the page after the token's"));
        }
        Ok(scroll.last)
    }

    /// All videos that fit, in order.
    fn found(&self, newest_first: bool, fits: impl Fn(&Video) -> bool) -> Vec<&Video> {
        let mut found: Vec<_> = self.account.videos.iter().filter(|video| fits(video)).collect();
        found.sort_by_key(|video| key(video));
        if newest_first {
            found.reverse();
        }
        found
    }

    fn pages(&self) -> Result<Pages, ApiError> {
        let newest_first = match self.params.get("SortBy") {
            None | Some("" | "CreationTime:Desc") => true,
            Some("CreationTime:Asc") => false,
            Some(_) => return Err(ApiError::invalid("SortBy", "there is no such order")),
        };
        let number = self.number("PageNo", 1, usize::MAX)?;
        Ok(Pages { number, size: self.number("PageSize", 10, 100)?, newest_first })
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let text = self.params.get(name).filter(|text| !text.is_empty());
        let read = |text| {
            read_time(text).ok_or_else(|| ApiError::invalid(name, "it is not yyyy-MM-ddTHH:mm:ssZ"))
        };
        text.map(read).transpose()
    }

    fn listed(&self, video: &Video) -> Value {
        let mut info = self.info(video);
        if let Some(members) = info.as_object_mut() {
            members.retain(|name, _| !NOT_LISTED.contains(&name.as_str()));
        }
        info
    }

    fn media(&self, video: &Video, fields: &[&str]) -> Value {
        let mut info = self.listed(video);
        let sprite = video.sprite_path().map(|path| self.signed(&self.account.url(&path)));
        info["Snapshots"] = json!(self.snapshots(video));
        info["SpriteSnapshots"] = json!(sprite.as_slice());
        if let Some(members) = info.as_object_mut() {
            members.retain(|name, _| {
                UNASKED.contains(&name.as_str()) || fields.contains(&name.as_str())
            });
        }
        json!({
            "MediaId": &*video.id,
            "MediaType": "video",
            "CreationTime": time(video.created),
            "Video": info,
        })
    }
}

fn key(video: &Video) -> Key {
    (video.created, video.number)
}

/// Without a token.
fn first_of(pages: &Pages) -> Result<usize, ApiError> {
    let first = (pages.number - 1).saturating_mul(pages.size);
    if pages.number > MOST_PAGES {
        return Err(ApiError::missing("ScrollToken"));
    }
    if first >= MOST_PAGED {
        return Err(ApiError::invalid("PageNo", "only the first 5,000 matches have pages"));
    }
    Ok(first)
}
