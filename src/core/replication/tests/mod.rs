//! Tests of the replication rules, and what they share.

mod high_watermark;
mod history;
mod isr_cases;
mod isr_properties;
mod isr_seed;
mod producer_cases;
mod producer_properties;
mod transcript;

use crate::ids::{LogIndex, Offset, ReplicaId};

use super::isr::{IsrConfig, IsrTracker, Leadership};
use super::{IsrSet, Position};

const ONE: ReplicaId = ReplicaId(1);
const TWO: ReplicaId = ReplicaId(2);
const THREE: ReplicaId = ReplicaId(3);
const ALL: [ReplicaId; 3] = [ONE, TWO, THREE];

fn at(index: LogIndex, offset: Offset) -> Position {
    Position { index, offset }
}

/// One record per entry, the commonest case in these tests.
fn entry(index: LogIndex) -> Position {
    at(index, Offset::try_from(index).unwrap())
}

fn set(replicas: &[u64]) -> IsrSet {
    IsrSet::new(replicas.iter().map(|id| ReplicaId(*id)))
}

/// Replica 1 leads 2 and 3 from `end` on, at time 0, all of them alive and known in sync.
fn leading(config: IsrConfig, end: Position) -> IsrTracker {
    let start = Leadership {
        leader: ONE,
        voters: &ALL,
        last_known_isr: &ALL,
        alive: &ALL,
        end,
        epoch_start: 0,
        high_watermark: 0,
    };
    IsrTracker::initialize(config, start, 0)
}

/// The same, and both followers have already answered that they have everything.
fn in_sync(config: IsrConfig, end: Position) -> IsrTracker {
    let mut tracker = leading(config, end);
    tracker.follower_synced(TWO, end, 0);
    tracker.follower_synced(THREE, end, 0);
    assert!(!tracker.is_provisional());
    tracker
}
