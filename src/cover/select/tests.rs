use super::*;
use std::time::Duration;

use crate::cover::memory::Job;
use crate::cover::{By, Current, CurrentCover, ImageFormat, Record, Witness, Write};
use crate::event::EventKey;

mod looking;

const HOST: &str = "http://cdn.example.com";

fn url(path: &str) -> CoverUrl {
    CoverUrl::new(&format!("{HOST}/{path}")).unwrap()
}

fn snapshots(count: u32) -> Vec<Candidate> {
    (1..=count)
        .map(|number| Candidate { number, url: url(&format!("c-{number:05}.jpg")) })
        .collect()
}

fn policy(rules: &str) -> Policy {
    Policy {
        name: "default".into(),
        rules: rules.split(' ').map(|rule| rule.parse().unwrap()).collect(),
        format: None,
        minimum_score: 0.0,
        late: Late::Ignore,
        deadline: Duration::from_secs(3600),
        submit: None,
        gate: false,
        patience: 3,
        version: "0123abcd".into(),
        most_pictures: 24,
        read_current: true,
        overwrite_manual: false,
    }
}

fn image(name: &str, format: ImageFormat, score: f64) -> IntelligentImage {
    IntelligentImage { url: url(name), format, score }
}

/// Answers what `next` asks for, from a video that is in this state.
struct Video {
    candidates: Vec<Candidate>,
    images: Vec<IntelligentImage>,
    automatic: bool,
    event_cover: Option<CoverUrl>,
    current: CurrentCover,
    /// The middle one of those that GetVideoInfo lists.
    listed_middle: Option<CoverUrl>,
    memory: Memory,
    event_time: Option<jiff::Timestamp>,
}

impl Video {
    fn with(count: u32) -> Self {
        let candidates = snapshots(count);
        let middle = candidates.get(count as usize / 2);
        Self {
            current: middle.map_or(CurrentCover::None, |c| CurrentCover::Is(c.url.clone())),
            candidates,
            automatic: true,
            event_cover: None,
            listed_middle: None,
            images: Vec::new(),
            memory: Memory::default(),
            event_time: Some("2026-01-02T00:00:00Z".parse().unwrap()),
        }
    }

    fn decide(&self, policy: &Policy) -> (Verdict, Vec<&'static str>) {
        let case = Case {
            candidates: &self.candidates,
            automatic: self.automatic,
            event_cover: self.event_cover.as_ref(),
            event_time: self.event_time,
            memory: &self.memory,
            attempts: 0,
            may_come: false,
        };
        let (mut seen, mut asked) = (Evidence::default(), Vec::new());
        loop {
            match next(policy, &case, &seen) {
                Step::AskIntelligent => {
                    asked.push("intelligent");
                    assert!(seen.intelligent.replace(self.images.clone()).is_none());
                }
                Step::AskCurrent => {
                    asked.push("current");
                    let (cover, middle) = (self.current.clone(), self.listed_middle.clone());
                    assert!(seen.current.replace(Current { cover, middle }).is_none());
                }
                step @ (Step::Inspect(_)
                | Step::TryAgain(_)
                | Step::Submit(_)
                | Step::AskJob(_)) => panic!("{step:?}"),
                Step::Decided(decision) => return (decision.verdict, asked),
            }
        }
    }

    fn chosen(&self, rules: &str) -> Option<String> {
        match self.decide(&policy(rules)).0 {
            Verdict::Set { cover, .. } | Verdict::IsSet { cover, .. } => {
                Some(cover.path().trim_start_matches('/').to_owned())
            }
            Verdict::Keep(_) | Verdict::NoCover | Verdict::Wait => None,
        }
    }
}

fn remembered(outcome: Outcome, at: &str) -> Memory {
    let (event, at): (_, jiff::Timestamp) = (EventKey("earlier".into()), at.parse().unwrap());
    let (event_time, follow_up, rules) = (Some(at), None, None);
    let record = Record { outcome, event, event_time, decided_at: at, follow_up, rules };
    Memory { standing: Some(record), ..Memory::default() }
}

