//! The ledger on Redis when Redis is anything but well: away, emptied, paused, read-only, locked up; and
//! the ways to reach it. Each test has servers of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use secrecy::SecretString;
use uuid::Uuid;
use vod_cover::error::{Class, Dependency, Failure};
use vod_cover::event::EventKey;
use vod_cover::ledger::redis::{RedisLedger, Settings};
use vod_cover::ledger::{Claim, Error, Key, Lease, Ledger};
use vod_cover::vod::quota::{Fleet, Operation, Quota};

use crate::ledger_contract::{LONG, again, key, memory, owner, set, video};
use crate::servers::{Redis, free_port};
use crate::wait::{SOON, eventually};

fn settings(url: &str) -> Settings {
    Settings {
        url: SecretString::from(url),
        prefix: "vod-cover".to_owned(),
        timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_secs(1),
        keep: LONG,
        ca_file: None,
    }
}

fn ledger(url: &str) -> RedisLedger {
    RedisLedger::new(&settings(url)).unwrap()
}

#[tokio::test]
async fn a_ledger_can_be_made_before_there_is_a_redis() {
    let server = Redis::start(&[]);
    server.stop();
    let ledger = ledger(&server.url);
    unavailable(ledger.ping().await);
    server.restart();
    works_in_time(&ledger).await;
}

#[tokio::test]
async fn after_a_restart_that_emptied_redis_everything_goes_on() {
    let server = Redis::start(&[]);
    let ledger = ledger(&server.url);
    let key = key("e1", Some(10));
    let before = acquire(&ledger, &key).await;
    server.restart();

    // The scripts are gone, and so are the lease and the connection, all of which costs nobody an error.
    lost(ledger.remember(again(&before), &memory("a"), LONG).await);
    let lease = acquire(&ledger, &key).await;
    // As many changes have been made to it as to the one that is gone.
    lost(ledger.complete(again(&before), &set("stale", "e1", None), &memory("end")).await);
    let lease = ledger.remember(lease, &memory("a"), LONG).await.unwrap();
    lost(ledger.complete(before, &set("stale", "e1", None), &memory("end")).await);
    server.cli(&["SCRIPT", "FLUSH"]);
    ledger.complete(lease, &set("a", "e1", Some(10)), &memory("end")).await.unwrap();
    assert!(matches!(
        ledger.claim(&key, owner(), LONG).await,
        Ok(Claim::Done(follow_up)) if follow_up == set("a", "e1", Some(10)).follow_up
    ));
}

#[tokio::test]
async fn a_record_is_stored_even_if_redis_was_emptied_since_the_claim() {
    let server = Redis::start(&[]);
    let ledger = ledger(&server.url);
    let key = key("e1", Some(10));
    let lease = acquire(&ledger, &key).await;
    let fence = lease.fence;
    server.cli(&["FLUSHALL"]);
    ledger.complete(again(&lease), &set("a", "e1", Some(10)), &memory("end")).await.unwrap();
    ledger.complete(lease, &set("a", "e1", Some(10)), &memory("end")).await.unwrap();
    assert!(matches!(ledger.claim(&key, owner(), LONG).await, Ok(Claim::Done(_))));
    assert!(acquire(&ledger, &self::key("e2", Some(20))).await.fence > fence);
}

/// Which keys the script was called with since the log was emptied.
fn keys_of_calls(server: &Redis) -> Vec<String> {
    let log = server.cli(&["SLOWLOG", "GET", "100"]);
    let said: Vec<&str> = log.lines().map(str::trim).collect();
    let calls = said.iter().enumerate().filter(|(_, word)| word.eq_ignore_ascii_case("evalsha"));
    calls.map(|(at, _)| said[at + 2..at + 4].join(" ")).collect()
}

