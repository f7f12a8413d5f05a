//! The queue on one SQLite file: the contract, and the file itself, which is durable, exclusive, and never
//! stuck. What it promises as a ledger is asked in `ledger_contract`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use tempfile::TempDir;
use vod_cover::cover::{By, CoverUrl, Memory, Record, Rule, Write};
use vod_cover::error::{Reason, chain};
use vod_cover::event::{EventKey, VideoId};
use vod_cover::ledger::{Claim, Ledger};
use vod_cover::local::{Local, OpenError, Settings};
use vod_cover::queue::{Delivery, Depth, Health, Message, Queue, Settlement};

use crate::ledger_contract::{LONG, key, memory, owner, set};
use crate::queue_contract::{Place, dead_letters, queue_contract, take};

queue_contract!(sqlite, OnFile::default());

/// Tells the test binary that it is the process to be killed, and on which file.
const FILE: &str = "VOD_COVER_TEST_FILE";

struct OwnFile {
    directory: TempDir,
}

impl OwnFile {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("vod-cover.db")
    }

    fn settings(&self) -> Settings {
        Settings { path: self.path(), keep: LONG }
    }

    fn open(&self) -> Arc<Local> {
        Arc::new(Local::open(&self.settings()).unwrap())
    }
}

/// A file for the contract. Only one process can work on it at a time, so opening it once more gives the
/// same opening for as long as that lasts.
struct OnFile {
    file: OwnFile,
    opening: Mutex<Weak<Local>>,
}

impl Default for OnFile {
    fn default() -> Self {
        Self { file: OwnFile::new(), opening: Mutex::default() }
    }
}

impl OnFile {
    fn opening(&self) -> Arc<Local> {
        let mut opening = self.opening.lock().unwrap();
        opening.upgrade().unwrap_or_else(|| {
            let opened = self.file.open();
            *opening = Arc::downgrade(&opened);
            opened
        })
    }
}

#[async_trait]
impl Place for OnFile {
    async fn open(&self) -> Arc<dyn Queue> {
        self.opening()
    }

    async fn crash(&self, process: Arc<dyn Queue>) {
        drop(process);
        assert_eq!(self.opening.lock().unwrap().strong_count(), 0, "somebody still has it open");
    }

    async fn dead(&self) -> Vec<(Message, String)> {
        let letters = dead_letters(&*self.opening()).await;
        letters.into_iter().map(|letter| (letter.message, letter.reason)).collect()
    }

    async fn remove(&self) {
        // Dropping the directory does.
    }
}

#[tokio::test]
async fn messages_come_out_whole_and_in_the_order_they_went_in() {
    let place = OwnFile::new();
    let queue = place.open();
    let bodies: [&[u8]; 4] = [b"{}", b"", b"\xff\x00 no text \xfe", &[b'x'; 2_000_000]];
    for (number, body) in bodies.iter().enumerate() {
        let message = Message::new(body.to_vec(), format!("kind{number}"), format!("id{number}"));
        queue.publish(message).await.unwrap();
    }
    assert_eq!(depth(&queue).await, (4, 0, 0));
    for (number, body) in bodies.iter().enumerate() {
        let delivery = take(&queue).await;
        let expected = Message::new(body.to_vec(), format!("kind{number}"), format!("id{number}"));
        assert_eq!(delivery.message, expected);
        queue.settle(delivery, Settlement::Done).await.unwrap();
    }
    assert_eq!(depth(&queue).await, (0, 0, 0));
    assert_eq!(queue.health(), Health::Ready);
}

#[tokio::test]
async fn a_retry_does_not_come_early() {
    let place = OwnFile::new();
    let queue = place.open();
    publish(&queue, "a").await;
    let delivery = take(&queue).await;
    let before = Instant::now();
    let after = Duration::from_millis(300);
    settle(&queue, delivery, retry(after, true, "first")).await;
    assert_eq!(depth(&queue).await, (0, 1, 0));
    let delivery = take(&queue).await;
    assert!(before.elapsed() >= after, "it came early");

    settle(&queue, delivery, retry(Duration::ZERO, false, "second")).await;
    let delivery = take(&queue).await;
    settle(&queue, delivery, Settlement::Done).await;
    assert_eq!(depth(&queue).await, (0, 0, 0));
}

