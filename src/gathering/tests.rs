//! That nobody waits in vain, and that those who come together leave together.

use std::ops::Range;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::*;

const SLOTS: usize = 8;
const MOST: usize = 20;

type Task = tokio::task::JoinHandle<Option<u32>>;

/// Answers each number with itself, once it is let go, and remembers who left together.
#[derive(Clone)]
struct Clerk {
    batches: Arc<Mutex<Vec<Vec<u32>>>>,
    gate: Arc<Semaphore>,
    /// How many the next calls may take, if not the most.
    turns: Arc<Mutex<VecDeque<usize>>>,
}

impl Carrier for Clerk {
    type Asked = u32;
    type Answer = u32;
    type Turn = ();

    async fn turn(&self, waiting: usize) -> ((), usize) {
        assert!(waiting > 0);
        ((), self.turns.lock().expect("turns").pop_front().unwrap_or(MOST))
    }

    async fn carry(&self, (): (), asked: Vec<u32>) -> Vec<u32> {
        self.batches.lock().expect("log").push(asked.clone());
        self.gate.acquire().await.expect("open").forget();
        assert!(asked[0] < 1000, "an unlucky batch");
        asked
    }
}

struct Office {
    gathering: Arc<Gathering<Clerk>>,
    clerk: Clerk,
}

impl Office {
    fn new() -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let clerk = Clerk { batches: Arc::default(), gate, turns: Arc::default() };
        Self { gathering: Arc::new(Gathering::new(SLOTS, MOST)), clerk }
    }

    fn ask(&self, number: u32) -> Task {
        let (gathering, clerk) = (self.gathering.clone(), self.clerk.clone());
        tokio::spawn(async move { gathering.ask(|| clerk, number).await })
    }

    /// Takes every slot: each of these asks alone.
    async fn fill(&self, numbers: Range<u32>) -> Vec<Task> {
        let mut tasks = Vec::new();
        for number in numbers {
            tasks.push(self.ask(number));
            self.until(0, tasks.len()).await;
        }
        assert_eq!(tasks.len(), SLOTS);
        tasks
    }

    /// Waits until so many have asked and so many batches have left.
    async fn until(&self, waiting: usize, batches: usize) {
        let reached = || {
            self.gathering.state.lock().expect("state").waiting.len() == waiting
                && self.clerk.batches.lock().expect("log").len() == batches
        };
        while !reached() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn sizes(&self) -> Vec<usize> {
        self.clerk.batches.lock().expect("log").iter().map(Vec::len).collect()
    }

    fn is_idle(&self) -> bool {
        self.gathering.state.lock().expect("state").taken == 0
    }
}

async fn answer(task: Task) -> Option<u32> {
    let soon = tokio::time::timeout(Duration::from_secs(30), task);
    soon.await.expect("no hang").expect("no panic")
}

#[tokio::test]
async fn while_all_slots_are_taken_askers_gather_and_leave_together() {
    let office = Office::new();
    let mut tasks = office.fill(100..108).await;
    tasks.extend((200..250).map(|number| office.ask(number)));
    office.until(50, SLOTS).await;
    office.clerk.gate.add_permits(1);
    office.until(30, SLOTS + 1).await;
    office.clerk.gate.add_permits(100);
    for (number, task) in (100..108).chain(200..250).zip(tasks) {
        assert_eq!(answer(task).await, Some(number));
    }
    assert_eq!(office.sizes(), [1, 1, 1, 1, 1, 1, 1, 1, 20, 20, 10]);
}

#[tokio::test]
async fn an_asker_who_goes_away_is_passed_over_and_harms_nobody() {
    let office = Office::new();
    let first = office.fill(0..8).await;
    let [gone, stays] = [office.ask(98), office.ask(99)];
    office.until(2, SLOTS).await;
    gone.abort();
    assert!(gone.await.expect_err("gone").is_cancelled());
    // One who has already left, too.
    first[0].abort();
    office.clerk.gate.add_permits(100);
    assert_eq!(answer(stays).await, Some(99));
    assert_eq!(office.clerk.batches.lock().expect("log").last(), Some(&vec![99]));
    for (number, task) in (0..).zip(first).skip(1) {
        assert_eq!(answer(task).await, Some(number));
    }
}

#[tokio::test]
async fn a_call_that_panics_ends_in_an_error_and_leaves_no_slot_taken() {
    let office = Office::new();
    let unlucky = office.fill(1000..1008).await;
    // Whoever waits meanwhile is lost with the last of them.
    let waiting = office.ask(30);
    office.until(1, SLOTS).await;
    office.clerk.gate.add_permits(100);
    for task in unlucky {
        assert_eq!(answer(task).await, None);
    }
    assert_eq!(answer(waiting).await, None);
    assert!(office.is_idle());
    assert_eq!(answer(office.ask(7)).await, Some(7));
}

#[tokio::test]
async fn a_lost_call_does_not_touch_those_whom_another_slot_looks_after() {
    let office = Office::new();
    let mut others = office.fill(1000 - 7..1001).await;
    let unlucky = others.pop().expect("the last");
    let waiting = office.ask(30);
    office.until(1, SLOTS).await;
    office.clerk.gate.add_permits(100);
    assert_eq!(answer(unlucky).await, None);
    assert_eq!(answer(waiting).await, Some(30));
    for (number, task) in (1000 - 7..).zip(others) {
        assert_eq!(answer(task).await, Some(number));
    }
}

#[tokio::test]
async fn those_who_come_in_the_same_moment_leave_together() {
    let office = Office::new();
    let tasks: Vec<_> = (0..45).map(|number| office.ask(number)).collect();
    office.until(0, 3).await;
    office.clerk.gate.add_permits(100);
    for (number, task) in (0..).zip(tasks) {
        assert_eq!(answer(task).await, Some(number));
    }
    assert_eq!(office.sizes(), [20, 20, 5]);
}

#[tokio::test]
async fn whoever_a_turn_leaves_behind_gets_one_of_its_own() {
    let office = Office::new();
    office.clerk.turns.lock().expect("turns").extend([1, 2, 1]);
    let tasks: Vec<_> = (0..5).map(|number| office.ask(number)).collect();
    // Nothing ends, and yet all of them leave.
    office.until(0, 4).await;
    assert_eq!(office.sizes(), [1, 2, 1, 1]);
    office.clerk.gate.add_permits(100);
    for (number, task) in (0..).zip(tasks) {
        assert_eq!(answer(task).await, Some(number));
    }
    assert!(office.is_idle());
}
