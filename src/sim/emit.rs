//! The simulator's events as a test gets them: as bodies, or sent to the callback URL.

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::account::LostCallback;
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

    /// The MediaBaseChangeComplete bodies of the API's changes so far, at most the latest 20,000.
    pub fn base_change_events(&self) -> Vec<Bytes> {
        self.account().base_changes.since(0)
    }

    /// Sends the events of all videos to the callback URL, shuffled and with its duplicates, and ends
    /// when each was taken or given up. `None` if there is no callback.
    pub async fn emit(&self) -> Option<Emission> {
        let duplicates = self.0.sender.as_ref()?.settings.duplicates;
        self.emit_events(self.shuffled_events(duplicates)).await
    }

    /// Sends these bodies to the callback URL.
    pub async fn emit_events(&self, events: Vec<Bytes>) -> Option<Emission> {
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

    /// Sends what a call caused, without waiting.
    pub(super) fn call_back(&self, events: Vec<Bytes>) {
        let Some(sender) = &self.0.sender else { return };
        for event in events {
            let (simulator, sender) = (self.clone(), sender.clone());
            tokio::spawn(async move { simulator.send(sender, event).await });
        }
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
