//! What the client's operations return, in this program's own terms.

use jiff::Timestamp;
use serde_json::Value;

use crate::cover::policy::Facts;
use crate::cover::{CoverUrl, Current, CurrentCover, ImageFormat, IntelligentImage};
use crate::event::{VideoId, event_time};
use crate::vod::{Error, Operation, wire};

/// One video's metadata, as far as it can matter to a cover.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoInfo {
    pub video: VideoId,
    /// CoverURL as VOD returns it, which may be signed (`auth_key`). `None`: the video has no cover.
    pub cover: Option<String>,
    /// Addresses of its snapshots, signed where the domain signs.
    pub snapshots: Vec<String>,
    /// `Uploading`, `UploadFail`, `UploadSucc`, `Transcoding`, `TranscodeFail`, `Blocked`, `Normal`; an
    /// open set.
    pub status: Option<String>,
    pub title: Option<String>,
    pub tags: Vec<String>,
    pub category_id: Option<String>,
    pub category_name: Option<String>,
    pub created: Option<Timestamp>,
    /// Of any field, in whole seconds.
    pub modified: Option<Timestamp>,
    /// Seconds.
    pub duration: Option<f64>,
    pub app_id: Option<String>,
    /// TemplateGroupId: how it was transcoded. Lists do not say.
    pub template_group: Option<String>,
    /// Text that is JSON by custom. Lists do not say.
    pub user_data: Option<String>,
}

impl VideoInfo {
    /// What a policy may ask of the video.
    pub fn facts(&self) -> Facts {
        Facts {
            title: self.title.clone(),
            tags: self.tags.clone(),
            category_id: self.category_id.clone(),
            category_name: self.category_name.clone(),
            template_group: self.template_group.clone(),
        }
    }

    /// UserData.Extend, which the video's events carry.
    pub fn extend(&self) -> Option<Value> {
        let mut user_data: Value = serde_json::from_str(self.user_data.as_deref()?).ok()?;
        Some(user_data.get_mut("Extend")?.take()).filter(|extend| !extend.is_null())
    }

    /// Cover and snapshots in comparable form.
    pub fn current(&self) -> Current {
        let cover = match &self.cover {
            None => CurrentCover::None,
            Some(text) => CoverUrl::new(text)
                .map_or_else(|_| CurrentCover::Odd(text.clone()), CurrentCover::Is),
        };
        let middle = self.snapshots.get(self.snapshots.len() / 2);
        Current { cover, middle: middle.and_then(|url| CoverUrl::new(url).ok()) }
    }

    /// `Err` says what is wrong with the answer. `asked` stands in for a missing VideoId.
    pub(super) fn read(video: wire::Video, asked: Option<&VideoId>) -> Result<Self, String> {
        let id = match (video.video_id, asked) {
            (Some(id), Some(asked)) if !id.eq_ignore_ascii_case(asked.as_str()) => {
                return Err(format!("it is about video {id:.64?}, not about {asked}"));
            }
            (_, Some(asked)) => asked.clone(),
            (Some(id), None) => VideoId::new(id).map_err(|error| error.to_string())?,
            (None, None) => return Err("a video has no VideoId".to_owned()),
        };
        let time = |text: Option<String>| text.and_then(|text| event_time(&text));
        let tags = video.tags.unwrap_or_default();
        let tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty());
        Ok(Self {
            video: id,
            cover: video.cover_url,
            snapshots: video.snapshots,
            status: video.status,
            title: video.title,
            tags: tags.map(str::to_owned).collect(),
            category_id: video.cate_id,
            category_name: video.cate_name,
            created: time(video.creation_time),
            modified: time(video.modification_time),
            duration: video.duration,
            app_id: video.app_id,
            template_group: video.template_group_id,
            user_data: video.user_data,
        })
    }

    /// One of several, that is read by itself so that it does not spoil the others' answer.
    pub(super) fn read_alone(
        operation: Operation,
        video: serde_json::Result<wire::Video>,
    ) -> Option<Self> {
        let video = video.map_err(|error| error.to_string());
        match video.and_then(|video| Self::read(video, None)) {
            Ok(info) => Some(info),
            Err(why) => {
                tracing::warn!(operation = operation.name(), why, "a video cannot be read");
                None
            }
        }
    }
}

