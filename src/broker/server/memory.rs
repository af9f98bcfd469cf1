//! The memory that requests may take, over all connections: a request has room before its bytes are read, and until it
//! is carried out.
//!
//! Whoever finds no room waits in line, and reads nothing meanwhile. Small requests have a share of their own, so that
//! those who announce large ones do not keep them waiting. A request larger than its share takes all of it: it waits
//! until it is alone, and then it fits.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::MemoryMetrics;

/// Bytes are counted in these: a semaphore counts to 2^32 in one go.
const UNIT: usize = 1024;
/// Requests up to this length are small, if so many fit into the small share.
const SMALL: usize = 64 * 1024;
/// The small share is one part in so many.
const SHARES: usize = 8;

/// All of the memory.
#[derive(Clone)]
pub(super) struct Memory {
    small: Share,
    large: Share,
    metrics: MemoryMetrics,
}

#[derive(Clone)]
struct Share {
    room: Arc<Semaphore>,
    units: u32,
}

/// A request's room, given back when dropped.
pub(super) struct Room {
    _units: Option<OwnedSemaphorePermit>,
    bytes: i64,
    metrics: MemoryMetrics,
}

impl Memory {
    pub(super) fn new(bytes: usize, metrics: MemoryMetrics) -> Self {
        let small = bytes / SHARES;
        Self { small: Share::new(small), large: Share::new(bytes - small), metrics }
    }

    /// Waits until a request of `length` bytes has room.
    pub(super) async fn room_for(&self, length: usize) -> Room {
        let fits_often = self.small.units as usize * UNIT / SHARES;
        let share = if length <= SMALL.min(fits_often) { &self.small } else { &self.large };
        let units = share.take(length, &self.metrics).await;
        let bytes = i64::try_from(length).unwrap_or(i64::MAX);
        self.metrics.taken.add(bytes);
        Room { _units: units, bytes, metrics: self.metrics.clone() }
    }
}

impl Share {
    fn new(bytes: usize) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Self { room: Arc::new(Semaphore::new(units as usize)), units }
    }

    async fn take(&self, length: usize, metrics: &MemoryMetrics) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(length.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units);
        if let Ok(room) = self.room.clone().try_acquire_many_owned(units) {
            return Some(room);
        }
        metrics.waits.inc();
        // In the order of arrival. The semaphore is never closed, so there is always room in the end.
        self.room.clone().acquire_many_owned(units).await.ok()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.metrics.taken.sub(self.bytes);
    }
}
