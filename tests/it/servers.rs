//! The servers that tests talk to: the ones that `tests/run` started, and private ones that a test may
//! stop, restart and starve. `tests/servers` does the work.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

mod redis;

pub use redis::Redis;

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

    /// Starts its management API, and gives the address.
    pub fn management(&self) -> String {
        servers(&["start-management", path(&self.directory)])
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

/// A port of 127.0.0.1 that nobody listens on. No other caller gets it, nor does the kernel hand it out to an
/// outgoing connection before it is used; `tests/servers` takes its ports from above these.
pub fn free_port() -> u16 {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 10_000;
    // Two runs beside each other begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    (0..COUNT)
        .map(|_| begin.wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed)) % COUNT + FIRST)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("some port is free")
}

/// A directory among those that `tests/run` cleans up.
fn directory(kind: &str) -> PathBuf {
    static COUNT: Mutex<u32> = Mutex::new(0);
    let mut count = COUNT.lock().unwrap();
    *count += 1;
    let root = PathBuf::from(from_environment("VOD_COVER_TEST_SERVERS"));
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
