//! The whole decision. [`next`] looks at what is known and either says what it needs to know, or decides.
//! Pure: the caller fetches, so that nothing is fetched that no rule needs, and so that the same
//! evidence always gives the same decision (a redelivered event must choose the same picture again).

use super::owner::{Owner, whose};
use super::{
    Candidate, Case, CoverUrl, CurrentCover, Decision, Evidence, ImageFormat, IntelligentImage,
    Outcome, Policy, Record, Rule, Standing, Verdict, Why,
};

/// What [`next`] asks for, or its answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ask VOD for the video's smart thumbnails, and fill [`Evidence::intelligent`].
    AskIntelligent,
    /// Ask VOD for the video's cover, and fill [`Evidence::current`].
    AskCurrent,
    Decided(Decision),
}

/// Decides, or says what is missing. Never asks for the same thing twice.
pub fn next(policy: &Policy, case: &Case<'_>, seen: &Evidence) -> Step {
    let mut trace = Vec::new();
    if chosen_by_operator(case.standing) {
        return decided(Verdict::Keep(Why::OperatorChoseIt), trace);
    }
    let recorded = recorded(case.standing);
    for &rule in &policy.rules {
        if recorded.is_some_and(|(ours, _)| ours == rule) {
            trace.push(format!("{rule}: our own cover is from this rule"));
            return decided(Verdict::Keep(Why::AsGoodAlready), trace);
        }
        let found = match rule {
            Rule::Keep => {
                trace.push("keep".into());
                return decided(Verdict::Keep(Why::RuleSaysSo), trace);
            }
            Rule::Intelligent => match &seen.intelligent {
                None => return Step::AskIntelligent,
                Some(images) => intelligent(images, policy.format, &mut trace),
            },
            _ => positional(rule, case.candidates, &mut trace),
        };
        if let Some(cover) = found {
            return settle(policy, case, seen, cover, rule, trace);
        }
    }
    decided(Verdict::NoCover, trace)
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
    if let Some((_, Some(ours))) = recorded(case.standing)
        && case.event_time.is_none_or(|this| this < ours)
    {
        trace.push(format!("our own cover is from an event of {ours}"));
        return decided(Verdict::Keep(Why::NewerAlready), trace);
    }
    // An intention on record means that a write may have happened: look before writing again.
    let must_read = policy.read_current || case.intention.is_some();
    let Some(current) = &seen.current else {
        return match must_read {
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

fn chosen_by_operator(standing: &Standing) -> bool {
    matches!(standing, Standing::Ours(Record { outcome: Outcome::Chosen { .. }, .. }))
}

fn recorded(standing: &Standing) -> Option<(Rule, Option<jiff::Timestamp>)> {
    match standing {
        Standing::Ours(record) => match record.outcome {
            Outcome::Set { rule, .. } => Some((rule, record.event_time)),
            Outcome::Chosen { .. } | Outcome::Kept { .. } | Outcome::NoCover => None,
        },
        Standing::Unknown => None,
    }
}

fn positional(rule: Rule, candidates: &[Candidate], trace: &mut Vec<String>) -> Option<CoverUrl> {
    let count = candidates.len();
    let found = match rule {
        Rule::First => candidates.first(),
        Rule::Middle => candidates.get(count / 2),
        Rule::Last => candidates.last(),
        Rule::Nth(number) => candidates.iter().find(|candidate| candidate.number == number),
        // Rounds to the nearest; a part of 0.0 to 1.0 cannot leave the range.
        Rule::At(part) => candidates.get((part * count.saturating_sub(1) as f64).round() as usize),
        Rule::Intelligent | Rule::Keep => None,
    };
    trace.push(match found {
        Some(candidate) => format!("{rule}: snapshot {} of {count}", candidate.number),
        None => format!("{rule}: there are only {count} snapshots"),
    });
    found.map(|candidate| candidate.url.clone())
}

/// The highest Score, among the preferred format if the video has any of it. Scores are compared within
/// one video only, since their scale is not documented; among equals the first listed wins.
fn intelligent(
    images: &[IntelligentImage],
    format: Option<ImageFormat>,
    trace: &mut Vec<String>,
) -> Option<CoverUrl> {
    let preferred = |image: &&IntelligentImage| format.is_none_or(|format| image.format == format);
    let any_preferred = images.iter().any(|image| preferred(&image));
    let best =
        images.iter().filter(|image| !any_preferred || preferred(image)).reduce(|best, image| {
            match image.score > best.score || best.score.is_nan() {
                true => image,
                false => best,
            }
        });
    trace.push(match best {
        Some(image) => format!("intelligent: Score {:.2}, best of {}", image.score, images.len()),
        None => "intelligent: the video has no smart thumbnail".into(),
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
    Step::Decided(Decision { verdict, trace })
}

#[cfg(test)]
mod tests;
