//! Counts one connection's requests that wait for an answer, and their bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// What one connection has in flight.
#[derive(Clone)]
pub(super) struct InFlight {
    counts: Arc<Counts>,
    bytes: Arc<Semaphore>,
    max_bytes: u32,
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
    counts: Arc<Counts>,
    arrived: bool,
    queued: bool,
}

impl InFlight {
    pub(super) fn new(max_bytes: usize) -> Self {
        let max_bytes = u32::try_from(max_bytes).unwrap_or(u32::MAX).max(1);
        Self { counts: Arc::default(), bytes: Arc::new(Semaphore::new(max_bytes as usize)), max_bytes }
    }

    /// Waits until a request of `length` bytes has room; one longer than the limit waits until it is alone.
    pub(super) async fn room_for(&self, length: usize) -> Permit {
        let share = u32::try_from(length).unwrap_or(u32::MAX).clamp(1, self.max_bytes);
        // The semaphore is never closed, so there is always a permit in the end.
        let bytes = self.bytes.clone().acquire_many_owned(share).await.ok();
        Permit { _bytes: bytes, counts: self.counts.clone(), arrived: false, queued: false }
    }

    /// Whether any request waits for its answer.
    pub(super) fn has_waiting(&self) -> bool {
        self.counts.waiting.load(Ordering::Relaxed) > 0
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
