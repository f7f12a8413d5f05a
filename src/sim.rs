//! A simulated VOD account over HTTP, for tests and for the demo: it checks signatures, clock, nonces
//! and quotas, answers with the documented JSON, keeps videos with drawn pictures, sends callbacks, and
//! misbehaves on demand. It journals every call and every change of a cover. An oracle: it is written
//! from VOD's documentation and must never use this crate's VOD client.
//!
//! Besides the API at `/`, the pictures, the storage that pictures are uploaded to, and a queue of SMQ, it
//! serves an unsigned control plane in JSON:
//!
//! | route | effect |
//! |---|---|
//! | `GET /_sim/health` | `ok` |
//! | `GET /_sim/journal?since=SEQ&video=ID` | calls with a higher number: `{"calls", "last"}` |
//! | `GET /_sim/changes?since=SEQ&by=api&video=ID` | changes of covers: `{"changes", "last"}` |
//! | `GET /_sim/covers?video=ID` | `{"ID": "URL" or null}` |
//! | `GET /_sim/videos` | all videos |
//! | `GET /_sim/flaws?video=ID` | what is wrong with which snapshots: `{"ID": {"1": "black"}}` |
//! | `POST /_sim/videos` | adds one; the body is a [`NewVideo`], every member optional |
//! | `POST /_sim/edit` | `{"video", "url"}`: a person sets a cover in the console |
//! | `POST /_sim/delete` | `{"video"}`: a person deletes a video |
//! | `GET /_sim/events?video=ID` | the videos' events as NDJSON, once and in order |
//! | `GET /_sim/events?duplicates=0.3&shuffle=1` | the same with extra copies, shuffled |
//! | `GET /_sim/events?kind=changes&since=SEQ` | the events of changes with a higher number; the header `x-sim-last` has the last one's |
//! | `POST /_sim/emit?video=ID` | sends callbacks now, and answers when all are through |
//! | `POST /_sim/finish-upload` | `{"video"}`: the file of a video from CreateUploadVideo has come |
//! | `GET /_sim/ai-jobs` | how many jobs for smart thumbnails were submitted: `{"ID": 1}` |
//! | `POST /_sim/finish-ai` | `{"video"}`: ends its jobs, and shows its smart thumbnails |
//! | `GET /_sim/uploads` | pictures that CreateUploadImage announced, and whether they came |
//! | `GET /_sim/lost` | callbacks that were given up |
//! | `GET /_sim/smq` | how many messages are in the queue of SMQ: `{"active", "inactive", "deleted"}` |
//! | `GET`, `PUT`, `DELETE /_sim/faults` | a list of texts such as `"error-5xx=0.1"`, see [`Fault`] |
//! | `PUT /_sim/secret` | `{"access_key_id", "access_key_secret", "security_token"}`, all optional |
//! | `POST /_sim/pause` | `{"seconds"}`: refuses connections for this long |

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

mod account;
mod ai;
mod api;
mod auth;
mod callback;
mod console;
mod control;
mod draw;
mod emit;
mod event;
mod fault;
mod http;
mod listener;
mod nonce;
mod oss;
mod picture;
mod quota;
mod reply;
mod settings;
mod sign_url;
pub mod smq;
mod text;
mod upload;
mod video;

pub use account::{By, Call, CoverChange, LostCallback, MAX_JOURNAL, Verdict};
pub use api::Operation;
pub use callback::Callback;
pub use emit::Emission;
pub use fault::{BadFault, Fault, Kind};
pub use settings::Settings;
pub use text::Text;
pub use upload::{Stored, Upload};
pub use video::{BadVideo, MAX_SNAPSHOTS, NewVideo, StartingCover};

use account::Account;
use auth::Key;

/// A running simulator. Clones are handles to the same one; it runs until [`Simulator::stop`] or until
/// its runtime ends.
#[derive(Clone)]
pub struct Simulator(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    seed: u64,
    latency: Duration,
    separate_events: bool,
    console_events: bool,
    runtime: Handle,
    account: Mutex<Account>,
    key: Mutex<Arc<Key>>,
    nonces: Mutex<nonce::Nonces>,
    quota: Mutex<quota::Quota>,
    faults: Mutex<fault::Faults>,
    clock_offset: Mutex<SignedDuration>,
    url_key: sign_url::UrlKey,
    sender: Option<callback::Sender>,
    smq: Option<smq::Smq>,
    drawing: Semaphore,
    service: tokio::sync::Mutex<Service>,
}

enum Service {
    Up { task: JoinHandle<()>, connections: CancellationToken },
    Paused(TcpSocket),
    Stopped,
}

