//! The word with systemd over a real datagram socket, and the units by systemd's own judgement.

use std::process::Command;
use std::time::Duration;

use tokio::net::UnixDatagram;
use vod_cover::sim::Settings;

use super::file;
use crate::world::{Program, World};

/// What `systemd-analyze security` calls "OK" ends at 5.0; below 1.2 there is little left to take away.
const EXPOSURE: &str = "--threshold=12";

/// A service manager that only listens.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn new(world: &World) -> Self {
        let path = world.directory.path().join("notify").to_str().unwrap().to_owned();
        Self { socket: UnixDatagram::bind(&path).unwrap(), path }
    }

    async fn start(&self, world: &World, arguments: &[&str]) -> Program {
        let more = [("NOTIFY_SOCKET", self.path.as_str()), ("WATCHDOG_USEC", "200000")];
        world.start(arguments, &more).await
    }

    async fn hears(&self) -> String {
        let mut buffer = [0; 256];
        let heard = tokio::time::timeout(Duration::from_secs(30), self.socket.recv(&mut buffer));
        let length = heard.await.expect("something is said").unwrap();
        std::str::from_utf8(&buffer[..length]).unwrap().trim().to_owned()
    }

    async fn hears_in_the_end(&self, word: &str) {
        while self.hears().await != word {}
    }
}

#[tokio::test]
async fn the_worker_says_that_it_is_ready_alive_and_stopping() {
    let world = World::embedded(Settings { videos: 0, ..Settings::default() }).await;
    let manager = Manager::new(&world);
    let mut program = manager.start(&world, &["run"]).await;
    assert_eq!(manager.hears().await, "READY=1");
    assert_eq!(manager.hears().await, "WATCHDOG=1");
    assert_eq!(manager.hears().await, "WATCHDOG=1");
    program.signal("TERM");
    manager.hears_in_the_end("STOPPING=1").await;
    assert!(program.ended(Duration::from_secs(30)).await);
}

#[tokio::test]
async fn a_gateway_is_ready_also_while_the_broker_is_away() {
    let mut world = World::embedded(Settings { videos: 0, ..Settings::default() }).await;
    world.set("AMQP_URL", "amqp://127.0.0.1:9/%2f");
    let manager = Manager::new(&world);
    let mut program = manager.start(&world, &["gateway"]).await;
    assert_eq!(manager.hears().await, "READY=1");
    assert_eq!(manager.hears().await, "WATCHDOG=1");
    program.signal("TERM");
    manager.hears_in_the_end("STOPPING=1").await;
    assert!(program.ended(Duration::from_secs(30)).await);
}

/// The unit with the program where it is here, because systemd wants to see it.
fn unit(name: &str, directory: &std::path::Path) -> String {
    let text = std::fs::read_to_string(file("systemd").join(name)).unwrap();
    let installed = "/usr/local/bin/vod-cover";
    assert!(text.contains(installed), "{name}");
    let path = directory.join(name);
    std::fs::write(&path, text.replace(installed, env!("CARGO_BIN_EXE_vod-cover"))).unwrap();
    path.to_str().unwrap().to_owned()
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(arguments).output();
    let output = output.expect("systemd is installed by tests/run");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_units_are_right_and_give_away_little() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["vod-cover.service", "vod-cover-gateway.service"] {
        let path = unit(name, directory.path());
        // It warns of what it does not know, and succeeds.
        assert_eq!(analyze(&["verify", "--man=no", &path]), (true, String::new()), "{name}");
        let (little, said) = analyze(&["security", "--offline=true", EXPOSURE, &path]);
        assert!(little, "{said}");
    }
}

/// Otherwise systemd kills what is still finishing its events.
#[test]
fn the_units_wait_longer_than_the_program_takes_to_end() {
    let defaults: toml::Table = vod_cover::config::DEFAULTS.parse().unwrap();
    let drain = defaults["pipeline"]["drain"].as_str().unwrap().to_owned();
    let drain: u64 = drain.strip_suffix('s').unwrap().parse().unwrap();
    for name in ["vod-cover.service", "vod-cover-gateway.service"] {
        let text = std::fs::read_to_string(file("systemd").join(name)).unwrap();
        let stop = text.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
        assert!(stop.unwrap().parse::<u64>().unwrap() >= drain + 10, "{name}");
    }
}
