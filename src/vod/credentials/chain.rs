//! The order in which sources are tried. The first one that is configured decides: if it fails, that is
//! the error, because going on would quietly act as somebody else.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::web::Web;
use super::{Credential, Environment, Error, Settings, given, metadata, profile, sts};

/// What every source may look at.
#[derive(Debug)]
pub(super) struct Sources {
    pub settings: Settings,
    pub environment: Environment,
    pub web: Web,
}

/// What a source has to offer.
pub(super) enum Offer {
    Key(Credential, Found),
    /// Why it is not for this machine.
    Absent(String),
}

impl Offer {
    pub(super) fn absent(why: impl Into<String>) -> Result<Self, Error> {
        Ok(Self::Absent(why.into()))
    }
}

impl Sources {
    pub(super) fn new(settings: Settings, environment: Environment) -> Self {
        Self { settings, environment, web: Web::default() }
    }

    pub(super) async fn resolve(&self) -> Result<(Credential, Found), Error> {
        let mut tried = Vec::new();
        macro_rules! attempt {
            ($offer:expr) => {
                match $offer? {
                    Offer::Key(credential, found) => return Ok((credential, found)),
                    Offer::Absent(why) => tried.push(why),
                }
            };
        }
        attempt!(given::offer(self).await);
        attempt!(sts::offer_by_environment(self).await);
        attempt!(profile::cli::offer(self).await);
        attempt!(profile::ini::offer(self).await);
        attempt!(metadata::offer_instance_role(self).await);
        attempt!(metadata::offer_by_uri(self).await);
        Err(Error::Nothing { tried: tried.join("; ") })
    }
}

/// The files that a key came from, as they were when it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Found(Vec<(PathBuf, Option<(SystemTime, u64)>)>);

impl Found {
    /// To be called before the file is read, so that no change in between goes unnoticed.
    pub(super) fn watch(&mut self, path: &Path) {
        self.0.push((path.to_owned(), stamp(path)));
    }

    pub(super) fn is_current(&self) -> bool {
        self.0.iter().all(|(path, then)| stamp(path) == *then)
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

/// Text of a small file, without surrounding white space, which editors and `echo` leave behind.
pub(super) async fn read(what: &'static str, path: &Path) -> Result<String, Error> {
    let text = tokio::fs::read_to_string(path).await.map_err(|source| Error::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })?;
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::Empty { what, path: path.to_owned() });
    }
    Ok(text.to_owned())
}
