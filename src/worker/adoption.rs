//! A video whose event never came: what VOD has of it now is taken for the event, and goes the same way.

use sha1::{Digest, Sha1};

use super::{Done, Handled, Snapshots, Worker};
use crate::error::Failure;
use crate::event::{EventKey, SnapshotsReady, VideoId};

impl Worker {
    /// Whether some event of the video was decided before, as far as is remembered.
    pub async fn is_decided(&self, video: &VideoId) -> Result<bool, Failure> {
        let sight = self.ledger.look(video).await?;
        Ok(sight.is_some_and(|sight| sight.memory.decided))
    }

    /// Chooses a cover out of the cover snapshots that VOD lists, which costs a ListSnapshots. The same
    /// set is handled once, however often it is tried. Nothing is waited for. `attempts` is how many
    /// failed before.
    pub async fn adopt(&self, video: &VideoId, attempts: u32) -> Result<Done, Failure> {
        let candidates = self.vod.cover_snapshots(video).await?;
        let Some(first) = candidates.first() else { return Ok(Handled::Nothing.into()) };
        // Snapshots taken anew lie somewhere else.
        let set = format!("{} {}", candidates.len(), first.url.path());
        let set: String = Sha1::digest(set).iter().map(|byte| format!("{byte:02x}")).collect();
        // An event carries Extend; without one it takes another call.
        let extend = match self.policies.ask_for_extend() {
            true => self.vod.look_up(video).await?.extend(),
            false => None,
        };
        let ready = SnapshotsReady {
            video: video.clone(),
            key: EventKey(format!("Backfill/{set}")),
            at: None,
            sub_type: None,
            extend,
            event_cover: None,
            automatic: true,
            candidates,
        };
        self.choose_for(Snapshots { ready: &ready, turn: None, attempts }, None).await
    }
}
