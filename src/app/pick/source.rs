//! Where the pictures come from: files, an event, or what VOD has of a video.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::io::AsyncReadExt;

use crate::cli;
use crate::config::Settings;
use crate::cover::{Candidate, CoverUrl};
use crate::event::{self, Event, FollowUp, MAX_BODY, SnapshotsReady, VideoId};
use crate::inspect::Source;

/// Every picture is compared with every other.
const MOST_FILES: usize = 2_000;

/// The pictures to choose from, in order; never empty.
pub(super) struct Offer {
    /// What they are, for the head of what is shown.
    pub title: String,
    pub origin: Origin,
    pub pictures: Vec<Picture>,
}

pub(super) enum Origin {
    Files,
    Event(Box<SnapshotsReady>),
    Video(VideoId),
}

pub(super) struct Picture {
    /// What the user knows it by.
    pub name: String,
    pub candidate: Candidate,
    source: Source,
}

#[derive(Debug, thiserror::Error)]
#[error("{} is a directory; give one directory alone, or pictures", .0.display())]
pub struct WrongPaths(PathBuf);

impl Offer {
    pub fn candidates(&self) -> Vec<Candidate> {
        self.pictures.iter().map(|picture| picture.candidate.clone()).collect()
    }

    /// Where these of its pictures are.
    pub fn sources(&self, wanted: &[Candidate]) -> Vec<Source> {
        let found = |wanted: &Candidate| self.pictures.iter().find(|one| one.candidate == *wanted);
        wanted.iter().filter_map(found).map(|picture| picture.source.clone()).collect()
    }

    pub fn video(&self) -> Option<&VideoId> {
        match &self.origin {
            Origin::Files => None,
            Origin::Event(event) => Some(&event.video),
            Origin::Video(video) => Some(video),
        }
    }
}

pub(super) async fn offer(settings: &Settings, pick: &cli::Pick) -> anyhow::Result<Offer> {
    if let Some(video) = &pick.video {
        let candidates = super::client(settings)?.cover_snapshots(video).await?;
        if candidates.is_empty() {
            bail!("video {video} has no cover snapshots");
        }
        return Ok(fetched(Origin::Video(video.clone()), video, candidates));
    }
    match pick.paths.as_slice() {
        [only] if only.is_dir() => directory(only),
        [only] => match event_body(only).await? {
            Some(body) => event(only, &body),
            None => files(&pick.paths),
        },
        several => files(several),
    }
}

/// What is no regular file is no picture, and what is hidden is not meant.
fn directory(path: &Path) -> anyhow::Result<Offer> {
    let cannot = || format!("cannot read the directory {}", path.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(path).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name();
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        let is_other = fs::metadata(entry.path()).is_ok_and(|found| !found.is_file());
        // What cannot be read is a picture until that is said of it.
        if !is_hidden && !is_other {
            names.push(name);
        }
    }
    if names.is_empty() {
        bail!("{} has no files, other than hidden ones; give it pictures", path.display());
    }
    if names.len() > MOST_FILES {
        bail!("{} has {} files; at most {MOST_FILES} are compared", path.display(), names.len());
    }
    names.sort();
    let named = names.into_iter().map(|name| (name.to_string_lossy().into(), path.join(&name)));
    of_files(path.display().to_string(), named)
}

fn files(paths: &[PathBuf]) -> anyhow::Result<Offer> {
    if let Some(directory) = paths.iter().find(|path| path.is_dir()) {
        return Err(WrongPaths(directory.clone()).into());
    }
    let title = match paths {
        [only] => only.display().to_string(),
        several => format!("{} files", several.len()),
    };
    of_files(title, paths.iter().map(|path| (path.to_string_lossy().into(), path.clone())))
}

fn of_files(
    title: String,
    files: impl Iterator<Item = (String, PathBuf)>,
) -> anyhow::Result<Offer> {
    let picture = |((name, path), number): ((String, PathBuf), u32)| {
        // Rules tell candidates apart by their addresses, which files do not have.
        let url = CoverUrl::new(&format!("https://file.invalid/{number}"))?;
        let candidate = Candidate { number, url };
        anyhow::Ok(Picture { name, candidate, source: Source::File(path) })
    };
    let pictures = files.zip(1..).map(picture).collect::<Result<_, _>>()?;
    Ok(Offer { title, origin: Origin::Files, pictures })
}

/// No picture begins with what begins a JSON object.
async fn event_body(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let cannot = || format!("cannot read {}", path.display());
    let mut body = Vec::new();
    let most = MAX_BODY as u64 + 1;
    if path == Path::new("-") {
        tokio::io::stdin().take(most).read_to_end(&mut body).await.with_context(cannot)?;
        return Ok(Some(body));
    }
    let file = tokio::fs::File::open(path).await.with_context(cannot)?;
    file.take(most).read_to_end(&mut body).await.with_context(cannot)?;
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&body);
    Ok(text.trim_ascii_start().starts_with(b"{").then_some(body))
}

fn event(path: &Path, body: &[u8]) -> anyhow::Result<Offer> {
    let event = event::parse(body).with_context(|| format!("{} is no event", path.display()))?;
    match event {
        Event::Snapshots(ready) | Event::FollowUp(FollowUp { ready, .. }) => {
            let candidates = ready.candidates.clone();
            let video = ready.video.clone();
            Ok(fetched(Origin::Event(Box::new(ready)), &video, candidates))
        }
        Event::Nothing { kind, why, .. } => bail!("this {kind} offers no pictures: {why}"),
        Event::CoverChanged(_) => bail!("this is a change of a cover, not SnapshotComplete"),
        Event::Pulled(_) => bail!("this says that a file was fetched, not SnapshotComplete"),
        Event::Deleted(_) => bail!("this says that a video was deleted, not SnapshotComplete"),
        Event::Other { kind } => bail!("this is an event of type {kind}, not SnapshotComplete"),
    }
}

fn fetched(origin: Origin, video: &VideoId, candidates: Vec<Candidate>) -> Offer {
    let picture = |candidate: Candidate| Picture {
        name: candidate.url.to_string(),
        source: Source::Url(candidate.url.clone()),
        candidate,
    };
    let pictures = candidates.into_iter().map(picture).collect();
    Offer { title: format!("video {video}"), origin, pictures }
}