fn ours(rule: &str, cover: CoverUrl, at: &str) -> Memory {
    remembered(Outcome::Set { cover, rule: rule.parse().unwrap() }, at)
}

/// A write that may or may not have happened.
fn announced(cover: CoverUrl, by: By) -> Memory {
    let mut memory = Memory::default();
    memory.announce(Write {
        cover,
        by,
        event: EventKey("this".into()),
        before: None,
        over: None,
        at: "2026-01-02T00:00:00Z".parse().unwrap(),
        since: None,
        made: false,
        echoed: false,
    });
    memory
}

#[test]
fn positions_are_those_of_vod() {
    for (count, rule, expected) in [
        (1, "middle", "c-00001.jpg"),
        (2, "middle", "c-00002.jpg"), // the documented sample
        (8, "middle", "c-00005.jpg"),
        (7, "middle", "c-00004.jpg"),
        (5, "first", "c-00001.jpg"),
        (5, "last", "c-00005.jpg"),
        (5, "nth=4", "c-00004.jpg"),
        (5, "at=0", "c-00001.jpg"),
        (5, "at=0.3", "c-00002.jpg"),
        (5, "at=1", "c-00005.jpg"),
    ] {
        assert_eq!(Video::with(count).chosen(rule).as_deref(), Some(expected), "{rule} of {count}");
    }
}

#[test]
fn a_rule_that_yields_nothing_falls_through_to_the_next() {
    assert_eq!(Video::with(3).chosen("nth=4 intelligent last").as_deref(), Some("c-00003.jpg"));
    assert_eq!(Video::with(3).decide(&policy("nth=4 intelligent")).0, Verdict::NoCover);
}

#[test]
fn nothing_is_asked_that_no_rule_needs() {
    assert_eq!(Video::with(3).decide(&policy("first intelligent")).1, ["current"]);
    assert_eq!(Video::with(3).decide(&policy("intelligent first")).1, ["intelligent", "current"]);
    assert!(Video::with(3).decide(&policy("keep")).1.is_empty());
    let blind = Policy { read_current: false, ..policy("first") };
    assert!(Video::with(3).decide(&blind).1.is_empty());
}

#[test]
fn the_smart_thumbnail_with_the_highest_score_wins_within_the_preferred_format() {
    let mut video = Video::with(3);
    video.images = vec![
        image("image/ai/a.gif", ImageFormat::Gif, 4.0),
        image("image/ai/b.png", ImageFormat::Png, 5.5),
        image("image/ai/c.gif", ImageFormat::Gif, 5.0),
        image("image/ai/d.png", ImageFormat::Png, f64::NAN),
    ];
    assert_eq!(video.chosen("intelligent").as_deref(), Some("image/ai/b.png"));
    let gif = Policy { format: Some(ImageFormat::Gif), ..policy("intelligent") };
    assert!(
        matches!(video.decide(&gif).0, Verdict::Set { cover, .. } if cover == url("image/ai/c.gif"))
    );
    video.images.retain(|image| image.format == ImageFormat::Png);
    assert!(
        matches!(video.decide(&gif).0, Verdict::Set { cover, .. } if cover == url("image/ai/b.png"))
    );
}

#[test]
fn a_cover_that_somebody_chose_is_kept() {
    let mut video = Video::with(4);
    for chosen in [url("image/cover/own.png"), url("c-00002.jpg")] {
        video.current = CurrentCover::Is(chosen);
        assert_eq!(video.decide(&policy("first")).0, Verdict::Keep(Why::SomebodyChoseIt));
    }
    video.current = CurrentCover::Odd("ftp://elsewhere".into());
    assert_eq!(video.decide(&policy("first")).0, Verdict::Keep(Why::SomebodyChoseIt));
    let bold = Policy { overwrite_manual: true, ..policy("first") };
    assert!(matches!(video.decide(&bold).0, Verdict::Set { .. }));
}

#[test]
fn a_smart_thumbnail_that_is_not_ours_is_kept() {
    let mut video = Video::with(4);
    video.current = CurrentCover::Is(url("v/image/ai/x.png"));
    assert_eq!(
        video.decide(&policy("intelligent first")).0,
        Verdict::Keep(Why::IntelligentAlready)
    );
    video.images = vec![image("v/image/ai/y.png", ImageFormat::Png, 1.0)];
    assert_eq!(
        video.decide(&policy("intelligent first")).0,
        Verdict::Keep(Why::IntelligentAlready)
    );
}

