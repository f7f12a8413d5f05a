//! Looks at pictures: fetches each once, decodes it off the async threads, and ranks them. Bounded in
//! pictures on their way and in memory, whatever the number of events in flight; the caller bounds its time. It decides nothing, and
//! keeps no picture longer than it takes to look at it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cover::{Candidate, CoverUrl, Finding, Seen};
use crate::error::{Dependency, Failure, chain};
use crate::fetch::{self, Fetcher};
use crate::picture::conform::{Limits, satisfies};
use crate::picture::score::{Look, look, rank};
use crate::picture::{self, BadPicture, Caps, Facts};
use crate::telemetry;
use sight::Sight;

mod sight;

/// `[inspect]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Memory that all decoders together may take, in MiB.
    pub memory_mib: u32,
    /// Whether a snapshot that breaks the limits for uploaded covers has a defect.
    pub limits: bool,
}

/// Cheap to clone; clones share every bound.
#[derive(Clone)]
pub struct Inspector(Arc<Inner>);

struct Inner {
    fetcher: Fetcher,
    caps: Caps,
    /// What a snapshot has to satisfy, if anything.
    limits: Option<Limits>,
    memory_mib: u32,
    /// One for each picture whose bytes are held, from before it is fetched until it is decoded.
    held: Arc<Semaphore>,
    /// One for each decoder that may run.
    decoders: Arc<Semaphore>,
    /// MiB that decoders may take.
    memory: Arc<Semaphore>,
    sight: Mutex<Sight>,
}

/// Where a picture is.
#[derive(Debug, Clone)]
pub enum Source {
    Url(CoverUrl),
    File(PathBuf),
}

/// What was found of a picture, and the picture itself.
#[derive(Debug)]
pub struct View {
    pub finding: Finding,
    /// A small JPEG, if it was asked for and the picture could be decoded.
    pub thumbnail: Option<Vec<u8>>,
}

/// A picture by itself.
struct Sighting {
    facts: Facts,
    look: Look,
    thumbnail: Option<Vec<u8>>,
}

/// Or why there is none.
type Looked = Result<Sighting, Finding>;

