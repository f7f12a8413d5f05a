//! The VOD client: one method an operation. Each call is signed anew for every attempt, bounded in time
//! and size, and ends as a value or an [`Error`] that knows its class. It decides nothing about covers,
//! and it never logs a URL, a body or a secret.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-overview>

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::cover::{Candidate, CoverUrl};
use crate::error::Class;
use crate::event::VideoId;
use crate::gathering::Gathering;
use call::Turn;

mod answer;
mod batch;
mod call;
pub mod credentials;
pub mod error;
pub(crate) mod http;
pub mod listing;
pub mod media;
pub mod quota;
mod settings;
pub mod sign;
pub mod smart;
mod upload;
mod wire;

pub use answer::{AiImage, Snapshot, SnapshotSet, Updated, VideoInfo, VideoInfos};
pub use credentials::{Credential, Credentials, Environment};
pub use error::Error;
pub use listing::{Filter, Position, VideoPage};
pub use media::{Created, Media, Pulled, Registered};
pub use quota::{Operation, Quota};
pub use settings::{Settings, SettingsError};
pub use sign::Signature;
pub use smart::{AiImageJob, AiTemplate, JobState};
pub use upload::Ticket;

/// Most videos in one call of UpdateVideoInfos or GetVideoInfos.
pub const MOST_VIDEOS: usize = 20;

/// Snapshots that are listed, in pages of VOD's largest size. VOD makes 8 cover snapshots.
const MOST_PAGES: u32 = 10;
const PAGE: u32 = 100;

/// Most bytes of UpdateContent in a query, encoded. The gateway's limit is not documented; common ones
/// are 8 KiB for the whole line, and 20 covers of usual length stay below this.
const MOST_CONTENT: usize = 7_000;

/// Cheap to clone; clones share connections, credentials and pacing.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    endpoint: Url,
    http: reqwest::Client,
    credentials: Arc<Credentials>,
    quota: Quota,
    look_ups: Gathering<batch::LookUps>,
    updates: Gathering<batch::Updates>,
    /// Set when the access key turned out to lack the permission for UpdateVideoInfos.
    singly: AtomicBool,
}

type Parameters = BTreeMap<&'static str, String>;

