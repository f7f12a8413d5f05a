use Operation::{GetVideoInfo, UpdateVideoInfo, UpdateVideoInfos};

use super::*;

/// A minute in which the clock stands still, but for those who wait.
async fn in_a_minute(quota: &Quota, operation: Operation) -> usize {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(60) && quota.take(operation).await.is_ok() {
        count += 1;
    }
    count
}

#[tokio::test(start_paused = true)]
async fn an_accounts_own_limit_replaces_the_documented_one_and_no_other() {
    let limits = BTreeMap::from([("updatevideoinfo".to_owned(), 400.0)]);
    let quota = Quota::new(Some(0.5), &limits);
    let own = in_a_minute(&quota, UpdateVideoInfo).await;
    assert!((194 * 60..=200 * 60).contains(&own), "{own}");
    let documented = in_a_minute(&quota, GetVideoInfo).await;
    assert!((48 * 60..=50 * 60).contains(&documented), "{documented}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_would_wait_too_long_is_turned_away_and_takes_no_turn() {
    let quota = Quota::new(Some(0.1), &BTreeMap::new());
    let all = futures_util::future::join_all((0..200).map(|_| quota.take(UpdateVideoInfo))).await;
    let got = all.iter().filter(|turn| turn.is_ok()).count();
    assert!((45..55).contains(&got), "{got}");
    let refused =
        all.iter().filter_map(|turn| turn.err()).collect::<std::collections::BTreeSet<_>>();
    assert!(refused.len() == 1 && refused.first() > Some(&LONGEST_WAIT), "{refused:?}");
    assert_eq!(quota.take(UpdateVideoInfo).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_held_operation_gives_no_turn_before_its_time_and_holds_no_other() {
    let quota = Quota::new(Some(1.0), &BTreeMap::new());
    quota.hold(UpdateVideoInfo, Duration::from_secs(60)).await;
    assert_eq!(quota.take(UpdateVideoInfo).await, Err(Duration::from_secs(60)));
    assert!(!quota.now(UpdateVideoInfo).await);
    assert!(quota.now(GetVideoInfo).await);
    assert_eq!(quota.first_of(UpdateVideoInfo, UpdateVideoInfos).await, Ok(UpdateVideoInfos));
}

#[tokio::test(start_paused = true)]
async fn taking_turns_without_a_pace_respects_a_throttling_answer() {
    let (quota, start) = (Quota::new(None, &BTreeMap::new()), Instant::now());
    let walks = quota.walking(0.001);
    for _ in 0..10_000 {
        assert_eq!(quota.take(UpdateVideoInfo).await, Ok(()));
        assert_eq!(walks.take(UpdateVideoInfo).await, Ok(()));
        assert_eq!(quota.first_of(UpdateVideoInfo, UpdateVideoInfos).await, Ok(UpdateVideoInfos));
        assert!(quota.now(UpdateVideoInfo).await);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    walks.hold(UpdateVideoInfo, Duration::from_secs(60)).await;
    assert!(quota.take(UpdateVideoInfo).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_the_first_of_two_spends_both_quotas_and_no_more() {
    let (quota, start) = (Quota::new(Some(0.8), &BTreeMap::new()), Instant::now());
    let (mut single, mut several) = (0, 0);
    while start.elapsed() < Duration::from_secs(60) {
        match quota.first_of(UpdateVideoInfo, UpdateVideoInfos).await {
            Ok(UpdateVideoInfo) => single += 1,
            Ok(UpdateVideoInfos) => several += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((77 * 60..=80 * 60).contains(&single), "{single}");
    assert!((23 * 60..=24 * 60).contains(&several), "{several}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_now_is_one_of_the_same_budget() {
    let quota = Quota::new(Some(0.1), &BTreeMap::new());
    assert!(quota.now(UpdateVideoInfo).await);
    assert!(!quota.now(UpdateVideoInfo).await);
    quota.take(UpdateVideoInfo).await.expect("a turn");
    assert!(!quota.now(UpdateVideoInfo).await);
}

#[tokio::test(start_paused = true)]
async fn a_walk_takes_its_share_while_there_are_no_events() {
    let quota = Quota::new(Some(0.8), &BTreeMap::new());
    let walked = in_a_minute(&quota.walking(0.2), UpdateVideoInfo).await;
    assert!((19 * 60..=20 * 60).contains(&walked), "{walked}");
}

#[tokio::test(start_paused = true)]
async fn events_take_everything_before_a_walk_gets_a_turn() {
    let quota = Quota::new(Some(0.8), &BTreeMap::new());
    let walks = quota.walking(0.2);
    let events = async {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            let turns = (0..50).map(|_| quota.take(UpdateVideoInfo));
            assert!(futures_util::future::join_all(turns).await.iter().all(Result::is_ok));
        }
    };
    let walk = async {
        let mut walked = 0;
        for _ in 0..10 {
            walked += usize::from(walks.take(UpdateVideoInfo).await.is_ok());
        }
        walked
    };
    let ((), walked) = tokio::join!(events, walk);
    assert_eq!(walked, 0);
}

#[tokio::test(start_paused = true)]
async fn what_walks_take_is_missing_from_the_one_budget() {
    let quota = Quota::new(Some(0.1), &BTreeMap::new());
    let walks = quota.walking(1.0);
    assert!(walks.now(UpdateVideoInfo).await);
    assert!(!quota.now(UpdateVideoInfo).await);
}
