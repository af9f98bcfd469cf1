//! Where the leader's end was, and when: a bounded history that answers "since when is this position behind?".
//! It knows nothing of followers.
//!
//! Appends that fall into one slot of time (a hundredth of the window, at least 1 ms) share a sample, which remembers
//! the first and the last append in it. Both questions are rounded to one side, by less than a slot:
//! - `behind_since` answers with the sample's first append: a lag in time is never understated.
//! - `end_at_or_before` counts a sample only when its last append had happened: a lag in records is never overstated.
//!   At 500,000 records a second a slot of 100 ms holds 50,000, five times the limit; rounded the other way, a healthy
//!   follower would be thrown out.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::ids::{LogIndex, Offset};

/// A position in a partition's log: the entry, and the offset of the first record after it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// Raft index of the last entry that is included; 0 for none.
    pub index: LogIndex,
    /// The next offset after that entry. Entries without records do not move it.
    pub offset: Offset,
}

/// Slots the window is divided into: what a busy partition's history costs (32 bytes each).
const SLOTS: u64 = 100;

/// Never more samples than this, whatever happens to the window.
const MAX_SAMPLES: usize = 2 * SLOTS as usize;

#[derive(Clone, Copy, Debug)]
struct Sample {
    first_ms: u64,
    last_ms: u64,
    end: Position,
}

/// What the history can say about a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Behind {
    /// It has all that the leader has.
    Nothing,
    /// The leader's end moved past it at this time.
    Since(u64),
    /// The leader's end moved past it longer ago than the history goes back.
    Forgotten,
}

/// The leader's end over the last `window_ms`. Always holds at least one sample, and an idle partition no more.
#[derive(Clone, Debug)]
pub(super) struct EndHistory {
    window_ms: u64,
    samples: VecDeque<Sample>,
    /// Positions below this index are older than the oldest sample.
    forgotten_below: LogIndex,
}

impl EndHistory {
    pub(super) fn new(end: Position, now_ms: u64, window_ms: u64) -> Self {
        let first = Sample { first_ms: now_ms, last_ms: now_ms, end };
        Self { window_ms, samples: VecDeque::from([first]), forgotten_below: 0 }
    }

    pub(super) fn set_window(&mut self, window_ms: u64) {
        self.window_ms = window_ms;
    }

    pub(super) fn end(&self) -> Position {
        self.newest().end
    }

    /// The leader's end moved; one that does not move forward changes nothing.
    pub(super) fn record(&mut self, end: Position, now_ms: u64) {
        let slot_ms = (self.window_ms / SLOTS).max(1);
        let newest = self.samples.back_mut().expect("the history holds at least one sample");
        if end.index <= newest.end.index {
            return;
        }
        if now_ms - newest.first_ms < slot_ms {
            newest.last_ms = now_ms;
            newest.end = end;
            return;
        }
        self.samples.push_back(Sample { first_ms: now_ms, last_ms: now_ms, end });
        self.prune(now_ms);
    }

    /// Forgets what lies before the window, except the newest of it: that was the end when the window began.
    pub(super) fn prune(&mut self, now_ms: u64) {
        let window_ms = self.window_ms;
        let too_old = |s: &Sample| s.last_ms.saturating_add(window_ms) < now_ms;
        while self.samples.len() > MAX_SAMPLES || self.samples.get(1).is_some_and(too_old) {
            let gone = self.samples.pop_front().expect("more than one sample");
            self.forgotten_below = gone.end.index;
        }
        if self.samples.len() == 1 && self.samples.capacity() > 8 {
            self.samples.shrink_to(1);
        }
    }

    /// Since when a replica that has synced up to `index` lacks something the leader has.
    pub(super) fn behind_since(&self, index: LogIndex) -> Behind {
        if index >= self.newest().end.index {
            return Behind::Nothing;
        }
        if index < self.forgotten_below {
            return Behind::Forgotten;
        }
        let at = self.samples.partition_point(|s| s.end.index <= index);
        Behind::Since(self.samples[at].first_ms)
    }

    /// The leader's end at `ms`, or up to a slot before; `None` if the history does not go back so far.
    pub(super) fn end_at_or_before(&self, ms: u64) -> Option<Position> {
        let after = self.samples.partition_point(|s| s.last_ms <= ms);
        after.checked_sub(1).map(|at| self.samples[at].end)
    }

    #[cfg(test)]
    pub(super) fn samples(&self) -> usize {
        self.samples.len()
    }

    fn newest(&self) -> &Sample {
        self.samples.back().expect("the history holds at least one sample")
    }
}
