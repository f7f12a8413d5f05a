//! The servers that tests talk to: the ones that `tests/run` started, and private ones that a test may
//! stop, restart and starve. `tests/servers` does the work.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The RabbitMQ that all tests share. Use own names for queues and exchanges.
pub fn amqp_url() -> String {
    from_environment("AMQP_URL")
}

/// The Redis that all tests share. Use own keys.
pub fn redis_url() -> String {
    from_environment("REDIS_URL")
}

fn from_environment(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run the tests with tests/run"))
}

/// A RabbitMQ of its own. It is stopped on drop, or when this process ends in whatever way.
pub struct Rabbit {
    pub url: String,
    directory: PathBuf,
}

impl Rabbit {
    pub fn start() -> Self {
        let directory = directory("rabbitmq");
        let url = servers(&["start-rabbitmq", path(&directory)]);
        Self { url, directory }
    }

    /// `rabbitmqctl`; panics if it fails.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["rabbitmqctl", path(&self.directory), "--quiet"];
        all.extend(arguments);
        servers(&all)
    }

    /// `kill -9`, and a start with the same data and ports.
    pub fn restart(&self) {
        self.stop();
        servers(&["start-rabbitmq", path(&self.directory)]);
    }

    pub fn stop(&self) {
        servers(&["stop-rabbitmq", path(&self.directory)]);
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.stop();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

/// Runs a test with a RabbitMQ that it may break, one test after the other: it is started once, because
/// that takes seconds. The test leaves it running and without alarms.
pub async fn with_breakable_rabbit<T>(test: impl AsyncFnOnce(&Rabbit) -> T) -> T {
    static NODE: OnceLock<Rabbit> = OnceLock::new();
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = TURN.lock().await;
    let node = tokio::task::spawn_blocking(|| NODE.get_or_init(Rabbit::start)).await.unwrap();
    test(node).await
}

/// A Redis of its own, with further arguments for `redis-server`. It is stopped on drop, or when this
/// process ends in whatever way.
pub struct Redis {
    pub url: String,
    directory: PathBuf,
    arguments: Vec<String>,
}

impl Redis {
    pub fn start(arguments: &[&str]) -> Self {
        let directory = directory("redis");
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let url = start_redis(&directory, &arguments);
        Self { url, directory, arguments }
    }

    /// `kill -9`, and a start on the same port. It is empty then, unless the arguments made it persist.
    pub fn restart(&self) {
        self.stop();
        start_redis(&self.directory, &self.arguments);
    }

    pub fn stop(&self) {
        servers(&["stop-redis", path(&self.directory)]);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

fn start_redis(directory: &Path, arguments: &[String]) -> String {
    let mut all = vec!["start-redis", path(directory)];
    all.extend(arguments.iter().map(String::as_str));
    servers(&all)
}

/// Polls until a condition holds; panics with `what` after half a minute.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < deadline, "did not happen in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A directory among those that `tests/run` cleans up.
fn directory(kind: &str) -> PathBuf {
    static COUNT: Mutex<u32> = Mutex::new(0);
    let mut count = COUNT.lock().unwrap();
    *count += 1;
    let root =
        std::env::var_os("VOD_COVER_TEST_SERVERS").map_or_else(std::env::temp_dir, PathBuf::from);
    root.join(format!("vod-cover-{kind}-{}-{count}", std::process::id()))
}

fn path(directory: &Path) -> &str {
    directory.to_str().expect("temporary directories have plain names")
}

fn servers(arguments: &[&str]) -> String {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers"))
        .args(arguments)
        .env("OWNER_PID", std::process::id().to_string())
        .stdin(Stdio::null())
        .output()
        .expect("tests/servers can be run");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests/servers {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn a_private_redis_is_apart_from_the_shared_one_and_empty_after_a_restart() {
    let private = Redis::start(&[]);
    let set = async |url: &str, key: &str| {
        let client = redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let old: Option<String> = redis::cmd("SET")
            .arg(key)
            .arg("1")
            .arg("GET")
            .query_async(&mut connection)
            .await
            .unwrap();
        old
    };
    let key = format!("test-{}", uuid::Uuid::new_v4());
    assert_eq!(set(&private.url, &key).await, None);
    assert_eq!(set(&private.url, &key).await.as_deref(), Some("1"));
    assert_eq!(set(&redis_url(), &key).await, None);
    let client = redis::Client::open(redis_url()).unwrap();
    let mut shared = client.get_multiplexed_async_connection().await.unwrap();
    let () = redis::cmd("DEL").arg(&key).query_async(&mut shared).await.unwrap();
    private.restart();
    assert_eq!(set(&private.url, &key).await, None);
}
