//! The command line: types only.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use jiff::{Span, SpanRelativeTo, Timestamp};
use url::Url;

use crate::cover::{CoverUrl, Rule};
use crate::event::VideoId;

/// Sets the cover of every video uploaded to ApsaraVideo VOD.
///
/// Takes VOD's SnapshotComplete events from RabbitMQ (or from an embedded queue, with nothing
/// installed), picks each video's cover by your rules, and calls UpdateVideoInfo: once in effect,
/// without losing an event and without replacing a cover that a person chose.
#[derive(Debug, Parser)]
#[command(name = "vod-cover", version, max_term_width = 100)]
#[command(after_help = "Try it with nothing installed: vod-cover demo\n\n\
    Exit codes: 0 done; 1 failed, or not all was done; 2 wrong arguments or configuration.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take events and set covers, until SIGTERM
    ///
    /// By default everything is in one SQLite file, and VOD's HTTP callbacks are taken on
    /// intake.listen. AMQP_URL and REDIS_URL switch to RabbitMQ and Redis. Credentials come from
    /// ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET or the rest of the standard
    /// chain.
    Run(Configured),
    /// Take VOD's events, by HTTP callback or from SMQ, and publish them to RabbitMQ, until SIGTERM
    ///
    /// A callback is answered with 200 when the broker has confirmed it or, while the broker is away, when
    /// it is on a local spool (intake.spool), which drains by itself. A message of SMQ (intake.smq) is deleted
    /// there when the broker has confirmed it. With the embedded queue there is nothing to bridge: `run` takes
    /// events itself.
    Gateway(Gateway),
    /// Ask the ops port of `run` or `gateway` on this machine whether it works, for health checks
    ///
    /// With the same configuration as that process. Exits with 1, and says why, if it does not answer within two
    /// seconds or is not ready.
    Health(Health),
    /// See it work: simulator, queue, ledger and worker in one process, with sample videos
    Demo(Demo),
    /// Check configuration, connections and permissions, and print the effective configuration
    ///
    /// Changes nothing. Secrets are not printed.
    Check(Configured),
    /// Make the exchange and the queues on RabbitMQ, then exit
    Declare(Configured),
    /// Put events from a file into the configured queue, one JSON object a line
    Publish(FromFile),
    /// Handle the events of a file directly, one JSON object a line, then exit
    ///
    /// Uses the configured ledger, so events that were handled before are not handled again. Exits
    /// with 1 if any became a dead letter; each is named with its line.
    Replay(FromFile),
    /// Give one video the cover that you choose, whoever chose the present one
    ///
    /// Takes the same ledger as `run`, which may be running, and no later event replaces the cover for
    /// as long as the ledger remembers it (embedded.keep, ledger.redis.keep).
    Set(Set),
    /// Give covers to the videos that no event told of
    ///
    /// Walks through the account, oldest video first, and handles those whose cover nobody has decided as
    /// `run` does, with its rules; `run` may be running. Uses backfill.quota_share of the account's quota.
    /// Cut off, the same command goes on where it ended. Exits with 1 if a video was left behind.
    Backfill(Backfill),
    /// Show what would be chosen, and why: every picture with its score, and every rule that was tried
    ///
    /// Takes pictures from a directory or files, with no configuration and no account, or those that an
    /// event or a video offers, fetched as `run` does. Changes nothing. Exits with 1 if none is picked.
    Pick(Pick),
    /// Say everything that is known of one video: whose its cover is, by which evidence, and what happened
    ///
    /// Asks VOD and the ledger, and changes nothing; `run` may be running.
    Explain(Explain),
    /// Look at the dead letters, have them tried again, or drop them
    ///
    /// On RabbitMQ and in the embedded file; `run` may be running. Looking changes nothing; a letter that is tried
    /// again or dropped is named in the log.
    Dead {
        #[command(subcommand)]
        asked: Dead,
    },
    /// Bring a video into VOD with a cover from the start, and print VOD's reply
    ///
    /// A cover that is given here counts as somebody's choice from the first moment.
    Media(Media),
    /// Run a simulated VOD account for trying things out and for tests
    Sim(Sim),
    /// Print a script that completes commands and options in your shell
    Completions {
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Write the manual pages, one for each command
    Man {
        /// The directory, which exists; without, the first page goes to standard output
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct Configured {
    /// Configuration file (TOML); see config/default.toml for every setting
    #[arg(long, value_name = "FILE", env = "VOD_COVER_CONFIG")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Gateway {
    #[command(flatten)]
    pub configured: Configured,
    /// Relay each stored callback to this address as well, as it came, best effort (intake.forward.url)
    #[arg(long, value_name = "URL")]
    pub forward: Option<Url>,
}

#[derive(Debug, Args)]
pub struct Health {
    #[command(flatten)]
    pub configured: Configured,
    /// Only whether it answers: it may be paused, because a restart would mend nothing then
    #[arg(long)]
    pub live: bool,
}

#[derive(Debug, Args)]
pub struct FromFile {
    #[command(flatten)]
    pub configured: Configured,
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct Set {
    #[command(flatten)]
    pub configured: Configured,
    /// The video's VideoId
    #[arg(value_name = "VIDEO", value_parser = |text: &str| VideoId::new(text))]
    pub video: VideoId,
    #[command(flatten)]
    pub choice: Choice,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Choice {
    /// Upload this picture; one that is too large for a cover, or neither JPEG nor PNG, is made to fit
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Use this address as it is, without its query (VOD does not look at what is there)
    #[arg(long, value_name = "URL", value_parser = CoverUrl::new)]
    pub url: Option<CoverUrl>,
    /// Use what this rule finds now among the video's cover snapshots or smart thumbnails
    #[arg(long, value_name = "RULE")]
    pub rule: Option<Rule>,
}

#[derive(Debug, Args)]
pub struct Backfill {
    #[command(flatten)]
    pub configured: Configured,
    /// Videos created at this time or later: 2026-01-31 (UTC) or 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Videos created before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
    /// Videos of this category (CateId)
    #[arg(long, value_name = "ID")]
    pub category: Option<i64>,
    /// Say which videos have a cover that nobody decided, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Videos a second at the most; without, the quota is the limit
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub rate: Option<f64>,
    /// Begin at the beginning, also if an earlier walk was cut off
    #[arg(long)]
    pub from_start: bool,
    /// Print one JSON object for each video that was handled, and one at the end
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Dead {
    /// How many there are of each reason, and the oldest of them
    List {
        #[command(flatten)]
        configured: Configured,
        #[command(flatten)]
        which: Which,
        /// Letters to show
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Everything of these letters, with their events as VOD sent them
    Show {
        #[command(flatten)]
        configured: Configured,
        /// Their keys, from `dead list`
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Put letters back among the events, their attempts beginning anew
    Retry {
        #[command(flatten)]
        configured: Configured,
        #[command(flatten)]
        picked: Picked,
        /// Letters a second at the most
        #[arg(long, value_name = "RATE", default_value_t = 20.0, value_parser = rate)]
        rate: f64,
    },
    /// Drop letters for good
    Drop {
        #[command(flatten)]
        configured: Configured,
        #[command(flatten)]
        picked: Picked,
        /// Do not ask; needed where there is no terminal
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Clone, Args)]
pub struct Picked {
    /// Their keys, from `dead list`
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    #[command(flatten)]
    pub which: Which,
    /// Every letter; needed where nothing else says which
    #[arg(long, conflicts_with_all = ["keys", "reason", "video", "older_than", "newer_than"])]
    pub all: bool,
    /// Stop after this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Say what would happen to each, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object for each letter, and one at the end
    #[arg(long)]
    pub json: bool,
}

/// Letters that agree with all of these.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Of this reason, or of those that begin with it and a dot: vod.InvalidVideo.NotFound, or vod
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// Of this VideoId
    #[arg(long, value_name = "ID", value_parser = |text: &str| VideoId::new(text))]
    pub video: Option<VideoId>,
    /// Dead for longer than this: 90s, 15m, 2h 30m, 3d
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub older_than: Option<Duration>,
    /// Dead for less than this
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub newer_than: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    pub configured: Configured,
    /// The video's VideoId
    #[arg(value_name = "VIDEO", value_parser = |text: &str| VideoId::new(text))]
    pub video: VideoId,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Media {
    #[command(flatten)]
    pub configured: Configured,
    #[command(subcommand)]
    pub bring: Bring,
}

#[derive(Debug, Subcommand)]
pub enum Bring {
    /// CreateUploadVideo: a video whose file is uploaded next, with the address and key of the reply
    Create {
        /// The file's name, for its extension
        #[arg(value_name = "FILE_NAME")]
        file_name: String,
        #[command(flatten)]
        about: About,
    },
    /// UploadMediaByURL: VOD fetches the file
    Pull {
        /// Where it is
        #[arg(value_name = "URL")]
        url: String,
        #[command(flatten)]
        about: About,
    },
    /// RegisterMedia: the file is in VOD's storage already
    Register {
        /// Its address there
        #[arg(value_name = "URL")]
        url: String,
        #[command(flatten)]
        about: About,
    },
}

#[derive(Debug, Args)]
pub struct About {
    /// At most 128 bytes
    #[arg(long)]
    pub title: String,
    /// The cover's address, without its query
    #[arg(long, value_name = "URL", value_parser = CoverUrl::new)]
    pub cover: Option<CoverUrl>,
    #[arg(long)]
    pub description: Option<String>,
    /// At most 16, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub tags: Vec<String>,
    /// CateId
    #[arg(long, value_name = "ID")]
    pub category: Option<i64>,
    /// TemplateGroupId
    #[arg(long, value_name = "ID")]
    pub template_group: Option<String>,
    /// UserData: a JSON object, whose Extend comes back in the video's events
    #[arg(long, value_name = "JSON")]
    pub user_data: Option<String>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=10_000.0).contains(rate));
    rate.ok_or_else(|| "give a number a second, from 0.001 to 10000".into())
}

fn length(text: &str) -> Result<Duration, String> {
    let span = text.parse::<Span>().ok();
    let length = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let length = length.and_then(|length| Duration::try_from(length).ok());
    length.ok_or_else(|| "give a length of time, such as 90s, 15m, 2h 30m or 3d".into())
}

fn time(text: &str) -> Result<Timestamp, String> {
    let date = || text.parse::<jiff::civil::Date>().ok()?.in_tz("UTC").ok();
    let time = text.parse().ok().or_else(|| Some(date()?.timestamp()));
    time.ok_or_else(|| "give a date or a time, such as 2026-01-31 or 2026-01-31T08:00:00Z".into())
}

#[derive(Debug, Args)]
pub struct Pick {
    #[command(flatten)]
    pub configured: Configured,
    /// A directory of pictures, which count in the order of their names; or pictures, in the order given;
    /// or one event, as VOD posts it (- for standard input)
    #[arg(value_name = "PATH", required_unless_present = "video")]
    pub paths: Vec<PathBuf>,
    /// The cover snapshots that VOD has of this video
    #[arg(long, value_name = "ID", conflicts_with = "paths")]
    #[arg(value_parser = |text: &str| VideoId::new(text))]
    pub video: Option<VideoId>,
    /// Rules to try in order, such as first,middle,best, instead of `best` for files and the
    /// configuration's for the others
    #[arg(long, value_name = "RULES", value_delimiter = ',')]
    pub rules: Option<Vec<Rule>>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
    /// Also write a contact sheet: one page that needs nothing else, with the picked picture marked
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Sample videos to upload
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub videos: u32,
    /// Exit when every video has its cover: 0 if so, 1 if not (as always when nobody watches: at a
    /// terminal the simulated account stays until Ctrl-C, to be looked at)
    #[arg(long)]
    pub once: bool,
    /// Print one JSON object instead of progress and table (implies --once)
    #[arg(long)]
    pub json: bool,
    /// The same seed gives the same videos, events and covers
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct Sim {
    /// Where to listen (loopback only)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8800")]
    pub listen: SocketAddr,
    /// Sample videos to start with
    #[arg(long, default_value_t = 12)]
    pub videos: u32,
    /// Enforce the account's documented quotas
    #[arg(long, value_name = "on|off", default_value = "on", value_parser = ["on", "off"])]
    pub qps: String,
    /// Multiply the quotas by this number
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = scale)]
    pub quota_scale: f64,
    /// Answer every call after this many milliseconds
    #[arg(long, value_name = "L", default_value_t = 0)]
    pub latency_ms: u64,
    /// Misbehave, for example UpdateVideoInfo:error-5xx=0.1 (repeatable; a wrong one lists the forms)
    #[arg(long, value_name = "FAULT")]
    pub fault: Vec<String>,
    /// The same seed gives the same videos and pictures
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[arg(long, value_name = "ID", default_value = "testid")]
    pub access_key_id: String,
    #[arg(long, value_name = "SECRET", default_value = "testsecret")]
    pub access_key_secret: String,
    /// Post every video's events to this URL, as VOD does
    #[arg(long, value_name = "URL")]
    pub callback: Option<String>,
    /// Sign the callbacks with this key
    #[arg(long, value_name = "KEY", requires = "callback")]
    pub callback_key: Option<String>,
    /// Put every video's events into a queue of SMQ of this name instead, at the simulator's own address
    #[arg(long, value_name = "QUEUE", conflicts_with = "callback")]
    pub smq: Option<String>,
}

fn scale(text: &str) -> Result<f64, &'static str> {
    let scale = text.parse().ok().filter(|scale: &f64| scale.is_finite() && *scale > 0.0);
    scale.ok_or("it is a number above 0, such as 2 or 0.5")
}
