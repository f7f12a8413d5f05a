//! The worker by the newest rules and limits. An event is worked on to its end by the one that it began with.

use std::sync::Arc;

use tokio::sync::watch;

use super::Worker;

/// Where whoever handles events gets the worker from.
#[derive(Clone)]
pub struct Newest(watch::Receiver<Arc<Worker>>);

impl Newest {
    /// One that can be replaced.
    pub fn replaceable(worker: Worker) -> (watch::Sender<Arc<Worker>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(worker));
        (sender, Self(receiver))
    }

    pub fn now(&self) -> Arc<Worker> {
        Arc::clone(&self.0.borrow())
    }
}

/// One that stays.
impl From<Worker> for Newest {
    fn from(worker: Worker) -> Self {
        Self::replaceable(worker).1
    }
}
