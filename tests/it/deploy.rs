//! What deployment needs: the health check, the word with systemd and its units, and the users of RabbitMQ and
//! Redis, who can do their work and nothing else. Manifests are rendered and checked by `tests/deploy`.

use std::path::{Path, PathBuf};

mod health;
mod manifests;
mod rabbitmq;
mod redis;
mod systemd;

/// A file of `deploy/`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}
