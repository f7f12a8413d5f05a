//! Joins single look-ups and single updates into calls for up to 20 videos. A lone one leaves at once by
//! itself; under load both operations are used, so that the quotas of both are spent. Every caller gets
//! an answer of its own, also where VOD refuses a whole call because of one video in it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::call::Turn;
use super::quota::LONGEST_WAIT;
use super::{Client, Error, MOST_VIDEOS, Operation, VideoInfo};
use crate::cover::CoverUrl;
use crate::error::Class;
use crate::event::VideoId;
use crate::gathering::Carrier;

/// Calls of one kind that are under way at once: enough to fill the quota at a latency of 200 ms.
pub(super) const SLOTS: usize = 32;

type Results<T> = Vec<Result<T, Error>>;

impl Client {
    /// What [`Client::get_video_info`] would say, at the price of a part of a call where many ask at
    /// once: a call of GetVideoInfos answers up to 20.
    pub async fn look_up(&self, video: &VideoId) -> Result<VideoInfo, Error> {
        let asked = Asked { what: video.clone(), since: Instant::now() };
        let answer = self.inner.look_ups.ask(|| LookUps(self.clone()), asked).await;
        answer.unwrap_or_else(|| lost(Operation::GetVideoInfo))
    }

    /// What [`Client::update_video_info`] does, in a call with others where many come at once: a call of
    /// UpdateVideoInfos sets up to 20 covers. Begins within [`LONGEST_WAIT`], or fails, and takes no longer
    /// than [`super::Settings::longest_call`] in all, unless VOD refuses a whole call and it is split.
    pub async fn set_cover(&self, video: &VideoId, cover: &CoverUrl) -> Result<(), Error> {
        let asked = Asked { what: (video.clone(), cover.clone()), since: Instant::now() };
        let answer = self.inner.updates.ask(|| Updates(self.clone()), asked).await;
        answer.unwrap_or_else(|| lost(Operation::UpdateVideoInfo))
    }

    /// The turn for a call of one or the other operation, and how many videos it takes.
    async fn turn_of(
        &self,
        waiting: usize,
        single: Operation,
        several: Operation,
    ) -> (Result<Operation, Duration>, usize) {
        let quota = &self.inner.quota;
        let turn = match waiting {
            1 if quota.now(single).await => Ok(single),
            _ => quota.first_of(single, several).await,
        };
        let most = if turn == Ok(single) { 1 } else { MOST_VIDEOS };
        (turn, most)
    }
}

/// The task that made the call has ended early.
fn lost<T>(operation: Operation) -> Result<T, Error> {
    Err(Error::Lost { operation: operation.name() })
}

/// What was asked for, and when: who has waited for too long is turned away, and takes part in no call.
pub(super) struct Asked<A> {
    what: A,
    since: Instant,
}

/// Answers in the order of the questions; what has no answer yet is asked for by calls.
struct Sheet<A, T> {
    asked: Vec<A>,
    answers: Vec<Option<Result<T, Error>>>,
}

impl<A: Clone, T> Sheet<A, T> {
    /// Those who are turned away have their answer.
    fn new(all: Vec<Asked<A>>, turn: Result<Operation, Duration>, operation: Operation) -> Self {
        let paced = |after| Some(Err(Error::Paced { operation: operation.name(), after }));
        let answer = |one: &Asked<A>| match turn {
            Err(after) => paced(after),
            Ok(_) if one.since.elapsed() > LONGEST_WAIT => paced(LONGEST_WAIT),
            Ok(_) => None,
        };
        let answers = all.iter().map(answer).collect();
        Self { asked: all.into_iter().map(|one| one.what).collect(), answers }
    }

    fn open(&self) -> Vec<A> {
        let all = self.asked.iter().zip(&self.answers);
        all.filter(|(_, answer)| answer.is_none()).map(|(what, _)| what.clone()).collect()
    }

    /// Gives those that are open the answers, in their order.
    fn fill(mut self, answers: Results<T>, operation: Operation) -> Results<T> {
        let open = self.answers.iter_mut().filter(|answer| answer.is_none());
        for (place, answer) in open.zip(answers) {
            *place = Some(answer);
        }
        let answers = self.answers.into_iter();
        answers.map(|answer| answer.unwrap_or_else(|| lost(operation))).collect()
    }
}

#[derive(Clone)]
pub(super) struct LookUps(Client);

impl Carrier for LookUps {
    type Asked = Asked<VideoId>;
    type Answer = Result<VideoInfo, Error>;
    type Turn = Result<Operation, Duration>;

    async fn turn(&self, waiting: usize) -> (Self::Turn, usize) {
        self.0.turn_of(waiting, Operation::GetVideoInfo, Operation::GetVideoInfos).await
    }

    async fn carry(&self, turn: Self::Turn, asked: Vec<Self::Asked>) -> Vec<Self::Answer> {
        let sheet = Sheet::new(asked, turn, Operation::GetVideoInfo);
        let answers = self.look_up(turn, &sheet.open()).await;
        sheet.fill(answers, Operation::GetVideoInfo)
    }
}

