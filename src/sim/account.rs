//! What the simulated account remembers: its videos, and a journal of everything that happened to them.
//! Plain data behind one lock; nothing here waits or does I/O.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::ai::Jobs;
use super::api::Scrolls;
use super::fault;
use super::text::Text;
use super::upload::Uploads;
use super::video::{BadVideo, MAX_SNAPSHOTS, NewVideo, StartingCover, Video, mix};

/// Calls and cover changes that are kept; older ones are forgotten, the numbers go on.
pub const MAX_JOURNAL: usize = 1_000_000;

/// Bodies of events about changes, and lost callbacks, that are kept.
const MAX_BODIES: usize = 20_000;

/// One request to the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// From 1, in the order in which calls took effect.
    pub seq: u64,
    /// When it had come in, before the latency.
    pub arrived: Timestamp,
    /// When it took effect.
    pub at: Timestamp,
    /// The Action as it was asked for, at most 64 bytes.
    pub operation: Cow<'static, str>,
    /// The videos it named; empty if it was refused before they were looked at.
    pub videos: Vec<Text>,
    pub verdict: Verdict,
    /// The fault that hit it.
    pub fault: Option<fault::Kind>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It took effect; with a fault such as `timeout-after-apply` the client did not learn of it.
    Ok,
    /// VOD's error code.
    Error(Cow<'static, str>),
    /// Over the account's quota, or the fault `throttle`.
    Throttled,
    /// It took no effect and got no answer.
    Unanswered,
}

/// A change of the VALUE of a video's cover. Setting what is there already is a call, but no change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoverChange {
    /// From 1.
    pub seq: u64,
    pub at: Timestamp,
    pub video: Text,
    pub old: Option<Text>,
    pub new: Text,
    pub by: By,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// UpdateVideoInfo or UpdateVideoInfos.
    Api,
    /// VOD itself, or whoever uploaded the video, before the first event.
    Default,
    /// A person in the console.
    Editor,
}

/// A callback that was given up after its last try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostCallback {
    pub at: Timestamp,
    pub body: Bytes,
    /// What the last try met with.
    pub why: String,
}

pub(super) struct Account {
    /// `http://HOST:PORT`, where the pictures are.
    pub base: String,
    pub videos: Vec<Video>,
    pub journal: Journal<Call>,
    pub changes: Journal<CoverChange>,
    pub lost: Journal<LostCallback>,
    /// MediaBaseChangeComplete, DeleteMediaComplete and the like, as they happened.
    pub base_changes: Journal<Bytes>,
    pub delivered: u64,
    pub uploads: Uploads,
    /// The videos of files that were registered.
    pub registered: HashMap<String, Text>,
    pub scrolls: Scrolls,
    pub jobs: Jobs,
    pub seed: u64,
    /// Videos ever added; deleted ones count.
    added: u64,
    index: HashMap<Text, usize>,
}

/// The latest entries of a sequence, each with its number from 1.
pub(super) struct Journal<T> {
    entries: VecDeque<T>,
    written: u64,
    most: usize,
}

impl<T> Journal<T> {
    pub fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), written: 0, most }
    }

    pub fn push(&mut self, entry: impl FnOnce(u64) -> T) {
        if self.entries.len() == self.most {
            self.entries.pop_front();
        }
        self.written += 1;
        self.entries.push_back(entry(self.written));
    }

    /// The entries with a number above `seq`.
    pub fn since(&self, seq: u64) -> Vec<T>
    where
        T: Clone,
    {
        let skipped = usize::try_from(seq.saturating_sub(self.forgotten())).unwrap_or(usize::MAX);
        self.entries.iter().skip(skipped).cloned().collect()
    }

    pub fn get(&self, seq: u64) -> Option<&T> {
        self.entries.get(self.place(seq)?)
    }

    pub fn get_mut(&mut self, seq: u64) -> Option<&mut T> {
        let place = self.place(seq)?;
        self.entries.get_mut(place)
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    fn forgotten(&self) -> u64 {
        self.written - self.entries.len() as u64
    }

    fn place(&self, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.forgotten() + 1)?).ok()
    }
}

impl Account {
    pub fn new(base: String, seed: u64, videos: u32, default_covers: bool) -> Self {
        let mut account = Self {
            base,
            videos: Vec::with_capacity(videos as usize),
            journal: Journal::new(MAX_JOURNAL),
            changes: Journal::new(MAX_JOURNAL),
            lost: Journal::new(MAX_BODIES),
            base_changes: Journal::new(MAX_BODIES),
            delivered: 0,
            uploads: Uploads::default(),
            registered: HashMap::new(),
            scrolls: Scrolls::default(),
            jobs: Jobs::new(Vec::new(), Duration::ZERO),
            seed,
            added: 0,
            index: HashMap::with_capacity(videos as usize),
        };
        let cover = if default_covers { StartingCover::Default } else { StartingCover::None };
        for index in 0..videos {
            let video = Video::generated(seed, index);
            let created = video.created;
            account.insert(video, &cover, created);
        }
        account
    }

    pub fn add(&mut self, new: NewVideo, now: Timestamp) -> Result<Text, BadVideo> {
        let own = mix(self.seed ^ mix(self.added + 0x00AD_DED0));
        let id = new.id.clone().unwrap_or_else(|| format!("{own:016x}{:016x}", mix(own)));
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if id.is_empty() || id.len() > 64 || !id.bytes().all(fits) {
            return Err(BadVideo::BadId(id));
        }
        if self.index.contains_key(id.as_str()) {
            return Err(BadVideo::Exists(id));
        }
        if let Some(many) = [new.snapshots, new.smart].into_iter().find(|n| *n > MAX_SNAPSHOTS) {
            return Err(BadVideo::TooMany(many));
        }
        let cover = new.cover.clone();
        Ok(self.insert(Video::added(id, own, new, now), &cover, now))
    }

