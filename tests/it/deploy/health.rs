//! `health`: 0 while the process beside it works, else 1 and why.

use std::time::Duration;

use vod_cover::sim::Settings;

use crate::servers::free_port;
use crate::wait::{SOON, eventually};
use crate::world::{Program, World};

async fn world() -> World {
    World::embedded(Settings { videos: 0, ..Settings::default() }).await
}

/// The exit code, and what it said.
async fn health(world: &World, arguments: &[&str], listen: &str) -> (i32, String) {
    let all = [&["health"], arguments].concat();
    let command = world.command(&all, &[("VOD_COVER__OPS__LISTEN", listen)]);
    let output = tokio::process::Command::from(command).output().await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

async fn of(world: &World, program: &Program, arguments: &[&str]) -> (i32, String) {
    health(world, arguments, &program.ops.to_string()).await
}

#[tokio::test]
async fn a_worker_is_healthy_whatever_address_of_this_machine_it_listens_on() {
    let world = world().await;
    let program = world.run(&[]).await;
    assert_eq!(of(&world, &program, &[]).await, (0, String::new()));
    assert_eq!(of(&world, &program, &["--live"]).await, (0, String::new()));
    let everywhere = format!("0.0.0.0:{}", program.ops.port());
    assert_eq!(health(&world, &[], &everywhere).await, (0, String::new()));
}

#[tokio::test]
async fn a_worker_without_its_broker_is_alive_but_not_ready_and_says_why() {
    let mut world = world().await;
    world.set("AMQP_URL", "amqp://127.0.0.1:9/%2f");
    let program = world.run(&[]).await;
    eventually("it knows that the broker is away", SOON, async || program.ready().await.0 == 503)
        .await;
    let (code, said) = of(&world, &program, &[]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("503") && said.contains("\"queue\":"), "{said}");
    assert_eq!(of(&world, &program, &["--live"]).await.0, 0);
}

#[tokio::test]
async fn nobody_and_somebody_who_never_answers_are_unhealthy() {
    let world = world().await;
    let (code, said) = health(&world, &[], &format!("127.0.0.1:{}", free_port())).await;
    assert_eq!(code, 1);
    assert!(said.contains("does not answer"), "{said}");

    // It takes connections, and says nothing; without a bound this would wait for ever.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let asked = tokio::time::timeout(Duration::from_secs(30), health(&world, &[], &address)).await;
    assert_eq!(asked.expect("it gives up").0, 1);
}
