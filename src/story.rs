//! Everything that is known of one video, for the engineer who asks why it has the cover that it has. Asks VOD
//! and the ledger, and changes nothing.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cover::memory::Memory;
use crate::cover::owner::{Owner, whose};
use crate::cover::{By, Case, Evidence, Outcome, Write};
use crate::error::chain;
use crate::event::VideoId;
use crate::ledger::{Ledger, Sight};
use crate::vod::{self, VideoInfo};

pub struct Story {
    video: VideoId,
    vod: Result<VideoInfo, vod::Error>,
    sight: Option<Sight>,
    ledger_error: Option<String>,
}

/// Nothing is known of the video, because neither can be asked.
#[derive(Debug, thiserror::Error)]
#[error("neither VOD nor the ledger can be asked: {vod}; {ledger}")]
pub struct Untold {
    vod: String,
    ledger: String,
}

impl Story {
    pub async fn of(
        video: &VideoId,
        vod: &vod::Client,
        ledger: &dyn Ledger,
    ) -> Result<Self, Untold> {
        let (vod, sight) = tokio::join!(vod.look_up(video), ledger.look(video));
        if let (Err(vod), Err(ledger)) = (&vod, &sight) {
            return Err(Untold { vod: chain(vod), ledger: chain(ledger) });
        }
        Ok(Self {
            video: video.clone(),
            vod,
            ledger_error: sight.as_ref().err().map(|error| chain(error)),
            sight: sight.ok().flatten(),
        })
    }

    fn memory(&self) -> Memory {
        self.sight.as_ref().map(|sight| sight.memory.clone()).unwrap_or_default()
    }

    /// Whose the cover is now that VOD names.
    fn owner(&self) -> Option<Owner> {
        let memory = self.memory();
        let case = Case {
            candidates: &[],
            automatic: false,
            event_cover: None,
            event_time: None,
            memory: &memory,
            attempts: 0,
            may_come: false,
        };
        let current = self.vod.as_ref().ok()?.current();
        Some(whose(&current, &case, &Evidence::default()))
    }

    /// The cover that the video has, as VOD says.
    pub fn cover(&self) -> Option<String> {
        self.vod.as_ref().ok()?.current().text()
    }

    /// Whose the cover is, and by which evidence.
    fn whose(&self) -> String {
        let memory = self.memory();
        let cover = self.cover();
        let by_record = |cover: &str| match memory.outcome() {
            Some(Outcome::Manual { cover: theirs, by }) if theirs == cover => {
                Some(format!("somebody's: {by}"))
            }
            _ => None,
        };
        match (self.owner(), cover.as_deref().and_then(by_record)) {
            (_, Some(text)) => text,
            (None, None) => match memory.outcome() {
                Some(Outcome::Manual { by, .. }) => format!("somebody's, as last known: {by}"),
                _ => "unknown, because VOD could not be asked".to_owned(),
            },
            (Some(Owner::Nobody), None) => "nobody's: none is set".to_owned(),
            (Some(Owner::Vod), None) => "VOD's: it is the snapshot that VOD takes".to_owned(),
            (Some(Owner::Intelligent), None) => {
                "a smart thumbnail that we did not set: a template's, or a person's choice"
                    .to_owned()
            }
            (Some(Owner::Ours), None) => "ours: it is what we wrote last".to_owned(),
            (Some(Owner::Operator), None) => "the operator's, by `vod-cover set`".to_owned(),
            (Some(Owner::Somebody), None) => {
                "somebody's: it is neither VOD's default nor what we wrote last".to_owned()
            }
        }
    }

    /// What an event of the video would come to.
    fn conclusion(&self) -> String {
        let memory = self.memory();
        let text = match (memory.outcome(), self.owner()) {
            (Some(Outcome::Deleted), _) => "Events are dropped: the video was deleted.",
            (Some(Outcome::Chosen { .. }), _) => "No event replaces it: the operator chose it.",
            (Some(Outcome::Manual { .. }), _) => "No event replaces it: somebody chose it.",
            (_, Some(Owner::Somebody | Owner::Operator)) => {
                "An event would keep it: it counts as somebody's choice."
            }
            (_, Some(Owner::Intelligent)) => "An event would keep it: it is a smart thumbnail.",
            (Some(Outcome::Set { .. }), _) => {
                "Only a rule further up the chain, or a newer event after a change of the rules, \
                 replaces it."
            }
            (None, _) if self.sight.is_none() => "Nothing is remembered: the next event decides.",
            _ => "The next event decides.",
        };
        text.to_owned()
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (name, text) in self.lines() {
            // Titles and URLs are strangers' text, and this goes to a terminal.
            let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            // Writing to a string does not fail.
            let _ = writeln!(out, "{name:<9} {text}");
        }
        out
    }