/// The answer about several videos.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VideoInfos {
    pub found: Vec<VideoInfo>,
    pub non_exist: Vec<String>,
}

impl VideoInfos {
    /// What was said of one of them. A video that is not mentioned is an error: silence is no proof that
    /// it has no cover.
    pub fn of(&self, video: &VideoId) -> Result<&VideoInfo, Error> {
        let operation = Operation::GetVideoInfos.name();
        if let Some(info) = self.found.iter().find(|info| info.video == *video) {
            return Ok(info);
        }
        if names(&self.non_exist, video) {
            return Err(Error::NoSuchVideo { operation, video: video.clone() });
        }
        Err(Error::Reply {
            operation,
            status: 200,
            why: format!("it does not mention video {video}"),
            retry_after: None,
            ambiguous: false,
        })
    }
}

/// What became of a list of updates: every video that is in neither list has its new cover.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Updated {
    pub non_exist: Vec<String>,
    /// No permission, usually because the video belongs to another application of the account.
    pub forbidden: Vec<String>,
}

impl Updated {
    /// What became of one of them.
    pub fn of(&self, video: &VideoId) -> Result<(), Error> {
        let operation = Operation::UpdateVideoInfos.name();
        if names(&self.non_exist, video) {
            return Err(Error::NoSuchVideo { operation, video: video.clone() });
        }
        if names(&self.forbidden, video) {
            return Err(Error::ForbiddenVideo { operation, video: video.clone() });
        }
        Ok(())
    }
}

fn names(list: &[String], video: &VideoId) -> bool {
    list.iter().any(|id| id.trim().eq_ignore_ascii_case(video.as_str()))
}

/// A page of the latest successful set of snapshots of one type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SnapshotSet {
    /// Of all pages. 0: there is no such set.
    pub total: u32,
    /// The pattern of the addresses, with `{SnapshotCount}`; never signed.
    pub regular: Option<String>,
    pub created: Option<Timestamp>,
    pub job: Option<String>,
    pub snapshots: Vec<Snapshot>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// From 1. `None` if VOD did not say.
    pub number: Option<u32>,
    /// Signed where the domain signs: good for fetching, not for a cover.
    pub url: String,
}

impl SnapshotSet {
    pub(super) fn read(set: wire::MediaSnapshot) -> Self {
        // Casting saturates, so an absurd number does no harm.
        let count = |number: f64| number as u32;
        let snapshot = |snapshot: wire::Snapshot| Snapshot {
            number: snapshot.index.map(count),
            url: snapshot.url,
        };
        let snapshots: Vec<_> = set.snapshots.into_iter().map(snapshot).collect();
        Self {
            total: set.total.map_or(snapshots.len() as u32, count),
            regular: set.regular,
            created: set.creation_time.and_then(|text| event_time(&text)),
            job: set.job_id,
            snapshots,
        }
    }
}

/// One smart thumbnail as VOD lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct AiImage {
    pub id: Option<String>,
    pub job: Option<String>,
    /// Signed where the domain signs.
    pub file_url: Option<String>,
    /// `png` or `gif`, so far.
    pub format: Option<String>,
    /// Scale unknown; to be compared within one job only.
    pub score: Option<f64>,
    pub version: Option<String>,
    pub created: Option<Timestamp>,
}

impl AiImage {
    /// As a picture that can be chosen; `None` if it is of an unknown format or has no usable address or
    /// score.
    pub fn intelligent(&self) -> Option<IntelligentImage> {
        let format = match self.format.as_deref()?.to_ascii_lowercase().as_str() {
            "png" => ImageFormat::Png,
            "gif" => ImageFormat::Gif,
            _ => return None,
        };
        let url = CoverUrl::new(self.file_url.as_deref()?).ok()?;
        Some(IntelligentImage { url, format, score: self.score? })
    }

    pub(super) fn read(image: wire::AiImageInfo) -> Self {
        Self {
            id: image.id,
            job: image.job_id,
            file_url: image.file_url,
            format: image.format,
            score: image.score,
            version: image.version,
            created: image.creation_time.and_then(|text| event_time(&text)),
        }
    }
}
