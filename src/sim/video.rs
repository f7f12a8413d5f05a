//! One simulated video: its snapshots and smart thumbnails, and where they lie. Everything that is not
//! stored follows from the video's own seed, so ten thousand videos cost a few megabytes.
//!
//! Documentation: VOD takes 1 to 8 cover snapshots of each upload and makes the middle one the cover.
//! <https://www.alibabacloud.com/help/en/vod/user-guide/set-the-video-thumbnail>

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::text::Text;

/// VOD's bound on automatic cover snapshots.
pub const MAX_SNAPSHOTS: u8 = 8;

/// A video to be added by a test. The default has 8 snapshots, no smart thumbnail and VOD's default
/// cover.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewVideo {
    /// 1 to 64 letters, digits, `-` and `_`; made up when absent.
    pub id: Option<String>,
    pub title: Option<String>,
    pub description: String,
    /// Separated by commas.
    pub tags: String,
    /// CateId.
    pub category: Option<i64>,
    /// CateName; made up when absent.
    pub category_name: Option<String>,
    /// TemplateGroupId.
    pub template_group: Option<String>,
    /// CreationTime; now when absent.
    pub created: Option<Timestamp>,
    /// 0 to 8. A video without snapshots (audio only) sends a SnapshotComplete that failed.
    pub snapshots: u8,
    /// Entries of ListAIImageInfo, 0 to 8: png and gif by turns.
    pub smart: u8,
    /// Seconds after the video was added until ListAIImageInfo shows them; at once when absent.
    pub ai_after: Option<f64>,
    /// Jobs for smart thumbnails fail.
    pub ai_fails: bool,
    pub cover: StartingCover,
    /// VOD's status: `Normal`, `Uploading`, ...
    pub status: String,
    /// Belongs to an application that the key has no permission for.
    pub forbidden: bool,
    /// UserData.Extend of the upload, sent along with every event.
    pub extend: Option<Value>,
}

impl Default for NewVideo {
    fn default() -> Self {
        Self {
            id: None,
            title: None,
            description: String::new(),
            tags: String::new(),
            category: None,
            category_name: None,
            template_group: None,
            created: None,
            snapshots: MAX_SNAPSHOTS,
            smart: 0,
            ai_after: None,
            ai_fails: false,
            cover: StartingCover::Default,
            status: "Normal".to_owned(),
            forbidden: false,
            extend: None,
        }
    }
}

/// The cover that a video has before anybody calls the API. In JSON `"default"`, `"none"` or the URL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum StartingCover {
    /// VOD has taken the middle snapshot.
    Default,
    None,
    /// Given at upload, or chosen before the snapshots were ready.
    Given(String),
}

impl StartingCover {
    pub(super) fn given(&self) -> Option<&str> {
        match self {
            Self::Given(url) => Some(url),
            Self::Default | Self::None => None,
        }
    }
}

impl From<String> for StartingCover {
    fn from(text: String) -> Self {
        match text.as_str() {
            "default" => Self::Default,
            "none" => Self::None,
            _ => Self::Given(text),
        }
    }
}

/// Why a video cannot be added.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadVideo {
    #[error("there is a video {0} already")]
    Exists(String),
    #[error("{0:?} is no video id: use 1 to 64 letters, digits, - and _")]
    BadId(String),
    #[error("a video has 0 to {MAX_SNAPSHOTS} snapshots and as many smart thumbnails, not {0}")]
    TooMany(u8),
}

pub(super) struct Video {
    pub id: Text,
    /// From 1, in the order in which the account's videos were added.
    pub number: u64,
    pub title: String,
    pub description: String,
    pub tags: String,
    pub category: Option<i64>,
    pub category_name: Option<String>,
    pub template_group: Option<String>,
    pub cover: Option<Text>,
    pub seed: u64,
    pub snapshots: u8,
    pub smart: u8,
    /// When ListAIImageInfo begins to show the smart thumbnails.
    pub smart_from: Timestamp,
    /// The job that they come from, if one was submitted.
    pub ai_job: Option<String>,
    pub ai_fails: bool,
    pub status: String,
    pub forbidden: bool,
    pub extend: Option<Value>,
    pub created: Timestamp,
    pub modified: Timestamp,
}

/// One entry of ListAIImageInfo.
pub(super) struct Thumbnail {
    pub info_id: String,
    pub job: String,
    pub path: String,
    pub format: &'static str,
    pub score: f64,
}

/// A picture that belongs to a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Picture {
    /// A cover snapshot, from 1.
    Snapshot(u8),
    Sprite,
    /// A smart thumbnail, from 1.
    Smart(u8),
}

