//! ListPartitionReassignments: the moves of replicas that are under way, of all topics or of those asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chronik_core::ids::BrokerId;
use chronik_core::metadata::Partition;
use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    self, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::Handlers;
use super::endpoints::node_id;
use crate::server::RequestContext;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    _context: RequestContext,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let wanted: Option<BTreeSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let partitions = topics.iter().flat_map(|topic| {
            topic.partition_indexes.iter().map(|partition| (topic.name.as_str(), *partition))
        });
        partitions.collect()
    });
    let cluster = handlers.backend.cluster();
    let mut moving: BTreeMap<&str, Vec<OngoingPartitionReassignment>> = BTreeMap::new();
    for (topic, partition) in cluster.reassignments() {
        let asked = |wanted: &BTreeSet<_>| wanted.contains(&(topic.name.as_str(), partition.number));
        // One replica for another on the same broker is no move that Kafka knows.
        let between_brokers = !(partition.adding().is_empty() && partition.removing().is_empty());
        if between_brokers && wanted.as_ref().is_none_or(asked) {
            moving.entry(&topic.name).or_default().push(shown(partition));
        }
    }
    let topics = moving.into_iter().map(|(name, partitions)| {
        let name = TopicName(StrBytes::from_string(name.to_owned()));
        OngoingTopicReassignment::default().with_name(name).with_partitions(partitions)
    });
    ListPartitionReassignmentsResponse::default().with_topics(topics.collect())
}

fn shown(partition: &Partition) -> OngoingPartitionReassignment {
    OngoingPartitionReassignment::default()
        .with_partition_index(partition.number)
        .with_replicas(nodes(partition.brokers()))
        .with_adding_replicas(nodes(partition.adding()))
        .with_removing_replicas(nodes(partition.removing()))
}

fn nodes(brokers: Vec<BrokerId>) -> Vec<messages::BrokerId> {
    brokers.into_iter().map(node_id).collect()
}
