//! Something made of files, and made anew when they change. Files that cannot be read or used any more
//! leave in place what was there, with a warning.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::error::chain;

/// How often the files are looked at. They are small, and their content says more than their times: a
/// secret store replaces what a link points to.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} {} cannot be read", path.display())]
    Unreadable {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{what} {} cannot be used", path.display())]
    Unusable {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// What the files say now.
pub(super) struct Reloaded<T>(watch::Receiver<Arc<T>>);

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// `make` gets the content of each file, in order. `what` names the setting. Must be called within a
    /// tokio runtime; blocks for a moment.
    pub fn start<E: StdError + Send + Sync + 'static>(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| Error::Unreadable {
                what,
                path: path.clone(),
                source,
            })
        };
        let make = move |contents: &[Vec<u8>], path: &Path| {
            make(contents).map_err(|source| Error::Unusable {
                what,
                path: path.to_owned(),
                source: Box::new(source),
            })
        };
        let first = files.first().cloned().unwrap_or_default();
        let mut known = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let (sender, receiver) = watch::channel(Arc::new(make(&known, &first)?));
        if files.is_empty() {
            return Ok(Self(receiver));
        }
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = sender.closed() => return,
                }
                let mut found = Vec::with_capacity(files.len());
                for file in &files {
                    // One that is gone reads as empty, which is said once, as any other change.
                    found.push(tokio::fs::read(file).await.unwrap_or_default());
                }
                if found == known {
                    continue;
                }
                match make(&found, &first) {
                    Ok(made) => {
                        info!(file = %first.display(), "{what} was read again");
                        sender.send_replace(Arc::new(made));
                    }
                    Err(error) => {
                        warn!(error = chain(&error), "{what} stays as it was");
                    }
                }
                known = found;
            }
        });
        Ok(Self(receiver))
    }

    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }
}
