//! One budget of calls in a real Redis for several workers, by themselves and in clients of one simulated
//! account.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use secrecy::SecretString;
use vod_cover::ledger::redis::Settings;
use vod_cover::sim::{self, Simulator, Verdict};
use vod_cover::vod::quota::{Fleet, Operation, Quota};

use super::server::{client, settings};
use super::video;
use crate::servers::{Redis, redis_url};
use crate::wait::{SOON, eventually};

use Operation::{UpdateVideoInfo, UpdateVideoInfos};

/// A fleet on the Redis that all tests share, under a name of its own.
struct Shared {
    url: String,
    prefix: String,
}

impl Shared {
    fn new() -> Self {
        vod_cover::tls::install();
        Self::on(&redis_url())
    }

    fn on(url: &str) -> Self {
        Self { url: url.to_owned(), prefix: format!("test-{}", uuid::Uuid::new_v4()) }
    }

    /// What one more worker knows of it.
    fn fleet(&self) -> Fleet {
        let settings = Settings {
            url: SecretString::from(self.url.as_str()),
            prefix: self.prefix.clone(),
            timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(1),
            keep: Duration::from_secs(3600),
            ca_file: None,
        };
        Fleet::new(&settings).expect("a fleet")
    }

    /// The account may make so many of these calls a second, and all of them are ours.
    fn quota(&self, operation: Operation, limit: f64) -> Quota {
        let limits = BTreeMap::from([(operation.name().to_owned(), limit)]);
        Quota::new(Some(1.0), &limits).in_fleet(self.fleet())
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &str, words: &[&str]) -> T {
        let client = redis::Client::open(self.url.as_str()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis");
        let key = format!("{}:quota:{}", self.prefix, words[0]);
        let mut command = redis::cmd(command);
        command.arg(key).arg(&words[1..]);
        command.query_async(&mut connection).await.expect("an answer")
    }

    /// Which part of the pace a throttling answer has left.
    async fn part(&self, operation: Operation) -> Option<f64> {
        self.ask("HGET", &[operation.name(), "part"]).await
    }
}

/// When `callers` of a worker got turns, one after the other, so many in all.
async fn moments(quota: &Quota, callers: usize, each: usize) -> Vec<(Operation, Instant)> {
    let caller = async || {
        let mut moments = Vec::new();
        while moments.len() < each {
            if let Ok(operation) = quota.first_of(UpdateVideoInfo, UpdateVideoInfos).await {
                moments.push((operation, Instant::now()));
            }
        }
        moments
    };
    join_all((0..callers).map(|_| caller())).await.concat()
}

fn most_in_a_second(moments: &[(Operation, Instant)], operation: Operation) -> usize {
    let moments: Vec<_> =
        moments.iter().filter(|(o, _)| *o == operation).map(|(_, at)| *at).collect();
    let within = |from: &Instant| {
        moments.iter().filter(|at| (*from..*from + Duration::from_secs(1)).contains(*at)).count()
    };
    moments.iter().map(within).max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_together_take_what_one_account_may() {
    let server = Redis::start(&[]);
    let shared = Shared::on(&server.url);
    let quotas = [(); 3].map(|()| shared.quota(UpdateVideoInfo, 100.0));
    let all = join_all(quotas.iter().map(|quota| moments(quota, 10, 13))).await;
    for one in &all {
        // Nobody is left out.
        assert!(one.iter().any(|(operation, _)| *operation == UpdateVideoInfo));
    }
    let all = all.concat();
    for (operation, limit) in [(UpdateVideoInfo, 100), (UpdateVideoInfos, 30)] {
        // What is counted is when the caller went on, not when it had its turn.
        let most = most_in_a_second(&all, operation);
        assert!(most <= limit + limit / 20, "{most} of {operation:?} in a second");
    }
    let stats = server.cli(&["INFO", "commandstats"]);
    let asked =
        stats.split_once("cmdstat_evalsha:calls=").and_then(|(_, rest)| rest.split_once(','));
    let asked: usize = asked.expect("calls").0.parse().expect("a number");
    assert!(asked < all.len() / 2, "{asked} questions for {} turns", all.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttling_answer_to_one_worker_is_heeded_by_all() {
    let shared = Shared::new();
    let [one, other] = [(); 2].map(|()| shared.quota(UpdateVideoInfo, 100.0));
    other.take(UpdateVideoInfo).await.expect("a turn");
    for _ in 0..10 {
        one.hold(UpdateVideoInfo, Duration::from_millis(1500)).await;
    }
    let held = Instant::now() + Duration::from_millis(1400);
    assert!(!other.now(UpdateVideoInfo).await);
    other.take(UpdateVideoInfo).await.expect("a turn");
    assert!(Instant::now() > held);
    // Once for all of them.
    assert_eq!(shared.part(UpdateVideoInfo).await, Some(0.8));
    other.hold(UpdateVideoInfo, Duration::ZERO).await;
    let part = shared.part(UpdateVideoInfo).await.expect("a part");
    assert!((0.64..0.75).contains(&part), "{part}");
    // As if it had been a minute ago.
    shared.ask::<u8>("HSET", &[UpdateVideoInfo.name(), "shrunk", "1"]).await;
    one.hold(UpdateVideoInfo, Duration::ZERO).await;
    assert_eq!(shared.part(UpdateVideoInfo).await, Some(0.8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slower_pace_is_everybodys() {
    let shared = Shared::new();
    let [one, other] = [(); 2].map(|()| shared.quota(UpdateVideoInfo, 100.0));
    one.take(UpdateVideoInfo).await.expect("a turn");
    one.hold(UpdateVideoInfo, Duration::ZERO).await;
    let now = jiff::Timestamp::now().as_microsecond().to_string();
    shared.ask::<u8>("HSET", &[UpdateVideoInfo.name(), "part", "0.3", "shrunk", &now]).await;
    let mut moments = Vec::new();
    for _ in 0..60 {
        other.take(UpdateVideoInfo).await.expect("a turn");
        moments.push((UpdateVideoInfo, Instant::now()));
    }
    let most = most_in_a_second(&moments, UpdateVideoInfo);
    assert!(most < 45, "{most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_of_one_worker_waits_for_the_events_of_another() {
    let shared = Shared::new();
    let [one, other] = [(); 2].map(|()| shared.quota(UpdateVideoInfo, 60.0));
    let walks = other.walking(0.1);
    // Six a second, whoever walks.
    assert!(walks.now(UpdateVideoInfo).await);
    assert!(!one.walking(0.1).now(UpdateVideoInfo).await);
    assert_eq!(one.take(UpdateVideoInfo).await, Ok(()));
    assert_eq!(walks.take(UpdateVideoInfo).await, Ok(()));

    let walks = other.walking(1.0);
    let busy = async {
        let turns = (0..150).map(|_| one.take(UpdateVideoInfo));
        assert!(join_all(turns).await.iter().all(Result::is_ok));
    };
    tokio::pin!(busy);
    let (mut asked, mut walked) = (0, 0);
    loop {
        tokio::select! {
            biased;
            () = &mut busy => break,
            taken = walks.now(UpdateVideoInfo) => {
                asked += 1;
                walked += usize::from(taken);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    // Before the first turns were taken, and after the last.
    assert!(asked > 20 && walked <= 5, "{walked} of {asked}");
}

#[tokio::test]
async fn without_redis_calls_go_on_slowly_and_with_it_together_again() {
    let server = Redis::start(&[]);
    server.stop();
    let shared = Shared::on(&server.url);
    let quota = shared.quota(UpdateVideoInfo, 100.0);
    assert_eq!(quota.take(UpdateVideoInfo).await, Ok(()));
    // A tenth, which is one each 100 ms.
    let turns = join_all((0..100).map(|_| quota.take(UpdateVideoInfo))).await;
    assert!(turns.iter().filter(|turn| turn.is_ok()).count() < 60);
    server.restart();
    eventually("the fleet has its budget back", SOON, async || {
        assert!(quota.take(UpdateVideoInfo).await.is_ok());
        shared.ask("EXISTS", &[UpdateVideoInfo.name()]).await
    })
    .await;
    let left: i64 = shared.ask("PTTL", &[UpdateVideoInfo.name()]).await;
    assert!(left > 0, "it lives for ever");

    server.signal("STOP");
    let turn = quota.take(UpdateVideoInfo).await;
    server.signal("CONT");
    assert_eq!(turn, Ok(()));
}

/// Two workers of one simulated account, each with a client of its own.
async fn two(settings: sim::Settings) -> (Simulator, Shared, [vod_cover::vod::Client; 2]) {
    let shared = Shared::new();
    let simulator = Simulator::start("127.0.0.1:0".parse().expect("an address"), settings).await;
    let simulator = simulator.expect("a simulator");
    let mut settings = self::settings(&simulator.endpoint());
    settings.quota_share = 0.8;
    let clients = [(); 2].map(|()| client(&settings).in_fleet(shared.fleet()));
    (simulator, shared, clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_together_stay_within_one_accounts_quota() {
    let (simulator, _, clients) = two(sim::Settings::default()).await;
    let id = video(&simulator.videos()[0]);
    let calls = clients.iter().flat_map(|client| {
        let walks = client.for_walks(0.2);
        let one = async |client: &vod_cover::vod::Client| client.cover_snapshots(&id).await.is_ok();
        let live = (0..40).map(move |_| (client.clone(), one));
        live.chain((0..4).map(move |_| (walks.clone(), one)))
    });
    let done = join_all(calls.map(async |(client, one)| one(&client).await)).await;
    // Walks may be put off.
    assert!(done.iter().filter(|done| **done).count() >= 80);
    let refused = simulator.journal().into_iter().find(|call| call.verdict == Verdict::Throttled);
    assert_eq!(refused, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_vod_throttles_slows_both_clients() {
    let faults = vec!["ListSnapshots:throttle:x1".parse().expect("a fault")];
    let (simulator, shared, clients) = two(sim::Settings { faults, ..Default::default() }).await;
    let id = video(&simulator.videos()[0]);
    assert_eq!(shared.part(Operation::ListSnapshots).await, None);
    // It is waited out, and made again.
    clients[0].cover_snapshots(&id).await.expect("snapshots");
    assert_eq!(shared.part(Operation::ListSnapshots).await, Some(0.8));
    clients[1].cover_snapshots(&id).await.expect("snapshots");
}
