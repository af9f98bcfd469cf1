//! Who belongs to a group: the configuration in force, changes of it, and how they are stored.

use bytes::Bytes;
use chronik_core::ids::{LogIndex, ReplicaId};
use chronik_core::replication::configuration::Configuration;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType,
};

use super::group::{Group, GroupConfig, GroupFault, MembershipChange, ProposeError};
use super::protobuf_bytes;

impl Group {
    /// The configuration in force, each list ascending.
    pub fn configuration(&self) -> Configuration {
        in_order(self.node.raft.prs().conf().to_conf_state())
    }

    /// Whether a change of the configuration may be under way: another one would be refused.
    pub fn is_changing(&self) -> bool {
        self.node.raft.has_pending_conf()
    }

    /// Whether the configuration knows `replica` as one that does not vote.
    pub fn is_learner(&self, replica: ReplicaId) -> bool {
        self.node.raft.prs().conf().to_conf_state().learners.contains(&replica.0)
    }

    /// Whether the configuration knows `replica`, as voter or learner.
    pub fn is_member(&self, replica: ReplicaId) -> bool {
        self.node.raft.prs().get(replica.0).is_some()
    }

    /// Whether this replica may vote.
    pub fn is_voter(&self) -> bool {
        self.node.raft.promotable()
    }

    /// Proposes a change of the configuration; it holds once committed and applied.
    pub fn propose_membership(&mut self, change: MembershipChange) -> Result<LogIndex, ProposeError> {
        let conf_change = self.conf_change(change);
        let mut entry = Entry::default();
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry.data =
            protobuf::Message::write_to_bytes(&conf_change).expect("writing to memory cannot fail").into();
        self.propose_entry(entry)
    }

    pub(super) fn conf_change(&self, change: MembershipChange) -> ConfChangeV2 {
        let voters = &self.node.raft.prs().conf().to_conf_state().voters;
        let changes = match &change {
            MembershipChange::AddLearner(replica) => vec![single(ConfChangeType::AddLearnerNode, replica.0)],
            MembershipChange::RemoveLearner(replica) => vec![single(ConfChangeType::RemoveNode, replica.0)],
            MembershipChange::EnterJoint(next) => {
                let new = next.iter().map(|replica| replica.0).filter(|id| !voters.contains(id));
                let old = voters.iter().filter(|id| !next.contains(&ReplicaId(**id)));
                let added = new.map(|id| single(ConfChangeType::AddNode, id));
                added.chain(old.map(|id| single(ConfChangeType::RemoveNode, *id))).collect()
            }
            MembershipChange::LeaveJoint => Vec::new(),
        };
        let mut conf_change = ConfChangeV2::default();
        if matches!(change, MembershipChange::EnterJoint(_)) {
            conf_change.set_transition(ConfChangeTransition::Explicit);
        }
        conf_change.set_changes(changes.into());
        conf_change
    }

    /// Brings a new configuration into force; gives its bytes, to be stored.
    pub(super) fn apply_membership(&mut self, entry: &Entry) -> Result<Bytes, GroupFault> {
        let change: ConfChangeV2 = protobuf_bytes::decode(&entry.data)
            .map_err(|error| GroupFault::BadEntry { index: entry.index, what: error.to_string() })?;
        let membership = self.node.apply_conf_change(&change)?;
        let bytes = protobuf::Message::write_to_bytes(&membership).expect("writing to memory cannot fail");
        self.node.mut_store().set_membership(membership);
        self.bound_in_flight();
        Ok(bytes.into())
    }
}

pub(super) fn in_order(members: ConfState) -> Configuration {
    let ascending = |ids: Vec<u64>| {
        let mut replicas: Vec<_> = ids.into_iter().map(ReplicaId).collect();
        replicas.sort_unstable();
        replicas
    };
    let ConfState { voters, voters_outgoing, learners, .. } = members;
    Configuration {
        voters: ascending(voters),
        outgoing: ascending(voters_outgoing),
        learners: ascending(learners),
    }
}

pub(super) fn single(kind: ConfChangeType, replica: u64) -> ConfChangeSingle {
    let mut change = ConfChangeSingle::default();
    change.set_change_type(kind);
    change.node_id = replica;
    change
}

pub(super) fn membership_of(config: &GroupConfig, stored: &Option<Bytes>) -> Result<ConfState, GroupFault> {
    let Some(stored) = stored else { return Ok(first_membership(config)) };
    protobuf_bytes::decode(stored)
        .map_err(|error| GroupFault::BadEntry { index: 0, what: format!("membership: {error}") })
}

fn first_membership(config: &GroupConfig) -> ConfState {
    let ids = |replicas: &[ReplicaId]| replicas.iter().map(|replica| replica.0).collect::<Vec<_>>();
    ConfState::from((ids(&config.voters), ids(&config.learners)))
}
