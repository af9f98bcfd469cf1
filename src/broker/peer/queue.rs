//! What waits for one connection: bounded by bytes and count. Knows no sockets.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::config::LaneLimits;
use super::frame::{Frame, HEADER};

/// Why a frame was not queued.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PushError {
    Closed,
    Full,
    TooLarge { size: usize, max: usize },
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// The largest payload the other side takes; `None` while there is no connection.
    open: Option<usize>,
}

pub(super) struct SendQueue {
    limits: LaneLimits,
    state: Mutex<State>,
    ready: Notify,
}

impl SendQueue {
    pub(super) fn new(limits: LaneLimits) -> Self {
        Self { limits, state: Mutex::default(), ready: Notify::new() }
    }

    /// A connection is there; `max_frame` is what its acceptor takes.
    pub(super) fn open(&self, max_frame: usize) {
        let mut state = self.state.lock();
        *state = State { open: Some(max_frame.min(self.limits.max_frame)), ..State::default() };
    }

    /// The connection is gone, and with it what waited: returns how many frames.
    pub(super) fn close(&self) -> usize {
        std::mem::take(&mut *self.state.lock()).frames.len()
    }

    pub(super) fn push(&self, frame: Frame) -> Result<(), PushError> {
        let mut state = self.state.lock();
        let max = state.open.ok_or(PushError::Closed)?;
        let size = frame.payload_len();
        if size > max {
            return Err(PushError::TooLarge { size, max });
        }
        if state.frames.len() >= self.limits.queue_frames || state.bytes + size > self.limits.queue_bytes {
            return Err(PushError::Full);
        }
        state.bytes += size;
        state.frames.push_back(frame);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Puts a frame behind what waits, bound or not: for the transport's own few words.
    pub(super) fn push_own(&self, frame: Frame) {
        debug_assert_eq!(frame.payload_len(), 0);
        let mut state = self.state.lock();
        if state.open.is_some() {
            state.frames.push_back(frame);
            self.ready.notify_one();
        }
    }

    /// Moves what fits into one write to `batch`; at least one frame when any waits.
    pub(super) fn take(&self, batch: &mut Vec<Frame>, max_bytes: usize) {
        let mut state = self.state.lock();
        let mut taken = 0;
        while let Some(frame) = state.frames.front() {
            let size = frame.payload_len();
            if taken > 0 && taken + size > max_bytes {
                break;
            }
            taken += HEADER + size;
            state.bytes -= size;
            batch.extend(state.frames.pop_front());
        }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Waits until something may have been pushed since the last `take`.
    pub(super) async fn ready(&self) {
        if self.state.lock().frames.is_empty() {
            self.ready.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::time::Duration;

    fn message(size: usize) -> Frame {
        Frame::Message(Bytes::from(vec![0; size]))
    }

    fn queue() -> SendQueue {
        let ping_interval = Duration::from_secs(1);
        SendQueue::new(LaneLimits { max_frame: 60, queue_bytes: 100, queue_frames: 3, ping_interval })
    }

    #[test]
    fn bounds_hold_by_bytes_by_count_and_by_the_other_sides_frame() {
        let queue = queue();
        assert_eq!(queue.push(message(1)), Err(PushError::Closed));
        queue.open(50);
        assert_eq!(queue.push(message(51)), Err(PushError::TooLarge { size: 51, max: 50 }));
        queue.push(message(50)).unwrap();
        queue.push(message(50)).unwrap();
        assert_eq!(queue.push(message(1)), Err(PushError::Full));
        queue.push(message(0)).unwrap();
        assert_eq!(queue.push(message(0)), Err(PushError::Full));
        let mut batch = Vec::new();
        queue.take(&mut batch, 60);
        assert_eq!(batch, [message(50)]);
        queue.push(message(1)).unwrap();
        assert_eq!(queue.close(), 3);
        assert_eq!(queue.push(message(1)), Err(PushError::Closed));
    }

    #[test]
    fn one_write_takes_many_small_frames() {
        let queue = queue();
        queue.open(50);
        (0..3).for_each(|_| queue.push(message(10)).unwrap());
        let mut batch = Vec::new();
        queue.take(&mut batch, 1 << 20);
        assert_eq!(batch.len(), 3);
        queue.take(&mut batch, 1 << 20);
        assert_eq!(batch.len(), 3);
    }
}
