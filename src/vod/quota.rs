//! Pacing, so that nobody takes more of the account's quota than its share: one budget for all clients of a
//! process that come from one another, and for a whole fleet where there is a Redis to keep it in. Live
//! events come before walks through the account. Makes no calls itself.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/qps-limits>

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry;

mod fleet;
mod lane;
mod operation;

pub use fleet::Fleet;
pub use operation::Operation;

use fleet::{Asked, Refusal};
use lane::{Lane, Pace};

/// Longest wait for a turn. Who would have to wait longer is turned away, so that an event is given
/// back to its queue instead of being held.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What is left of the share while Redis does not keep the fleet's budget: nobody knows how many share it,
/// and ten would still be within it. Little is lost, since events wait for the ledger in the same Redis.
const WITHOUT_REDIS: f64 = 0.1;

/// Turns for calls. Cheap to clone; clones share the budget.
#[derive(Debug, Clone)]
pub struct Quota {
    budget: Arc<Budget>,
    /// Of a walk: what it takes at most, and only when no event waits. `None`: live events.
    walk: Option<Paces>,
}

#[derive(Debug)]
struct Budget {
    /// Calls a second that the account may make.
    limits: [f64; Operation::COUNT],
    paces: Option<Paces>,
    lanes: Mutex<Lanes>,
    /// Turns that were taken by this process.
    taken: [AtomicU64; Operation::COUNT],
    fleet: Option<Fleet>,
}

type Paces = [Pace; Operation::COUNT];

#[derive(Debug, Default)]
struct Lanes {
    all: [Lane; Operation::COUNT],
    walks: [Lane; Operation::COUNT],
}

/// One operation's quota.
#[derive(Debug, Clone, PartialEq)]
pub struct Use {
    pub operation: Operation,
    /// Calls for which this process has taken a turn since it began.
    pub taken: u64,
    /// Calls a second that the account may make.
    pub account: f64,
    /// Calls a second that all of us may make now: the share, less after throttling. `None`: not paced.
    pub ours: Option<f64>,
    /// How long nobody gets a turn, after a throttling answer.
    pub held: Option<Duration>,
}

impl Budget {
    fn new(limits: [f64; Operation::COUNT], paces: Option<Paces>, fleet: Option<Fleet>) -> Self {
        let (lanes, taken) = Default::default();
        Self { limits, paces, lanes, taken, fleet }
    }

