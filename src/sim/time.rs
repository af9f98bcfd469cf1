//! Virtual time, and what a broker's clocks make of it: a monotonic clock that drifts, a wall clock that also jumps.

use std::sync::atomic::{AtomicU64, Ordering};

use chronik_broker::replica::{Clock, Now};

/// True time since the run began, in microseconds.
pub type Micros = u64;

/// Milliseconds as true time.
pub const MS: Micros = 1_000;
/// Seconds as true time.
pub const SECOND: Micros = 1_000_000;

/// 2026-01-01, in Unix milliseconds: when every run begins.
const BEGINNING_UNIX_MS: i64 = 1_767_225_600_000;

/// The clocks of one machine.
#[derive(Clone, Debug)]
pub struct MachineClock {
    /// True time at which the rate last changed, and what the monotonic clock showed then.
    since: Micros,
    shown: Micros,
    /// Millionths by which it runs too fast.
    drift_ppm: i64,
    wall_offset_ms: i64,
}

impl MachineClock {
    /// Clocks that run at this rate and whose wall clock is off by so much.
    pub fn new(drift_ppm: i64, wall_offset_ms: i64) -> Self {
        Self { since: 0, shown: 0, drift_ppm, wall_offset_ms }
    }

    /// Both clocks at a true time.
    pub fn at(&self, now: Micros) -> Now {
        let ms = self.monotonic(now) / MS;
        let unix_ms = BEGINNING_UNIX_MS + ms as i64 + self.wall_offset_ms;
        Now { ms, unix_ms: u64::try_from(unix_ms).unwrap_or(0) }
    }

    fn monotonic(&self, now: Micros) -> Micros {
        let passed = (now - self.since) as i64;
        self.shown + (passed + passed * self.drift_ppm / 1_000_000) as u64
    }

    /// The true time it takes for the monotonic clock to move by `local`.
    pub fn lasts(&self, local: Micros) -> Micros {
        (local as i64 * 1_000_000 / (1_000_000 + self.drift_ppm)) as u64
    }

    /// The wall clock jumps.
    pub fn jump(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }

    /// The monotonic clock runs at another rate from now on.
    pub fn drift(&mut self, now: Micros, drift_ppm: i64) {
        (self.shown, self.since, self.drift_ppm) = (self.monotonic(now), now, drift_ppm);
    }
}

/// What a process asks for the time: set before each of its steps.
#[derive(Default)]
pub struct ProcessClock {
    ms: AtomicU64,
    unix_ms: AtomicU64,
}

impl ProcessClock {
    /// Shows this time from now on.
    pub fn set(&self, now: Now) {
        self.ms.store(now.ms, Ordering::Relaxed);
        self.unix_ms.store(now.unix_ms, Ordering::Relaxed);
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> Now {
        Now { ms: self.ms.load(Ordering::Relaxed), unix_ms: self.unix_ms.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_gains_and_never_goes_back_when_its_rate_changes() {
        let mut clock = MachineClock::new(100_000, 0);
        assert_eq!(clock.at(10 * SECOND).ms, 11_000);
        clock.drift(10 * SECOND, -100_000);
        assert_eq!(clock.at(10 * SECOND).ms, 11_000);
        assert_eq!(clock.at(20 * SECOND).ms, 20_000);
        clock.jump(-5_000);
        assert_eq!(clock.at(20 * SECOND).ms, 20_000, "only the wall clock jumps");
        assert_eq!(clock.at(20 * SECOND).unix_ms, 1_767_225_600_000 + 15_000);
        assert!((clock.lasts(9 * SECOND) as i64 - 10 * SECOND as i64).abs() < 2);
    }
}
