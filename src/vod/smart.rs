//! Smart thumbnails, where VOD is to make them: orders a job, asks what became of it, and reads the
//! template that it works by. A job costs money, so one that may have been ordered is not ordered again
//! here. It decides nothing about covers; a template can, so it is asked.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/user-guide/video-ai-parameters>

use serde_json::Value;

use super::{Client, Error, Operation, Parameters, at_most, odd, wire};
use crate::cover::{CoverUrl, ImageFormat, IntelligentImage};
use crate::event::VideoId;

/// Most jobs in one call of GetAIImageJobs.
pub const MOST_JOBS: usize = 10;

/// A template for smart thumbnails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AiTemplate {
    pub id: String,
    /// `AIImage` is the one for smart thumbnails.
    pub kind: Option<String>,
    /// Whether VOD itself makes the result the cover, as soon as the job has succeeded. `None`: VOD did
    /// not say.
    pub sets_default_cover: Option<bool>,
    pub format: Option<ImageFormat>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AiImageJob {
    pub id: String,
    pub video: Option<String>,
    pub state: JobState,
    /// As in [`AiTemplate`], for the template as it was when the job was ordered.
    pub sets_default_cover: Option<bool>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum JobState {
    /// Or in a state that is not known: only the last ones are documented.
    Running,
    Failed {
        why: String,
    },
    /// The thumbnails that can be used, by their addresses on OSS, which need not be public;
    /// [`Client::list_ai_image_info`] has the ones to show.
    Succeeded(Vec<IntelligentImage>),
}

impl Client {
    /// SubmitAIImageJob: orders smart thumbnails by this template, and returns the JobId. VOD tells of
    /// the end of a job by no documented event. An error may be one that
    /// [`Error::is_operation_not_offered`].
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-submitaiimagejob>
    pub async fn submit_ai_image_job(
        &self,
        video: &VideoId,
        template: &str,
    ) -> Result<String, Error> {
        let parameters = Parameters::from([
            ("AITemplateId", template.to_owned()),
            ("VideoId", video.to_string()),
        ]);
        let operation = Operation::SubmitAiImageJob;
        let reply: wire::SubmitAiImageJob = self.call(operation, parameters).await?;
        reply.job_id.ok_or_else(|| odd(operation, "it has no JobId".to_owned()))
    }

    /// GetAIImageJobs: up to 10 jobs. One that VOD does not know is not in the answer.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getaiimagejobs>
    pub async fn get_ai_image_jobs(&self, jobs: &[String]) -> Result<Vec<AiImageJob>, Error> {
        let operation = Operation::GetAiImageJobs;
        if at_most(MOST_JOBS, operation, jobs.len())? == 0 {
            return Ok(Vec::new());
        }
        let parameters = Parameters::from([("JobIds", jobs.join(","))]);
        let reply: wire::GetAiImageJobs = self.call(operation, parameters).await?;
        Ok(reply.jobs.into_iter().filter_map(AiImageJob::read).collect())
    }

    /// GetAITemplate.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getaitemplate>
    pub async fn get_ai_template(&self, template: &str) -> Result<AiTemplate, Error> {
        let parameters = Parameters::from([("TemplateId", template.to_owned())]);
        let reply: wire::GetAiTemplate = self.call(Operation::GetAiTemplate, parameters).await?;
        let info = reply.template_info;
        let config = Config::read(info.template_config);
        Ok(AiTemplate {
            id: info.template_id.unwrap_or_else(|| template.to_owned()),
            kind: info.template_type,
            sets_default_cover: config.sets_default_cover,
            format: config.format,
        })
    }
}

impl AiImageJob {
    fn read(job: wire::AiImageJob) -> Option<Self> {
        let state = match job.status.unwrap_or_default().to_ascii_lowercase().as_str() {
            "success" => succeeded(job.result),
            "fail" => {
                let words: Vec<_> = job.code.into_iter().chain(job.message).collect();
                let why = words.join(": ").chars().take(300).collect::<String>();
                let why = if why.is_empty() { "VOD does not say why".to_owned() } else { why };
                JobState::Failed { why }
            }
            _ => JobState::Running,
        };
        let sets_default_cover = Config::read(job.template_config).sets_default_cover;
        Some(Self { id: job.job_id?, video: job.video_id, state, sets_default_cover })
    }
}

fn succeeded(result: Value) -> JobState {
    let images: Vec<wire::AiImageResult> = match wire::items(result) {
        Ok(images) => images,
        Err(error) => {
            return JobState::Failed { why: format!("its result cannot be read: {error}") };
        }
    };
    let usable = |image: wire::AiImageResult| {
        let url = CoverUrl::new(image.url.as_deref()?).ok()?;
        let format = match url.path().rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "png" => ImageFormat::Png,
            "gif" => ImageFormat::Gif,
            _ => return None,
        };
        Some(IntelligentImage { url, format, score: image.score? })
    };
    JobState::Succeeded(images.into_iter().filter_map(usable).collect())
}

/// TemplateConfig: `{"Format":"png","SetDefaultCover":"false"}`, as text.
#[derive(Default)]
struct Config {
    sets_default_cover: Option<bool>,
    format: Option<ImageFormat>,
}

impl Config {
    fn read(config: Value) -> Self {
        let config = match config {
            Value::String(text) => serde_json::from_str(&text).unwrap_or_default(),
            other => other,
        };
        let member = |name: &str| match config.get(name)? {
            Value::String(text) => Some(text.trim().to_ascii_lowercase()),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        };
        let sets_default_cover = member("SetDefaultCover").and_then(|text| text.parse().ok());
        let format = member("Format").and_then(|text| match text.as_str() {
            "png" => Some(ImageFormat::Png),
            "gif" => Some(ImageFormat::Gif),
            _ => None,
        });
        Self { sets_default_cover, format }
    }
}