    pub fn video(&self, id: &str) -> Option<&Video> {
        self.index.get(id).map(|at| &self.videos[*at])
    }

    pub fn video_mut(&mut self, id: &str) -> Option<&mut Video> {
        self.index.get(id).map(|at| &mut self.videos[*at])
    }

    /// Stores a cover and tells what was there before; `None` if there is no such video.
    pub fn set_cover(
        &mut self,
        id: &str,
        cover: &str,
        by: By,
        now: Timestamp,
    ) -> Option<Option<Text>> {
        let video = &mut self.videos[*self.index.get(id)?];
        video.modified = now;
        let old = video.cover.clone();
        if old.as_deref() != Some(cover) {
            let new: Text = cover.into();
            video.cover = Some(new.clone());
            let change = (video.id.clone(), old.clone());
            let (video, old) = change;
            self.changes.push(|seq| CoverChange { seq, at: now, video, old, new, by });
        }
        Some(old)
    }

    /// Takes a video out, with everything that it had; `None` if there is no such video.
    pub fn delete(&mut self, id: &str) -> Option<Video> {
        let at = self.index.remove(id)?;
        let video = self.videos.remove(at);
        for (at, video) in self.videos.iter().enumerate().skip(at) {
            self.index.insert(video.id.clone(), at);
        }
        Some(video)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    fn insert(&mut self, mut video: Video, cover: &StartingCover, now: Timestamp) -> Text {
        let id = video.id.clone();
        self.added += 1;
        video.number = self.added;
        let cover = match cover {
            StartingCover::Given(url) => Some(url.clone()),
            StartingCover::None => None,
            StartingCover::Default => {
                video.middle().map(|number| self.url(&video.snapshot_path(number)))
            }
        };
        self.index.insert(id.clone(), self.videos.len());
        self.videos.push(video);
        if let Some(cover) = cover {
            self.set_cover(&id, &cover, By::Default, now);
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_forgets_its_oldest_entries_but_never_their_numbers() {
        let mut journal = Journal::new(3);
        for _ in 0..5 {
            journal.push(|seq| seq);
        }
        assert_eq!(journal.since(0), [3, 4, 5]);
        assert_eq!(journal.since(4), [5]);
        assert_eq!(journal.since(99), [0; 0]);
        assert_eq!(journal.written(), 5);
        assert_eq!(
            [2, 3, 5, 6].map(|seq| journal.get(seq).copied()),
            [None, Some(3), Some(5), None]
        );
    }

    #[test]
    fn setting_the_same_cover_again_is_no_change() {
        let mut account = Account::new("http://127.0.0.1:1".into(), 1, 1, false);
        let id = account.videos[0].id.clone();
        for cover in ["http://a/1.jpg", "http://a/1.jpg", "http://a/2.jpg"] {
            account.set_cover(&id, cover, By::Api, Timestamp::UNIX_EPOCH).unwrap();
        }
        let new: Vec<_> = account.changes.since(0).into_iter().map(|change| change.new).collect();
        assert_eq!(new, ["http://a/1.jpg", "http://a/2.jpg"]);
        assert_eq!(account.set_cover("nobody", "x", By::Api, Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn videos_are_added_once_and_within_bounds() {
        let mut account = Account::new("http://127.0.0.1:1".into(), 1, 0, true);
        let new = |id: &str| NewVideo { id: Some(id.into()), ..NewVideo::default() };
        assert_eq!(&*account.add(new("a1"), Timestamp::UNIX_EPOCH).unwrap(), "a1");
        let again = account.add(new("a1"), Timestamp::UNIX_EPOCH);
        assert_eq!(again, Err(BadVideo::Exists("a1".into())));
        let odd = account.add(new("a/1"), Timestamp::UNIX_EPOCH);
        assert_eq!(odd, Err(BadVideo::BadId("a/1".into())));
        let many = NewVideo { snapshots: 9, ..NewVideo::default() };
        assert_eq!(account.add(many, Timestamp::UNIX_EPOCH), Err(BadVideo::TooMany(9)));
        let cover = account.video("a1").and_then(|video| video.cover.clone()).unwrap();
        assert!(cover.ends_with("-00005.jpg"), "{cover}");
    }

    #[test]
    fn a_deleted_video_is_gone_and_the_others_are_found() {
        let mut account = Account::new("http://127.0.0.1:1".into(), 1, 4, true);
        let ids: Vec<_> = account.videos.iter().map(|video| video.id.clone()).collect();
        assert_eq!(account.delete(&ids[1]).unwrap().id, ids[1]);
        assert!(account.delete(&ids[1]).is_none() && account.video(&ids[1]).is_none());
        for id in [&ids[0], &ids[2], &ids[3]] {
            assert_eq!(account.video(id).unwrap().id, *id);
        }
        // An id that is made up is not one that was made up before.
        let mut add = || account.add(NewVideo::default(), Timestamp::UNIX_EPOCH).unwrap();
        let (one, two) = (add(), add());
        assert!(account.delete(&one).is_some());
        let three = account.add(NewVideo::default(), Timestamp::UNIX_EPOCH).unwrap();
        assert!(three != one && three != two);
    }
}