    /// What is known, part by part. A part without a name belongs to the one before.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        let mut line = |name, text: String| out.push((name, text));
        let memory = self.memory();
        line("video", self.video.to_string());
        match &self.vod {
            Ok(info) => {
                let text = |part: &Option<String>| part.clone().unwrap_or_else(|| "?".to_owned());
                line("title", text(&info.title));
                let created = info.created.map_or_else(|| "?".to_owned(), |time| time.to_string());
                let snapshots = info.snapshots.len();
                line(
                    "status",
                    format!("{}, created {created}, {snapshots} snapshots", text(&info.status)),
                );
                line("cover", self.cover().unwrap_or_else(|| "none".to_owned()));
            }
            Err(error) => line("VOD", chain(error)),
        }
        line("whose", self.whose());
        if let Some(error) = &self.ledger_error {
            line("ledger", error.clone());
        }
        if let Some(record) = &memory.standing {
            let rules = record.rules.as_ref().map(|version| format!(" (rules {version})"));
            let (at, how) = (record.decided_at, outcome(&record.outcome));
            line("settled", format!("{at} {how}{}", rules.unwrap_or_default()));
        }
        for write in &memory.writes {
            line("wrote", written(write));
        }
        if memory.restored > 0 {
            line("put back", format!("{} times", memory.restored));
        }
        if let Some(job) = &memory.job {
            let id = job.id.as_deref().unwrap_or("whose id is not known");
            line("job", format!("{} for smart thumbnails, {id}", job.at));
        }
        if let Some(sight) = &self.sight {
            line("claims", claims(sight));
        }
        for entry in &memory.history {
            line("history", format!("{} {}", entry.at, entry.event));
            line("", entry.what.clone());
        }
        line("so", self.conclusion());
        out
    }

    pub fn json(&self) -> Value {
        let memory = self.memory();
        let vod = match &self.vod {
            Ok(info) => json!({
                "title": info.title, "status": info.status, "created": info.created,
                "cover": self.cover(), "snapshots": info.snapshots.len(),
            }),
            Err(error) => json!({ "error": chain(error) }),
        };
        json!({
            "video": self.video, "vod": vod, "ledger_error": self.ledger_error,
            "owner": self.owner(), "whose": self.whose(), "standing": memory.standing,
            "writes": memory.writes, "job": memory.job, "put_back": memory.restored,
            "claims": self.sight.as_ref().map(|sight| sight.fence),
            "leased_ms": self.sight.as_ref().and_then(|sight| sight.leased).map(milliseconds),
            "history": memory.history, "conclusion": self.conclusion(),
        })
    }
}

fn claims(sight: &Sight) -> String {
    match sight.leased {
        Some(left) => format!("{}, one of them now, for {left:.0?} at the most", sight.fence),
        None => format!("{}, none now", sight.fence),
    }
}

fn milliseconds(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Set { cover, rule } => format!("set by rule {rule}: {cover}"),
        Outcome::Chosen { cover } => format!("chosen by the operator: {cover}"),
        Outcome::Manual { cover, .. } => format!("somebody's: {cover}"),
        Outcome::Deleted => "deleted".to_owned(),
        // The others settle nothing.
        other => format!("{other:?}"),
    }
}

fn written(write: &Write) -> String {
    let by = match write.by {
        By::Rule(rule) => format!("rule {rule}"),
        By::Operator => "the operator".to_owned(),
        By::Restoration => "putting it back".to_owned(),
    };
    let over = match (write.over, &write.before) {
        (Some(Owner::Nobody), _) | (None, None) => "nothing".to_owned(),
        (Some(Owner::Vod), _) => "VOD's default".to_owned(),
        (Some(Owner::Ours), _) => "our own".to_owned(),
        (_, Some(before)) => before.clone(),
        (Some(_), None) => "another".to_owned(),
    };
    let state = match (write.made, write.echoed) {
        (_, true) => "reported back by VOD",
        (true, false) => "confirmed",
        (false, false) => "not confirmed: it may or may not have happened",
    };
    let at: Timestamp = write.at;
    format!("{at} {} by {by} over {over}; {state}", write.cover)
}
