//! The whole decision. [`next`] looks at what is known and either says what it needs to know, or decides.
//! Pure: the caller fetches, so that nothing is fetched that no rule needs, and so that the same
//! evidence always gives the same decision (a redelivered event must choose the same picture again).

use super::memory;
use super::owner::{Owner, whose};
use super::policy::Late;
use super::{
    Candidate, Case, CoverUrl, CurrentCover, Decision, Evidence, IntelligentImage, JobState,
    Memory, Outcome, Policy, Rule, Verdict, Why,
};
use pictures::{Found, Pictures};

pub use pictures::wanted;

mod pictures;

/// What [`next`] asks for, or its answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ask VOD for the video's smart thumbnails, and fill [`Evidence::intelligent`].
    AskIntelligent,
    /// Order smart thumbnails with this template, once for the video, and fill [`Evidence::job`].
    Submit(String),
    /// Ask VOD what became of the job that was ordered, and fill [`Evidence::job`].
    AskJob(String),
    /// Look at these pictures, and fill [`Evidence::pictures`].
    Inspect(Vec<Candidate>),
    /// Ask VOD for the video's cover, and fill [`Evidence::current`].
    AskCurrent,
    /// The decision needs a picture that could not be looked at; says which and why.
    TryAgain(String),
    Decided(Decision),
}

/// How much the least bad of a set in which every picture has defects must score above what is there.
/// Scores differ by chance by less than this, and a change for nothing is worse than none.
const CLEARLY: f64 = 10.0;

/// Decides, or says what is missing. Never asks for the same thing twice.
pub fn next(policy: &Policy, case: &Case<'_>, seen: &Evidence) -> Step {
    let mut awaited = false;
    let mut step = step(policy, case, seen, &mut awaited);
    if let Step::Decided(decision) = &mut step {
        // Whatever comes would not be taken.
        let final_end = matches!(
            decision.verdict,
            Verdict::Keep(why) if why != Why::AsGoodAlready
        );
        decision.provisional = awaited && !final_end;
    }
    step
}

fn step(policy: &Policy, case: &Case<'_>, seen: &Evidence, awaited: &mut bool) -> Step {
    let mut trace = Vec::new();
    if let Some(why) = settled(policy, case.memory) {
        return decided(Verdict::Keep(why), trace);
    }
    let recorded = recorded(case.memory);
    let pictures = seen.pictures.as_ref().map(|findings| Pictures {
        candidates: case.candidates,
        findings,
        // On the last attempt that waits, what cannot be had is passed over for one that is usable.
        patient: case.attempts.saturating_add(1) < policy.patience,
    });
    for &rule in &policy.rules {
        if recorded.is_some_and(|(ours, _)| ours == rule) {
            trace.push(format!("{rule}: our own cover is from this rule"));
            return decided(Verdict::Keep(Why::AsGoodAlready), trace);
        }
        let target = rule.target(case.candidates);
        let found = match (rule, target) {
            (Rule::Keep, _) => {
                trace.push("keep".into());
                return decided(Verdict::Keep(Why::RuleSaysSo), trace);
            }
            (Rule::Intelligent, _) => match &seen.intelligent {
                None => return Step::AskIntelligent,
                Some(images) => match intelligent(images, policy, &mut trace) {
                    Some(cover) => Some(cover),
                    None => match late(policy, case, seen, &mut trace) {
                        Awaited::Not => None,
                        Awaited::Provisionally => {
                            *awaited = true;
                            None
                        }
                        Awaited::Idly => {
                            *awaited = true;
                            return decided(Verdict::Wait, trace);
                        }
                        Awaited::Once(step) => return step,
                    },
                },
            },
            (_, Some(at)) if !policy.gate || at >= case.candidates.len() => {
                at_position(rule, at, case.candidates, &mut trace)
            }
            (_, target) => {
                let Some(pictures) = &pictures else { return look(policy, case, trace) };
                let found = match target {
                    Some(at) => pictures.nearest(rule, at, &mut trace),
                    None => pictures.best(&mut trace),
                };
                match found {
                    Found::Chosen(candidate) => Some(candidate.url.clone()),
                    Found::Nothing => None,
                    Found::Unreachable(why) => return Step::TryAgain(why),
                }
            }
        };
        if let Some(cover) = found {
            return settle(policy, case, seen, cover, rule, trace);
        }
    }
    match &pictures {
        Some(pictures) => least_bad(policy, case, seen, pictures, trace),
        None => decided(Verdict::NoCover, trace),
    }
}

