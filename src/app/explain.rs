//! `explain`: everything that is known of one video, for the engineer who asks why it has the cover that it
//! has. Changes nothing.

use std::process::ExitCode;

use super::Parts;
use crate::cli::Explain;
use crate::config::Settings;
use crate::story::Story;
use crate::vod::Environment;

pub(super) async fn explain(settings: &Settings, asked: Explain) -> anyhow::Result<ExitCode> {
    let parts = Parts::open_beside(settings, Environment::of_process())?;
    let story = Story::of(&asked.video, &parts.vod, parts.ledger.as_ref()).await?;
    match asked.json {
        true => println!("{}", story.json()),
        false => print!("{}", story.text()),
    }
    Ok(ExitCode::SUCCESS)
}
