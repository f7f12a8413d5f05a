//! Redis servers that belong to one test: on a free loopback port, in a directory of their own, killed
//! when dropped.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub struct RedisServer {
    pub port: u16,
    pub directory: TempDir,
    arguments: Vec<String>,
    tls: bool,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts `redis-server` with these further arguments, such as `["--requirepass", "secret"]`.
    /// Nothing is saved to disk.
    pub fn start(arguments: &[&str]) -> Self {
        let mut server = Self::prepare();
        server.arguments.extend(arguments.iter().map(|&text| text.to_owned()));
        server.restart();
        server
    }

    /// Like `start`, on a port that speaks TLS only.
    pub fn start_with_tls(arguments: &[&str]) -> Self {
        let mut server = Self::prepare();
        server.tls = true;
        server.arguments.extend(arguments.iter().map(|&text| text.to_owned()));
        server.restart();
        server
    }

    /// A sentinel that watches `master` under the name `mymaster` and fails over fast.
    pub fn start_sentinel(master: &RedisServer) -> Self {
        let mut server = Self::prepare();
        let file = server.directory.path().join("sentinel.conf");
        let text = format!(
            "sentinel monitor mymaster 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds mymaster 1000\n\
             sentinel failover-timeout mymaster 5000\n",
            master.port
        );
        std::fs::write(&file, text).unwrap();
        // The file comes first; a sentinel writes what it learns into it.
        server.arguments = vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()];
        server.restart();
        server
    }

    fn prepare() -> Self {
        Self {
            port: free_port(),
            directory: tempfile::tempdir().unwrap(),
            arguments: vec!["--save".into(), String::new(), "--appendonly".into(), "no".into()],
            tls: false,
            process: None,
        }
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "rediss" } else { "redis" }, self.port)
    }

    /// Starts it anew on the same port, emptied, and waits until it answers.
    pub fn restart(&mut self) {
        self.stop();
        let port = self.port.to_string();
        let (plain, tls) = if self.tls { ("0", Some(&port)) } else { (port.as_str(), None) };
        let mut command = Command::new("redis-server");
        command.args(&self.arguments).args(["--port", plain, "--bind", "127.0.0.1"]);
        if let Some(port) = tls {
            command.args(["--tls-port", port]);
        }
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        let process = command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log)
            .spawn()
            .expect("redis-server cannot be started: run tests/run, which installs it");
        self.process = Some(process);
        wait_until("redis answers", || self.answers());
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends a signal by name, such as `STOP` and `CONT`.
    pub fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
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

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        if self.tls {
            return true;
        }
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut first = [0];
        // An error is an answer, too: it may want a password.
        stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut first).is_ok()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

pub fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !reached() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
