//! The operations of the API, written from their documentation: what they check, what they change, and
//! the JSON that each answers with. Nothing here waits or does I/O.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-overview>

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::account::Account;
use super::auth::Params;
use super::event::time;
use super::reply::ApiError;
use super::sign_url::UrlKey;
use super::text::Text;
use super::video::Video;

mod ai;
mod media;
mod operation;
mod search;
mod snapshots;
mod update;

pub use operation::Operation;
pub(super) use search::Scrolls;

/// Videos in one call of the operations that take several.
const MAX_BATCH: usize = 20;

/// One call that may take effect.
pub(super) struct Api<'a> {
    pub account: &'a mut Account,
    pub params: &'a Params,
    pub url_key: &'a UrlKey,
    pub now: Timestamp,
    /// The videos that the call named; filled while it is carried out.
    pub named: Vec<Text>,
    /// Takes the events that the call causes.
    pub events: &'a mut Vec<Bytes>,
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
            Operation::GetVideoList => self.get_video_list(),
            Operation::SearchMedia => self.search_media(),
            Operation::SubmitAiImageJob => self.submit_ai_image_job(),
            Operation::GetAiImageJobs => self.get_ai_image_jobs(),
            Operation::GetAiTemplate => self.get_ai_template(),
            Operation::CreateUploadImage => self.create_upload_image(),
            Operation::CreateUploadVideo => self.create_upload_video(),
            Operation::UploadMediaByUrl => self.upload_media_by_url(),
            Operation::RegisterMedia => self.register_media(),
            Operation::PutObject
            | Operation::GetPicture
            | Operation::BatchReceiveMessage
            | Operation::BatchDeleteMessage
            | Operation::GetQueueAttributes => Err(ApiError::no_such_api()),
        }
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
            "TemplateGroupId": video.template_group.as_deref().unwrap_or_default(),
            "AppId": "app-1000000",
            "DownloadSwitch": "on",
        });
        if let Some(category) = video.category {
            info["CateId"] = json!(category);
            info["CateName"] = json!(video.category_name);
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

    /// A video that the key may write to.
    fn writable(&self, id: &str) -> Result<&Video, ApiError> {
        let video = self.account.video(id).ok_or_else(no_video)?;
        if video.forbidden {
            let message = "User not authorized to operate on the specified resource.";
            return Err(ApiError::new(403, "Forbidden", message));
        }
        Ok(video)
    }

    /// Remembers that the call named a video.
    fn name(&mut self, id: &str) {
        let known = self.account.video(id).map(|video| video.id.clone());
        // Nobody's id: cut, so that the journal stays small.
        self.named.push(known.unwrap_or_else(|| id.chars().take(64).collect::<String>().into()));
    }

    fn category(&self) -> Result<Option<i64>, ApiError> {
        read_category(self.params.get("CateId"))
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

fn read_category(text: Option<&str>) -> Result<Option<i64>, ApiError> {
    let category = text.filter(|text| !text.is_empty()).map(str::parse).transpose();
    category.map_err(|_| ApiError::invalid("CateId", "it is no number"))
}

/// A parameter that is a list of objects.
fn items(name: &str, text: &str) -> Result<Vec<Map<String, Value>>, ApiError> {
    serde_json::from_str(text)
        .map_err(|_| ApiError::invalid(name, "it is no JSON array of objects"))
}

fn check_batch(name: &str, count: usize) -> Result<(), ApiError> {
    check_count(name, count, MAX_BATCH)
}

fn check_count(name: &str, count: usize, most: usize) -> Result<(), ApiError> {
    if count > most {
        let message = format!("The number of entries in {name} exceeds the limit of {most}.");
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
