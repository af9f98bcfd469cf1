//! The cluster's metadata as a stopped broker's disk holds it. Reads only.

use chronik_core::ids::{ClusterId, Generation, GroupId, LogIndex};
use chronik_core::metadata::{ClusterState, Command, DecodeError, SnapshotError};

use crate::log::{EntryKind, ReadError, RecoveredGroup};

/// Payload bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Why an entry cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// It cannot be read.
    #[error("read metadata entry {index}: {source}")]
    Read {
        /// The entry.
        index: LogIndex,
        /// Why.
        source: ReadError,
    },
    /// What stands for the entries before the log's start cannot be used.
    #[error("metadata before entry {index}: {source}")]
    Snapshot {
        /// Where the log begins.
        index: LogIndex,
        /// Why.
        source: SnapshotError,
    },
    /// It is none that this build knows.
    #[error("metadata entry {index}: {source}")]
    Command {
        /// The entry.
        index: LogIndex,
        /// Why.
        source: DecodeError,
    },
}

/// The metadata group's replica, if the disk holds one.
pub fn replica(groups: &[RecoveredGroup]) -> Option<&RecoveredGroup> {
    groups.iter().find(|group| group.group == GroupId::METADATA)
}

/// The last entry that the disk knows to be committed.
pub fn committed(group: &RecoveredGroup) -> LogIndex {
    group.state.commit.min(group.log.last_index())
}

/// The last command of those that the disk knows to be committed; 0 if there is none.
pub fn last_command(group: &RecoveredGroup) -> LogIndex {
    let is_command =
        |index: &LogIndex| group.log.meta(*index).is_some_and(|meta| meta.kind == EntryKind::Command);
    let held = (group.log.first_index()..=committed(group)).rev().find(is_command);
    let before = || beginning(group).ok().flatten().map_or(0, |state| state.applied());
    held.unwrap_or_else(before)
}

/// The state that stands for what came before the log's start, if anything did.
pub fn beginning(group: &RecoveredGroup) -> Result<Option<ClusterState>, StoredError> {
    let index = group.log.first_index();
    let read = (index > 1).then(|| ClusterState::from_snapshot(&group.snapshot));
    read.transpose().map_err(|source| StoredError::Snapshot { index, source })
}

/// Which history of the metadata the replica holds: that of the last recovery in its log, or the one it began with. A
/// recovery is never undone, so that it counts also where its commit is not known.
pub fn generation(group: &RecoveredGroup) -> Result<Generation, StoredError> {
    let before = beginning(group)?.map_or(Generation::BIRTH, |state| state.generation());
    let begun = group.header.generation;
    let mut generation = if before.number > begun.number { before } else { begun };
    let end = group.log.last_index() + 1;
    let mut next = group.log.first_index();
    while next < end {
        let read = group.log.entries(next, end, CHUNK_BYTES);
        let entries = read.map_err(|source| StoredError::Read { index: next, source })?;
        let Some(last) = entries.last() else { break };
        next = last.index + 1;
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Command) {
            if Command::is_recovery(&entry.payload) {
                match Command::decode(&entry.payload) {
                    Ok(Command::RecoverMetadata(done)) => generation = done.generation,
                    Ok(_) => {}
                    Err(source) => return Err(StoredError::Command { index: entry.index, source }),
                }
            }
        }
    }
    Ok(generation)
}

/// The state after entry `last`, and what kept it from getting there.
pub fn replay(
    group: &RecoveredGroup,
    cluster: &ClusterId,
    last: LogIndex,
) -> (ClusterState, Option<StoredError>) {
    let mut state = match beginning(group) {
        Ok(state) => state.unwrap_or_else(|| ClusterState::new(cluster.clone())),
        Err(error) => return (ClusterState::new(cluster.clone()), Some(error)),
    };
    let mut next = group.log.first_index();
    while next <= last {
        let entries = match group.log.entries(next, last + 1, CHUNK_BYTES) {
            Ok(entries) => entries,
            Err(source) => return (state, Some(StoredError::Read { index: next, source })),
        };
        let Some(end) = entries.last() else { break };
        next = end.index + 1;
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Command) {
            match Command::decode(&entry.payload) {
                Ok(command) => drop(state.apply(entry.index, &command)),
                Err(source) => return (state, Some(StoredError::Command { index: entry.index, source })),
            }
        }
    }
    (state, None)
}
