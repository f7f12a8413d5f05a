//! Local pacing, so that one process never takes more of the account's quota than its share. It knows
//! nothing of other processes.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/qps-limits>

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Longest wait for a turn. Who would have to wait longer is turned away, so that an event is given
/// back to its queue instead of being held.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The operations that the client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    UpdateVideoInfo,
    UpdateVideoInfos,
    GetVideoInfo,
    GetVideoInfos,
    ListSnapshots,
    ListAiImageInfo,
    CreateUploadImage,
    GetVideoList,
    SearchMedia,
    SubmitAiImageJob,
    GetAiImageJobs,
    GetAiTemplate,
    CreateUploadVideo,
    UploadMediaByUrl,
    RegisterMedia,
}

impl Operation {
    const COUNT: usize = 15;

    /// In the order of their lanes.
    pub const ALL: [Self; Self::COUNT] = [
        Self::UpdateVideoInfo,
        Self::UpdateVideoInfos,
        Self::GetVideoInfo,
        Self::GetVideoInfos,
        Self::ListSnapshots,
        Self::ListAiImageInfo,
        Self::CreateUploadImage,
        Self::GetVideoList,
        Self::SearchMedia,
        Self::SubmitAiImageJob,
        Self::GetAiImageJobs,
        Self::GetAiTemplate,
        Self::CreateUploadVideo,
        Self::UploadMediaByUrl,
        Self::RegisterMedia,
    ];

    /// As in the `Action` parameter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UpdateVideoInfo => "UpdateVideoInfo",
            Self::UpdateVideoInfos => "UpdateVideoInfos",
            Self::GetVideoInfo => "GetVideoInfo",
            Self::GetVideoInfos => "GetVideoInfos",
            Self::ListSnapshots => "ListSnapshots",
            Self::ListAiImageInfo => "ListAIImageInfo",
            Self::CreateUploadImage => "CreateUploadImage",
            Self::GetVideoList => "GetVideoList",
            Self::SearchMedia => "SearchMedia",
            Self::SubmitAiImageJob => "SubmitAIImageJob",
            Self::GetAiImageJobs => "GetAIImageJobs",
            Self::GetAiTemplate => "GetAITemplate",
            Self::CreateUploadVideo => "CreateUploadVideo",
            Self::UploadMediaByUrl => "UploadMediaByURL",
            Self::RegisterMedia => "RegisterMedia",
        }
    }

    /// The operation of this name, in whatever case: settings from the environment have none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name().eq_ignore_ascii_case(name))
    }

    /// Whether it changes or makes a video, or orders work that costs. A second ticket for the upload of
    /// a picture does no harm.
    pub const fn writes(self) -> bool {
        match self {
            Self::UpdateVideoInfo
            | Self::UpdateVideoInfos
            | Self::SubmitAiImageJob
            | Self::CreateUploadVideo
            | Self::UploadMediaByUrl
            | Self::RegisterMedia => true,
            Self::GetVideoInfo
            | Self::GetVideoInfos
            | Self::ListSnapshots
            | Self::ListAiImageInfo
            | Self::CreateUploadImage
            | Self::GetVideoList
            | Self::SearchMedia
            | Self::GetAiImageJobs
            | Self::GetAiTemplate => false,
        }
    }

    /// Calls a second that one account may make. The look-ups and GetVideoList are inferred from a table
    /// whose names were lost; those for AI images have no documented limit and get the lowest of their
    /// neighbours, as does UploadMediaByURL, which is limited by the day; the two tickets for uploads
    /// have 80 in four regions, and 40 elsewhere.
    const fn account_limit(self) -> f64 {
        match self {
            Self::UpdateVideoInfo | Self::GetVideoInfo | Self::GetVideoInfos => 100.0,
            Self::GetVideoList | Self::SearchMedia | Self::RegisterMedia => 50.0,
            Self::CreateUploadImage | Self::CreateUploadVideo => 40.0,
            Self::UpdateVideoInfos
            | Self::ListSnapshots
            | Self::ListAiImageInfo
            | Self::SubmitAiImageJob
            | Self::GetAiImageJobs
            | Self::GetAiTemplate
            | Self::UploadMediaByUrl => 30.0,
        }
    }
}

