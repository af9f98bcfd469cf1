//! Memory that all connections share: one for requests, one for answers. A request has room before its bytes are read and
//! until it is carried out, an answer before it is made and until it is written.
//!
//! Whoever finds no room waits in line, and reads nothing meanwhile. Small requests and answers have a share of their own,
//! so that large ones do not keep them waiting. One that is larger than its share takes all of it: it waits until it is
//! alone, and then it fits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::MemoryMetrics;

/// Bytes are counted in these: a semaphore counts to 2^32 in one go.
const UNIT: usize = 1024;
/// Requests up to this length are small, if so many fit into the small share.
const SMALL: usize = 64 * 1024;
/// The small share is one part in so many.
const SHARES: usize = 8;
/// An answer that may be shorter takes no more than one part in so many of what is left: some is left for the next one.
const PARTS: usize = 4;

/// All of the memory.
#[derive(Clone)]
pub(crate) struct Memory {
    small: Share,
    large: Share,
    metrics: MemoryMetrics,
}

#[derive(Clone)]
struct Share {
    room: Arc<Semaphore>,
    units: u32,
    /// Who waits in line for it.
    waiting: Arc<AtomicUsize>,
}

/// Room that was taken, given back when dropped.
pub(crate) struct Room {
    units: Option<OwnedSemaphorePermit>,
    bytes: usize,
    metrics: MemoryMetrics,
}

impl Memory {
    pub(crate) fn new(bytes: usize, metrics: MemoryMetrics) -> Self {
        let small = bytes / SHARES;
        Self { small: Share::new(small), large: Share::new(bytes - small), metrics }
    }

    /// Waits for room for `length` bytes.
    pub(crate) async fn room_for(&self, length: usize) -> Room {
        let units = self.share_of(length).take(length, &self.metrics).await;
        self.taken(units, length)
    }

    /// Waits for room for `least` bytes, and takes it for up to `wanted` while much is left.
    pub(crate) async fn room_for_up_to(&self, wanted: usize, least: usize) -> Room {
        let share = self.share_of(wanted);
        let granted = wanted.min(least.max(share.left() / PARTS));
        match share.try_take(granted) {
            Some(units) => self.taken(Some(units), granted),
            None => self.room_for(least.min(wanted)).await,
        }
    }

    /// Whether somebody waits in line.
    pub(crate) fn is_short(&self) -> bool {
        [&self.small, &self.large].iter().any(|share| share.waiting.load(Ordering::Relaxed) > 0)
    }

    fn share_of(&self, length: usize) -> &Share {
        let fits_often = self.small.units as usize * UNIT / SHARES;
        if length <= SMALL.min(fits_often) { &self.small } else { &self.large }
    }

    fn taken(&self, units: Option<OwnedSemaphorePermit>, bytes: usize) -> Room {
        self.metrics.taken.add(gauge(bytes));
        Room { units, bytes, metrics: self.metrics.clone() }
    }
}

impl Share {
    fn new(bytes: usize) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Self { room: Arc::new(Semaphore::new(units as usize)), units, waiting: Arc::default() }
    }

    fn left(&self) -> usize {
        self.room.available_permits() * UNIT
    }

    fn units_of(&self, length: usize) -> u32 {
        units(length).clamp(1, self.units)
    }

    fn try_take(&self, length: usize) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_many_owned(self.units_of(length)).ok()
    }

    async fn take(&self, length: usize, metrics: &MemoryMetrics) -> Option<OwnedSemaphorePermit> {
        if let Some(room) = self.try_take(length) {
            return Some(room);
        }
        metrics.waits.inc();
        let _waiting = Waiting::on(&self.waiting);
        // In the order of arrival. The semaphore is never closed, so there is always room in the end.
        self.room.clone().acquire_many_owned(self.units_of(length)).await.ok()
    }
}

/// One in line, also if it gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn on(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Room {
    /// How much it is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is more than `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let Some(less) = self.bytes.checked_sub(bytes) else { return };
        self.metrics.taken.sub(gauge(less));
        self.bytes = bytes;
        if let Some(room) = &mut self.units {
            let spare = room.num_permits().saturating_sub(units(bytes).max(1) as usize);
            drop(room.split(spare));
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.metrics.taken.sub(gauge(self.bytes));
    }
}

fn units(length: usize) -> u32 {
    u32::try_from(length.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

fn gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
