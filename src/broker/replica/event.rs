//! What happens to the engine. No behaviour.

use bytes::Bytes;
use chronik_core::ids::{BrokerId, GroupId, Incarnation};
use chronik_core::metadata::Command;
use chronik_core::view::PartitionRecovery;
use tokio::sync::oneshot;

use super::append::{AppendReply, AppendRequest};
use super::engine::ConfirmReply;
use super::liveness::Loss;
use super::metadata::CommandReply;
use crate::birth::Beginning;
use crate::log::WriteError;

/// One thing that happened.
pub enum Event {
    /// A client's batch for a partition.
    Append {
        /// The partition's group.
        group: GroupId,
        /// The batch and its conditions.
        request: AppendRequest,
        /// Where the answer goes.
        reply: AppendReply,
    },
    /// A command for the metadata group, if this broker leads it.
    Propose {
        /// The command.
        command: Command,
        /// Where the answer goes.
        reply: CommandReply,
    },
    /// A peer is heard, in this incarnation.
    PeerUp {
        /// The broker.
        broker: BrokerId,
        /// Its life.
        incarnation: Incarnation,
    },
    /// A peer is lost.
    PeerDown {
        /// The broker.
        broker: BrokerId,
        /// How.
        loss: Loss,
    },
    /// A frame from a peer.
    PeerFrame {
        /// The sender.
        from: BrokerId,
        /// The frame.
        payload: Bytes,
    },
    /// The write handed out last is on disk, or is not.
    Written(Result<(), WriteError>),
    /// The metadata group may start on this disk.
    StartMetadata(Beginning),
    /// Move every leadership away; answered when none is left that could move.
    Drain {
        /// Where the answer goes.
        reply: oneshot::Sender<()>,
    },
    /// Hand these partitions to their preferred replicas, wherever they are led in their place.
    ElectPreferred {
        /// Their groups.
        groups: Vec<GroupId>,
    },
    /// Take part in elections again.
    Undrain,
    /// Tell of those groups that are led here what a stop of a broker is judged by.
    Confirm {
        /// Which.
        groups: Vec<GroupId>,
        /// Where the answer goes.
        reply: ConfirmReply,
    },
    /// Tell which partitions could go on from the replica here alone.
    Recoverable {
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<PartitionRecovery>>,
    },
}
