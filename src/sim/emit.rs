//! The simulator's events as a test gets them: as bodies, or sent to the callback URL.

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::account::{Account, LostCallback};
use super::{Simulator, callback, event};

/// Events that [`Simulator::emit`] works on at one time. More than leave at once, because one that
/// failed pauses before its next try.
const EMITTED_AT_ONCE: usize = 256;

/// What became of callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emission {
    pub delivered: usize,
    pub lost: usize,
}

impl Simulator {
    /// The SnapshotComplete bodies of one video; none if there is no such video.
    pub fn events(&self, video: &str) -> Vec<Bytes> {
        let account = self.account();
        let video = account.video(video);
        video.map_or_else(Vec::new, |video| {
            event::snapshots_complete(&account, video, self.0.separate_events)
        })
    }

    /// Those of all videos, in the order in which the videos were added.
    pub fn all_events(&self) -> Vec<Bytes> {
        let account = self.account();
        let of = |video| event::snapshots_complete(&account, video, self.0.separate_events);
        account.videos.iter().flat_map(of).collect()
    }

    /// Those of all videos with `duplicates` extra copies each on average (1.0: exactly one), in an
    /// order that follows from the seed.
    pub fn shuffled_events(&self, duplicates: f64) -> Vec<Bytes> {
        event::shuffled(self.all_events(), duplicates, self.0.seed)
    }

    /// The events of all changes so far (MediaBaseChangeComplete, DeleteMediaComplete,
    /// UploadByURLComplete), in order, at most the latest 20,000.
    pub fn base_change_events(&self) -> Vec<Bytes> {
        self.change_events_since(0).0
    }

    /// Those with a number above `seq`, and the number of the last one: what to ask for the next time.
    pub fn change_events_since(&self, seq: u64) -> (Vec<Bytes>, u64) {
        let account = self.account();
        (account.base_changes.since(seq), account.base_changes.written())
    }

    /// Sends the events of all videos to the callback URL or the queue of SMQ, shuffled and with the URL's
    /// duplicates, and ends when each was taken or given up. `None` if there is neither.
    pub async fn emit(&self) -> Option<Emission> {
        let sender = self.0.sender.as_ref();
        let duplicates = sender.map_or(0.0, |sender| sender.settings.duplicates);
        self.emit_events(self.shuffled_events(duplicates)).await
    }

    /// Sends these bodies there.
    pub async fn emit_events(&self, events: Vec<Bytes>) -> Option<Emission> {
        if self.0.smq.is_some() {
            self.enqueue_events(&events);
            return Some(Emission { delivered: events.len(), lost: 0 });
        }
        let sender = self.0.sender.as_ref()?;
        let mut sent = stream::iter(events)
            .map(|event| self.send(sender.clone(), event))
            .buffer_unordered(EMITTED_AT_ONCE);
        let mut emission = Emission { delivered: 0, lost: 0 };
        while let Some(delivered) = sent.next().await {
            *(if delivered { &mut emission.delivered } else { &mut emission.lost }) += 1;
        }
        Some(emission)
    }

    /// Changes the account in one turn of its lock. The events that the change puts on the list are
    /// journaled in the same turn, and sent without waiting.
    pub(super) fn change<T>(&self, work: impl FnOnce(&mut Account, &mut Vec<Bytes>) -> T) -> T {
        let mut events = Vec::new();
        let mut account = self.account();
        let done = work(&mut account, &mut events);
        for event in &events {
            account.base_changes.push(|_| event.clone());
        }
        drop(account);
        self.enqueue_events(&events);
        if let Some(sender) = &self.0.sender {
            for event in events {
                let (simulator, sender) = (self.clone(), sender.clone());
                // A test may be outside of the runtime that the simulator runs in.
                self.0.runtime.spawn(async move { simulator.send(sender, event).await });
            }
        }
        done
    }

    async fn send(&self, sender: callback::Sender, body: Bytes) -> bool {
        let sent = sender.send(body.clone()).await;
        let at = self.now();
        let mut account = self.account();
        match sent {
            Ok(()) => account.delivered += 1,
            Err(why) => {
                account.lost.push(|_| LostCallback { at, body, why });
                return false;
            }
        }
        true
    }
}
