//! The worker against the simulator and a ledger in a file, where its own process is the one that dies.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vod_cover::config::Settings;
use vod_cover::error::Class;
use vod_cover::event::{Event, SnapshotsReady, parse};
use vod_cover::fetch::Fetcher;
use vod_cover::inspect::Inspector;
use vod_cover::ledger::{Key, Ledger, Owner};
use vod_cover::local::{self, Local};
use vod_cover::queue::Message;
use vod_cover::sim::{self, Simulator};
use vod_cover::vod::{Client, Environment};
use vod_cover::worker::{Handled, Worker};

async fn account(videos: u32) -> Simulator {
    vod_cover::tls::install();
    let settings = sim::Settings { videos, ..sim::Settings::default() };
    Simulator::start("127.0.0.1:0".parse().unwrap(), settings).await.unwrap()
}

fn worker(sim: &Simulator, ledger: Arc<dyn Ledger>) -> Worker {
    let environment = HashMap::from([
        ("VOD_ENDPOINT".to_owned(), sim.endpoint()),
        ("ALIBABA_CLOUD_ACCESS_KEY_ID".to_owned(), "testid".to_owned()),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET".to_owned(), "testsecret".to_owned()),
        ("VOD_COVER__COVER__RULES".to_owned(), "last".to_owned()),
        ("VOD_COVER__COVER__GATE".to_owned(), "false".to_owned()),
    ]);
    let settings = Settings::load(None, &environment).unwrap();
    Worker {
        ledger,
        vod: Client::with_environment(&settings.vod, Environment::of(environment)).unwrap(),
        inspector: inspector(&settings),
        policies: settings.policies().unwrap(),
        ownership: settings.ownership.clone(),
        may_wait: true,
        lease: settings.ledger.lease,
        call: settings.vod.longest_call(),
        observer: None,
        suspect: Arc::default(),
        unknown: Arc::default(),
    }
}

pub fn inspector(settings: &Settings) -> Inspector {
    let fetcher = Fetcher::new(&settings.fetch, None).unwrap();
    let (most, caps) = (settings.fetch.concurrency, settings.caps());
    Inspector::new(fetcher, most, caps, settings.limits, settings.inspect)
}

fn open(path: &Path) -> Arc<Local> {
    let (path, keep) = (path.to_owned(), Duration::from_secs(3600));
    Arc::new(Local::open(&local::Settings { path, keep }).unwrap())
}

fn snapshots(body: &[u8]) -> SnapshotsReady {
    match parse(body) {
        Ok(Event::Snapshots(ready)) => ready,
        other => panic!("{other:?}"),
    }
}

/// Begins to handle the event in so many processes, each of which dies of it.
async fn die(path: &Path, event: &SnapshotsReady, times: u32) {
    let (video, key) = (event.video.clone(), event.key.clone());
    let key = Key { video, event: key, cause: event.cause(), at: event.at };
    for _ in 0..times {
        let owner = Owner(uuid::Uuid::new_v4());
        drop(open(path).claim(&key, owner, Duration::from_secs(60)).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_its_process_died_of_again_and_again_is_a_dead_letter_and_no_other() {
    let sim = account(2).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.sqlite3");
    let [innocent, killer] = [0, 1].map(|number| sim.all_events()[number].clone());
    die(&path, &snapshots(&innocent), 6).await;
    die(&path, &snapshots(&killer), 10).await;
    let worker = worker(&sim, open(&path));
    let end = worker.handle(&Message::new(innocent, "", "")).await.unwrap();
    assert!(matches!(end.handled, Handled::Set | Handled::WasSet), "{end:?}");
    let failure = worker.handle(&Message::new(killer, "", "")).await.unwrap_err();
    assert_eq!((failure.class, failure.reason.as_str()), (Class::Permanent, "event.crashes"));
}

/// A wrong region: every video is unknown. A few deleted ones are just that.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_row_of_unknown_videos_is_a_wrong_configuration() {
    let (theirs, ours) = (account(30).await, account(0).await);
    let directory = tempfile::tempdir().unwrap();
    let worker = worker(&ours, open(&directory.path().join("ledger.sqlite3")));
    let mut classes = Vec::new();
    for event in theirs.all_events() {
        let failure = worker.handle(&Message::new(event, "", "")).await.unwrap_err();
        assert_eq!(failure.reason.as_str(), "vod.InvalidVideo.NotFound");
        classes.push(failure.class);
    }
    assert!(classes[..20].iter().all(|class| *class == Class::Permanent));
    assert!(classes[20..].iter().all(|class| *class == Class::Misconfigured));
    let known = ours.add_video(Default::default()).unwrap();
    let event = ours.events(&known).remove(0);
    worker.handle(&Message::new(event, "", "")).await.unwrap();
    let unknown = theirs.all_events().remove(0);
    let failure = worker.handle(&Message::new(unknown, "", "")).await.unwrap_err();
    assert_eq!(failure.class, Class::Permanent, "one that is known ends the row");
}
