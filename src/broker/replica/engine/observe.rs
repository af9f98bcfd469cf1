//! What each replica of this broker is right now, for whoever checks the rules from outside. Reads only.

use chronik_core::ids::{BrokerId, GroupId, LogIndex, ReplicaId, Term};
use chronik_core::replication::configuration::Configuration;

use super::Engine;
use crate::replica::hosted::Hosted;
use crate::replica::outbox::Transport;
use crate::replica::partition::Partition;

/// One hosted replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaState {
    /// Its group.
    pub group: GroupId,
    /// Its own id.
    pub replica: ReplicaId,
    /// The current term.
    pub term: Term,
    /// Whether it leads in that term.
    pub leads: bool,
    /// The highest index it knows to be committed.
    pub commit: LogIndex,
    /// The last index it has synced.
    pub synced: LogIndex,
    /// The last index of its log, synced or not.
    pub end: LogIndex,
    /// The first index that its log may hold.
    pub start: LogIndex,
    /// The high watermark as a log index; 0 for the metadata group, which has none.
    pub high_watermark: LogIndex,
    /// Members of the ISR with what the leader counts as theirs, if this replica leads a partition.
    pub isr: Vec<MemberState>,
    /// Effective min ISR; 0 for the metadata group.
    pub min_isr: u32,
    /// The broker it follows, if it knows a leader and is not the one.
    pub follows: Option<BrokerId>,
    /// Whether its group rests, as far as this replica is concerned.
    pub quiet: bool,
    /// The first index of the term, if this replica leads a partition.
    pub epoch_start: LogIndex,
}

/// A member of the ISR as its leader counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberState {
    /// Its id.
    pub replica: ReplicaId,
    /// Its broker.
    pub broker: BrokerId,
    /// Up to where it has synced, by its answers to this leader; `None` before the first.
    pub synced: Option<LogIndex>,
}

impl<T: Transport> Engine<T> {
    /// Every hosted replica that is in service, by group.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaState> {
        self.hosted.iter().map(|(id, hosted)| state(hosted, self.is_quiet(*id)))
    }

    /// The members of a group as the replica hosted here has applied them.
    pub fn configuration(&self, group: GroupId) -> Option<Configuration> {
        self.hosted.get(&group).map(|hosted| hosted.group.configuration())
    }

    /// Why this broker stopped all its replicas, if it did.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }
}

fn state(hosted: &Hosted, quiet: bool) -> ReplicaState {
    let group = &hosted.group;
    let partition = hosted.partition();
    let role = group.role();
    ReplicaState {
        group: group.id(),
        replica: group.replica(),
        term: role.term,
        leads: role.leads,
        commit: group.commit(),
        synced: group.synced_index(),
        end: group.end_index(),
        start: group.start().index,
        high_watermark: partition.map_or(0, Partition::high_watermark),
        isr: partition.map(|partition| partition.isr_members(group)).unwrap_or_default(),
        follows: hosted.followed(),
        quiet,
        min_isr: partition.map_or(0, Partition::effective_min_isr),
        epoch_start: partition.map_or(0, Partition::epoch_start),
    }
}
