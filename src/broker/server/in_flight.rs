//! Counts one connection's requests that wait for an answer, and their bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::memory::{Memory, Room};

/// What one connection has in flight.
#[derive(Clone)]
pub(super) struct InFlight {
    counts: Arc<Counts>,
    bytes: Arc<Semaphore>,
    max_bytes: u32,
    memory: Memory,
}

#[derive(Default)]
struct Counts {
    /// Requests that arrived and whose answer is not yet written.
    waiting: AtomicUsize,
    /// Those of them that begin only when all before them are answered.
    queued: AtomicUsize,
    fewer_queued: Notify,
}

/// A request's place in flight, given back when dropped.
pub(super) struct Permit {
    _bytes: Option<OwnedSemaphorePermit>,
    /// Its share of the broker's memory.
    memory: Option<Room>,
    counts: Arc<Counts>,
    arrived: bool,
    queued: bool,
}

impl InFlight {
    pub(super) fn new(max_bytes: usize, memory: Memory) -> Self {
        let max_bytes = u32::try_from(max_bytes).unwrap_or(u32::MAX).max(1);
        let bytes = Arc::new(Semaphore::new(max_bytes as usize));
        Self { counts: Arc::default(), bytes, max_bytes, memory }
    }

    /// Waits until a request of `length` bytes has room, among those of its connection and then among all; one longer
    /// than a limit waits until it is alone. What it waits for never waits for this connection to be read.
    pub(super) async fn room_for(&self, length: usize) -> Permit {
        let share = u32::try_from(length).unwrap_or(u32::MAX).clamp(1, self.max_bytes);
        // The semaphore is never closed, so there is always a permit in the end.
        let bytes = self.bytes.clone().acquire_many_owned(share).await.ok();
        let memory = Some(self.memory.room_for(length).await);
        Permit { _bytes: bytes, memory, counts: self.counts.clone(), arrived: false, queued: false }
    }

    /// How many requests wait for their answer.
    pub(super) fn waiting(&self) -> usize {
        self.counts.waiting.load(Ordering::Relaxed)
    }

    /// Waits until no request is queued behind another.
    pub(super) async fn none_queued(&self) {
        loop {
            let fewer = self.counts.fewer_queued.notified();
            if self.counts.queued.load(Ordering::Acquire) == 0 {
                return;
            }
            fewer.await;
        }
    }
}

impl Permit {
    /// Marks the request as read to its last byte: from now on its answer is awaited.
    pub(super) fn arrive(&mut self) {
        self.arrived = true;
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// The request is carried out: only its answer is kept.
    pub(super) fn carried_out(&mut self) {
        self.memory = None;
    }

    /// Marks the request as one that begins only when all before it are answered.
    pub(super) fn queue(&mut self) {
        self.queued = true;
        self.counts.queued.fetch_add(1, Ordering::Release);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.arrived {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        if self.queued {
            self.counts.queued.fetch_sub(1, Ordering::Release);
            self.counts.fewer_queued.notify_waiters();
        }
    }
}
