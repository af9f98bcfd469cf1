//! Which replicas move next: off a broker that leaves, to and fro until a topic has the number it shall have, and to a broker
//! that joins until it has its share. Pure.
//!
//! A few partitions move at a time, and what is decided depends on the state alone, so that any metadata leader goes on where
//! the last one stopped. Moves that somebody else asked for are left alone: they count, and end before more begin.

mod load;
mod obstacle;
mod resize;

use std::collections::BTreeSet;

use crate::ids::{BrokerId, GroupId};
use crate::metadata::{AlterReassignment, ClusterState, Partition, Standing, Topic, TopicRef};
use crate::view::PartitionView;

use load::Load;
use obstacle::Obstacle;
pub use resize::{Resize, resize};

/// Partitions that move at once, at most.
pub const MOVES_AT_ONCE: usize = 5;

/// What to do now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Moves to begin.
    pub moves: Vec<AlterReassignment>,
    /// Brokers that joined and have their share, as far as they can have it.
    pub settled: Vec<BrokerId>,
}

/// How far a broker is with leaving or joining.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Partitions with a replica there that comes or goes now.
    pub moving: u32,
    /// What keeps a broker from leaving, for people: a move that cannot begin, or one that cannot end.
    pub blocked: Option<String>,
}

/// What to do in that state, of whose brokers these are heard. `view` gives what a partition's leader said a moment ago.
pub fn plan(
    state: &ClusterState,
    alive: &BTreeSet<BrokerId>,
    view: impl Fn(GroupId) -> Option<PartitionView>,
) -> Plan {
    if state.is_settled() && state.resizing().next().is_none() {
        return Plan::default();
    }
    let mut planner = Planner::new(state, alive);
    planner.empty_leaving();
    planner.resize(&view);
    if planner.nobody_leaves() {
        planner.fill_joining();
    }
    planner.plan
}

/// How far that broker is, of those in that state, of which these are heard.
pub fn progress(state: &ClusterState, alive: &BTreeSet<BrokerId>, broker: BrokerId) -> Progress {
    if state.standing(broker) == Standing::Settled {
        return Progress::default();
    }
    let planner = Planner::new(state, alive);
    let mut progress = Progress::default();
    for (topic, partition) in state.partitions().filter(|(_, it)| it.brokers().contains(&broker)) {
        let stays = partition.target().iter().any(|replica| replica.broker == broker);
        let moves = partition.reassignment.is_some() && (!stays || partition.adding().contains(&broker));
        progress.moving += u32::from(moves);
        if progress.blocked.is_none() && state.leaves(broker) {
            let obstacle = match partition.reassignment {
                Some(_) => planner.unheard_target(partition),
                None => planner.without_leaving(partition).err(),
            };
            progress.blocked = obstacle.map(|obstacle| obstacle.tell(topic, partition));
        }
    }
    progress
}

/// Whether a broker has so much less than its share that it should be given it: under half of it. `all` is the number of
/// replicas on these `brokers`.
pub fn lacks_share(replicas: u32, all: u32, brokers: u32) -> bool {
    replicas < share(all as usize, brokers as usize).div_ceil(2) as u32
}

fn share(replicas: usize, brokers: usize) -> usize {
    replicas / brokers.max(1)
}

