//! The admin port's connections: bounded in number, closed when nothing moves. Knows bytes, no requests.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Pause after the system refused to accept, as when it is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A client that took this much may let writes wait for as long again: it takes a megabyte in each `patience`, or all.
const RENEWED: u64 = 1 << 20;

/// A listening socket whose connections are bounded.
pub(super) struct BoundedListener {
    socket: TcpListener,
    slots: Arc<Semaphore>,
    patience: Duration,
}

impl BoundedListener {
    /// At most `most` connections; each is closed after `patience` in which nothing was read or written.
    pub(super) fn new(socket: TcpListener, most: usize, patience: Duration) -> Self {
        Self { socket, slots: Arc::new(Semaphore::new(most)), patience }
    }
}

impl Listener for BoundedListener {
    type Io = Guarded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guarded, SocketAddr) {
        loop {
            let (stream, peer) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept admin connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Above the bound the newest is closed at once: waiting would only fill the system's own queue.
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
                tracing::debug!(%peer, "close admin connection: too many are open");
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "set TCP_NODELAY");
            }
            return (Guarded::new(stream, self.patience, slot), peer);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A connection that fails when neither side of it moved for a while, or when its answer is taken too slowly.
pub(super) struct Guarded {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    patience: Duration,
    pace: Pace,
    _slot: OwnedSemaphorePermit,
}

/// How long writes had to wait for the client, and how much it took meanwhile.
#[derive(Default)]
struct Pace {
    waiting_since: Option<Instant>,
    waited: Duration,
    taken: u64,
}

impl Pace {
    /// Notes what a write came to; whether the client is too slow by now.
    fn note(&mut self, written: Option<usize>, patience: Duration) -> bool {
        let now = Instant::now();
        let waited = self.waiting_since.take().map_or(Duration::ZERO, |since| now - since);
        match written {
            // It takes what it is given: what was before is forgotten.
            Some(_) if waited.is_zero() && self.waited.is_zero() => *self = Self::default(),
            Some(bytes) => {
                self.waited += waited;
                self.taken += bytes as u64;
                if self.taken >= RENEWED {
                    *self = Self::default();
                }
            }
            None => {
                self.waited += waited;
                self.waiting_since = Some(now);
            }
        }
        self.waited > patience
    }
}

impl Guarded {
    fn new(stream: TcpStream, patience: Duration, slot: OwnedSemaphorePermit) -> Self {
        let deadline = Box::pin(sleep(patience));
        Self { stream, deadline, patience, pace: Pace::default(), _slot: slot }
    }

    /// Passes progress on and starts the time anew; without progress, fails when the time is up.
    fn watched<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            let next = Instant::now() + self.patience;
            self.deadline.as_mut().reset(next);
            return polled;
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watched(context, polled)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, data);
        let written = match &polled {
            Poll::Ready(Ok(bytes)) => Some(*bytes),
            Poll::Ready(Err(_)) => Some(0),
            Poll::Pending => None,
        };
        let patience = self.patience;
        if self.pace.note(written, patience) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.watched(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
