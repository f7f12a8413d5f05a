//! Both ends of the intake: whoever posts callbacks, and the barest handler that takes them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use reqwest::Client;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use vod_cover::vod::sign::callback::callback_signature;

/// As VOD waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

struct Sender {
    client: Client,
    url: String,
    key: String,
}

impl Sender {
    /// Seconds until the 200, counted from `due`.
    async fn send(&self, body: Bytes, due: Instant) -> Result<f64> {
        let at = Timestamp::now().as_second().to_string();
        let signature = callback_signature(&self.url, &at, &self.key);
        let request = self.client.post(&self.url).body(body);
        let request = request.header("X-VOD-TIMESTAMP", at).header("X-VOD-SIGNATURE", signature);
        let answer = request.send().await?;
        if answer.status() != 200 {
            bail!("a callback was answered with {}", answer.status());
        }
        answer.bytes().await?;
        Ok(due.elapsed().as_secs_f64())
    }
}

/// Posts each line as a signed callback: `at_once` of them, or at a steady rate, whatever the answers take.
pub async fn send(url: String, events: &Path, at_once: usize, rate: Option<f64>) -> Result<()> {
    let client = Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let sender = Arc::new(Sender { client, url, key: super::variable("VOD_CALLBACK_KEY")? });
    let lines: Vec<Bytes> = BufReader::new(File::open(events)?)
        .lines()
        .map(|line| line.map(Bytes::from))
        .collect::<Result<_, _>>()?;
    let (count, began) = (lines.len(), Instant::now());
    let mut sending = JoinSet::new();
    match rate {
        Some(rate) => {
            for (number, line) in lines.into_iter().enumerate() {
                let due = began + Duration::from_secs_f64(number as f64 / rate);
                sleep_until(due).await;
                let sender = Arc::clone(&sender);
                sending.spawn(async move { Ok(vec![sender.send(line, due).await?]) });
            }
        }
        None => {
            let (lines, next) = (Arc::new(lines), Arc::new(AtomicUsize::new(0)));
            for _ in 0..at_once {
                let (sender, lines, next) =
                    (Arc::clone(&sender), Arc::clone(&lines), Arc::clone(&next));
                sending.spawn(async move {
                    let mut took = Vec::new();
                    while let Some(line) = lines.get(next.fetch_add(1, Ordering::Relaxed)) {
                        took.push(sender.send(line.clone(), Instant::now()).await?);
                    }
                    anyhow::Ok(took)
                });
            }
        }
    }
    let mut took = Vec::with_capacity(count);
    while let Some(sent) = sending.join_next().await {
        took.extend(sent??);
    }
    let seconds = began.elapsed().as_secs_f64();
    took.sort_by(f64::total_cmp);
    let part = |part: f64| took.get((part * (count - 1) as f64) as usize).map(|took| took * 1e3);
    println!(
        "{}",
        json!({
            "loop": "post", "events": count, "seconds": seconds,
            "p50_ms": part(0.5), "p99_ms": part(0.99), "max_ms": part(1.0),
        })
    );
    Ok(())
}

/// Takes callbacks until it is killed: checks nothing, publishes, and answers without waiting for a confirm.
pub async fn bare(listen: SocketAddr, exchange: String) -> Result<()> {
    let (_connection, channel) = super::connect().await?;
    let take = move |body: Bytes| {
        let (channel, exchange) = (channel.clone(), exchange.clone());
        async move {
            let kind = "SnapshotComplete".into();
            let persistent = BasicProperties::default().with_delivery_mode(2);
            let options = BasicPublishOptions::default();
            let published =
                channel.basic_publish(exchange.into(), kind, options, &body, persistent).await;
            if published.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
        }
    };
    let listener = TcpListener::bind(listen).await?;
    Ok(axum::serve(listener, Router::new().route("/callback", post(take))).await?)
}
