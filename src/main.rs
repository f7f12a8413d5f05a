//! Parses the command line, hands it to `app`, and turns an error chain into an exit code.

use std::process::ExitCode;

use clap::Parser;
use vod_cover::app;
use vod_cover::cli::Cli;

/// Events are many small texts that live for milliseconds; the system's allocator takes a fifth of all the
/// time for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One thread, because what goes on here waits: passing events between threads would cost more than
    // working on them. Pictures are decoded, and files written, on threads of their own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("vod-cover: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(app::dispatch(cli));
    // A stuck blocking call must not hold up the exit: what matters is on disk or with the broker.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vod-cover: {error:#}");
            ExitCode::from(app::exit_code(&error))
        }
    }
}
