//! When a replica of a group stands for election, and how it comes into office and leaves it.

use chronik_core::ids::ReplicaId;
use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use super::group::{Group, GroupFault};

impl Group {
    /// One tick of the group's clock.
    pub fn tick(&mut self) {
        // Raft draws this by chance at every reset; it follows from term and replica here, so that a run can be repeated.
        self.node.raft.set_randomized_election_timeout(self.election_timeout());
        if !self.may_stand() {
            self.restart_clock();
        }
        self.node.tick();
        self.look_after_snapshots();
    }

    /// Whether an election may begin. A voter who is alone wins at once, and raft panics if anything that the new leader
    /// has is not synced; one who needs others asks them after its sync. Nor may it while a leader's snapshot is being
    /// written: raft looks for changes of members after what was applied, and the log begins behind that.
    pub(super) fn may_stand(&self) -> bool {
        let raft = &self.node.raft;
        let is_alone = raft.prs().conf().voters().ids().iter().count() == 1;
        let all_synced = raft.raft_log.persisted == raft.raft_log.last_index();
        let installing = self.applied() < self.start().before();
        raft.state == StateRole::Leader || (!installing && (!is_alone || all_synced))
    }

    /// Ticks without a leader before an election, from the configured number to one below its double: different for the
    /// replicas of a group, and different again in the next term.
    pub(super) fn election_timeout(&self) -> usize {
        let raft = &self.node.raft;
        let mixed = (self.id.0.rotate_left(40) ^ raft.id.rotate_left(20) ^ raft.term)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let least = raft.election_timeout();
        least + (mixed >> 33) as usize % least
    }

    /// Lets the election clock begin anew: the group did not tick, and that was nobody's silence.
    pub fn restart_clock(&mut self) {
        self.node.raft.election_elapsed = 0;
    }

    /// A leader that asks for votes in a later term leads no more: nobody need wait for its lease to end.
    pub(super) fn check_office(&mut self, message: &Message) {
        let asks =
            matches!(message.get_msg_type(), MessageType::MsgRequestPreVote | MessageType::MsgRequestVote);
        if asks && message.from == self.node.raft.leader_id && message.term > self.node.raft.term {
            self.forget_leader();
        }
    }

    /// Starts an election now, if one may begin; the pre-vote keeps it from disturbing a leader that others still hear.
    pub fn campaign(&mut self) -> Result<(), GroupFault> {
        if self.may_stand() {
            self.node.campaign()?;
        }
        Ok(())
    }

    /// Drops the lease of a leader whose process is known to be dead, so that others may be voted for.
    pub fn forget_leader(&mut self) {
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Follower && raft.leader_id != 0 {
            let term = raft.term;
            raft.become_follower(term, 0);
        }
    }

    /// Whether this replica leads or stands for election.
    pub fn seeks_office(&self) -> bool {
        self.node.raft.state != StateRole::Follower
    }

    /// Leads no more and stands for no election, without anybody known who leads. Votes that are on their way count for nothing.
    pub fn step_down(&mut self) {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Follower {
            let term = raft.term;
            raft.become_follower(term, 0);
        }
    }

    /// Asks the voters whether this replica still leads. A majority's answer comes out of a drain under the same number; none
    /// comes if it does not lead, or has not committed an entry of its term yet.
    pub fn confirm_leadership(&mut self, number: u64) {
        self.node.read_index(number.to_be_bytes().to_vec());
    }

    /// Asks `replica` to take over; done once it has the whole log.
    pub fn transfer_leadership(&mut self, replica: ReplicaId) {
        self.node.transfer_leader(replica.0);
    }
}
