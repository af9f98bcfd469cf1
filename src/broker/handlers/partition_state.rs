//! A partition's report in Kafka's terms, for Metadata and DescribeTopicPartitions. What is not known is not made up:
//! without a view there is no leader and no ISR.

use chronik_core::ids::BrokerId;
use chronik_core::metadata::{ClusterState, Partition, Topic};
use chronik_core::view::PartitionState as Known;
use kafka_protocol::messages;

use super::backend::Backend;
use super::endpoints::{self, NOBODY, epoch, node_id};
use super::errors::{LEADER_NOT_AVAILABLE, LISTENER_NOT_FOUND, NONE};

/// A partition as clients see it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PartitionState {
    pub(super) error: i16,
    pub(super) leader: messages::BrokerId,
    pub(super) epoch: i32,
    pub(super) replicas: Vec<messages::BrokerId>,
    pub(super) isr: Vec<messages::BrokerId>,
    pub(super) offline: Vec<messages::BrokerId>,
}

/// What to tell of one partition to a client that came through `listener`.
pub(super) fn of(
    backend: &dyn Backend,
    cluster: &ClusterState,
    topic: &Topic,
    partition: &Partition,
    listener: &str,
) -> PartitionState {
    let report = backend.report(topic, partition);
    let leader = match report.state {
        Known::Leader | Known::Caretaker => report.leader,
        Known::Offline | Known::Unknown => None,
    };
    let (error, leader) = reachable(backend, cluster, leader, listener);
    let offline = report.replicas.iter().copied().filter(|broker| !backend.is_alive(*broker));
    PartitionState {
        error,
        leader,
        epoch: match report.state {
            // E - 1 of a first leader is 0, and must stay older than E to clients that know E.
            Known::Caretaker => i32::try_from(report.epoch).unwrap_or(i32::MAX),
            _ => epoch(report.epoch),
        },
        isr: nodes(report.isr.unwrap_or_default()),
        offline: nodes(offline),
        replicas: nodes(report.replicas.iter().copied()),
    }
}

fn reachable(
    backend: &dyn Backend,
    cluster: &ClusterState,
    leader: Option<BrokerId>,
    listener: &str,
) -> (i16, messages::BrokerId) {
    match leader {
        Some(id) if endpoints::of(backend, cluster, id, listener).is_some() => (NONE, node_id(id)),
        Some(id) if backend.is_alive(id) && cluster.broker(id).is_some() => (LISTENER_NOT_FOUND, NOBODY),
        _ => (LEADER_NOT_AVAILABLE, NOBODY),
    }
}

fn nodes(brokers: impl IntoIterator<Item = BrokerId>) -> Vec<messages::BrokerId> {
    brokers.into_iter().map(node_id).collect()
}
