//! What systemd is told of a service of `Type=notify`: that it is ready, that it stops, and again and again that
//! it is not stuck. Says nothing where nobody asked, and never fails: a service that works is worth more.
//!
//! Documentation: <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// To be called when everything of this machine is set up: whether brokers and stores answer is for `/readyz`,
/// since a restart would not mend it. The watchdog is fed from this runtime until it ends, also while the events in
/// flight are finished, so that it is fed as long as the runtime turns.
pub(super) fn ready(stop: &CancellationToken) {
    tell(NotifyState::Ready);
    let stop = stop.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        tell(NotifyState::Stopping);
    });
    let half = sd_notify::watchdog_enabled().map(|within| within / 2);
    if let Some(half) = half.filter(|half| !half.is_zero()) {
        tokio::spawn(async move {
            let mut turn = tokio::time::interval(half);
            loop {
                turn.tick().await;
                tell(NotifyState::Watchdog);
            }
        });
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(&state)) {
        warn!(%error, ?state, "systemd cannot be told");
    }
}
