//! The cluster's state machine: commands in, the same state on every broker out. No I/O, no clock, no chance.
//!
//! The metadata Raft group orders [`Command`]s; every broker feeds them to [`ClusterState::apply`] in that order.
//! A command that does not fit the state is a [`Refusal`], never a panic, and the refusal is the same everywhere.
//! The `validate_*` functions of [`ClusterState`] are the one place where a request is judged: `apply` calls them,
//! and so do handlers for `validate_only` requests and to answer early.

mod apply;
mod command;
pub mod limits;
mod names;
mod permits;
mod placement;
mod reassignment;
mod recovery;
mod refusal;
mod register;
mod resizing;
mod snapshot;
mod standing;
mod state;
mod validate;
pub mod voters;

pub use apply::Applied;
pub use command::{
    AllocateProducerIds, AlterReassignment, AlterTopicConfigs, ChangePermit, Command, CompleteReassignment,
    CreatePartitions, CreateTopic, DecodeError, DeleteTopic, NewPartitions, RecoverMetadata,
    RecoverPartition, ReplaceReplica, SetFeatureLevel, SetStanding, SetTopicReplicas, TopicRef,
    TopicReplicas, UnregisterBroker,
};
pub use names::{collision_key, validate_topic_name};
pub use placement::{Candidate, place};
pub use recovery::{Recovered, Recovery, Survivor};
pub use refusal::{Refusal, RefusalCode};
pub use snapshot::SnapshotError;
pub use standing::Standing;
pub use state::{Broker, ClusterState, FeatureRange, Listener, Partition, Reassignment, Replica, Topic};
pub use validate::Assignments;

#[cfg(test)]
mod tests;