struct Planner<'a> {
    state: &'a ClusterState,
    alive: &'a BTreeSet<BrokerId>,
    /// Brokers that may stop at any moment: they are given nothing.
    holders: BTreeSet<BrokerId>,
    load: Load,
    /// Moves that may begin now.
    room: usize,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(state: &'a ClusterState, alive: &'a BTreeSet<BrokerId>) -> Self {
        let room = MOVES_AT_ONCE.saturating_sub(state.reassignments().count());
        let holders = state.permits().holders();
        Self { state, alive, holders, load: Load::of(state), room, plan: Plan::default() }
    }

    /// Whether no broker that leaves has a replica: else the others wait with their share.
    fn nobody_leaves(&self) -> bool {
        let has_some = |broker: BrokerId| self.load.replicas(broker) > 0;
        !self.state.brokers_that_are(Standing::Leaving).any(has_some)
    }

    fn may_take(&self, broker: BrokerId) -> bool {
        self.alive.contains(&broker) && !self.holders.contains(&broker) && !self.state.leaves(broker)
    }

    fn rack(&self, broker: BrokerId) -> Option<&str> {
        self.state.broker(broker).and_then(|known| known.rack.as_deref())
    }

    fn racks(&self, brokers: &[BrokerId]) -> usize {
        brokers.iter().map(|broker| self.rack(*broker)).collect::<BTreeSet<_>>().len()
    }

    /// Has partitions leave those brokers that could lose all of theirs.
    fn empty_leaving(&mut self) {
        let can_go = self.can_go();
        for (topic, partition) in self.state.partitions() {
            if self.room == 0 {
                return;
            }
            let goes = partition.target().iter().any(|replica| can_go.contains(&replica.broker));
            if !goes || partition.reassignment.is_some() {
                continue;
            }
            if let Ok(target) = self.without_leaving(partition) {
                self.begin(topic, partition, target);
            }
        }
    }

    /// Brokers that leave and that no partition needs for the number of its replicas. To begin with the others would be in vain.
    fn can_go(&self) -> BTreeSet<BrokerId> {
        let staying = self.state.staying();
        let mut can_go: BTreeSet<BrokerId> = self.state.brokers_that_are(Standing::Leaving).collect();
        for (_, partition) in self.state.partitions().filter(|(_, it)| it.target().len() > staying) {
            can_go.retain(|broker| !partition.target().iter().any(|replica| replica.broker == *broker));
        }
        can_go
    }

    /// The brokers of a partition, with others in the place of those that leave: from racks that it is not in first, then those
    /// with the fewest replicas.
    fn without_leaving(&self, partition: &Partition) -> Result<Vec<BrokerId>, Obstacle> {
        let mut target: Vec<BrokerId> = partition.target().iter().map(|replica| replica.broker).collect();
        let places: Vec<usize> = (0..target.len()).filter(|at| self.state.leaves(target[*at])).collect();
        for at in places {
            let kept: Vec<BrokerId> =
                target.iter().copied().filter(|broker| !self.state.leaves(*broker)).collect();
            target[at] = self.taker(&kept).ok_or_else(|| Obstacle::of(self, &target, &kept))?;
        }
        Ok(target)
    }

    fn taker(&self, kept: &[BrokerId]) -> Option<BrokerId> {
        let crowd = |broker: BrokerId| kept.iter().filter(|it| self.rack(**it) == self.rack(broker)).count();
        let takers = self.state.brokers().map(|broker| broker.id);
        let takers = takers.filter(|broker| self.may_take(*broker) && !kept.contains(broker));
        takers.min_by_key(|broker| (crowd(*broker), self.load.replicas(*broker), *broker))
    }

    /// What keeps a move from its end: a broker that is to get a replica and is not heard.
    fn unheard_target(&self, partition: &Partition) -> Option<Obstacle> {
        let adding = partition.adding();
        adding.into_iter().find(|broker| !self.alive.contains(broker)).map(Obstacle::Unheard)
    }

    /// Gives brokers that joined their share, each replica from one of those that have most.
    fn fill_joining(&mut self) {
        let joining = self.state.brokers_that_are(Standing::Joining);
        let joining: Vec<BrokerId> = joining.filter(|broker| self.may_take(*broker)).collect();
        let share = share(self.load.all(), self.state.staying());
        for broker in joining {
            while self.load.replicas(broker) < share && self.room > 0 {
                let Some((topic, partition, target)) = self.gift(broker) else { break };
                self.begin(&topic, &partition, target);
            }
            let has_all = self.load.replicas(broker) >= share;
            let comes = self.state.reassignments().any(|(_, it)| it.brokers().contains(&broker));
            let begins = self.plan.moves.iter().any(|it| it.target.iter().flatten().any(|id| *id == broker));
            // Without room it is not known yet whether there is more to be had.
            if !comes && !begins && (has_all || self.room > 0) {
                self.plan.settled.push(broker);
            }
        }
    }

    /// A partition that could have a replica on that broker instead of on one that has more, without losing a rack.
    fn gift(&self, broker: BrokerId) -> Option<(Topic, Partition, Vec<BrokerId>)> {
        let mut givers: Vec<BrokerId> = self.state.brokers().map(|known| known.id).collect();
        givers.retain(|giver| self.load.replicas(*giver) > self.load.replicas(broker) + 1);
        givers.sort_by_key(|giver| (std::cmp::Reverse(self.load.replicas(*giver)), *giver));
        givers.into_iter().find_map(|giver| {
            self.state.partitions().find_map(|(topic, partition)| {
                let target = self.exchanged(topic, partition, giver, broker)?;
                Some((Topic::clone(topic), partition.clone(), target))
            })
        })
    }

    fn exchanged(
        &self,
        topic: &Topic,
        partition: &Partition,
        giver: BrokerId,
        taker: BrokerId,
    ) -> Option<Vec<BrokerId>> {
        let before: Vec<BrokerId> = partition.target().iter().map(|replica| replica.broker).collect();
        let at = before.iter().position(|broker| *broker == giver)?;
        if before.contains(&taker) || partition.reassignment.is_some() || self.begins(topic, partition) {
            return None;
        }
        let mut target = before.clone();
        target[at] = taker;
        (self.racks(&target) >= self.racks(&before)).then_some(target)
    }

    /// Whether the plan moves that partition already.
    fn begins(&self, topic: &Topic, partition: &Partition) -> bool {
        let mut moves = self.plan.moves.iter();
        moves.any(|it| it.partition == partition.number && it.topic == TopicRef::Id(topic.id))
    }

    /// Begins a move, with the leaderships as even as it can make them.
    fn begin(&mut self, topic: &Topic, partition: &Partition, target: Vec<BrokerId>) {
        let before: Vec<BrokerId> = partition.target().iter().map(|replica| replica.broker).collect();
        let target = self.load.lead(&before, target);
        self.begin_in_order(topic, partition, target);
    }

    /// Begins a move to these brokers in this order of preference.
    fn begin_in_order(&mut self, topic: &Topic, partition: &Partition, target: Vec<BrokerId>) {
        let before: Vec<BrokerId> = partition.target().iter().map(|replica| replica.broker).collect();
        self.load.exchange(&before, &target);
        self.room -= 1;
        let topic = TopicRef::Id(topic.id);
        self.plan.moves.push(AlterReassignment { topic, partition: partition.number, target: Some(target) });
    }
}

#[cfg(test)]
mod tests;
