//! A world for the program to run in: a simulated VOD account, names of its own on the shared RabbitMQ
//! and Redis, and the program itself as a child process that a test can kill.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use vod_cover::sim::{By, Settings, Simulator};

use crate::servers::free_port;
use crate::wait::eventually;

pub const KEY: &str = "testid";
pub const SECRET: &str = "testsecret";
pub const CALLBACK_KEY: &str = "Callback0Key";

pub struct World {
    pub sim: Simulator,
    pub directory: tempfile::TempDir,
    /// Environment of every process started here.
    pub environment: BTreeMap<String, String>,
    /// Of the queue, the exchange and the keys in Redis.
    pub name: String,
}

impl World {
    /// A world on the embedded file, with short delays.
    pub async fn embedded(settings: Settings) -> Self {
        vod_cover::tls::install();
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let sim = Simulator::start("127.0.0.1:0".parse().unwrap(), settings).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let mut world = Self {
            name: format!("vod-cover-test-{}-{number}", std::process::id()),
            environment: BTreeMap::new(),
            sim,
            directory,
        };
        let path = world.directory.path().join("vod-cover.sqlite3");
        for (name, value) in [
            ("VOD_ENDPOINT", world.sim.endpoint().as_str()),
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET),
            ("VOD_CALLBACK_KEY", CALLBACK_KEY),
            ("HOME", world.directory.path().to_str().unwrap()),
            ("VOD_COVER__EMBEDDED__PATH", path.to_str().unwrap()),
            ("VOD_COVER__COVER__RULES", "first"),
            // No picture is looked at, unless a test says so.
            ("VOD_COVER__COVER__GATE", "false"),
            ("VOD_COVER__FETCH__HOSTS", &world.sim.address().to_string()),
            ("VOD_COVER__FETCH__ALLOW_NETWORKS", "127.0.0.0/8"),
            ("VOD_COVER__VOD__TIMEOUT", "1s"),
            ("VOD_COVER__VOD__RETRIES", "1"),
            ("VOD_COVER__LEDGER__LEASE", "8s"),
            ("VOD_COVER__QUEUE__EMBEDDED__RETRY", "300ms,1s,2s,4s"),
            ("VOD_COVER__QUEUE__RABBITMQ__RETRY_TIERS", "300ms,1s,2s,4s"),
            ("VOD_COVER__QUEUE__RABBITMQ__QUEUE", &world.name.clone()),
            ("VOD_COVER__QUEUE__RABBITMQ__EXCHANGE", &format!("{}.events", world.name)),
            ("VOD_COVER__QUEUE__RABBITMQ__CONFIRM_TIMEOUT", "3s"),
            ("VOD_COVER__LEDGER__REDIS__PREFIX", &world.name.clone()),
        ] {
            world.environment.insert(name.into(), value.into());
        }
        world
    }

    /// A world on these servers.
    pub async fn served(settings: Settings, amqp: &str, redis: &str) -> Self {
        let mut world = Self::embedded(settings).await;
        world.set("AMQP_URL", amqp);
        world.set("REDIS_URL", redis);
        world
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.into(), value.into());
    }

    /// Any subcommand, not started yet; `more` overrules the environment.
    pub fn command(&self, arguments: &[&str], more: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vod-cover"));
        command.args(arguments).env_clear().envs(&self.environment);
        command.envs(more.iter().copied()).current_dir(self.directory.path());
        command.env("PATH", std::env::var("PATH").unwrap_or_default());
        command
    }

    /// Starts `run`, and returns when it answers on its ops port.
    pub async fn run(&self, more: &[(&str, &str)]) -> Program {
        self.run_with(&[], more).await
    }

    /// The same with more arguments.
    pub async fn run_with(&self, arguments: &[&str], more: &[(&str, &str)]) -> Program {
        self.start(&[&["run"], arguments].concat(), more).await
    }

    /// Starts a subcommand that has an ops port, and returns when it answers there.
    pub async fn start(&self, arguments: &[&str], more: &[(&str, &str)]) -> Program {
        let (ops, intake) = (free_port(), free_port());
        let log = tempfile::NamedTempFile::new_in(self.directory.path()).unwrap();
        let mut command = self.command(arguments, &[]);
        command
            .env("VOD_COVER__OPS__LISTEN", format!("127.0.0.1:{ops}"))
            .env("VOD_COVER__INTAKE__LISTEN", format!("127.0.0.1:{intake}"))
            .envs(more.iter().copied())
            .stderr(Stdio::from(log.reopen().unwrap()))
            .stdout(Stdio::null());
        let mut program = Program {
            child: command.spawn().unwrap(),
            ops: ([127, 0, 0, 1], ops).into(),
            intake: ([127, 0, 0, 1], intake).into(),
            log,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while program.get("/livez").await.is_none() {
            assert!(program.child.try_wait().unwrap().is_none(), "it ended:\n{}", program.log());
            assert!(Instant::now() < deadline, "it does not answer:\n{}", program.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        program
    }

    /// How often the API changed each video's cover to another value.
    pub fn changes(&self) -> HashMap<String, usize> {
        let mut changes = HashMap::new();
        for change in self.sim.cover_changes().into_iter().filter(|change| change.by == By::Api) {
            *changes.entry(change.video.to_string()).or_default() += 1;
        }
        changes
    }

    /// The videos whose cover is not their first snapshot.
    pub fn without_cover(&self) -> Vec<String> {
        let first = |video: &String| {
            self.sim.cover_of(video).is_some_and(|cover| cover.ends_with("-00001.jpg"))
        };
        self.sim.videos().into_iter().filter(|video| !first(video)).collect()
    }

    pub async fn every_cover_is_set(&self, within: Duration) {
        eventually("every cover is set", within, async || self.without_cover().is_empty()).await;
    }
}

/// The program, killed when dropped.
pub struct Program {
    pub child: Child,
    pub ops: SocketAddr,
    pub intake: SocketAddr,
    log: tempfile::NamedTempFile,
}

impl Program {
    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Whether it ends, and ends well, within the time.
    pub async fn ended(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(Path::new(self.log.path())).unwrap_or_default()
    }

    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = http().get(format!("http://{}{path}", self.ops)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// `/readyz`: the status and the body.
    pub async fn ready(&self) -> (u16, Value) {
        let (status, text) = self.get("/readyz").await.expect("the program answers");
        (status, serde_json::from_str(&text).unwrap())
    }

    /// The sum of a metric's series whose labels contain `label`.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let (_, text) = self.get("/metrics").await.expect("the program answers");
        let lines = text.lines().filter(|line| {
            line.starts_with(name) && line.contains(label) && !line.starts_with('#')
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Resident memory at its peak, in MiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(6_000);
            eprintln!("--- the program's log ends:\n{}", log.get(from..).unwrap_or(&log));
        }
    }
}

pub fn http() -> reqwest::Client {
    vod_cover::tls::install();
    reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build().unwrap()
}
