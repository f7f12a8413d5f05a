//! `set`: one video's cover by the operator's own choice. Everything that can be wrong with the choice is
//! found out before anything is changed.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use jiff::fmt::friendly::SpanPrinter;
use tokio::io::AsyncReadExt;

use super::Parts;
use crate::cli::{Choice, Set};
use crate::config::Settings;
use crate::cover::{CoverUrl, Rule, Verdict};
use crate::event::VideoId;
use crate::picture::conform::{Conformed, conform};
use crate::picture::{Caps, Facts};
use crate::vod::{self, Environment, VideoInfo};
use crate::worker::Worker;

/// Longest picture file that is read, in bytes.
const MOST_FILE: u64 = 100_000_000;

pub(super) async fn set(settings: &Settings, set: Set) -> anyhow::Result<ExitCode> {
    let Set { video, choice, .. } = set;
    let picture = match &choice.image {
        Some(file) => Some(picture(settings, file).await?),
        None => None,
    };
    let parts = Parts::open_beside(settings, Environment::of_process())?;
    let worker = parts.worker(settings)?;
    let now: VideoInfo = parts.vod.get_video_info(&video).await?;
    let cover = match (picture, choice) {
        (Some(picture), _) => upload(&parts.vod, &video, picture).await?,
        (_, Choice { url: Some(url), .. }) => url,
        (_, Choice { rule: Some(rule), .. }) => by_rule(&worker, &video, rule).await?,
        _ => bail!("give one of --image, --url and --rule"),
    };
    let chosen = worker.choose(&video, &cover).await;
    chosen.map_err(|error| anyhow!("{error}; to try again, give it --url {cover}"))?;
    println!("was      {}", now.cover.as_deref().map_or("not set", bare));
    println!("is       {cover}");
    let keep = SpanPrinter::new().unsigned_duration_to_string(&settings.keep());
    println!("No event replaces it for {keep}.");
    Ok(ExitCode::SUCCESS)
}

async fn picture(settings: &Settings, file: &Path) -> anyhow::Result<Conformed> {
    let bytes = read(file).await?;
    let caps = Caps { bytes: bytes.len(), pixels: settings.picture.most_pixels };
    let limits = settings.limits;
    let facts = crate::picture::facts(&bytes, &caps)
        .with_context(|| format!("{} cannot be a cover", file.display()))?;
    // A large picture takes seconds.
    let conformed = tokio::task::spawn_blocking(move || conform(&bytes, &caps, &limits)).await?;
    let conformed = conformed.with_context(|| format!("{} cannot be a cover", file.display()))?;
    match conformed.changed {
        true => println!("conformed {} -> {}", describe(&facts), describe(&conformed.facts)),
        false => println!("picture  {}, within the limits of a cover", describe(&facts)),
    }
    Ok(conformed)
}

async fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", file.display());
    let opened = tokio::fs::File::open(file).await.with_context(cannot)?;
    let mut bytes = Vec::new();
    opened.take(MOST_FILE + 1).read_to_end(&mut bytes).await.with_context(cannot)?;
    if bytes.len() as u64 > MOST_FILE {
        bail!("{} is longer than {MOST_FILE} bytes; make it smaller", file.display());
    }
    Ok(bytes)
}

async fn upload(
    vod: &vod::Client,
    video: &VideoId,
    picture: Conformed,
) -> anyhow::Result<CoverUrl> {
    let (format, bytes) = (picture.facts.format, Bytes::from(picture.bytes));
    let title = format!("Cover of {video}");
    let cover = vod.upload_cover(&bytes, format, &title).await.context("nothing was changed")?;
    println!("uploaded {cover}");
    Ok(cover)
}

async fn by_rule(worker: &Worker, video: &VideoId, rule: Rule) -> anyhow::Result<CoverUrl> {
    let decision = worker.by_rule(video, rule).await;
    let decision = decision.map_err(|failure| anyhow!("nothing was changed: {failure}"))?;
    let trace = decision.trace.join("; ");
    match decision.verdict {
        Verdict::Set { cover, .. } | Verdict::IsSet { cover, .. } => {
            println!("chosen   {trace}");
            Ok(cover)
        }
        Verdict::Keep(_) | Verdict::NoCover | Verdict::Wait => {
            bail!("nothing was changed: the rule yields no cover ({trace})")
        }
    }
}

/// Without the signature that VOD puts on what it returns.
fn bare(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

fn describe(facts: &Facts) -> String {
    let size = match facts.bytes {
        bytes if bytes < 1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        bytes => format!("{:.1} MB", bytes as f64 / 1e6),
    };
    format!("{} {}x{} {size}", facts.format, facts.width, facts.height)
}
