//! Asks the broker every few seconds whether it still has a consumer of ours, since a consumer can be lost
//! without a word. Uses a channel of its own, because asking about a missing queue costs the channel.

use std::time::Duration;

use lapin::{Channel, Connection};
use tokio::time::sleep;

use super::connection::{Trouble, within};
use super::intake::{Activity, Intake};
use super::topology;

const INTERVAL: Duration = Duration::from_secs(5);
/// A consumer that was just set up may not be counted yet.
const SETTLING: Duration = Duration::from_secs(2);

/// Ends when something is wrong. With `declare = "none"` it asks nothing and never ends.
pub(super) async fn watch(connection: &Connection, intake: &Intake) -> Trouble {
    match watch_until_trouble(connection, intake).await {
        Err(trouble) => trouble,
        Ok(()) => std::future::pending().await,
    }
}

async fn watch_until_trouble(connection: &Connection, intake: &Intake) -> Result<(), Trouble> {
    let settings = &intake.settings;
    if !settings.may_inspect() {
        return Ok(());
    }
    let limit = settings.confirm_timeout;
    let mut channel: Option<Channel> = None;
    let mut before: Option<Activity> = None;
    let mut silent = 0;
    loop {
        sleep(INTERVAL.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        let asked = intake.activity();
        let channel = match &mut channel {
            Some(channel) => channel,
            none => {
                none.insert(within(limit, "opening a channel", connection.create_channel()).await?)
            }
        };
        let (ready, consumers) = match topology::inspect(channel, &settings.queue, limit).await {
            Err(trouble) if trouble.code() == Some(403) => {
                tracing::warn!(
                    queue = settings.queue,
                    "not allowed to look at the queue: a consumer that is lost will not be noticed"
                );
                return Ok(());
            }
            answer => answer?,
        };
        let now = intake.activity();
        let consuming = asked.consuming_since.is_some_and(|since| since.elapsed() > SETTLING)
            && asked.consuming_since == now.consuming_since;
        if consuming && consumers == 0 {
            return Err(Trouble::Silence("the broker knows no consumer of the queue any more"));
        }
        // Twice in a row, since a message may just be on its way.
        let starved = consuming && ready > 0 && now.idle && before == Some(now);
        silent = if starved { silent + 1 } else { 0 };
        if silent == 2 {
            return Err(Trouble::Silence("messages wait in the queue but none is delivered"));
        }
        before = Some(now);
    }
}
