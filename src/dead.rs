//! Dead letters for people, in the shell and on the page: which there are and why, and what is to become of
//! those that somebody picks. It holds no more than it shows, however many there are, and decides nothing by
//! itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

use crate::event::{self, VideoId};
use crate::queue::{DeadLetter, DeadLetters, Error, Fate, Queue};

/// How long one walk may take. RabbitMQ closes a channel that holds a delivery for half an hour.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Reasons that are told apart; the letters of any further ones count as "other".
const MOST_GROUPS: usize = 200;

/// Which letters are meant: those that every part agrees on, which is all of them for an empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these, as [`DeadLetter::key`] has them; none stands for any.
    pub keys: Vec<String>,
    /// The reason, or its beginning up to a dot: `vod` is every reason that begins with `vod.`.
    pub reason: Option<String>,
    /// Exactly this reason.
    pub group: Option<String>,
    pub video: Option<VideoId>,
    /// Dead for longer than this. One whose time is not known is neither old nor new.
    pub older_than: Option<Duration>,
    /// Dead for less than this.
    pub newer_than: Option<Duration>,
}

impl Filter {
    /// Whether it is empty.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    pub fn picks(&self, letter: &DeadLetter, now: Timestamp) -> bool {
        let age = || Some(Duration::try_from(now.duration_since(letter.died?)).unwrap_or_default());
        let begins = |reason: &String| match letter.reason.strip_prefix(reason.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('.'),
            None => false,
        };
        self.reason.as_ref().is_none_or(begins)
            && self.group.as_ref().is_none_or(|group| *group == letter.reason)
            && self.older_than.is_none_or(|bound| age().is_some_and(|age| age >= bound))
            && self.newer_than.is_none_or(|bound| age().is_some_and(|age| age < bound))
            && self.video.as_ref().is_none_or(|video| video_of(letter).as_ref() == Some(video))
            && (self.keys.is_empty() || self.keys.contains(&letter.key()))
    }
}

/// What is shown of a letter among others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Brief {
    pub key: String,
    pub died: Option<Timestamp>,
    pub reason: String,
    /// `None` if the event does not say.
    pub video: Option<VideoId>,
    /// The EventType, where it is known.
    pub kind: String,
    pub attempts: u32,
    /// Times that people had it tried again.
    pub retried: u32,
    /// What it failed of at last.
    pub error: Option<String>,
}

impl From<&DeadLetter> for Brief {
    fn from(letter: &DeadLetter) -> Self {
        let message = &letter.message;
        Self {
            key: letter.key(),
            died: letter.died,
            reason: letter.reason.clone(),
            video: video_of(letter),
            kind: message.kind.clone(),
            attempts: message.attempts,
            retried: message.retried,
            error: message.failures.as_ref().map(|failures| failures.last.clone()),
        }
    }
}

impl DeadLetter {
    /// All of it, for people, with its event as an object, or as text if it is none.
    pub fn whole(&self) -> Value {
        let message = &self.message;
        let event = serde_json::from_slice(&message.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&message.body).into_owned()));
        let failures = message.failures.as_ref();
        json!({
            "letter": Brief::from(self), "message_id": message.id, "deferrals": message.deferrals,
            "failing_since": failures.map(|failures| failures.since),
            "first_error": failures.map(|failures| &failures.first),
            "trace": message.trace.map(|trace| trace.to_string()), "event": event,
        })
    }
}

/// The letters that died of one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    pub reason: String,
    pub count: u64,
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The largest first.
    pub groups: Vec<Group>,
    /// The oldest first.
    pub letters: Vec<Brief>,
    /// Those that the filter picks, shown or not.
    pub count: u64,
    /// Whether the walk came to its end in time.
    pub complete: bool,
}

/// The letters that the filter picks, of which the first `most` are shown.
pub async fn list(queue: &dyn Queue, filter: &Filter, most: usize) -> Result<Listing, Error> {
    let mut walk = Walk::begin(queue, filter).await?;
    let mut groups = BTreeMap::new();
    let (mut letters, mut count) = (Vec::new(), 0);
    while let Some(letter) = walk.next().await? {
        count += 1;
        let known = groups.contains_key(&letter.reason) || groups.len() < MOST_GROUPS;
        let reason = if known { letter.reason.clone() } else { "other".to_owned() };
        let group = groups.entry(reason.clone());
        let group = group.or_insert(Group { reason, count: 0, oldest: None, newest: None });
        group.count += 1;
        group.oldest = group.oldest.into_iter().chain(letter.died).min();
        group.newest = group.newest.max(letter.died);
        if letters.len() < most {
            letters.push(Brief::from(&letter));
        }
    }
    let complete = walk.end().await?;
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    Ok(Listing { groups, letters, count, complete })
}

/// The first `most` letters that the filter picks, whole.
pub async fn find(
    queue: &dyn Queue,
    filter: &Filter,
    most: usize,
) -> Result<Vec<DeadLetter>, Error> {
    let mut walk = Walk::begin(queue, filter).await?;
    let mut found = Vec::new();
    while found.len() < most
        && let Some(letter) = walk.next().await?
    {
        found.push(letter);
    }
    walk.end().await?;
    Ok(found)
}

