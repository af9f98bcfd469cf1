//! One connection: requests are started in the order they arrive and answered in that order.
//!
//! A reader and a writer share one task. The reader starts what may start at once (Produce); everything else begins
//! when the writer gets to it, after all answers before it, so that a client sees the effects of its own requests.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::ServerSettings;
use super::context::{Principal, RequestContext};
use super::dispatch::{After, Refusal, Reply, Work, dispatch};
use super::frame::{FrameError, FrameLimits, Frames};
use super::in_flight::{InFlight, Permit};
use super::memory::{Memory, Room};
use super::stream::Stream;
use super::wire::RequestHead;
use crate::handlers::Handlers;
use crate::metrics::Timed;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client closed it")]
    Client,
    #[error("it was told to stop")]
    Stopped,
    #[error("{0}")]
    Answered(&'static str),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("write: {0}")]
    Write(io::Error),
    #[error("the client took no answer for {0:?}")]
    NotRead(Duration),
    #[error(
        "the client took {taken} bytes of an answer of {length} in {time:?}, and others waited for the memory"
    )]
    ReadSlowly { taken: usize, length: usize, time: Duration },
}

/// A client that takes its answer more slowly than this many bytes a second, after all patience, gives up its place if
/// others need it.
const SLOW: u64 = 1 << 20;

/// What a connection needs to know.
pub(super) struct Connection {
    pub(super) listener: Arc<str>,
    pub(super) peer: SocketAddr,
    pub(super) handlers: Arc<Handlers>,
    pub(super) settings: Arc<ServerSettings>,
    pub(super) memory: Memory,
    /// Cancelled: no further request is read.
    pub(super) stop: CancellationToken,
}

struct Pending {
    work: Work,
    permit: Permit,
    timed: Timed,
}

impl Connection {
    /// Serves until an end, then gives the answers still owed a little time.
    pub(super) async fn serve<S: Stream>(self, stream: S) -> End {
        let (read, write) = tokio::io::split(stream);
        let (queue, pending) = mpsc::channel(self.settings.max_in_flight_requests.max(1));
        let in_flight = InFlight::new(self.settings.max_in_flight_bytes, self.memory.clone());
        let reader = self.read(read, queue, &in_flight);
        let mut writer = pin!(self.write(write, pending, &in_flight));
        tokio::select! {
            end = reader => match timeout(self.settings.drain_timeout, writer).await {
                Ok(Err(failed)) => failed,
                Ok(Ok(())) | Err(_) => end,
            },
            ended = &mut writer => ended.err().unwrap_or(End::Stopped),
        }
    }

    /// Reads and starts requests. Dropping `queue` at its end lets the writer finish.
    async fn read<R: AsyncRead + Unpin>(
        &self,
        read: R,
        queue: mpsc::Sender<Pending>,
        in_flight: &InFlight,
    ) -> End {
        match self.stop.run_until_cancelled(self.read_all(read, queue, in_flight)).await {
            Some(end) => end,
            None => End::Stopped,
        }
    }

    async fn read_all<R: AsyncRead + Unpin>(
        &self,
        read: R,
        queue: mpsc::Sender<Pending>,
        in_flight: &InFlight,
    ) -> End {
        let limits = FrameLimits {
            max_request_bytes: self.settings.max_request_bytes,
            idle_timeout: self.settings.idle_timeout,
            patience: self.settings.patience,
        };
        let mut frames = Frames::new(read, limits);
        loop {
            let (frame, permit) = match frames.next(in_flight).await {
                Ok(Some(next)) => next,
                Ok(None) => return End::Client,
                Err(error) => return error.into(),
            };
            match self.start(frame, permit, in_flight).await {
                Ok(pending) => {
                    if queue.send(pending).await.is_err() {
                        return End::Stopped;
                    }
                }
                Err(refusal) => return refusal.into(),
            }
        }
    }