/// One lane for each operation.
#[derive(Debug)]
pub struct Quota {
    lanes: [Mutex<Lane>; Operation::COUNT],
    /// Of each lane.
    paces: Option<[Pace; Operation::COUNT]>,
}

impl Quota {
    /// `share` is above 0 and at most 1. Without, calls are not paced, and only [`Quota::hold`] delays
    /// them. `limits` has the account's calls a second, above 0, by name, where they are not as documented.
    pub fn new(share: Option<f64>, limits: &BTreeMap<String, f64>) -> Self {
        let limit = |operation: Operation| {
            let other = limits.iter().find(|(name, _)| Operation::named(name) == Some(operation));
            other.map_or_else(|| operation.account_limit(), |(_, limit)| *limit)
        };
        let paces =
            share.map(|share| Operation::ALL.map(|operation| Pace::new(limit(operation) * share)));
        Self { lanes: Default::default(), paces }
    }

    /// Waits for a turn, at most [`LONGEST_WAIT`]; an error says how long it would have been, and takes
    /// no turn.
    pub async fn take(&self, operation: Operation) -> Result<(), Duration> {
        let pace = self.paces.as_ref().map(|paces| paces[operation as usize]);
        let turn = self.lane(operation, |lane| lane.reserve(Instant::now(), pace))?;
        tokio::time::sleep_until(turn).await;
        Ok(())
    }

    /// After a throttling answer: nobody gets a turn before this time has passed.
    pub fn hold(&self, operation: Operation, time: Duration) {
        let until = Instant::now() + time;
        self.lane(operation, |lane| lane.held = lane.held.max(Some(until)));
    }

