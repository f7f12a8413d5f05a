//! `deploy/redis/users.acl`, read by a real Redis: nobody is let in before a password is set, and then the worker can
//! do all that it does, and nothing else.

use super::file;
use crate::covers::post;
use crate::servers::{Redis, amqp_url};
use crate::wait::SOON;
use crate::world::World;
use vod_cover::sim::Settings;

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_acl_file_sets_covers_and_can_do_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users.acl");
    let text = std::fs::read_to_string(file("redis/users.acl")).unwrap();
    std::fs::write(&users, &text).unwrap();
    let locked = Redis::start(&["--aclfile", users.to_str().unwrap()]);
    for login in [&[][..], &["--user", "vod-cover", "--pass", ""]] {
        let said = locked.cli(&[login, &["GET", "vod-cover:x"]].concat());
        assert!(said.contains("NOAUTH"), "{login:?}: {said}");
    }
    // As the README tells it.
    std::fs::write(&users, text.replace("vod-cover off", "vod-cover on >let-me-in")).unwrap();
    let server = Redis::start(&["--aclfile", users.to_str().unwrap()]);

    let redis = format!("redis://vod-cover:let-me-in@127.0.0.1:{}/0", server.port);
    let settings = Settings { videos: 12, ..Settings::default() };
    let mut world = World::served(settings, &amqp_url(), &redis).await;
    world.set("VOD_COVER__LEDGER__REDIS__PREFIX", "vod-cover");
    let gateway = world.start(&["gateway"], &[]).await;
    let program = world.run(&[]).await;
    for event in world.sim.shuffled_events(0.3) {
        assert_eq!(post(&gateway, event.to_vec()).await, 200);
    }
    world.every_cover_is_set(SOON).await;
    assert_eq!(program.ready().await.0, 200);

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
