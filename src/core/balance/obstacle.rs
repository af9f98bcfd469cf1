//! Why a partition cannot leave a broker, in words that say what to do.

use super::Planner;
use crate::ids::BrokerId;
use crate::metadata::{Partition, Topic};

/// What stands against a move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Obstacle {
    /// The partition has more replicas than that many brokers that stay.
    TooFew(usize),
    /// Brokers that could take the replica, and are not heard or may stop.
    Away(Vec<BrokerId>),
    /// The broker that the replica moves to is not heard.
    Unheard(BrokerId),
}

impl Obstacle {
    /// Why nobody takes a replica of a partition on `target`, of which these brokers are `kept`.
    pub(super) fn of(planner: &Planner<'_>, target: &[BrokerId], kept: &[BrokerId]) -> Self {
        let staying = planner.state.staying();
        if target.len() > staying {
            return Self::TooFew(staying);
        }
        let brokers = planner.state.brokers().map(|broker| broker.id);
        Self::Away(brokers.filter(|id| !planner.state.leaves(*id) && !kept.contains(id)).collect())
    }

    pub(super) fn tell(&self, topic: &Topic, partition: &Partition) -> String {
        let (name, number) = (&topic.name, partition.number);
        match self {
            Self::TooFew(1) => format!(
                "topic {name} has {} replicas, and 1 broker would be left: keep this broker, lower the replicas of the topic, \
                 or delete it",
                partition.target().len()
            ),
            Self::TooFew(left) => format!(
                "topic {name} has {} replicas, and {left} brokers would be left: keep this broker, lower the replicas of the \
                 topic, or delete it",
                partition.target().len()
            ),
            Self::Away(brokers) => {
                let brokers: Vec<String> = brokers.iter().map(BrokerId::to_string).collect();
                format!(
                    "{name}/{number} has nowhere to go: of the brokers that could take it ({}) none is heard and stays up; \
                     start one, or add one",
                    brokers.join(", ")
                )
            }
            Self::Unheard(broker) => format!(
                "{name}/{number} moves to broker {broker}, which is not heard: start it, or take the move back \
                 (kafka-reassign-partitions --cancel)"
            ),
        }
    }
}
