//! Choosing among pictures that were looked at. Pure. A picture with defects is never chosen while there
//! is one without, and one that could not be had is not counted as rejected while it is worth waiting.

use std::collections::{BTreeMap, BTreeSet};

use crate::cover::{Candidate, Finding, Policy, Rule, Seen};

pub(super) struct Pictures<'a> {
    pub candidates: &'a [Candidate],
    pub findings: &'a BTreeMap<u32, Finding>,
    /// Whether it is worth waiting for what could not be had.
    pub patient: bool,
}

/// What a rule found.
pub(super) enum Found<'a> {
    Chosen(&'a Candidate),
    Nothing,
    /// It depends on a picture that could not be had; says which and why.
    Unreachable(String),
}

/// Which pictures to look at. All of them; of a large set as many as the policy wants, those first that
/// its rules point at, and the others evenly spread.
pub fn wanted(policy: &Policy, candidates: &[Candidate]) -> Vec<Candidate> {
    let (count, most) = (candidates.len(), policy.most_pictures);
    if count <= most {
        return candidates.to_vec();
    }
    let targets = policy.rules.iter().filter_map(|rule| rule.target(candidates));
    let mut chosen: BTreeSet<usize> = targets.filter(|at| *at < count).take(most).collect();
    let room = most - chosen.len();
    chosen.extend((0..room).map(|step| step * (count - 1) / room.saturating_sub(1).max(1)));
    chosen.into_iter().filter_map(|at| candidates.get(at).cloned()).collect()
}

