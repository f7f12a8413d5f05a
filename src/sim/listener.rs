//! The TCP side: a listener whose connections can be reset without an answer, one by one or all of them,
//! and a port that stays ours while nothing listens on it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

const BACKLOG: u32 = 1024;

/// A port that is taken but refuses connections.
pub(super) fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that it can be taken back while old connections are still in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts connections until it is dropped; those that it accepted end when `all` is cancelled.
pub(super) struct Connections {
    listener: TcpListener,
    all: CancellationToken,
}

impl Connections {
    pub fn listen(socket: TcpSocket, all: CancellationToken) -> io::Result<Self> {
        Ok(Self { listener: socket.listen(BACKLOG)?, all })
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // Without it small answers wait for the peer's acknowledgement; no harm if it fails.
                    let _ = stream.set_nodelay(true);
                    let reset = self.all.child_token();
                    let cancelled = Box::pin(reset.clone().cancelled_owned());
                    return (Connection { stream, reset, cancelled }, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "the simulator cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails on both sides as soon as it is reset.
pub(super) struct Connection {
    stream: TcpStream,
    reset: CancellationToken,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    /// Makes closing the socket send RST instead of FIN.
    fn fail<T>(&self) -> Poll<io::Result<T>> {
        // If it cannot be set, the peer sees the end of the stream, which is no answer either.
        let _ = self.stream.set_zero_linger();
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cancelled.as_mut().poll(context).is_ready() {
            return self.fail();
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.reset.is_cancelled() {
            return self.fail();
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.is_cancelled() {
            return self.fail();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A shutdown would send FIN before the reset.
        if self.reset.is_cancelled() {
            return self.fail();
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What a handler knows of the connection that its request came on.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    reset: CancellationToken,
}

impl Peer {
    /// From now on nothing more is sent; the connection is reset.
    pub fn reset(&self) {
        self.reset.cancel();
    }
}

impl Connected<IncomingStream<'_, Connections>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        Self { reset: stream.io().reset.clone() }
    }
}