    fn count(&self, operation: Operation) {
        self.taken[operation as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Quota {
    /// `share` is above 0 and at most 1. Without, calls are not paced, and only [`Quota::hold`] delays
    /// them. `limits` has the account's calls a second, above 0, by name, where they are not as documented.
    pub fn new(share: Option<f64>, limits: &BTreeMap<String, f64>) -> Self {
        let limits = Operation::ALL.map(|operation| {
            let other = limits.iter().find(|(name, _)| Operation::named(name) == Some(operation));
            other.map_or_else(|| operation.account_limit(), |(_, limit)| *limit)
        });
        let paces = share.map(|share| limits.map(|limit| Pace::new(limit * share)));
        let budget = Budget::new(limits, paces, None);
        Self { budget: Arc::new(budget), walk: None }
    }

    /// The same share, of one budget with everybody in the fleet. Forgets what this process has taken so
    /// far. Calls that are not paced stay so.
    pub fn in_fleet(&self, fleet: Fleet) -> Self {
        let Budget { limits, paces, .. } = *self.budget;
        let budget = Budget::new(limits, paces, Some(fleet));
        Self { budget: Arc::new(budget), walk: self.walk }
    }

    /// For walks: of the same budget, but only what no event waits for, and at most this share (above 0,
    /// at most 1) of what the account may do.
    pub fn walking(&self, share: f64) -> Self {
        let share = share.clamp(f64::MIN_POSITIVE, 1.0);
        let paces = self.budget.limits.map(|limit| Pace::new(limit * share));
        let walk = self.budget.paces.is_some().then_some(paces);
        Self { budget: Arc::clone(&self.budget), walk }
    }

    /// What there is of each operation's quota, and what this process takes of it.
    pub fn uses(&self) -> Vec<Use> {
        let now = Instant::now();
        let lanes = self.lanes();
        let of = |operation: Operation| {
            let (index, budget) = (operation as usize, &*self.budget);
            Use {
                operation,
                taken: budget.taken[index].load(Ordering::Relaxed),
                account: budget.limits[index],
                ours: budget.paces.map(|paces| paces[index].rate() * lanes.all[index].part(now)),
                held: lanes.all[index].held(now),
            }
        };
        Operation::ALL.map(of).into()
    }

    /// Waits for a turn, at most [`LONGEST_WAIT`]; an error says how long it would have been, and takes
    /// no turn.
    pub async fn take(&self, operation: Operation) -> Result<(), Duration> {
        self.first(&[operation]).await.map(drop)
    }

    /// Waits for a turn of either, whichever comes first, and says which; `several` if both come in the
    /// same moment. Takes no turn of the other. Otherwise as [`Quota::take`].
    pub async fn first_of(
        &self,
        single: Operation,
        several: Operation,
    ) -> Result<Operation, Duration> {
        self.first(&[several, single]).await
    }

    /// Takes a turn if one is there this moment. In a fleet that may take a question to Redis.
    pub async fn now(&self, operation: Operation) -> bool {
        let is_there = self.is_there_now(operation).await;
        if is_there {
            self.budget.count(operation);
        }
        is_there
    }

    async fn is_there_now(&self, operation: Operation) -> bool {
        if let Some((fleet, paces)) = self.fleet() {
            let asked = asked(operation, paces);
            let taken = match &self.walk {
                Some(walk) => {
                    let asked = [(asked, walk[operation as usize])];
                    Box::pin(fleet.walk(&asked, Instant::now())).await.map(|_| true)
                }
                None => Box::pin(fleet.now(asked)).await,
            };
            match taken {
                Err(Refusal::Away) => {}
                taken => return taken.unwrap_or(false),
            }
        }
        let now = Instant::now();
        let mut lanes = self.lanes();
        let is_there = self.earliest(&lanes, operation, now) <= now;
        if is_there {
            self.reserve(&mut lanes, operation, now);
        }
        is_there
    }

    /// After a throttling answer: nobody gets a turn before this time has passed. After that there are
    /// fewer for a while, for everybody.
    pub async fn hold(&self, operation: Operation, time: Duration) {
        telemetry::throttled(operation.name());
        let now = Instant::now();
        {
            let mut lanes = self.lanes();
            lanes.all[operation as usize].hold(now, time);
            lanes.walks[operation as usize].hold(now, time);
        }
        if let Some((fleet, _)) = self.fleet() {
            Box::pin(fleet.hold(operation, time)).await;
        }
    }

    async fn first(&self, operations: &[Operation]) -> Result<Operation, Duration> {
        let began = Instant::now();
        let turn = self.first_turn(operations, began + LONGEST_WAIT).await;
        turn.inspect(|operation| {
            self.budget.count(*operation);
            telemetry::quota_wait(operation.name(), began.elapsed());
        })
    }

    async fn first_turn(
        &self,
        operations: &[Operation],
        until: Instant,
    ) -> Result<Operation, Duration> {
        if let Some((fleet, paces)) = self.fleet() {
            let all = operations.iter().map(|operation| asked(*operation, paces));
            let turn = match &self.walk {
                Some(walk) => {
                    let all: Vec<_> = all.map(|a| (a, walk[a.operation as usize])).collect();
                    Box::pin(fleet.walk(&all, until)).await
                }
                // In a box, since every call would carry it otherwise.
                None => Box::pin(fleet.first(&all.collect::<Vec<_>>(), until)).await,
            };
            match turn {
                Ok(operation) => return Ok(operation),
                Err(Refusal::Late(after)) => return Err(after),
                Err(Refusal::Away) => {}
            }
        }
        self.first_here(operations, until).await
    }

    /// The same without asking anybody.
    async fn first_here(
        &self,
        operations: &[Operation],
        until: Instant,
    ) -> Result<Operation, Duration> {
        loop {
            let now = Instant::now();
            let (operation, turn) = {
                let mut lanes = self.lanes();
                let turns = operations.iter().map(|o| (*o, self.earliest(&lanes, *o, now)));
                let Some((operation, turn)) = turns.min_by_key(|(_, turn)| *turn) else {
                    return Err(Duration::ZERO);
                };
                if turn > until {
                    return Err(turn - now);
                }
                // A walk takes none in advance: an event may come before.
                if self.walk.is_none() || turn <= now {
                    self.reserve(&mut lanes, operation, now);
                    (Some(operation), turn)
                } else {
                    (None, turn)
                }
            };
            tokio::time::sleep_until(turn).await;
            if let Some(operation) = operation {
                return Ok(operation);
            }
        }
    }

    fn earliest(&self, lanes: &Lanes, operation: Operation, now: Instant) -> Instant {
        let lane = &lanes.all[operation as usize];
        match &self.walk {
            Some(_) => {
                let walks = &lanes.walks[operation as usize];
                lane.idle_from(now).max(walks.earliest(now, self.pace(operation, &self.walk)))
            }
            None => lane.earliest(now, self.pace(operation, &self.budget.paces)),
        }
    }

    fn reserve(&self, lanes: &mut Lanes, operation: Operation, now: Instant) {
        let index = operation as usize;
        lanes.all[index].reserve(now, self.pace(operation, &self.budget.paces));
        if self.walk.is_some() {
            lanes.walks[index].reserve(now, self.pace(operation, &self.walk));
        }
    }

    /// Where only this process is known.
    fn pace(&self, operation: Operation, paces: &Option<Paces>) -> Option<Pace> {
        let pace = paces.as_ref().map(|paces| paces[operation as usize]);
        match &self.budget.fleet {
            Some(_) => pace.map(|pace| pace.slowed(WITHOUT_REDIS)),
            None => pace,
        }
    }

    /// Calls that are not paced are nobody's business.
    fn fleet(&self) -> Option<(&Fleet, &Paces)> {
        self.budget.fleet.as_ref().zip(self.budget.paces.as_ref())
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // Lanes are whole at any moment, so a panic elsewhere does not spoil them.
        self.budget.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn asked(operation: Operation, paces: &Paces) -> Asked {
    Asked { operation, pace: paces[operation as usize] }
}

#[cfg(test)]
mod tests;
