//! `completions` and `man`: what the command line is, for shells and for `man`. Made of the same types that parse
//! it, so that neither can be out of date.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

pub(super) fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    // It panics where it cannot write, as into a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vod-cover", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn pages(to: Option<&Path>) -> anyhow::Result<ExitCode> {
    match to {
        None => clap_mangen::Man::new(Cli::command()).render(&mut io::stdout())?,
        Some(directory) => clap_mangen::generate_to(Cli::command(), directory)
            .with_context(|| format!("cannot write into {}", directory.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}