#[tokio::test]
async fn a_delayed_message_holds_up_nobody() {
    let place = OwnFile::new();
    let queue = place.open();
    for name in ["late", "b", "c"] {
        publish(&queue, name).await;
    }
    let late = take(&queue).await;
    assert_eq!(&late.message.body[..], b"late");
    settle(&queue, late, retry(LONG, true, "not now")).await;
    for name in ["b", "c"] {
        let delivery = take(&queue).await;
        assert_eq!(&delivery.message.body[..], name.as_bytes());
        settle(&queue, delivery, Settlement::Done).await;
    }
    assert_eq!(depth(&queue).await, (0, 1, 0));
    // The longest of all delays is no overflow.
    publish(&queue, "d").await;
    let delivery = take(&queue).await;
    settle(&queue, delivery, retry(Duration::MAX, true, "never")).await;
    assert_eq!(depth(&queue).await, (0, 2, 0));
}

#[tokio::test]
async fn a_dead_letter_tells_when_it_died() {
    let place = OwnFile::new();
    let queue = place.open();
    publish(&queue, "a").await;
    let delivery = take(&queue).await;
    settle(&queue, delivery, retry(Duration::ZERO, true, "first")).await;
    let delivery = take(&queue).await;
    let reason = Reason::new("event.not-json");
    settle(&queue, delivery, Settlement::Dead { reason, error: "last".to_owned() }).await;

    let dead = dead_letters(&*queue).await;
    let [letter] = &dead[..] else { panic!("{dead:?}") };
    let failures = letter.message.failures.as_ref().unwrap();
    assert!(Some(failures.since) <= letter.died, "{letter:?}");
}

#[tokio::test]
async fn what_was_not_settled_comes_again_at_the_next_opening_and_old_tags_mean_nothing() {
    let place = OwnFile::new();
    let queue = place.open();
    for name in ["a", "b", "c"] {
        publish(&queue, name).await;
    }
    let [first, second] = [take(&queue).await, take(&queue).await];
    settle(&queue, first, Settlement::Done).await;
    drop(queue);

    let queue = place.open();
    let again = take(&queue).await;
    assert_eq!(again.message, second.message);
    // A late settlement of the earlier opening, which must not settle the new delivery.
    settle(&queue, second, Settlement::Done).await;
    settle(&queue, again, retry(Duration::ZERO, true, "again")).await;
    let mut left = BTreeSet::new();
    for _ in 0..2 {
        let delivery = take(&queue).await;
        left.insert(delivery.message.body.clone());
        settle(&queue, delivery, Settlement::Done).await;
    }
    assert_eq!(left.len(), 2);
    assert_eq!(depth(&queue).await, (0, 0, 0));
}