impl LookUps {
    /// One answer for each video, in their order; a video may be asked for more than once.
    async fn look_up(
        &self,
        turn: Result<Operation, Duration>,
        videos: &[VideoId],
    ) -> Results<VideoInfo> {
        let mut answers: BTreeMap<&VideoId, Option<Result<VideoInfo, Error>>> =
            videos.iter().map(|video| (video, None)).collect();
        let mut single_turn = Turn::Taken;
        if turn == Ok(Operation::GetVideoInfos) && !answers.is_empty() {
            single_turn = Turn::Take;
            let distinct: Vec<_> = answers.keys().copied().cloned().collect();
            let reply = self.0.get_several(&distinct, Turn::Taken).await;
            for (video, answer) in &mut answers {
                *answer = match &reply {
                    // That none exists is inferred from one error code. It is not believed of several
                    // videos at once, whose events would all be given up.
                    Ok(infos) if infos.found.is_empty() => None,
                    Ok(infos) => match infos.of(video) {
                        // Not mentioned: perhaps a video of another application.
                        Err(Error::Reply { .. }) => None,
                        told => Some(told.cloned()),
                    },
                    // One of them may spoil it for the others.
                    Err(error) if is_about_the_batch(error) => None,
                    Err(error) => Some(Err(error.clone())),
                };
            }
        }
        let alone = answers.iter_mut().filter(|(_, answer)| answer.is_none());
        join_all(alone.map(async |(video, answer)| {
            *answer = Some(self.0.get_one(video, single_turn).await);
        }))
        .await;
        let lost = || lost(Operation::GetVideoInfos);
        let answer = |video| answers.get(video).cloned().flatten().unwrap_or_else(lost);
        videos.iter().map(answer).collect()
    }
}

#[derive(Clone)]
pub(super) struct Updates(Client);

impl Carrier for Updates {
    type Asked = Asked<(VideoId, CoverUrl)>;
    type Answer = Result<(), Error>;
    type Turn = Result<Operation, Duration>;

    async fn turn(&self, waiting: usize) -> (Self::Turn, usize) {
        let (single, several) = (Operation::UpdateVideoInfo, Operation::UpdateVideoInfos);
        if self.0.inner.singly.load(Ordering::Relaxed) {
            let turn = self.0.inner.quota.take(single).await;
            return (turn.map(|()| single), 1);
        }
        self.0.turn_of(waiting, single, several).await
    }

    async fn carry(&self, turn: Self::Turn, asked: Vec<Self::Asked>) -> Vec<Self::Answer> {
        let sheet = Sheet::new(asked, turn, Operation::UpdateVideoInfo);
        let open = sheet.open();
        let distinct: BTreeSet<_> = open.iter().map(|(video, _)| video).collect();
        let answers = match (turn, &open[..]) {
            (_, []) => Vec::new(),
            (Ok(Operation::UpdateVideoInfo), [(video, cover)]) => {
                vec![self.0.update_one(video, cover, Turn::Taken).await]
            }
            // Which of two covers of one video would win in one call is not documented.
            _ if distinct.len() < open.len() => {
                let mut answers = Vec::new();
                for (video, cover) in &open {
                    answers.push(self.0.update_one(video, cover, Turn::Take).await);
                }
                answers
            }
            _ => self.update(&open, Turn::Taken).await,
        };
        sheet.fill(answers, Operation::UpdateVideoInfo)
    }
}

impl Updates {
    /// One answer for each, in their order. What is refused as a whole is split to find the one that
    /// spoils it.
    fn update<'a>(
        &'a self,
        updates: &'a [(VideoId, CoverUrl)],
        turn: Turn,
    ) -> Pin<Box<dyn Future<Output = Results<()>> + Send + 'a>> {
        Box::pin(async move {
            let error = match self.0.update_several(updates, turn).await {
                Ok(updated) => return updates.iter().map(|(video, _)| updated.of(video)).collect(),
                Err(error) => error,
            };
            match updates.split_at_checked(updates.len() / 2) {
                _ if is_refused(&error) => self.update_singly(updates, error).await,
                Some((first, second)) if !first.is_empty() && error.class() == Class::Permanent => {
                    let mut answers = self.update(first, Turn::Take).await;
                    answers.extend(self.update(second, Turn::Take).await);
                    answers
                }
                _ => updates.iter().map(|_| Err(error.clone())).collect(),
            }
        })
    }

    /// The access key may lack the permission for the operation that sets several covers, and have the
    /// one for the other.
    async fn update_singly(&self, updates: &[(VideoId, CoverUrl)], refusal: Error) -> Results<()> {
        let Some(((video, cover), others)) = updates.split_first() else { return Vec::new() };
        let first = self.0.update_one(video, cover, Turn::Take).await;
        if first.as_ref().is_err_and(is_refused) {
            return updates.iter().map(|_| Err(refusal.clone())).collect();
        }
        if first.is_ok() && !self.0.inner.singly.swap(true, Ordering::Relaxed) {
            let error = crate::error::chain(&refusal);
            tracing::warn!(
                error,
                "setting covers one by one; grant vod:UpdateVideoInfos and start again"
            );
        }
        let others =
            others.iter().map(|(video, cover)| self.0.update_one(video, cover, Turn::Take));
        let mut answers = vec![first];
        answers.extend(join_all(others).await);
        answers
    }
}

/// Whether the access key has no permission for the operation.
fn is_refused(error: &Error) -> bool {
    error.is_code("Forbidden") || error.is_code("Forbidden.RAM")
}

/// Whether a call for fewer of the same videos could succeed.
fn is_about_the_batch(error: &Error) -> bool {
    error.class() == Class::Permanent || is_refused(error)
}
