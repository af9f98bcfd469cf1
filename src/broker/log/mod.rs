//! The broker's storage: one journal of write groups per data folder, shared by every Raft group it hosts.
//!
//! Read `codec.rs` for the bytes, `writer.rs` for how they get there, `recovery.rs` for what a restart makes of
//! them. Knows nothing of Raft's rules, of sockets or of the network.

pub mod batch;
mod check;
mod codec;
pub mod disk;
#[cfg(feature = "faulty-disk")]
pub mod faulty_disk;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod group_log;
pub mod identity;
mod index;
mod journal;
mod looking;
mod mark;
mod plan;
mod queue;
mod records;
mod recovery;
mod replay;
mod reserve;
mod scan;
mod segment;
mod space;
mod state;
mod types;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use batch::{BatchError, BatchHeader, CheckedBatch, Limits};
pub use check::{CheckError, Checked, Torn, check};
pub use disk::{Disk, DiskFile, RealDisk, open_disk};
pub use group_log::{GroupLog, ReadError};
pub use identity::{Birth, DataFolder, Identity, IdentityError, InitialVoter};
pub use journal::{Log, LogDriver, LogError, LogObserver, Options, REST, RecoveredGroup};
pub use looking::LookingDisk;
pub use state::Memberships;
pub use types::{
    BatchProducer, Damage, Done, EntryKind, EntryMeta, Founder, GroupHeader, GroupKind, HardState, LogEntry,
    LogStart, WriteError, WriteOp,
};
