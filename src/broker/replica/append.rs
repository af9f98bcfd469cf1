//! A produce as the engine sees it: what is asked, what was done, and why not. No behaviour.

use chronik_core::ids::{BrokerId, Offset, Term};
pub use chronik_core::replication::gate::Acks;
use chronik_core::replication::producer_state::ProducerError;
use tokio::sync::oneshot;

use crate::log::CheckedBatch;

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
    /// The producer's sequence numbers or epoch do not fit.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// This replica's disk is full or at fault.
    #[error("{0}")]
    Storage(String),
    /// Too much is waiting to be written; the client should try again.
    #[error("too much is waiting to be written")]
    Busy,
}

impl AppendError {
    /// The Kafka error code.
    pub fn code(&self) -> i16 {
        match self {
            Self::NotLeader { .. } => 6,
            Self::TimedOut => 7,
            Self::NotEnoughReplicas { .. } | Self::QuorumLost => 20,
            Self::Producer(error) => error.code(),
            // KAFKA_STORAGE_ERROR: clients look for another leader and try again.
            Self::Storage(_) => 56,
            // The client tries again; nothing was appended.
            Self::Busy => 7,
        }
    }
}

/// How the answer comes back.
pub type AppendReply = oneshot::Sender<Result<Appended, AppendError>>;
