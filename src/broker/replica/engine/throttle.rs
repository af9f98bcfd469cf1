//! How fast learners are fed: bytes per second, all learners of this broker's groups together. Time is an argument.

use crate::quorum::{Group, Outgoing};

/// A bucket that fills with time and holds at most a second's worth.
pub(super) struct Throttle {
    bytes_per_second: u64,
    room: i64,
    filled_ms: u64,
}

impl Throttle {
    /// Full; without a limit if `bytes_per_second` is 0.
    pub(super) fn new(bytes_per_second: u64, now_ms: u64) -> Self {
        Self { bytes_per_second, room: signed(bytes_per_second), filled_ms: now_ms }
    }

    /// Whether a message may go. One that may not is lost to raft, which sends it again with a later heartbeat.
    pub(super) fn admits(&mut self, group: &Group, message: &Outgoing, now_ms: u64) -> bool {
        self.bytes_per_second == 0 || self.take(learner_bytes(group, message), now_ms)
    }

    /// A message larger than what is left may still go, and the next ones wait the longer.
    fn take(&mut self, bytes: usize, now_ms: u64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.filled_ms);
        let gained = self.bytes_per_second.saturating_mul(passed_ms) / 1_000;
        if gained > 0 {
            self.room = self.room.saturating_add(signed(gained)).min(signed(self.bytes_per_second));
            self.filled_ms = now_ms;
        }
        let admitted = bytes == 0 || self.room > 0;
        if admitted {
            self.room = self.room.saturating_sub(signed(bytes as u64));
        }
        admitted
    }
}

/// Bytes of entries for a learner; 0 for all other messages.
pub(super) fn learner_bytes(group: &Group, message: &Outgoing) -> usize {
    let counts = message.message.is_append() && group.is_learner(message.to);
    if counts { message.message.entry_bytes() } else { 0 }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_passes_than_the_limit_and_one_message() {
        let mut throttle = Throttle::new(1_000_000, 0);
        let mut passed = 0;
        for now_ms in 0..10_000 {
            if throttle.take(300_000, now_ms) {
                passed += 300_000;
            }
        }
        assert!((9_000_000..=11_300_000).contains(&passed), "{passed}");
    }

    #[test]
    fn an_empty_message_always_passes() {
        let mut throttle = Throttle::new(1, 0);
        assert!(throttle.take(1_000, 0));
        assert!(!throttle.take(1, 1));
        assert!(throttle.take(0, 1), "it is how a leader asks where a learner is");
    }
}
