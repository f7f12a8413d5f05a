//! Logs and metrics: how logging is set up, and every metric in one place.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

mod metrics;

pub use metrics::*;

/// Starts logging to standard error. `RUST_LOG` overrides `level`; `json` prints one object a line.
pub fn start_logging(level: &str, json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // It prints the bodies of messages that the broker returns, and errors that we report ourselves.
    let filter = match "lapin=off".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second subscriber, as in a test that runs the program twice in one process, changes nothing.
    let _ = match json {
        true => lines.json().try_init(),
        false => lines.with_target(false).try_init(),
    };
}
