//! Decisions that look at pictures.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::cover::{Finding, Seen};
use crate::picture::{Facts, Format};

/// One finding a word: `87` is usable with that score, `black:5` has a defect, `!404` is bad and `?gone`
/// unreachable, each with its reason.
fn finding(word: &str) -> Finding {
    let seen = |score: &str, defects: Vec<String>| {
        let facts = Facts { format: Format::Jpeg, bytes: 9, width: 16, height: 9 };
        Finding::Seen(Seen { score: score.parse().unwrap(), defects, facts, features: Vec::new() })
    };
    match (word.strip_prefix('!'), word.strip_prefix('?'), word.split_once(':')) {
        (Some(why), ..) => Finding::Bad(why.into()),
        (_, Some(why), _) => Finding::Unreachable(why.into()),
        (_, _, Some((defect, score))) => seen(score, vec![defect.into()]),
        _ => seen(word, Vec::new()),
    }
}

struct Looking {
    video: Video,
    policy: Policy,
    findings: Vec<Finding>,
    attempts: u32,
}

impl Looking {
    /// A video with VOD's default cover.
    fn at(rules: &str, set: &str) -> Self {
        let findings: Vec<_> = set.split(' ').map(finding).collect();
        Self {
            video: Video::with(findings.len() as u32),
            policy: Policy { gate: true, ..policy(rules) },
            findings,
            attempts: 0,
        }
    }

    /// What comes of it, and what was asked on the way.
    fn end(&self) -> (Step, Vec<&'static str>) {
        let video = &self.video;
        let case = Case {
            candidates: &video.candidates,
            automatic: video.automatic,
            event_cover: None,
            event_time: video.event_time,
            memory: &video.memory,
            attempts: self.attempts,
            may_come: false,
        };
        let (mut seen, mut asked) = (Evidence::default(), Vec::new());
        loop {
            match next(&self.policy, &case, &seen) {
                Step::AskIntelligent => {
                    asked.push("intelligent");
                    assert!(seen.intelligent.replace(video.images.clone()).is_none());
                }
                Step::AskCurrent => {
                    asked.push("current");
                    let (cover, middle) = (video.current.clone(), video.listed_middle.clone());
                    assert!(seen.current.replace(Current { cover, middle }).is_none());
                }
                Step::Inspect(wanted) => {
                    asked.push("pictures");
                    let found = |one: &Candidate| self.findings[one.number as usize - 1].clone();
                    let found = wanted.iter().map(|one| (one.number, found(one)));
                    assert!(seen.pictures.replace(found.collect()).is_none());
                }
                end => return (end, asked),
            }
        }
    }

    fn decision(&self) -> Decision {
        match self.end().0 {
            Step::Decided(decision) => decision,
            other => panic!("{other:?}"),
        }
    }

    /// The chosen snapshot's number and the rule.
    fn chosen(&self) -> Option<(u32, String)> {
        match self.decision().verdict {
            Verdict::Set { cover, rule } | Verdict::IsSet { cover, rule } => {
                let mut all = self.video.candidates.iter();
                Some((all.find(|one| one.url == cover)?.number, rule.to_string()))
            }
            Verdict::Keep(_) | Verdict::NoCover | Verdict::Wait => None,
        }
    }

    /// What it is waiting for.
    fn waits(&self) -> Option<String> {
        match self.end().0 {
            Step::TryAgain(why) => Some(why),
            _ => None,
        }
    }

    fn first_note(&self) -> String {
        self.decision().trace.remove(0)
    }
}

#[track_caller]
fn chooses(rules: &str, set: &str, number: u32, rule: &str) {
    let found = Looking::at(rules, set).chosen();
    assert_eq!(found, Some((number, rule.to_owned())), "{rules} of {set}");
}

#[test]
fn best_takes_the_highest_score_among_those_without_defects() {
    chooses("best", "40 87 60", 2, "best");
    chooses("best", "black:99 87 60 !404", 2, "best");
    chooses("best", "50 50 50", 1, "best");
    chooses("best", "NaN 1", 2, "best");
}

#[test]
fn a_position_with_defects_gives_way_to_the_nearest_that_is_usable() {
    chooses("middle", "10 10 10 10 black:5 10 10 90", 6, "middle");
    chooses("middle", "10 10 10 10 black:5 blurred:9 10 90", 4, "middle");
    chooses("first", "black:5 dark:9 10 90", 3, "first");
    chooses("last", "90 10 card:40 !404", 2, "last");
    chooses("nth=2", "10 black:1 20", 3, "nth=2");
    chooses("at=0.5", "90 blank:0 blank:0 10", 4, "at=0.5");
    chooses("middle", "10 10 10 10 0 10 10 90", 5, "middle");
}