#[test]
fn a_cover_given_at_upload_is_kept_even_if_the_event_names_it() {
    let mut video = Video::with(4);
    let given = url("image/cover/given.png");
    video.current = CurrentCover::Is(given.clone());
    video.event_cover = Some(given);
    assert_eq!(video.decide(&policy("first")).0, Verdict::Keep(Why::SomebodyChoseIt));
    // But a snapshot that the event names is VOD's choice, whichever it is.
    video.current = CurrentCover::Is(url("c-00002.jpg"));
    video.event_cover = Some(url("c-00002.jpg"));
    assert!(matches!(video.decide(&policy("first")).0, Verdict::Set { .. }));
}

#[test]
fn a_snapshot_that_somebody_ordered_and_set_is_kept_and_vods_default_is_not() {
    let mut video = Video::with(1);
    video.automatic = false;
    video.images = vec![image("v/image/ai/y.png", ImageFormat::Png, 1.0)];
    video.current = CurrentCover::Is(url("c-00001.jpg"));
    assert_eq!(video.decide(&policy("intelligent")).0, Verdict::Keep(Why::SomebodyChoseIt));
    // The set that VOD took its default from is not in this event, but VOD lists it.
    video.listed_middle = Some(url("a-2.jpg"));
    video.current = CurrentCover::Is(url("a-2.jpg"));
    assert!(matches!(video.decide(&policy("first")).0, Verdict::Set { .. }));
    video.current = CurrentCover::Is(url("a-1.jpg"));
    assert_eq!(video.decide(&policy("first")).0, Verdict::Keep(Why::SomebodyChoseIt));
}

#[test]
fn somebodys_choice_never_becomes_ours_by_agreeing_with_it() {
    let mut video = Video::with(4);
    video.current = CurrentCover::Is(url("c-00001.jpg"));
    assert_eq!(video.decide(&policy("first")).0, Verdict::Keep(Why::SomebodyChoseIt));
}

#[test]
fn what_is_the_cover_already_is_not_written_again() {
    let verdict = Video::with(4).decide(&policy("middle")).0;
    assert!(matches!(verdict, Verdict::IsSet { cover, .. } if cover == url("c-00003.jpg")));
}

#[test]
fn a_later_snapshot_event_never_downgrades_our_cover() {
    let mut video = Video::with(4);
    video.memory = ours("intelligent", url("v/image/ai/x.png"), "2026-01-01T00:00:00Z");
    video.current = CurrentCover::Is(url("v/image/ai/x.png"));
    assert_eq!(video.decide(&policy("intelligent middle")).0, Verdict::Keep(Why::AsGoodAlready));
    video.memory = ours("middle", url("c-00003.jpg"), "2026-01-01T00:00:00Z");
    video.current = CurrentCover::Is(url("c-00003.jpg"));
    assert_eq!(video.decide(&policy("intelligent middle")).0, Verdict::Keep(Why::AsGoodAlready));
    video.images = vec![image("v/image/ai/y.png", ImageFormat::Png, 1.0)];
    assert!(matches!(video.decide(&policy("intelligent middle")).0, Verdict::Set { .. }));
}

#[test]
fn when_the_rules_changed_the_newer_event_wins() {
    let mut video = Video::with(4);
    video.current = CurrentCover::Is(url("c-00004.jpg"));
    video.memory = ours("last", url("c-00004.jpg"), "2026-01-01T00:00:00Z");
    assert!(matches!(video.decide(&policy("first")).0, Verdict::Set { .. }));
    video.memory = ours("last", url("c-00004.jpg"), "2026-01-03T00:00:00Z");
    assert_eq!(video.decide(&policy("first")).0, Verdict::Keep(Why::NewerAlready));
}

