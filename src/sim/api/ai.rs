//! Smart thumbnails: making them, asking after the jobs, and listing what came of them.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-listaiimageinfo>,
//! <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getaiimagejobs>,
//! <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-getaitemplate>

use serde_json::{Value, json};

use super::super::ai::{Job, State};
use super::super::event::time;
use super::super::reply::ApiError;
use super::{Api, check_count, no_video};

/// Jobs in one GetAIImageJobs.
const MAX_JOBS: usize = 10;

impl Api<'_> {
    pub(super) fn list_ai_image_info(&mut self) -> Result<Value, ApiError> {
        let id = self.params.need("VideoId")?;
        self.name(id);
        let video = self.account.video(id).ok_or_else(no_video)?;
        // Late ones are there, but not yet seen.
        let ready = video.smart_from <= self.now;
        let list: Vec<_> = video
            .thumbnails()
            .into_iter()
            .filter(|_| ready)
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

    pub(super) fn submit_ai_image_job(&mut self) -> Result<Value, ApiError> {
        let id = self.params.need("VideoId")?;
        let template = self.params.need("AITemplateId")?;
        self.name(id);
        let video = self.writable(id)?.id.clone();
        let template = self.account.jobs.template(template).ok_or_else(no_template)?.clone();
        let user_data = self.params.get("UserData").map(str::to_owned);
        let job = self.account.submit_job(video, template, user_data, self.now);
        Ok(json!({ "JobId": job }))
    }

    pub(super) fn get_ai_image_jobs(&mut self) -> Result<Value, ApiError> {
        let ids: Vec<_> =
            self.params.need("JobIds")?.split(',').filter(|id| !id.is_empty()).collect();
        check_count("JobIds", ids.len(), MAX_JOBS)?;
        let found: Vec<_> = ids.into_iter().filter_map(|id| self.account.jobs.find(id)).collect();
        let list: Vec<_> = found.iter().map(|job| about(job)).collect();
        let named: Vec<_> = found.into_iter().map(|job| job.video.clone()).collect();
        self.named.extend(named);
        Ok(json!({ "AIImageJobList": list }))
    }

    pub(super) fn get_ai_template(&mut self) -> Result<Value, ApiError> {
        let id = self.params.need("TemplateId")?;
        let template = self.account.jobs.template(id).ok_or_else(no_template)?;
        Ok(json!({ "TemplateInfo": {
            "TemplateId": template.id,
            "TemplateType": "AIImage",
            "TemplateName": template.id,
            "TemplateConfig": template.config(),
            "IsDefault": "NotDefault",
            "Source": "Custom",
            "CreationTime": "2026-01-01T00:00:00Z",
            "ModifyTime": "2026-01-01T00:00:00Z",
        }}))
    }
}

/// An entry of AIImageJobList. Only the two statuses of jobs that have ended are documented.
fn about(job: &Job) -> Value {
    let mut entry = json!({
        "JobId": job.id,
        "VideoId": &*job.video,
        "CreationTime": time(job.created),
        "TemplateId": job.template.id,
        "TemplateConfig": job.template.config(),
    });
    if let Some(user_data) = &job.user_data {
        entry["UserData"] = json!(user_data);
    }
    match &job.state {
        State::Running => entry["Status"] = json!("processing"),
        State::Failed => {
            entry["Status"] = json!("fail");
            entry["Code"] = json!("InternalError");
            entry["Message"] = json!("The job has failed.");
        }
        State::Succeeded(result) => {
            entry["Status"] = json!("success");
            // JSON in a text.
            entry["AIImageResult"] = json!(result.to_string());
        }
    }
    entry
}

fn no_template() -> ApiError {
    ApiError::new(404, "InvalidTemplate.NotFound", "The AI template does not exist.")
}
