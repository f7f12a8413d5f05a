//! Logs, metrics and traces: how logging is set up, and every metric and every span in one place.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
pub mod spans;

pub use metrics::*;

/// Starts logging to standard error. `RUST_LOG` overrides `level`; `json` prints one object a line.
pub fn start_logging(level: &str, json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // It prints the bodies of messages that the broker returns, and errors that we report ourselves.
    let filter = match "lapin=off".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let lines =
        fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let lines = match json {
        true => lines.json().boxed(),
        false => lines.with_target(false).boxed(),
    };
    let all = tracing_subscriber::registry().with(lines);
    #[cfg(feature = "otlp")]
    let all = all.with(otlp::layer());
    // A second subscriber, as in a test that runs the program twice in one process, changes nothing.
    let _ = all.with(filter).try_init();
}
