//! Servers on loopback for one test each: one that answers as it is told and remembers what it was
//! asked, one that writes raw bytes; and names that only the test knows.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vod_cover::cover::CoverUrl;
use vod_cover::fetch::{Fetcher, Settings};

/// Where [`Server::start_elsewhere`] is.
pub const ELSEWHERE: &str = "127.0.0.2";

pub fn cover(url: &str) -> CoverUrl {
    CoverUrl::new(url).unwrap()
}

/// The settings of a fetcher of these hosts, which may be on this machine. `changed` is laid over them.
pub fn settings(hosts: &[&str], changed: Value) -> Settings {
    let mut settings = json!({
        "hosts": hosts, "allow_networks": ["127.0.0.0/8"], "most_bytes": 100_000,
        "connect_timeout": "5s", "timeout": "20s", "redirects": 3, "https": "as-is",
        "concurrency": 4, "url_signing": {"type": "none", "key_file": "", "hosts": []},
    });
    for (name, value) in changed.as_object().unwrap() {
        settings[name] = value.clone();
    }
    serde_json::from_value(settings).unwrap()
}

pub fn fetcher(hosts: &[&str], changed: Value) -> Fetcher {
    Fetcher::new(&settings(hosts, changed), None).unwrap()
}

/// A server, gone with the test.
pub struct Server {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `answer` gets the path with its query, and how many requests came before.
    pub async fn start(answer: impl Fn(&str, usize) -> Response + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1", answer).await
    }

    /// At another loopback address, so that a test can allow this one and forbid the usual one.
    pub async fn start_elsewhere(
        answer: impl Fn(&str, usize) -> Response + Send + Sync + 'static,
    ) -> Self {
        Self::start_at(ELSEWHERE, answer).await
    }

    async fn start_at(
        address: &str,
        answer: impl Fn(&str, usize) -> Response + Send + Sync + 'static,
    ) -> Self {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        let handle = move |request: Request| {
            let mut log = log.lock().unwrap();
            let path = request.uri().to_string();
            let response = answer(&path, log.len());
            log.push(path);
            std::future::ready(response)
        };
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, asked, task }
    }

    /// Gives every connection to `serve` after the request's head was read.
    pub async fn raw<F>(serve: impl Fn(TcpStream, String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&asked);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap_or(0);
                head.truncate(length);
                let head = String::from_utf8_lossy(&head).into_owned();
                log.lock().unwrap().push(head.clone());
                tokio::spawn(serve(stream, head));
            }
        });
        Self { address, asked, task }
    }

    /// Writes this to everybody, and closes.
    pub async fn saying(bytes: &'static [u8]) -> Self {
        Self::raw(move |mut stream, _| async move {
            stream.write_all(bytes).await?;
            stream.shutdown().await
        })
        .await
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn url(&self, path: &str) -> CoverUrl {
        cover(&format!("http://{}{path}", self.address))
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// A fetcher of this server only.
    pub fn fetcher(&self, changed: Value) -> Fetcher {
        fetcher(&[&self.host()], changed)
    }
}

pub fn answer(status: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(status).body(body.into()).unwrap()
}

pub fn redirect(to: &str) -> Response {
    Response::builder().status(302).header("location", to).body(Body::empty()).unwrap()
}

/// Names of a test's own: for each the answers to the first look-up of any name, to the second and so
/// on; the last one stays. An answer is addresses, with a port if the URL has none.
#[derive(Default)]
pub struct Names {
    known: HashMap<String, Vec<Vec<SocketAddr>>>,
    looked_up: AtomicUsize,
}

impl Names {
    pub fn of(known: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let address = |text: &&str| match text.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, 0),
            Err(_) => text.parse().unwrap(),
        };
        let answers = |answers: &[&[&str]]| {
            answers.iter().map(|one| one.iter().map(address).collect()).collect()
        };
        let known = known.iter().map(|(name, all)| ((*name).to_owned(), answers(all))).collect();
        Arc::new(Self { known, looked_up: AtomicUsize::new(0) })
    }

    pub fn looked_up(&self) -> usize {
        self.looked_up.load(Ordering::SeqCst)
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let turn = self.looked_up.fetch_add(1, Ordering::SeqCst);
        let found = self.known.get(name.as_str()).and_then(|all| all.get(turn).or(all.last()));
        let found = found.cloned().ok_or_else(|| io::Error::other("no such name").into());
        Box::pin(async move { found.map(|all| Box::new(all.into_iter()) as Addrs) })
    }
}
