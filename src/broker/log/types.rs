//! What goes into the log and comes out of it: the vocabulary shared by writer, readers and recovery. No I/O.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use chronik_core::ids::{DiskId, Generation, GroupId, LogIndex, Offset, ReplicaId, Term, TopicId};
use serde::{Deserialize, Serialize};

/// What an entry of a Raft log is. The numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum EntryKind {
    /// A new leader's empty entry.
    Empty = 0,
    /// One Kafka record batch.
    Records = 1,
    /// A control batch (transactions; not written yet).
    Control = 2,
    /// A command of a state machine.
    Command = 3,
    /// A change of the group's members.
    Membership = 4,
}

impl EntryKind {
    /// The kind with this number on disk.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Empty,
            1 => Self::Records,
            2 => Self::Control,
            3 => Self::Command,
            4 => Self::Membership,
            _ => return None,
        })
    }
}

/// The idempotent producer that wrote a batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BatchProducer {
    pub id: i64,
    pub epoch: i16,
    pub base_sequence: i32,
    pub last_sequence: i32,
}

impl BatchProducer {
    /// `None` for the -1 with which a batch says that it has no producer.
    pub fn of(id: i64, epoch: i16, base_sequence: i32, records: u32) -> Option<Self> {
        (id >= 0).then(|| Self {
            id,
            epoch,
            base_sequence,
            last_sequence: last_sequence(base_sequence, records),
        })
    }
}

/// Sequence numbers wrap from `i32::MAX` to 0, as Kafka's do.
fn last_sequence(base: i32, records: u32) -> i32 {
    let last = i64::from(base) + i64::from(records.saturating_sub(1));
    (last % (i64::from(i32::MAX) + 1)) as i32
}

/// One entry of a Raft log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    pub index: LogIndex,
    pub term: Term,
    pub kind: EntryKind,
    /// The offset of its first record; the log's end offset for an entry without records.
    pub base_offset: Offset,
    /// Offsets it consumes: 0 for an entry without records.
    pub records: u32,
    /// -1 for an entry without records.
    pub max_timestamp: i64,
    pub producer: Option<BatchProducer>,
    /// Of `Records`: one Kafka v2 batch with base offset and leader epoch as consumers get them.
    pub payload: Bytes,
}

/// An entry without its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryMeta {
    pub index: LogIndex,
    pub term: Term,
    pub kind: EntryKind,
    pub base_offset: Offset,
    pub records: u32,
    pub max_timestamp: i64,
    pub producer: Option<BatchProducer>,
    /// Length of the payload.
    pub size: u32,
}

impl LogEntry {
    /// The entry without its payload.
    pub fn meta(&self) -> EntryMeta {
        EntryMeta {
            index: self.index,
            term: self.term,
            kind: self.kind,
            base_offset: self.base_offset,
            records: self.records,
            max_timestamp: self.max_timestamp,
            producer: self.producer,
            size: self.payload.len() as u32,
        }
    }
}

/// Raft's hard state. `vote` is a replica id, or 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HardState {
    pub term: Term,
    pub vote: u64,
    pub commit: LogIndex,
}

/// Where a log begins, and what lies right before: nothing below is held any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogStart {
    /// The first entry that may be held.
    pub index: LogIndex,
    /// Term of the entry before it.
    pub term: Term,
    /// The offset after the entry before it.
    pub offset: Offset,
}

impl Default for LogStart {
    /// A log of which nothing was cut.
    fn default() -> Self {
        Self { index: 1, term: 0, offset: 0 }
    }
}

impl LogStart {
    /// The last entry that is not held: what a snapshot at this start stands for.
    pub fn before(&self) -> LogIndex {
        self.index - 1
    }
}

/// What a Raft group serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum GroupKind {
    Metadata,
    Partition,
}

/// A first voter of the metadata group and the disk it lives on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Founder {
    pub replica: ReplicaId,
    pub disk: DiskId,
}

/// What a replica was created as.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupHeader {
    pub kind: GroupKind,
    pub topic: Option<TopicId>,
    pub partition: i32,
    /// The replica that this disk holds.
    pub replica: ReplicaId,
    pub voters: Vec<ReplicaId>,
    pub learners: Vec<ReplicaId>,
    /// Of the metadata group: which history of it this replica began with. A recovery in its log begins another.
    pub generation: Generation,
    /// Of the metadata group: its first voters with their disks. They hold until their brokers are registered.
    pub founders: Vec<Founder>,
}

/// One change to the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteOp {
    CreateGroup {
        group: GroupId,
        header: GroupHeader,
    },
    /// The first entry's index truncates what lies at or above it.
    Append {
        group: GroupId,
        entries: Vec<LogEntry>,
    },
    State {
        group: GroupId,
        state: HardState,
    },
    /// The members as of `index`, in whatever form the caller keeps them.
    Membership {
        group: GroupId,
        index: LogIndex,
        bytes: Bytes,
    },
    /// The log begins here from now on. What came before is in `snapshot`, in whatever form the caller keeps it, and in
    /// the newest members as of then. All of it was committed.
    Start {
        group: GroupId,
        start: LogStart,
        /// The log held here ends before the start, or is not the one that the snapshot continues: all of it goes.
        replace: bool,
        snapshot: Bytes,
    },
    RemoveGroup {
        group: GroupId,
    },
}

impl WriteOp {
    /// Bytes it holds, roughly: what queues are bounded by.
    pub fn size(&self) -> usize {
        match self {
            Self::Append { entries, .. } => entries.iter().map(|e| e.payload.len() + 112).sum(),
            Self::Membership { bytes, .. } | Self::Start { snapshot: bytes, .. } => bytes.len() + 112,
            Self::CreateGroup { .. } => 512,
            Self::State { .. } | Self::RemoveGroup { .. } => 136,
        }
    }
}

/// Where a replica's bytes are not what was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Damage {
    pub file: PathBuf,
    /// Byte offset in that file.
    pub offset: u64,
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file.display(), self.offset, self.what)
    }
}

/// Why a submission is not in the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk is full. Nothing of the submission was written; later ones may succeed.
    #[error("the disk is full")]
    NoSpace,
    /// The submission contradicts the log: the caller's mistake. Nothing of it was written.
    #[error("refused: {0}")]
    Refused(String),
    /// More bytes wait than the queue may hold. Nothing of the submission was written.
    #[error("{queued} bytes wait to be written, {limit} are allowed")]
    Overloaded { queued: usize, limit: usize },
    /// A write or a sync failed before, and is never retried: this log takes nothing more until a restart.
    #[error("the log has stopped: {0}")]
    Stopped(String),
}

/// Called on the writer's thread once the submission is synced and readable, or will never be.
pub type Done = Box<dyn FnOnce(Result<(), WriteError>) + Send>;
