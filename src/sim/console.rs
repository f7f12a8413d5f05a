//! What people do to the account: they upload, edit and delete videos in the console or by programs of
//! their own. None of it is signed, counted against a quota or hit by faults.

use jiff::Timestamp;

use super::Simulator;
use super::account::{Account, By};
use super::event::{FieldChange, Operate, delete_media, media_base_change};
use super::text::Text;
use super::video::{BadVideo, NewVideo};

impl Simulator {
    /// The new video's id. Its snapshots send no callback by themselves; a cover that was given at the
    /// upload causes a MediaBaseChangeComplete, and VOD's own default cover does not.
    pub fn add_video(&self, new: NewVideo) -> Result<String, BadVideo> {
        let now = self.now();
        let cover = new.cover.clone();
        self.change(|account, events| {
            let id = account.add(new, now)?;
            if let Some(url) = cover.given() {
                events.extend(account.created(&id, Some(url), now));
            }
            Ok(id.to_string())
        })
    }

    /// The file of a video from CreateUploadVideo has come: its status is `Normal`, and VOD takes its
    /// default cover if there is none. False if there is no such video.
    pub fn finish_upload(&self, video: &str) -> bool {
        let now = self.now();
        let mut account = self.account();
        let Some(found) = account.video_mut(video) else { return false };
        found.status = "Normal".to_owned();
        let middle = found.middle().filter(|_| found.cover.is_none());
        if let Some(path) = middle.map(|number| found.snapshot_path(number)) {
            let url = account.url(&path);
            account.set_cover(video, &url, By::Default, now);
        }
        true
    }

    /// A person sets a cover in the console; false if there is no such video. Causes a
    /// MediaBaseChangeComplete if [`super::Settings::console_events`] is on.
    pub fn edit_cover(&self, video: &str, url: &str) -> bool {
        let now = self.now();
        self.change(|account, events| {
            let Some(old) = account.set_cover(video, url, By::Editor, now) else { return false };
            if self.0.console_events {
                let old = old.as_deref();
                let change = FieldChange { name: "CoverURL", old, new: Some(url) };
                events.push(media_base_change(video, Operate::Update, &[change], now));
            }
            true
        })
    }

    /// Somebody deletes a video; false if there is no such video. Causes a DeleteMediaComplete and a
    /// MediaBaseChangeComplete.
    pub fn delete_video(&self, video: &str) -> bool {
        let now = self.now();
        self.change(|account, events| {
            let Some(deleted) = account.delete(video) else { return false };
            let old = deleted.cover.as_deref();
            let cover = old.map(|old| FieldChange { name: "CoverURL", old: Some(old), new: None });
            events.push(delete_media(video, now));
            let changes = cover.as_slice();
            events.push(media_base_change(video, Operate::Delete, changes, now));
            true
        })
    }
}

impl Account {
    /// The MediaBaseChangeComplete of a new video, whose cover may have been given; `None` if there is no
    /// such video.
    pub(super) fn created(
        &self,
        id: &Text,
        cover: Option<&str>,
        now: Timestamp,
    ) -> Option<bytes::Bytes> {
        let video = self.video(id)?;
        let category = video.category.map(|category| category.to_string());
        let fields = [
            ("Title", Some(video.title.as_str())),
            ("Description", Some(video.description.as_str())),
            ("Tags", Some(video.tags.as_str())),
            ("CateId", category.as_deref()),
            ("CoverURL", cover),
        ];
        let changes: Vec<_> = fields
            .into_iter()
            .filter(|(_, new)| new.is_some_and(|new| !new.is_empty()))
            .map(|(name, new)| FieldChange { name, old: None, new })
            .collect();
        Some(media_base_change(id, Operate::Create, &changes, now))
    }
}