#[test]
fn after_a_crash_the_cover_is_read_even_if_reading_is_off() {
    let mut video = Video::with(4);
    video.memory = announced(url("c-00001.jpg"), By::Rule(Rule::First));
    let blind = Policy { read_current: false, ..policy("first") };
    video.current = CurrentCover::Is(url("c-00001.jpg"));
    let (verdict, asked) = video.decide(&blind);
    assert!(matches!(verdict, Verdict::IsSet { .. }));
    assert_eq!(asked, ["current"]);
    video.current = CurrentCover::Is(url("c-00003.jpg"));
    assert!(matches!(video.decide(&blind).0, Verdict::Set { .. }));
}

#[test]
fn what_the_operator_chose_is_kept_unasked_whatever_the_settings_say() {
    let mut video = Video::with(4);
    // Even VOD's own default, which is nobody's choice otherwise.
    let cover = url("c-00003.jpg");
    video.memory = remembered(Outcome::Chosen { cover }, "2026-01-01T00:00:00Z");
    let greedy = Policy { overwrite_manual: true, ..policy("intelligent first") };
    let (verdict, asked) = video.decide(&greedy);
    assert_eq!((verdict, asked), (Verdict::Keep(Why::OperatorChoseIt), Vec::new()));
}

#[test]
fn a_choice_of_the_operator_that_was_cut_off_is_kept_if_it_took_effect() {
    let mut video = Video::with(4);
    let cover = url("own.png");
    video.memory = announced(cover.clone(), By::Operator);
    let greedy =
        Policy { overwrite_manual: true, read_current: false, ..policy("intelligent first") };
    video.current = CurrentCover::Is(cover);
    assert_eq!(video.decide(&greedy).0, Verdict::Keep(Why::OperatorChoseIt));
    video.current = CurrentCover::Is(url("c-00003.jpg"));
    assert!(matches!(video.decide(&greedy).0, Verdict::Set { .. }));
}

#[test]
fn rules_are_written_as_they_are_read() {
    for text in
        ["first", "middle", "last", "nth=3", "at=0.3", "best", "least-bad", "intelligent", "keep"]
    {
        assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
    }
    for text in ["", "best=1", "nth", "nth=0", "nth=-1", "at=1.5", "at=NaN", "first=1", "Middle"] {
        assert!(text.parse::<Rule>().is_err(), "{text}");
    }
}

