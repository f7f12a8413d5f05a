//! Joins single calls into calls for several: while calls are under way, further ones gather, and leave
//! together when one of a few slots is free. A lone call leaves at once and by itself. Every caller gets
//! an answer of its own; one that goes away harms nobody, and a task that is lost ends in an error, never
//! in a hang.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{Client, Error, MOST_VIDEOS, Operation, VideoInfo, call};
use crate::error::Class;
use crate::event::VideoId;

/// Calls that are under way at once. Enough to fill the quota at the latencies that VOD has; more would
/// only make smaller batches of the same look-ups.
const SLOTS: usize = 8;

impl Client {
    /// What [`Client::get_video_info`] would say, at the price of a part of a call where many ask at
    /// once: a call of GetVideoInfos answers up to 20. Ends within [`super::Settings::longest_call`].
    pub async fn look_up(&self, video: &VideoId) -> Result<VideoInfo, Error> {
        let operation = Operation::GetVideoInfo;
        let client = self.clone();
        let leave = move |videos| client.clone().look_up_together(videos);
        let answer = self.inner.look_ups.ask(video.clone(), leave);
        match tokio::time::timeout(self.inner.settings.longest_call(), answer).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(Error::Lost { operation: operation.name() }),
            Err(elapsed) => Err(call::too_long(operation, elapsed)),
        }
    }

    /// One answer for each video, in their order; a video may be asked for more than once.
    async fn look_up_together(self, videos: Vec<VideoId>) -> Vec<Result<VideoInfo, Error>> {
        let mut answers: BTreeMap<&VideoId, Option<Result<VideoInfo, Error>>> =
            videos.iter().map(|video| (video, None)).collect();
        if answers.len() > 1 {
            let distinct: Vec<_> = answers.keys().copied().cloned().collect();
            let reply = self.get_video_infos(&distinct).await;
            for (video, answer) in &mut answers {
                *answer = match &reply {
                    // That none exists is inferred from one error code. It is not believed of several
                    // videos at once, whose events would all be given up.
                    Ok(infos) if infos.found.is_empty() => None,
                    Ok(infos) => match infos.of(video) {
                        // Not mentioned: perhaps a video of another application.
                        Err(Error::Reply { .. }) => None,
                        told => Some(told.cloned()),
                    },
                    // One of them may spoil it for the others.
                    Err(error) if is_about_the_batch(error) => None,
                    Err(error) => Some(Err(error.clone())),
                };
            }
        }
        let alone = answers.iter_mut().filter(|(_, answer)| answer.is_none());
        join_all(alone.map(async |(video, answer)| {
            *answer = Some(self.get_video_info(video).await);
        }))
        .await;
        let lost = || Err(Error::Lost { operation: Operation::GetVideoInfos.name() });
        let answer = |video| answers.get(video).cloned().flatten().unwrap_or_else(lost);
        videos.iter().map(answer).collect()
    }
}

/// Whether a call for fewer of the same videos could succeed.
fn is_about_the_batch(error: &Error) -> bool {
    error.class() == Class::Permanent
        || error.is_code("Forbidden")
        || error.is_code("Forbidden.RAM")
}

/// Those who ask for an `A` and are answered with a `T`, up to [`MOST_VIDEOS`] of them by one call.
pub(super) struct Gathering<A, T> {
    state: Arc<Mutex<State<A, T>>>,
}

struct State<A, T> {
    waiting: VecDeque<Asker<A, T>>,
    /// Slots that are taken. Each looks after whoever is waiting before it is given up, so nobody waits
    /// while there is none.
    under_way: usize,
}

struct Asker<A, T> {
    what: A,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<A, T> Default for Gathering<A, T> {
    fn default() -> Self {
        Self { state: Arc::new(Mutex::new(State { waiting: VecDeque::new(), under_way: 0 })) }
    }
}

impl<A, T> fmt::Debug for Gathering<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gathering")
    }
}

