//! The committed producer state as data, for snapshots and checkpoints. The container's checksum is not its business.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::ids::LogIndex;

use super::entry::{Batch, Entry, REMEMBERED};
use super::{ProducerLimits, ProducerState};

/// The version this build writes; it reads no other.
const VERSION: u16 = 1;

/// What the log up to `committed` says about its producers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProducerSnapshot {
    version: u16,
    committed: LogIndex,
    producers: Vec<ProducerRecord>,
}

/// One producer in a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProducerRecord {
    id: i64,
    batches: Vec<Batch>,
}

/// Why a snapshot was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Another build wrote it.
    #[error("producer snapshot version {found} is unknown, this build reads {VERSION}")]
    UnknownVersion {
        /// The version it has.
        found: u16,
    },
    /// It says something no log can say.
    #[error("producer snapshot: producer {id}: {what}")]
    Malformed {
        /// The producer at fault.
        id: i64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl ProducerSnapshot {
    /// The index up to which the log is in it.
    pub fn committed(&self) -> LogIndex {
        self.committed
    }
}

impl ProducerState {
    /// The committed part, by producer id; the uncommitted tail is left out.
    pub fn snapshot(&self) -> ProducerSnapshot {
        let settled = |entry: &Entry| {
            entry.batches.iter().copied().take_while(|b| b.index <= self.committed).collect::<Vec<_>>()
        };
        let records =
            self.producers.iter().map(|(id, entry)| ProducerRecord { id: *id, batches: settled(entry) });
        let producers = records.filter(|record| !record.batches.is_empty()).collect();
        ProducerSnapshot { version: VERSION, committed: self.committed, producers }
    }

    /// The state a snapshot holds; the log above it is then appended again.
    pub fn restore(snapshot: ProducerSnapshot, limits: ProducerLimits) -> Result<Self, SnapshotError> {
        if snapshot.version != VERSION {
            return Err(SnapshotError::UnknownVersion { found: snapshot.version });
        }
        let mut state = Self::new(limits);
        state.committed = snapshot.committed;
        state.last_index = snapshot.committed;
        for record in snapshot.producers {
            validate(&record, snapshot.committed)?;
            state.producers.insert(record.id, Entry { batches: VecDeque::from(record.batches) });
        }
        Ok(state)
    }
}

fn validate(record: &ProducerRecord, committed: LogIndex) -> Result<(), SnapshotError> {
    let malformed = |what| Err(SnapshotError::Malformed { id: record.id, what });
    if !(1..=REMEMBERED).contains(&record.batches.len()) {
        return malformed("it must have 1 to 5 batches");
    }
    if !record.batches.is_sorted_by_key(|b| b.index) || record.batches.iter().any(|b| b.index > committed) {
        return malformed("its batches must ascend up to the snapshot's index");
    }
    if record.batches.iter().any(|b| b.base_sequence < 0 || b.last_sequence < 0) {
        return malformed("a sequence must not be negative");
    }
    Ok(())
}
