//! The sending half of a dialed connection: what waits goes out in as few writes as possible. Decides nothing.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{MissedTickBehavior, interval};

use super::event::Lane;
use super::frame::Frame;
use super::node::Node;
use super::state::Peer;

/// Bytes taken from the queue for one write.
const MAX_WRITE: usize = 1 << 20;
/// Payloads up to this size are copied next to their headers; larger ones are written from where they lie.
const COPY_BELOW: usize = 16 * 1024;
const MAX_SLICES: usize = 64;

/// Runs until the connection fails, or ends cleanly after `Stopping`.
pub(super) async fn run<W: AsyncWrite + Unpin>(
    node: &Node,
    peer: &Peer,
    lane: Lane,
    to: &mut W,
) -> io::Result<()> {
    let queue = peer.queue(lane);
    let mut pings = interval(node.config.limits(lane).ping_interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::new();
    let mut scratch = BytesMut::new();
    loop {
        tokio::select! {
            biased;
            _ = pings.tick() => batch.push(Frame::Ping { hears_you: peer.is_heard() }),
            () = queue.ready() => {}
        }
        queue.take(&mut batch, MAX_WRITE);
        if batch.is_empty() {
            continue;
        }
        let (frames, last) = (batch.len(), batch.last() == Some(&Frame::Stopping));
        let mut chunks = encode(&mut batch, &mut scratch);
        let bytes = chunks.iter().map(Bytes::len).sum();
        write_all(to, &mut chunks).await?;
        node.counters.sent(lane, frames, bytes);
        if last {
            return to.shutdown().await;
        }
    }
}

fn encode(batch: &mut Vec<Frame>, scratch: &mut BytesMut) -> VecDeque<Bytes> {
    let mut chunks = VecDeque::new();
    for frame in batch.drain(..) {
        let payload = frame.encode_head(scratch);
        if payload.len() <= COPY_BELOW {
            scratch.extend_from_slice(&payload);
        } else {
            chunks.push_back(scratch.split().freeze());
            chunks.push_back(payload);
        }
    }
    if !scratch.is_empty() {
        chunks.push_back(scratch.split().freeze());
    }
    chunks
}

async fn write_all<W: AsyncWrite + Unpin>(to: &mut W, chunks: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !chunks.is_empty() {
        let slices: Vec<_> = chunks.iter().take(MAX_SLICES).map(|chunk| IoSlice::new(chunk)).collect();
        let mut written = to.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = chunks.front_mut() {
            if written < first.len() {
                first.advance(written);
                break;
            }
            written -= first.len();
            chunks.pop_front();
        }
    }
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::frame::FrameReader;

    #[tokio::test]
    async fn short_writes_lose_and_reorder_nothing() {
        let sizes = [0, 1, 100, COPY_BELOW, COPY_BELOW + 1, 3 * COPY_BELOW, 5];
        let frames: Vec<_> = sizes.iter().map(|&n| Frame::Message(Bytes::from(vec![n as u8; n]))).collect();
        let (mut tx, rx) = tokio::io::duplex(1000);
        let mut batch = frames.clone();
        let writer = tokio::spawn(async move {
            let mut chunks = encode(&mut batch, &mut BytesMut::new());
            write_all(&mut tx, &mut chunks).await
        });
        let mut reader = FrameReader::new(rx, 1 << 20);
        for expected in frames {
            assert_eq!(reader.next(|| ()).await.unwrap().0, expected);
        }
        writer.await.unwrap().unwrap();
    }
}
