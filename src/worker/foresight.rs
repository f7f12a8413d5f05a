//! What would come of an event now, found out without changing anything: no claim, no write, no order. What it
//! reads costs the quota like any event.

use jiff::Timestamp;

use super::Worker;
use crate::cover::course::{Act, Course, End, Task};
use crate::cover::{By, Memory, Outcome, Verdict};
use crate::error::{Class, Failure};
use crate::event::{self, Event, EventKey, SnapshotsReady, VideoId};
use crate::queue::Message;

impl Worker {
    /// One sentence for people, without a full stop: `would set … by rule best`.
    pub async fn foresee(&self, message: &Message) -> String {
        match self.course_of(message).await {
            Ok(foreseen) => foreseen,
            Err(failure) => {
                let end = match failure.class {
                    Class::Permanent => "would be a dead letter again",
                    Class::Transient | Class::Deferred { .. } => "would be tried again",
                    Class::Misconfigured => "would wait until the configuration is mended",
                };
                format!("{end}: {failure}")
            }
        }
    }

    async fn course_of(&self, message: &Message) -> Result<String, Failure> {
        let parsed = event::parse(&message.body);
        let event =
            parsed.map_err(|error| Failure::new(Class::Permanent, error.reason(), error))?;
        match event {
            Event::Snapshots(ready) => self.choice(&ready, None).await,
            Event::FollowUp(again) => self.choice(&again.ready, Some(again.turn)).await,
            Event::CoverChanged(changed) => {
                let overwrite = self.ownership.overwrite_manual;
                let task = Task::Judge { change: &changed.change, patient: false, overwrite };
                let memory = self.remembered(&changed.video).await?;
                self.run_dry(&changed.video, &changed.key, None, task, memory).await
            }
            Event::Deleted(gone) => Ok(format!("would remember that video {} is gone", gone.video)),
            Event::Pulled(pulled) => {
                Ok(format!("would remember the cover that was given to video {}", pulled.video))
            }
            Event::Nothing { why, .. } => Ok(format!("would change nothing: {why}")),
            Event::Other { kind } => Ok(format!("would change nothing: {kind} is not ours")),
        }
    }

    async fn choice(
        &self,
        ready: &SnapshotsReady,
        turn: Option<crate::cover::Turn>,
    ) -> Result<String, Failure> {
        let key = turn.map_or_else(|| ready.key.clone(), |turn| ready.key.look(turn));
        let memory = self.remembered(&ready.video).await?;
        let policy = self.policy_for(ready, &memory).await?;
        let may_wait = self.may_wait;
        let task = Task::Choose { event: ready, policy, attempts: 0, turn, may_wait };
        self.run_dry(&ready.video, &key, ready.at, task, memory).await
    }

    async fn remembered(&self, video: &VideoId) -> Result<Memory, Failure> {
        Ok(self.ledger.look(video).await?.map(|sight| sight.memory).unwrap_or_default())
    }

    async fn run_dry(
        &self,
        video: &VideoId,
        key: &EventKey,
        at: Option<Timestamp>,
        task: Task<'_>,
        memory: Memory,
    ) -> Result<String, Failure> {
        if memory.standing.as_ref().is_some_and(|record| record.event == *key) {
            return Ok("would change nothing: this event was dealt with".to_owned());
        }
        let mut course = Course::new(task, key, at, memory);
        loop {
            let act = course.next(Timestamp::now());
            match self.find_out(video, &mut course, act).await? {
                None => {}
                Some(Act::Remember) => course.remembered(),
                Some(Act::Write(cover)) => {
                    let by = match course.memory().writes.last().map(|write| write.by) {
                        Some(By::Rule(rule)) => format!(" by rule {rule}"),
                        Some(By::Restoration) => ", putting it back".to_owned(),
                        Some(By::Operator) | None => String::new(),
                    };
                    return Ok(format!("would set {cover}{by}"));
                }
                Some(Act::Submit(template)) => {
                    return Ok(format!("would order smart thumbnails with template {template}"));
                }
                Some(Act::PutOff(why)) => return Ok(format!("would wait: {why}")),
                Some(Act::Finish(end)) => return Ok(ended(&end)),
                // Questions, which were asked.
                Some(_) => return Ok("would be handled".to_owned()),
            }
        }
    }
}

fn ended(end: &End) -> String {
    match (&end.decision, &end.record.outcome) {
        (Some(decision), _) => match &decision.verdict {
            Verdict::Set { cover, rule } => format!("would set {cover} by rule {rule}"),
            Verdict::IsSet { cover, rule } => {
                format!("would leave {cover}, which rule {rule} wants as well")
            }
            Verdict::Keep(why) => format!("would leave the cover: {why}"),
            Verdict::NoCover => {
                format!(
                    "would set nothing, because no rule yields one: {}",
                    decision.trace.join("; ")
                )
            }
            Verdict::Wait => "would wait for a smart thumbnail".to_owned(),
        },
        (None, Outcome::Manual { cover, by }) => {
            format!("would remember {cover} as somebody's choice: {by}")
        }
        (None, Outcome::Noted { what }) => format!("would change nothing: {what}"),
        (None, _) => "would change nothing".to_owned(),
    }
}
