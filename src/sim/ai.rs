//! Jobs that make smart thumbnails, and the templates that they follow. A job ends at its time without
//! anybody's help: whoever looks at the account after that finds it done. There is no event for it.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-submitaiimagejob>

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Simulator;
use super::account::{Account, By, Journal};
use super::text::Text;
use super::video::{Thumbnail, mix};

/// Jobs that are kept; older ones are unknown.
const MOST: usize = 100_000;
/// Thumbnails of a video that had none.
const MADE: u8 = 3;

pub(super) struct Job {
    pub id: String,
    pub video: Text,
    pub template: Template,
    pub user_data: Option<String>,
    pub created: Timestamp,
    pub state: State,
    ends: Timestamp,
}

pub(super) enum State {
    Running,
    Failed,
    /// AIImageResult.
    Succeeded(Value),
}

#[derive(Clone)]
pub(super) struct Template {
    pub id: String,
    /// VOD makes the best thumbnail the cover by itself.
    pub sets_cover: bool,
}

impl Template {
    /// TemplateConfig.
    pub fn config(&self) -> String {
        json!({ "Format": "png", "SetDefaultCover": self.sets_cover.to_string() }).to_string()
    }
}

pub(super) struct Jobs {
    templates: Vec<Template>,
    takes: SignedDuration,
    all: Journal<Job>,
    /// Numbers of those that have not ended, in the order in which they will.
    running: VecDeque<u64>,
    submitted: BTreeMap<Text, usize>,
}

impl Jobs {
    pub fn new(templates: Vec<(String, bool)>, takes: Duration) -> Self {
        let template = |(id, sets_cover)| Template { id, sets_cover };
        Self {
            templates: templates.into_iter().map(template).collect(),
            takes: takes.try_into().unwrap_or(SignedDuration::MAX),
            all: Journal::new(MOST),
            running: VecDeque::new(),
            submitted: BTreeMap::new(),
        }
    }

    pub fn template(&self, id: &str) -> Option<&Template> {
        self.templates.iter().find(|template| template.id == id)
    }

    pub fn find(&self, id: &str) -> Option<&Job> {
        // The second half of an id is the job's number.
        let number = u64::from_str_radix(id.get(16..)?, 16).ok()?;
        self.all.get(number).filter(|job| job.id == id)
    }
}

impl Account {
    /// The new job's id.
    pub fn submit_job(
        &mut self,
        video: Text,
        template: Template,
        user_data: Option<String>,
        now: Timestamp,
    ) -> String {
        let ends = now.saturating_add(self.jobs.takes).unwrap_or(Timestamp::MAX);
        let number = self.jobs.all.written() + 1;
        let id = format!("{:016x}{number:016x}", mix(self.seed ^ mix(number | 1 << 41)));
        *self.jobs.submitted.entry(video.clone()).or_default() += 1;
        let (job, state, created) = (id.clone(), State::Running, now);
        self.jobs.all.push(|_| Job { id, video, template, user_data, created, state, ends });
        self.jobs.running.push_back(number);
        self.end_jobs(now);
        job
    }

    /// Ends the jobs whose time has come.
    pub fn end_jobs(&mut self, now: Timestamp) {
        while let Some(number) = self.jobs.running.front().copied() {
            if self.jobs.all.get(number).is_some_and(|job| job.ends > now) {
                break;
            }
            self.jobs.running.pop_front();
            self.end_job(number);
        }
    }

    fn end_job(&mut self, number: u64) {
        let Some(job) = self.jobs.all.get(number) else { return };
        let (id, video, ends) = (job.id.clone(), job.video.clone(), job.ends);
        let sets_cover = job.template.sets_cover;
        // The video may be gone.
        let made = self.video_mut(&video).filter(|video| !video.ai_fails).map(|video| {
            video.smart = if video.smart == 0 { MADE } else { video.smart };
            video.smart_from = Timestamp::MIN;
            video.ai_job = Some(id);
            video.thumbnails()
        });
        let best = made.iter().flatten().max_by(|one, other| one.score.total_cmp(&other.score));
        if let Some(best) = best.filter(|_| sets_cover) {
            self.set_cover(&video, &self.url(&best.path), By::Default, ends);
        }
        // A number here, text in ListAIImageInfo; and never with auth_key.
        let one = |made: Thumbnail| json!({ "Score": made.score, "Url": self.url(&made.path) });
        let state = made
            .map_or(State::Failed, |made| State::Succeeded(made.into_iter().map(one).collect()));
        if let Some(job) = self.jobs.all.get_mut(number) {
            job.state = state;
        }
    }
}

impl Simulator {
    /// Ends a video's jobs now and shows its smart thumbnails, whenever they were to come; false if
    /// there is no such video.
    pub fn finish_ai(&self, video: &str) -> bool {
        let mut account = self.account();
        let Some(found) = account.video_mut(video) else { return false };
        found.smart_from = Timestamp::MIN;
        let jobs = &account.jobs;
        let is_its = |number: &u64| jobs.all.get(*number).is_some_and(|job| job.video == video);
        let (ended, running): (Vec<u64>, Vec<u64>) = jobs.running.iter().partition(|n| is_its(n));
        account.jobs.running = running.into();
        ended.into_iter().for_each(|number| account.end_job(number));
        true
    }

    /// How many jobs for smart thumbnails were ever submitted for a video.
    pub fn ai_jobs_of(&self, video: &str) -> usize {
        self.account().jobs.submitted.get(video).copied().unwrap_or_default()
    }

    /// The same of every video that had one.
    pub(super) fn ai_jobs(&self) -> BTreeMap<Text, usize> {
        self.account().jobs.submitted.clone()
    }
}
