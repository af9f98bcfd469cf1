//! A produce as the engine sees it: what is asked, what was done, and why not. No behaviour.

use chronik_core::ids::{BrokerId, Offset, Term};
use tokio::sync::oneshot;

use crate::log::CheckedBatch;

/// When a produce counts as done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// acks=0: nobody waits for an answer.
    None,
    /// acks=1: synced by the leader.
    Leader,
    /// acks=all: below the high watermark.
    All,
}

/// One batch for one partition.
#[derive(Debug)]
pub struct AppendRequest {
    /// The checked batch.
    pub batch: CheckedBatch,
    /// When it counts as done.
    pub acks: Acks,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: u64,
}

/// Where a batch lies now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// First offset of the partition's log.
    pub log_start_offset: Offset,
}

/// Why a batch is not acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// Another broker leads, or nobody does.
    #[error("this broker does not lead the partition")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<BrokerId>,
        /// In which epoch.
        epoch: Term,
    },
    /// The ISR is below the effective min ISR.
    #[error("{in_sync} replicas are in sync, {required} are required")]
    NotEnoughReplicas {
        /// Size of the ISR.
        in_sync: u32,
        /// Effective min ISR.
        required: u32,
    },
    /// A majority is known to be lost: the client should look at other brokers soon.
    #[error("a majority of the partition's replicas is lost")]
    QuorumLost,
    /// Appended, and not known to be safe in time.
    #[error("the write was not confirmed in time")]
    TimedOut,
    /// The producer's sequence numbers leave a gap.
    #[error("{0}")]
    OutOfOrderSequence(String),
    /// The producer's epoch is older than one already seen.
    #[error("{0}")]
    InvalidProducerEpoch(String),
    /// The batch repeats one that is too old to say where it lies.
    #[error("{0}")]
    DuplicateSequence(String),
    /// This replica's disk is full or at fault.
    #[error("{0}")]
    Storage(String),
    /// Too much is waiting to be written; the client should try again.
    #[error("too much is waiting to be written")]
    Busy,
}

/// How the answer comes back.
pub type AppendReply = oneshot::Sender<Result<Appended, AppendError>>;