#[tokio::test]
async fn what_a_pause_gives_back_comes_again_in_its_order() {
    let place = OwnFile::new();
    let queue = place.open();
    for number in 0..100 {
        publish(&queue, &number.to_string()).await;
    }
    let held = take(&queue).await;
    queue.pause().await;
    assert_eq!(depth(&queue).await, (99, 0, 0));
    settle(&queue, held, Settlement::Done).await;
    for number in 1..100 {
        let delivery = take(&queue).await;
        assert_eq!(&delivery.message.body[..], number.to_string().as_bytes());
        settle(&queue, delivery, Settlement::Done).await;
    }
    assert_eq!(depth(&queue).await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_takers_get_each_message_once() {
    let place = OwnFile::new();
    let queue = place.open();
    let takers: Vec<_> = (0..20)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut bodies = Vec::new();
                for _ in 0..25 {
                    let delivery = take(&queue).await;
                    bodies.push(delivery.message.body.clone());
                    settle(&queue, delivery, Settlement::Done).await;
                }
                bodies
            })
        })
        .collect();
    for number in 0..500 {
        publish(&queue, &number.to_string()).await;
    }
    let mut bodies = BTreeSet::new();
    for taker in takers {
        bodies.extend(taker.await.unwrap());
    }
    assert_eq!(bodies.len(), 500);
    assert_eq!(depth(&queue).await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_published_at_once_are_all_there() {
    let place = OwnFile::new();
    let queue = place.open();
    let all = (0..10_000).map(|number: u32| {
        let queue = queue.clone();
        tokio::spawn(async move { publish(&queue, &number.to_string()).await })
    });
    for published in futures_util::future::join_all(all).await {
        published.unwrap();
    }
    assert_eq!(depth(&queue).await, (10_000, 0, 0));
    let mut bodies = BTreeSet::new();
    for _ in 0..10_000 {
        let delivery = take(&queue).await;
        bodies.insert(delivery.message.body.clone());
    }
    assert_eq!(bodies.len(), 10_000);
}

#[tokio::test]
async fn a_file_has_one_worker_and_any_number_of_publishers() {
    let place = OwnFile::new();
    let early = Local::open_for_publishing(&place.path()).unwrap();
    publish(&early, "early").await;
    let worker = place.open();
    let error = Local::open(&place.settings()).err().expect("opened twice");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("stop it"), "{error}");
    // Spelled differently, it is the same file.
    let other = place
        .directory
        .path()
        .join(".")
        .join("..")
        .join(place.directory.path().file_name().unwrap());
    let other = Settings { path: other.join("vod-cover.db"), ..place.settings() };
    assert!(matches!(Local::open(&other), Err(OpenError::Locked { .. })));

    let taken = take(&worker).await;
    assert_eq!(&taken.message.body[..], b"early");
    settle(&worker, taken, Settlement::Done).await;
    // A worker that waits finds what another opening publishes.
    let late = Local::open_for_publishing(&place.path()).unwrap();
    let (taken, ()) = tokio::join!(take(&worker), publish(&late, "late"));
    assert_eq!(&taken.message.body[..], b"late");
    settle(&worker, taken, Settlement::Done).await;

    assert!(late.next().await.is_err());
    assert!(late.claim(&key("e1", None), owner(), LONG).await.is_err());
    drop(worker);
    place.open();
}

#[tokio::test]
async fn leases_end_with_the_opening_that_granted_them_and_starts_are_remembered() {
    let place = OwnFile::new();
    let ledger = place.open();
    let key = key("e1", Some(10));
    let Ok(Claim::Acquired { lease, .. }) = ledger.claim(&key, owner(), LONG).await else {
        panic!("not acquired")
    };
    drop(ledger);
    let ledger = place.open();
    assert!(ledger.complete(lease, &set("stale", "e1", Some(10)), &memory("end")).await.is_err());
    let Ok(Claim::Acquired { lease, starts, .. }) = ledger.claim(&key, owner(), LONG).await else {
        panic!("not acquired")
    };
    assert_eq!((lease.fence, starts), (2, 2));
    ledger.complete(lease, &set("a", "e1", Some(10)), &memory("end")).await.unwrap();
    drop(ledger);
    let ledger = place.open();
    assert!(matches!(ledger.claim(&key, owner(), LONG).await, Ok(Claim::Done(_))));
}

#[test]
fn a_file_that_cannot_be_used_says_why_and_stays_as_it_is() {
    let place = OwnFile::new();
    let error = |path: &Path| {
        let settings = Settings { path: path.to_owned(), keep: LONG };
        let first = Local::open(&settings).err().expect("opened");
        let second = Local::open_for_publishing(path).err().expect("opened");
        assert_eq!(first.to_string(), second.to_string());
        first
    };
    let missing = place.directory.path().join("no").join("vod-cover.db");
    assert!(matches!(error(&missing), OpenError::NoDirectory { .. }));
    assert!(matches!(error(place.directory.path()), OpenError::IsDirectory { .. }));

    let text = place.directory.path().join("text");
    std::fs::write(&text, "no database, but long enough to be read as one\n".repeat(50)).unwrap();
    let before = std::fs::read(&text).unwrap();
    assert!(matches!(error(&text), OpenError::NotADatabase { .. }));
    assert_eq!(std::fs::read(&text).unwrap(), before);

    let foreign = place.directory.path().join("foreign.db");
    let connection = rusqlite::Connection::open(&foreign).unwrap();
    connection.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(connection);
    assert!(matches!(error(&foreign), OpenError::NotOurs { .. }));

    drop(place.open());
    let connection = rusqlite::Connection::open(place.path()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let newer = error(&place.path());
    assert!(matches!(newer, OpenError::Newer { found: 99, .. }), "{}", chain(&newer));
}

#[tokio::test]
async fn killing_the_process_loses_nothing_that_it_had_answered_for() {
    let place = OwnFile::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "local::the_process_to_be_killed", "--nocapture"])
        .env(FILE, place.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut published, mut settled) = (BTreeSet::new(), BTreeSet::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.split_once(' ') {
            Some(("published", body)) => published.insert(body.to_owned()),
            Some(("settled", body)) => settled.insert(body.to_owned()),
            _ => continue,
        };
        if settled.len() == 50 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(settled.len() >= 50);

    // At once, without waiting for any lease or lock of the dead process.
    let queue = place.open();
    let mut found = BTreeSet::new();
    for _ in 0..depth(&queue).await.0 {
        let delivery = take(&queue).await;
        let body = String::from_utf8(delivery.message.body.to_vec()).unwrap();
        assert!(!settled.contains(&body), "{body} came again after it was settled");
        assert!(found.insert(body));
    }
    // The one that was settled when the kill came may be gone without its answer.
    let lost: Vec<_> =
        published.difference(&settled).filter(|body| !found.contains(*body)).collect();
    assert!(lost.len() <= 1, "{lost:?} were lost");
    assert!(found.len() > 50);
}

