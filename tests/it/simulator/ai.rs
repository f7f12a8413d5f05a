//! Smart thumbnails that come late, on demand, or not at all.

use super::*;

async fn submit(client: &Client, video: &str, template: &str) -> String {
    let params = [("VideoId", video), ("AITemplateId", template)];
    let (status, body) = client.call("SubmitAIImageJob", &params).await;
    assert_eq!(status, 200, "{body}");
    body["JobId"].as_str().unwrap().to_owned()
}

async fn job(client: &Client, id: &str) -> Value {
    let (_, body) = client.call("GetAIImageJobs", &[("JobIds", id)]).await;
    body["AIImageJobList"][0].clone()
}

async fn listed(client: &Client, video: &str) -> Vec<Value> {
    let (_, body) = client.call("ListAIImageInfo", &[("VideoId", video)]).await;
    body["AIImageInfoList"].as_array().unwrap().clone()
}

#[tokio::test]
async fn late_thumbnails_are_hidden_until_their_time() {
    let simulator = start(calm(0)).await;
    let client = Client::of(&simulator);
    let late = |seconds| {
        let new = NewVideo { smart: 2, ai_after: Some(seconds), ..NewVideo::default() };
        simulator.add_video(new).unwrap()
    };
    let (soon, later) = (late(0.0), late(3_600.0));
    assert_eq!(listed(&client, &soon).await.len(), 2);
    assert_eq!(listed(&client, &later).await.len(), 0);
    assert!(simulator.finish_ai(&later));
    assert_eq!(listed(&client, &later).await.len(), 2);
    assert!(!simulator.finish_ai("nobody"));
}

#[tokio::test]
async fn a_job_makes_thumbnails_for_a_video_that_has_none() {
    let simulator = start(calm(1)).await;
    let client = Client::of(&simulator);
    let video = simulator.add_video(NewVideo::default()).unwrap();
    let cover = simulator.cover_of(&video);
    assert_eq!(simulator.ai_jobs_of(&video), 0);
    let id = submit(&client, &video, "tpl-smart").await;
    let job = job(&client, &id).await;
    assert_eq!((&job["JobId"], &job["VideoId"]), (&json!(id), &json!(video)));
    assert_eq!((&job["Status"], &job["TemplateId"]), (&json!("success"), &json!("tpl-smart")));
    let result: Value = serde_json::from_str(job["AIImageResult"].as_str().unwrap()).unwrap();
    let list = listed(&client, &video).await;
    assert_eq!((result.as_array().unwrap().len(), list.len()), (3, 3));
    for (made, entry) in result.as_array().unwrap().iter().zip(&list) {
        let url = made["Url"].as_str().unwrap();
        assert!(made["Score"].is_f64() && !url.contains('?'), "{made}");
        assert!(entry["FileURL"].as_str().unwrap().starts_with(&format!("{url}?auth_key=")));
        assert_eq!(entry["JobId"], json!(id));
        assert_eq!(get(url).await.0, 200);
    }
    assert_eq!(simulator.cover_of(&video), cover);
    assert_eq!(simulator.ai_jobs_of(&video), 1);
    let counts = get_json(&format!("{}/_sim/ai-jobs", simulator.endpoint())).await;
    assert_eq!(counts, json!({ video.clone(): 1 }));
    let named = simulator.journal().into_iter().filter(|call| call.videos == [video.as_str()]);
    let operations: Vec<_> = named.map(|call| call.operation.into_owned()).collect();
    assert_eq!(operations[..2], ["SubmitAIImageJob", "GetAIImageJobs"]);
}

