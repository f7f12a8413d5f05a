//! Chart, Kustomize, Dockerfile and compose file: `tests/deploy` renders and checks them, and the programs are run
//! here as the compose file says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

use super::file;
use crate::servers::{amqp_url, free_port, redis_url};
use crate::wait::{SOON, eventually};
use crate::world::http;

/// Of the environment that `tests/run` makes, where its packages can be had: it says so where not.
fn python() -> Option<Command> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("target/python/bin/python"));
    command.current_dir(root);
    root.join("target/python/installed.txt").exists().then_some(command)
}

#[test]
fn what_is_deployed_fits_its_schemas_the_program_and_itself() {
    let program = env!("CARGO_BIN_EXE_vod-cover");
    let Some(mut python) = python() else { return };
    let output = python.args(["tests/deploy", program]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[derive(Deserialize)]
struct Composed {
    services: BTreeMap<String, Service>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    command: Value,
    #[serde(default)]
    environment: BTreeMap<String, String>,
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The programs of the compose file, with their commands and environments, but for what the containers' network and
/// disk would be.
#[tokio::test(flavor = "multi_thread")]
async fn the_programs_of_the_compose_file_set_covers() {
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let Some(mut python) = python() else { return };
    let read = python.args(["-c", script]).arg(file("compose.yaml")).output().unwrap();
    let composed: Composed = serde_json::from_slice(&read.stdout).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let name = format!("test-{}", uuid::Uuid::new_v4().simple());
    let simulator = free_port();
    let instead = [
        ("amqp://vod-cover:loopback-only@rabbitmq:5672/%2f", amqp_url()),
        ("redis://:loopback-only@redis:6379/0", redis_url()),
        ("/var/lib/vod-cover", directory.path().to_str().unwrap().to_owned()),
        ("127.0.0.1:8800", format!("127.0.0.1:{simulator}")),
        ("127.0.0.1:8080", format!("127.0.0.1:{}", free_port())),
        ("0.0.0.0:9091", format!("127.0.0.1:{}", free_port())),
    ];
    let here = |text: &str| {
        instead.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
    };
    let start = |called: &str| {
        let service = &composed.services[called];
        let arguments =
            service.command.as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_vod-cover"));
        command.args(arguments.map(here)).env_clear().current_dir(directory.path());
        // As the image has it, on a port that is free here.
        command.env("VOD_COVER__OPS__LISTEN", format!("127.0.0.1:{}", free_port()));
        command.env("VOD_COVER__QUEUE__RABBITMQ__QUEUE", &name);
        command.env("VOD_COVER__QUEUE__RABBITMQ__EXCHANGE", format!("{name}.events"));
        command.env("VOD_COVER__LEDGER__REDIS__PREFIX", &name);
        command.envs(service.environment.iter().map(|(name, value)| (name, here(value))));
        if service.command[0] == "sim" {
            command.args(["--listen", &format!("127.0.0.1:{simulator}")]);
        }
        let log = std::fs::File::create(directory.path().join(format!("{called}.log"))).unwrap();
        command.stdout(Stdio::null()).stderr(log);
        Running(command.spawn().unwrap())
    };
    let _programs = ["gateway", "worker", "simulator"].map(start);
    // Of 200 videos most get another picture than VOD's, sooner or later.
    let changes = format!("http://127.0.0.1:{simulator}/_sim/changes?by=api");
    eventually("covers are set", SOON, async || {
        let Ok(answer) = http().get(&changes).send().await else { return false };
        let said: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        said["changes"].as_array().is_some_and(|changes| changes.len() >= 20)
    })
    .await;
    let log = std::fs::read_to_string(directory.path().join("worker.log")).unwrap();
    assert!(log.contains("cover set"), "nobody sees it:\n{log}");
}
