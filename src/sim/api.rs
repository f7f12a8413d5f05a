//! The operations of the API, written from their documentation: what they check, what they change, and
//! the JSON that each answers with. Nothing here waits or does I/O.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-overview>

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::account::{Account, By};
use super::auth::Params;
use super::event::{FieldChange, media_base_change, time};
use super::reply::ApiError;
use super::sign_url::UrlKey;
use super::text::Text;
use super::video::Video;

/// Videos in one call of the operations that take several.
const MAX_BATCH: usize = 20;

/// The operations that the simulator knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    UpdateVideoInfo,
    UpdateVideoInfos,
    GetVideoInfo,
    GetVideoInfos,
    ListSnapshots,
    ListAiImageInfo,
    CreateUploadImage,
    /// OSS's, not VOD's.
    PutObject,
    /// The picture domain's.
    GetPicture,
}

impl Operation {
    pub(super) const ALL: [Self; 9] = [
        Self::UpdateVideoInfo,
        Self::UpdateVideoInfos,
        Self::GetVideoInfo,
        Self::GetVideoInfos,
        Self::ListSnapshots,
        Self::ListAiImageInfo,
        Self::CreateUploadImage,
        Self::PutObject,
        Self::GetPicture,
    ];

    /// Its Action.
    pub fn name(self) -> &'static str {
        match self {
            Self::UpdateVideoInfo => "UpdateVideoInfo",
            Self::UpdateVideoInfos => "UpdateVideoInfos",
            Self::GetVideoInfo => "GetVideoInfo",
            Self::GetVideoInfos => "GetVideoInfos",
            Self::ListSnapshots => "ListSnapshots",
            Self::ListAiImageInfo => "ListAIImageInfo",
            Self::CreateUploadImage => "CreateUploadImage",
            Self::PutObject => "PutObject",
            Self::GetPicture => "GetPicture",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }
}

/// One call that may take effect.
pub(super) struct Api<'a> {
    pub account: &'a mut Account,
    pub params: &'a Params,
    pub url_key: &'a UrlKey,
    pub now: Timestamp,
    /// The videos that the call named; filled while it is carried out.
    pub named: Vec<Text>,
    /// MediaBaseChangeComplete bodies that the call caused.
    pub events: Vec<Bytes>,
}