#[tokio::test]
async fn each_transition_of_an_unknown_video_is_one_call_on_one_key() {
    let server = Redis::start(&[]);
    let ledger = ledger(&server.url);
    // Teaches the script.
    let _ = acquire(&ledger, &Key { video: video("another"), ..key("e1", None) }).await;
    server.cli(&["CONFIG", "RESETSTAT"]);
    server.cli(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    server.cli(&["SLOWLOG", "RESET"]);

    let lease = acquire(&ledger, &key("e1", Some(10))).await;
    let lease = ledger.remember(lease, &memory("a"), LONG).await.unwrap();
    let lease = ledger.remember(lease, &memory("b"), LONG).await.unwrap();
    ledger.complete(lease, &set("a", "e1", Some(10)), &memory("end")).await.unwrap();
    assert_eq!(keys_of_calls(&server), ["1 vod-cover:{7d28d2ab0e8e4a5f}"; 4]);

    // What is there has to be seen first.
    server.cli(&["SLOWLOG", "RESET"]);
    let lease = acquire(&ledger, &key("e2", Some(20))).await;
    assert_eq!(keys_of_calls(&server).len(), 2);
    let lease = ledger.remember(lease, &memory("a"), LONG).await.unwrap();
    ledger.release(lease, Some(&memory("b"))).await.unwrap();
    assert_eq!(keys_of_calls(&server).len(), 4);

    let stats = server.cli(&["INFO", "commandstats"]);
    assert!(!stats.contains("cmdstat_eval:"), "{stats}");
    for key in server.cli(&["KEYS", "*"]).lines() {
        let left: i64 = server.cli(&["PTTL", key]).parse().unwrap();
        assert!(left > 0, "{key} lives for ever");
    }
}

#[tokio::test]
async fn a_user_with_the_documented_rights_can_do_everything() {
    let server = Redis::start(&[]);
    server.cli(&[
        "ACL",
        "SETUSER",
        "vod",
        "on",
        ">p@ss/w?rd",
        "resetkeys",
        "~vod-cover:*",
        "+evalsha",
        "+eval",
        "+time",
        "+get",
        "+set",
        "+getrange",
        "+setrange",
        "+hget",
        "+hmget",
        "+hset",
        "+hdel",
        "+pexpire",
    ]);
    server.cli(&["ACL", "SETUSER", "default", "off"]);
    let port = server.port;
    let url = format!("redis://vod:p%40ss%2Fw%3Frd@127.0.0.1:{port}");
    let ledger = ledger(&url);
    ledger.ping().await.unwrap();
    let lease = acquire(&ledger, &key("e1", None)).await;
    let lease = ledger.remember(lease, &memory("a"), LONG).await.unwrap();
    ledger.release(lease, None).await.unwrap();
    let lease = acquire(&ledger, &key("e1", None)).await;
    ledger.complete(lease, &set("a", "e1", None), &memory("end")).await.unwrap();
    assert!(ledger.look(&key("e1", None).video).await.unwrap().is_some());
    ledger.set_bookmark("walk", Some("here")).await.unwrap();
    assert_eq!(ledger.bookmark("walk").await.unwrap().as_deref(), Some("here"));
    ledger.set_bookmark("walk", None).await.unwrap();

    let quota = Quota::new(Some(1.0), &BTreeMap::new());
    let quota = quota.in_fleet(Fleet::new(&settings(&url)).unwrap());
    quota.take(Operation::GetVideoInfo).await.unwrap();
    quota.hold(Operation::GetVideoInfo, Duration::ZERO).await;
    let user = ["--user", "vod", "--pass", "p@ss/w?rd", "--no-auth-warning"];
    let stored = ["HMGET", "vod-cover:quota:GetVideoInfo", "due", "part"];
    let stored = server.cli(&[&user[..], &stored].concat());
    assert!(stored.ends_with("0.8") && stored.len() > 10, "{stored}");
}

#[tokio::test]
async fn a_wrong_or_missing_password_and_missing_rights_are_refusals() {
    let server = Redis::start(&["--requirepass", "secret"]);
    let cli =
        |command: &[&str]| server.cli(&[&["-a", "secret", "--no-auth-warning"], command].concat());
    cli(&["ACL", "SETUSER", "weak", "on", ">weak", "~vod-cover:*", "+evalsha", "+eval", "+time"]);
    cli(&["ACL", "SETUSER", "blind", "on", ">blind", "~vod-cover:*", "+get"]);
    cli(&["ACL", "SETUSER", "lost", "on", ">lost", "~other:*", "+@all"]);
    let at = format!("127.0.0.1:{}", server.port);
    for user in ["", ":wrong@", "nobody:secret@", "weak:weak@", "blind:blind@", "lost:lost@"] {
        let ledger = ledger(&format!("redis://{user}{at}"));
        refused(ledger.ping().await, user);
        refused(ledger.claim(&key("e1", None), owner(), LONG).await, user);
    }
    let right = ledger(&format!("redis://:secret@{at}"));
    right.ping().await.unwrap();
    // A server without a password that is given one says so.
    let open = Redis::start(&[]);
    refused(ledger(&format!("redis://:secret@127.0.0.1:{}", open.port)).ping().await, "open");

    let error = ledger(&format!("redis://:wrong@{at}")).ping().await.unwrap_err();
    let failure = Failure::from(error);
    assert_eq!(failure.class, Class::Misconfigured);
    assert_eq!(failure.outage, Some(Dependency::Ledger));
    assert!(!failure.to_string().contains("wrong@"), "{failure}");
}

#[tokio::test]
async fn a_password_that_was_put_right_on_the_server_is_used_without_a_restart() {
    let server = Redis::start(&[]);
    server.cli(&["ACL", "SETUSER", "vod", "on", ">old", "~*", "+@all"]);
    let ledger = ledger(&format!("redis://vod:new@127.0.0.1:{}", server.port));
    refused(ledger.ping().await, "before");
    server.cli(&["ACL", "SETUSER", "vod", ">new"]);
    ledger.ping().await.unwrap();
}

#[tokio::test]
async fn a_server_that_stands_still_is_waited_for_within_bounds_and_then_works_again() {
    let server = Redis::start(&[]);
    let ledger = ledger(&server.url);
    ledger.ping().await.unwrap();
    server.signal("STOP");
    // Many at once, as in real life: none waits for the others.
    let key = key("e1", None);
    let bound = Duration::from_secs(30);
    let claims = (0..20).map(|_| ledger.claim(&key, owner(), LONG));
    let all = tokio::time::timeout(bound, futures_util::future::join_all(claims));
    for claim in all.await.expect("the calls are not bounded") {
        unavailable(claim);
    }
    server.signal("CONT");
    works_in_time(&ledger).await;
}

#[tokio::test]
async fn a_pause_longer_than_the_timeout_is_an_error_and_passes() {
    let server = Redis::start(&[]);
    let ledger = ledger(&server.url);
    let me = owner();
    let key = key("e1", None);
    let before = held(ledger.claim(&key, me, LONG).await.unwrap());
    server.cli(&["CLIENT", "PAUSE", "4000", "ALL"]);
    unavailable(ledger.claim(&key, me, LONG).await);
    works_in_time(&ledger).await;
    // However often it was asked meanwhile, it is one lease and one start.
    let Ok(Claim::Acquired { lease, starts, .. }) = ledger.claim(&key, me, LONG).await else {
        panic!("not acquired")
    };
    assert_eq!((lease.fence, starts), (before.fence, 1));
}

#[tokio::test]
async fn a_server_that_becomes_a_replica_is_unavailable_until_it_is_promoted() {
    let master = Redis::start(&[]);
    let server = Redis::start(&[]);
    let ledger = ledger(&server.url);
    ledger.ping().await.unwrap();
    server.cli(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    eventually("the replica is in step", SOON, async || {
        server.cli(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    unavailable(ledger.ping().await);
    unavailable(ledger.claim(&key("e1", None), owner(), LONG).await);
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    works_in_time(&ledger).await;
}

#[tokio::test]
async fn a_full_server_is_unavailable() {
    let server = Redis::start(&[]);
    let ledger = ledger(&server.url);
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    unavailable(ledger.ping().await);
    unavailable(ledger.claim(&key("e1", None), owner(), LONG).await);
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    ledger.ping().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_is_the_videos_fault_and_leaves_it_free() {
    let server = Redis::start(&[]);
    let ledger = ledger(&server.url);
    let name = "vod-cover:{7d28d2ab0e8e4a5f}";
    server.cli(&["SET", name, "a key of somebody else"]);
    unreadable(ledger.claim(&key("e1", None), owner(), LONG).await);
    unreadable(ledger.look(&key("e1", None).video).await);
    server.cli(&["DEL", name]);
    server.cli(&["HSET", name, "another", "kind of key"]);
    unreadable(ledger.claim(&key("e1", None), owner(), LONG).await);
    server.cli(&["DEL", name]);
    let newer = concat!(
        "000000000007 00000000-0000-0000-0000-000000000000 000000000000000 3 ",
        r#"{"memory":{"of":"a newer version"}}"#
    );
    server.cli(&["SET", name, newer]);
    unreadable(ledger.claim(&key("e1", None), owner(), LONG).await);
    unreadable(ledger.look(&key("e1", None).video).await);
    assert_eq!(server.cli(&["GET", name]).trim(), newer);
    server.cli(&[
        "SET",
        name,
        &newer.replace("of", "history").replace("\"a newer version\"", "[]"),
    ]);
    let Ok(Claim::Acquired { starts: 1, .. }) = ledger.claim(&key("e1", None), owner(), LONG).await
    else {
        panic!("not free")
    };
}

#[tokio::test]
async fn tls_is_spoken_and_only_to_a_server_that_is_trusted() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let directory = tempfile::tempdir().unwrap();
    let [authority, certificate, private_key] = make_certificates(directory.path());
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let server = Redis::start(&[
        "--tls-cert-file",
        &text(&certificate),
        "--tls-key-file",
        &text(&private_key),
        "--tls-ca-cert-file",
        &text(&authority),
        "--tls-auth-clients",
        "no",
    ]);
    let trusting = Settings { ca_file: Some(authority.clone()), ..settings(&server.url) };
    works_in_time(&RedisLedger::new(&trusting).unwrap()).await;
    unavailable(ledger(&server.url).ping().await);
    let plain = Settings { ca_file: Some(authority), ..settings("redis://127.0.0.1") };
    assert!(RedisLedger::new(&plain).is_err());
}

#[tokio::test]
async fn after_a_failover_the_sentinels_name_the_new_master() {
    let master = Redis::start(&["--requirepass", "secret", "--masterauth", "secret"]);
    let replica = Redis::start(&[
        "--requirepass",
        "secret",
        "--masterauth",
        "secret",
        "--replicaof",
        &format!("127.0.0.1 {}", master.port),
    ]);
    let sentinel = Redis::start_sentinel(&master);
    sentinel.cli(&["SENTINEL", "SET", "mymaster", "auth-pass", "secret"]);
    eventually("the sentinel knows the replica", SOON, async || {
        sentinel
            .cli(&["SENTINEL", "REPLICAS", "mymaster"])
            .contains(&format!("127.0.0.1:{}", replica.port))
    })
    .await;
    let elsewhere = free_port();
    let port = sentinel.port;
    // One of the sentinels is away, which nobody minds.
    let url = format!("redis+sentinel://:secret@127.0.0.1:{elsewhere},127.0.0.1:{port}/mymaster/0");
    let ledger = ledger(&url);
    works_in_time(&ledger).await;
    let lease = acquire(&ledger, &key("e1", Some(10))).await;
    ledger.complete(lease, &set("a", "e1", Some(10)), &memory("end")).await.unwrap();
    let reached = |server: &Redis| {
        server.cli(&["-a", "secret", "--no-auth-warning", "EXISTS", "vod-cover:{7d28d2ab0e8e4a5f}"])
            == "1"
    };
    assert!(reached(&master));
    eventually("it is replicated", SOON, async || reached(&replica)).await;

    master.stop();
    works_in_time(&ledger).await;
    assert!(matches!(ledger.claim(&key("e1", Some(10)), owner(), LONG).await, Ok(Claim::Done(_))));
    refused(
        RedisLedger::new(&settings(&format!("redis+sentinel://:wrong@127.0.0.1:{port}/mymaster")))
            .unwrap()
            .ping()
            .await,
        "the sentinels' redis",
    );
}

#[tokio::test]
async fn a_cluster_serves_videos_of_all_its_slots() {
    let nodes: Vec<Redis> = (0..3)
        .map(|_| {
            let port = free_port().to_string();
            Redis::start(&["--cluster-enabled", "yes", "--cluster-port", &port])
        })
        .collect();
    let addresses: Vec<String> =
        nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let made = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&addresses)
        .arg("--cluster-yes")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    let mut settings = settings(&format!("redis+cluster://{}", addresses[..2].join(",")));
    settings.connect_timeout = Duration::from_secs(2);
    let ledger = RedisLedger::new(&settings).unwrap();
    works_in_time(&ledger).await;

    for number in 0..30 {
        let key = Key { video: video(&format!("video{number}")), ..key("e1", Some(10)) };
        let lease = acquire(&ledger, &key).await;
        let lease = ledger.remember(lease, &memory("a"), LONG).await.unwrap();
        ledger.complete(lease, &set("a", "e1", Some(10)), &memory("end")).await.unwrap();
        assert!(matches!(ledger.claim(&key, owner(), LONG).await, Ok(Claim::Done(_))));
    }
    for node in &nodes {
        assert_ne!(node.cli(&["DBSIZE"]), "0");
    }
    // A node that stood still is used again.
    nodes[0].signal("STOP");
    let key = key("e1", None);
    let claims: Vec<Key> = (0..10)
        .map(|number| Key { video: video(&format!("video{number}")), ..key.clone() })
        .collect();
    let claims = claims.iter().map(|key| ledger.claim(key, owner(), LONG));
    let claims = futures_util::future::join_all(claims).await;
    assert!(claims.iter().any(Result::is_err));
    nodes[0].signal("CONT");
    for number in 0..30 {
        let key = Key { video: video(&format!("video{number}")), ..key.clone() };
        eventually("the cluster works", SOON, async || {
            ledger.claim(&key, owner(), LONG).await.is_ok()
        })
        .await;
    }
}

/// An authority, and a certificate of it for 127.0.0.1 with its key.
pub fn make_certificates(directory: &Path) -> [PathBuf; 3] {
    let files = ["ca.pem", "server.pem", "server.key"].map(|name| directory.join(name));
    let script = "
        set -e
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test
        openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost
        printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' > extensions
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
            -extfile extensions -out server.pem";
    let output = Command::new("sh").args(["-c", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    files
}

/// Waits until a video that nobody knows can be acquired.
async fn works_in_time(ledger: &RedisLedger) {
    eventually("the ledger works", SOON, async || {
        let event = EventKey(Uuid::new_v4().to_string());
        let key = Key { video: video(&Uuid::new_v4().to_string()), event, ..key("", None) };
        ledger.ping().await.is_ok() && ledger.claim(&key, owner(), LONG).await.is_ok()
    })
    .await;
}

fn held(claim: Claim) -> Lease {
    match claim {
        Claim::Acquired { lease, .. } => lease,
        other => panic!("not acquired: {other:?}"),
    }
}

async fn acquire(ledger: &RedisLedger, key: &Key) -> Lease {
    held(ledger.claim(key, owner(), LONG).await.unwrap())
}

fn lost<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::LeaseLost { .. })), "{outcome:?}");
}

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
}

fn unreadable<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::Unreadable { .. })), "{outcome:?}");
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>, case: &str) {
    assert!(matches!(outcome, Err(Error::Refused { .. })), "{case:?}: {outcome:?}");
}
