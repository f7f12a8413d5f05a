//! The state of one queue: what is visible, what was received by whom and until when. Asks no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

pub(super) struct Queue {
    pub visibility: Duration,
    messages: BTreeMap<u64, Stored>,
    written: u64,
    deleted: u64,
    receipts: u64,
}

struct Stored {
    body: String,
    enqueued: Timestamp,
    visible: Timestamp,
    /// Of the newest reception.
    handle: String,
    times: u32,
}

/// A message as it is received.
pub(super) struct Message {
    pub id: String,
    pub handle: String,
    pub body: String,
    pub enqueued: Timestamp,
    pub next_visible: Timestamp,
    pub times: u32,
}

/// What is in a queue, and was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// That can be received.
    pub active: usize,
    /// That were received, and are neither deleted nor visible again.
    pub inactive: usize,
    pub deleted: u64,
    /// The most that one that is still there was received.
    pub most_received: u32,
}

impl Queue {
    pub fn new(visibility: Duration) -> Self {
        Self { visibility, messages: BTreeMap::new(), written: 0, deleted: 0, receipts: 0 }
    }

    pub fn send(&mut self, body: String, now: Timestamp) {
        self.written += 1;
        let (handle, times) = (String::new(), 0);
        let stored = Stored { body, enqueued: now, visible: now, handle, times };
        self.messages.insert(self.written, stored);
    }

    pub fn has_visible(&self, now: Timestamp) -> bool {
        self.messages.values().any(|message| message.visible <= now)
    }

    /// The oldest that are visible. Each gets another handle, and the one before is void.
    pub fn receive(&mut self, count: usize, now: Timestamp) -> Vec<Message> {
        let next_visible = now.saturating_add(self.visibility).unwrap_or(Timestamp::MAX);
        let visible = self.messages.iter_mut().filter(|(_, message)| message.visible <= now);
        let mut received = Vec::new();
        for (number, stored) in visible.take(count) {
            self.receipts += 1;
            stored.handle = format!("{number}-{}+/==", self.receipts);
            stored.visible = next_visible;
            stored.times += 1;
            received.push(Message {
                id: id(*number),
                handle: stored.handle.clone(),
                body: stored.body.clone(),
                enqueued: stored.enqueued,
                next_visible,
                times: stored.times,
            });
        }
        received
    }

    /// The error's code if it is void.
    pub fn delete(&mut self, handle: &str, now: Timestamp) -> Result<(), &'static str> {
        let number = handle.split_once('-').and_then(|(number, _)| number.parse().ok());
        let number: u64 = number.ok_or("ReceiptHandleError")?;
        let stored = self.messages.get(&number).ok_or("MessageNotExist")?;
        if stored.handle != handle {
            return Err("ReceiptHandleError");
        }
        if stored.visible <= now {
            return Err("MessageNotExist");
        }
        self.messages.remove(&number);
        self.deleted += 1;
        Ok(())
    }

    pub fn counts(&self, now: Timestamp) -> Counts {
        let active = self.messages.values().filter(|message| message.visible <= now).count();
        let times = self.messages.values().map(|message| message.times);
        Counts {
            active,
            inactive: self.messages.len() - active,
            deleted: self.deleted,
            most_received: times.max().unwrap_or(0),
        }
    }
}

fn id(number: u64) -> String {
    format!("5F290C926D472878-2-14D9529A8FA-{number:09}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_was_received_comes_again_unless_it_is_deleted_in_time() {
        let mut queue = Queue::new(Duration::from_secs(30));
        queue.send("a".into(), at(0));
        queue.send("b".into(), at(0));
        let first = queue.receive(1, at(0)).remove(0);
        assert_eq!((first.body.as_str(), first.times), ("a", 1));
        assert_eq!(queue.receive(16, at(0)).remove(0).body, "b");
        assert!(!queue.has_visible(at(29)));
        let again = queue.receive(1, at(30)).remove(0);
        assert_eq!((again.body.as_str(), again.times), ("a", 2));
        assert_eq!(queue.delete(&first.handle, at(31)), Err("ReceiptHandleError"));
        assert_eq!(queue.delete(&again.handle, at(31)), Ok(()));
        assert_eq!(queue.delete(&again.handle, at(31)), Err("MessageNotExist"));
        assert_eq!(queue.delete("odd", at(31)), Err("ReceiptHandleError"));
        let late = queue.receive(1, at(31)).remove(0);
        assert_eq!(queue.delete(&late.handle, at(61)), Err("MessageNotExist"));
        let counts = Counts { active: 1, inactive: 0, deleted: 1, most_received: 2 };
        assert_eq!(queue.counts(at(61)), counts);
    }
}
