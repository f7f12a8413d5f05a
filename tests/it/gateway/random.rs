//! Ten thousand requests of nonsense: as bytes on the wire, and as requests whose signature is right. None
//! may do more than be refused, or be stored as the event that it is.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

const EACH: u64 = 5_000;
const AT_ONCE: usize = 32;

/// Some bytes changed, removed, doubled or put in.
fn mutate(random: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    const TELLING: [&[u8]; 8] =
        [b"\r\n", b"\0", b"{", b"\"", b":", b"999999999999", b"chunked", b"\xff\xfe"];
    for _ in 0..random.usize(1..6) {
        let at = random.usize(0..=bytes.len());
        let end = (at + random.usize(0..20)).min(bytes.len());
        match random.u8(0..5) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => drop(bytes.splice(at..at, TELLING[random.usize(0..8)].iter().copied())),
            _ => bytes.truncate(at.max(1)),
        }
    }
}

async fn send_bytes(program: &Program, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let body = String::from_utf8(event(1, seed as usize)).unwrap();
    let mut bytes = raw(program, &format!("Content-Length: {}\r\n", body.len()), &body);
    mutate(&mut random, &mut bytes);
    let mut stream = TcpStream::connect(program.intake).await.unwrap();
    // It may have heard enough before the end.
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let ended = timeout(SOON, stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "{seed}: no end of it");
    let text = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || text.starts_with("HTTP/1."), "{seed}: {text}");
    assert!(!text.contains("HTTP/1.1 5"), "{seed}: {text}");
}

async fn send_request(program: &Program, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut body = event(1, seed as usize);
    mutate(&mut random, &mut body);
    let mut request = signed(program, body, now(), CALLBACK_KEY);
    for name in ["X-VOD-TIMESTAMP", "X-VOD-SIGNATURE", "Content-Type", "Accept-Encoding"] {
        if random.u8(0..20) == 0 {
            let value: Vec<u8> = (0..random.usize(0..200)).map(|_| random.u8(32..)).collect();
            if let Ok(value) = reqwest::header::HeaderValue::from_bytes(&value) {
                request = request.header(name, value);
            }
        }
    }
    let status = status(request).await;
    assert!([200, 400, 403].contains(&status), "{seed}: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_random_requests_never_crash_it() {
    let (world, _) = shared().await;
    let program = Arc::new(gateway(&world, &[]).await);
    is_connected(&program).await;
    let requests = (0..EACH).map(|seed| {
        let program = Arc::clone(&program);
        tokio::spawn(async move {
            send_bytes(&program, seed).await;
            send_request(&program, EACH + seed).await;
        })
    });
    let mut requests = stream::iter(requests).buffer_unordered(AT_ONCE);
    while let Some(done) = requests.next().await {
        done.unwrap();
    }
    assert_eq!(post(&program, event(1, 1)).await, 200);
    assert!(!program.log().contains("panicked"), "{}", program.log());
    let closed =
        async || program.metric("vod_cover_intake_connections", "").await <= AT_ONCE as f64;
    eventually("connections are closed", SOON, closed).await;
    let taken = program.metric("vod_cover_callbacks_total", "200").await;
    assert!((EACH as f64 / 20.0..2.0 * EACH as f64).contains(&taken), "{taken} were events");
}