impl Api<'_> {
    pub fn answer(&mut self, operation: Operation) -> Result<Value, ApiError> {
        match operation {
            Operation::UpdateVideoInfo => self.update_video_info(),
            Operation::UpdateVideoInfos => self.update_video_infos(),
            Operation::GetVideoInfo => self.get_video_info(),
            Operation::GetVideoInfos => self.get_video_infos(),
            Operation::ListSnapshots => self.list_snapshots(),
            Operation::ListAiImageInfo => self.list_ai_image_info(),
            Operation::CreateUploadImage => self.create_upload_image(),
            Operation::PutObject | Operation::GetPicture => Err(ApiError::no_such_api()),
        }
    }

    fn update_video_info(&mut self) -> Result<Value, ApiError> {
        let params = self.params;
        let id = params.need("VideoId")?;
        let update = Update::read(|name| params.get(name))?;
        self.name(id);
        match self.account.video(id) {
            None => return Err(no_video()),
            Some(video) if video.forbidden => {
                let message = "User not authorized to operate on the specified resource.";
                return Err(ApiError::new(403, "Forbidden", message));
            }
            Some(_) => self.apply(id, &update),
        }
        Ok(json!({}))
    }

    fn update_video_infos(&mut self) -> Result<Value, ApiError> {
        let content = self.params.need("UpdateContent")?;
        let items: Vec<Map<String, Value>> = serde_json::from_str(content)
            .map_err(|_| ApiError::invalid("UpdateContent", "it is no JSON array of objects"))?;
        if items.is_empty() {
            return Err(ApiError::missing("UpdateContent"));
        }
        check_batch("UpdateContent", items.len())?;
        let text = |item: &Map<_, _>, name: &str| item.get(name).map(plain_text);
        let mut updates = Vec::with_capacity(items.len());
        for item in &items {
            let id = text(item, "VideoId").filter(|id| !id.is_empty());
            let id = id.ok_or_else(|| ApiError::missing("VideoId"))?;
            let fields = Update::NAMES.map(|name| (name, text(item, name)));
            updates.push((id, fields));
        }
        let updates: Vec<_> = updates
            .iter()
            .map(|(id, fields)| {
                let get = |name| fields.iter().find(|(n, _)| *n == name)?.1.as_deref();
                Ok((id, Update::read(get)?))
            })
            .collect::<Result<_, ApiError>>()?;

        let (mut unknown, mut forbidden) = (Vec::new(), Vec::new());
        for (id, update) in &updates {
            self.name(id);
            match self.account.video(id) {
                None => unknown.push(id),
                Some(video) if video.forbidden => forbidden.push(id),
                Some(_) => self.apply(id, update),
            }
        }
        Ok(json!({
            "NonExistVideoIds": unknown,
            "ForbiddenVideoIds": forbidden,
            "NonExistReferenceIds": [],
        }))
    }

    fn get_video_info(&mut self) -> Result<Value, ApiError> {
        let id = self.params.need("VideoId")?;
        self.name(id);
        let video = self.account.video(id).ok_or_else(no_video)?;
        let mut info = self.info(video);
        // Wrapped here, flat in GetVideoInfos.
        info["Snapshots"] = json!({ "Snapshot": self.snapshots(video) });
        Ok(json!({ "Video": info }))
    }

    fn get_video_infos(&mut self) -> Result<Value, ApiError> {
        let ids: Vec<_> =
            self.params.need("VideoIds")?.split(',').filter(|id| !id.is_empty()).collect();
        check_batch("VideoIds", ids.len())?;
        ids.iter().for_each(|id| self.name(id));
        let (mut list, mut unknown) = (Vec::new(), Vec::new());
        for id in ids {
            let Some(video) = self.account.video(id) else {
                unknown.push(id);
                continue;
            };
            let mut info = self.info(video);
            info["Snapshots"] = json!(self.snapshots(video));
            list.push(info);
        }
        // The documentation lists the error without saying when.
        if list.is_empty() {
            return Err(no_video());
        }
        Ok(json!({
            "VideoList": list,
            "NonExistVideoIds": unknown,
            "NonExistReferenceIds": [],
        }))
    }

    fn list_snapshots(&mut self) -> Result<Value, ApiError> {
        let id = self.params.need("VideoId")?;
        self.name(id);
        let page = self.number("PageNo", 1, usize::MAX)?;
        let size = self.number("PageSize", 20, 100)?;
        let video = self.account.video(id).ok_or_else(no_video)?;
        if !["UploadSucc", "Normal", "Checking", "Blocked"].contains(&video.status.as_str()) {
            let message = "Status of the video is illegal.";
            return Err(ApiError::new(400, "Forbidden.IllegalStatus", message));
        }
        let (pattern, count, job) = match self.params.get("SnapshotType") {
            None | Some("" | "CoverSnapshot") => {
                (video.snapshot_pattern(), video.snapshots, video.snapshot_job())
            }
            Some("SpriteSnapshot") => {
                (video.sprite_pattern(), video.snapshots.min(1), video.sprite_job())
            }
            Some("NormalSnapshot" | "SpriteOriginSnapshot" | "WebVttSnapshot") => {
                (String::new(), 0, String::new())
            }
            Some(_) => return Err(ApiError::invalid("SnapshotType", "there is no such type")),
        };
        if count == 0 {
            let message = "The specified resource does not exist.";
            return Err(ApiError::new(404, "NoSuchResource", message));
        }
        let one = |number: usize| {
            let path = pattern.replace("{SnapshotCount}", &format!("{number:05}"));
            json!({ "Index": number, "Url": self.signed(&self.account.url(&path)) })
        };
        let first = (page - 1).saturating_mul(size).saturating_add(1);
        let last = first.saturating_add(size - 1).min(usize::from(count));
        Ok(json!({ "MediaSnapshot": {
            "Total": count,
            "Regular": self.account.url(&pattern),
            "CreationTime": time(video.created),
            "JobId": job,
            "Snapshots": { "Snapshot": (first..=last).map(one).collect::<Vec<_>>() },
        }}))
    }

    fn list_ai_image_info(&mut self) -> Result<Value, ApiError> {
        let id = self.params.need("VideoId")?;
        self.name(id);
        let video = self.account.video(id).ok_or_else(no_video)?;
        let list: Vec<_> = video
            .thumbnails()
            .into_iter()
            .map(|thumbnail| {
                let url = self.account.url(&thumbnail.path);
                json!({
                    "AIImageInfoId": thumbnail.info_id,
                    "VideoId": &*video.id,
                    "JobId": thumbnail.job,
                    // With auth_key always: the sample has it, whatever the domain's setting.
                    "FileURL": self.url_key.sign(&url, self.now),
                    "Format": thumbnail.format,
                    // A string here, a number in GetAIImageJobs.
                    "Score": thumbnail.score.to_string(),
                    "Version": "1",
                    "CreationTime": time(video.created),
                })
            })
            .collect();
        Ok(json!({ "AIImageInfoList": list }))
    }

    /// What GetVideoInfo and GetVideoInfos have in common.
    fn info(&self, video: &Video) -> Value {
        let mut info = json!({
            "VideoId": &*video.id,
            "Title": video.title,
            "Description": video.description,
            "Tags": video.tags,
            "Status": video.status,
            "AuditStatus": "Normal",
            "Duration": 61.5,
            "Size": 10_897_890,
            "CreationTime": time(video.created),
            "ModificationTime": time(video.modified),
            "RegionId": "cn-shanghai",
            "StorageLocation": "outin-simulated.oss-cn-shanghai.aliyuncs.com",
            "TemplateGroupId": "",
            "AppId": "app-1000000",
            "DownloadSwitch": "on",
        });
        if let Some(category) = video.category {
            info["CateId"] = json!(category);
        }
        if let Some(cover) = &video.cover {
            info["CoverURL"] = json!(self.signed(cover));
        }
        info
    }

    fn snapshots(&self, video: &Video) -> Vec<String> {
        let url = |number| self.signed(&self.account.url(&video.snapshot_path(number)));
        (1..=video.snapshots).map(url).collect()
    }

    /// The address as it is returned: with an auth_key where the account signs its URLs.
    pub(super) fn signed(&self, url: &str) -> String {
        if self.url_key.enforced && url.starts_with(&self.account.base) {
            self.url_key.sign(url, self.now)
        } else {
            url.to_owned()
        }
    }

    /// Remembers that the call named a video.
    fn name(&mut self, id: &str) {
        let known = self.account.video(id).map(|video| video.id.clone());
        // Nobody's id: cut, so that the journal stays small.
        self.named.push(known.unwrap_or_else(|| id.chars().take(64).collect::<String>().into()));
    }

    /// Stores whatever it is given, unchecked, as VOD does with covers.
    fn apply(&mut self, id: &str, update: &Update<'_>) {
        let Some(video) = self.account.video_mut(id) else { return };
        video.modified = self.now;
        if let Some(description) = update.description {
            video.description = description.to_owned();
        }
        if let Some(tags) = update.tags {
            video.tags = tags.to_owned();
        }
        video.category = update.category.or(video.category);
        let old_title = update.title.map(|new| std::mem::replace(&mut video.title, new.to_owned()));
        let old_cover =
            update.cover.and_then(|new| self.account.set_cover(id, new, By::Api, self.now));
        let old_cover = old_cover.flatten();

        let mut changes = Vec::new();
        if let Some(new) = update.title {
            changes.push(FieldChange { name: "Title", old: old_title.as_deref(), new });
        }
        if let Some(new) = update.cover {
            changes.push(FieldChange { name: "CoverURL", old: old_cover.as_deref(), new });
        }
        if !changes.is_empty() {
            self.events.push(media_base_change(id, &changes, self.now));
        }
    }

    fn number(&self, name: &str, default: usize, most: usize) -> Result<usize, ApiError> {
        match self.params.get(name).filter(|text| !text.is_empty()) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| (1..=most).contains(number))
                .ok_or_else(|| ApiError::invalid(name, "it is out of range")),
        }
    }
}

