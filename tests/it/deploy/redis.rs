//! `deploy/redis/users.acl`, read by a real Redis: nobody is let in before a password is set, and then the worker can
//! do all that it does, and nothing else.

use super::file;
use crate::covers::deliver;
use crate::servers::{Redis, amqp_url, free_port};
use crate::wait::{SOON, eventually};
use crate::world::World;
use vod_cover::sim::Settings;

/// A server with the file, changed by its operator.
fn with_users(change: impl Fn(String) -> String, more: &[&str]) -> Redis {
    let users = tempfile::NamedTempFile::new().unwrap();
    let text = std::fs::read_to_string(file("redis/users.acl")).unwrap();
    std::fs::write(users.path(), change(text)).unwrap();
    Redis::start(&[&["--aclfile", users.path().to_str().unwrap()], more].concat())
}

/// As the README tells it.
fn let_in(text: String) -> String {
    text.replace("vod-cover off", "vod-cover on >let-me-in")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_acl_file_sets_covers_and_can_do_nothing_else() {
    let locked = with_users(|text| text, &[]);
    for login in [&[][..], &["--user", "vod-cover", "--pass", ""]] {
        let said = locked.cli(&[login, &["GET", "vod-cover:x"]].concat());
        assert!(said.contains("NOAUTH"), "{login:?}: {said}");
    }
    let server = with_users(let_in, &[]);
    let redis = format!("redis://vod-cover:let-me-in@127.0.0.1:{}/0", server.port);
    let settings = Settings { videos: 12, ..Settings::default() };
    let mut world = World::served(settings, &amqp_url(), &redis).await;
    world.set("VOD_COVER__LEDGER__REDIS__PREFIX", "vod-cover");
    let gateway = world.start(&["gateway"], &[]).await;
    let program = world.run(&[]).await;
    for event in world.sim.shuffled_events(0.3) {
        deliver(&gateway, &event).await;
    }
    world.every_cover_is_set(SOON).await;
    eventually("it is ready", SOON, async || program.ready().await.0 == 200).await;

    let user = ["--user", "vod-cover", "--pass", "let-me-in", "--no-auth-warning"];
    for command in [
        &["KEYS", "*"][..],
        &["FLUSHALL"],
        &["CONFIG", "GET", "*"],
        &["ACL", "LIST"],
        &["DEL", "vod-cover:x"],
        &["SCAN", "0"],
        &["PUBLISH", "vod-cover:x", "y"],
        &["GET", "other:x"],
        &["EVAL", "return redis.call('GET', KEYS[1])", "1", "other:x"],
        &["EVAL", "return redis.call('FLUSHALL')", "0"],
    ] {
        let said = server.cli(&[&user[..], command].concat());
        assert!(
            said.contains("NOPERM") || said.contains("can't run this command"),
            "{command:?}: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster_the_user_needs_two_commands_more() {
    let port = free_port().to_string();
    let cluster = ["--cluster-enabled", "yes", "--cluster-port", &port];
    let mut world = World::embedded(Settings { videos: 0, ..Settings::default() }).await;
    world.set("VOD_COVER__LEDGER__REDIS__PREFIX", "vod-cover");
    let check = |server: &Redis| {
        let url = format!("redis+cluster://vod-cover:let-me-in@127.0.0.1:{}", server.port);
        let checked = world.command(&["check"], &[("REDIS_URL", &url)]).output().unwrap();
        let said = String::from_utf8(checked.stdout).unwrap();
        said.lines().find(|line| line.contains("ledger: ")).unwrap_or_default().to_owned()
    };
    let admin = |text: String| text.replace("default off", "default on nopass ~* +@all");
    for (more, expected) in [(" +cluster|slots +ping", "redis answers"), ("", "'cluster|slots'")] {
        let server = with_users(|text| admin(let_in(text.trim().to_owned() + more)), &cluster);
        let given = server.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        assert_eq!(given, "OK");
        eventually("the cluster works", SOON, async || {
            server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
        })
        .await;
        let said = check(&server);
        assert!(said.contains(expected), "with {more:?}: {said}");
    }
}
