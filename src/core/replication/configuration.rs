//! The members of a Raft group as its log says: who votes, who only learns, and both halves while voters change.

use crate::ids::ReplicaId;

/// A group's configuration. During a change of voters both halves must agree to whatever is decided.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Configuration {
    /// The voters; during a change those that come out of it.
    pub voters: Vec<ReplicaId>,
    /// During a change of voters: those from before it. Empty otherwise.
    pub outgoing: Vec<ReplicaId>,
    /// Replicas that receive the log and do not vote.
    pub learners: Vec<ReplicaId>,
}

impl Configuration {
    /// Whether voters are being changed.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether a replica votes, in either half.
    pub fn votes(&self, replica: ReplicaId) -> bool {
        self.voters.contains(&replica) || self.outgoing.contains(&replica)
    }

    /// Whether a replica is a voter or a learner.
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.votes(replica) || self.learners.contains(&replica)
    }

    /// Whether the replicas that satisfy `counts` can decide: a majority of each half.
    pub fn has_majority(&self, counts: impl Fn(ReplicaId) -> bool) -> bool {
        let outgoing = self.outgoing.is_empty() || has_majority(&self.outgoing, &counts);
        outgoing && has_majority(&self.voters, &counts)
    }
}

/// Whether more than half of the voters satisfy `counts`.
pub fn has_majority(voters: &[ReplicaId], counts: impl Fn(ReplicaId) -> bool) -> bool {
    voters.iter().filter(|replica| counts(**replica)).count() > voters.len() / 2
}
