//! A loopback server that answers what the documentation prints, and remembers what it was asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vod_cover::vod::{Client, Environment, Settings};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Seen {
    pub fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// A field of a form body.
    pub fn form(&self, name: &str) -> String {
        let mut fields = url::form_urlencoded::parse(self.body.as_bytes());
        fields.find(|(field, _)| field == name).map(|(_, value)| value.into()).unwrap_or_default()
    }
}

pub enum Answer {
    Now(u16, Vec<(&'static str, String)>, String),
    Never,
}

pub fn ok(body: Value) -> Answer {
    Answer::Now(200, Vec::new(), body.to_string())
}

/// What UpdateVideoInfo answers.
pub fn done() -> Answer {
    ok(json!({"RequestId": "25818875-5F78-4A57-BEF6-D7393642CA58"}))
}

/// An error as the documentation shows it.
pub fn refuse(status: u16, code: &str) -> Answer {
    let body = json!({"RequestId": "r-1", "HostId": "vod.cn-shanghai.aliyuncs.com",
        "Code": code, "Message": "The specified thing is not right."});
    Answer::Now(status, Vec::new(), body.to_string())
}

pub fn text(status: u16, body: &str) -> Answer {
    Answer::Now(status, Vec::new(), body.to_owned())
}

pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `answer` gets the request and how many came before it.
    pub async fn start<F>(answer: F) -> Self
    where
        F: Fn(&Seen, usize) -> Answer + Send + Sync + 'static,
    {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (log, answer) = (seen.clone(), Arc::new(answer));
        let handle = move |request: Request| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let request = read(request).await;
                let before = {
                    let mut log = log.lock().expect("log");
                    log.push(request.clone());
                    log.len() - 1
                };
                respond(answer(&request, before)).await
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(handle);
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serving");
        });
        Self { url, seen, task }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("log").clone()
    }

    /// A client of this server with a key from the environment.
    pub fn client(&self) -> Client {
        client(&settings(&self.url))
    }
}

async fn read(request: Request) -> Seen {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a body");
    let query = parts.uri.query().unwrap_or_default();
    let header = |value: &axum::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: parts.headers.iter().map(|(k, v)| (k.to_string(), header(v))).collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

async fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Never => std::future::pending().await,
        Answer::Now(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(body)).expect("a response").into_response()
        }
    }
}

/// The settings of a client of this address, with quick time limits.
pub fn settings(url: &str) -> Settings {
    let text = json!({
        "endpoint": url, "region": "cn-shanghai", "oss_endpoint": "", "signature": "hmac-sha1",
        "connect_timeout": "2s", "timeout": "5s", "retries": 2, "allow_plain_http": false,
        "quota_share": 1.0, "pace": true,
        "credentials": credential_settings("http://127.0.0.1:9"),
    });
    serde_json::from_value(text).expect("settings")
}

/// `[vod.credentials]` with every service at this address.
pub fn credential_settings(url: &str) -> Value {
    json!({"access_key_id_file": "", "access_key_secret_file": "", "security_token_file": "",
        "metadata_endpoint": url, "sts_endpoint": url})
}

pub fn client(settings: &Settings) -> Client {
    let environment = Environment::of([
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "testid"),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "testsecret"),
    ]);
    Client::with_environment(settings, environment).expect("a client")
}

/// A directory of its own, gone with the test.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        let name = uuid::Uuid::new_v4().to_string();
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path in ASCII").to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
