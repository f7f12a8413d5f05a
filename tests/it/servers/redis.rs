//! A Redis that belongs to one test.

use std::path::PathBuf;
use std::process::Command;

use super::{directory, path, servers};

/// A Redis of its own, with further arguments for `redis-server`. It is stopped on drop, or when this
/// process ends in whatever way.
pub struct Redis {
    pub url: String,
    pub port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
}

impl Redis {
    /// With arguments such as `["--requirepass", "secret"]`. With `--tls-cert-file` among them its port
    /// speaks TLS only. Nothing is saved to disk unless they say so.
    pub fn start(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self::start_in(directory("redis"), arguments)
    }

    /// A sentinel that watches `master` under the name `mymaster` and fails over fast.
    pub fn start_sentinel(master: &Self) -> Self {
        let directory = directory("sentinel");
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("sentinel.conf");
        let text = format!(
            "sentinel monitor mymaster 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds mymaster 1000\n\
             sentinel failover-timeout mymaster 5000\n",
            master.port
        );
        std::fs::write(&file, text).unwrap();
        // The file comes first; a sentinel writes what it learns into it.
        let arguments = vec![path(&file).to_owned(), "--sentinel".to_owned()];
        Self::start_in(directory, arguments)
    }

    fn start_in(directory: PathBuf, arguments: Vec<String>) -> Self {
        // Made first, so that a server that does not start leaves nothing behind either.
        let mut server = Self { url: String::new(), port: 0, directory, arguments };
        server.url = server.launch();
        server.port = server.url.rsplit(':').next().unwrap().parse().unwrap();
        server
    }

    fn launch(&self) -> String {
        let mut all = vec!["start-redis", path(&self.directory)];
        all.extend(self.arguments.iter().map(String::as_str));
        servers(&all)
    }

    /// `kill -9`, and a start on the same port. It is empty then, unless the arguments made it persist.
    pub fn restart(&self) {
        self.stop();
        self.launch();
    }

    pub fn stop(&self) {
        servers(&["stop-redis", path(&self.directory)]);
    }

    /// Sends a signal by name, such as `STOP` and `CONT`.
    pub fn signal(&self, name: &str) {
        let id = std::fs::read_to_string(self.directory.join("redis.pid")).unwrap();
        assert!(Command::new("kill").args(["-s", name, id.trim()]).status().unwrap().success());
    }

    /// Runs a command through `redis-cli` and gives its output.
    pub fn cli(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(command)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

#[tokio::test]
async fn a_private_redis_is_apart_from_the_shared_one_and_empty_after_a_restart() {
    let private = Redis::start(&[]);
    let set = async |url: &str, key: &str| {
        let client = ::redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let old: Option<String> = ::redis::cmd("SET")
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
    assert_eq!(set(&super::redis_url(), &key).await, None);
    let client = ::redis::Client::open(super::redis_url()).unwrap();
    let mut shared = client.get_multiplexed_async_connection().await.unwrap();
    let () = ::redis::cmd("DEL").arg(&key).query_async(&mut shared).await.unwrap();
    private.restart();
    assert_eq!(set(&private.url, &key).await, None);
}
