//! One group on this broker: its Raft replica, what it serves, and the writes it waits for.

use std::collections::VecDeque;

use chronik_core::ids::{BrokerId, LogIndex, ReplicaId, Term};

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

    /// The broker that holds a replica of this group. Metadata replicas have their broker's number.
    pub(super) fn broker_of(&self, replica: ReplicaId) -> Option<BrokerId> {
        match &self.serves {
            Serves::Metadata(_) => u32::try_from(replica.0).ok().map(BrokerId),
            Serves::Partition(partition) => partition.broker_of(replica),
        }
    }

    /// This group's replica on a broker.
    pub(super) fn replica_on(&self, broker: BrokerId) -> Option<ReplicaId> {
        match &self.serves {
            Serves::Metadata(_) => Some(ReplicaId(u64::from(broker.0))),
            Serves::Partition(partition) => partition.replica_on(broker),
        }
    }

    /// Brokers with a vote, in order of preference as leader.
    pub(super) fn voters(&self) -> Vec<BrokerId> {
        match &self.serves {
            Serves::Metadata(_) => {
                let voters = self.group.configuration().voters;
                voters.iter().filter_map(|replica| self.broker_of(*replica)).collect()
            }
            Serves::Partition(partition) => {
                let members = partition.assignment.members.iter();
                let voters = members.filter(|member| partition.configuration.votes(member.replica));
                voters.map(|member| member.broker).collect()
            }
        }
    }

    /// Whether brokers that satisfy `up` hold enough votes to elect a leader.
    pub(super) fn has_majority(&self, up: impl Fn(BrokerId) -> bool) -> bool {
        let up = |replica| self.broker_of(replica).is_some_and(&up);
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
