//! `media`: brings videos into VOD with a cover from the start, prints VOD's reply, and remembers that the
//! cover is somebody's choice before any event can tell.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;
use tracing::warn;

use super::Parts;
use crate::cli::{Bring, Media};
use crate::config::Settings;
use crate::cover::CoverUrl;
use crate::event::{VideoId, pulled_bookmark};
use crate::vod::{self, Environment};

pub(super) async fn media(settings: &Settings, media: Media) -> anyhow::Result<ExitCode> {
    let parts = Parts::open_beside(settings, Environment::of_process())?;
    let (reply, videos, failed) = match &media.bring {
        Bring::Create { file_name, about } => {
            let created = parts.vod.create_upload_video(&about.media(), file_name).await;
            let created = created.context("the video may or may not have been made")?;
            (created.reply, vec![created.video], false)
        }
        Bring::Pull { url, about } => {
            let pulled = parts.vod.upload_media_by_url(&about.media(), url).await?;
            if let Some(cover) = &about.cover {
                remember_jobs(&parts, &pulled.jobs, cover).await;
            }
            (pulled.reply, Vec::new(), false)
        }
        Bring::Register { url, about } => {
            let registered = parts.vod.register_media(&about.media(), url).await?;
            let vod::Registered { reply, mut videos, known, failed } = registered;
            for video in &known {
                eprintln!("the file has been video {video} before; nothing of it was changed");
            }
            videos.retain(|video| !known.contains(video));
            (reply, videos, !failed.is_empty())
        }
    };
    // Whatever fails from here on, VOD has done its part, and its reply is needed.
    print(&reply)?;
    if let Some(cover) = media.bring.cover() {
        remember(settings, &parts, &videos, cover).await?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(reply: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(reply)?);
    Ok(())
}

async fn remember(
    settings: &Settings,
    parts: &Parts,
    videos: &[VideoId],
    cover: &CoverUrl,
) -> anyhow::Result<()> {
    let worker = parts.worker(settings)?;
    for video in videos {
        if let Err(error) = worker.given(video, cover).await {
            // Its event tells the same, and else the cover itself: it is not VOD's default.
            warn!(video.id = %video, %error, "it is not remembered that the cover was given");
        }
    }
    Ok(())
}

/// The VideoId is known only when VOD has fetched the file.
async fn remember_jobs(parts: &Parts, jobs: &[String], cover: &CoverUrl) {
    for job in jobs {
        let stored = parts.ledger.set_bookmark(&pulled_bookmark(job), Some(cover.as_str())).await;
        if let Err(error) = stored {
            warn!(job, %error, "it is not remembered that the cover was given");
        }
    }
}

impl Bring {
    fn cover(&self) -> Option<&CoverUrl> {
        match self {
            Self::Create { about, .. }
            | Self::Pull { about, .. }
            | Self::Register { about, .. } => about.cover.as_ref(),
        }
    }
}

impl crate::cli::About {
    fn media(&self) -> vod::Media {
        vod::Media {
            title: self.title.clone(),
            description: self.description.clone(),
            tags: self.tags.clone(),
            category: self.category,
            cover: self.cover.clone(),
            template_group: self.template_group.clone(),
            user_data: self.user_data.clone(),
        }
    }
}
