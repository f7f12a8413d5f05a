//! Rules and limits that change while `run` works. The configuration is read again at SIGHUP and when its file
//! has changed; one that is wrong changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Parts, environment};
use crate::config::{self, Settings};
use crate::telemetry;
use crate::worker::Worker;

/// How often the file is looked at. Its content says more than its time: a ConfigMap replaces what a link points
/// to.
const EVERY: Duration = Duration::from_secs(1);

/// The configuration's file as it was last read.
pub(super) struct Source {
    file: Option<PathBuf>,
    content: Option<Vec<u8>>,
    hangup: Signal,
}

/// What follows the configuration.
pub(super) struct Following {
    pub parts: Arc<Parts>,
    pub worker: watch::Sender<Arc<Worker>>,
    /// The version of the rules that decide now.
    pub rules: String,
    /// Of walks inside `run`.
    pub walker: watch::Sender<Arc<Worker>>,
}

impl Source {
    /// To be made before the configuration is loaded, so that no change falls between. Blocks for a moment.
    pub fn new(file: Option<PathBuf>) -> anyhow::Result<Self> {
        let content = file.as_ref().and_then(|file| std::fs::read(file).ok());
        let hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
        Ok(Self { file, content, hangup })
    }

    /// Until there is a reason to read it again.
    async fn changed(&mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => return,
                () = sleep(EVERY) => {}
            }
            let Some(file) = &self.file else { continue };
            // One that is gone for a moment is being replaced.
            let Ok(content) = tokio::fs::read(file).await else { continue };
            if self.content.as_ref() != Some(&content) {
                self.content = Some(content);
                return;
            }
        }
    }
}

impl Following {
    pub async fn run(mut self, mut source: Source, stop: CancellationToken) {
        let fixed = |source: &Source| config::fixed(source.file.as_deref(), &environment()).ok();
        let mut others = fixed(&source);
        while stop.run_until_cancelled(source.changed()).await.is_some() {
            let settings = match self.follow(&source) {
                Ok(settings) => settings,
                Err(error) => {
                    error!(error = format!("{error:#}"), "the configuration stays as it was");
                    continue;
                }
            };
            // Before anything is said: whoever hears of it may change the file again.
            let now = fixed(&source);
            info!(rules = settings.version, "rules and limits were read again");
            telemetry::rules(&settings.version, Some(&self.rules));
            self.rules = settings.version;
            if now != others {
                warn!("other settings have changed as well: they take effect at the next start");
                others = now;
            }
        }
    }

    fn follow(&self, source: &Source) -> anyhow::Result<Settings> {
        let settings = Settings::load(source.file.as_deref(), &environment())?;
        self.parts.look_by(&settings)?;
        self.worker.send_replace(Arc::new(self.parts.worker(&settings)?));
        self.walker.send_replace(Arc::new(self.parts.walker(&settings)?));
        Ok(settings)
    }
}
