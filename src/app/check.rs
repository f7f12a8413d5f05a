//! `check`: what would keep `run` from working, said before it runs. Changes nothing.

use std::process::ExitCode;
use std::time::Duration;

use super::run::access;
use super::{Configured, environment, fetcher};
use crate::config::{self, LedgerKind, QueueKind, Settings};
use crate::error::chain;
use crate::gateway;
use crate::ledger::Ledger;
use crate::ledger::redis::RedisLedger;
use crate::local::Local;
use crate::queue::{Depth, Queue, rabbit};
use crate::smq::{Attributes, Smq};
use crate::vod::{Credentials, Environment};
use crate::{fetch, vod};

/// Prints the effective configuration, then one line for each thing that must work.
pub(super) async fn check(configured: &Configured) -> anyhow::Result<ExitCode> {
    let file = configured.config.as_deref();
    let settings = Settings::load(file, &environment())?;
    fetcher(&settings)?;
    println!("{}", config::effective(file, &environment())?);
    let mut report = Report::default();
    if settings.pipeline.drain > Duration::from_secs(25) {
        report.warn(
            "pipeline.drain",
            "Kubernetes kills after 30 s unless its grace period is raised",
        );
    }
    if settings.queue.kind == QueueKind::Rabbitmq && settings.ledger.kind == LedgerKind::Embedded {
        report
            .warn("ledger", "it is a file of this machine: run one worker only, or set REDIS_URL");
    }
    report.line("configuration", Ok("valid".into()));
    report.line("times", Ok(times(&settings)));
    queue(&settings, &mut report).await;
    ledger(&settings, &mut report).await;
    intake(&settings, &mut report);
    smq(&settings, &mut report).await;
    account(&settings, &mut report).await;
    report.line("pictures", Ok(pictures(&settings.fetch)));
    report.line("page", page(&settings));
    println!();
    match report.failed {
        0 => println!("All is well."),
        failed => println!("{failed} of {} checks failed.", report.lines),
    }
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The inequalities that `Settings::load` has checked, with their numbers.
fn times(settings: &Settings) -> String {
    format!(
        "a call to VOD takes at most {:?}, less than a video is locked ({:?}), less than RabbitMQ \
         waits for an acknowledgement (30 minutes unless changed); the last retry comes after {:?}, \
         less than what was done is remembered ({:?})",
        settings.vod.longest_call(),
        settings.ledger.lease,
        settings.retries_end(),
        settings.keep()
    )
}

fn page(settings: &Settings) -> Result<String, String> {
    let has_token = access(settings).map_err(|error| chain(&error))?.has_token();
    Ok(match (has_token, settings.ops.listen.ip().is_loopback()) {
        (true, _) => "changes things for whoever has the token",
        (false, true) => "seen on loopback, changes nothing: there is no token",
        (false, false) => "shown to nobody: ops.listen is not on loopback, and there is no token",
    }
    .to_owned())
}

/// Where they are fetched from, and how they are signed.
fn pictures(settings: &fetch::Settings) -> String {
    let hosts = joined(&settings.hosts);
    let addresses = match settings.allow_networks.as_slice() {
        [] => "public addresses only".to_owned(),
        networks => format!("public addresses and {}", joined(networks)),
    };
    let signing = &settings.url_signing;
    let signed = match (signing.kind, signing.hosts.as_slice()) {
        (None, _) => "not signed".to_owned(),
        (Some(kind), []) => format!("signed by type {kind}, except *.aliyuncs.com"),
        (Some(kind), hosts) => format!("signed by type {kind} for {}", joined(hosts)),
    };
    format!("fetched from {hosts}, {addresses}; {signed}")
}

fn joined(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[derive(Default)]
struct Report {
    lines: usize,
    failed: usize,
}

impl Report {
    fn line(&mut self, what: &str, result: Result<String, String>) {
        self.lines += 1;
        match result {
            Ok(text) => println!("ok      {what}: {text}"),
            Err(text) => {
                self.failed += 1;
                println!("FAILED  {what}: {text}");
            }
        }
    }

    fn note(&mut self, what: &str, text: &str) {
        println!("note    {what}: {text}");
    }

    fn warn(&mut self, what: &str, text: &str) {
        println!("warning {what}: {text}");
    }
}

async fn queue(settings: &Settings, report: &mut Report) {
    match settings.queue.kind {
        QueueKind::Rabbitmq => match rabbit::check(&settings.queue.rabbitmq).await {
            Ok(lines) => lines.into_iter().for_each(|line| report.line("queue", Ok(line))),
            Err(error) => report.line("queue", Err(chain(&error))),
        },
        QueueKind::Embedded => embedded("queue", settings, report).await,
    }
}

async fn ledger(settings: &Settings, report: &mut Report) {
    match settings.ledger.kind {
        LedgerKind::Redis => {
            let pinged = match RedisLedger::new(&settings.ledger.redis) {
                Ok(ledger) => ledger.ping().await.map_err(|error| chain(&error)),
                Err(error) => Err(chain(&error)),
            };
            report.line("ledger", pinged.map(|()| "redis answers".into()));
        }
        LedgerKind::Embedded if settings.queue.kind == QueueKind::Embedded => {}
        LedgerKind::Embedded => embedded("ledger", settings, report).await,
    }
}

/// Opened as a publisher does, so that a running worker is not in the way.
async fn embedded(what: &str, settings: &Settings, report: &mut Report) {
    let path = settings.embedded.path.display();
    let asked = match Local::open_for_publishing(&settings.embedded.path) {
        Ok(local) => local.depth().await.map_err(|error| chain(&error)),
        Err(error) => Err(chain(&error)),
    };
    let used = |depth: Depth| format!("{path} can be used; {} events wait in it", depth.ready);
    report.line(what, asked.map(used));
}

fn intake(settings: &Settings, report: &mut Report) {
    if settings.queue.kind != QueueKind::Embedded {
        return;
    }
    let key = std::env::var("VOD_CALLBACK_KEY").ok();
    match gateway::Keys::load(&settings.intake, key.as_deref()) {
        Ok(keys) if keys.required() => {
            report.line("intake", Ok(format!("callbacks to {} must be signed", keys.url())));
        }
        Ok(_) => report.warn("intake", "callbacks are taken unsigned; set VOD_CALLBACK_KEY"),
        Err(error) => report.line("intake", Err(chain(&error))),
    }
}

async fn smq(settings: &Settings, report: &mut Report) {
    let keys = &settings.vod.credentials;
    let smq = Smq::new(&settings.intake.smq, Credentials::new(keys, Environment::of_process()));
    let asked = match smq {
        Ok(None) => return,
        Ok(Some(smq)) => smq.attributes().await.map_err(|error| chain(&error)),
        Err(error) => Err(chain(&error)),
    };
    let queue = &settings.intake.smq.queue;
    let known = |found: Attributes| {
        let Attributes { visibility, retention } = found;
        format!("{queue} can be read; VisibilityTimeout {visibility:?}, kept for {retention:?}")
    };
    report.line("smq", asked.map(known));
}

/// Whether smart thumbnails can be ordered with it, and VOD leaves their use to us.
async fn template(client: &vod::Client, id: &str) -> Result<String, String> {
    let template = client.get_ai_template(id.trim()).await.map_err(|error| chain(&error))?;
    if template.kind.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("AIImage")) {
        return Err(format!("template {id} is not of type AIImage; make one that is"));
    }
    match template.sets_default_cover {
        Some(false) => Ok(format!("template {id} makes smart thumbnails and sets no cover")),
        Some(true) => Err(format!(
            "template {id} has SetDefaultCover \"true\", so VOD would set covers by itself, also over a \
             person's; make one with SetDefaultCover \"false\""
        )),
        None => {
            Err(format!("VOD does not say whether template {id} has SetDefaultCover \"false\""))
        }
    }
}

async fn account(settings: &Settings, report: &mut Report) {
    let client = match vod::Client::new(&settings.vod) {
        Ok(client) => client,
        Err(error) => return report.line("vod", Err(chain(&error))),
    };
    for (operation, result) in client.probe(settings.asks_for_intelligent()).await {
        let result = result.map(|()| "permitted".into()).map_err(|error| chain(&error));
        report.line(&format!("vod {operation}"), result);
    }
    if settings.cover.intelligent.submit {
        let result = template(&client, &settings.cover.intelligent.template).await;
        report.line("vod GetAITemplate", result);
    }
    report.note(
        "vod CreateUploadImage",
        "not asked, because asking leaves a picture without content; only `set --image` needs it",
    );
    let walks = !settings.reconcile.every.is_zero();
    if let Err(error) = settings.check_shares() {
        match walks {
            true => report.line("reconcile", Err(chain(&error))),
            false => report.warn("backfill", &chain(&error)),
        }
    }
    if settings.vod.pace {
        let percent = settings.vod.quota_share * 100.0;
        let who = match settings.ledger.kind {
            LedgerKind::Embedded => "this process",
            LedgerKind::Redis => "all workers together",
        };
        report.line("quota", Ok(format!("{who} may use {percent:.0}% of the account's")));
    } else {
        report.warn("vod.pace", "calls are not paced; only for an account whose quota was lifted");
    }
}
