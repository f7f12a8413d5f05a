//! The socket that callbacks come in by. Every connection is bounded in every state that it can be in, and
//! so is their number: whoever is slow or silent is shut out, and nobody else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use self::patience::{Pace, Patient};
use super::http::Began;
use super::tls::Tls;
use crate::telemetry;

mod patience;

/// The longest head of a request, in bytes.
const HEAD: usize = 16 * 1024;
/// Beyond a request's own bound, so that it is answered before its connection is cut.
const GRACE: Duration = Duration::from_millis(500);
/// After so long without a byte, and again so long without an answer to a probe, a peer is gone.
const KEEPALIVE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// From the first byte of a request to its answer; also for a TLS handshake, and until the first byte.
    pub request: Duration,
    /// Between two requests of a connection.
    pub idle: Duration,
    pub connections: usize,
}

struct Server {
    router: Router,
    tls: Option<Tls>,
    bounds: Bounds,
    free: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Serves until `stop`, and then until what is under way has been answered.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let free = Arc::new(Semaphore::new(bounds.connections));
    let server = Arc::new(Server { router, tls, bounds, free, stop });
    let connections = TaskTracker::new();
    while let Some((stream, peer)) = server.accept(&listener).await {
        // Waiting for a free place comes after accepting, so that one connection more than that is open.
        let waiting = Arc::clone(&server.free).acquire_owned();
        let Some(Ok(place)) = server.stop.run_until_cancelled(waiting).await else { break };
        let server = Arc::clone(&server);
        connections.spawn(async move {
            telemetry::intake_connections(server.taken());
            server.connection(stream, peer).await;
            drop(place);
            telemetry::intake_connections(server.taken());
        });
    }
    drop(listener);
    connections.close();
    if timeout(bounds.request + GRACE, connections.wait()).await.is_err() {
        debug!(open = connections.len(), "connections of the intake are cut");
    }
}

impl Server {
    /// The next connection, or `None` when it is time to stop.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
        loop {
            match self.stop.run_until_cancelled(listener.accept()).await? {
                Ok(accepted) => return Some(accepted),
                // Out of file descriptors, or a peer that has gone already.
                Err(error) => {
                    warn!(%error, "a connection of the intake was not accepted");
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    fn taken(&self) -> usize {
        self.bounds.connections.saturating_sub(self.free.available_permits())
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = prepare(&stream) {
            debug!(%error, %peer, "a connection of the intake ended");
            return;
        }
        let Some(tls) = &self.tls else { return self.talk(stream, peer).await };
        let accepting = TlsAcceptor::from(tls.now()).accept(stream);
        match timeout(self.bounds.request, accepting).await {
            Ok(Ok(stream)) => self.talk(stream, peer).await,
            Ok(Err(error)) => debug!(%error, %peer, "a TLS handshake failed"),
            Err(_) => debug!(%peer, "a TLS handshake took too long"),
        }
    }

    async fn talk(&self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr) {
        let pace = Arc::new(Pace::new(self.bounds.request + GRACE, self.bounds.idle));
        let stream = TokioIo::new(Patient::new(stream, Arc::clone(&pace)));
        let answers = TowerToHyperService::new(self.router.clone());
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(Began(pace.begin()));
            let answer = hyper::service::Service::call(&answers, request);
            let pace = &pace;
            async move {
                let mut answer = answer.await?;
                pace.rest();
                // Whoever waits for a place gets this one.
                if self.free.available_permits() == 0 {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        // Both bounds on time are those of `Patient`.
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .header_read_timeout(None)
                .max_buf_size(HEAD)
                .serve_connection(stream, service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(%error, %peer, "a connection of the intake ended");
        }
    }
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE / 3)?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    Ok(())
}