impl Client {
    /// Connects to nothing and reads no credentials yet; both happen with the first call.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        Self::with_environment(settings, Environment::of_process())
    }

    /// With other environment variables than this process's.
    pub fn with_environment(
        settings: &Settings,
        environment: Environment,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let endpoint = settings.endpoint_url()?;
        let http = http::client(&endpoint, settings.connect_timeout, settings.timeout)
            .build()
            .map_err(SettingsError::Tls)?;
        let credentials = Arc::new(Credentials::new(&settings.credentials, environment));
        let quota = Quota::new(settings.pace.then_some(settings.quota_share), &settings.quotas);
        Ok(Self::of(settings.clone(), endpoint, http, credentials, quota))
    }

    fn of(
        settings: Settings,
        endpoint: Url,
        http: reqwest::Client,
        credentials: Arc<Credentials>,
        quota: Quota,
    ) -> Self {
        let look_ups = Gathering::new(batch::SLOTS, MOST_VIDEOS);
        let updates = Gathering::new(batch::SLOTS, MOST_VIDEOS);
        let singly = AtomicBool::new(false);
        let inner =
            Inner { settings, endpoint, http, credentials, quota, look_ups, updates, singly };
        Self { inner: Arc::new(inner) }
    }

    /// One whose calls are of one budget with those of all workers of the fleet. Where calls are not
    /// paced, they stay so.
    pub fn in_fleet(&self, fleet: quota::Fleet) -> Self {
        self.with_quota(self.inner.quota.in_fleet(fleet))
    }

    /// One for walks through the account, of the same budget: its calls wait until no event does, and
    /// take at most this share (above 0, at most 1) of the account's quota.
    pub fn for_walks(&self, share: f64) -> Self {
        self.with_quota(self.inner.quota.walking(share))
    }

    fn with_quota(&self, quota: Quota) -> Self {
        let Inner { settings, endpoint, http, credentials, .. } = &*self.inner;
        Self::of(settings.clone(), endpoint.clone(), http.clone(), credentials.clone(), quota)
    }

    /// What there is of each operation's quota, and what this process takes of it.
    pub fn quota_uses(&self) -> Vec<quota::Use> {
        self.inner.quota.uses()
    }

    pub fn endpoint(&self) -> &Url {
        &self.inner.endpoint
    }

    /// Where the access key comes from, for `check` to show.
    pub fn credentials(&self) -> &Credentials {
        &self.inner.credentials
    }

    /// UpdateVideoInfo: sets one video's cover and leaves everything else as it is. Setting the same
    /// cover again is harmless.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-updatevideoinfo>
    pub async fn update_video_info(&self, video: &VideoId, cover: &CoverUrl) -> Result<(), Error> {
        self.update_one(video, cover, Turn::Take).await
    }

    async fn update_one(&self, video: &VideoId, cover: &CoverUrl, turn: Turn) -> Result<(), Error> {
        let parameters =
            Parameters::from([("CoverURL", cover.to_string()), ("VideoId", video.to_string())]);
        match self.send(Operation::UpdateVideoInfo, parameters, turn).await {
            // The key may lack the permission, or it may lack it for this video alone, which belongs to
            // another application. The one stops everything, the other must not. Only the operation for
            // several videos tells them apart: it names forbidden videos in a successful answer.
            Err(error) if error.is_code("Forbidden") => {
                let update = [(video.clone(), cover.clone())];
                match self.update_video_infos(&update).await {
                    Ok(updated) => updated.of(video),
                    Err(second) if second.class() == Class::Misconfigured => Err(error),
                    Err(second) => Err(second),
                }
            }
            other => other,
        }
    }

    /// UpdateVideoInfos: sets the covers of up to 20 different videos. A list that is too long for one
    /// query is sent in parts; an error may then come after some were dealt with, and the whole list may
    /// be sent again.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-updatevideoinfos>
    pub async fn update_video_infos(
        &self,
        updates: &[(VideoId, CoverUrl)],
    ) -> Result<Updated, Error> {
        self.update_several(updates, Turn::Take).await
    }

    /// With the turn of the first part.
    async fn update_several(
        &self,
        updates: &[(VideoId, CoverUrl)],
        mut turn: Turn,
    ) -> Result<Updated, Error> {
        let operation = Operation::UpdateVideoInfos;
        let count = at_most(MOST_VIDEOS, operation, updates.len())?;
        let (mut all, mut done) = (Updated::default(), 0);
        while done < count {
            let (content, taken) = update_content(&updates[done..]);
            let parameters = Parameters::from([("UpdateContent", content)]);
            let reply = self.call_in::<wire::UpdateVideoInfos>(operation, parameters, turn).await;
            turn = Turn::Take;
            match reply {
                Ok(reply) => {
                    all.non_exist.extend(reply.non_exist_video_ids);
                    all.forbidden.extend(reply.forbidden_video_ids);
                }
                Err(error) if done == 0 => return Err(error),
                Err(error) => {
                    let source = Box::new(error);
                    return Err(Error::Partly { operation: operation.name(), done, count, source });
                }
            }
            done += taken;
        }
        Ok(all)
    }

    /// GetVideoInfo.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getvideoinfo>
    pub async fn get_video_info(&self, video: &VideoId) -> Result<VideoInfo, Error> {
        self.get_one(video, Turn::Take).await
    }

    async fn get_one(&self, video: &VideoId, turn: Turn) -> Result<VideoInfo, Error> {
        let operation = Operation::GetVideoInfo;
        let parameters = Parameters::from([("VideoId", video.to_string())]);
        let reply: wire::GetVideoInfo = match self.call_in(operation, parameters, turn).await {
            // As with UpdateVideoInfo: the operation for several videos works if the key may ask at all.
            Err(error) if error.is_code("Forbidden") => {
                return match self.get_video_infos(std::slice::from_ref(video)).await {
                    Ok(infos) => infos.of(video).cloned().map_err(|_| Error::ForbiddenVideo {
                        operation: operation.name(),
                        video: video.clone(),
                    }),
                    Err(second) if second.class() == Class::Misconfigured => Err(error),
                    Err(second) => Err(second),
                };
            }
            other => other?,
        };
        VideoInfo::read(reply.video, Some(video)).map_err(|why| odd(operation, why))
    }

    /// GetVideoInfos: up to 20 videos. That none of them exists is an answer too.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getvideoinfos>
    pub async fn get_video_infos(&self, videos: &[VideoId]) -> Result<VideoInfos, Error> {
        self.get_several(videos, Turn::Take).await
    }

    async fn get_several(&self, videos: &[VideoId], turn: Turn) -> Result<VideoInfos, Error> {
        let operation = Operation::GetVideoInfos;
        if at_most(MOST_VIDEOS, operation, videos.len())? == 0 {
            return Ok(VideoInfos::default());
        }
        let ids: Vec<_> = videos.iter().map(VideoId::to_string).collect();
        let parameters = Parameters::from([("VideoIds", ids.join(","))]);
        let reply: wire::GetVideoInfos = match self.call_in(operation, parameters, turn).await {
            Err(error) if error.is_code("InvalidVideo.NotFound") => {
                return Ok(VideoInfos { found: Vec::new(), non_exist: ids });
            }
            other => other?,
        };
        // One that cannot be read counts as not mentioned, which is an error for whoever asked about it.
        let read = |video: Box<RawValue>| {
            VideoInfo::read_alone(operation, serde_json::from_str(video.get()))
        };
        let found = reply.video_list.into_iter().filter_map(read).collect();
        Ok(VideoInfos { found, non_exist: reply.non_exist_video_ids })
    }

    /// ListSnapshots: a page (from 1, of at most 100) of the latest successful set of this type, such as
    /// `CoverSnapshot`. A video without such a set yields an empty one.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-listsnapshots>
    pub async fn list_snapshots(
        &self,
        video: &VideoId,
        snapshot_type: &str,
        page_no: u32,
        page_size: u32,
    ) -> Result<SnapshotSet, Error> {
        let parameters = Parameters::from([
            ("PageNo", page_no.max(1).to_string()),
            ("PageSize", page_size.clamp(1, 100).to_string()),
            ("SnapshotType", snapshot_type.to_owned()),
            ("VideoId", video.to_string()),
        ]);
        let reply = self.call::<wire::ListSnapshots>(Operation::ListSnapshots, parameters).await;
        match reply {
            Ok(reply) => Ok(SnapshotSet::read(reply.media_snapshot)),
            Err(error) if error.is_code("NoSuchResource") => Ok(SnapshotSet::default()),
            Err(error) => Err(error),
        }
    }

    /// The video's cover snapshots in order, as pictures that can be chosen; at most the first 1,000.
    pub async fn cover_snapshots(&self, video: &VideoId) -> Result<Vec<Candidate>, Error> {
        let mut candidates: Vec<Candidate> = Vec::new();
        for page in 1..=MOST_PAGES {
            let set = self.list_snapshots(video, "CoverSnapshot", page, PAGE).await?;
            let (total, count) = (set.total as usize, set.snapshots.len());
            for (snapshot, place) in set.snapshots.into_iter().zip(candidates.len() as u32 + 1..) {
                let number = snapshot.number.unwrap_or(place);
                candidates
                    .extend(CoverUrl::new(&snapshot.url).ok().map(|url| Candidate { number, url }));
            }
            if count == 0 || candidates.len() >= total {
                break;
            }
        }
        candidates.sort_by_key(|candidate| candidate.number);
        Ok(candidates)
    }

    /// ListAIImageInfo: the smart thumbnails of a video, none if no such job ran.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-listaiimageinfo>
    pub async fn list_ai_image_info(&self, video: &VideoId) -> Result<Vec<AiImage>, Error> {
        let parameters = Parameters::from([("VideoId", video.to_string())]);
        let reply: wire::ListAiImageInfo =
            self.call(Operation::ListAiImageInfo, parameters).await?;
        Ok(reply.images.into_iter().map(AiImage::read).collect())
    }

    /// Proves endpoint, signature and permissions, and changes nothing: asks for, and "updates" without
    /// any field, a video that cannot exist. That VOD checks the permission before it looks for the video
    /// is inferred from how RAM works; no page says so. `intelligent` says whether smart thumbnails are
    /// asked for as well; that they are not offered to this account is no failure of the probe.
    pub async fn probe(&self, intelligent: bool) -> Vec<(&'static str, Result<(), Error>)> {
        let mut results = Vec::new();
        let asked =
            [Operation::GetVideoInfo, Operation::UpdateVideoInfo, Operation::ListAiImageInfo];
        for operation in asked
            .into_iter()
            .filter(|operation| intelligent || *operation != Operation::ListAiImageInfo)
        {
            let parameters = Parameters::from([("VideoId", "0".repeat(32))]);
            let result = match self.send(operation, parameters, Turn::Take).await {
                // Whatever VOD has against the made-up request, it has accepted who asks.
                Err(error) if error.is_about_the_request() => Ok(()),
                Err(error)
                    if operation == Operation::ListAiImageInfo
                        && error.is_operation_not_offered() =>
                {
                    tracing::warn!(error = %error, "smart thumbnails are not offered");
                    Ok(())
                }
                other => other,
            };
            results.push((operation.name(), result));
        }
        results
    }

    /// A call whose answer says nothing more than that it was done.
    async fn send(
        &self,
        operation: Operation,
        parameters: Parameters,
        turn: Turn,
    ) -> Result<(), Error> {
        self.call_in::<serde::de::IgnoredAny>(operation, parameters, turn).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        parameters: Parameters,
    ) -> Result<T, Error> {
        self.call_in(operation, parameters, Turn::Take).await
    }

    async fn call_in<T: DeserializeOwned>(
        &self,
        operation: Operation,
        parameters: Parameters,
        turn: Turn,
    ) -> Result<T, Error> {
        call::call(&self.inner, operation, &parameters, turn).await
    }
}

