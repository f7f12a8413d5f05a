//! Smart thumbnails.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-listaiimageinfo>

use serde_json::{Value, json};

use super::super::event::time;
use super::super::reply::ApiError;
use super::{Api, no_video};

impl Api<'_> {
    pub(super) fn list_ai_image_info(&mut self) -> Result<Value, ApiError> {
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
}
