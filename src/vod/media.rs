//! Brings videos into VOD with a cover from the start: a ticket for an upload (CreateUploadVideo), a
//! download by VOD (UploadMediaByURL), or a file that is in its storage already (RegisterMedia). Each
//! makes a video, so none is repeated here where it may have happened. It uploads nothing, and never logs
//! a reply: that of CreateUploadVideo holds a key.

use std::fmt;

use serde_json::{Map, Value, json};

use super::{Client, Error, Operation, Parameters, odd, wire};
use crate::cover::CoverUrl;
use crate::event::VideoId;

/// What is known of a video before VOD has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Media {
    /// At most 128 bytes.
    pub title: String,
    /// At most 1,024 bytes.
    pub description: Option<String>,
    /// At most 16, of at most 32 bytes each, without commas.
    pub tags: Vec<String>,
    /// CateId.
    pub category: Option<i64>,
    /// VOD makes no cover of its own for a video that comes with one.
    pub cover: Option<CoverUrl>,
    /// TemplateGroupId.
    pub template_group: Option<String>,
    /// A JSON object as text, which comes back in the events of the video.
    pub user_data: Option<String>,
}

/// A video that waits for its file.
#[derive(Clone, PartialEq)]
pub struct Created {
    /// As VOD gave it, for whoever uploads; with UploadAuth, a key for that one upload.
    pub reply: Value,
    pub video: VideoId,
}

impl fmt::Debug for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Created").field("video", &self.video).finish_non_exhaustive()
    }
}

/// A file that VOD is going to fetch. The event UploadByURLComplete names its VideoId.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    pub reply: Value,
    /// JobIds.
    pub jobs: Vec<String>,
}

/// A file that is a video from now on, or has been before.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    pub reply: Value,
    pub videos: Vec<VideoId>,
    /// Those of them that have been videos before, and stay as they are.
    pub known: Vec<VideoId>,
    /// FailedFileURLs.
    pub failed: Vec<String>,
}

impl Client {
    /// CreateUploadVideo: makes a video without a file. `file_name` is for its extension.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-createuploadvideo>
    pub async fn create_upload_video(
        &self,
        media: &Media,
        file_name: &str,
    ) -> Result<Created, Error> {
        let operation = Operation::CreateUploadVideo;
        let mut parameters = media.parameters();
        parameters.insert("FileName", file_name.to_owned());
        for (name, value) in media.members() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            parameters.insert(name, text);
        }
        let (reply, ids): (_, wire::CreateUploadVideo) = self.make(operation, parameters).await?;
        let video =
            VideoId::new(ids.video_id).map_err(|error| odd(operation, error.to_string()))?;
        Ok(Created { reply, video })
    }

    /// UploadMediaByURL: has VOD fetch a file, which it does in its own time.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-uploadmediabyurl>
    pub async fn upload_media_by_url(&self, media: &Media, source: &str) -> Result<Pulled, Error> {
        let operation = Operation::UploadMediaByUrl;
        // The parameter is a list with commas.
        let source = source.replace(',', "%2C");
        let mut parameters = media.parameters();
        let metadata = media.metadata("SourceURL", &source);
        parameters.extend([("UploadMetadatas", metadata), ("UploadURLs", source)]);
        let (reply, ids): (_, wire::UploadMediaByUrl) = self.make(operation, parameters).await?;
        let jobs: Vec<_> = ids.upload_jobs.into_iter().filter_map(|job| job.job_id).collect();
        if jobs.is_empty() {
            return Err(odd(operation, "it has no JobId".to_owned()));
        }
        Ok(Pulled { reply, jobs })
    }

    /// RegisterMedia: makes a video of a file in a storage address of VOD.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-registermedia>
    pub async fn register_media(&self, media: &Media, file: &str) -> Result<Registered, Error> {
        let operation = Operation::RegisterMedia;
        let mut parameters = media.parameters();
        parameters.insert("RegisterMetadatas", media.metadata("FileURL", file));
        let (reply, ids): (_, wire::RegisterMedia) = self.make(operation, parameters).await?;
        let (mut videos, mut known) = (Vec::new(), Vec::new());
        for media in ids.registered_media_list {
            let video = VideoId::new(media.media_id);
            let video = video.map_err(|error| odd(operation, error.to_string()))?;
            if media.new_register == false || media.new_register == "false" {
                known.push(video.clone());
            }
            videos.push(video);
        }
        Ok(Registered { reply, videos, known, failed: ids.failed_file_urls })
    }

    async fn make<T: serde::de::DeserializeOwned>(
        &self,
        operation: Operation,
        parameters: Parameters,
    ) -> Result<(Value, T), Error> {
        let reply: Value = self.call(operation, parameters).await?;
        let ids = serde_json::from_value(reply.clone())
            .map_err(|error| odd(operation, error.to_string()))?;
        Ok((reply, ids))
    }
}

impl Media {
    /// What the operations take in the same way.
    fn parameters(&self) -> Parameters {
        let given = [("TemplateGroupId", &self.template_group), ("UserData", &self.user_data)];
        given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }

    /// What each takes in a place of its own.
    fn members(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let tags = (!self.tags.is_empty()).then(|| self.tags.join(","));
        let members = [
            ("Title", Some(json!(self.title))),
            ("Description", self.description.as_ref().map(|text| json!(text))),
            ("Tags", tags.map(Value::String)),
            ("CateId", self.category.map(Value::from)),
            ("CoverURL", self.cover.as_ref().map(|cover| json!(cover))),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// A list, as text, of this one and where its file is.
    fn metadata(&self, place: &str, url: &str) -> String {
        let members = self.members().map(|(name, value)| (name.to_owned(), value));
        let place = (place.to_owned(), Value::from(url));
        json!([members.chain([place]).collect::<Map<_, _>>()]).to_string()
    }
}
