//! A storm of callbacks while everything behind the gateway fails in turn, and the gateway itself is killed
//! again and again: whatever was answered 200 is in the queue at the end.
//!
//! `VOD_COVER_STORM=20000,2000,60 tests/run --release --test it -- a_storm --nocapture` sends 20,000 callbacks at
//! 2,000 a second, with an outage of 60 seconds, and has VOD's three tries lose nothing either. Whether they do
//! depends on how soon a gateway that was killed is back, which beside other tests is too late at times.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::Child;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Instant;

use tokio::time::sleep;

use super::*;
use crate::faults::{address, through};
use crate::proxy::Proxy;
use crate::servers::{Rabbit, free_port};

/// As VOD does it.
const TRIES: usize = 3;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// So often the gateway is killed: more than the time that the three tries take.
const KILLED_EVERY: Duration = Duration::from_secs(4);
/// After the faults, for everything to get to the queue.
const SETTLED: Duration = Duration::from_secs(120);
/// Parts of the storm: with a working broker, and with each of the three faults.
const PARTS: usize = 4;

struct Size {
    /// Whether somebody asked for it, and so left the machine to it.
    alone: bool,
    callbacks: usize,
    rate: f64,
    outage: Duration,
}

impl Size {
    fn chosen() -> Self {
        let asked = std::env::var("VOD_COVER_STORM").ok();
        let alone = asked.is_some();
        let text = asked.unwrap_or_else(|| "2000,250,3".to_owned());
        let numbers: Vec<u32> = text.split(',').map(|number| number.parse().unwrap()).collect();
        let [callbacks, rate, outage] = numbers[..] else { panic!("three numbers, not {text:?}") };
        let outage = Duration::from_secs(outage.into());
        Self { alone, callbacks: callbacks as usize, rate: rate.into(), outage }
    }
}

/// The gateway, always at the same address, and started again whenever it was killed.
struct Mortal {
    world: World,
    intake: SocketAddr,
    ops: SocketAddr,
    child: Mutex<Child>,
}

impl Mortal {
    fn start(world: World) -> Self {
        let [intake, ops] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let child = Mutex::new(Self::spawn(&world, intake, ops));
        Self { world, intake, ops, child }
    }

    fn spawn(world: &World, intake: SocketAddr, ops: SocketAddr) -> Child {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(world.directory.path().join("storm.log"))
            .unwrap();
        let mut command = world.command(&["gateway"], &[]);
        command.env("VOD_COVER__INTAKE__LISTEN", intake.to_string());
        command.env("VOD_COVER__OPS__LISTEN", ops.to_string());
        command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// `kill -9`, and a start at once.
    fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        *child = Self::spawn(&self.world, self.intake, self.ops);
    }

    async fn metric(&self, name: &str) -> Option<f64> {
        let answer = CLIENT.get(format!("http://{}/metrics", self.ops)).send().await.ok()?;
        let text = answer.text().await.ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
        if std::thread::panicking() {
            let log = std::fs::read(self.world.directory.path().join("storm.log")).unwrap();
            let log = String::from_utf8_lossy(&log).into_owned();
            let from = log.ceil_char_boundary(log.len().saturating_sub(6_000));
            eprintln!("--- the gateway's log ends:\n{}", &log[from..]);
        }
    }
}

/// What the sender knows at the end.
#[derive(Default)]
struct Outcome {
    answered: HashSet<usize>,
    lost: Vec<usize>,
    /// Tries without an answer within the time that VOD gives.
    late: usize,
    slowest: Duration,
    tries: usize,
}

struct Sender {
    gateway: Arc<Mortal>,
    outcome: Mutex<Outcome>,
}

impl Sender {
    /// One part of the storm: callbacks, a fault, and a gateway that is killed in their midst and again and
    /// again until all have ended.
    async fn part(self: &Arc<Self>, number: usize, size: &Size, fault: impl AsyncFnOnce()) {
        let count = size.callbacks / PARTS;
        let burst = self.burst(number * count..(number + 1) * count, size.rate);
        let killing = async {
            sleep(Duration::from_secs_f64(count as f64 / size.rate / 2.0)).await;
            loop {
                self.gateway.kill();
                sleep(KILLED_EVERY).await;
            }
        };
        tokio::select! {
            _ = async { tokio::join!(burst, fault()) } => {}
            () = killing => {}
        }
    }