#[tokio::test]
async fn a_template_may_make_the_best_thumbnail_the_cover_without_an_event() {
    let simulator = start(calm(0)).await;
    let client = Client::of(&simulator);
    let video = simulator.add_video(NewVideo { smart: 4, ..NewVideo::default() }).unwrap();
    submit(&client, &video, "tpl-sets-cover").await;
    let thumbnails = simulator.smart_thumbnails_of(&video);
    let best = thumbnails.into_iter().max_by(|one, other| one.1.total_cmp(&other.1)).unwrap();
    assert_eq!(simulator.cover_of(&video), Some(best.0));
    assert_eq!(simulator.cover_changes().pop().unwrap().by, By::Default);
    assert_eq!(simulator.base_change_events().len(), 0);
    for (template, sets_cover) in [("tpl-smart", "false"), ("tpl-sets-cover", "true")] {
        let (_, body) = client.call("GetAITemplate", &[("TemplateId", template)]).await;
        let info = &body["TemplateInfo"];
        assert_eq!(
            (&info["TemplateId"], &info["TemplateType"]),
            (&json!(template), &json!("AIImage"))
        );
        let config: Value = serde_json::from_str(info["TemplateConfig"].as_str().unwrap()).unwrap();
        assert_eq!(config, json!({ "Format": "png", "SetDefaultCover": sets_cover }));
    }
}

#[tokio::test]
async fn a_job_takes_its_time_may_fail_and_may_lose_its_video() {
    let hour = Duration::from_secs(3_600);
    let simulator = start(Settings { ai_job_takes: hour, ..calm(0) }).await;
    let client = Client::of(&simulator);
    let add = |ai_fails| simulator.add_video(NewVideo { ai_fails, ..NewVideo::default() }).unwrap();
    let (good, bad, gone) = (add(false), add(true), add(false));
    let ids = [
        submit(&client, &good, "tpl-sets-cover").await,
        submit(&client, &bad, "tpl-smart").await,
        submit(&client, &gone, "tpl-smart").await,
    ];
    let statuses = async || {
        let (_, body) = client.call("GetAIImageJobs", &[("JobIds", &ids.join(","))]).await;
        let list = body["AIImageJobList"].as_array().unwrap().clone();
        list.iter().map(|job| job["Status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(statuses().await, ["processing"; 3]);
    assert_eq!(listed(&client, &good).await.len(), 0);
    assert!(simulator.delete_video(&gone) && simulator.finish_ai(&bad));
    assert_eq!(statuses().await, ["processing", "fail", "processing"]);
    let default = simulator.cover_of(&good);
    // Its time comes without a call.
    simulator.set_clock_offset(SignedDuration::from_secs(3_601));
    assert_ne!(simulator.cover_of(&good), default);
    simulator.set_clock_offset(SignedDuration::ZERO);
    assert_eq!(statuses().await, ["success", "fail", "fail"]);
    assert_eq!(listed(&client, &bad).await.len(), 0);
}

#[tokio::test]
async fn jobs_that_cannot_be_are_refused() {
    let simulator = start(calm(1)).await;
    let client = Client::of(&simulator);
    let video = simulator.videos().remove(0);
    let video = video.as_str();
    let many = ["a"; 11].join(",");
    let (unknown, nobody) = ("InvalidTemplate.NotFound", "InvalidVideo.NotFound");
    for (action, params, status, code) in [
        ("SubmitAIImageJob", vec![("VideoId", video), ("AITemplateId", "no")], 404, unknown),
        ("SubmitAIImageJob", vec![("VideoId", "no"), ("AITemplateId", "tpl-smart")], 404, nobody),
        ("SubmitAIImageJob", vec![("VideoId", video)], 400, "MissingAITemplateId"),
        ("GetAITemplate", vec![("TemplateId", "no")], 404, unknown),
        ("GetAIImageJobs", vec![("JobIds", many.as_str())], 400, "CountExceededMax"),
    ] {
        let (got, body) = client.call(action, &params).await;
        assert_eq!((got, body["Code"].as_str().unwrap()), (status, code), "{action}");
    }
    assert_eq!(simulator.ai_jobs_of(video), 0);
    let (status, body) = client.call("GetAIImageJobs", &[("JobIds", "unknown")]).await;
    assert_eq!((status, &body["AIImageJobList"]), (200, &json!([])));
}
