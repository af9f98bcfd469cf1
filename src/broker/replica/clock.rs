//! The only door to time for log, quorum and replica. Gives a monotonic and a wall clock, both in milliseconds.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// An instant as both clocks show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Milliseconds since some fixed moment of this process; never goes back.
    pub ms: u64,
    /// Milliseconds since 1970, for people; may jump.
    pub unix_ms: u64,
}

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Now;
}

/// The machine's clocks.
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { ms: millis(self.started.elapsed().as_millis()), unix_ms: millis(unix.as_millis()) }
    }
}

fn millis(ms: u128) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}