    fn lane<T>(&self, operation: Operation, act: impl FnOnce(&mut Lane) -> T) -> T {
        // A lane is whole at any moment, so a panic elsewhere does not spoil it.
        act(&mut self.lanes[operation as usize].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How turns follow one another. In any second, burst included, there are at most `rate` of them.
#[derive(Debug, Clone, Copy)]
struct Pace {
    interval: Duration,
    /// How far ahead of the even pace a turn may come.
    ahead: Duration,
}

impl Pace {
    fn new(rate: f64) -> Self {
        // Turns at once, paid for by an even pace that is slower by as many.
        let burst = (rate * 0.05).min(5.0);
        // Whatever the rate is, a turn comes within a time that clocks can tell.
        let interval = Duration::from_secs_f64((1.0 / (rate - burst)).min(86_400.0));
        Self { interval, ahead: interval.mul_f64((burst - 1.0).max(0.0)) }
    }
}

#[derive(Debug, Default)]
struct Lane {
    /// When the next turn is due at an even pace.
    due: Option<Instant>,
    held: Option<Instant>,
}

impl Lane {
    fn reserve(&mut self, now: Instant, pace: Option<Pace>) -> Result<Instant, Duration> {
        let start = now.max(self.held.unwrap_or(now));
        let due = self.due.map_or(start, |due| due.max(start));
        let turn = match pace {
            Some(pace) => due.checked_sub(pace.ahead).map_or(start, |early| early.max(start)),
            None => start,
        };
        let wait = turn - now;
        if wait > LONGEST_WAIT {
            return Err(wait);
        }
        self.due = pace.map(|pace| due + pace.interval);
        Ok(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The turns of `count` callers who all come at `now`, as seconds after it.
    fn turns(lane: &mut Lane, now: Instant, pace: Pace, count: usize) -> Vec<f64> {
        let turn = |lane: &mut Lane| lane.reserve(now, Some(pace)).map(|t| (t - now).as_secs_f64());
        std::iter::from_fn(|| turn(lane).ok()).take(count).collect()
    }

    #[test]
    fn no_second_has_more_turns_than_the_share() {
        for rate in [0.5, 1.0, 24.0, 80.0, 100.0] {
            let all = turns(&mut Lane::default(), Instant::now(), Pace::new(rate), 400);
            for from in &all {
                let within = all.iter().filter(|t| (*from..from + 1.0).contains(*t)).count();
                assert!(within as f64 <= rate.max(1.0), "{within} at a rate of {rate}");
            }
        }
    }

    #[test]
    fn lanes_are_in_the_order_of_the_operations_and_names_are_theirs() {
        for (lane, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(lane, operation as usize, "{operation:?}");
            assert_eq!(Operation::named(&operation.name().to_lowercase()), Some(operation));
        }
        assert_eq!(Operation::named("DeleteVideo"), None);
    }

    #[test]
    fn an_accounts_own_limit_replaces_the_documented_one_and_no_other() {
        let limits = BTreeMap::from([("updatevideoinfo".to_owned(), 400.0)]);
        let quota = Quota::new(Some(0.5), &limits);
        let in_a_second = |operation: Operation| {
            let pace = quota.paces.as_ref().expect("paced")[operation as usize];
            let all = turns(&mut Lane::default(), Instant::now(), pace, 1_000);
            all.iter().filter(|turn| **turn < 1.0).count()
        };
        assert!((190..=200).contains(&in_a_second(Operation::UpdateVideoInfo)));
        assert!((45..=50).contains(&in_a_second(Operation::GetVideoInfo)));
    }

    #[test]
    fn the_smallest_share_is_a_long_wait_and_no_panic() {
        for share in [f64::MIN_POSITIVE, 1e-9] {
            let quota = Quota::new(Some(share), &BTreeMap::new());
            let pace = quota.paces.as_ref().expect("paced")[0];
            assert_eq!(turns(&mut Lane::default(), Instant::now(), pace, 10), [0.0]);
        }
    }

    #[test]
    fn the_first_callers_do_not_wait() {
        let all = turns(&mut Lane::default(), Instant::now(), Pace::new(80.0), 5);
        assert!(all[..4].iter().all(|t| *t == 0.0), "{all:?}");
    }

    #[test]
    fn a_caller_who_would_wait_too_long_is_turned_away_and_takes_no_turn() {
        let (mut lane, now, pace) = (Lane::default(), Instant::now(), Pace::new(10.0));
        let got = turns(&mut lane, now, pace, 10_000);
        assert!(got.len() < 60, "{}", got.len());
        let first = lane.reserve(now, Some(pace)).expect_err("full");
        assert_eq!(lane.reserve(now, Some(pace)), Err(first));
        assert!(lane.reserve(now + Duration::from_secs(2), Some(pace)).is_ok());
    }

    #[test]
    fn a_held_operation_gives_no_turn_before_its_time_and_holds_no_other() {
        let quota = Quota::new(Some(1.0), &BTreeMap::new());
        quota.hold(Operation::UpdateVideoInfo, Duration::from_secs(60));
        let reserve = |operation: Operation| {
            quota.lane(operation, |lane| lane.reserve(Instant::now(), Some(Pace::new(100.0))))
        };
        assert!(reserve(Operation::UpdateVideoInfo).expect_err("held") > LONGEST_WAIT);
        assert!(reserve(Operation::GetVideoInfo).is_ok());
    }

    #[test]
    fn without_a_pace_nobody_waits_but_for_a_held_operation() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        assert!((0..10_000).all(|_| lane.reserve(now, None) == Ok(now)));
        let until = now + Duration::from_secs(2);
        lane.held = Some(until);
        assert_eq!(lane.reserve(now, None), Ok(until));
        lane.held = Some(now + Duration::from_secs(60));
        assert_eq!(lane.reserve(now, None), Err(Duration::from_secs(60)));
    }

    #[tokio::test]
    async fn taking_turns_without_a_pace_respects_a_throttling_answer() {
        let quota = Quota::new(None, &BTreeMap::new());
        for _ in 0..10_000 {
            assert_eq!(quota.take(Operation::UpdateVideoInfo).await, Ok(()));
        }
        quota.hold(Operation::UpdateVideoInfo, Duration::from_secs(60));
        assert!(quota.take(Operation::UpdateVideoInfo).await.is_err());
    }
}
