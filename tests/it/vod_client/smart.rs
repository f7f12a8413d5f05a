//! Smart thumbnails that VOD is asked to make.

use serde_json::{Value, json};
use vod_cover::cover::ImageFormat;
use vod_cover::error::Class;
use vod_cover::vod::{AiImageJob, Error, JobState};

use super::server::{Server, ok, refuse};
use super::{VIDEO, cover, video};

#[tokio::test]
async fn a_job_is_ordered_for_a_video_by_a_template() {
    let server = Server::start(|_, _| ok(json!({"RequestId": "r", "JobId": "job-1"}))).await;
    let job = server.client().submit_ai_image_job(&video(VIDEO), "tpl").await.expect("a job");
    assert_eq!(job, "job-1");
    let request = &server.seen()[0];
    for (name, value) in
        [("Action", "SubmitAIImageJob"), ("VideoId", VIDEO), ("AITemplateId", "tpl")]
    {
        assert_eq!(request.query(name), value, "{name}");
    }
}

/// It costs money.
#[tokio::test]
async fn a_job_that_may_have_been_ordered_is_not_ordered_again() {
    for answer in [|| refuse(500, "InternalError"), || ok(json!({"RequestId": "r"}))] {
        let server = Server::start(move |_, _| answer()).await;
        let result = server.client().submit_ai_image_job(&video(VIDEO), "tpl").await;
        assert!(result.expect_err("no job").ambiguous());
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn whether_smart_thumbnails_are_offered_can_be_told_from_a_wrong_template() {
    for (status, code, not_offered) in [
        (400, "UnsupportedOperation", true),
        (403, "Forbidden.RAM", true),
        (400, "AIService.NotOpened", true),
        (404, "InvalidTemplate.NotFound", false),
        (404, "InvalidVideo.NotFound", false),
        (500, "InternalError", false),
        (400, "Throttling.User", false),
    ] {
        let server = Server::start(move |_, _| refuse(status, code)).await;
        let result = server.client().submit_ai_image_job(&video(VIDEO), "tpl").await;
        let error = result.expect_err(code);
        assert_eq!(error.is_operation_not_offered(), not_offered, "{code}");
    }
}

async fn job(job: Value) -> Vec<AiImageJob> {
    let server =
        Server::start(move |_, _| ok(json!({"RequestId": "r", "AIImageJobList": [job]}))).await;
    let jobs = ["job-1".to_owned(), "job-2".to_owned()];
    let jobs = server.client().get_ai_image_jobs(&jobs).await.expect("an answer");
    assert_eq!(server.seen()[0].query("JobIds"), "job-1,job-2");
    jobs
}

#[tokio::test]
async fn a_job_that_has_succeeded_says_what_it_made() {
    let url = "http://outin.oss-cn-shanghai.aliyuncs.com/v/image/ai/h-00001";
    let result = json!([
        {"Score": 5.035636554444242, "Url": format!("{url}.gif")},
        {"Score": "4.5", "Url": format!("{url}.PNG?Expires=1")},
        {"Score": 6, "Url": format!("{url}.webp")},
        {"Score": 6, "Url": "no address.png"},
        {"Url": format!("{url}.png")},
    ]);
    let jobs = job(json!({"JobId": "job-1", "VideoId": VIDEO, "Status": "success",
        "TemplateId": "tpl", "AIImageResult": result.to_string(),
        "TemplateConfig": "{\"Format\":\"gif\",\"SetDefaultCover\":\"true\"}"}))
    .await;
    assert_eq!((jobs[0].id.as_str(), jobs[0].video.as_deref()), ("job-1", Some(VIDEO)));
    assert_eq!(jobs[0].sets_default_cover, Some(true));
    let JobState::Succeeded(images) = &jobs[0].state else { panic!("{:?}", jobs[0].state) };
    let images: Vec<_> =
        images.iter().map(|image| (image.url.clone(), image.format, image.score)).collect();
    assert_eq!(
        images,
        [
            (cover(&format!("{url}.gif")), ImageFormat::Gif, 5.035636554444242),
            (cover(&format!("{url}.PNG")), ImageFormat::Png, 4.5),
        ]
    );
}

#[tokio::test]
async fn a_job_has_failed_or_is_running_and_only_success_is_success() {
    let state = async |members: Value| {
        let mut one = json!({"JobId": "job-1"});
        one.as_object_mut().expect("members").extend(members.as_object().expect("members").clone());
        job(one).await.remove(0).state
    };
    let failed = |why: &str| JobState::Failed { why: why.to_owned() };
    let told = json!({"Status": "fail", "Code": "InvalidFile", "Message": "no picture in it"});
    assert_eq!(state(told).await, failed("InvalidFile: no picture in it"));
    assert_eq!(state(json!({"Status": "Fail"})).await, failed("VOD does not say why"));
    for running in [json!({"Status": "processing"}), json!({}), json!({"Status": null})] {
        assert_eq!(state(running).await, JobState::Running);
    }
    let empty = json!({"Status": "success", "AIImageResult": "[]"});
    assert_eq!(state(empty).await, JobState::Succeeded(Vec::new()));
    let odd = state(json!({"Status": "success", "AIImageResult": "no JSON"})).await;
    assert!(matches!(odd, JobState::Failed { .. }), "{odd:?}");
}

#[tokio::test]
async fn more_jobs_than_one_call_takes_are_refused_unasked() {
    let server = Server::start(|_, _| refuse(500, "InternalError")).await;
    let client = server.client();
    let error = client.get_ai_image_jobs(&vec!["j".to_owned(); 11]).await.expect_err("too many");
    assert!(matches!(error, Error::TooMany { count: 11, most: 10, .. }), "{error}");
    assert_eq!(client.get_ai_image_jobs(&[]).await.expect("nothing").len(), 0);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_template_says_whether_vod_sets_the_cover_itself() {
    for (config, sets) in [
        (json!("{\"Format\":\"png\",\"SetDefaultCover\":\"true\"}"), Some(true)),
        (json!("{\"Format\":\"png\",\"SetDefaultCover\":\"False\"}"), Some(false)),
        (json!({"Format": "png", "SetDefaultCover": false}), Some(false)),
        (json!("{\"Format\":\"png\"}"), None),
    ] {
        let server = Server::start(move |_, _| {
            ok(json!({"RequestId": "r", "TemplateInfo": {"TemplateId": "tpl",
                "TemplateType": "AIImage", "TemplateName": "n", "TemplateConfig": config}}))
        })
        .await;
        let template = server.client().get_ai_template("tpl").await.expect("a template");
        assert_eq!(server.seen()[0].query("TemplateId"), "tpl");
        assert_eq!((template.id.as_str(), template.kind.as_deref()), ("tpl", Some("AIImage")));
        assert_eq!((template.sets_default_cover, template.format), (sets, Some(ImageFormat::Png)));
    }
    let server = Server::start(|_, _| refuse(404, "InvalidTemplate.NotFound")).await;
    let error = server.client().get_ai_template("tpl").await.expect_err("no template");
    assert_eq!(error.class(), Class::Permanent);
}
