//! Replicas: Kafka's rules on top of consensus. The engine owns all groups; the rest is what others see of it.
//!
//! Read `engine/mod.rs` for the round, `partition.rs` for one partition, `driver.rs` for the thread. Opens no socket, knows
//! no request; reaches log, network and time through what it is given.

mod append;
mod clock;
mod driver;
mod engine;
mod event;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handle;
mod hosted;
mod leading;
mod liveness;
mod metadata;
mod orphans;
mod outbox;
mod parked;
mod partition;
mod producers;
mod propose;
mod report;
mod views;

pub use append::{Acks, AppendError, AppendRequest, Appended};
pub use clock::{Clock, Now, SystemClock};
pub use driver::{EngineHandle, EngineQueue, Machine, Running, Waiting, channel};
pub use engine::{
    ConfirmReply, Engine, EngineConfig, EngineCounts, GROUPS_PER_QUESTION, MemberState, ReplicaState, Shared,
};
pub use event::Event;
pub use handle::{Leadership, PartitionHandle, Partitions};
pub use liveness::{Liveness, Loss};
pub use metadata::CommandError;
pub use outbox::Transport;
pub use propose::{Ask, ProposeError, Proposer, Refused};
pub use report::Reports;
pub use views::{Known, Views};