impl Video {
    /// The video number `index` of the account. Ids never repeat for one seed: the second half is a
    /// one-to-one function of the index.
    pub fn generated(seed: u64, index: u32) -> Self {
        let own = mix(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(index)));
        let mut random = fastrand::Rng::with_seed(own);
        let id = format!("{:016x}{own:016x}", random.u64(..));
        let snapshots = random.u8(1..=MAX_SNAPSHOTS);
        let smart = if random.u8(..10) < 4 { random.u8(2..=4) } else { 0 };
        let day = 1_767_225_600; // 2026-01-01T00:00:00Z
        let uploaded =
            Timestamp::from_second(day + i64::from(index)).unwrap_or(Timestamp::UNIX_EPOCH);
        let title = title(&mut random, index);
        let (category, category_name) = category(&mut random).unzip();
        let new = NewVideo {
            title: Some(title),
            tags: tags(&mut random),
            category,
            category_name,
            snapshots,
            smart,
            ..NewVideo::default()
        };
        Self::added(id, own, new, uploaded)
    }

    /// Its number is given by the account.
    pub fn added(id: String, seed: u64, new: NewVideo, now: Timestamp) -> Self {
        let created = new.created.unwrap_or(now);
        // VOD tells and compares whole seconds.
        let created = Timestamp::from_second(created.as_second()).unwrap_or(created);
        let named = |category| format!("Category {category}");
        Self {
            number: 0,
            title: new.title.unwrap_or_else(|| format!("Video {id}")),
            id: id.into(),
            description: new.description,
            tags: new.tags,
            category: new.category,
            category_name: new.category_name.or_else(|| new.category.map(named)),
            template_group: new.template_group,
            cover: None,
            seed,
            snapshots: new.snapshots,
            smart: new.smart,
            smart_from: new.ai_after.map_or(Timestamp::MIN, |seconds| later(now, seconds)),
            ai_job: None,
            ai_fails: new.ai_fails,
            status: new.status,
            forbidden: new.forbidden,
            extend: new.extend,
            created,
            modified: now,
        }
    }

    /// VOD's own choice: number N/2 + 1 of N.
    pub fn middle(&self) -> Option<u8> {
        (self.snapshots > 0).then_some(self.snapshots / 2 + 1).map(|n| n.min(self.snapshots))
    }

    /// The path of the cover snapshots with VOD's placeholder for the serial number.
    pub fn snapshot_pattern(&self) -> String {
        format!("{}/covers/{}-{{SnapshotCount}}.jpg", self.id, self.hash(1))
    }

    pub fn sprite_pattern(&self) -> String {
        format!("{}/covers/sprite/{}-{{SnapshotCount}}.jpg", self.id, self.hash(2))
    }

    /// The sprite, if there are snapshots.
    pub fn sprite_path(&self) -> Option<String> {
        let path = || self.sprite_pattern().replace("{SnapshotCount}", "00001");
        (self.snapshots > 0).then(path)
    }

    pub fn snapshot_path(&self, number: u8) -> String {
        format!("{}/covers/{}-{number:05}.jpg", self.id, self.hash(1))
    }

    pub fn snapshot_job(&self) -> String {
        self.hash(3)
    }

    pub fn sprite_job(&self) -> String {
        self.hash(4)
    }

    /// In no particular order of score, as the documentation promises none.
    pub fn thumbnails(&self) -> Vec<Thumbnail> {
        let one = |number: u8| {
            let mut random = fastrand::Rng::with_seed(self.seed ^ u64::from(number) << 8);
            let format = if number % 2 == 1 { "png" } else { "gif" };
            Thumbnail {
                info_id: self.hash(16 + u64::from(number)),
                job: self.ai_job.clone().unwrap_or_else(|| self.hash(5)),
                path: format!("{}/image/ai/{}-{number:05}.{format}", self.id, self.hash(6)),
                format,
                score: 3.0 + random.f64() * 4.0,
            }
        };
        (1..=self.smart).map(one).collect()
    }

    /// Which of its pictures lies at a path below the video's id.
    pub fn picture(&self, path: &str) -> Option<Picture> {
        let is = |found: &String| found.split_once('/').is_some_and(|(_, rest)| rest == path);
        if self.sprite_path().as_ref().is_some_and(is) {
            return Some(Picture::Sprite);
        }
        let snapshot = (1..=self.snapshots).find(|number| is(&self.snapshot_path(*number)));
        let smart = || self.thumbnails().iter().position(|thumbnail| is(&thumbnail.path));
        snapshot.map(Picture::Snapshot).or_else(|| smart().map(|at| Picture::Smart(at as u8 + 1)))
    }

    fn hash(&self, purpose: u64) -> String {
        let high = mix(self.seed ^ purpose.rotate_left(32));
        format!("{high:016x}{:016x}", mix(high.wrapping_add(purpose)))
    }
}

/// The end of SplitMix64: one-to-one, and close inputs give outputs that look unrelated.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

