//! The account's quotas: calls per second and operation, shared by everything that uses the account.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/qps-limits>

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::api::Operation;

const WINDOW: Duration = Duration::from_secs(1);

/// Calls within any one second. Those of GetVideoInfo(s) and GetVideoList follow from the order of the
/// documentation's table; for those of smart thumbnails no number was found, so they get that of the
/// other lists. UploadMediaByURL is bounded by the day, and gets the same.
fn per_second(operation: Operation) -> usize {
    match operation {
        Operation::UpdateVideoInfo | Operation::GetVideoInfo | Operation::GetVideoInfos => 100,
        Operation::CreateUploadImage | Operation::CreateUploadVideo => 80,
        Operation::GetVideoList | Operation::SearchMedia | Operation::RegisterMedia => 50,
        Operation::PutObject
        | Operation::GetPicture
        | Operation::BatchReceiveMessage
        | Operation::BatchDeleteMessage
        | Operation::GetQueueAttributes => usize::MAX,
        Operation::UpdateVideoInfos
        | Operation::ListSnapshots
        | Operation::ListAiImageInfo
        | Operation::SubmitAiImageJob
        | Operation::GetAiImageJobs
        | Operation::GetAiTemplate
        | Operation::UploadMediaByUrl => 30,
    }
}

/// A sliding window for each operation: exact, unlike a bucket, which lets two seconds' worth through
/// at once. Refused calls do not count.
pub(super) struct Quota {
    enforced: bool,
    scale: f64,
    admitted: [VecDeque<Instant>; Operation::ALL.len()],
}

impl Quota {
    /// Each operation gets `scale` times the documented calls, and never less than one.
    pub fn new(enforced: bool, scale: f64) -> Self {
        Self { enforced, scale, admitted: Default::default() }
    }

    /// Whether a call may pass now.
    pub fn admit(&mut self, operation: Operation, now: Instant) -> bool {
        if !self.enforced {
            return true;
        }
        let admitted = &mut self.admitted[operation as usize];
        while admitted.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
            admitted.pop_front();
        }
        // A product that is too large becomes the largest number.
        let most = (per_second(operation) as f64 * self.scale).round() as usize;
        let fits = admitted.len() < most.max(1);
        if fits {
            admitted.push_back(now);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_calls_than_the_quota() {
        let (mut quota, start) = (Quota::new(true, 1.0), Instant::now());
        let mut passed = Vec::new();
        for millis in (0..3_000).step_by(5) {
            if quota.admit(Operation::UpdateVideoInfo, start + Duration::from_millis(millis)) {
                passed.push(millis);
            }
        }
        assert_eq!(passed.len(), 300);
        assert!(passed.windows(101).all(|some| some[100] - some[0] >= 1_000));
    }

    #[test]
    fn operations_have_quotas_of_their_own_and_none_when_switched_off() {
        let now = Instant::now();
        for (operation, expected) in [
            (Operation::UpdateVideoInfo, 100),
            (Operation::UpdateVideoInfos, 30),
            (Operation::GetVideoInfo, 100),
            (Operation::GetVideoInfos, 100),
            (Operation::ListSnapshots, 30),
            (Operation::ListAiImageInfo, 30),
            (Operation::GetVideoList, 50),
            (Operation::SearchMedia, 50),
            (Operation::SubmitAiImageJob, 30),
            (Operation::GetAiImageJobs, 30),
            (Operation::GetAiTemplate, 30),
            (Operation::CreateUploadImage, 80),
            (Operation::CreateUploadVideo, 80),
            (Operation::UploadMediaByUrl, 30),
            (Operation::RegisterMedia, 50),
        ] {
            let passed =
                |mut quota: Quota| (0..500).filter(|_| quota.admit(operation, now)).count();
            assert_eq!(passed(Quota::new(true, 1.0)), expected, "{}", operation.name());
            assert_eq!(passed(Quota::new(true, 2.5)), expected * 5 / 2, "{}", operation.name());
            assert_eq!(passed(Quota::new(true, 0.001)), 1, "{}", operation.name());
            assert_eq!(passed(Quota::new(false, 1.0)), 500);
        }
    }
}
