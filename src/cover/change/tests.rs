use super::*;
use crate::cover::{CurrentCover, Record, Rule};
use crate::event::EventKey;

fn url(name: &str) -> String {
    format!("http://cdn.example.com/v/{name}")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

fn change(old: Option<&str>, new: &str, seconds: i64) -> CoverChange {
    CoverChange { at_upload: false, old: old.map(url), new: Some(url(new)), at: Some(at(seconds)) }
}

/// A video whose default we replaced with `ours` at second 100.
fn written(before: Option<&str>, over: Option<Owner>) -> Memory {
    let cover = CoverUrl::new(&url("ours")).unwrap();
    let mut memory = Memory::default();
    memory.announce(Write {
        cover: cover.clone(),
        by: By::Rule(Rule::First),
        event: EventKey("e".into()),
        before: before.map(url),
        over,
        at: at(100),
        since: None,
        made: true,
        echoed: false,
    });
    let record = Record {
        outcome: Outcome::Set { cover, rule: Rule::First },
        event: EventKey("e".into()),
        event_time: Some(at(90)),
        decided_at: at(101),
        follow_up: None,
        rules: None,
    };
    memory.standing = Some(record);
    memory
}

fn ours() -> Memory {
    written(Some("default"), Some(Owner::Vod))
}

fn now(cover: &str) -> Current {
    let middle = CoverUrl::new(&url("default")).ok();
    let cover = CurrentCover::Is(CoverUrl::new(&url(cover)).unwrap());
    Current { cover, middle }
}

/// What it comes to, with the current cover told if it is asked for.
fn meaning(change: &CoverChange, memory: &Memory, current: &str) -> (Meaning, bool) {
    match judge(change, memory, None, true, false) {
        Meaning::AskCurrent => (judge(change, memory, Some(&now(current)), true, false), true),
        other => (other, false),
    }
}

fn is_theirs(meaning: &Meaning, cover: &str) -> bool {
    matches!(meaning, Meaning::Theirs { cover: found, .. } if *found == url(cover))
}

fn is_nothing(meaning: &Meaning) -> bool {
    matches!(meaning, Meaning::Nothing { .. })
}

#[test]
fn a_cover_given_at_upload_or_changed_later_is_theirs_and_costs_no_call() {
    let given = CoverChange { at_upload: true, ..change(None, "given", 0) };
    let (meaning, asked) = meaning(&given, &Memory::default(), "given");
    assert!(matches!(&meaning, Meaning::Theirs { by: Witness::GivenAtUpload, .. }));
    assert!(!asked);
    let over_ours = change(Some("ours"), "own", 500);
    let (meaning, asked) = super::tests::meaning(&over_ours, &ours(), "own");
    assert!(is_theirs(&meaning, "own") && !asked);
}

#[test]
fn our_own_write_that_comes_back_is_recognised_and_costs_no_call() {
    let (meaning, asked) = meaning(&change(Some("default"), "ours", 101), &ours(), "ours");
    assert_eq!(meaning, Meaning::Nothing { why: "our own write", echo: Some(0) });
    assert!(!asked);
    // Whatever is said of the old value where there was none.
    let none = written(None, Some(Owner::Nobody));
    assert!(is_nothing(&super::tests::meaning(&change(None, "ours", 101), &none, "ours").0));
    let late_default = change(Some("default"), "ours", 101);
    assert!(is_nothing(&super::tests::meaning(&late_default, &none, "ours").0));
}

#[test]
fn what_our_write_replaced_unseen_is_put_back() {
    let raced = change(Some("own"), "ours", 101);
    let back = |meaning| matches!(meaning, Meaning::PutBack { cover, .. } if cover == url("own"));
    assert!(back(meaning(&raced, &ours(), "ours").0));
    // Somebody has chosen again since.
    assert!(is_theirs(&meaning(&raced, &ours(), "newer").0, "newer"));
    // Or it is back already.
    assert!(is_theirs(&meaning(&raced, &ours(), "own").0, "own"));
    let greedy = judge(&raced, &ours(), None, true, true);
    assert!(is_nothing(&greedy), "{greedy:?}");
    let mut often = ours();
    often.restored = MOST_RESTORED;
    assert!(is_theirs(&meaning(&raced, &often, "ours").0, "own"));
}

#[test]
fn a_change_in_the_gap_waits_for_our_own_event_and_then_counts_alone() {
    let gap = change(Some("default"), "own", 100);
    assert_eq!(meaning(&gap, &ours(), "ours").0, Meaning::AwaitEcho);
    let alone = judge(&gap, &ours(), Some(&now("ours")), false, false);
    assert!(matches!(alone, Meaning::PutBack { .. }), "{alone:?}");
    let mut echoed = ours();
    echoed.writes[0].echoed = true;
    assert!(is_nothing(&meaning(&gap, &echoed, "ours").0));
}

#[test]
fn an_old_change_that_was_replaced_before_we_looked_is_nothing() {
    let old = change(Some("x"), "own", -5_000);
    assert!(is_nothing(&meaning(&old, &ours(), "ours").0));
    // But the default itself was chosen, if its event says so.
    let (chosen, _) = meaning(&change(Some("x"), "default", -5_000), &ours(), "ours");
    assert!(matches!(chosen, Meaning::PutBack { cover, .. } if cover == url("default")));
}

#[test]
fn what_was_replaced_knowingly_stays_replaced() {
    let knowingly = written(Some("own"), Some(Owner::Somebody));
    assert!(is_nothing(&meaning(&change(Some("default"), "own", 50), &knowingly, "ours").0));
    let mut operator = ours();
    operator.writes[0].by = By::Operator;
    assert!(is_nothing(&meaning(&change(Some("own"), "ours", 101), &operator, "ours").0));
    assert!(is_nothing(&meaning(&change(Some("default"), "own", 100), &operator, "ours").0));
    // Unless it came later.
    assert!(is_theirs(&meaning(&change(Some("ours"), "own", 900), &operator, "own").0, "own"));
}

#[test]
fn our_picture_chosen_again_by_somebody_is_theirs() {
    let mut echoed = ours();
    echoed.writes[0].echoed = true;
    let again = change(Some("own"), "ours", 5_000);
    assert!(is_theirs(&meaning(&again, &echoed, "ours").0, "ours"));
    // Also if our own event never came: it is too late to be that one.
    assert!(is_theirs(&meaning(&again, &ours(), "ours").0, "ours"));
}

#[test]
fn our_own_writes_told_twice_under_other_times_are_nothing() {
    let mut upgraded = ours();
    upgraded.writes[0].echoed = true;
    let better = Write {
        cover: CoverUrl::new(&url("better")).unwrap(),
        before: Some(url("ours")),
        over: Some(Owner::Ours),
        at: at(200),
        ..upgraded.writes[0].clone()
    };
    upgraded.announce(better);
    upgraded.confirm();
    let again = change(Some("default"), "ours", 103);
    assert!(is_nothing(&meaning(&again, &upgraded, "better").0));
}

#[test]
fn a_removed_cover_and_a_deleted_video_are_nothing() {
    let removed = CoverChange { new: None, ..change(Some("ours"), "x", 500) };
    assert!(is_nothing(&judge(&removed, &ours(), None, true, false)));
    let mut deleted = ours();
    deleted.standing.as_mut().unwrap().outcome = Outcome::Deleted;
    assert!(is_nothing(&judge(&change(Some("ours"), "own", 500), &deleted, None, true, false)));
    let same = change(Some("ours"), "ours", 500);
    assert!(is_nothing(&judge(&same, &ours(), None, true, false)));
}