fn title(random: &mut fastrand::Rng, index: u32) -> String {
    const WHEN: [&str; 6] = ["Morning", "Evening", "Winter", "Summer", "Rainy", "Golden"];
    const WHERE: [&str; 6] = ["Harbour", "Mountain", "Garden", "Desert", "Market", "Island"];
    const WHAT: [&str; 6] = ["Walk", "Interview", "Lesson", "Match", "Recipe", "Tour"];
    let mut one = |words: [&'static str; 6]| words[random.usize(..words.len())];
    format!("{} {} {} {}", one(WHEN), one(WHERE), one(WHAT), index + 1)
}

/// For ever if the number is too large, or none.
fn later(now: Timestamp, seconds: f64) -> Timestamp {
    let time = SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::MAX);
    now.saturating_add(time).unwrap_or(Timestamp::MAX)
}

/// Two in three videos are in a category.
fn category(random: &mut fastrand::Rng) -> Option<(i64, String)> {
    const CATEGORIES: [(i64, &str); 4] =
        [(1_000_001, "Travel"), (1_000_002, "News"), (1_000_003, "Lessons"), (1_000_004, "Sport")];
    let (id, name) = CATEGORIES.get(random.usize(..6))?;
    Some((*id, (*name).to_owned()))
}

/// None to two of them.
fn tags(random: &mut fastrand::Rng) -> String {
    const TAGS: [&str; 6] = ["trailer", "live", "4k", "interview", "archive", "vertical"];
    let count = random.usize(..3);
    random.choose_multiple(TAGS, count).join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_follow_from_the_seed() {
        let ids = |seed| (0..20_000).map(move |index| Video::generated(seed, index).id);
        let unique: HashSet<_> = ids(7).collect();
        assert_eq!(unique.len(), 20_000);
        assert!(unique.iter().all(|id| id.len() == 32));
        assert!(ids(7).take(50).eq(ids(7).take(50)));
        assert!(ids(8).take(50).all(|id| !unique.contains(&id)));
    }

    #[test]
    fn videos_have_one_to_eight_snapshots_and_some_have_smart_thumbnails() {
        let videos: Vec<_> = (0..500).map(|index| Video::generated(1, index)).collect();
        for count in 1..=8 {
            assert!(videos.iter().any(|video| video.snapshots == count), "{count}");
        }
        let smart = videos.iter().filter(|video| video.smart > 0).count();
        assert!((100..300).contains(&smart), "{smart}");
        let pngs = videos.iter().flat_map(Video::thumbnails).filter(|t| t.format == "png").count();
        assert!(pngs > 0 && pngs < videos.iter().map(|v| usize::from(v.smart)).sum());
    }

    #[test]
    fn some_videos_have_a_category_and_some_have_tags() {
        let videos: Vec<_> = (0..300).map(|index| Video::generated(1, index)).collect();
        let categories = videos.iter().filter(|video| video.category.is_some()).count();
        let tagged = videos.iter().filter(|video| !video.tags.is_empty()).count();
        assert!((100..250).contains(&categories), "{categories}");
        assert!((150..250).contains(&tagged), "{tagged}");
        assert!(videos.iter().all(|v| v.category.is_some() == v.category_name.is_some()));
    }

    /// Figures were measured with these videos.
    #[test]
    fn what_a_seed_gave_it_gives_for_ever() {
        for (seed, index, expected) in [
            (1, 0, ("2aacd33c4686244ce220a8397b1dcdaf", "Morning Desert Match 1", 4, 4)),
            (7, 99, ("d2e4a47ebbfe1746abbfa9247d3df543", "Rainy Desert Recipe 100", 5, 3)),
        ] {
            let video = Video::generated(seed, index);
            assert_eq!((&*video.id, &*video.title, video.snapshots, video.smart), expected);
        }
    }

    #[test]
    fn the_middle_is_n_half_plus_one() {
        let middle = |snapshots| {
            let new = NewVideo { snapshots, ..NewVideo::default() };
            Video::added("v".into(), 1, new, Timestamp::UNIX_EPOCH).middle()
        };
        let all: Vec<_> = (0..=8).map(middle).collect();
        let expected =
            [None, Some(1), Some(2), Some(2), Some(3), Some(3), Some(4), Some(4), Some(5)];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_picture_is_found_at_its_own_path_only() {
        let video = Video::generated(1, 3);
        let below = |path: &str| path.split_once('/').map(|(_, rest)| rest.to_owned()).unwrap();
        assert_eq!(video.picture(&below(&video.snapshot_path(1))), Some(Picture::Snapshot(1)));
        assert_eq!(video.picture(&below(&video.snapshot_path(video.snapshots + 1))), None);
        assert_eq!(video.picture("covers/00000000000000000000000000000000-00001.jpg"), None);
        let sprite = video.sprite_pattern().replace("{SnapshotCount}", "00001");
        assert_eq!(video.picture(&below(&sprite)), Some(Picture::Sprite));
    }
}
