//! Consensus of one group: the only part that imports `raft`. Sans-io: steps in, effects out; no Kafka, no network, no clock.

mod elections;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod group;
mod logger;
mod members;
mod message;
mod only_voter;
mod protobuf_bytes;
mod snapshot;
mod storage;

pub use group::{
    Drained, Group, GroupConfig, GroupFault, GroupRole, MembershipChange, ProposeError, SyncTicket,
};
pub use message::{Lane, MessageError, Outgoing, RaftMessage};
pub use snapshot::Installed;

#[cfg(test)]
mod tests;