#[test]
fn without_the_gate_a_position_is_taken_unseen() {
    let mut looking = Looking::at("middle", "90 black:0");
    looking.policy.gate = false;
    let (_, asked) = looking.end();
    assert_eq!((asked, looking.chosen()), (vec!["current"], Some((2, "middle".into()))));
}

#[test]
fn pictures_are_asked_for_once_and_only_if_a_rule_gets_to_them() {
    assert_eq!(Looking::at("best middle first", "black:0 blurred:9").end().1.len(), 2);
    assert!(Looking::at("keep", "90").end().1.is_empty());
    let mut smart = Looking::at("intelligent best", "90 80");
    smart.video.images = vec![image("v/image/ai/y.png", ImageFormat::Png, 1.0)];
    assert_eq!(smart.end().1, ["intelligent", "current"]);
    assert_eq!(Looking::at("nth=9 keep", "90").end().1, [""; 0], "there is no ninth to look at");
    let mut outdated = Looking::at("best", "90 80");
    outdated.video.memory = ours("last", url("c-00002.jpg"), "2026-01-03T00:00:00Z");
    let (end, asked) = outdated.end();
    assert!(asked.is_empty(), "{asked:?}");
    let kept = Verdict::Keep(Why::NewerAlready);
    assert!(matches!(end, Step::Decided(decision) if decision.verdict == kept));
}

#[test]
fn the_current_cover_is_read_after_the_pictures_were_looked_at() {
    // Looking takes seconds, in which a person may choose a cover.
    assert_eq!(Looking::at("best", "90 80").end().1, ["pictures", "current"]);
}

#[test]
fn a_set_in_which_every_picture_has_defects_falls_through_the_chain() {
    let set = "black:0 blurred:30 black:0 card:35";
    let mut looking = Looking::at("best middle intelligent", set);
    looking.video.images = vec![image("v/image/ai/y.png", ImageFormat::Png, 1.0)];
    let verdict = looking.decision().verdict;
    assert!(matches!(verdict, Verdict::Set { rule: Rule::Intelligent, .. }), "{verdict:?}");
    let keep = Looking::at("best keep", set).decision().verdict;
    assert_eq!(keep, Verdict::Keep(Why::RuleSaysSo));
}

#[test]
fn the_least_bad_replaces_only_what_is_clearly_worse() {
    // Of four, the third is VOD's default.
    chooses("best", "black:0 blurred:30 black:0 card:35", 4, "least-bad");
    chooses("middle", "black:0 blurred:30 !broken card:35", 4, "least-bad");
    let close = Looking::at("best", "black:0 blurred:30 dark:29 card:35");
    assert_eq!(close.decision().verdict, Verdict::NoCover);
    // The default is the least bad itself: known for ours, and not written.
    let default = Looking::at("best", "black:0 blurred:3 dark:29 card:5").decision().verdict;
    assert!(matches!(default, Verdict::IsSet { rule: Rule::LeastBad, .. }), "{default:?}");
    let mut bare = Looking::at("best", "black:0 blurred:30 dark:29 card:35");
    bare.video.current = CurrentCover::None;
    assert_eq!(bare.chosen(), Some((4, "least-bad".into())));
    let mut unknown = Looking::at("best", "black:0 blurred:30 dark:29 card:35");
    unknown.video.current = CurrentCover::Is(url("elsewhere.jpg"));
    assert_eq!(unknown.decision().verdict, Verdict::NoCover);
    let mut blind = Looking::at("best", "black:0 blurred:30 black:0 card:35");
    blind.policy.read_current = false;
    assert_eq!(blind.chosen(), Some((4, "least-bad".into())));
}

#[test]
fn the_least_bad_never_replaces_a_persons_choice_and_is_recognised_after_a_crash() {
    let mut looking = Looking::at("best", "black:0 blurred:30 black:0 card:35");
    looking.video.current = CurrentCover::Is(url("c-00001.jpg"));
    assert_eq!(looking.decision().verdict, Verdict::Keep(Why::SomebodyChoseIt));
    let cover = url("c-00004.jpg");
    looking.video.memory = announced(cover.clone(), By::Rule(Rule::LeastBad));
    looking.video.current = CurrentCover::Is(cover);
    let verdict = looking.decision().verdict;
    assert!(matches!(verdict, Verdict::IsSet { rule: Rule::LeastBad, .. }), "{verdict:?}");
}