impl<'a> Pictures<'a> {
    /// The usable one with the highest score; among equals the earliest.
    pub fn best(&self, trace: &mut Vec<String>) -> Found<'a> {
        if let Some(why) = self.unreachable().filter(|_| self.patient) {
            return Found::Unreachable(why);
        }
        let usable = self.seen().filter(|(_, seen)| seen.defects.is_empty());
        let Some((candidate, seen)) = highest(usable) else {
            trace.push(format!("best: none of {} is usable ({})", self.set(), self.flaws()));
            return Found::Nothing;
        };
        let mut note = format!(
            "best: snapshot {} of {}, score {:.0}",
            candidate.number,
            self.set(),
            seen.score
        );
        // What other rules would have taken.
        let usual = [("first", 0), ("middle", self.candidates.len() / 2)];
        let flawed = usual.into_iter().filter_map(|(name, at)| {
            let flaw = self.finding(self.candidates.get(at)?)?.flaw()?;
            Some(format!("{name} {flaw}"))
        });
        let mut separator = "; ";
        for flawed in flawed {
            note.push_str(separator);
            note.push_str(&flawed);
            separator = ", ";
        }
        trace.push(note);
        Found::Chosen(candidate)
    }

    /// What the rule points at, or the nearest usable one in the set; of two that are equally near the
    /// later one, because videos begin with fades and titles more often than they end with them.
    pub fn nearest(&self, rule: Rule, target: usize, trace: &mut Vec<String>) -> Found<'a> {
        let mut order: Vec<_> = self.candidates.iter().enumerate().collect();
        order.sort_by_key(|(at, _)| (at.abs_diff(target), *at < target));
        let mut note = String::new();
        for (_, candidate) in order {
            let Some(finding) = self.finding(candidate) else { continue };
            if finding.is_usable() {
                note = match note.is_empty() {
                    true => format!("{rule}: snapshot {} of {}", candidate.number, self.set()),
                    false => format!("{note}; nearest usable is {}", candidate.number),
                };
                trace.push(note);
                return Found::Chosen(candidate);
            }
            if self.patient
                && let Finding::Unreachable(why) = finding
            {
                return Found::Unreachable(self.cause(candidate, why));
            }
            if note.is_empty() {
                let flaw = finding.flaw_and_cause().unwrap_or_default();
                note = format!("{rule}: snapshot {} of {} {flaw}", candidate.number, self.set());
            }
        }
        trace.push(format!("{note}, and no other is usable ({})", self.flaws()));
        Found::Nothing
    }

    /// The one with the highest score, whatever its defects; `None` if none was seen.
    pub fn highest(&self) -> Option<(&'a Candidate, f64)> {
        highest(self.seen()).map(|(candidate, seen)| (candidate, seen.score))
    }

    /// The first that could not be had, and why.
    pub fn unreachable(&self) -> Option<String> {
        self.looked_at().find_map(|(candidate, finding)| match finding {
            Finding::Unreachable(why) => Some(self.cause(candidate, why)),
            Finding::Seen(_) | Finding::Bad(_) => None,
        })
    }

    /// Why none of them was seen.
    pub fn none_seen(&self) -> String {
        let first = |wanted: fn(&Finding) -> bool| {
            let mut found = self.looked_at().filter(|(_, finding)| wanted(finding));
            found.next().and_then(|(candidate, finding)| {
                Some((candidate.number, finding.flaw_and_cause()?))
            })
        };
        let first = first(|finding| matches!(finding, Finding::Unreachable(_)))
            .or_else(|| first(|finding| matches!(finding, Finding::Bad(_))));
        let set = self.set();
        match first {
            Some((number, flaw)) => {
                format!("none of {set} could be seen; snapshot {number} {flaw}")
            }
            None => format!("none of {set} could be seen"),
        }
    }

    /// A broken picture scores nothing; of one that could not be had nothing is known.
    pub fn score_of(&self, candidate: Option<&Candidate>) -> Option<f64> {
        match self.finding(candidate?)? {
            Finding::Seen(seen) => Some(seen.score),
            Finding::Bad(_) => Some(0.0),
            Finding::Unreachable(_) => None,
        }
    }

    /// The score of the snapshot with this path.
    pub fn score_at(&self, path: &str) -> Option<f64> {
        self.score_of(self.candidates.iter().find(|candidate| candidate.url.path() == path))
    }

    fn finding(&self, candidate: &Candidate) -> Option<&'a Finding> {
        self.findings.get(&candidate.number)
    }

    fn looked_at(&self) -> impl Iterator<Item = (&'a Candidate, &'a Finding)> {
        let findings = self.findings;
        self.candidates.iter().filter_map(|one| Some((one, findings.get(&one.number)?)))
    }

    fn seen(&self) -> impl Iterator<Item = (&'a Candidate, &'a Seen)> {
        self.looked_at().filter_map(|(candidate, finding)| Some((candidate, finding.seen()?)))
    }

    fn cause(&self, candidate: &Candidate, why: &str) -> String {
        format!("snapshot {} of {} could not be looked at: {why}", candidate.number, self.set())
    }

    /// `8 snapshots` is what a person counts; of a large set only some are looked at.
    fn set(&self) -> String {
        match (self.candidates.len(), self.looked_at().count()) {
            (count, looked_at) if looked_at < count => format!("{count} ({looked_at} looked at)"),
            (count, _) => count.to_string(),
        }
    }

    /// What is wrong with those that are not usable, each thing once.
    fn flaws(&self) -> String {
        let mut all: Vec<&str> = Vec::new();
        let flaws = self.looked_at().flat_map(|(_, finding)| match finding {
            Finding::Seen(seen) => seen.defects.iter().map(String::as_str).collect(),
            Finding::Bad(_) => vec!["broken or missing"],
            Finding::Unreachable(_) => vec!["unreachable"],
        });
        for flaw in flaws {
            if !all.contains(&flaw) {
                all.push(flaw);
            }
        }
        all.join(", ")
    }
}

/// Among equals the first, so that the same evidence always gives the same choice.
fn highest<'a>(
    seen: impl Iterator<Item = (&'a Candidate, &'a Seen)>,
) -> Option<(&'a Candidate, &'a Seen)> {
    seen.filter(|(_, seen)| !seen.score.is_nan())
        .reduce(|best, one| if one.1.score > best.1.score { one } else { best })
}