    async fn start(
        &self,
        mut frame: Bytes,
        mut permit: Permit,
        in_flight: &InFlight,
    ) -> Result<Pending, Refusal> {
        let bytes = frame.len();
        let head = RequestHead::split_from(&mut frame)?;
        if head.api_key == ApiKey::Produce as i16 {
            in_flight.none_queued().await;
        }
        let (work, wait, timed) = dispatch(&self.handlers, self.context(head, bytes), frame)?;
        if matches!(work, Work::Queued(_)) {
            permit.queue();
        }
        if !wait.is_zero() {
            sleep(wait).await;
        }
        Ok(Pending { work, permit, timed })
    }

    fn context(&self, head: RequestHead, bytes: usize) -> RequestContext {
        RequestContext {
            listener: self.listener.clone(),
            peer: self.peer,
            principal: Principal::Anonymous,
            client_id: head.client_id,
            api_key: head.api_key,
            api_version: head.api_version,
            correlation_id: head.correlation_id,
            bytes,
        }
    }

    /// Awaits and writes answers in order, until there are no more requests.
    async fn write<W: AsyncWrite + Unpin>(
        &self,
        mut write: W,
        mut pending: mpsc::Receiver<Pending>,
        in_flight: &InFlight,
    ) -> Result<(), End> {
        let mut closing = Closing { at: None, stop: &self.stop };
        while let Some(Pending { work, mut permit, timed }) = closing.during(pending.recv()).await {
            let (Work::Started(work) | Work::Queued(work)) = work;
            let Reply { frame, room, after } = closing.during(work).await;
            timed.done(frame.as_ref().map_or(0, Bytes::len));
            if let Some(frame) = frame {
                // The request keeps its own room until its answer has some: what waits here is bounded by that.
                let _room = closing.during(self.room_for(&frame, room)).await;
                permit.carried_out();
                self.write_frame(&mut write, &frame, in_flight).await?;
            }
            drop(permit);
            match after {
                After::Continue => {}
                After::Close(reason) => return Err(End::Answered(reason)),
                After::CloseIn(time) => closing.begin(time),
            }
        }
        Ok(())
    }

    async fn room_for(&self, frame: &Bytes, room: Option<Room>) -> Room {
        match room {
            Some(mut room) => {
                room.shrink_to(frame.len());
                room
            }
            None => self.handlers.answers.room_for(frame.len()).await,
        }
    }

    /// A client may rest before it takes its answer, unless other requests of its own, or other clients, need the memory
    /// meanwhile.
    async fn write_frame<W: AsyncWrite + Unpin>(
        &self,
        write: &mut W,
        frame: &Bytes,
        in_flight: &InFlight,
    ) -> Result<(), End> {
        let (idle, patience) = (self.settings.idle_timeout, self.settings.patience);
        let began = Instant::now();
        let due = patience + Duration::from_secs(frame.len() as u64 / SLOW);
        let (mut rest, mut taken) = (&frame[..], began);
        while !rest.is_empty() {
            match timeout(patience.min(idle), write.write(rest)).await {
                Ok(Ok(0)) => return Err(End::Write(io::ErrorKind::WriteZero.into())),
                Ok(Ok(n)) => (rest, taken) = (&rest[n..], Instant::now()),
                Ok(Err(error)) => return Err(End::Write(error)),
                Err(_) if in_flight.waiting() > 1 || taken.elapsed() >= idle => {
                    return Err(End::NotRead(taken.elapsed()));
                }
                Err(_) => {}
            }
            if began.elapsed() >= due && !rest.is_empty() && self.handlers.answers.is_short() {
                let (taken, length) = (frame.len() - rest.len(), frame.len());
                return Err(End::ReadSlowly { taken, length, time: began.elapsed() });
            }
        }
        Ok(())
    }
}

/// A connection's appointed end: reading stops when it is due, whatever the writer waits for.
struct Closing<'a> {
    at: Option<Pin<Box<Sleep>>>,
    stop: &'a CancellationToken,
}

impl Closing<'_> {
    /// Sets the end, unless one is set.
    fn begin(&mut self, time: Duration) {
        if self.at.is_none() && !self.stop.is_cancelled() {
            self.at = Some(Box::pin(sleep(time)));
        }
    }

    async fn during<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        if let Some(at) = &mut self.at {
            tokio::select! {
                done = &mut work => return done,
                () = at => {}
            }
            self.at = None;
            self.stop.cancel();
        }
        work.await
    }
}
