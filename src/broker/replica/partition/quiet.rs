//! When a partition's group may rest, as its leader judges and as its followers do. Decides; the engine puts it to rest.

use chronik_core::ids::{BrokerId, LogIndex, ReplicaId, Term};
use chronik_core::replication::reassignment::Step;

use super::{Partition, Surroundings};
use crate::quorum::Group;
use crate::replica::leading::Leading;

impl Partition {
    /// On its leader: where the group stands, if nothing is to be done and every replica that lives has it all. Its end,
    /// its commit and its high watermark are the same then.
    pub(in crate::replica) fn stands_still(
        &self,
        group: &Group,
        around: Surroundings<'_>,
    ) -> Option<LogIndex> {
        let leading = self.leading.as_ref()?;
        let end = group.end_index();
        let everything_is_done = [group.synced_index(), group.commit(), self.mark.value(), leading.told]
            .iter()
            .all(|index| *index == end)
            && leading.for_all.is_empty()
            && leading.for_leader.is_empty()
            && self.parked.is_empty()
            && !group.is_transferring();
        let stands = everything_is_done
            && leading.published.as_ref().is_some_and(|view| !view.provisional)
            && self.reaches_majority(around)
            && self.configuration.voters.iter().all(|voter| {
                *voter == group.replica() || self.rests_with(*voter, leading, end, group, around)
            })
            && !self.waits_for_the_preferred(group, around)
            && self.next_step(group, around) == Step::Settled;
        stands.then_some(end)
    }

    /// Whether a voter has everything and is in sync, or is known to be dead and counts for nothing. Of one that is only
    /// silent nobody knows what it does.
    fn rests_with(
        &self,
        voter: ReplicaId,
        leading: &Leading,
        end: LogIndex,
        group: &Group,
        around: Surroundings<'_>,
    ) -> bool {
        let Some(broker) = self.broker_of(voter) else { return false };
        let tracker = &leading.tracker;
        let in_sync = tracker.isr().contains(voter);
        if !around.liveness.is_up(broker) {
            return around.liveness.is_dead(broker) && !in_sync;
        }
        in_sync
            && tracker.unanswered().all(|replica| replica != voter)
            && tracker.synced(voter) == Some(end)
            && group.matched(voter) == Some(end)
            && group.known_commit(voter) == Some(end)
    }

    /// Whether leadership is to return to the preferred replica before long.
    fn waits_for_the_preferred(&self, group: &Group, around: Surroundings<'_>) -> bool {
        let preferred = self.assignment.target.first().filter(|replica| **replica != group.replica());
        let broker = preferred.and_then(|replica| self.broker_of(*replica));
        broker.is_some_and(|broker| around.liveness.is_up(broker) && !around.liveness.is_draining(broker))
    }

    /// On a follower: whether it has all that `leader` of that term says there is, and heard its view. What a broker said before
    /// its connection ended may come after that end.
    pub(in crate::replica) fn has_all_of(
        &self,
        group: &Group,
        leader: BrokerId,
        term: Term,
        end: LogIndex,
        around: Surroundings<'_>,
    ) -> bool {
        around.liveness.is_up(leader)
            && self.follows(leader)
            && self.role.term == term
            && [group.end_index(), group.synced_index(), group.commit(), self.mark.value()]
                .iter()
                .all(|index| *index == end)
            && around.views.stands(self.group(), leader, term)
    }

    /// The group rests from now on, or no longer.
    pub(in crate::replica) fn set_quiet(&self, quiet: bool, around: Surroundings<'_>) {
        if quiet {
            self.show_followers(around.now);
        }
        self.handle.set_quiet(quiet);
    }
}
