//! One group on this broker: its Raft replica, what it serves, and the writes it waits for.

use std::collections::VecDeque;

use chronik_core::ids::{BrokerId, LogIndex, ReplicaId, Term};

use super::liveness::Liveness;
use super::metadata::Metadata;
use super::partition::Partition;
use crate::log::HardState;
use crate::quorum::{Group, GroupRole, Outgoing, SyncTicket};

/// What a group serves.
pub(super) enum Serves {
    Metadata(Box<Metadata>),
    Partition(Box<Partition>),
}

/// A write that was handed out, and what may be sent once it is synced.
pub(super) struct InFlight {
    pub(super) batch: u64,
    pub(super) ticket: SyncTicket,
    pub(super) after_sync: Vec<Outgoing>,
}

/// A group in which nothing happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Still {
    pub(super) term: Term,
    pub(super) end: LogIndex,
    pub(super) ticks: usize,
}

/// One group on this broker.
pub(super) struct Hosted {
    pub(super) group: Group,
    pub(super) serves: Serves,
    pub(super) in_flight: VecDeque<InFlight>,
    /// A commit index not written yet: it rides with the group's next write.
    pub(super) unsaved: Option<HardState>,
    /// When this replica may stand for election next, while it knows no leader.
    pub(super) next_campaign_ms: Option<u64>,
    /// Where the group has stood at the last ticks, and for how many, if this replica leads it and nothing is to be done.
    pub(super) still: Option<Still>,
}

impl Hosted {
    pub(super) fn new(group: Group, serves: Serves) -> Self {
        Self { group, serves, in_flight: VecDeque::new(), unsaved: None, next_campaign_ms: None, still: None }
    }

    /// The broker that holds a replica of this group.
    pub(super) fn broker_of(&self, replica: ReplicaId) -> Option<BrokerId> {
        match &self.serves {
            Serves::Metadata(metadata) => metadata.broker_of(replica),
            Serves::Partition(partition) => partition.broker_of(replica),
        }
    }

    /// This group's replica on a broker.
    pub(super) fn replica_on(&self, broker: BrokerId) -> Option<ReplicaId> {
        match &self.serves {
            Serves::Metadata(metadata) => metadata.replica_on(broker),
            Serves::Partition(partition) => partition.replica_on(broker),
        }
    }

    /// Replicas with a vote, in order of preference as leader.
    pub(super) fn voters(&self) -> Vec<ReplicaId> {
        match &self.serves {
            Serves::Metadata(_) => self.group.configuration().voters,
            Serves::Partition(partition) => {
                let members = partition.assignment.members.iter().map(|member| member.replica);
                members.filter(|replica| partition.configuration.votes(*replica)).collect()
            }
        }
    }

    /// Whether a replica's broker is heard, on the disk with that replica.
    pub(super) fn is_up(&self, replica: ReplicaId, liveness: &Liveness) -> bool {
        match &self.serves {
            Serves::Metadata(metadata) => metadata.is_up(replica, liveness),
            Serves::Partition(partition) => partition.is_up(replica, liveness),
        }
    }

    /// Whether those that are heard hold enough votes to elect a leader.
    pub(super) fn has_majority(&self, liveness: &Liveness) -> bool {
        let up = |replica| self.is_up(replica, liveness);
        match &self.serves {
            Serves::Metadata(_) => self.group.configuration().has_majority(up),
            Serves::Partition(partition) => partition.configuration.has_majority(up),
        }
    }

    /// The broker that this replica follows.
    pub(super) fn followed(&self) -> Option<BrokerId> {
        let GroupRole { leads, leader, .. } = self.group.role();
        leader.filter(|_| !leads).and_then(|leader| self.broker_of(leader))
    }

    pub(super) fn follows(&self, broker: BrokerId) -> bool {
        self.followed() == Some(broker)
    }

    pub(super) fn partition(&self) -> Option<&Partition> {
        match &self.serves {
            Serves::Partition(partition) => Some(partition),
            Serves::Metadata(_) => None,
        }
    }

    /// Takes every write up to `batch` off the list.
    pub(super) fn written(&mut self, batch: u64) -> Vec<InFlight> {
        let done = self.in_flight.iter().take_while(|write| write.batch <= batch).count();
        self.in_flight.drain(..done).collect()
    }
}