/// Does nothing, unless `killing_the_process_loses_nothing_that_it_had_answered_for` starts it.
#[tokio::test]
async fn the_process_to_be_killed() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let queue = Arc::new(Local::open(&Settings { path: path.into(), keep: LONG }).unwrap());
    let say = |word: &str, body: &str| {
        let mut out = std::io::stdout().lock();
        // The parent has gone when this fails.
        let _ = writeln!(out, "{word} {body}").and_then(|()| out.flush());
    };
    for number in 0_u32..100_000 {
        let body = number.to_string();
        publish(&queue, &body).await;
        say("published", &body);
        if number % 3 == 2 {
            let delivery = take(&queue).await;
            let body = String::from_utf8(delivery.message.body.to_vec()).unwrap();
            settle(&queue, delivery, Settlement::Done).await;
            say("settled", &body);
            // Taken and never settled.
            let _held = take(&queue).await;
        }
    }
}

async fn publish(queue: &Local, body: &str) {
    queue.publish(Message::new(body.as_bytes().to_vec(), "kind", "id")).await.unwrap();
}

async fn settle(queue: &Local, delivery: Delivery, how: Settlement) {
    queue.settle(delivery, how).await.unwrap();
}

fn retry(after: Duration, counts: bool, error: &str) -> Settlement {
    Settlement::Retry { after, counts, error: error.to_owned() }
}

async fn depth(queue: &Local) -> (u64, u64, u64) {
    let Depth { ready, delayed, dead } = queue.depth().await.unwrap();
    (ready, delayed, dead)
}

#[tokio::test]
async fn the_ledger_beside_a_worker_shares_its_leases_and_is_not_in_its_way() {
    let place = OwnFile::new();
    let claim = async |local: &Local, who| local.claim(&key("e", None), who, LONG).await.unwrap();
    let (one, two) = (owner(), owner());

    // Nobody works: leases are those of the dead, unless another such ledger is open.
    let first = Local::open_beside(&place.settings()).unwrap();
    let second = Local::open_beside(&place.settings()).unwrap();
    assert!(matches!(claim(&first, one).await, Claim::Acquired { .. }));
    assert!(matches!(claim(&second, two).await, Claim::Busy { .. }));
    drop(second);
    let second = Local::open_beside(&place.settings()).unwrap();
    assert!(matches!(claim(&second, two).await, Claim::Busy { .. }));
    let error = Local::open(&place.settings()).err().expect("opened");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(second.next().await.is_err(), "it takes no messages");
    drop((first, second));

    let worker = place.open();
    assert!(matches!(claim(&worker, one).await, Claim::Acquired { .. }));
    let beside = Local::open_beside(&place.settings()).unwrap();
    assert!(matches!(claim(&beside, two).await, Claim::Busy { .. }));
    let Claim::Acquired { lease, .. } = claim(&worker, one).await else { panic!("not ours") };
    worker.release(lease, None).await.unwrap();
    assert!(matches!(claim(&beside, two).await, Claim::Acquired { .. }));
    assert!(matches!(claim(&worker, one).await, Claim::Busy { .. }));
}