impl Inspector {
    /// `most` is how many pictures may be held at once, each of at most `caps.bytes`.
    pub fn new(
        fetcher: Fetcher,
        most: usize,
        caps: Caps,
        limits: Limits,
        settings: Settings,
    ) -> Self {
        let permits = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Inner {
            fetcher,
            caps,
            limits: settings.limits.then_some(limits),
            memory_mib: settings.memory_mib,
            held: permits(most),
            decoders: permits(cores),
            memory: permits(settings.memory_mib as usize),
            sight: Mutex::default(),
        }))
    }

    /// What is found of each candidate, in their order. Each is fetched once, and waits for its turn; with
    /// nothing else to do, all of it takes at most [`crate::fetch::Settings::timeout`] for every so many
    /// pictures as may be held at once, and the time to decode them.
    pub async fn look(&self, candidates: &[Candidate]) -> Vec<Finding> {
        let sources = candidates.iter().map(|one| Source::Url(one.url.clone()));
        let views = self.ranked(self.looked(sources, false).await);
        let findings: Vec<_> = views.into_iter().map(|view| view.finding).collect();
        let mut sight = self.sight();
        match candidates.first() {
            _ if findings.iter().any(|finding| finding.seen().is_some()) => sight.saw(),
            Some(first) => sight.saw_nothing(&first.url, Instant::now()),
            None => {}
        }
        findings
    }

    /// The same for people: wherever the pictures are, and with thumbnails if they are wanted.
    pub async fn view(&self, sources: Vec<Source>, thumbnails: bool) -> Vec<View> {
        self.ranked(self.looked(sources.into_iter(), thumbnails).await)
    }

    /// The failure of an event that waits for pictures. An outage after several different videos in a row
    /// of which nothing could be seen: then it is more likely a setting or the network than each of them.
    pub fn blame(&self, failure: Failure) -> Failure {
        match self.sight().is_lost() {
            true => failure.outage_of(Dependency::Pictures),
            false => failure,
        }
    }

    /// Whether pictures can be seen again: those that could not. Says so once in a while although none of
    /// them can, because the next event's may be all right.
    pub async fn probe(&self) -> Result<(), String> {
        let missed = self.sight().missed();
        let looked = self.looked(missed.iter().cloned().map(Source::Url), false).await;
        let mut sight = self.sight();
        let why = match looked.iter().find_map(|looked| looked.as_ref().err()) {
            Some(finding) if looked.iter().all(Result::is_err) => finding.flaw_and_cause(),
            _ => {
                sight.saw();
                return Ok(());
            }
        };
        match sight.lets_one_through(Instant::now()) {
            true => Ok(()),
            false => Err(format!("no picture can be seen; one {}", why.unwrap_or_default())),
        }
    }

    async fn looked(&self, sources: impl Iterator<Item = Source>, thumbnails: bool) -> Vec<Looked> {
        let looking = sources.map(async |source| {
            let held = acquire(&self.0.held, 1).await?;
            let bytes = match source {
                Source::Url(url) => {
                    self.0.fetcher.get(&url).await.map_err(|error| not_fetched(&error))?
                }
                Source::File(path) => read(&path, self.0.caps.bytes).await?,
            };
            self.decoded(bytes, held, thumbnails).await
        });
        join_all(looking).await
    }

    /// The permits go with the bytes to the thread that decodes them: that thread goes on when nobody
    /// waits for it any more.
    async fn decoded(&self, bytes: Bytes, held: OwnedSemaphorePermit, thumbnails: bool) -> Looked {
        let (inner, caps) = (&self.0, self.0.caps);
        let facts = picture::facts(&bytes, &caps).map_err(|error| bad(chain(&error)))?;
        let mib = u32::try_from(picture::memory(&facts).div_ceil(1 << 20)).unwrap_or(u32::MAX);
        let most = inner.memory_mib;
        if mib > most {
            return Err(bad(format!(
                "decoding it may take {mib} MiB, more than the {most} of inspect.memory_mib"
            )));
        }
        let decoder = acquire(&inner.decoders, 1).await?;
        let memory = acquire(&inner.memory, mib).await?;
        let decoding = tokio::task::spawn_blocking(move || {
            let _permits = (held, decoder, memory);
            let began = Instant::now();
            let looked = picture::small(&bytes, &caps).map(|small| Sighting {
                facts: small.facts,
                look: look(&small),
                thumbnail: thumbnails.then(|| picture::thumbnail(&small).ok()).flatten(),
            });
            telemetry::picture_decoded(began.elapsed());
            looked
        });
        match decoding.await {
            Ok(Ok(looked)) => {
                telemetry::picture("seen");
                Ok(looked)
            }
            Ok(Err(error)) => Err(bad(chain(&error))),
            // One picture must not cost the event, whatever it does to a decoder.
            Err(error) if error.is_panic() => {
                Err(bad("looking at it failed, which is a defect of vod-cover".into()))
            }
            Err(_) => Err(stopping()),
        }
    }

    /// Scores are relative to one another, so they come last.
    fn ranked(&self, looked: Vec<Looked>) -> Vec<View> {
        let looks: Vec<Look> = looked.iter().flatten().map(|one| one.look.clone()).collect();
        let mut scores = rank(&looks).into_iter();
        let view = |looked: Looked| {
            let Sighting { facts, thumbnail, .. } = match looked {
                Ok(sighting) => sighting,
                Err(finding) => return View { finding, thumbnail: None },
            };
            let Some(score) = scores.next() else {
                return View { finding: bad("it has no score".into()), thumbnail };
            };
            let mut defects: Vec<_> = score.defects.iter().map(ToString::to_string).collect();
            if self.0.limits.is_some_and(|limits| satisfies(&facts, &limits).is_err()) {
                defects.push("beyond the limits".into());
            }
            defects.iter().for_each(|defect| telemetry::picture_defect(defect));
            let seen = Seen { score: score.score, defects, facts, features: score.features };
            View { finding: Finding::Seen(seen), thumbnail }
        };
        looked.into_iter().map(view).collect()
    }

    fn sight(&self) -> MutexGuard<'_, Sight> {
        self.0.sight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most so many bytes of a file, whatever kind of file it is.
async fn read(path: &Path, most: usize) -> Result<Bytes, Finding> {
    let cannot = |error: std::io::Error| bad(format!("it cannot be read: {error}"));
    let file = File::open(path).await.map_err(cannot)?;
    let length = file.metadata().await.map_err(cannot)?.len();
    let mut bytes = Vec::new();
    if length <= most as u64 {
        file.take(most as u64 + 1).read_to_end(&mut bytes).await.map_err(cannot)?;
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX).max(bytes.len());
    match length > most {
        true => Err(bad(chain(&BadPicture::TooManyBytes { bytes: length, most }))),
        false => Ok(bytes.into()),
    }
}

/// What a setting or a key keeps from being seen is no verdict on the picture either.
fn not_fetched(error: &fetch::Error) -> Finding {
    use fetch::Error::{Forbidden, Missing, Refused, TooLarge, Unreachable};
    let (outcome, is_verdict) = match error {
        Missing { .. } => ("missing", true),
        TooLarge { .. } => ("too_large", true),
        Refused { .. } => ("refused", false),
        Forbidden { .. } => ("forbidden", false),
        Unreachable { .. } => ("unreachable", false),
    };
    telemetry::picture(outcome);
    match is_verdict {
        true => Finding::Bad(chain(error)),
        false => Finding::Unreachable(chain(error)),
    }
}

fn bad(why: String) -> Finding {
    telemetry::picture("bad");
    Finding::Bad(why)
}

fn stopping() -> Finding {
    Finding::Unreachable("vod-cover is stopping".into())
}

async fn acquire(permits: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit, Finding> {
    // None of them is ever closed.
    Arc::clone(permits).acquire_many_owned(count).await.map_err(|_| stopping())
}
