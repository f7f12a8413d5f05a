//! Joins what is asked at about the same time into calls for several. A lone asker's call leaves at once;
//! while calls are under way, further askers gather and leave together. Every asker gets an answer of its
//! own; one that goes away harms nobody, and a task that is lost ends in an error, never in a hang.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tracing::{Instrument, Span};

use crate::telemetry::spans;

/// Makes the calls.
pub trait Carrier: Clone + Send + Sync + 'static {
    type Asked: Send + 'static;
    type Answer: Send + 'static;
    /// The right to make one call.
    type Turn: Send;

    /// Waits until a call may leave. `waiting` is how many would take part now, at least one. Returns how
    /// many may, too.
    fn turn(&self, waiting: usize) -> impl Future<Output = (Self::Turn, usize)> + Send;

    /// Makes the call. One answer for each, in their order.
    fn carry(
        &self,
        turn: Self::Turn,
        asked: Vec<Self::Asked>,
    ) -> impl Future<Output = Vec<Self::Answer>> + Send;
}

/// Those who ask, up to `most` of them by one call, by at most `slots` calls at once.
pub struct Gathering<C: Carrier> {
    state: Arc<Mutex<State<C>>>,
    slots: usize,
    most: usize,
}

struct State<C: Carrier> {
    waiting: VecDeque<Asker<C>>,
    /// Slots that are taken. Each looks after whoever is waiting before it is given up, so nobody waits
    /// while there is none.
    taken: usize,
    /// Slots that have not picked yet whom they take along.
    departing: usize,
}

struct Asker<C: Carrier> {
    what: C::Asked,
    answer: oneshot::Sender<C::Answer>,
    /// What it asks for.
    span: Span,
}

impl<C: Carrier> fmt::Debug for Gathering<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gathering")
    }
}

impl<C: Carrier> Gathering<C> {
    pub fn new(slots: usize, most: usize) -> Self {
        let state = State { waiting: VecDeque::new(), taken: 0, departing: 0 };
        Self { state: Arc::new(Mutex::new(state)), slots, most }
    }

    /// `None`: the task that made the call was lost.
    pub async fn ask(&self, carrier: impl FnOnce() -> C, what: C::Asked) -> Option<C::Answer> {
        let (answer, answered) = oneshot::channel();
        let slot = {
            let mut state = lock(&self.state);
            state.waiting.push_back(Asker { what, answer, span: spans::here() });
            self.slot(&mut state)
        };
        if let Some(slot) = slot {
            // A task of its own: the caller may go away, and others may be waiting for this call too.
            tokio::spawn(slot.serve(carrier()));
        }
        answered.await.ok()
    }

    /// One more, if there is one and those that are about to leave cannot take everybody along.
    fn slot(&self, state: &mut State<C>) -> Option<Slot<C>> {
        if state.taken >= self.slots || state.waiting.len() <= state.departing * self.most {
            return None;
        }
        state.taken += 1;
        state.departing += 1;
        let gathering = Self { state: self.state.clone(), slots: self.slots, most: self.most };
        Some(Slot { gathering, departing: true, is_given_up: false })
    }
}

/// The right to make calls, one after another, as long as somebody waits.
struct Slot<C: Carrier> {
    gathering: Gathering<C>,
    departing: bool,
    is_given_up: bool,
}

impl<C: Carrier> Slot<C> {
    async fn serve(mut self, carrier: C) {
        // Whoever is about to ask in the same moment comes along.
        tokio::task::yield_now().await;
        while let Some(waiting) = self.waiting() {
            let (turn, most) = carrier.turn(waiting).await;
            let (batch, another) = self.pick(most);
            if let Some(another) = another {
                another.spawn(carrier.clone());
            }
            let (mut asked, mut answers, mut askers) = (Vec::new(), Vec::new(), Vec::new());
            for asker in batch {
                asked.push(asker.what);
                answers.push(asker.answer);
                askers.push(asker.span);
            }
            if asked.is_empty() {
                continue;
            }
            let carried = carrier.carry(turn, asked).instrument(spans::calling(&askers));
            for (answer, result) in answers.into_iter().zip(carried.await) {
                // Whoever asked may have gone away.
                let _ = answer.send(result);
            }
        }
    }

    /// Not in `serve` itself, whose future would contain itself.
    fn spawn(self, carrier: C) {
        let serving: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(self.serve(carrier));
        tokio::spawn(serving);
    }

    /// How many wait; with nobody there the slot is given up.
    fn waiting(&mut self) -> Option<usize> {
        let mut state = lock(&self.gathering.state);
        if state.waiting.is_empty() {
            // In the same breath: whoever comes next sees a free slot.
            state.taken -= 1;
            state.departing -= usize::from(self.departing);
            self.is_given_up = true;
            return None;
        }
        state.departing += usize::from(!self.departing);
        self.departing = true;
        Some(state.waiting.len())
    }

    /// Whose turn it is, and a slot for those who are left behind, if they need one.
    fn pick(&mut self, most: usize) -> (Vec<Asker<C>>, Option<Self>) {
        let mut state = lock(&self.gathering.state);
        let mut batch = Vec::new();
        while batch.len() < most.max(1)
            && let Some(asker) = state.waiting.pop_front()
        {
            if !asker.answer.is_closed() {
                batch.push(asker);
            }
        }
        state.departing -= usize::from(self.departing);
        self.departing = false;
        let another = self.gathering.slot(&mut state);
        (batch, another)
    }
}

impl<C: Carrier> Drop for Slot<C> {
    /// A panic, or the end of the runtime, in the middle of a call.
    fn drop(&mut self) {
        if self.is_given_up {
            return;
        }
        let mut state = lock(&self.gathering.state);
        state.taken -= 1;
        state.departing -= usize::from(self.departing);
        if state.taken == 0 {
            // Nobody is left to look after them; without a sender they learn that they are lost.
            state.waiting.clear();
        }
    }
}

fn lock<C: Carrier>(state: &Mutex<State<C>>) -> MutexGuard<'_, State<C>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
