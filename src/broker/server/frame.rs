//! Cuts requests out of a connection's bytes: four bytes of length, then so many bytes.
//!
//! Memory follows what arrived, not what a length claims.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::in_flight::{InFlight, Permit};

const LENGTH: usize = 4;
/// API key, version and correlation id: no request is shorter.
const LEAST_REQUEST: usize = 8;
/// How much is read at once, at least.
const CHUNK: usize = 16 * 1024;

/// Why no further request comes.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a request of {length} bytes is announced, allowed are {LEAST_REQUEST} to {allowed}")]
    Length { length: i32, allowed: usize },
    #[error("the connection ended after {got} bytes of a request")]
    Half { got: usize },
    #[error("nothing was sent and nothing awaited for {0:?}")]
    Idle(Duration),
    #[error("{got} bytes of a request of {length} came in {patience:?}, the rest did not")]
    Slow { got: usize, length: usize, patience: Duration },
    #[error("read: {0}")]
    Io(#[from] io::Error),
}

/// Limits of what is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameLimits {
    pub(super) max_request_bytes: usize,
    pub(super) idle_timeout: Duration,
    /// How long a request may take to come once it has room.
    pub(super) patience: Duration,
}

/// The incoming half of a connection.
pub(super) struct Frames<R> {
    from: R,
    buffer: BytesMut,
    limits: FrameLimits,
    /// Room for the request that is being read, once its length is known.
    room: Option<Permit>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(from: R, limits: FrameLimits) -> Self {
        Self { from, buffer: BytesMut::new(), limits, room: None }
    }

    /// The next request, and its share of the connection's bytes in flight; `None` at the end of the stream.
    /// Nothing is lost when the future is dropped before it is done.
    pub(super) async fn next(&mut self, in_flight: &InFlight) -> Result<Option<(Bytes, Permit)>, FrameError> {
        while self.buffer.len() < LENGTH {
            if !self.read(in_flight, LENGTH).await? {
                return self.ended();
            }
        }
        let length = self.length()?;
        if self.room.is_none() {
            self.room = Some(in_flight.room_for(length).await);
        }
        let deadline = Instant::now() + self.limits.patience;
        while self.buffer.len() < LENGTH + length {
            let read = timeout_at(deadline, self.read(in_flight, LENGTH + length)).await;
            let (got, patience) = (self.buffer.len() - LENGTH, self.limits.patience);
            if !read.map_err(|_| FrameError::Slow { got, length, patience })?? {
                return self.ended();
            }
        }
        self.buffer.advance(LENGTH);
        let frame = self.buffer.split_to(length).freeze();
        Ok(self.room.take().map(|mut room| {
            room.arrive();
            (frame, room)
        }))
    }

    fn length(&self) -> Result<usize, FrameError> {
        let length = i32::from_be_bytes([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]]);
        let allowed = self.limits.max_request_bytes;
        match usize::try_from(length) {
            Ok(n) if (LEAST_REQUEST..=allowed).contains(&n) => Ok(n),
            _ => Err(FrameError::Length { length, allowed }),
        }
    }

    /// Reads once, towards `wanted` buffered bytes. The buffer grows by what has already come, so a false length
    /// costs no more than twice the bytes sent for it.
    async fn read(&mut self, in_flight: &InFlight, wanted: usize) -> Result<bool, FrameError> {
        let have = self.buffer.len();
        self.buffer.reserve((wanted - have).min(have).max(CHUNK));
        loop {
            let read = self.from.read_buf(&mut self.buffer);
            match tokio::time::timeout(self.limits.idle_timeout, read).await {
                Ok(n) => return Ok(n? > 0),
                Err(_) if in_flight.waiting() > 0 => continue,
                Err(_) => return Err(FrameError::Idle(self.limits.idle_timeout)),
            }
        }
    }

    fn ended<T>(&self) -> Result<Option<T>, FrameError> {
        match self.buffer.len() {
            0 => Ok(None),
            got => Err(FrameError::Half { got }),
        }
    }
}
