//! Walks through an account's videos, oldest first, page by page: with GetVideoList as far as that goes,
//! and with SearchMedia where there are more. A page says what a search index knows, which may lag behind
//! the video: who decides about a cover has to look it up. It changes nothing.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getvideolist>,
//! <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-searchmedia>,
//! <https://www.alibabacloud.com/help/en/vod/developer-reference/media-asset-search-protocol>

use jiff::Timestamp;
use serde_json::Value;

use super::{Client, Error, Operation, Parameters, VideoInfo, wire};

/// Videos that GetVideoList and SearchMedia hand out by page number. Whether a larger Total is told as it
/// is or as this is not documented.
const MOST_PAGED: u64 = 5_000;
const MOST_IN_PAGE: u32 = 100;
/// What SearchMedia is to say of a video; of itself it says next to nothing.
const FIELDS: &str = "AppId,CateId,CateName,CoverURL,CreationTime,Duration,ModificationTime,Snapshots,\
                      Status,Tags,Title,VideoId";

/// Which videos are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Created at this time or later.
    pub since: Option<Timestamp>,
    /// Created before this time.
    pub until: Option<Timestamp>,
    /// CateId.
    pub category: Option<i64>,
    /// At most 100.
    pub page_size: u32,
}

impl Default for Filter {
    fn default() -> Self {
        Self { since: None, until: None, category: None, page_size: MOST_IN_PAGE }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct VideoPage {
    pub videos: Vec<VideoInfo>,
    /// Videos that VOD says there are, on all pages. Approximate: see [`Client::list_videos`].
    pub total: u64,
    /// Videos of this page that could not be read, and are not in it.
    pub unreadable: usize,
    /// Where to go on; `None` after the last page.
    pub next: Option<Position>,
}

/// Where a walk has got to. Good only with the filter that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position(Place);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    List { page: u64 },
    Search { page: u64, token: Option<String> },
}

/// A page as it came.
struct Raw {
    items: Vec<Value>,
    total: u64,
}

impl Client {
    /// The next page after a position, or the first one. The walk is by CreationTime, ascending; the first
    /// answer decides by which of the operations it is done. VOD does not document whether the ends of a
    /// span of time belong to it, so a little more is asked for, and what is outside is left out; `total`
    /// counts it. Videos that are deleted during a walk can make a walk by page number pass over others.
    pub async fn list_videos(
        &self,
        filter: &Filter,
        after: Option<Position>,
    ) -> Result<VideoPage, Error> {
        match after.map(|position| position.0) {
            None => match self.get_video_list(filter, 1).await {
                Ok(raw) if raw.total < MOST_PAGED => Ok(listed(filter, 1, raw)),
                Err(error) if !error.is_code("VideoListExceededMax") => Err(error),
                _ => self.search(filter, 1, None).await,
            },
            Some(Place::List { page }) => {
                Ok(listed(filter, page, self.get_video_list(filter, page).await?))
            }
            Some(Place::Search { page, token }) => self.search(filter, page, token).await,
        }
    }

    async fn get_video_list(&self, filter: &Filter, page: u64) -> Result<Raw, Error> {
        let mut parameters = pages(filter, page);
        if let Some(category) = filter.category {
            parameters.insert("CateId", category.to_string());
        }
        if let Some((start, end)) = span(filter) {
            parameters.extend([("StartTime", start), ("EndTime", end)]);
        }
        match self.call::<wire::GetVideoList>(Operation::GetVideoList, parameters).await {
            Ok(reply) => Ok(Raw { items: reply.video_list, total: count(reply.total) }),
            // One of its documented errors, which can only mean that none is left.
            Err(error) if error.is_code("InvalidVideo.NotFound") => {
                Ok(Raw { items: Vec::new(), total: 0 })
            }
            Err(error) => Err(error),
        }
    }

    async fn search(
        &self,
        filter: &Filter,
        page: u64,
        token: Option<String>,
    ) -> Result<VideoPage, Error> {
        let mut parameters = pages(filter, page);
        parameters.extend([("Fields", FIELDS.to_owned()), ("SearchType", "video".to_owned())]);
        let category = filter.category.map(|category| format!("CateId = {category}"));
        let span = span(filter).map(|(start, end)| format!("CreationTime = ['{start}','{end}']"));
        let conditions: Vec<_> = category.into_iter().chain(span).collect();
        if !conditions.is_empty() {
            parameters.insert("Match", conditions.join(" and "));
        }
        parameters.extend(token.map(|token| ("ScrollToken", token)));
        let reply: wire::SearchMedia = self.call(Operation::SearchMedia, parameters).await?;
        let items = reply.media_list.into_iter().map(wire::Media::video).collect();
        let raw = Raw { items, total: count(reply.total) };
        // The last page is an empty one, or has no token. Whatever a server says, a walk has an end.
        let pages = raw.total.div_ceil(size(filter).into());
        let more = !raw.items.is_empty() && page <= pages;
        let next = reply.scroll_token.filter(|_| more);
        let next = next.map(|token| Place::Search { page: page + 1, token: Some(token) });
        Ok(read(filter, Operation::SearchMedia, raw, next))
    }
}

fn listed(filter: &Filter, page: u64, raw: Raw) -> VideoPage {
    let more = !raw.items.is_empty() && page * u64::from(size(filter)) < raw.total;
    // Where there are more than 5,000 by now, VOD refuses the page after them, which is an error.
    let next = more.then_some(Place::List { page: page + 1 });
    read(filter, Operation::GetVideoList, raw, next)
}

fn read(filter: &Filter, operation: Operation, raw: Raw, next: Option<Place>) -> VideoPage {
    let (mut videos, mut unreadable) = (Vec::new(), 0);
    for item in raw.items {
        match VideoInfo::read_alone(operation, serde_json::from_value(item)) {
            Some(info) if is_within(filter, &info) => videos.push(info),
            Some(_) => {}
            None => unreadable += 1,
        }
    }
    VideoPage { videos, total: raw.total, unreadable, next: next.map(Position) }
}

/// A video that does not say when it was created is listed: VOD has found that it fits.
fn is_within(filter: &Filter, info: &VideoInfo) -> bool {
    info.created.is_none_or(|created| {
        filter.since.is_none_or(|since| created >= since)
            && filter.until.is_none_or(|until| created < until)
    })
}

fn size(filter: &Filter) -> u32 {
    filter.page_size.clamp(1, MOST_IN_PAGE)
}

fn pages(filter: &Filter, page: u64) -> Parameters {
    Parameters::from([
        ("PageNo", page.to_string()),
        ("PageSize", size(filter).to_string()),
        ("SortBy", "CreationTime:Asc".to_owned()),
    ])
}

/// Both ends, a second outside, as `yyyy-MM-ddTHH:mm:ssZ`. A range needs both.
fn span(filter: &Filter) -> Option<(String, String)> {
    if filter.since.is_none() && filter.until.is_none() {
        return None;
    }
    let text = |time: Timestamp, aside: i64| {
        let time = Timestamp::from_second(time.as_second().saturating_add(aside)).unwrap_or(time);
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let start = filter.since.map_or_else(|| "1970-01-01T00:00:00Z".to_owned(), |at| text(at, -1));
    let end = filter.until.map_or_else(|| "2100-01-01T00:00:00Z".to_owned(), |at| text(at, 1));
    Some((start, end))
}

fn count(total: Option<f64>) -> u64 {
    // Casting saturates.
    total.map_or(0, |total| total as u64)
}
