//! Whether pictures can be seen at all: a state machine that is told what happened and when. Pure. Several
//! different videos in a row of which nothing could be seen are taken for a wrong setting or a network that
//! is away; one odd video never is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::cover::CoverUrl;

/// Different videos in a row, with none between that could be seen.
const VIDEOS: usize = 5;
/// How often an event is let through while nothing can be seen, because it may be all right where those
/// before it were not. Rare enough that a weekend costs a waiting event few attempts.
const ONE_ANYWAY: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Sight {
    /// One picture of each of the latest videos of which nothing could be seen.
    missed: VecDeque<CoverUrl>,
    /// When it was lost, or an event was last let through.
    since: Option<Instant>,
}

impl Sight {
    pub fn saw(&mut self) {
        *self = Self::default();
    }

    /// Nothing of a video could be seen; `picture` is the same whenever it is the same video.
    pub fn saw_nothing(&mut self, picture: &CoverUrl, now: Instant) {
        if self.missed.contains(picture) {
            return;
        }
        self.missed.push_back(picture.clone());
        if self.missed.len() > VIDEOS {
            self.missed.pop_front();
        }
        if self.is_lost() && self.since.is_none() {
            self.since = Some(now);
        }
    }

    pub fn is_lost(&self) -> bool {
        self.missed.len() >= VIDEOS
    }

    /// What to try, to find out whether it is over.
    pub fn missed(&self) -> Vec<CoverUrl> {
        self.missed.iter().cloned().collect()
    }

    pub fn lets_one_through(&mut self, now: Instant) -> bool {
        let due = self.since.is_none_or(|since| now.saturating_duration_since(since) >= ONE_ANYWAY);
        if due {
            self.since = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(video: u32) -> CoverUrl {
        CoverUrl::new(&format!("http://h/{video}/1.jpg")).unwrap()
    }

    #[test]
    fn one_odd_video_is_no_outage_and_five_different_ones_are() {
        let (mut sight, now) = (Sight::default(), Instant::now());
        (0..100).for_each(|_| sight.saw_nothing(&picture(7), now));
        (0..3).for_each(|video| sight.saw_nothing(&picture(video), now));
        assert!(!sight.is_lost());
        sight.saw_nothing(&picture(4), now);
        assert!(sight.is_lost());
        assert_eq!(sight.missed().len(), 5);
        sight.saw();
        assert!(!sight.is_lost() && sight.missed().is_empty());
    }

    #[test]
    fn one_is_let_through_every_five_minutes() {
        let (mut sight, now) = (Sight::default(), Instant::now());
        (0..9).for_each(|video| sight.saw_nothing(&picture(video), now));
        assert!(!sight.lets_one_through(now + ONE_ANYWAY / 2));
        assert!(sight.lets_one_through(now + ONE_ANYWAY));
        assert!(!sight.lets_one_through(now + ONE_ANYWAY));
        sight.saw_nothing(&picture(99), now + ONE_ANYWAY);
        assert!(!sight.lets_one_through(now + ONE_ANYWAY * 3 / 2));
        assert!(sight.lets_one_through(now + 2 * ONE_ANYWAY));
        assert_eq!(sight.missed().len(), 5);
    }
}
