//! Waiting for a state, never for a time.

use std::time::{Duration, Instant};

/// Enough for whatever one server or one queue does at once.
pub const SOON: Duration = Duration::from_secs(30);

/// Polls until a condition holds; panics with `what` when it does not within the time.
pub async fn eventually(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
