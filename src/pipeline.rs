//! Takes messages from a queue, hands them to a handler within bounds, and settles each by how it ended.
//! It never sees VOD or the ledger, so it cannot know what the work was; the handler never sees the
//! queue, so it cannot acknowledge anything.
//!
//! At most `in_flight` messages are worked on at once, and none is held that is not worked on. When a
//! failure says that every event would fail (wrong key, ledger gone, VOD away), intake pauses, a probe
//! runs until that dependency works, and intake opens again step by step.

use std::any::Any;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::field::display;
use tracing::{debug, error, info, warn};

use crate::error::{Class, Dependency, Failure, Reason, chain};
use crate::queue::{self, Delivery, Message, Queue, Settlement};
use crate::telemetry;
use gate::Gate;
pub use gate::Pause;

mod gate;
mod react;

pub struct Pipeline {
    pub queue: Arc<dyn Queue>,
    /// Messages worked on at once: the queue's prefetch.
    pub in_flight: usize,
    /// The delay before each further attempt; its length bounds the attempts.
    pub ladder: Vec<Duration>,
    /// How long running handlers may go on after `stop`; what is unfinished then is delivered again.
    pub drain: Duration,
    pub status: Arc<Status>,
    pub stop: CancellationToken,
}

/// How the handling of a message ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Whether every dependency did its part, which proves that they work.
    pub worked: bool,
    /// A message that takes its place, to be delivered after this time.
    pub then: Option<(Message, Duration)>,
}

/// What the pipeline is doing now, for `/readyz`.
#[derive(Default)]
pub struct Status(Mutex<Snapshot>);

#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub in_flight: usize,
    pub pause: Option<Pause>,
    pub draining: bool,
}

