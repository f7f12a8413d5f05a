//! What every queue has to do, whichever it is: one suite, run for each adapter with `queue_contract!`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use vod_cover::error::Reason;
use vod_cover::queue::{DeadLetter, Delivery, Depth, Fate, Message, Queue, Settlement, Trace};

use crate::wait::{SOON, eventually};

/// A queue somewhere, empty at first, that nobody else uses. Its shortest retry takes about 200 ms.
#[async_trait]
pub trait Place: Send + Sync {
    /// Opens it as one more process would.
    async fn open(&self) -> Arc<dyn Queue>;
    /// Ends such a process without settling anything; its deliveries return.
    async fn crash(&self, process: Arc<dyn Queue>);
    /// The dead letters, each with its reason.
    async fn dead(&self) -> Vec<(Message, String)>;
    /// Leaves nothing behind.
    async fn remove(&self);
}

/// `queue_contract!(name_of_module, expression of a Place)`: a test for each line of the contract.
macro_rules! queue_contract {
    ($module:ident, $place:expr) => {
        mod $module {
            use super::*;

            $crate::queue_contract::queue_contract! { @tests $place;
                what_is_done_is_gone
                a_message_comes_as_it_was_published
                bodies_come_back_bit_by_bit
                a_retry_comes_again_with_its_count_and_both_errors
                a_retry_that_does_not_count_is_a_deferral
                a_message_is_replaced_by_another_that_comes_later
                a_dead_letter_keeps_its_body_its_errors_and_its_reason
                what_is_buried_at_once_is_a_dead_letter_and_never_delivered
                a_trace_is_kept_from_the_first_delivery_to_the_dead_letter
                what_was_not_settled_comes_again_to_another_process
                a_pause_returns_what_was_not_handed_out_and_next_resumes
                what_was_handed_out_can_be_settled_during_a_pause
                dropping_next_loses_nothing
                depth_tells_what_is_ready_delayed_and_dead
                a_walk_through_the_dead_letters_leaves_them_as_they_are
                a_dead_letter_that_is_tried_again_begins_anew_and_tells_that_it_was
                a_dropped_dead_letter_is_gone_and_the_others_stay
                a_walk_that_is_cut_off_keeps_what_it_had_not_settled
                two_walks_at_once_settle_every_letter_once
            }
        }
    };
    (@tests $place:expr; $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let place = $place;
                $crate::queue_contract::$name(&place).await;
                $crate::queue_contract::Place::remove(&place).await;
            }
        )*
    };
}
pub(crate) use queue_contract;

pub async fn what_is_done_is_gone(place: &impl Place) {
    let queue = place.open().await;
    publish(&queue, "first").await;
    let first = take(&queue).await;
    queue.settle(first, Settlement::Done).await.unwrap();
    place.crash(queue).await;

    let queue = place.open().await;
    publish(&queue, "second").await;
    assert_eq!(take(&queue).await.message.body, "second");
}

