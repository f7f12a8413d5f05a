//! What every ledger promises, asked of both adapters. The Redis one runs on the server that REDIS_URL
//! names, under a prefix of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use secrecy::SecretString;
use tempfile::TempDir;
use uuid::Uuid;
use vod_cover::cover::{CoverUrl, Memory, Outcome, Record, Rule, Turn, Witness};
use vod_cover::event::{EventKey, VideoId};
use vod_cover::ledger::redis::RedisLedger;
use vod_cover::ledger::{Claim, Error, Key, Known, Lease, Ledger, Owner};
use vod_cover::{ledger, local};

use crate::servers::redis_url;
use crate::wait::{SOON, eventually};

/// Longer than any test.
pub const LONG: Duration = Duration::from_secs(300);
/// Over before anybody notices.
pub const SHORT: Duration = Duration::from_millis(1);

pub struct Bench {
    pub ledger: Arc<dyn Ledger>,
    _directory: Option<TempDir>,
}

fn redis() -> Bench {
    redis_that_keeps(LONG)
}

fn redis_that_keeps(keep: Duration) -> Bench {
    let settings = ledger::redis::Settings {
        url: SecretString::from(redis_url()),
        prefix: format!("test-{}", Uuid::new_v4()),
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        keep,
        ca_file: None,
    };
    Bench { ledger: Arc::new(RedisLedger::new(&settings).unwrap()), _directory: None }
}

fn sqlite() -> Bench {
    sqlite_that_keeps(LONG)
}

fn sqlite_that_keeps(keep: Duration) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let settings = local::Settings { path: directory.path().join("vod-cover.db"), keep };
    let ledger = Arc::new(local::Local::open(&settings).unwrap());
    Bench { ledger, _directory: Some(directory) }
}

