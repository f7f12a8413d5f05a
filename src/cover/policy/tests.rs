use serde_json::json;

use super::*;
use crate::event::{Event, parse};

fn policies(toml: &str) -> Result<Policies, BadPolicy> {
    let fixed = "gate = true\npatience = 3\nmost_pictures = 24\nintelligent.format = 'any'\n\
        intelligent.minimum_score = 0.0\nintelligent.late = 'ignore'\nintelligent.deadline = '1h'\n\
        intelligent.submit = false\nintelligent.template = ''";
    let settings = format!("rules = ['middle']\n{fixed}\n{toml}");
    let ownership = Ownership { read: true, overwrite_manual: false };
    Policies::new(&toml::from_str(&settings).unwrap(), &ownership, "0123abcd")
}

fn event(extend: Value, sub_type: Option<&str>) -> SnapshotsReady {
    let kind = if sub_type.is_some() { "NormalSnapshot" } else { "CoverSnapshot" };
    let body = json!({
        "EventType": "SnapshotComplete", "VideoId": "v", "Extend": extend, "SubType": sub_type,
        "SnapshotInfos": [{"SnapshotType": kind, "SnapshotRegular": "http://h/{SnapshotCount}.jpg"}],
    });
    match parse(body.to_string().as_bytes()) {
        Ok(Event::Snapshots(ready)) => ready,
        other => panic!("{other:?}"),
    }
}

fn name(policies: &Policies, extend: Value, sub_type: Option<&str>) -> String {
    policies.of(&event(extend, sub_type), None).unwrap().name.clone()
}

#[test]
fn the_first_override_whose_conditions_all_hold_wins() {
    let policies = policies(
        "[[override]]\nname = 'ordered sports'\nsub_type = 'SpecifiedTime'\nextend = { channel = 'sports' }\nrules = ['first']\n\
         [[override]]\nname = 'sports'\nextend = { channel = 'sports', tier = 2 }\nrules = ['last']\n\
         [[override]]\nsub_type = ''\nextend_contains = 'kids'\nrules = ['keep']\nformat = 'gif'",
    )
    .unwrap();
    let sports = json!({"channel": "sports", "tier": 2});
    assert_eq!(name(&policies, sports.clone(), Some("SpecifiedTime")), "ordered sports");
    assert_eq!(name(&policies, sports, None), "sports");
    assert_eq!(name(&policies, json!({"channel": "sports"}), None), "default");
    assert_eq!(name(&policies, json!("for kids"), None), "override 3");
    assert_eq!(name(&policies, json!("for kids"), Some("SpecifiedTime")), "default");
    assert_eq!(name(&policies, json!(null), None), "default");
    let kids = policies.of(&event(json!(["kids"]), None), None).unwrap().clone();
    assert_eq!((kids.rules, kids.format), (vec![Rule::Keep], Some(ImageFormat::Gif)));
}

#[test]
fn extend_matches_as_an_object_and_as_an_object_in_text() {
    let policies =
        policies("[[override]]\nname = 'x'\nextend = { id = 7 }\nrules = ['first']").unwrap();
    for extend in
        [json!({"id": 7}), json!({"id": "7"}), json!("{\"id\":7}"), json!("{\"id\":\"7\"}")]
    {
        assert_eq!(name(&policies, extend.clone(), None), "x", "{extend}");
    }
    for extend in [json!({"id": 8}), json!("{\"id\":"), json!(7), json!([7]), json!("id 7")] {
        assert_eq!(name(&policies, extend.clone(), None), "default", "{extend}");
    }
}

#[test]
fn pictures_are_looked_at_only_where_a_rule_needs_them() {
    let gated = policies("").unwrap();
    assert!(gated.look());
    let over = |more: &str| format!("[[override]]\nextend_contains = 'x'\n{more}");
    let some = policies(&over("rules = ['first']\ngate = false")).unwrap();
    assert!(some.default.looks() && !some.overrides[0].1.looks());
    assert!(policies(&over("rules = ['best']\ngate = false")).unwrap().overrides[0].1.looks());
    let unseen = policies(&over("rules = ['intelligent', 'keep']")).unwrap();
    assert!(!unseen.overrides[0].1.looks());
}

