//! The pipeline on the embedded queue, with handlers that behave as no worker should.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vod_cover::error::{Class, Dependency, Failure, Reason};
use vod_cover::local::{Local, Settings};
use vod_cover::pipeline::{Ending, Pipeline, Status};
use vod_cover::queue::{Message, Queue};

use crate::queue_contract::dead_letters;
use crate::wait::eventually;

const SOON: Duration = Duration::from_secs(20);

struct Place {
    local: Arc<Local>,
    status: Arc<Status>,
    stop: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Place {
    async fn with(messages: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keep = Duration::from_secs(3600);
        let path = directory.path().join("queue.sqlite3");
        let local = Arc::new(Local::open(&Settings { path, keep }).unwrap());
        for number in 0..messages {
            local.publish(Message::new(number.to_string(), "", "")).await.unwrap();
        }
        let (status, stop) = Default::default();
        Self { local, status, stop, _directory: directory }
    }

    fn pipeline(&self, in_flight: usize) -> Pipeline {
        Pipeline {
            queue: Arc::<Local>::clone(&self.local),
            in_flight,
            ladder: vec![Duration::from_millis(10); 2],
            drain: Duration::from_secs(5),
            status: Arc::clone(&self.status),
            stop: self.stop.clone(),
        }
    }

    async fn is_empty(&self) -> bool {
        let depth = self.local.depth().await.unwrap();
        depth.ready + depth.delayed == 0 && self.status.now().in_flight == 0
    }
}

async fn well(_: Dependency) -> Result<(), String> {
    Ok(())
}

fn worked() -> Ending {
    Ending { worked: true, then: None }
}

fn failure(class: Class) -> Failure {
    Failure::new(class, Reason::new("test"), "on purpose")
}

#[tokio::test]
async fn a_panic_is_one_dead_letter_and_no_more() {
    let place = Place::with(20).await;
    let handle = |message: Message| async move {
        assert!(&message.body[..] != b"7", "number seven");
        Ok(worked())
    };
    let running = place.pipeline(4).run(handle, well);
    tokio::select! {
        () = running => unreachable!("it runs until it is stopped"),
        () = eventually("all is handled", SOON, async || place.is_empty().await) => {}
    }
    let dead = dead_letters(&*place.local).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, "panic");
    assert!(format!("{:?}", dead[0]).contains("number seven"));
}

#[tokio::test]
async fn no_more_are_worked_on_at_once_than_configured() {
    let place = Place::with(60).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (entered, highest) = (Arc::clone(&now), Arc::clone(&most));
    let handle = move |_: Message| {
        let (entered, highest) = (Arc::clone(&entered), Arc::clone(&highest));
        async move {
            let inside = entered.fetch_add(1, Ordering::SeqCst) + 1;
            highest.fetch_max(inside, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            entered.fetch_sub(1, Ordering::SeqCst);
            Ok(worked())
        }
    };
    tokio::select! {
        () = place.pipeline(7).run(handle, well) => unreachable!(),
        () = eventually("all is handled", SOON, async || place.is_empty().await) => {}
    }
    assert_eq!(most.load(Ordering::SeqCst), 7, "all in flight, none merely held");
}

#[tokio::test]
async fn a_handler_that_always_fails_ends_as_dead_letters_with_every_attempt_counted() {
    let place = Place::with(3).await;
    let handle = |_: Message| async { Err(failure(Class::Transient)) };
    tokio::select! {
        () = place.pipeline(2).run(handle, well) => unreachable!(),
        () = eventually("all is dead", SOON, async || {
            place.local.depth().await.unwrap().dead == 3
        }) => {}
    }
    // Two retries after the first attempt, and none of the three is to blame for the others.
    let dead = dead_letters(&*place.local).await;
    assert!(dead.iter().all(|letter| letter.message.attempts == 3), "{dead:?}");
}

#[tokio::test]
async fn nothing_is_dead_while_every_event_would_fail_and_all_is_done_afterwards() {
    let place = Place::with(50).await;
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (seen, probed) = (Arc::clone(&broken), Arc::clone(&broken));
    let probes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&probes);
    let handle = move |_: Message| {
        let broken = seen.load(Ordering::SeqCst);
        async move {
            match broken {
                true => Err(failure(Class::Misconfigured).outage_of(Dependency::Vod)),
                false => Ok(worked()),
            }
        }
    };
    let probe = move |dependency| {
        assert_eq!(dependency, Dependency::Vod);
        counted.fetch_add(1, Ordering::SeqCst);
        let broken = probed.load(Ordering::SeqCst);
        async move { if broken { Err("still wrong".to_owned()) } else { Ok(()) } }
    };
    let watch = async {
        eventually("it is probed", SOON, async || probes.load(Ordering::SeqCst) >= 3).await;
        let pause = place.status.now().pause.expect("paused");
        assert_eq!(pause.why, "still wrong");
        assert_eq!(place.local.depth().await.unwrap().dead, 0);
        broken.store(false, Ordering::SeqCst);
        eventually("all is handled", SOON, async || place.is_empty().await).await;
    };
    tokio::select! {
        () = place.pipeline(8).run(handle, probe) => unreachable!(),
        () = watch => {}
    }
    assert_eq!(place.local.depth().await.unwrap().dead, 0);
}

#[tokio::test]
async fn stopping_finishes_what_runs_and_takes_no_more() {
    let place = Place::with(10).await;
    let handle = |_: Message| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(worked())
    };
    let running = place.pipeline(4).run(handle, well);
    let stop = async {
        eventually("four are in flight", SOON, async || place.status.now().in_flight == 4).await;
        place.stop.cancel();
    };
    tokio::join!(running, stop);
    assert_eq!(place.local.depth().await.unwrap().ready, 6);
}