impl Simulator {
    /// Binds the address (port 0 for any free one) and serves in tokio tasks. Fails if the address is
    /// taken, or not loopback while [`Settings::public`] is off.
    pub async fn start(listen: SocketAddr, settings: Settings) -> io::Result<Self> {
        if !listen.ip().is_loopback() && !settings.public {
            let why = format!("the simulator listens on loopback addresses only, not on {listen}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let socket = listener::reserve(listen)?;
        let address = socket.local_addr()?;
        let sender = settings.callback.map(callback::Sender::new).transpose();
        let mut account =
            Account::new(base(address), settings.seed, settings.videos, settings.default_covers);
        account.jobs = ai::Jobs::new(settings.ai_templates, settings.ai_job_takes);
        let key = Key {
            id: settings.access_key_id,
            secret: settings.access_key_secret,
            token: settings.security_token,
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let simulator = Self(Arc::new(Inner {
            address,
            seed: settings.seed,
            latency: settings.latency,
            separate_events: settings.separate_events,
            console_events: settings.console_events,
            runtime: Handle::current(),
            account: Mutex::new(account),
            key: Mutex::new(Arc::new(key)),
            nonces: Mutex::new(nonce::Nonces::new(Timestamp::now())),
            quota: Mutex::new(quota::Quota::new(settings.qps, settings.quota_scale)),
            faults: Mutex::new(fault::Faults::new(settings.faults, settings.seed)),
            clock_offset: Mutex::new(SignedDuration::ZERO),
            url_key: sign_url::UrlKey {
                enforced: settings.url_key.is_some(),
                key: settings.url_key.unwrap_or_else(|| "aliyunvodexp1234".to_owned()),
            },
            sender: sender.map_err(io::Error::other)?,
            smq: settings.smq.map(smq::Smq::new),
            drawing: Semaphore::new(processors),
            service: tokio::sync::Mutex::new(Service::Stopped),
        }));
        *simulator.0.service.lock().await = simulator.serve(socket)?;
        Ok(simulator)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// `http://HOST:PORT`, for VOD_ENDPOINT. A wildcard address is given as loopback.
    pub fn endpoint(&self) -> String {
        base(self.0.address)
    }

    /// Closes the port and resets every connection, as if the machine were gone: connections are
    /// refused, the state stays. Calls that wait for their latency still take effect.
    pub async fn pause(&self) -> io::Result<()> {
        let mut service = self.0.service.lock().await;
        if let Service::Up { .. } = &*service {
            take_down(&mut service).await;
            *service = Service::Paused(listener::reserve(self.0.address)?);
        }
        Ok(())
    }

    /// Serves again at the same address. Does nothing unless paused.
    pub async fn resume(&self) -> io::Result<()> {
        let mut service = self.0.service.lock().await;
        match std::mem::replace(&mut *service, Service::Stopped) {
            Service::Paused(socket) => *service = self.serve(socket)?,
            other => *service = other,
        }
        Ok(())
    }

    /// Closes the port and all connections for good. The journal can still be read.
    pub async fn stop(&self) {
        let mut service = self.0.service.lock().await;
        take_down(&mut service).await;
    }

    fn serve(&self, socket: TcpSocket) -> io::Result<Service> {
        let connections = CancellationToken::new();
        let listener = listener::Connections::listen(socket, connections.clone())?;
        let service =
            http::router(self.clone()).into_make_service_with_connect_info::<listener::Peer>();
        let serve = axum::serve(listener, service);
        let task = tokio::spawn(async move {
            // It ends with the task only; a connection that cannot be accepted is the listener's affair.
            let _ = serve.await;
        });
        Ok(Service::Up { task, connections })
    }
}

/// What happened, and what is.
impl Simulator {
    /// The latest [`MAX_JOURNAL`] calls.
    pub fn journal(&self) -> Vec<Call> {
        self.journal_since(0)
    }

    /// Calls with a number above `seq`.
    pub fn journal_since(&self, seq: u64) -> Vec<Call> {
        self.account().journal.since(seq)
    }

    /// The latest [`MAX_JOURNAL`] changes, the default covers of new videos among them.
    pub fn cover_changes(&self) -> Vec<CoverChange> {
        self.cover_changes_since(0)
    }

    /// Changes with a number above `seq`.
    pub fn cover_changes_since(&self, seq: u64) -> Vec<CoverChange> {
        self.account().changes.since(seq)
    }

    pub fn cover_of(&self, video: &str) -> Option<String> {
        self.account().video(video)?.cover.as_deref().map(str::to_owned)
    }

    /// All ids, in the order in which the videos were added.
    pub fn videos(&self) -> Vec<String> {
        self.account().videos.iter().map(|video| video.id.to_string()).collect()
    }

    /// The addresses of a video's cover snapshots, in order.
    pub fn snapshots_of(&self, video: &str) -> Vec<String> {
        let account = self.account();
        let Some(video) = account.video(video) else { return Vec::new() };
        let url = |number| account.url(&video.snapshot_path(number));
        (1..=video.snapshots).map(url).collect()
    }

    /// What is wrong with which of a video's cover snapshots: `black`, `white`, `card`, `bars`, `dark`
    /// (a fade), `blurred` or `flat`.
    pub fn flaws_of(&self, video: &str) -> Vec<(u8, &'static str)> {
        let account = self.account();
        let Some(video) = account.video(video) else { return Vec::new() };
        let flaw = |number| draw::flaw(video.seed, number, video.snapshots).name();
        (1..=video.snapshots).filter_map(|number| Some((number, flaw(number)?))).collect()
    }

    /// The address (without auth_key) and the score of a video's smart thumbnails, shown already or not.
    pub fn smart_thumbnails_of(&self, video: &str) -> Vec<(String, f64)> {
        let account = self.account();
        let Some(video) = account.video(video) else { return Vec::new() };
        let one = |thumbnail: video::Thumbnail| (account.url(&thumbnail.path), thumbnail.score);
        video.thumbnails().into_iter().map(one).collect()
    }

    /// The latest pictures that CreateUploadImage announced, in order.
    pub fn uploads(&self) -> Vec<Upload> {
        self.account().uploads.all()
    }

    /// The callbacks that were given up, at most the latest 20,000.
    pub fn lost_callbacks(&self) -> Vec<LostCallback> {
        self.account().lost.since(0)
    }

    /// The number of callbacks that were answered with 200.
    pub fn delivered_callbacks(&self) -> u64 {
        self.account().delivered
    }
}

/// What a test does to it.
impl Simulator {
    /// Replaces all faults.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.faults().set(faults);
    }

    pub fn clear_faults(&self) {
        self.set_faults(Vec::new());
    }

    /// From now on only calls signed with this secret pass.
    pub fn set_secret(&self, secret: &str) {
        let key = Key { secret: secret.to_owned(), ..self.key().as_ref().clone() };
        self.set_key(Arc::new(key));
    }

    /// From now on calls must carry this STS token, or none.
    pub fn set_security_token(&self, token: Option<&str>) {
        let key = Key { token: token.map(str::to_owned), ..self.key().as_ref().clone() };
        self.set_key(Arc::new(key));
    }

    /// Makes VOD's clock differ from this machine's.
    pub fn set_clock_offset(&self, offset: SignedDuration) {
        *lock(&self.0.clock_offset) = offset;
    }
}

/// What the parts of the simulator share. A lock is held for one step and never across an await.
impl Simulator {
    /// As it is now.
    fn account(&self) -> MutexGuard<'_, Account> {
        let now = self.now();
        let mut account = lock(&self.0.account);
        account.end_jobs(now);
        account
    }

    fn key(&self) -> Arc<Key> {
        lock(&self.0.key).clone()
    }

    fn set_key(&self, key: Arc<Key>) {
        *lock(&self.0.key) = key;
    }

    fn nonces(&self) -> MutexGuard<'_, nonce::Nonces> {
        lock(&self.0.nonces)
    }

    fn quota(&self) -> MutexGuard<'_, quota::Quota> {
        lock(&self.0.quota)
    }

    fn faults(&self) -> MutexGuard<'_, fault::Faults> {
        lock(&self.0.faults)
    }

    fn url_key(&self) -> &sign_url::UrlKey {
        &self.0.url_key
    }

    fn latency(&self) -> Duration {
        self.0.latency
    }

    fn now(&self) -> Timestamp {
        Timestamp::now().saturating_add(*lock(&self.0.clock_offset)).unwrap_or(Timestamp::MAX)
    }

    async fn permit_to_draw(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed, so this is always some permit.
        self.0.drawing.acquire().await.ok()
    }
}

async fn take_down(service: &mut Service) {
    if let Service::Up { task, connections } = std::mem::replace(service, Service::Stopped) {
        connections.cancel();
        task.abort();
        // The listener is closed when the task is gone; that it was aborted is no news.
        let _ = task.await;
    }
}

fn base(address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

/// A panic while the lock was held cannot leave anything half written that matters to a test more than
/// going on does.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
