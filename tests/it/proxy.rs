//! A TCP proxy that a test puts between the program and a server, to stop the world at a chosen byte:
//! the program is then killed at exactly that point.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub struct Proxy {
    pub address: SocketAddr,
    control: Arc<Control>,
}

struct Control {
    /// What to look for in the bytes that go to the server.
    pattern: Mutex<Option<Vec<u8>>>,
    frozen: watch::Sender<bool>,
    stop: CancellationToken,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let control = Arc::new(Control {
            pattern: Mutex::default(),
            frozen: watch::Sender::new(false),
            stop: CancellationToken::new(),
        });
        let shared = Arc::clone(&control);
        tokio::spawn(async move {
            while let Some(Ok((client, _))) =
                shared.stop.run_until_cancelled(listener.accept()).await
            {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        let relayed = relay(client, server, &shared);
                        shared.stop.run_until_cancelled(relayed).await;
                    }
                });
            }
        });
        Self { address, control }
    }

    /// From now on, the first bytes to the server that contain `pattern`, and all after them, are held.
    pub fn freeze_at(&self, pattern: &[u8]) {
        *self.control.pattern.lock().unwrap() = Some(pattern.to_vec());
    }

    /// From now on nothing gets to the server, on connections of before and on new ones.
    pub fn hold(&self) {
        self.control.frozen.send_replace(true);
    }

    /// Lets new connections through again; those that were held stay so.
    pub fn thaw(&self) {
        *self.control.pattern.lock().unwrap() = None;
        self.control.frozen.send_replace(false);
    }

    /// Waits until [`Proxy::freeze_at`] has struck.
    pub async fn frozen(&self, within: Duration) {
        let mut frozen = self.control.frozen.subscribe();
        let struck = tokio::time::timeout(within, frozen.wait_for(|frozen| *frozen)).await;
        assert!(struck.is_ok(), "the bytes to stop at never came");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.control.stop.cancel();
    }
}

async fn relay(client: TcpStream, server: TcpStream, control: &Control) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut buffer = vec![0; 64 * 1024];
        // What could be the beginning of the pattern, at the end of what was sent already.
        let mut seen: Vec<u8> = Vec::new();
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            let pattern = control.pattern.lock().unwrap().clone();
            if let Some(pattern) = pattern {
                seen.extend_from_slice(&buffer[..count]);
                if seen.windows(pattern.len()).any(|window| window == pattern) {
                    control.frozen.send_replace(true);
                }
                let keep = seen.len().saturating_sub(pattern.len() - 1);
                seen.drain(..keep);
            }
            if *control.frozen.borrow() {
                std::future::pending::<()>().await;
            }
            if to_server.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    };
    let down = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
