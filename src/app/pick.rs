//! `pick`: what would be chosen and why, for a person to see or a program to read. Looks at pictures and
//! asks the rules as the worker does, and changes nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use tracing::warn;

use super::{inspector, load};
use crate::cli;
use crate::config::Settings;
use crate::cover::policy::NeedsFacts;
use crate::cover::select::{self, Step};
use crate::cover::{
    Case, CoverUrl, Current, CurrentCover, Decision, Evidence, Finding, IntelligentImage, JobState,
    Memory, Policy, Rule, Verdict,
};
use crate::event::VideoId;
use crate::inspect::{Source, View};
use crate::vod::{self, Environment};
use report::{Entry, Report};
use source::{Offer, Origin};

mod page;
mod report;
mod source;
mod table;

pub(super) use source::WrongPaths;

/// Exits with 1 if no picture is picked.
pub(super) async fn pick(pick: cli::Pick) -> anyhow::Result<ExitCode> {
    let settings = load(&pick.configured)?;
    let offer = source::offer(&settings, &pick).await?;
    let policy = policy(&settings, &offer, pick.rules).await?;
    let report = report(&settings, offer, &policy, pick.html.is_some()).await?;
    let shown = match pick.json {
        true => report::json(&report)?,
        false => table::draw(&report),
    };
    if let Some(file) = &pick.html {
        page::write(&report, file)?;
    }
    std::io::stdout().lock().write_all(shown.as_bytes())?;
    Ok(if report.picked.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As `run` would have it, which may take asking VOD about the video.
async fn policy(
    settings: &Settings,
    offer: &Offer,
    rules: Option<Vec<Rule>>,
) -> anyhow::Result<Policy> {
    let policies = settings.policies()?;
    Ok(match &offer.origin {
        // Whoever names files wants to know about each.
        Origin::Files => Policy {
            most_pictures: usize::MAX,
            ..policies.trial(policies.default(), Some(rules.unwrap_or_else(|| vec![Rule::Best])))?
        },
        Origin::Event(event) => match policies.of(event, None) {
            Ok(policy) => policies.trial(policy, rules)?,
            Err(NeedsFacts) => {
                let facts = client(settings)?.look_up(&event.video).await?.facts();
                let policy = policies.of(event, Some(&facts)).unwrap_or(policies.default());
                policies.trial(policy, rules)?
            }
        },
        Origin::Video(_) => policies.trial(policies.default(), rules)?,
    })
}

/// Looks at the pictures, and lets the rules decide.
async fn report(
    settings: &Settings,
    offer: Offer,
    policy: &Policy,
    thumbnails: bool,
) -> anyhow::Result<Report> {
    let inspector = inspector(settings)?;
    let wanted = select::wanted(policy, &offer.candidates());
    let numbers: Vec<u32> = wanted.iter().map(|candidate| candidate.number).collect();
    let looked = inspector.view(offer.sources(&wanted), thumbnails).await;
    let mut views: BTreeMap<u32, View> = numbers.into_iter().zip(looked).collect();

    let findings = views.iter().map(|(number, view)| (*number, view.finding.clone())).collect();
    let choice = decide(settings, &offer, policy, findings).await;

    let unseen = || View {
        finding: Finding::Unreachable("there are more than cover.most_pictures".into()),
        thumbnail: None,
    };
    let mut entries = Vec::new();
    for picture in &offer.pictures {
        let view = views.remove(&picture.candidate.number).unwrap_or_else(unseen);
        // The first of two entries of the same picture.
        let is_picked = choice.cover.as_ref() == Some(&picture.candidate.url)
            && !entries.iter().any(|entry: &Entry| entry.is_picked);
        let number = Some(picture.candidate.number);
        entries.push(Entry::new(picture.name.clone(), number, is_picked, view));
    }
    // A smart thumbnail is none of the snapshots.
    if let Some(cover) = choice.cover
        && !entries.iter().any(|entry| entry.is_picked)
    {
        let looked = inspector.view(vec![Source::Url(cover.clone())], thumbnails).await;
        entries
            .extend(looked.into_iter().map(|view| Entry::new(cover.to_string(), None, true, view)));
    }
    Ok(Report::new(offer.title, entries, choice.rule, choice.trace))
}

/// What the rules chose.
struct Choice {
    cover: Option<CoverUrl>,
    rule: Option<Rule>,
    trace: Vec<String>,
}

async fn decide(
    settings: &Settings,
    offer: &Offer,
    policy: &Policy,
    findings: BTreeMap<u32, Finding>,
) -> Choice {
    let (candidates, mut findings) = (offer.candidates(), Some(findings));
    let memory = Memory::default();
    let case = Case {
        candidates: &candidates,
        automatic: match &offer.origin {
            Origin::Event(event) => event.automatic,
            Origin::Files | Origin::Video(_) => true,
        },
        event_cover: None,
        event_time: None,
        memory: &memory,
        // Nothing comes later: what cannot be seen now is not waited for.
        attempts: u32::MAX,
        may_come: false,
    };
    let mut seen = Evidence::default();
    let (mut notes, video) = (Vec::new(), offer.video());
    loop {
        match select::next(policy, &case, &seen) {
            Step::AskIntelligent => {
                let asked = match video {
                    Some(video) => intelligent(settings, video).await,
                    None => Ok(Vec::new()),
                };
                seen.intelligent = Some(asked.unwrap_or_else(|error| {
                    warn!(error = format!("{error:#}"), "no smart thumbnails could be asked for");
                    notes.push(format!("intelligent: VOD could not be asked ({error:#})"));
                    Vec::new()
                }));
            }
            Step::Inspect(_) => seen.pictures = Some(findings.take().unwrap_or_default()),
            Step::AskCurrent => seen.current = Some(no_cover()),
            // Nothing is waited for.
            Step::Submit(_) | Step::AskJob(_) => seen.job = Some(JobState::Running),
            Step::TryAgain(why) => {
                notes.push(why);
                return Choice { cover: None, rule: None, trace: notes };
            }
            // Files belong to no video, so there is no cover that the least bad would have to beat.
            Step::Decided(Decision { verdict: Verdict::NoCover, .. })
                if video.is_none() && seen.current.is_none() =>
            {
                seen.current = Some(no_cover());
            }
            Step::Decided(decision) => {
                let (cover, rule) = match decision.verdict {
                    Verdict::Set { cover, rule } | Verdict::IsSet { cover, rule } => {
                        (Some(cover), Some(rule))
                    }
                    Verdict::Keep(_) | Verdict::NoCover | Verdict::Wait => (None, None),
                };
                notes.extend(decision.trace);
                return Choice { cover, rule, trace: notes };
            }
        }
    }
}

fn no_cover() -> Current {
    Current { cover: CurrentCover::None, middle: None }
}

async fn intelligent(
    settings: &Settings,
    video: &VideoId,
) -> anyhow::Result<Vec<IntelligentImage>> {
    let images = client(settings)?.list_ai_image_info(video).await?;
    Ok(images.iter().filter_map(vod::AiImage::intelligent).collect())
}

fn client(settings: &Settings) -> Result<vod::Client, vod::SettingsError> {
    vod::Client::with_environment(&settings.vod, Environment::of_process())
}
