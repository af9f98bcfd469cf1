//! The next step towards the replicas a group shall have, decided by whoever leads its group: from what metadata
//! wants, what the group's configuration is and who is alive and how far. It remembers nothing, so that any leader goes
//! on where the last one stopped.
//!
//! New replicas come in as learners. Once all have caught up, one joint change makes the wanted replicas the voters. A
//! leader is never removed: it hands over to a replica that stays. If none of today's voters stays, the change keeps the
//! leader until a new one can take over.

use super::configuration::{Configuration, has_majority};
use super::high_watermark::effective_min_isr;
use crate::ids::ReplicaId;

/// What the leader of a group knows.
#[derive(Clone, Copy, Debug)]
pub struct Outlook<'a> {
    /// The leader itself.
    pub own: ReplicaId,
    /// The replicas there shall be, the preferred leader first; never empty.
    pub target: &'a [ReplicaId],
    /// Replicas that shall learn and not vote. A partition has none.
    pub observers: &'a [ReplicaId],
    /// Metadata says that a move is under way.
    pub moving: bool,
    /// The group's configuration as applied by the leader.
    pub configuration: &'a Configuration,
    /// A change of it is appended and not applied yet.
    pub change_pending: bool,
    /// Replicas whose brokers are alive.
    pub alive: &'a [ReplicaId],
    /// Replicas whose brokers hand over what they lead: they would give leadership back at once.
    pub draining: &'a [ReplicaId],
    /// Members of the ISR.
    pub in_sync: &'a [ReplicaId],
    /// Learners that could join the ISR if they voted.
    pub caught_up: &'a [ReplicaId],
    /// `min.insync.replicas`.
    pub min_isr: u32,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing: all is as it shall be.
    Settled,
    /// Nothing yet: something has to happen by itself first.
    Wait,
    /// Let a replica learn.
    AddLearner(ReplicaId),
    /// A learner is not wanted any more.
    RemoveLearner(ReplicaId),
    /// Make these the voters, by a joint change.
    ChangeVoters(Vec<ReplicaId>),
    /// Leave the joint configuration.
    LeaveJoint,
    /// Hand leadership over.
    TransferLeadership(ReplicaId),
    /// The wanted replicas are the voters: the move is complete.
    Complete,
}

/// The next step.
pub fn decide(outlook: &Outlook<'_>) -> Step {
    if outlook.change_pending || !outlook.configuration.votes(outlook.own) {
        return Step::Wait;
    }
    if outlook.configuration.is_joint() { outlook.end_joint() } else { outlook.change() }
}

impl Outlook<'_> {
    fn is_alive(&self, replica: ReplicaId) -> bool {
        replica == self.own || self.alive.contains(&replica)
    }

    /// The first of `candidates` that could lead at once.
    fn successor(&self, mut candidates: impl Iterator<Item = ReplicaId>) -> Option<ReplicaId> {
        candidates.find(|replica| {
            *replica != self.own
                && self.configuration.voters.contains(replica)
                && self.is_alive(*replica)
                && !self.draining.contains(replica)
                && self.in_sync.contains(replica)
        })
    }

    fn end_joint(&self) -> Step {
        let voters = &self.configuration.voters;
        if !voters.contains(&self.own) {
            let preferred = self.target.iter().chain(voters).copied();
            return self.successor(preferred).map_or(Step::Wait, Step::TransferLeadership);
        }
        if has_majority(voters, |replica| self.is_alive(replica)) { Step::LeaveJoint } else { Step::Wait }
    }

    fn change(&self) -> Step {
        let Configuration { voters, learners, .. } = self.configuration;
        let wanted = || self.target.iter().chain(self.observers).copied();
        if let Some(unwanted) = learners.iter().find(|replica| !wanted().any(|wanted| wanted == **replica)) {
            return Step::RemoveLearner(*unwanted);
        }
        let known = |replica: &ReplicaId| voters.contains(replica) || learners.contains(replica);
        if let Some(new) = wanted().find(|new| !known(new) && self.is_alive(*new)) {
            return Step::AddLearner(new);
        }
        let missing = || self.target.iter().copied().filter(|replica| !voters.contains(replica));
        if missing().next().is_none() && voters.len() == self.target.len() {
            return if self.moving { Step::Complete } else { Step::Settled };
        }
        if !missing().all(|new| self.is_alive(new) && self.caught_up.contains(&new)) {
            return Step::Wait;
        }
        self.change_voters()
    }

    /// All that shall be are voters or learners that have caught up.
    fn change_voters(&self) -> Step {
        let voters = &self.configuration.voters;
        let mut next = self.target.to_vec();
        if !self.target.contains(&self.own) {
            if let Some(successor) = self.successor(self.target.iter().copied()) {
                return Step::TransferLeadership(successor);
            }
            // With nobody new to come in, to keep the leader would only make the group smaller around one that goes.
            if self.target.iter().all(|replica| voters.contains(replica)) {
                return Step::Wait;
            }
            next.push(self.own);
            if next.len() == 2 {
                next.extend(self.third(&next));
            }
        }
        let unchanged = next.len() == voters.len() && next.iter().all(|replica| voters.contains(replica));
        if !unchanged && self.bears(&next) { Step::ChangeVoters(next) } else { Step::Wait }
    }

    /// Somebody for a group of two, in which both would have to live: one of today's voters, so that one of the three may die.
    fn third(&self, two: &[ReplicaId]) -> Option<ReplicaId> {
        let fit = |replica: &ReplicaId| {
            !two.contains(replica) && self.is_alive(*replica) && self.in_sync.contains(replica)
        };
        self.configuration.voters.iter().copied().find(fit)
    }

    /// Whether both halves of the change would have a live majority, and whether acks=all would still be accepted, if it
    /// is now.
    fn bears(&self, next: &[ReplicaId]) -> bool {
        let live = |voters: &[ReplicaId]| has_majority(voters, |replica| self.is_alive(replica));
        let fit = |replica: &&ReplicaId| self.in_sync.contains(replica) || self.caught_up.contains(replica);
        let (now, then) = (self.in_sync.len(), next.iter().filter(fit).count());
        let required = effective_min_isr(next.len() as u32, self.min_isr) as usize;
        live(&self.configuration.voters) && live(next) && then >= required.min(now)
    }
}

#[cfg(test)]
#[path = "tests/reassignment.rs"]
mod tests;