#[test]
fn a_newer_event_improves_on_the_least_bad_but_not_on_the_best() {
    let mut looking = Looking::at("best", "70 80 90");
    looking.video.current = CurrentCover::Is(url("other.jpg"));
    looking.video.memory = ours("least-bad", url("other.jpg"), "2026-01-01T00:00:00Z");
    assert_eq!(looking.chosen(), Some((3, "best".into())));
    looking.video.memory = ours("best", url("other.jpg"), "2026-01-01T00:00:00Z");
    assert_eq!(looking.decision().verdict, Verdict::Keep(Why::AsGoodAlready));
}

#[test]
fn what_cannot_be_had_is_waited_for_if_it_matters() {
    let why = Looking::at("best", "90 ?refused 80").waits().unwrap();
    assert_eq!(why, "snapshot 2 of 3 could not be looked at: refused");
    assert!(Looking::at("middle", "90 ?refused 80").waits().is_some());
    assert!(Looking::at("first", "black:0 ?refused 80").waits().is_some());
    // Here it does not matter.
    chooses("first", "90 ?refused 80", 1, "first");
    chooses("last", "?refused 80 black:0", 2, "last");
}

#[test]
fn on_the_last_attempt_that_waits_it_is_passed_over_if_another_is_usable() {
    let mut looking = Looking::at("best", "90 ?refused 80");
    looking.attempts = 1;
    assert!(looking.waits().is_some());
    looking.attempts = 2;
    assert_eq!(looking.chosen(), Some((1, "best".into())));
    let mut bad = Looking::at("best middle", "black:0 ?refused dark:30");
    let mut keep = Looking::at("best keep", "black:0 ?refused dark:30");
    (bad.attempts, keep.attempts) = (50, 50);
    assert!(bad.waits().is_some(), "it may be the one that is all right");
    assert_eq!(keep.decision().verdict, Verdict::Keep(Why::RuleSaysSo));
    let mut none = Looking::at("best middle", "!404 ?refused !html");
    for attempts in [2, 50] {
        none.attempts = attempts;
        let why = none.waits().expect("never the end of the matter in silence");
        assert_eq!(why, "none of 3 could be seen; snapshot 2 could not be looked at (refused)");
    }
    let mut smart = Looking::at("best intelligent", "?refused");
    smart.video.images = vec![image("v/image/ai/y.png", ImageFormat::Png, 1.0)];
    assert!(smart.waits().is_some());
    smart.attempts = 2;
    assert!(matches!(smart.decision().verdict, Verdict::Set { rule: Rule::Intelligent, .. }));
}

#[test]
fn a_set_of_which_no_picture_is_one_is_no_decision_either() {
    let why = Looking::at("best", "!404 !404").waits().unwrap();
    assert_eq!(why, "none of 2 could be seen; snapshot 1 cannot be used (404)");
}

#[test]
fn the_notes_read_well() {
    for (rules, set, note) in [
        (
            "best",
            "black:0 70 87 60 blurred:20 50",
            "best: snapshot 3 of 6, score 87; first is black",
        ),
        ("best", "60 70 87 blurred:20 50", "best: snapshot 3 of 5, score 87"),
        ("best", "!404 87", "best: snapshot 2 of 2, score 87; first cannot be used"),
        (
            "best",
            "black:0 87 60 blurred:20 50 40",
            "best: snapshot 2 of 6, score 87; first is black, middle is blurred",
        ),
        (
            "middle",
            "9 9 9 9 black:0 9 9 9",
            "middle: snapshot 5 of 8 is black; nearest usable is 6",
        ),
        ("middle", "9 9 9", "middle: snapshot 2 of 3"),
        ("last", "9 !404", "last: snapshot 2 of 2 cannot be used (404); nearest usable is 1"),
        (
            "first keep",
            "black:0 blurred:1 black:0 !404",
            "first: snapshot 1 of 4 is black, and no other is usable (black, blurred, broken or missing)",
        ),
        ("best keep", "black:0 blurred:1", "best: none of 2 is usable (black, blurred)"),
        ("nth=3 keep", "9 9", "nth=3: there are only 2 snapshots"),
    ] {
        assert_eq!(Looking::at(rules, set).first_note(), note, "{rules} of {set}");
    }
}

#[test]
fn of_a_large_set_the_targets_and_an_even_spread_are_looked_at() {
    let policy = Policy { most_pictures: 5, ..policy("best middle nth=3") };
    let numbers = |count| -> Vec<u32> {
        let wanted = pictures::wanted(&policy, &snapshots(count));
        wanted.iter().map(|one| one.number).collect()
    };
    assert_eq!(numbers(5), [1, 2, 3, 4, 5]);
    assert_eq!(numbers(100), [1, 3, 50, 51, 100]);
    assert_eq!(numbers(1_000).len(), 5);
    let mut looking = Looking::at("last", &["70"; 30].join(" "));
    looking.findings[29] = finding("black:0");
    // The nearest of those that were looked at.
    let note = looking.first_note();
    assert_eq!(note, "last: snapshot 30 of 30 (23 looked at) is black; nearest usable is 28");
}