    /// Sends so many at this rate, and waits for the end of each.
    async fn burst(self: &Arc<Self>, numbers: std::ops::Range<usize>, rate: f64) {
        let began = tokio::time::Instant::now();
        let mut sending = tokio::task::JoinSet::new();
        for (index, number) in numbers.enumerate() {
            let due = began + Duration::from_secs_f64(index as f64 / rate);
            tokio::time::sleep_until(due).await;
            let sender = Arc::clone(self);
            sending.spawn(async move { sender.send(number).await });
        }
        while let Some(sent) = sending.join_next().await {
            sent.unwrap();
        }
    }

    async fn send(&self, number: usize) {
        for attempt in 0..TRIES {
            if attempt > 0 {
                sleep(BETWEEN_TRIES).await;
            }
            let url = format!("http://{}/callback", self.gateway.intake);
            let at = now().to_string();
            let signature = signature(&url, &at, CALLBACK_KEY);
            let request = CLIENT.post(url).body(event(number % 500, number));
            let request = request.header("X-VOD-TIMESTAMP", at);
            let began = Instant::now();
            let answer = request.header("X-VOD-SIGNATURE", signature).send().await;
            let mut outcome = self.outcome.lock().unwrap();
            outcome.tries += 1;
            match answer {
                Ok(answer) => {
                    outcome.slowest = outcome.slowest.max(began.elapsed());
                    if answer.status() == 200 {
                        outcome.answered.insert(number);
                        return;
                    }
                }
                Err(error) if error.is_timeout() => outcome.late += 1,
                Err(_) => {}
            }
        }
        self.outcome.lock().unwrap().lost.push(number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_with_every_fault_loses_no_callback() {
    let size = Size::chosen();
    let node = tokio::task::spawn_blocking(Rabbit::start).await.unwrap();
    let node = Arc::new(node);
    let proxy = Proxy::start(address(&node.url)).await;
    let mut world = world(&through(&node.url, proxy.address)).await;
    world.set("VOD_COVER__LOG__LEVEL", "error");
    declare(&world);
    let (name, gateway) = (world.name.clone(), Arc::new(Mortal::start(world)));
    let answers = async || gateway.metric("vod_cover_spool_events").await.is_some();
    eventually("the gateway answers", SOON, answers).await;
    let sender = Arc::new(Sender { gateway: Arc::clone(&gateway), outcome: Mutex::default() });
    let ctl = async |watermark: &'static str| {
        let node = Arc::clone(&node);
        let set = move || node.ctl(&["set_vm_memory_high_watermark", watermark]);
        tokio::task::spawn_blocking(set).await.unwrap();
    };

    sender.part(0, &size, async || ()).await;
    sender
        .part(1, &size, async || {
            let node = Arc::clone(&node);
            tokio::task::spawn_blocking(move || node.restart()).await.unwrap();
        })
        .await;
    sender
        .part(2, &size, async || {
            ctl("0.0000001").await;
            sleep(size.outage).await;
            ctl("0.8").await;
        })
        .await;
    sender
        .part(3, &size, async || {
            proxy.hold();
            sleep(size.outage).await;
            proxy.thaw();
        })
        .await;

    let outcome = std::mem::take(&mut *sender.outcome.lock().unwrap());
    println!(
        "{} answered in {} tries, the slowest after {:?}; {} tries without an answer in time",
        outcome.answered.len(),
        outcome.tries,
        outcome.slowest,
        outcome.late
    );
    assert!(outcome.tries > size.callbacks, "no callback met with a kill");
    assert!(!outcome.answered.is_empty(), "no callback was answered");
    if size.alone {
        assert_eq!(outcome.lost, [0; 0], "all three tries failed");
        assert_eq!(outcome.late, 0, "answers that came too late");
    }
    let drained = async || gateway.metric("vod_cover_spool_events").await == Some(0.0);
    eventually("the spool is empty", SETTLED, drained).await;
    let broker = Broker::connect(&node.url).await;
    let mut stored = HashSet::new();
    let mut copies = 0;
    eventually("every answered callback is in the queue", SETTLED, async || {
        while let Some(letter) = broker.take(&name).await {
            stored.insert(read(&letter).1);
            copies += 1;
        }
        outcome.answered.is_subset(&stored)
    })
    .await;
    println!("{copies} messages for {} callbacks", stored.len());
}