#[test]
fn the_last_resort_cannot_be_configured() {
    let error = policies("[[override]]\nextend_contains = 'x'\nrules = ['least-bad']").unwrap_err();
    assert!(matches!(&error, BadPolicy::LeastBad { .. }), "{error}");
}

#[test]
fn facts_are_asked_for_only_if_an_override_needs_them() {
    let policies = policies(
        "[[override]]\nname = 'ordered'\nsub_type = 'SpecifiedTime'\nrules = ['first']\n\
         [[override]]\nname = 'kids'\nextend_contains = 'kids'\ntags = ['a', 'b']\nrules = ['last']\n\
         [[override]]\nname = 'sports'\nsub_type = ''\ncategory = 7\nrules = ['keep']",
    )
    .unwrap();
    // An earlier override holds, or nothing that needs them can.
    assert_eq!(name(&policies, json!(null), Some("SpecifiedTime")), "ordered");
    let automatic = event(json!("kids"), None);
    assert_eq!(policies.of(&automatic, None).unwrap_err(), NeedsFacts);
    let with = |facts: &Facts| policies.of(&automatic, Some(facts)).unwrap().name.clone();
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(with(&Facts::default()), "default");
    let both = Facts { tags: texts(&["c", "b", "a"]), ..Facts::default() };
    assert_eq!(with(&both), "kids");
    assert_eq!(with(&Facts { tags: texts(&["a"]), ..Facts::default() }), "default");
    let by_id = Facts { category_id: Some("7".into()), ..Facts::default() };
    assert_eq!(with(&by_id), "sports");
    assert_eq!(with(&Facts { tags: texts(&["a", "b"]), ..by_id }), "kids");
}

#[test]
fn category_name_title_and_template_group_are_conditions() {
    let policies = policies(
        "[[override]]\nname = 'c'\ncategory = 'Sports'\nrules = ['first']\n\
         [[override]]\nname = 't'\ntitle_contains = 'ÜBUNG'\nrules = ['first']\n\
         [[override]]\nname = 'g'\ntemplate_group = 'abc'\nrules = ['first']",
    )
    .unwrap();
    let of =
        |facts: Facts| policies.of(&event(json!(null), None), Some(&facts)).unwrap().name.clone();
    let none = Facts::default;
    assert_eq!(of(Facts { category_name: Some("Sports".into()), ..none() }), "c");
    assert_eq!(of(Facts { title: Some("Erste Übung".into()), ..none() }), "t");
    assert_eq!(of(Facts { template_group: Some("abc".into()), ..none() }), "g");
    assert_eq!(of(Facts { template_group: Some("abcd".into()), ..none() }), "default");
}

#[test]
fn a_category_is_a_number_or_text() {
    let odd = policies("[[override]]\nname = 'x'\ncategory = true\nrules = ['first']");
    assert!(matches!(odd, Err(BadPolicy::OddCategory { .. })));
}

#[test]
fn smart_thumbnails_are_ordered_only_to_be_waited_for() {
    let with = |more: &str| {
        let text = format!(
            "rules = ['intelligent', 'first']\ngate = true\npatience = 3\nmost_pictures = 24\n\
             intelligent = {{ format = 'any', minimum_score = 0.0, deadline = '1h', {more} }}"
        );
        let ownership = Ownership { read: true, overwrite_manual: false };
        Policies::new(&toml::from_str(&text).unwrap(), &ownership, "0123abcd")
            .map(|policies| policies.default().submit.clone())
    };
    let ordered = with("late = 'wait', submit = true, template = 't'");
    assert_eq!(ordered, Ok(Some("t".to_owned())));
    let idle = with("late = 'ignore', submit = true, template = 't'");
    assert!(matches!(idle, Err(BadPolicy::NotAwaited { .. })));
    assert_eq!(with("late = 'wait', submit = true, template = ' '"), Err(BadPolicy::NoTemplate));
    assert_eq!(with("late = 'wait', submit = false, template = 't'"), Ok(None));
}