/// Each promise, on each ledger.
macro_rules! promises {
    ($($name:ident)*) => {
        mod on_redis { $(#[tokio::test] async fn $name() { super::$name(super::redis()).await })* }
        mod on_sqlite { $(#[tokio::test] async fn $name() { super::$name(super::sqlite()).await })* }
    };
}

promises! {
    an_unknown_video_is_acquired_with_nothing_known_of_it
    a_repeated_claim_is_the_same_lease_and_no_second_start
    a_video_in_work_is_busy_for_every_other_owner
    other_videos_are_not_busy
    a_finished_event_is_done_for_everybody
    what_is_remembered_comes_whole_with_the_next_claim
    what_is_remembered_is_replaced_by_every_end_and_left_alone_by_a_release_without
    looking_shows_what_is_known_and_changes_nothing
    bookmarks_are_stored_replaced_and_removed
    every_transition_may_be_repeated_after_a_lost_reply
    a_second_record_by_the_same_owner_does_not_replace_the_first
    a_lease_that_ran_out_goes_to_the_next_owner_with_a_higher_fence
    a_stale_owner_changes_nothing
    a_write_is_not_announced_under_a_lease_that_ran_out
    an_event_completes_under_a_lease_that_ran_out_and_that_nobody_took
    announcing_a_write_starts_the_lease_afresh
    an_older_event_of_the_same_cause_is_outdated
    causes_do_not_outdate_one_another
    an_event_without_a_time_is_never_outdated
    only_a_set_cover_outdates_older_events
    starts_count_what_did_not_end_and_only_that
    starts_are_counted_for_each_event
    of_fifty_claims_at_once_one_wins
    keys_of_unusual_text_are_kept_apart
    it_answers_a_ping
}

async fn an_unknown_video_is_acquired_with_nothing_known_of_it(bench: Bench) {
    let before = Instant::now();
    let held = acquire(&bench, &key("e1", Some(10)), owner()).await;
    assert_eq!(held.memory, Memory::default());
    assert_eq!(held.starts, 1);
    assert!(held.lease.deadline >= before + LONG);
    assert!(held.lease.deadline <= Instant::now() + LONG);
}

async fn a_repeated_claim_is_the_same_lease_and_no_second_start(bench: Bench) {
    let (key, me) = (key("e1", None), owner());
    let first = acquire(&bench, &key, me).await;
    let again = acquire(&bench, &key, me).await;
    assert_eq!(again.lease.fence, first.lease.fence);
    assert_eq!(again.starts, 1);
    // A shorter claim does not shorten what was granted.
    let _ = claim(&bench, &key, me, SHORT).await;
    run_out(SHORT).await;
    assert!(matches!(claim(&bench, &key, owner(), LONG).await, Claim::Busy { .. }));
    let _ = bench.ledger.remember(first.lease, &memory("a"), LONG).await.unwrap();
}

async fn a_video_in_work_is_busy_for_every_other_owner(bench: Bench) {
    let _held = acquire(&bench, &key("e1", None), owner()).await;
    for event in ["e1", "e2"] {
        match claim(&bench, &key(event, None), owner(), LONG).await {
            Claim::Busy { retry_after } => {
                assert!(retry_after > Duration::ZERO);
                assert!(retry_after <= LONG + Duration::from_millis(2));
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn other_videos_are_not_busy(bench: Bench) {
    let _held = acquire(&bench, &key("e1", None), owner()).await;
    let _other = acquire(&bench, &Key { video: video("other"), ..key("e1", None) }, owner()).await;
}

async fn a_finished_event_is_done_for_everybody(bench: Bench) {
    let (key, me) = (key("e1", Some(10)), owner());
    let held = acquire(&bench, &key, me).await;
    let record = kept("e1", Some(10));
    bench.ledger.complete(held.lease, &record, &memory("end")).await.unwrap();
    assert_eq!(done(claim(&bench, &key, owner(), LONG).await), record.follow_up);
    assert_eq!(done(claim(&bench, &key, me, LONG).await), record.follow_up);
}

async fn what_is_remembered_comes_whole_with_the_next_claim(bench: Bench) {
    let held = acquire(&bench, &key("e1", Some(10)), owner()).await;
    let mut whole = memory("日本 \u{1F600} '); DROP TABLE video; -- \"\\\n\0");
    let record = set("a", "e1", Some(10));
    whole.end(&record, "set");
    let lease = bench.ledger.remember(held.lease, &whole, LONG).await.unwrap();
    bench.ledger.release(lease, None).await.unwrap();
    let held = acquire(&bench, &key("e1", Some(10)), owner()).await;
    assert_eq!(held.memory, whole);
    bench.ledger.complete(held.lease, &record, &whole).await.unwrap();
    let held = acquire(&bench, &key("e2", Some(20)), owner()).await;
    assert_eq!((held.memory, held.starts), (whole, 1));
}

async fn what_is_remembered_is_replaced_by_every_end_and_left_alone_by_a_release_without(
    bench: Bench,
) {
    finish(&bench, &key("e1", Some(10)), "a").await;
    let held = acquire(&bench, &key("e2", Some(20)), owner()).await;
    assert_eq!(held.memory, memory("a"));
    bench.ledger.complete(held.lease, &kept("e2", Some(20)), &memory("b")).await.unwrap();
    let held = acquire(&bench, &key("e3", Some(30)), owner()).await;
    assert_eq!(held.memory, memory("b"));
    bench.ledger.release(held.lease, None).await.unwrap();
    let held = acquire(&bench, &key("e3", Some(30)), owner()).await;
    assert_eq!(held.memory, memory("b"));
    bench.ledger.release(again(&held.lease), Some(&memory("c"))).await.unwrap();
    // It is nobody's any more.
    bench.ledger.release(held.lease, Some(&memory("late"))).await.unwrap();
    let held = acquire(&bench, &key("e3", Some(30)), owner()).await;
    assert_eq!((held.memory, held.starts), (memory("c"), 1));
}

async fn looking_shows_what_is_known_and_changes_nothing(bench: Bench) {
    let (key, ledger) = (key("e1", None), &bench.ledger);
    assert_eq!(ledger.look(&key.video).await.unwrap(), None);
    let held = acquire(&bench, &key, owner()).await;
    let sight = ledger.look(&key.video).await.unwrap().unwrap();
    assert_eq!((sight.memory, sight.fence), (Memory::default(), held.lease.fence));
    assert!(sight.leased.is_some_and(|left| left > Duration::ZERO && left <= LONG + 2 * SHORT));
    ledger.complete(held.lease, &set("a", "e1", None), &memory("a")).await.unwrap();
    for _ in 0..2 {
        let sight = ledger.look(&key.video).await.unwrap().unwrap();
        assert_eq!((sight.memory, sight.leased), (memory("a"), None));
    }
    assert_eq!(ledger.look(&video("another")).await.unwrap(), None);
}

async fn bookmarks_are_stored_replaced_and_removed(bench: Bench) {
    let ledger = &bench.ledger;
    assert_eq!(ledger.bookmark("a").await.unwrap(), None);
    ledger.set_bookmark("a", Some("1")).await.unwrap();
    ledger.set_bookmark("a b:{c}\n'", Some("other \u{1F600}")).await.unwrap();
    ledger.set_bookmark("a", Some("2")).await.unwrap();
    assert_eq!(ledger.bookmark("a").await.unwrap().as_deref(), Some("2"));
    for none in [None, Some("")] {
        ledger.set_bookmark("a", Some("3")).await.unwrap();
        ledger.set_bookmark("a", none).await.unwrap();
        assert_eq!(ledger.bookmark("a").await.unwrap(), None);
    }
    let other = ledger.bookmark("a b:{c}\n'").await.unwrap();
    assert_eq!(other.as_deref(), Some("other \u{1F600}"));

    let odd = ["", "{", "}", "{}", ":e:", "ping", "'); DROP TABLE bookmark; --", "\0", "名前"];
    for name in odd {
        assert_eq!(ledger.bookmark(name).await.unwrap(), None, "{name:?}");
        ledger.set_bookmark(name, Some(&format!("text of {name}"))).await.unwrap();
    }
    for name in odd {
        let text = ledger.bookmark(name).await.unwrap();
        assert_eq!(text, Some(format!("text of {name}")), "{name:?}");
    }
}

async fn every_transition_may_be_repeated_after_a_lost_reply(bench: Bench) {
    let (key, me) = (key("e1", Some(10)), owner());
    let first = acquire(&bench, &key, me).await.lease;
    let held = acquire(&bench, &key, me).await.lease;
    assert_eq!(first.fence, held.fence);

    let told = memory("a");
    let _ = bench.ledger.remember(again(&held), &told, LONG).await.unwrap();
    let held = bench.ledger.remember(held, &told, LONG).await.unwrap();
    assert_eq!(first.fence, held.fence);

    bench.ledger.release(again(&held), None).await.unwrap();
    bench.ledger.release(held, None).await.unwrap();

    let held = acquire(&bench, &key, me).await;
    assert_eq!((held.starts, held.lease.fence), (1, first.fence + 1));
    let record = set("a", "e1", Some(10));
    bench.ledger.complete(again(&held.lease), &record, &memory("end")).await.unwrap();
    bench.ledger.complete(again(&held.lease), &record, &memory("end")).await.unwrap();

    // Late ones, after somebody else has begun, neither fail nor disturb.
    let other = acquire(&bench, &self::key("e2", Some(20)), owner()).await;
    bench.ledger.complete(again(&held.lease), &record, &memory("end")).await.unwrap();
    bench.ledger.release(held.lease, None).await.unwrap();
    assert!(matches!(
        claim(&bench, &self::key("e3", None), owner(), LONG).await,
        Claim::Busy { .. }
    ));
    bench.ledger.complete(other.lease, &kept("e2", Some(20)), &memory("end")).await.unwrap();
}

async fn a_second_record_by_the_same_owner_does_not_replace_the_first(bench: Bench) {
    let key = key("e1", None);
    let held = acquire(&bench, &key, owner()).await.lease;
    bench.ledger.complete(again(&held), &set("a", "e1", None), &memory("end")).await.unwrap();
    bench.ledger.complete(held, &kept("e1", None), &memory("end")).await.unwrap();
    assert_eq!(done(claim(&bench, &key, owner(), LONG).await), set("a", "e1", None).follow_up);
}

async fn a_lease_that_ran_out_goes_to_the_next_owner_with_a_higher_fence(bench: Bench) {
    let key = key("e1", None);
    let Claim::Acquired { lease: first, .. } = claim(&bench, &key, owner(), SHORT).await else {
        panic!("not acquired")
    };
    let second = acquire_in_time(&bench, &key, owner()).await;
    assert!(second.lease.fence > first.fence);
    assert_eq!(second.starts, 2);
}

async fn a_stale_owner_changes_nothing(bench: Bench) {
    let key = key("e1", Some(10));
    let Claim::Acquired { lease: stale, .. } = claim(&bench, &key, owner(), SHORT).await else {
        panic!("not acquired")
    };
    let current = acquire_in_time(&bench, &key, owner()).await;

    lost(bench.ledger.remember(again(&stale), &memory("stale"), LONG).await);
    lost(bench.ledger.complete(again(&stale), &set("stale", "e1", Some(10)), &memory("end")).await);
    bench.ledger.release(again(&stale), None).await.unwrap();
    // The right owner with the wrong fence is as stale.
    let (fence, known) = (current.lease.fence + 1, Known::default());
    let forged = Lease { fence, known, ..again(&current.lease) };
    lost(bench.ledger.remember(again(&forged), &memory("stale"), LONG).await);
    lost(
        bench.ledger.complete(again(&forged), &set("stale", "e1", Some(10)), &memory("end")).await,
    );
    bench.ledger.release(forged, None).await.unwrap();

    assert!(matches!(claim(&bench, &key, owner(), LONG).await, Claim::Busy { .. }));
    bench.ledger.complete(current.lease, &set("a", "e1", Some(10)), &memory("end")).await.unwrap();
    lost(bench.ledger.complete(stale, &set("stale", "e1", Some(10)), &memory("end")).await);
    let next = acquire(&bench, &self::key("e2", Some(20)), owner()).await;
    assert_eq!(next.memory, memory("end"));
}

async fn a_write_is_not_announced_under_a_lease_that_ran_out(bench: Bench) {
    let Claim::Acquired { lease, .. } = claim(&bench, &key("e1", None), owner(), SHORT).await
    else {
        panic!("not acquired")
    };
    run_out(SHORT).await;
    lost(bench.ledger.remember(lease, &memory("a"), LONG).await);
    let next = acquire(&bench, &key("e1", None), owner()).await;
    assert_eq!(next.memory, Memory::default());
}

async fn an_event_completes_under_a_lease_that_ran_out_and_that_nobody_took(bench: Bench) {
    let key = key("e1", None);
    let Claim::Acquired { lease, .. } = claim(&bench, &key, owner(), SHORT).await else {
        panic!("not acquired")
    };
    run_out(SHORT).await;
    bench.ledger.complete(lease, &set("a", "e1", None), &memory("end")).await.unwrap();
    assert_eq!(done(claim(&bench, &key, owner(), LONG).await), set("a", "e1", None).follow_up);
}

async fn announcing_a_write_starts_the_lease_afresh(bench: Bench) {
    let key = key("e1", None);
    // Long enough to be announced in time even on a machine that is busy with everything else.
    let length = Duration::from_secs(2);
    let Claim::Acquired { lease, .. } = claim(&bench, &key, owner(), length).await else {
        panic!("not acquired")
    };
    let before = Instant::now();
    let lease = bench.ledger.remember(lease, &memory("a"), LONG).await.unwrap();
    assert!(lease.deadline >= before + LONG);
    run_out(length).await;
    assert!(matches!(claim(&bench, &key, owner(), LONG).await, Claim::Busy { .. }));
}

async fn an_older_event_of_the_same_cause_is_outdated(bench: Bench) {
    finish(&bench, &key("new", Some(20)), "a").await;
    outdated(claim(&bench, &key("old", Some(19)), owner(), LONG).await);
    // Also while somebody works on the video.
    let held = acquire(&bench, &key("same", Some(20)), owner()).await;
    outdated(claim(&bench, &key("old", Some(19)), owner(), LONG).await);
    bench.ledger.release(held.lease, None).await.unwrap();
}

async fn causes_do_not_outdate_one_another(bench: Bench) {
    finish(&bench, &key("new", Some(20)), "a").await;
    let ordered = Key { cause: "SnapshotComplete.SpecifiedTime".to_owned(), ..key("old", Some(1)) };
    let _held = acquire(&bench, &ordered, owner()).await;
}

async fn an_event_without_a_time_is_never_outdated(bench: Bench) {
    finish(&bench, &key("new", Some(20)), "a").await;
    finish(&bench, &key("timeless", None), "b").await;
    // And it does not set the time back.
    outdated(claim(&bench, &key("old", Some(19)), owner(), LONG).await);
}

async fn only_a_set_cover_outdates_older_events(bench: Bench) {
    let manual = Outcome::Manual { cover: "x".to_owned(), by: Witness::ChangeEvent };
    let noted = Outcome::Noted { what: "x".to_owned() };
    for (event, outcome) in [("1", manual), ("2", noted), ("3", Outcome::NoCover)] {
        let held = acquire(&bench, &key(event, Some(20)), owner()).await;
        let record = record(outcome, event, Some(20));
        bench.ledger.complete(held.lease, &record, &memory("end")).await.unwrap();
    }
    let _held = acquire(&bench, &key("old", Some(10)), owner()).await;
}

async fn starts_count_what_did_not_end_and_only_that(bench: Bench) {
    let key = key("e1", None);
    for start in 1..=3 {
        let Claim::Acquired { starts, .. } = claim_in_time(&bench, &key, owner(), SHORT).await
        else {
            panic!("not acquired")
        };
        assert_eq!(starts, start);
    }
    let held = acquire_in_time(&bench, &key, owner()).await;
    assert_eq!(held.starts, 4);
    bench.ledger.release(held.lease, None).await.unwrap();
    assert_eq!(acquire(&bench, &key, owner()).await.starts, 1);
}

async fn starts_are_counted_for_each_event(bench: Bench) {
    let _ = claim(&bench, &key("e1", None), owner(), SHORT).await;
    let held = acquire_in_time(&bench, &key("e2", None), owner()).await;
    assert_eq!(held.starts, 1);
    bench.ledger.release(held.lease, None).await.unwrap();
    assert_eq!(acquire(&bench, &key("e1", None), owner()).await.starts, 2);
}

async fn of_fifty_claims_at_once_one_wins(bench: Bench) {
    for round in 0..5 {
        let key = Key { video: video(&format!("race{round}")), ..key("e1", None) };
        let claims: Vec<_> = (0..50)
            .map(|_| {
                let (ledger, key) = (bench.ledger.clone(), key.clone());
                tokio::spawn(async move { ledger.claim(&key, owner(), LONG).await.unwrap() })
            })
            .collect();
        let mut won = 0;
        for claim in claims {
            match claim.await.unwrap() {
                Claim::Acquired { .. } => won += 1,
                Claim::Busy { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(won, 1);
    }
}

async fn keys_of_unusual_text_are_kept_apart(bench: Bench) {
    let events = ["", ":e:", "e:1", "名前 \u{1F600}", "'); DROP TABLE video; --", "a\nb\r\n\0c"];
    for (number, event) in events.into_iter().enumerate() {
        let key = Key { cause: format!("cause {event}"), ..key(event, Some(7)) };
        finish(&bench, &key, &format!("cover{number}")).await;
    }
    for (number, event) in events.into_iter().enumerate() {
        let key = Key { cause: format!("cause {event}"), ..key(event, Some(7)) };
        let follow_up = done(claim(&bench, &key, owner(), LONG).await);
        assert_eq!(follow_up, set(&format!("cover{number}"), event, Some(7)).follow_up);
    }
}

async fn it_answers_a_ping(bench: Bench) {
    bench.ledger.ping().await.unwrap();
}

#[tokio::test]
async fn what_is_older_than_keep_is_forgotten() {
    let keep = Duration::from_millis(50);
    for bench in [redis_that_keeps(keep), sqlite_that_keeps(keep)] {
        let key = key("e1", Some(10));
        finish(&bench, &key, "a").await;
        bench.ledger.set_bookmark("walk", Some("here")).await.unwrap();
        // Asking does not make it younger: it is forgotten by itself.
        eventually("it is forgotten", SOON, async || {
            let bookmark = bench.ledger.bookmark("walk").await.unwrap();
            bench.ledger.look(&key.video).await.unwrap().is_none() && bookmark.is_none()
        })
        .await;
        let held = acquire_in_time(&bench, &key, owner()).await;
        assert_eq!(held.starts, 1);
        assert_eq!(held.memory, Memory::default());
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Claim { short: bool },
    Remember,
    Set,
    Keep,
    Release,
}

/// Owner, step and whether its first reply is lost.
type Script = Vec<(usize, Step, bool)>;

fn scripts() -> impl Strategy<Value = Script> {
    let step = prop_oneof![
        4 => Just(Step::Claim { short: false }),
        2 => Just(Step::Claim { short: true }),
        2 => Just(Step::Remember),
        2 => Just(Step::Set),
        1 => Just(Step::Keep),
        2 => Just(Step::Release),
    ];
    prop::collection::vec((0..OWNERS, step, any::<bool>()), 1..30)
}

const OWNERS: usize = 6;

/// The ledger in the plainest words, for one video.
#[derive(Default)]
struct Model {
    holder: Option<usize>,
    expired: bool,
    fence: u64,
    memory: Memory,
    newest: HashMap<String, i64>,
    events: HashMap<EventKey, ModelEvent>,
}

#[derive(Default)]
struct ModelEvent {
    done: Option<(usize, Record)>,
    starter: Option<usize>,
    starts: u32,
}

impl Model {
    fn claim(&mut self, who: usize, key: &Key, short: bool) -> String {
        let event = self.events.entry(key.event.clone()).or_default();
        if let Some((_, record)) = &event.done {
            return format!("done {:?}", record.follow_up);
        }
        let newest = self.newest.get(&key.cause);
        if key.at.zip(newest).is_some_and(|(at, newest)| at.as_millisecond() < *newest) {
            return "outdated".to_owned();
        }
        if let Some(holder) = self.holder
            && !self.expired
        {
            if holder != who {
                return "busy".to_owned();
            }
        } else {
            (self.holder, self.expired) = (Some(who), short);
            self.fence += 1;
        }
        if event.starter != Some(who) {
            (event.starter, event.starts) = (Some(who), event.starts + 1);
        }
        let starts = event.starts;
        format!("held {} {starts} {:?}", self.fence, self.memory)
    }

    fn remember(&mut self, who: usize, fence: u64, memory: &Memory) -> String {
        if self.holder != Some(who) || self.fence != fence || self.expired {
            return "lost".to_owned();
        }
        self.memory = memory.clone();
        "ok".to_owned()
    }

    fn complete(
        &mut self,
        who: usize,
        key: &Key,
        fence: u64,
        record: &Record,
        memory: &Memory,
    ) -> String {
        let event = self.events.entry(key.event.clone()).or_default();
        if event.done.as_ref().is_some_and(|(by, _)| *by == who) {
            return "ok".to_owned();
        }
        if self.holder != Some(who) || self.fence != fence {
            return "lost".to_owned();
        }
        *event = ModelEvent { done: Some((who, record.clone())), ..ModelEvent::default() };
        self.holder = None;
        self.memory = memory.clone();
        if let Some(at) = key.at.filter(|_| record.outcome.cover().is_some()) {
            let newest = self.newest.entry(key.cause.clone()).or_insert(i64::MIN);
            *newest = at.as_millisecond().max(*newest);
        }
        "ok".to_owned()
    }

    fn release(&mut self, who: usize, key: &Key, fence: u64, memory: Option<&Memory>) -> String {
        if self.holder == Some(who) && self.fence == fence {
            self.holder = None;
            self.memory = memory.unwrap_or(&self.memory).clone();
            let event = self.events.entry(key.event.clone()).or_default();
            (event.starter, event.starts) = (None, 0);
        }
        "ok".to_owned()
    }

    /// Memory, fence and whether somebody holds the video now.
    fn look(&self) -> Option<(Memory, u64, bool)> {
        let leased = self.holder.is_some() && !self.expired;
        (self.fence > 0).then(|| (self.memory.clone(), self.fence, leased))
    }
}

/// Six deliveries of four events of two causes.
fn delivered(who: usize) -> Key {
    match who {
        0 | 1 => key("e1", Some(10)),
        2 | 3 => key("e2", Some(20)),
        4 => key("timeless", None),
        _ => Key { cause: "ordered".to_owned(), ..key("ordered", Some(5)) },
    }
}

async fn play(bench: &Bench, script: &Script) {
    let owners: Vec<Owner> = (0..OWNERS).map(|_| owner()).collect();
    let mut leases: [Option<Lease>; OWNERS] = std::array::from_fn(|_| None);
    let mut model = Model::default();
    for (number, (who, step, twice)) in script.iter().copied().enumerate() {
        let key = delivered(who);
        let name = format!("cover{number}");
        let lease = match (&leases[who], step) {
            (Some(lease), _) => Some(again(lease)),
            // Without a claim there is no lease to do anything with.
            (None, Step::Claim { .. }) => None,
            (None, _) => continue,
        };
        let lease = || again(lease.as_ref().unwrap());
        for _ in 0..=usize::from(twice) {
            let (expected, found) = match step {
                Step::Claim { short } => {
                    let length = if short { SHORT } else { LONG };
                    let claimed = claim(bench, &key, owners[who], length).await;
                    let found = match claimed {
                        Claim::Done(follow_up) => format!("done {follow_up:?}"),
                        Claim::Busy { .. } => "busy".to_owned(),
                        Claim::Outdated => "outdated".to_owned(),
                        Claim::Acquired { lease, memory, starts } => {
                            let fence = lease.fence;
                            leases[who] = Some(lease);
                            format!("held {fence} {starts} {memory:?}")
                        }
                    };
                    if short {
                        run_out(SHORT).await;
                    }
                    (model.claim(who, &key, short), found)
                }
                Step::Remember => {
                    let told = memory(&name);
                    let expected = model.remember(who, lease().fence, &told);
                    let found = bench.ledger.remember(lease(), &told, LONG).await;
                    (expected, answer(found.map(|lease| leases[who] = Some(lease))))
                }
                Step::Set | Step::Keep => {
                    let record = match step {
                        Step::Set => set(&name, &key.event.0, None),
                        _ => kept(&key.event.0, None),
                    };
                    let told = memory(&name);
                    let expected = model.complete(who, &key, lease().fence, &record, &told);
                    let found = bench.ledger.complete(lease(), &record, &told).await;
                    (expected, answer(found))
                }
                Step::Release => {
                    let told = (number % 2 == 0).then(|| memory(&name));
                    let expected = model.release(who, &key, lease().fence, told.as_ref());
                    let found = bench.ledger.release(lease(), told.as_ref()).await;
                    (expected, answer(found))
                }
            };
            assert_eq!(found, expected, "step {number} of {script:?}");
            // In whatever state the video is; the later steps tell whether looking changed it.
            let sight = bench.ledger.look(&key.video).await.unwrap();
            let seen = sight.map(|sight| (sight.memory, sight.fence, sight.leased.is_some()));
            assert_eq!(seen, model.look(), "a look after step {number} of {script:?}");
        }
    }
}

fn any_order_of_steps_ends_as_the_model_says(cases: u32, bench: fn() -> Bench) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(script in scripts())| {
        runtime.block_on(async { play(&bench(), &script).await });
    });
}

#[test]
fn any_order_of_steps_ends_as_the_model_says_on_redis() {
    any_order_of_steps_ends_as_the_model_says(64, redis);
}

#[test]
fn any_order_of_steps_ends_as_the_model_says_on_sqlite() {
    any_order_of_steps_ends_as_the_model_says(32, sqlite);
}

pub struct Held {
    pub lease: Lease,
    pub memory: Memory,
    pub starts: u32,
}

fn held(claim: Claim) -> Held {
    match claim {
        Claim::Acquired { lease, memory, starts } => Held { lease, memory, starts },
        other => panic!("not acquired: {other:?}"),
    }
}

async fn claim(bench: &Bench, key: &Key, owner: Owner, length: Duration) -> Claim {
    bench.ledger.claim(key, owner, length).await.unwrap()
}

async fn acquire(bench: &Bench, key: &Key, owner: Owner) -> Held {
    held(claim(bench, key, owner, LONG).await)
}

/// Claims until it is neither busy nor done.
async fn claim_in_time(bench: &Bench, key: &Key, owner: Owner, length: Duration) -> Claim {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match claim(bench, key, owner, length).await {
            acquired @ Claim::Acquired { .. } => return acquired,
            other => assert!(Instant::now() < deadline, "still {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn acquire_in_time(bench: &Bench, key: &Key, owner: Owner) -> Held {
    held(claim_in_time(bench, key, owner, LONG).await)
}

/// Waits until a lease that was granted before has run out by the ledger's clock, too.
async fn run_out(length: Duration) {
    let over = Instant::now() + length + Duration::from_millis(5);
    tokio::time::sleep_until(over.into()).await;
}

/// The finished event's record.
async fn finish(bench: &Bench, key: &Key, cover: &str) -> Record {
    let held = acquire(bench, key, owner()).await;
    let event_time = key.at.map(|at| at.as_second());
    let record = set(cover, &key.event.0, event_time);
    bench.ledger.complete(held.lease, &record, &memory(cover)).await.unwrap();
    record
}

fn answer(outcome: Result<(), Error>) -> String {
    match outcome {
        Ok(()) => "ok".to_owned(),
        Err(Error::LeaseLost { .. }) => "lost".to_owned(),
        Err(other) => panic!("{other:?}"),
    }
}

fn lost<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::LeaseLost { .. })), "{outcome:?}");
}

fn done(claim: Claim) -> Option<Turn> {
    match claim {
        Claim::Done(follow_up) => follow_up,
        other => panic!("not done: {other:?}"),
    }
}

fn outdated(claim: Claim) {
    assert!(matches!(claim, Claim::Outdated), "{claim:?}");
}

/// A lease is not meant to be copied; a lost reply is repeated with the same one.
pub fn again(lease: &Lease) -> Lease {
    Lease { key: lease.key.clone(), known: lease.known.clone(), ..*lease }
}

pub fn owner() -> Owner {
    Owner(Uuid::new_v4())
}

pub fn video(name: &str) -> VideoId {
    VideoId::new(name).unwrap()
}

pub fn key(event: &str, second: Option<i64>) -> Key {
    Key {
        video: video("7d28d2ab0e8e4a5f"),
        event: EventKey(event.to_owned()),
        cause: "SnapshotComplete".to_owned(),
        at: second.map(|second| Timestamp::from_second(second).unwrap()),
    }
}

fn cover(name: &str) -> CoverUrl {
    CoverUrl::new(&format!("https://example.com/{name}.jpg")).unwrap()
}

/// One that differs from every other name's.
pub fn memory(name: &str) -> Memory {
    let mut memory = Memory::default();
    memory.tell(Timestamp::UNIX_EPOCH, &EventKey("e".to_owned()), name);
    memory
}

pub fn set(name: &str, event: &str, second: Option<i64>) -> Record {
    record(Outcome::Set { cover: cover(name), rule: Rule::At(0.3) }, event, second)
}

pub fn kept(event: &str, second: Option<i64>) -> Record {
    record(Outcome::Kept { why: "somebody \"chose\" it\n".to_owned() }, event, second)
}

/// One whose `follow_up` differs from every other outcome's.
fn record(outcome: Outcome, event: &str, second: Option<i64>) -> Record {
    let number = format!("{outcome:?}")
        .bytes()
        .fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    Record {
        outcome,
        event: EventKey(event.to_owned()),
        event_time: second.map(|second| Timestamp::from_second(second).unwrap()),
        decided_at: Timestamp::from_second(1_700_000_000).unwrap(),
        follow_up: Some(Turn { number, deadline: Timestamp::UNIX_EPOCH }),
        rules: Some("0123abcd".to_owned()),
    }
}
