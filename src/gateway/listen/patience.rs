//! A connection that ends by itself when its peer is too slow: reading and writing fail once the time is up
//! for the request that is under way, or for the silence between two.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What a connection is about, shared by its socket and by whoever answers.
pub(super) struct Pace {
    state: Mutex<State>,
    request: Duration,
    idle: Duration,
}

#[derive(Clone, Copy)]
enum State {
    /// Nothing has come yet, since then.
    New(Instant),
    /// Since the first byte of a request.
    Busy(Instant),
    /// Since a request was answered.
    Idle(Instant),
}

impl Pace {
    pub fn new(request: Duration, idle: Duration) -> Self {
        Self { state: Mutex::new(State::New(Instant::now())), request, idle }
    }

    /// A request is there; when its first byte came.
    pub fn begin(&self) -> Instant {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Busy(since) = *state {
            return since;
        }
        // It came together with the one before.
        let now = Instant::now();
        *state = State::Busy(now);
        now
    }

    /// The request has its answer.
    pub fn rest(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Idle(Instant::now());
    }

    fn deadline(&self) -> Instant {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::New(since) | State::Busy(since) => since + self.request,
            State::Idle(since) => since + self.idle,
        }
    }
}

pub(super) struct Patient<S> {
    inner: S,
    pace: Arc<Pace>,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    pub fn new(inner: S, pace: Arc<Pace>) -> Self {
        let alarm = Box::pin(sleep_until(pace.deadline()));
        Self { inner, pace, alarm }
    }

    /// Pending while there is time.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        let deadline = self.pace.deadline();
        if self.alarm.deadline() != deadline {
            self.alarm.as_mut().reset(deadline);
        }
        ready!(self.alarm.as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the peer was too slow")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Pending => self.wait(context),
            done => {
                if buffer.filled().len() > before {
                    self.pace.begin();
                }
                done
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(context, bytes) {
            Poll::Pending => self.wait(context),
            done => done,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(context) {
            Poll::Pending => self.wait(context),
            done => done,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match Pin::new(&mut self.inner).poll_shutdown(context) {
            Poll::Pending => self.wait(context),
            done => done,
        }
    }
}
