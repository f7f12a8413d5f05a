//! ListSnapshots: the cover and sprite snapshots of a video, in pages.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-listsnapshots>

use serde_json::{Value, json};

use super::super::event::time;
use super::super::reply::ApiError;
use super::{Api, no_video};

impl Api<'_> {
    pub(super) fn list_snapshots(&mut self) -> Result<Value, ApiError> {
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
}