/// What UpdateVideoInfo may change; what is not given stays as it is. An empty CoverURL, whose effect
/// is not documented, is stored as an empty cover here, so that nobody sends one unnoticed.
struct Update<'a> {
    title: Option<&'a str>,
    description: Option<&'a str>,
    tags: Option<&'a str>,
    cover: Option<&'a str>,
    category: Option<i64>,
}

impl<'a> Update<'a> {
    const NAMES: [&'static str; 5] = ["Title", "Description", "Tags", "CoverURL", "CateId"];

    fn read(get: impl Fn(&'static str) -> Option<&'a str>) -> Result<Self, ApiError> {
        let text = |name, most| match get(name) {
            Some(text) if text.len() > most => Err(ApiError::invalid(name, "it is too long")),
            text => Ok(text),
        };
        let category = get("CateId").filter(|text| !text.is_empty()).map(str::parse).transpose();
        let tags = get("Tags");
        if tags.is_some_and(|tags| {
            tags.split(',').count() > 16 || tags.split(',').any(|t| t.len() > 32)
        }) {
            return Err(ApiError::invalid("Tags", "at most 16 of at most 32 bytes are allowed"));
        }
        Ok(Self {
            title: text("Title", 128)?,
            description: text("Description", 1024)?,
            tags,
            cover: get("CoverURL"),
            category: category.map_err(|_| ApiError::invalid("CateId", "it is no number"))?,
        })
    }
}

fn check_batch(name: &str, count: usize) -> Result<(), ApiError> {
    if count > MAX_BATCH {
        let message = format!("The number of videos in {name} exceeds the limit of {MAX_BATCH}.");
        return Err(ApiError::new(400, "CountExceededMax", message));
    }
    Ok(())
}

fn no_video() -> ApiError {
    ApiError::new(404, "InvalidVideo.NotFound", "The video does not exist.")
}

fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