/// The parts of version 1 that have changed since.
const VERSION_1: &str = "
    CREATE TABLE video (video TEXT PRIMARY KEY, owner TEXT, until INTEGER NOT NULL,
      fence INTEGER NOT NULL, intention TEXT, record TEXT, touched INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX video_leased ON video (video) WHERE owner IS NOT NULL;
    CREATE INDEX video_touched ON video (touched);
    CREATE TABLE newest (video TEXT NOT NULL REFERENCES video ON DELETE CASCADE,
      cause TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (video, cause)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE event_done (video TEXT NOT NULL, event TEXT NOT NULL, starter TEXT,
      starts INTEGER NOT NULL, done TEXT, done_by TEXT, touched INTEGER NOT NULL,
      PRIMARY KEY (video, event)) STRICT, WITHOUT ROWID;
    CREATE TABLE message (id INTEGER PRIMARY KEY, due INTEGER, delay INTEGER);
    CREATE TABLE dead (id INTEGER PRIMARY KEY);
    PRAGMA application_id = 0x766f6463;
    PRAGMA user_version = 1;";

#[tokio::test]
async fn a_file_of_version_1_keeps_what_it_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("old.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(VERSION_1).unwrap();
    let touched = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let record = r#"{"outcome":{"outcome":"set","cover":"http://h/a.jpg","rule":"middle"},
        "event":"e","event_time":null,"decided_at":"2026-01-01T00:00:00Z"}"#;
    let kept = r#"{"outcome":{"outcome":"kept","why":"somebody chose it"},
        "event":"k","event_time":null,"decided_at":"2026-01-01T00:00:00Z"}"#;
    let by_rule = r#"{"cover":"http://h/b.jpg","rule":"first","event":"f"}"#;
    let by_operator = r#"{"cover":"http://h/c.jpg","rule":null,"event":"operator.1"}"#;
    for (video, record, intention) in [
        ("known", Some(record), None),
        ("both", Some(record), Some(by_rule)),
        ("cut", None, Some(by_operator)),
        ("kept", None, None),
        ("none", None, None),
    ] {
        connection
            .execute(
                "INSERT INTO video (video, until, fence, record, intention, touched)
                 VALUES (?1, 0, 3, ?2, ?3, ?4)",
                (video, record, intention, touched.as_millisecond()),
            )
            .unwrap();
    }
    // An end, and a start of which nothing came.
    for (video, event, done) in [("kept", "k", Some(kept)), ("none", "n", None)] {
        connection
            .execute(
                "INSERT INTO event_done (video, event, starts, done, touched)
                 VALUES (?1, ?2, 1, ?3, ?4)",
                (video, event, done, touched.as_millisecond()),
            )
            .unwrap();
    }
    drop(connection);

    let settings = Settings { path, keep: LONG };
    let ledger = Local::open(&settings).unwrap();
    let write = |name: &str, by, event: &str| Write {
        cover: CoverUrl::new(&format!("http://h/{name}.jpg")).unwrap(),
        by,
        event: EventKey(event.to_owned()),
        before: None,
        over: None,
        at: touched,
        since: None,
        made: false,
        echoed: false,
    };
    let standing: Option<Record> = serde_json::from_str(record).unwrap();
    let known = Memory { standing, decided: true, ..Memory::default() };
    let rule = write("b", By::Rule(Rule::First), "f");
    let operator = write("c", By::Operator, "operator.1");
    for (video, expected) in [
        ("known", known.clone()),
        ("both", Memory { writes: vec![rule], ..known }),
        ("cut", Memory { writes: vec![operator], ..Memory::default() }),
        ("kept", Memory { decided: true, ..Memory::default() }),
        ("none", Memory::default()),
    ] {
        let sight = ledger.look(&VideoId::new(video).unwrap()).await.unwrap().unwrap();
        assert_eq!((sight.memory, sight.fence), (expected, 3), "{video}");
    }
    // Opened again, it is of the present version.
    drop(ledger);
    let ledger = Local::open(&settings).unwrap();
    assert_eq!(ledger.bookmark("a").await.unwrap(), None);
}