/// What is to be done, to whom.
#[derive(Debug, Clone)]
pub struct Deed {
    pub filter: Filter,
    pub fate: Fate,
    pub most: u64,
    /// Letters a second at the most, above 0: what is tried again comes on top of the live events.
    pub rate: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Settled {
    pub settled: u64,
    /// Picked, and settled by somebody else in the same moment.
    pub gone: u64,
    /// Whether it came to the end of the queue or to `most` in time; if not, the same deed goes on with the rest.
    pub complete: bool,
}

/// Tries letters again, or drops them, one by one; `told` of each that is done. After an error what was told is
/// done, and the others are dead letters still.
pub async fn settle(
    queue: &dyn Queue,
    deed: &Deed,
    mut told: impl FnMut(&DeadLetter) + Send,
) -> Result<Settled, Error> {
    let mut pace = interval(Duration::from_secs_f64(1.0 / deed.rate.clamp(0.001, 1e6)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut walk = Walk::begin(queue, &deed.filter).await?;
    let mut done = Settled::default();
    while done.settled < deed.most
        && let Some(letter) = walk.next().await?
    {
        if deed.fate == Fate::Retry {
            pace.tick().await;
        }
        if !walk.letters.settle(deed.fate).await? {
            done.gone += 1;
            continue;
        }
        done.settled += 1;
        let (key, reason, message) = (letter.key(), &letter.reason, &letter.message);
        let what = match deed.fate {
            Fate::Retry => "dead letter is tried again",
            Fate::Drop => "dead letter was dropped",
        };
        info!(letter = key, message.id, reason, retried = message.retried, "{what}");
        told(&letter);
    }
    done.complete = walk.end().await?;
    Ok(done)
}

/// A walk through what a filter picks.
struct Walk<'a> {
    letters: Box<dyn DeadLetters>,
    filter: &'a Filter,
    began: Instant,
    complete: bool,
}

impl<'a> Walk<'a> {
    async fn begin(queue: &dyn Queue, filter: &'a Filter) -> Result<Self, Error> {
        let letters = queue.dead_letters().await?;
        Ok(Self { letters, filter, began: Instant::now(), complete: true })
    }

    async fn next(&mut self) -> Result<Option<DeadLetter>, Error> {
        while let Some(letter) = self.letters.next().await? {
            if self.began.elapsed() > LONGEST {
                self.complete = false;
                return Ok(None);
            }
            if self.filter.picks(&letter, Timestamp::now()) {
                return Ok(Some(letter));
            }
        }
        Ok(None)
    }

    /// Whether it came to its end.
    async fn end(self) -> Result<bool, Error> {
        self.letters.close().await?;
        Ok(self.complete)
    }
}

/// The video that a letter is about, if its event is one that says so.
fn video_of(letter: &DeadLetter) -> Option<VideoId> {
    let (_, identity) = event::identity(&letter.message.body).ok()?;
    identity.map(|(video, _)| video)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Message;

    const NOW: i64 = 1_800_000_000;

    fn letter(reason: &str, video: &str, age: Option<i64>) -> DeadLetter {
        let body = format!(
            r#"{{"EventType":"DeleteMediaComplete","MediaId":"{video}","DeleteType":"all"}}"#
        );
        DeadLetter {
            message: Message::new(body, "DeleteMediaComplete", "id"),
            reason: reason.to_owned(),
            died: age.map(|age| Timestamp::from_second(NOW - age).unwrap()),
        }
    }

    fn picks(filter: Filter, letter: &DeadLetter) -> bool {
        filter.picks(letter, Timestamp::from_second(NOW).unwrap())
    }

    #[test]
    fn a_reason_is_meant_with_all_that_is_below_it() {
        let of = |reason: &str| Filter { reason: Some(reason.to_owned()), ..Filter::default() };
        let dead = letter("vod.InvalidVideo.NotFound", "v", None);
        for meant in ["vod", "vod.InvalidVideo", "vod.InvalidVideo.NotFound"] {
            assert!(picks(of(meant), &dead), "{meant}");
        }
        for other in ["", "vo", "vod.", "vod.InvalidVideo.Not", "event"] {
            assert!(!picks(of(other), &dead), "{other}");
        }
        assert!(picks(of(""), &letter("", "v", None)));
    }

    #[test]
    fn age_and_video_are_what_the_letter_says_and_unknown_ones_are_not_picked() {
        let hour = Some(Duration::from_secs(3600));
        let older = Filter { older_than: hour, ..Filter::default() };
        let newer = Filter { newer_than: hour, ..Filter::default() };
        let of = |video| Filter { video: VideoId::new(video).ok(), ..Filter::default() };
        assert!(picks(older.clone(), &letter("r", "v", Some(3600))));
        assert!(!picks(older.clone(), &letter("r", "v", Some(3599))));
        assert!(picks(newer.clone(), &letter("r", "v", Some(3599))));
        // By a clock that is ahead of ours.
        assert!(picks(newer.clone(), &letter("r", "v", Some(-60))));
        assert!(!picks(older, &letter("r", "v", None)) && !picks(newer, &letter("r", "v", None)));
        assert!(picks(of("v"), &letter("r", "v", None)));
        assert!(!picks(of("v"), &letter("r", "w", None)));
        let mut garbage = letter("r", "v", None);
        garbage.message.body = "garbage".into();
        assert!(!picks(of("v"), &garbage));
    }

    #[test]
    fn every_part_of_a_filter_has_to_agree() {
        let dead = letter("event.crashes", "v", Some(60));
        let (key, reason) = (dead.key(), Some("event".to_owned()));
        let filter = Filter { keys: vec!["0".into(), key], reason, ..Filter::default() };
        assert!(picks(filter.clone(), &dead) && picks(Filter::default(), &dead));
        assert!(!picks(Filter { video: VideoId::new("w").ok(), ..filter }, &dead));
    }
}
