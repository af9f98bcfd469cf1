//! From `host:port` to a TCP connection, and the pause between tries. Resolves anew each time; never retries itself.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};

#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// Nothing listens at any of its addresses.
    #[error("connection refused")]
    Refused,
    #[error("resolve: {0}")]
    Resolve(io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("connect: {0}")]
    Connect(io::Error),
    #[error("no answer in time")]
    TimedOut,
}

/// Connects to the first address that answers; `timeout` bounds all of it.
pub(super) async fn connect(address: &str, timeout: Duration) -> Result<TcpStream, DialError> {
    tokio::time::timeout(timeout, connect_any(address)).await.unwrap_or(Err(DialError::TimedOut))
}

async fn connect_any(address: &str) -> Result<TcpStream, DialError> {
    let mut other = None;
    let mut refused = false;
    for target in lookup_host(address).await.map_err(DialError::Resolve)?.take(8) {
        match TcpStream::connect(target).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(DialError::Connect)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => refused = true,
            Err(error) => other = Some(error),
        }
    }
    match other {
        Some(error) => Err(DialError::Connect(error)),
        None if refused => Err(DialError::Refused),
        None => Err(DialError::NoAddress),
    }
}

/// Doubling pauses with jitter.
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }

    /// Between half the pause and all of it, so that brokers that lost each other together do not meet in step.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}
