//! The client against the simulated account, which shares no code with it.

use std::net::SocketAddr;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use vod_cover::sim::{NewVideo, Settings, Simulator};
use vod_cover::vod::{Client, Error, Filter, JobState, Media};

use super::listing::walk;
use super::server::{client, settings};
use super::{cover, video};

async fn account(videos: u32) -> (Simulator, Client) {
    let here = SocketAddr::from(([127, 0, 0, 1], 0));
    let account = Settings { videos, qps: false, ..Settings::default() };
    let simulator = Simulator::start(here, account).await.expect("a simulator");
    let mut settings = settings(&simulator.endpoint());
    settings.pace = false;
    (simulator, client(&settings))
}

fn calls(simulator: &Simulator) -> Vec<String> {
    simulator.journal().iter().map(|call| call.operation.to_string()).collect()
}

#[tokio::test]
async fn many_look_ups_take_few_calls_and_each_has_its_own_answer() {
    let (simulator, client) = account(100).await;
    let mut ids: Vec<_> = simulator.videos().iter().map(|id| video(id)).collect();
    ids.push(video("gone"));
    let answers = join_all(ids.iter().map(|id| client.look_up(id))).await;
    for (id, answer) in ids.iter().zip(&answers).take(100) {
        let info = answer.as_ref().expect("a video");
        assert_eq!((&info.video, &info.cover), (id, &simulator.cover_of(id.as_str())));
    }
    let gone = answers[100].as_ref().expect_err("gone");
    assert_eq!(gone.reason().as_str(), "vod.InvalidVideo.NotFound");
    assert!(calls(&simulator).len() <= 7, "{:?}", calls(&simulator));
}

#[tokio::test]
async fn more_videos_than_a_list_has_are_all_found_once() {
    let (simulator, client) = account(5_250).await;
    let (pages, mut found) = walk(&client, &Filter::default()).await;
    assert!(pages.iter().all(|page| page.total == 5_250 && page.unreadable == 0));
    let mut all = simulator.videos();
    all.sort();
    found.sort();
    assert_eq!(found, all);
    assert!(calls(&simulator).iter().skip(1).all(|operation| operation == "SearchMedia"));
}

#[tokio::test]
async fn a_span_of_time_and_a_category_are_found_by_either_operation() {
    let (simulator, client) = account(0).await;
    let first: Timestamp = "2020-01-01T00:00:00Z".parse().expect("a time");
    let at = |minute| first + SignedDuration::from_mins(minute);
    let add = |minute: i64| {
        let (created, category) = (Some(at(minute)), Some(minute % 2));
        let new = NewVideo { created, category, tags: "a,b".into(), ..NewVideo::default() };
        simulator.add_video(new).expect("added")
    };
    let all: Vec<_> = (0..20).map(add).collect();
    let filter = Filter {
        since: Some(at(4)),
        until: Some(at(14)),
        category: Some(1),
        ..Filter { page_size: 2, ..Filter::default() }
    };
    let wanted: Vec<_> = (4..14).filter(|n| n % 2 == 1).map(|n| all[n].clone()).collect();
    let (pages, found) = walk(&client, &filter).await;
    assert_eq!(found, wanted);
    let info = &pages[0].videos[0];
    assert_eq!((info.created, info.category_id.as_deref()), (Some(at(5)), Some("1")));
    assert_eq!(info.tags, ["a", "b"]);
    assert_eq!(info.cover, simulator.cover_of(&wanted[0]));
    assert!(!info.snapshots.is_empty());

    // So many of the same minute that there are too many for GetVideoList.
    for _ in 0..5_000 {
        add(7);
    }
    let (pages, found) = walk(&client, &Filter { page_size: 100, ..filter }).await;
    assert_eq!(found.len(), 5_005);
    let info = &pages[0].videos[0];
    assert_eq!((info.created, info.category_id.as_deref()), (Some(at(5)), Some("1")));
    assert_eq!(info.cover, simulator.cover_of(&wanted[0]));
    assert!(!info.snapshots.is_empty());
    assert_eq!(calls(&simulator).last().map(String::as_str), Some("SearchMedia"));
}

