//! How many replicas and preferred leaderships each broker has, once all moves that are under way have ended.

use std::collections::BTreeMap;

use crate::ids::BrokerId;
use crate::metadata::ClusterState;

#[derive(Clone, Copy, Default)]
struct Count {
    replicas: usize,
    leads: usize,
}

/// The counts by broker.
pub(super) struct Load(BTreeMap<BrokerId, Count>);

impl Load {
    pub(super) fn of(state: &ClusterState) -> Self {
        let mut load = Self(BTreeMap::new());
        for (_, partition) in state.partitions() {
            for (at, replica) in partition.target().iter().enumerate() {
                let count = load.0.entry(replica.broker).or_default();
                count.replicas += 1;
                count.leads += usize::from(at == 0);
            }
        }
        load
    }

    pub(super) fn replicas(&self, broker: BrokerId) -> usize {
        self.0.get(&broker).map_or(0, |count| count.replicas)
    }

    fn leads(&self, broker: BrokerId) -> usize {
        self.0.get(&broker).map_or(0, |count| count.leads)
    }

    /// Replicas of all brokers.
    pub(super) fn all(&self) -> usize {
        self.0.values().map(|count| count.replicas).sum()
    }

    /// The brokers of a move in their order of preference: if the first goes, the one that leads least follows it; else a
    /// newcomer leads if the first leads so much more that it evens them out.
    pub(super) fn lead(&self, before: &[BrokerId], mut target: Vec<BrokerId>) -> Vec<BrokerId> {
        let first = before[0];
        let stays = target.contains(&first);
        let newcomers = target.iter().copied().filter(|broker| !before.contains(broker));
        let next = match stays {
            false => target.iter().copied().min_by_key(|broker| self.leads(*broker)),
            true => newcomers
                .min_by_key(|broker| self.leads(*broker))
                .filter(|broker| self.leads(*broker) + 1 < self.leads(first)),
        };
        if let Some(next) = next {
            target.retain(|broker| *broker != next);
            target.insert(0, next);
        }
        target
    }

    /// Counts a partition on other brokers.
    pub(super) fn exchange(&mut self, before: &[BrokerId], target: &[BrokerId]) {
        for (at, broker) in before.iter().enumerate() {
            let count = self.0.entry(*broker).or_default();
            count.replicas -= 1;
            count.leads -= usize::from(at == 0);
        }
        for (at, broker) in target.iter().enumerate() {
            let count = self.0.entry(*broker).or_default();
            count.replicas += 1;
            count.leads += usize::from(at == 0);
        }
    }
}
