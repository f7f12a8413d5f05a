//! What a course asks for, done: questions to VOD, pictures looked at, the write. Every act ends within
//! the lease.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::warn;

use super::{ECHO_AGAIN, Worker, too_slow, unseen};
use crate::cover::course::{Act, Course};
use crate::cover::{CoverUrl, Current, JobState};
use crate::error::{Class, Failure, Reason, chain};
use crate::event::VideoId;
use crate::ledger::Lease;
use crate::vod;

impl Worker {
    pub(super) async fn act(
        &self,
        course: &mut Course<'_>,
        act: Act,
        lease: &Lease,
    ) -> Result<(), Failure> {
        let acting = self.act_unbounded(course, act, lease);
        match tokio::time::timeout_at(lease.deadline.into(), acting).await {
            Ok(result) => result,
            Err(_) => Err(too_slow(&lease.key.video, self.lease)),
        }
    }

    /// What is rare is boxed, so that not every event carries the room for it along.
    async fn act_unbounded(
        &self,
        course: &mut Course<'_>,
        act: Act,
        lease: &Lease,
    ) -> Result<(), Failure> {
        let video = &lease.key.video;
        let Some(act) = self.find_out(video, course, act).await? else { return Ok(()) };
        match act {
            Act::Write(cover) => match self.write(video, &cover, lease).await {
                Ok(()) => course.written(),
                Err(NotWritten { failure, certain }) => {
                    if certain {
                        course.not_done();
                    }
                    return Err(failure);
                }
            },
            Act::PutOff(why) => {
                let class = Class::Deferred { after: ECHO_AGAIN };
                return Err(Failure::new(class, Reason::new("event.early"), why));
            }
            Act::Submit(template) => Box::pin(self.submit(video, &template, course)).await?,
            // `follow` does these, and questions are answered.
            _ => {}
        }
        Ok(())
    }

    /// Answers a question, and gives back what is none.
    pub(super) async fn find_out(
        &self,
        video: &VideoId,
        course: &mut Course<'_>,
        act: Act,
    ) -> Result<Option<Act>, Failure> {
        match act {
            Act::AskIntelligent => Box::pin(self.ask_intelligent(video, course)).await?,
            Act::AskCurrent => course.current(self.current(video).await?),
            Act::Inspect(wanted) => {
                let findings = Box::pin(self.inspector.look(&wanted)).await;
                course.pictures(&wanted, findings);
            }
            Act::AskJob(id) => course.job(Box::pin(self.job(video, id)).await?),
            Act::TryAgain(why) => return Err(self.inspector.blame(unseen(why))),
            effect => return Ok(Some(effect)),
        }
        Ok(None)
    }

    async fn ask_intelligent(
        &self,
        video: &VideoId,
        course: &mut Course<'_>,
    ) -> Result<(), Failure> {
        let images = match self.vod.list_ai_image_info(video).await {
            Ok(images) => images.iter().filter_map(vod::AiImage::intelligent).collect(),
            // Smart thumbnails must be applied for and exist in two regions only, and VOD does not say
            // how it refuses elsewhere. The next rule's cover is better than none; `check` tells the
            // operator.
            Err(error) if error.is_operation_not_offered() => {
                warn!(video.id = %video, error = chain(&error), "no smart thumbnails for this account");
                // Unless VOD refuses everything, in which case this fails. The cover is read again right
                // before it is replaced: pictures may be looked at until then.
                self.current(video).await?;
                course.job(JobState::Failed("the account has none".to_owned()));
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        course.intelligent(images);
        Ok(())
    }

    /// VOD documents the ends of a job only, so one that it does not mention is taken to be running.
    async fn job(&self, video: &VideoId, id: String) -> Result<JobState, Failure> {
        let jobs = self.vod.get_ai_image_jobs(std::slice::from_ref(&id)).await?;
        let job = jobs.into_iter().find(|job| job.id == id);
        Ok(match job.map(|job| job.state) {
            None | Some(vod::JobState::Running) => JobState::Running,
            Some(vod::JobState::Failed { why }) => {
                JobState::Failed(format!("job {id} failed: {why}"))
            }
            // The job names OSS's own addresses, which viewers may not be let to read; the list has the
            // ones to show, if perhaps a moment later.
            Some(vod::JobState::Succeeded(_)) => match self.vod.list_ai_image_info(video).await? {
                images if images.is_empty() => JobState::Running,
                images => JobState::Succeeded(
                    images.iter().filter_map(vod::AiImage::intelligent).collect(),
                ),
            },
        })
    }

    /// Orders smart thumbnails. A refusal that no later attempt changes is an answer: the next rule
    /// decides.
    async fn submit(
        &self,
        video: &VideoId,
        template: &str,
        course: &mut Course<'_>,
    ) -> Result<(), Failure> {
        match self.vod.submit_ai_image_job(video, template).await {
            Ok(id) => course.submitted(Ok(id)),
            Err(error) if error.is_operation_not_offered() || error.class() == Class::Permanent => {
                warn!(video.id = %video, error = chain(&error), "no smart thumbnail can be ordered");
                course.submitted(Err(chain(&error)));
            }
            Err(error) => {
                if !error.ambiguous() {
                    course.not_done();
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    pub(super) async fn current(&self, video: &VideoId) -> Result<Current, Failure> {
        let info = self.vod.look_up(video).await?;
        self.unknown.store(0, Ordering::Relaxed);
        Ok(info.current())
    }

    /// Makes the write, if there is time for it.
    pub(super) async fn write(
        &self,
        video: &VideoId,
        cover: &CoverUrl,
        lease: &Lease,
    ) -> Result<(), NotWritten> {
        let left = lease.deadline.saturating_duration_since(Instant::now());
        if left < self.call {
            return Err(NotWritten { failure: too_slow(video, self.lease), certain: true });
        }
        match self.vod.set_cover(video, cover).await {
            Ok(()) => {
                self.unknown.store(0, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                let certain = !error.ambiguous();
                Err(NotWritten { failure: error.into(), certain })
            }
        }
    }
}

/// A write that failed.
pub(super) struct NotWritten {
    pub failure: Failure,
    /// Whether the cover is certainly as it was.
    pub certain: bool,
}