#[test]
fn a_cover_url_never_carries_a_signature() {
    let cover = CoverUrl::new(" http://h/a.jpg?auth_key=1-0-0-x#y ").unwrap();
    assert_eq!(cover.as_str(), "http://h/a.jpg");
    assert_eq!(cover.path(), "/a.jpg");
    for bad in
        ["", "a.jpg", "ftp://h/a", "http://", "http://u:p@h/a", "http://h/a b", "javascript:1"]
    {
        assert!(CoverUrl::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_somebody_chose_is_kept_unasked_and_so_is_a_video_that_is_gone() {
    let mut video = Video::with(4);
    let manual =
        || Outcome::Manual { cover: "http://h/theirs.png".into(), by: Witness::ChangeEvent };
    video.memory = remembered(manual(), "2026-01-01T00:00:00Z");
    let (verdict, asked) = video.decide(&policy("intelligent first"));
    assert_eq!((verdict, asked), (Verdict::Keep(Why::SomebodyChoseIt), Vec::new()));
    let greedy = Policy { overwrite_manual: true, ..policy("first") };
    assert!(matches!(video.decide(&greedy).0, Verdict::Set { .. }));
    video.memory = remembered(Outcome::Deleted, "2026-01-01T00:00:00Z");
    assert_eq!(video.decide(&greedy).0, Verdict::Keep(Why::Deleted));
}

#[test]
fn vods_default_in_the_place_of_ours_was_put_there_by_somebody() {
    let mut video = Video::with(4);
    video.images = vec![image("v/image/ai/y.png", ImageFormat::Png, 1.0)];
    video.memory = ours("first", url("c-00001.jpg"), "2026-01-01T00:00:00Z");
    video.current = CurrentCover::Is(url("c-00003.jpg"));
    assert_eq!(video.decide(&policy("intelligent first")).0, Verdict::Keep(Why::SomebodyChoseIt));
}

#[test]
fn a_smart_thumbnail_below_the_minimum_is_passed_over() {
    let mut video = Video::with(4);
    video.images = vec![
        image("v/image/ai/1.png", ImageFormat::Png, 3.0),
        image("v/image/ai/2.gif", ImageFormat::Gif, 5.0),
    ];
    let rules = "intelligent first";
    let at_least = |minimum_score| Policy { minimum_score, ..policy(rules) };
    let chosen = |policy: &Policy| match video.decide(policy).0 {
        Verdict::Set { rule, cover } => (rule, cover.path().to_owned()),
        other => panic!("{other:?}"),
    };
    assert_eq!(chosen(&at_least(4.0)), (Rule::Intelligent, "/v/image/ai/2.gif".into()));
    assert_eq!(chosen(&at_least(5.5)).0, Rule::First);
    // A preferred format counts among those that are good enough.
    let png = Policy { format: Some(ImageFormat::Png), ..at_least(4.0) };
    assert_eq!(chosen(&png).1, "/v/image/ai/2.gif");
}

/// What a video without smart thumbnails comes to, with the job in this state.
fn late(policy: &Policy, job: Option<Job>, state: Option<JobState>, may_come: bool) -> Step {
    let video = Video::with(4);
    let memory = Memory { job, ..Memory::default() };
    let case = Case {
        candidates: &video.candidates,
        automatic: true,
        event_cover: None,
        event_time: video.event_time,
        memory: &memory,
        attempts: 0,
        may_come,
    };
    let current = Current { cover: video.current.clone(), middle: None };
    let seen = Evidence {
        intelligent: Some(Vec::new()),
        current: Some(current),
        job: state,
        ..Evidence::default()
    };
    next(policy, &case, &seen)
}

#[test]
fn a_late_smart_thumbnail_is_waited_for_as_the_policy_says() {
    let by = |late| Policy { late, ..policy("intelligent first") };
    let end = |step| match step {
        Step::Decided(Decision { verdict, provisional, .. }) => {
            (matches!(verdict, Verdict::Wait), provisional)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(end(late(&by(Late::Ignore), None, None, true)), (false, false));
    assert_eq!(end(late(&by(Late::Provisional), None, None, true)), (false, true));
    assert_eq!(end(late(&by(Late::Provisional), None, None, false)), (false, false));
    assert_eq!(end(late(&by(Late::Wait), None, None, true)), (true, true));
    assert_eq!(end(late(&by(Late::Wait), None, None, false)), (false, false));
}

#[test]
fn a_job_is_ordered_once_and_a_failed_one_is_not_waited_for() {
    let policy =
        Policy { late: Late::Wait, submit: Some("template".into()), ..policy("intelligent first") };
    let at = jiff::Timestamp::UNIX_EPOCH;
    let job = |id: Option<&str>| Some(Job { id: id.map(str::to_owned), at });
    assert_eq!(late(&policy, None, None, true), Step::Submit("template".into()));
    assert_eq!(late(&policy, job(Some("7")), None, true), Step::AskJob("7".into()));
    let waits = |step| matches!(step, Step::Decided(Decision { verdict: Verdict::Wait, .. }));
    // It may or may not have been ordered: not a second time.
    assert!(waits(late(&policy, job(None), None, true)));
    assert!(waits(late(&policy, job(Some("7")), Some(JobState::Running), true)));
    let failed = Some(JobState::Failed("no frame".into()));
    assert!(!waits(late(&policy, job(Some("7")), failed, true)));
    assert!(!waits(late(&policy, None, None, false)));
}

#[test]
fn somebody_elses_cover_keeps_its_query_unless_that_expires() {
    let kept = "http://h/a.jpg?x-oss-process=image/resize,w_100";
    assert_eq!(CoverUrl::as_given(kept).unwrap().as_str(), kept);
    assert_eq!(CoverUrl::as_given(kept).unwrap().path(), "/a.jpg");
    for signed in ["auth_key=1-0-0-a", "Expires=1&Signature=x", "x-oss-signature=1"] {
        let url = format!("http://h/a.jpg?{signed}");
        assert_eq!(CoverUrl::as_given(&url).unwrap().as_str(), "http://h/a.jpg");
    }
}