impl<A: Send + 'static, T: Send + 'static> Gathering<A, T> {
    /// `leave` makes one call for some, and answers each in their order. `None`: the task that made the
    /// call was lost.
    pub async fn ask<R>(
        &self,
        what: A,
        leave: impl Fn(Vec<A>) -> R + Send + 'static,
    ) -> Option<Result<T, Error>>
    where
        R: Future<Output = Vec<Result<T, Error>>> + Send,
    {
        let (answer, answered) = oneshot::channel();
        if let Some(mut slot) = self.join(Asker { what, answer }) {
            // A task of its own: the caller may go away, and others may be waiting for this call too.
            tokio::spawn(async move {
                while let Some(batch) = slot.next() {
                    let (asked, answers): (Vec<_>, Vec<_>) =
                        batch.into_iter().map(|asker| (asker.what, asker.answer)).unzip();
                    for (answer, result) in answers.into_iter().zip(leave(asked).await) {
                        // Whoever asked may have gone away.
                        let _ = answer.send(result);
                    }
                }
            });
        }
        answered.await.ok()
    }

    fn join(&self, asker: Asker<A, T>) -> Option<Slot<A, T>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push_back(asker);
        if state.under_way >= SLOTS {
            return None;
        }
        state.under_way += 1;
        Some(Slot { state: self.state.clone(), is_given_up: false })
    }
}

/// The right to make calls, one after another, as long as somebody waits.
struct Slot<A, T> {
    state: Arc<Mutex<State<A, T>>>,
    is_given_up: bool,
}

impl<A, T> Slot<A, T> {
    /// Whose turn it is; `None` gives the slot up.
    fn next(&mut self) -> Option<Vec<Asker<A, T>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Vec::new();
        while batch.len() < MOST_VIDEOS
            && let Some(asker) = state.waiting.pop_front()
        {
            if !asker.answer.is_closed() {
                batch.push(asker);
            }
        }
        if batch.is_empty() {
            // In the same breath: whoever comes next sees a free slot.
            state.under_way -= 1;
            self.is_given_up = true;
            return None;
        }
        Some(batch)
    }
}

impl<A, T> Drop for Slot<A, T> {
    /// A panic, or the end of the runtime, in the middle of a call.
    fn drop(&mut self) {
        if self.is_given_up {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.under_way -= 1;
        if state.under_way == 0 {
            // Nobody is left to look after them; without a sender they learn that they are lost.
            state.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    type Task = tokio::task::JoinHandle<Option<Result<u32, Error>>>;
    type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Answers each number with itself, once it is let go, and remembers who left together.
    struct Office {
        gathering: Arc<Gathering<u32, u32>>,
        batches: Batches,
        gate: Arc<Semaphore>,
    }

    impl Office {
        fn new() -> Self {
            let gathering = Arc::default();
            Self { gathering, batches: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
        }

        fn ask(&self, number: u32) -> Task {
            let Self { gathering, batches, gate } = self;
            let (gathering, batches, gate) = (gathering.clone(), batches.clone(), gate.clone());
            tokio::spawn(async move {
                let leave = move |asked: Vec<u32>| {
                    batches.lock().expect("log").push(asked.clone());
                    let gate = gate.clone();
                    async move {
                        gate.acquire().await.expect("open").forget();
                        assert!(asked[0] < 1000, "an unlucky batch");
                        asked.into_iter().map(Ok).collect()
                    }
                };
                gathering.ask(number, leave).await
            })
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
                    && self.batches.lock().expect("log").len() == batches
            };
            while !reached() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }

        fn sizes(&self) -> Vec<usize> {
            self.batches.lock().expect("log").iter().map(Vec::len).collect()
        }

        fn is_idle(&self) -> bool {
            self.gathering.state.lock().expect("state").under_way == 0
        }
    }

    async fn answer(task: Task) -> Option<u32> {
        let soon = tokio::time::timeout(Duration::from_secs(30), task);
        soon.await.expect("no hang").expect("no panic").map(|answer| answer.expect("answered"))
    }

    #[tokio::test]
    async fn while_all_slots_are_taken_askers_gather_and_leave_together() {
        let office = Office::new();
        let mut tasks = office.fill(100..108).await;
        tasks.extend((200..250).map(|number| office.ask(number)));
        office.until(50, SLOTS).await;
        office.gate.add_permits(1);
        office.until(30, SLOTS + 1).await;
        office.gate.add_permits(100);
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
        office.gate.add_permits(100);
        assert_eq!(answer(stays).await, Some(99));
        assert_eq!(office.batches.lock().expect("log").last(), Some(&vec![99]));
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
        office.gate.add_permits(100);
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
        office.gate.add_permits(100);
        assert_eq!(answer(unlucky).await, None);
        assert_eq!(answer(waiting).await, Some(30));
        for (number, task) in (1000 - 7..).zip(others) {
            assert_eq!(answer(task).await, Some(number));
        }
    }
}
