//! What is written: how many batches of which size wait at once, or come in each second. No I/O.

use std::time::Duration;

/// How batches come.
pub enum Pace {
    /// Each partition has one batch on its way at any time, five at least in all: as many as producers wait for.
    Closed,
    /// So many in a second, over the partitions in turn, whether the earlier ones are done or not.
    Open { per_second: u32 },
}

/// One kind of load.
pub struct Load {
    pub title: &'static str,
    pub batch_bytes: usize,
    pub pace: Pace,
}

/// The two questions: how much fits through, and how long a few small batches take.
pub const LOADS: [Load; 2] = [
    Load {
        title: "Full speed: batches of 16 KiB, one on its way for each partition (five at least)",
        batch_bytes: 16 << 10,
        pace: Pace::Closed,
    },
    Load {
        title: "Steady: 2,000 batches of 1 KiB per second over all partitions",
        batch_bytes: 1 << 10,
        pace: Pace::Open { per_second: 2_000 },
    },
];

impl Load {
    /// Batches on their way at the start.
    pub fn at_start(&self, partitions: usize) -> usize {
        match self.pace {
            Pace::Closed => partitions.max(5),
            Pace::Open { .. } => 0,
        }
    }

    /// Time between two batches, if time decides when they come.
    pub fn interval(&self) -> Option<Duration> {
        match self.pace {
            Pace::Closed => None,
            Pace::Open { per_second } => Some(Duration::from_secs(1) / per_second),
        }
    }
}