#[tokio::test]
async fn smart_thumbnails_are_ordered_waited_for_and_read() {
    let (simulator, client) = account(0).await;
    let id = video(&simulator.add_video(NewVideo::default()).expect("added"));
    assert!(client.list_ai_image_info(&id).await.expect("a list").is_empty());
    for (name, sets) in [("tpl-smart", false), ("tpl-sets-cover", true)] {
        let template = client.get_ai_template(name).await.expect("a template");
        assert_eq!(template.kind.as_deref(), Some("AIImage"));
        assert_eq!(template.sets_default_cover, Some(sets));
    }
    let job = client.submit_ai_image_job(&id, "tpl-smart").await.expect("a job");
    let jobs = client.get_ai_image_jobs(&[job]).await.expect("an answer");
    let JobState::Succeeded(images) = &jobs[0].state else { panic!("{:?}", jobs[0].state) };
    let listed = client.list_ai_image_info(&id).await.expect("a list");
    let listed: Vec<_> = listed.iter().filter_map(|image| image.intelligent()).collect();
    assert_eq!((images, images.len()), (&listed, 3));

    let error = client.submit_ai_image_job(&id, "no template").await.expect_err("refused");
    assert!(!error.is_operation_not_offered(), "{error}");
    assert_eq!(simulator.ai_jobs_of(id.as_str()), 1);
}

#[tokio::test]
async fn a_video_comes_into_the_account_with_its_cover_in_each_way() {
    let (simulator, client) = account(0).await;
    let mut media = Media { title: "a title".into(), ..Media::default() };
    media.tags = vec!["a".into(), "b".into()];
    media.cover = Some(cover("http://covers.example/1.jpg"));
    let created = client.create_upload_video(&media, "a.mp4").await.expect("a ticket");
    let file = "https://outin.oss-cn-shanghai.aliyuncs.com/a.mp4";
    let registered = client.register_media(&media, file).await.expect("registered");
    assert_eq!(registered.failed.len(), 0);
    let pulled = client.upload_media_by_url(&media, "https://x/b.mp4").await.expect("a job");
    assert_eq!((registered.videos.len(), pulled.jobs.len()), (1, 1));
    assert_eq!(simulator.videos().len(), 3);
    for id in [&created.video, &registered.videos[0]] {
        let info = client.look_up(id).await.expect("a video");
        assert_eq!(info.cover.as_deref(), Some("http://covers.example/1.jpg"));
        assert_eq!(info.title.as_deref(), Some("a title"));
        assert_eq!(info.tags, ["a", "b"]);
    }
}

#[tokio::test]
async fn a_client_for_walks_takes_its_share_and_leaves_the_rest() {
    let (simulator, _) = account(1).await;
    let id = video(&simulator.videos()[0]);
    let first = client(&settings(&simulator.endpoint()));
    let walks = first.for_walks(1e-6);
    walks.get_video_info(&id).await.expect("its first turn");
    let error = walks.get_video_info(&id).await.expect_err("no turn for days");
    assert!(matches!(error, Error::Paced { .. }), "{error}");
    first.get_video_info(&id).await.expect("a turn");
}

#[tokio::test]
async fn a_job_that_fails_says_so() {
    let (simulator, client) = account(0).await;
    let new = NewVideo { ai_fails: true, ..NewVideo::default() };
    let id = video(&simulator.add_video(new).expect("added"));
    let job = client.submit_ai_image_job(&id, "tpl-smart").await.expect("a job");
    let jobs = client.get_ai_image_jobs(&[job]).await.expect("an answer");
    assert!(matches!(&jobs[0].state, JobState::Failed { .. }), "{:?}", jobs[0].state);
}