fn findings() -> impl Strategy<Value = Vec<Finding>> {
    let one = prop_oneof![
        4 => (0u8..100).prop_map(|score| finding(&score.to_string())),
        3 => (0u8..100).prop_map(|score| finding(&format!("black:{score}"))),
        1 => Just(finding("!404")),
        1 => Just(finding("?refused")),
    ];
    prop::collection::vec(one, 1..12)
}

const POSITIONS: [&str; 6] = ["first", "middle", "last", "nth=3", "at=0.3", "at=0.8"];

proptest! {
    #[test]
    fn one_with_defects_is_never_chosen_while_another_is_usable(
        findings in findings(),
        rule in prop::sample::select([&POSITIONS[..], &["best"]].concat()),
        attempts in 0u32..5,
    ) {
        let mut looking = Looking::at(rule, "1");
        looking.video = Video::with(findings.len() as u32);
        (looking.findings, looking.attempts) = (findings, attempts);
        let usable = looking.findings.iter().any(Finding::is_usable);
        let end = looking.end().0;
        prop_assert_eq!(&end, &looking.end().0, "the same evidence, the same decision");
        if !matches!(end, Step::Decided(_)) {
            return Ok(());
        }
        if let Some((number, by)) = looking.chosen() {
            let chosen = &looking.findings[number as usize - 1];
            prop_assert!(chosen.seen().is_some());
            prop_assert_eq!(usable, chosen.is_usable());
            prop_assert_eq!(by == "least-bad", !usable);
        } else {
            prop_assert!(!usable || rule == "nth=3" && looking.findings.len() < 3);
        }
    }

    #[test]
    fn a_position_takes_the_nearest_usable_and_passes_over_nothing_that_may_yet_come(
        findings in findings(),
        rule in prop::sample::select(&POSITIONS[..]),
        attempts in 0u32..5,
    ) {
        let mut looking = Looking::at(rule, "1");
        looking.video = Video::with(findings.len() as u32);
        (looking.findings, looking.attempts) = (findings, attempts);
        let target = rule.parse::<Rule>().unwrap().target(&looking.video.candidates).unwrap();
        let Step::Decided(decision) = looking.end().0 else {
            // Only for one that cannot be had, and with patience or nothing usable; or nothing was seen.
            let any = |wanted: fn(&Finding) -> bool| looking.findings.iter().any(wanted);
            let missing = any(|one| matches!(one, Finding::Unreachable(_)));
            let waits = missing && (attempts < 2 || !any(Finding::is_usable) || target >= looking.findings.len());
            prop_assert!(waits || !any(|one| one.seen().is_some()));
            return Ok(());
        };
        let Some((number, by)) = looking.chosen() else { return Ok(()) };
        if by == "least-bad" {
            return Ok(());
        }
        prop_assert!(!decision.trace.is_empty());
        let distance = (number as usize - 1).abs_diff(target);
        for (at, other) in looking.findings.iter().enumerate() {
            if at.abs_diff(target) < distance {
                prop_assert!(!other.is_usable());
                prop_assert!(attempts >= 2 || !matches!(other, Finding::Unreachable(_)));
            }
        }
    }

    #[test]
    fn no_set_is_too_large_or_too_small_to_choose_from(
        count in 1u32..1_000, most in 1usize..40, rule in prop::sample::select(&POSITIONS[..]),
    ) {
        let policy = Policy { most_pictures: most, ..policy(rule) };
        let candidates = snapshots(count);
        let wanted = pictures::wanted(&policy, &candidates);
        prop_assert!(!wanted.is_empty() && wanted.len() <= most.min(count as usize));
        prop_assert!(wanted.is_sorted_by(|one, next| one.number < next.number));
        let target = policy.rules[0].target(&candidates).unwrap();
        prop_assert!(candidates.get(target).is_none_or(|target| wanted.contains(target)));
    }
}

#[test]
fn evidence_may_lack_what_was_asked_for() {
    let candidates = snapshots(2);
    let case = Case {
        candidates: &candidates,
        automatic: true,
        event_cover: None,
        event_time: None,
        memory: &Memory::default(),
        attempts: 0,
        may_come: false,
    };
    let seen = Evidence { pictures: Some(BTreeMap::new()), ..Evidence::default() };
    let end = next(&Policy { gate: true, ..policy("best middle") }, &case, &seen);
    assert_eq!(end, Step::TryAgain("none of 2 (0 looked at) could be seen".into()));
}
