//! A voter that dies with its vote given, while two who cannot hear each other both want it: who forgets its vote elects two.

use chronik_core::ids::{GroupId, Term};

use crate::checks::mirror::MirrorOp;
use crate::time::MS;
use crate::world::{Event, M, World, index_of};

/// Down for so long, each time: shorter than a candidate waits for its turn.
const DOWN: u64 = 20 * MS;

/// The fault while it lasts.
pub struct VoteTrap {
    voter: M,
    rivals: [M; 2],
    group: GroupId,
    /// Terms beyond this one are elections that the fault brought about.
    term: Term,
    /// The voter's machine loses power while its vote is written; otherwise it dies when the vote has arrived.
    amid_write: bool,
    /// Who got the vote.
    elected: Option<M>,
}

impl World {
    /// The leader is killed and comes back at once to vote, not to lead; the other two cannot hear each other.
    pub fn set_vote_trap(&mut self, which: u64) -> bool {
        let place = which as usize % self.places.len();
        let (Some(voter), Some(partition)) = (self.leader_of(place), self.newest_partition(place)) else {
            return false;
        };
        let others = partition.target().iter().map(|replica| index_of(replica.broker));
        let others: Vec<M> = others.filter(|machine| *machine != voter).collect();
        let (&[one, other], None) = (&others[..], &self.vote_trap) else { return false };
        let replicas = self.machines[voter].process.iter().flat_map(|process| process.engine.replicas());
        let Some(term) =
            replicas.filter(|state| state.group == partition.group).map(|state| state.term).next()
        else {
            return false;
        };
        self.cut(one, other);
        self.cut(other, one);
        let group = partition.group;
        self.vote_trap = Some(VoteTrap {
            voter,
            rivals: [one, other],
            group,
            term,
            amid_write: (which / 7).is_multiple_of(3),
            elected: None,
        });
        self.let_voter_die();
        true
    }

    /// The voter writes: is it the vote? What it said in that round is on its way when its machine loses power; the vote must
    /// not be among it.
    pub fn watch_for_early_vote(&mut self, at: M) {
        if !self.vote_trap.as_ref().is_some_and(|trap| trap.voter == at && trap.amid_write) {
            return;
        }
        let process = self.machines[at].process.as_ref();
        let Some(write) = process.and_then(|process| process.write.as_ref()) else { return };
        if self.note_vote(at, &write.ops.clone()).is_some() {
            self.coverage.count("power lost amid its vote");
            self.crash(at, true);
            self.part_from_elected();
            self.power_on(at);
            self.after(DOWN, Event::Start(at));
        }
    }

    /// The voter's write is on disk: is it the vote? Then it dies as soon as the vote has reached whom it is for.
    pub fn watch_for_vote(&mut self, at: M, ops: &[MirrorOp]) {
        if self.note_vote(at, ops).is_some() {
            let arrives = self.network.latency.1 + MS;
            self.after(arrives, Event::VoteGiven(at));
        }
    }

    /// Which rival the write elects, if it is the first vote that the fault waits for.
    fn note_vote(&mut self, at: M, ops: &[MirrorOp]) -> Option<M> {
        let trap = self.vote_trap.as_ref().filter(|trap| trap.voter == at && trap.elected.is_none())?;
        let vote = ops.iter().find_map(|op| match op {
            MirrorOp::State(group, state) if *group == trap.group && state.term > trap.term => {
                Some(state.vote)
            }
            _ => None,
        })?;
        let (rivals, group) = (trap.rivals, trap.group);
        let cluster = self.checks.newest_metadata.as_ref()?;
        let (_, partition) = cluster.partitions().find(|(_, partition)| partition.group == group)?;
        let replica = partition.replicas.iter().find(|replica| replica.replica.0 == vote)?;
        let elected = Some(index_of(replica.broker)).filter(|machine| rivals.contains(machine))?;
        self.vote_trap.as_mut().expect("just seen").elected = Some(elected);
        Some(elected)
    }

    /// The vote has arrived.
    pub fn vote_given(&mut self, voter: M) {
        if self.vote_trap.as_ref().is_some_and(|trap| trap.voter == voter && trap.elected.is_some()) {
            self.coverage.count("killed with its vote given");
            self.part_from_elected();
            self.let_voter_die();
        }
    }

    /// The voter shall hear nothing more of whom it elected.
    fn part_from_elected(&mut self) {
        let Some(VoteTrap { voter, elected: Some(elected), .. }) = self.vote_trap else { return };
        self.cut(voter, elected);
        self.cut(elected, voter);
    }

    fn let_voter_die(&mut self) {
        let Some(trap) = &self.vote_trap else { return };
        let voter = trap.voter;
        self.crash(voter, false);
        self.after(DOWN, Event::Start(voter));
    }

    /// A broker whose vote is wanted does not stand itself.
    pub fn keep_voter_from_standing(&mut self, at: M) {
        if self.vote_trap.as_ref().is_some_and(|trap| trap.voter == at) {
            self.drain(at);
        }
    }

    /// The fault is over.
    pub fn open_vote_trap(&mut self) {
        let Some(VoteTrap { voter, rivals: [one, other], elected, .. }) = self.vote_trap.take() else {
            return;
        };
        self.mend(one, other);
        self.mend(other, one);
        if let Some(elected) = elected.filter(|elected| self.network.cuts[voter][*elected] > 0) {
            self.mend(voter, elected);
            self.mend(elected, voter);
        }
        self.undrain(voter);
    }
}