pub async fn a_message_comes_as_it_was_published(place: &impl Place) {
    let queue = place.open().await;
    let message = Message::new(r#"{"EventType":"SnapshotComplete"}"#, "SnapshotComplete", "id-1");
    queue.publish(message.clone()).await.unwrap();
    assert_eq!(take(&queue).await.message, message);
}

pub async fn bodies_come_back_bit_by_bit(place: &impl Place) {
    let queue = place.open().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> =
        (0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for body in [&b"\xff\xfe not UTF-8"[..], b"\0", &every_byte, &large] {
        queue.publish(Message::new(body.to_vec(), "k", "")).await.unwrap();
        let delivery = take(&queue).await;
        assert!(delivery.message.body == body);
        queue.settle(delivery, retry(true, "once more")).await.unwrap();
        let delivery = take(&queue).await;
        assert!(delivery.message.body == body);
        queue.settle(delivery, Settlement::Done).await.unwrap();
    }
}

pub async fn a_retry_comes_again_with_its_count_and_both_errors(place: &impl Place) {
    let queue = place.open().await;
    publish(&queue, "event").await;
    for (attempts, error) in ["no route", "timed out", "reset"].iter().enumerate() {
        let delivery = take(&queue).await;
        assert_eq!(delivery.message.attempts as usize, attempts);
        queue.settle(delivery, retry(true, error)).await.unwrap();
    }
    let message = take(&queue).await.message;
    assert_eq!((message.attempts, message.deferrals), (3, 0));
    assert_eq!((message.kind.as_str(), message.id.as_str()), ("SnapshotComplete", "id-event"));
    let failures = message.failures.unwrap();
    assert_eq!((failures.first.as_str(), failures.last.as_str()), ("no route", "reset"));
    let age = jiff::Timestamp::now().duration_since(failures.since);
    assert!((0..600).contains(&age.as_secs()), "first failed {age:?} ago");
}

pub async fn a_retry_that_does_not_count_is_a_deferral(place: &impl Place) {
    let queue = place.open().await;
    publish(&queue, "event").await;
    let delivery = take(&queue).await;
    queue.settle(delivery, retry(false, "throttled")).await.unwrap();
    let message = take(&queue).await.message;
    assert_eq!((message.attempts, message.deferrals), (0, 1));
}

pub async fn a_message_is_replaced_by_another_that_comes_later(place: &impl Place) {
    let queue = place.open().await;
    publish(&queue, "event").await;
    let delivery = take(&queue).await;
    queue.settle(delivery, retry(true, "timed out")).await.unwrap();
    let delivery = take(&queue).await;
    let message = Message::new(&b"\xffanother\0"[..], "another kind", "another id");
    let replaced =
        Settlement::Replace { message: message.clone(), after: Duration::from_millis(300) };
    queue.settle(delivery, replaced).await.unwrap();
    // Also if the process that replaced it dies: nothing of the first is left.
    place.crash(queue).await;
    let queue = place.open().await;
    let delivery = take(&queue).await;
    assert_eq!(delivery.message, message);
    queue.settle(delivery, Settlement::Done).await.unwrap();
    publish(&queue, "next").await;
    assert_eq!(take(&queue).await.message.body, "next");
}

pub async fn a_dead_letter_keeps_its_body_its_errors_and_its_reason(place: &impl Place) {
    let queue = place.open().await;
    publish(&queue, "not an event \u{fffd}").await;
    let delivery = take(&queue).await;
    queue.settle(delivery, retry(true, "first trouble")).await.unwrap();
    let delivery = take(&queue).await;
    let reason = Reason::new("event.not-json");
    let dead = Settlement::Dead { reason, error: "last trouble".to_owned() };
    queue.settle(delivery, dead).await.unwrap();

    let letters = place.dead().await;
    let [(message, reason)] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!(reason, "event.not-json");
    assert_eq!(message.body, "not an event \u{fffd}");
    assert_eq!((message.attempts, message.kind.as_str()), (2, "SnapshotComplete"));
    assert_eq!(message.id, "id-not an event \u{fffd}");
    let failures = message.failures.as_ref().unwrap();
    assert_eq!(failures.first, "first trouble");
    assert_eq!(failures.last, "last trouble");
}

pub async fn what_is_buried_at_once_is_a_dead_letter_and_never_delivered(place: &impl Place) {
    let queue = place.open().await;
    let message = Message::new(&b"\xffno event\0"[..], "", "id");
    queue.bury(message, Reason::new("event.not-json"), "no luck").await.unwrap();
    publish(&queue, "event").await;
    assert_eq!(take(&queue).await.message.body, "event");
    let letters = place.dead().await;
    let [(message, reason)] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((reason.as_str(), message.id.as_str()), ("event.not-json", "id"));
    assert_eq!(message.body, &b"\xffno event\0"[..]);
    assert_eq!((message.attempts, message.deferrals), (1, 0));
    assert_eq!(message.failures.as_ref().unwrap().last, "no luck");
}

pub async fn a_trace_is_kept_from_the_first_delivery_to_the_dead_letter(place: &impl Place) {
    let queue = place.open().await;
    let trace: Trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
    let message = Message { trace: Some(trace), ..Message::new("event", "Kind", "id") };
    queue.publish(message.clone()).await.unwrap();
    let delivery = take(&queue).await;
    assert_eq!(delivery.message, message);
    queue.settle(delivery, retry(true, "once more")).await.unwrap();
    let delivery = take(&queue).await;
    assert_eq!(delivery.message.trace, Some(trace));
    let after = Duration::from_millis(200);
    queue.settle(delivery, Settlement::Replace { message, after }).await.unwrap();
    let delivery = take(&queue).await;
    assert_eq!(delivery.message.trace, Some(trace));
    let dead = Settlement::Dead { reason: Reason::new("test"), error: "the end".to_owned() };
    queue.settle(delivery, dead).await.unwrap();
    let letters = place.dead().await;
    assert_eq!(letters.iter().map(|letter| letter.0.trace).collect::<Vec<_>>(), [Some(trace)]);
}

pub async fn what_was_not_settled_comes_again_to_another_process(place: &impl Place) {
    let queue = place.open().await;
    let sent: BTreeSet<String> = (0..5).map(|n| format!("event {n}")).collect();
    for body in &sent {
        publish(&queue, body).await;
    }
    let lost = take(&queue).await;
    drop(lost);
    place.crash(queue).await;

    let queue = place.open().await;
    let mut seen = BTreeSet::new();
    while seen.len() < sent.len() {
        let delivery = take(&queue).await;
        seen.insert(text(&delivery));
        queue.settle(delivery, Settlement::Done).await.unwrap();
    }
    assert_eq!(seen, sent);
}

pub async fn a_pause_returns_what_was_not_handed_out_and_next_resumes(place: &impl Place) {
    let paused = place.open().await;
    for n in 0..10 {
        publish(&paused, &format!("event {n}")).await;
    }
    let mut seen = BTreeSet::new();
    let held = [take(&paused).await, take(&paused).await];
    seen.extend(held.iter().map(text));
    paused.pause().await;

    let other = place.open().await;
    for _ in 0..8 {
        let delivery = take(&other).await;
        assert!(seen.insert(text(&delivery)));
        other.settle(delivery, Settlement::Done).await.unwrap();
    }
    other.pause().await;

    publish(&other, "after the pause").await;
    let resumed = take(&paused).await;
    assert_eq!(resumed.message.body, "after the pause");
    for delivery in held.into_iter().chain([resumed]) {
        paused.settle(delivery, Settlement::Done).await.unwrap();
    }
}

pub async fn what_was_handed_out_can_be_settled_during_a_pause(place: &impl Place) {
    let queue = place.open().await;
    for body in ["done", "tried again"] {
        publish(&queue, body).await;
    }
    let (first, second) = (take(&queue).await, take(&queue).await);
    queue.pause().await;
    queue.settle(first, Settlement::Done).await.unwrap();
    queue.settle(second, retry(true, "later")).await.unwrap();
    place.crash(queue).await;

    let queue = place.open().await;
    let delivery = take(&queue).await;
    assert_eq!((text(&delivery).as_str(), delivery.message.attempts), ("tried again", 1));
    queue.settle(delivery, Settlement::Done).await.unwrap();
    publish(&queue, "nothing in between").await;
    assert_eq!(take(&queue).await.message.body, "nothing in between");
}

pub async fn dropping_next_loses_nothing(place: &impl Place) {
    let queue = place.open().await;
    let sent: BTreeSet<String> = (0..50).map(|n| format!("event {n}")).collect();
    let publisher = tokio::spawn({
        let (queue, sent) = (Arc::clone(&queue), sent.clone());
        async move {
            for body in &sent {
                publish(&queue, body).await;
            }
        }
    });
    let mut seen = BTreeSet::new();
    eventually("every event was received", SOON, async || {
        for microseconds in (0..2_000).step_by(100) {
            let patience = Duration::from_micros(microseconds);
            if let Ok(delivery) = timeout(patience, queue.next()).await {
                let delivery = delivery.unwrap().unwrap();
                assert!(seen.insert(text(&delivery)), "delivered twice");
                queue.settle(delivery, Settlement::Done).await.unwrap();
            }
        }
        seen == sent
    })
    .await;
    publisher.await.unwrap();
}

pub async fn depth_tells_what_is_ready_delayed_and_dead(place: &impl Place) {
    let queue = place.open().await;
    for n in 0..6 {
        publish(&queue, &format!("event {n}")).await;
    }
    let late = take(&queue).await;
    let after = Duration::from_secs(3600);
    let settlement = Settlement::Retry { after, counts: true, error: "later".to_owned() };
    queue.settle(late, settlement).await.unwrap();
    let dead = take(&queue).await;
    let settlement = Settlement::Dead { reason: Reason::new("no"), error: "no".to_owned() };
    queue.settle(dead, settlement).await.unwrap();
    queue.pause().await;
    let expected = Depth { ready: 4, delayed: 1, dead: 1 };
    eventually("the depth is right", SOON, async || queue.depth().await.ok() == Some(expected))
        .await;
}

/// Buries messages with these bodies.
async fn bury(queue: &Arc<dyn Queue>, bodies: &[&str]) {
    for body in bodies {
        let message = Message::new((*body).to_owned(), "SnapshotComplete", format!("id-{body}"));
        queue.bury(message, Reason::new("test.no"), "no").await.unwrap();
    }
}

/// All dead letters, oldest first.
pub async fn dead_letters(queue: &dyn Queue) -> Vec<DeadLetter> {
    let mut walk = queue.dead_letters().await.unwrap();
    let mut letters = Vec::new();
    while let Some(letter) = walk.next().await.unwrap() {
        letters.push(letter);
    }
    walk.close().await.unwrap();
    letters
}

/// Settles every dead letter like this, and says how many it was that did.
async fn settle_all(queue: Arc<dyn Queue>, fate: Fate) -> usize {
    let mut walk = queue.dead_letters().await.unwrap();
    let mut settled = 0;
    while walk.next().await.unwrap().is_some() {
        settled += usize::from(walk.settle(fate).await.unwrap());
    }
    walk.close().await.unwrap();
    settled
}

pub async fn a_walk_through_the_dead_letters_leaves_them_as_they_are(place: &impl Place) {
    let queue = place.open().await;
    bury(&queue, &["a", "b", "c"]).await;
    let first = dead_letters(&*queue).await;
    let [a, ..] = &first[..] else { panic!("{first:?}") };
    assert_eq!((a.message.body.as_ref(), a.reason.as_str()), (&b"a"[..], "test.no"));
    assert_eq!((a.message.id.as_str(), a.message.kind.as_str()), ("id-a", "SnapshotComplete"));
    assert!(a.died.is_some());
    // More often than RabbitMQ 4 delivers a message by default before it drops it.
    for _ in 0..25 {
        eventually("they are all back", SOON, async || {
            queue.depth().await.is_ok_and(|depth| depth.dead == 3)
        })
        .await;
        let mut again = dead_letters(&*queue).await;
        again.sort_by(|a, b| a.message.body.cmp(&b.message.body));
        assert_eq!(again, first);
    }
}

pub async fn a_dead_letter_that_is_tried_again_begins_anew_and_tells_that_it_was(
    place: &impl Place,
) {
    let queue = place.open().await;
    let trace: Trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let mut first = Message::new(&b"\xff\x00"[..], "SnapshotComplete", "id");
    first.trace = Some(trace);
    queue.publish(first.clone()).await.unwrap();
    for times in 1..3 {
        let delivery = take(&queue).await;
        let settlement =
            Settlement::Dead { reason: Reason::new("no"), error: "no luck".to_owned() };
        queue.settle(delivery, settlement).await.unwrap();
        assert_eq!(settle_all(Arc::clone(&queue), Fate::Retry).await, 1);
        let delivery = take(&queue).await;
        let failures = delivery.message.failures.clone();
        assert_eq!(failures.as_ref().unwrap().first, "no luck");
        assert_eq!(delivery.message, Message { retried: times, failures, ..first.clone() });
        // As it was, so that it is taken again.
        queue.settle(delivery, retry(false, "not yet")).await.unwrap();
    }
    assert_eq!(take(&queue).await.message.retried, 2);
    assert_eq!(dead_letters(&*queue).await, []);
}

pub async fn a_dropped_dead_letter_is_gone_and_the_others_stay(place: &impl Place) {
    let queue = place.open().await;
    bury(&queue, &["a", "b", "c"]).await;
    let mut walk = queue.dead_letters().await.unwrap();
    while let Some(letter) = walk.next().await.unwrap() {
        if letter.message.body == "b" {
            assert!(walk.settle(Fate::Drop).await.unwrap());
            assert!(!walk.settle(Fate::Drop).await.unwrap(), "it is settled");
        }
    }
    walk.close().await.unwrap();
    let bodies = || async {
        let letters = dead_letters(&*queue).await;
        letters.into_iter().map(|letter| letter.message.body).collect::<Vec<_>>()
    };
    eventually("two are left", SOON, async || bodies().await == ["a", "c"]).await;
    assert_eq!(queue.depth().await.unwrap().ready, 0);
}

pub async fn a_walk_that_is_cut_off_keeps_what_it_had_not_settled(place: &impl Place) {
    let queue = place.open().await;
    bury(&queue, &["a", "b", "c", "d"]).await;
    let mut walk = queue.dead_letters().await.unwrap();
    walk.next().await.unwrap();
    walk.next().await.unwrap();
    assert!(walk.settle(Fate::Retry).await.unwrap());
    walk.next().await.unwrap();
    drop(walk);
    eventually("the others are there", SOON, async || dead_letters(&*queue).await.len() == 3).await;
    assert_eq!(take(&queue).await.message.body, "b");
}

pub async fn two_walks_at_once_settle_every_letter_once(place: &impl Place) {
    let queue = place.open().await;
    let bodies: Vec<String> = (0..100).map(|n| format!("event {n}")).collect();
    bury(&queue, &bodies.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let walk = || tokio::spawn(settle_all(Arc::clone(&queue), Fate::Retry));
    let (one, other) = (walk(), walk());
    let settled = one.await.unwrap() + other.await.unwrap();
    assert_eq!(settled, bodies.len());
    let mut seen = BTreeSet::new();
    for _ in &bodies {
        let delivery = take(&queue).await;
        assert!(seen.insert(text(&delivery)), "it came twice");
        queue.settle(delivery, Settlement::Done).await.unwrap();
    }
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}

async fn publish(queue: &Arc<dyn Queue>, body: &str) {
    let message = Message::new(body.to_owned(), "SnapshotComplete", format!("id-{body}"));
    queue.publish(message).await.unwrap();
}

/// The next delivery, within a deadline.
pub async fn take(queue: &Arc<impl Queue + ?Sized>) -> Delivery {
    let next = timeout(SOON, queue.next()).await;
    next.expect("no delivery in time").unwrap().expect("the queue does not end")
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.body.to_vec()).unwrap()
}

/// The shortest retry there is.
pub fn retry(counts: bool, error: &str) -> Settlement {
    Settlement::Retry { after: Duration::from_millis(200), counts, error: error.to_owned() }
}