/// Asks for the pictures, unless no outcome could change anything.
fn look(policy: &Policy, case: &Case<'_>, trace: Vec<String>) -> Step {
    match outdated(case) {
        Some(ours) => newer_already(ours, trace),
        None => Step::Inspect(pictures::wanted(policy, case.candidates)),
    }
}

/// The pictures were looked at, and no rule found one to choose.
fn least_bad(
    policy: &Policy,
    case: &Case<'_>,
    seen: &Evidence,
    pictures: &Pictures<'_>,
    mut trace: Vec<String>,
) -> Step {
    // Never the end of the matter in silence: this may be an address that is wrong for every video.
    let Some((candidate, score)) = pictures.highest() else {
        return Step::TryAgain(pictures.none_seen());
    };
    // One that is all right may be among those that could not be had.
    if let Some(why) = pictures.unreachable() {
        return Step::TryAgain(why);
    }
    if seen.current.is_none() && must_read(policy, case) {
        return Step::AskCurrent;
    }
    let there = match seen.current.as_ref().map(|current| &current.cover) {
        Some(CurrentCover::None) => Some(0.0),
        Some(CurrentCover::Is(cover)) => pictures.score_at(cover.path()),
        Some(CurrentCover::Odd(_)) => None,
        // Nobody asked, so it is taken for VOD's default.
        None if case.automatic => pictures.score_of(case.candidates.get(case.candidates.len() / 2)),
        None => None,
    };
    // After a crash our own write is what is there, and must be recognised.
    let is_there = seen.current.as_ref().is_some_and(|current| {
        matches!(&current.cover, CurrentCover::Is(cover) if cover.path() == candidate.url.path())
    });
    let is_better = there.is_some_and(|there| score >= there + CLEARLY);
    let number = candidate.number;
    trace.push(match there {
        _ if is_there => format!("least-bad: snapshot {number} is the cover already"),
        Some(there) => format!(
            "least-bad: snapshot {number} with score {score:.0}, {} above the current cover's \
             {there:.0}",
            if is_better { "clearly" } else { "not clearly" }
        ),
        None => "least-bad: what the current cover looks like is unknown".into(),
    });
    match is_there || is_better {
        true => settle(policy, case, seen, candidate.url.clone(), Rule::LeastBad, trace),
        false => decided(Verdict::NoCover, trace),
    }
}

/// A rule yielded a picture: may it replace what is there?
fn settle(
    policy: &Policy,
    case: &Case<'_>,
    seen: &Evidence,
    cover: CoverUrl,
    rule: Rule,
    mut trace: Vec<String>,
) -> Step {
    // Reached only if our own cover's rule is further down the chain or no longer in it: then the newer
    // event wins.
    if let Some(ours) = outdated(case) {
        return newer_already(ours, trace);
    }
    let Some(current) = &seen.current else {
        return match must_read(policy, case) {
            true => Step::AskCurrent,
            false => decided(Verdict::Set { cover, rule }, trace),
        };
    };
    let owner = whose(current, case, seen);
    trace.push(format!("the current cover is {}", describe(owner)));
    let is_set = matches!(&current.cover, CurrentCover::Is(now) if now.path() == cover.path());
    let verdict = match owner {
        // Whatever the settings say: it was chosen in full knowledge of them.
        Owner::Operator => Verdict::Keep(Why::OperatorChoseIt),
        // Also if it is what the rule would choose: taken for ours, it would be replaced one day.
        Owner::Somebody if !policy.overwrite_manual => Verdict::Keep(Why::SomebodyChoseIt),
        // Another smart thumbnail than the best one may well be a person's choice.
        Owner::Intelligent if !policy.overwrite_manual => Verdict::Keep(Why::IntelligentAlready),
        _ if is_set => Verdict::IsSet { cover, rule },
        _ => Verdict::Set { cover, rule },
    };
    decided(verdict, trace)
}

/// Whether the matter was settled before, and how.
pub fn settled(policy: &Policy, memory: &Memory) -> Option<Why> {
    match memory.outcome()? {
        Outcome::Chosen { .. } => Some(Why::OperatorChoseIt),
        Outcome::Manual { .. } if !policy.overwrite_manual => Some(Why::SomebodyChoseIt),
        Outcome::Deleted => Some(Why::Deleted),
        _ => None,
    }
}