impl Inner {
    fn sign(
        &self,
        operation: Operation,
        parameters: &Parameters,
        credential: &Credential,
    ) -> sign::Signed {
        let request = sign::Request {
            method: "POST",
            host: &http::host(&self.endpoint),
            version: "2017-03-21",
            action: operation.name(),
            parameters,
        };
        let nonce = Uuid::new_v4().to_string();
        let identity = credential.identity();
        sign::sign(self.settings.signature, &request, &identity, Timestamp::now(), &nonce)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Update<'a> {
    video_id: &'a VideoId,
    #[serde(rename = "CoverURL")]
    cover_url: &'a CoverUrl,
}

/// The longest beginning of the list that fits into one query, at least one, and how many that is.
fn update_content(updates: &[(VideoId, CoverUrl)]) -> (String, usize) {
    let mut content = String::from("[");
    let (mut taken, mut encoded) = (0, 0);
    for (video_id, cover_url) in updates {
        let item = serde_json::json!(Update { video_id, cover_url }).to_string();
        // Three more for the comma between two.
        encoded += sign::percent_encode(&item).len() + 3;
        if taken > 0 && encoded > MOST_CONTENT {
            break;
        }
        if taken > 0 {
            content.push(',');
        }
        content.push_str(&item);
        taken += 1;
    }
    content.push(']');
    (content, taken)
}

fn at_most(most: usize, operation: Operation, count: usize) -> Result<usize, Error> {
    if count > most {
        return Err(Error::TooMany { operation: operation.name(), count, most });
    }
    Ok(count)
}

fn odd(operation: Operation, why: String) -> Error {
    Error::Reply {
        operation: operation.name(),
        status: 200,
        why,
        retry_after: None,
        ambiguous: operation.writes(),
    }
}
