//! A topic that shall have another number of replicas: which broker gets one, and which gives one up.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::Planner;
use crate::ids::{BrokerId, GroupId};
use crate::metadata::{AlterReassignment, ClusterState, Partition, Topic, TopicRef};
use crate::view::PartitionView;

/// How far a topic is on its way to another number of replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resize {
    /// Replicas that each partition shall have.
    pub replicas: u32,
    /// Partitions that have them, and of which nothing moves.
    pub done: u32,
    /// What the first partition that is neither there nor on its way waits for, for people.
    pub blocked: Option<String>,
}

/// How far that topic is, if it is to have another number of replicas. The arguments are those of [`plan`](super::plan).
pub fn resize(
    state: &ClusterState,
    alive: &BTreeSet<BrokerId>,
    view: impl Fn(GroupId) -> Option<PartitionView>,
    topic: &Topic,
) -> Option<Resize> {
    let replicas = state.wanted_replicas(topic.id)?;
    let (planner, wanted) = (Planner::new(state, alive), replicas as usize);
    let is_done = |it: &&Partition| it.reassignment.is_none() && it.target().len() == wanted;
    let done = topic.partitions.iter().filter(is_done).count() as u32;
    let mut left = topic.partitions.iter().filter(|it| !is_done(it));
    let blocked = left.find_map(|partition| match partition.reassignment {
        Some(_) => planner.unheard_target(partition).map(|obstacle| obstacle.tell(topic, partition)),
        None => planner.resized(topic, partition, wanted, view(partition.group)).err(),
    });
    Some(Resize { replicas, done, blocked })
}

impl Planner<'_> {
    /// Brings partitions to the number of replicas that their topics shall have. One that moves already ends first.
    pub(super) fn resize(&mut self, view: &impl Fn(GroupId) -> Option<PartitionView>) {
        for (topic, wanted) in self.state.resizing() {
            for partition in &topic.partitions {
                if self.room == 0 {
                    return;
                }
                let is_left = partition.reassignment.is_none() && partition.target().len() != wanted;
                if !is_left || self.begins(topic, partition) {
                    continue;
                }
                if let Ok(target) = self.resized(topic, partition, wanted, view(partition.group)) {
                    self.begin_in_order(topic, partition, target);
                }
            }
        }
    }

    /// The brokers of a partition with so many replicas, those that stay in their order; or what that waits for.
    fn resized(
        &self,
        topic: &Topic,
        partition: &Partition,
        wanted: usize,
        view: Option<PartitionView>,
    ) -> Result<Vec<BrokerId>, String> {
        let mut target: Vec<BrokerId> = partition.target().iter().map(|replica| replica.broker).collect();
        let name = || format!("{}/{}", topic.name, partition.number);
        if target.len() > wanted {
            let view = view.filter(|view| !view.provisional);
            let view = view.ok_or_else(|| format!("the ISR of {} is not known", name()))?;
            self.give_up(&mut target, wanted, &view);
            let in_sync = target.iter().filter(|broker| self.is_in_sync(**broker, &view)).count();
            let needed = wanted.min(view.effective_min_isr as usize);
            if in_sync < needed {
                return Err(format!(
                    "of {} {in_sync} replicas that stay are in sync, and {needed} have to be",
                    name()
                ));
            }
        }
        while target.len() < wanted {
            let taker = self.taker(&target).ok_or_else(|| {
                format!("of the brokers that could take a replica of {} none is heard and stays up", name())
            })?;
            target.push(taker);
        }
        let topic = TopicRef::Id(topic.id);
        let wanted = AlterReassignment { topic, partition: partition.number, target: Some(target.clone()) };
        self.state.validate_alter_reassignment(&wanted).map_err(|refusal| refusal.to_string())?;
        Ok(target)
    }

    fn is_in_sync(&self, broker: BrokerId, view: &PartitionView) -> bool {
        view.isr.contains(&broker) && self.alive.contains(&broker)
    }

    /// Takes brokers out until so many are left. Whoever is out of sync goes first, then whoever leaves; the leader stays if
    /// it can, then as many racks as can, then the preferred leader; of equals the one with most replicas goes.
    fn give_up(&self, target: &mut Vec<BrokerId>, wanted: usize, view: &PartitionView) {
        while target.len() > wanted {
            let first = target[0];
            let crowd =
                |broker: BrokerId| target.iter().filter(|it| self.rack(**it) == self.rack(broker)).count();
            let worth = |broker: BrokerId| {
                let stays =
                    (self.is_in_sync(broker, view), !self.state.leaves(broker), broker == view.leader);
                let order = (Reverse(crowd(broker)), broker == first);
                (stays, order, Reverse(self.load.replicas(broker)), Reverse(broker))
            };
            let Some(least) = target.iter().copied().min_by_key(|broker| worth(*broker)) else { return };
            target.retain(|broker| *broker != least);
        }
    }
}