fn recorded(memory: &Memory) -> Option<(Rule, Option<jiff::Timestamp>)> {
    let record = memory.standing.as_ref()?;
    match record.outcome {
        Outcome::Set { rule, .. } => Some((rule, record.event_time)),
        _ => None,
    }
}

/// Whether a smart thumbnail that is not there is waited for.
enum Awaited {
    Not,
    /// With the next rule's cover in its place.
    Provisionally,
    /// With nothing done meanwhile.
    Idly,
    /// It depends on this.
    Once(Step),
}

fn late(policy: &Policy, case: &Case<'_>, seen: &Evidence, trace: &mut Vec<String>) -> Awaited {
    if policy.late == Late::Ignore || !case.may_come {
        return Awaited::Not;
    }
    let job = case.memory.job.as_ref();
    match (&seen.job, job, &policy.submit) {
        (None, None, Some(template)) => return Awaited::Once(Step::Submit(template.clone())),
        (None, Some(memory::Job { id: Some(id), .. }), _) => {
            return Awaited::Once(Step::AskJob(id.clone()));
        }
        (Some(JobState::Failed(why)), _, _) => {
            trace.push(format!("none will come: {why}"));
            return Awaited::Not;
        }
        // It succeeded, and nothing that it made is wanted.
        (Some(JobState::Succeeded(_)), _, _) => return Awaited::Not,
        _ => {}
    }
    trace.push("one may still come".to_owned());
    match policy.late {
        Late::Wait => Awaited::Idly,
        _ => Awaited::Provisionally,
    }
}

/// A write whose end is not known may have happened: look before writing again.
fn must_read(policy: &Policy, case: &Case<'_>) -> bool {
    policy.read_current || case.memory.is_unsettled()
}

/// When the event of our own cover was, if this event is older.
fn outdated(case: &Case<'_>) -> Option<jiff::Timestamp> {
    let (_, ours) = recorded(case.memory)?;
    ours.filter(|ours| case.event_time.is_none_or(|this| this < *ours))
}

fn newer_already(ours: jiff::Timestamp, mut trace: Vec<String>) -> Step {
    trace.push(format!("our own cover is from an event of {ours}"));
    decided(Verdict::Keep(Why::NewerAlready), trace)
}

/// What a rule points at, unseen.
fn at_position(
    rule: Rule,
    at: usize,
    candidates: &[Candidate],
    trace: &mut Vec<String>,
) -> Option<CoverUrl> {
    let (found, count) = (candidates.get(at), candidates.len());
    trace.push(match found {
        Some(candidate) => format!("{rule}: snapshot {} of {count}", candidate.number),
        None => format!("{rule}: there are only {count} snapshots"),
    });
    found.map(|candidate| candidate.url.clone())
}

/// The highest Score of at least the minimum, among the preferred format if the video has any of it.
/// Scores are compared within one video only, since their scale is not documented; among equals the first
/// listed wins.
fn intelligent(
    images: &[IntelligentImage],
    policy: &Policy,
    trace: &mut Vec<String>,
) -> Option<CoverUrl> {
    let good = || images.iter().filter(|image| image.score >= policy.minimum_score);
    let preferred = |image: &&IntelligentImage| policy.format.is_none_or(|it| image.format == it);
    let any_preferred = good().any(|image| preferred(&image));
    let best = good().filter(|image| !any_preferred || preferred(image)).reduce(|best, image| {
        match image.score > best.score {
            true => image,
            false => best,
        }
    });
    trace.push(match best {
        Some(image) => format!("intelligent: Score {:.2}, best of {}", image.score, images.len()),
        None if images.is_empty() => "intelligent: the video has no smart thumbnail".into(),
        None => format!(
            "intelligent: none of {} has a Score of {} or more",
            images.len(),
            policy.minimum_score
        ),
    });
    best.map(|image| image.url.clone())
}

fn describe(owner: Owner) -> &'static str {
    match owner {
        Owner::Nobody => "not set",
        Owner::Vod => "VOD's default",
        Owner::Intelligent => "a smart thumbnail",
        Owner::Ours => "our own",
        Owner::Operator => "the operator's choice",
        Owner::Somebody => "somebody else's choice",
    }
}

fn decided(verdict: Verdict, trace: Vec<String>) -> Step {
    Step::Decided(Decision { verdict, trace, provisional: false })
}

#[cfg(test)]
mod tests;