impl Status {
    pub fn now(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

/// The end of one of the tasks that the pipeline runs.
#[expect(clippy::large_enum_variant, reason = "one for each event, and gone at once")]
enum Ended {
    Handled(Delivery, Result<Ending, Failure>),
    Settled(Result<(), queue::Error>),
}

impl Pipeline {
    /// Runs until `stop`, or until a finite queue has ended. `handle` works on one message; `probe`
    /// says whether a dependency can be used again.
    pub async fn run<H, HF, P, PF>(self, handle: H, probe: P)
    where
        H: Fn(Message) -> HF,
        HF: Future<Output = Result<Ending, Failure>> + Send + 'static,
        P: Fn(Dependency) -> PF,
        PF: Future<Output = Result<(), String>> + Send + 'static,
    {
        let mut gate = Gate::default();
        let mut tasks: JoinSet<Ended> = JoinSet::new();
        let mut done = Vec::new();
        // At most one, in a set because that is what ends it when the pipeline ends.
        let mut probes: JoinSet<Result<(), String>> = JoinSet::new();
        loop {
            self.show(&gate, tasks.len(), false);
            let probe_due = gate.probe_due().filter(|_| probes.is_empty());
            let room = tasks.len() < gate.limit(self.in_flight);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = tasks.join_next() => {
                    let mut pause = self.react(ended, &mut gate, &mut tasks, &mut done);
                    while let Some(ended) = tasks.try_join_next() {
                        pause |= self.react(ended, &mut gate, &mut tasks, &mut done);
                    }
                    self.settle_done(&mut done, &mut tasks);
                    self.queue.take_singly(!gate.is_open());
                    if pause {
                        // Takes seconds if the broker is away; a stop must not wait for it.
                        self.stop.run_until_cancelled(self.queue.pause()).await;
                    }
                }
                Some(dependency) = until(probe_due) => {
                    probes.spawn(probe(dependency));
                }
                Some(probed) = probes.join_next() => {
                    let result = probed.unwrap_or_else(|error| Err(chain(&error)));
                    match &result {
                        Ok(()) => info!("the probe succeeded; intake opens again"),
                        Err(why) => debug!(why, "the probe failed"),
                    }
                    gate.probed(result, Instant::now());
                }
                taken = self.queue.next(), if room => match taken {
                    Ok(Some(delivery)) => {
                        let mut next = Some(delivery);
                        while let Some(delivery) = next {
                            let work = handle(delivery.message.clone());
                            let work = AssertUnwindSafe(work).catch_unwind();
                            // Boxed where it is made: moved into the set, it would be copied thrice.
                            tasks.spawn(Box::pin(async move {
                                let result = work.await;
                                let result = result.unwrap_or_else(|panic| Err(panicked(&*panic)));
                                Ended::Handled(delivery, result)
                            }));
                            let room = tasks.len() < gate.limit(self.in_flight);
                            next = if room { self.queue.at_hand() } else { None };
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        let pause = self.queue_failed(&mut gate, error);
                        warn!(paused = pause, "taking from the queue failed");
                    }
                },
            }
        }
        self.drain(gate, tasks).await;
    }

    /// Returns true if intake has to pause.
    fn react(
        &self,
        ended: Result<Ended, JoinError>,
        gate: &mut Gate,
        tasks: &mut JoinSet<Ended>,
        done: &mut Vec<Delivery>,
    ) -> bool {
        match ended {
            Ok(Ended::Handled(delivery, result)) => {
                let (flow, now) = (gate.flow(), Instant::now());
                let (settlement, pause) = match result {
                    Ok(ending) => {
                        match ending.worked {
                            true => gate.succeeded(self.in_flight, now),
                            false => gate.passed(now),
                        }
                        let done = match ending.then {
                            None => Settlement::Done,
                            Some((message, after)) => Settlement::Replace { message, after },
                        };
                        (done, false)
                    }
                    Err(failure) => {
                        let settlement =
                            react::react(&failure, &delivery.message, flow, &self.ladder);
                        log(&failure, &delivery.message, &settlement);
                        let event = identity(&delivery.message);
                        if failure.class == Class::Permanent {
                            gate.passed(now);
                        }
                        (settlement, gate.failed(&failure, event, now))
                    }
                };
                if pause && let Some(pause) = gate.pause() {
                    error!(dependency = pause.dependency.name(), why = pause.why, "intake paused");
                }
                telemetry::settled(&settlement);
                if settlement == Settlement::Done {
                    done.push(delivery);
                } else {
                    let queue = Arc::clone(&self.queue);
                    tasks.spawn(
                        async move { Ended::Settled(queue.settle(delivery, settlement).await) },
                    );
                }
                pause
            }
            Ok(Ended::Settled(Ok(()))) => false,
            Ok(Ended::Settled(Err(error))) => self.queue_failed(gate, error),
            // Handlers are guarded, so this is a defect in settling. The delivery comes again.
            Err(error) => {
                error!(error = chain(&error), "a task of the pipeline ended badly");
                false
            }
        }
    }

    /// What ended in the same moment is settled together.
    fn settle_done(&self, done: &mut Vec<Delivery>, tasks: &mut JoinSet<Ended>) {
        if !done.is_empty() {
            let (queue, done) = (Arc::clone(&self.queue), std::mem::take(done));
            tasks.spawn(async move { Ended::Settled(queue.settle_done(done).await) });
        }
    }

    fn queue_failed(&self, gate: &mut Gate, error: queue::Error) -> bool {
        let failure = Failure::new(Class::Transient, Reason::new("queue.unavailable"), error)
            .outage_of(Dependency::Queue);
        warn!(error = %failure, "the queue failed; what was not settled will be delivered again");
        gate.failed(&failure, 0, Instant::now())
    }

    async fn drain(&self, mut gate: Gate, mut tasks: JoinSet<Ended>) {
        self.show(&gate, tasks.len(), true);
        let settle = async {
            let mut done = Vec::new();
            while let Some(ended) = tasks.join_next().await {
                self.react(ended, &mut gate, &mut tasks, &mut done);
                self.settle_done(&mut done, &mut tasks);
                self.show(&gate, tasks.len(), true);
            }
        };
        let finish = async { tokio::join!(self.queue.pause(), settle) };
        if tokio::time::timeout(self.drain, finish).await.is_err() {
            warn!(unfinished = tasks.len(), "drain time is over; the rest will be delivered again");
        }
    }

    fn show(&self, gate: &Gate, in_flight: usize, draining: bool) {
        telemetry::pipeline(in_flight, gate.pause().map(|pause| pause.dependency));
        self.status.set(Snapshot { in_flight, pause: gate.pause().cloned(), draining });
    }
}

async fn until(due: Option<(Instant, Dependency)>) -> Option<Dependency> {
    let (at, dependency) = due?;
    tokio::time::sleep_until(at.into()).await;
    Some(dependency)
}

/// The same for every delivery of the same event, whatever else has changed about the message.
fn identity(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.body.hash(&mut hasher);
    hasher.finish()
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    let what = format!("the handler panicked, which is a defect of vod-cover: {text}");
    Failure::new(Class::Permanent, Reason::new("panic"), what)
}

fn log(failure: &Failure, message: &Message, settlement: &Settlement) {
    let (id, attempts, deferrals) = (&message.id, message.attempts, message.deferrals);
    let trace = message.trace.map(|trace| display(trace.id()));
    match settlement {
        Settlement::Dead { reason, .. } => {
            error!(
                %reason, error = %failure, message.id = id, trace.id = trace, attempts, deferrals,
                "dead letter"
            );
        }
        Settlement::Retry { after, counts: true, .. } => {
            warn!(
                error = %failure, message.id = id, trace.id = trace, attempts, ?after,
                "will try again"
            );
        }
        Settlement::Retry { after, .. } => {
            debug!(error = %failure, message.id = id, deferrals, ?after, "put off");
        }
        Settlement::Done | Settlement::Replace { .. } => {}
    }
}
