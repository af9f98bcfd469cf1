//! Metadata: brokers, topics, and of each partition the leader and the true ISR. It creates no topic.

use std::collections::BTreeSet;
use std::sync::Arc;

use chronik_core::ids::TopicId;
use chronik_core::metadata::{ClusterState, Topic, validate_topic_name};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::access::{cluster_operations, topic_operations};
use super::backend::Backend;
use super::endpoints::{self, Endpoint};
use super::errors::{
    INVALID_REQUEST, INVALID_TOPIC_EXCEPTION, LEADER_NOT_AVAILABLE, LISTENER_NOT_FOUND, UNKNOWN_TOPIC_ID,
    UNKNOWN_TOPIC_OR_PARTITION,
};
use super::{Handlers, partition_state};
use crate::server::{RequestContext, Room};

/// What an answer has at most of each: names and racks are short, and most partitions have three replicas.
const BROKER_BYTES: usize = 600;
const TOPIC_BYTES: usize = 300;
const PARTITION_BYTES: usize = 80;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    context: RequestContext,
    request: MetadataRequest,
) -> (MetadataResponse, Option<Room>) {
    let backend = handlers.backend.as_ref();
    let cluster = backend.cluster();
    let room = handlers.answers.room_for(size(&cluster, &request)).await;
    let endpoints = endpoints::listed(backend, &cluster, &context.listener);
    let ask = Ask { backend, cluster: &cluster, context: &context, request: &request };
    let cluster_operations_asked = request.include_cluster_authorized_operations;
    let answer = MetadataResponse::default()
        .with_controller_id(endpoints::controller(backend, &endpoints))
        .with_cluster_id(Some(StrBytes::from_string(cluster.cluster().to_string())))
        .with_brokers(endpoints.iter().map(broker).collect())
        .with_cluster_authorized_operations(cluster_operations(cluster_operations_asked))
        .with_topics(ask.topics());
    (answer, Some(room))
}

/// About how long the answer will be, rather more than less.
fn size(cluster: &ClusterState, request: &MetadataRequest) -> usize {
    let partitions = match request.topics.as_deref() {
        Some(topics @ [_, ..]) => topics.iter().map(|wanted| partitions(cluster, wanted)).sum(),
        _ => cluster.partition_count(),
    };
    let topics = request.topics.as_ref().map_or(0, Vec::len).max(cluster.topics().len().min(partitions));
    BROKER_BYTES * cluster.brokers().len() + TOPIC_BYTES * topics + PARTITION_BYTES * partitions
}

fn partitions(cluster: &ClusterState, wanted: &MetadataRequestTopic) -> usize {
    let topic = match &wanted.name {
        Some(name) if wanted.topic_id.is_nil() => cluster.topic_by_name(name),
        _ => cluster.topic(TopicId(wanted.topic_id)),
    };
    topic.map_or(0, |topic| topic.partitions.len())
}

fn broker(endpoint: &Endpoint) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(endpoint.node())
        .with_host(endpoint.host())
        .with_port(endpoint.port())
        .with_rack(endpoint.rack())
}

struct Ask<'a> {
    backend: &'a dyn Backend,
    cluster: &'a ClusterState,
    context: &'a RequestContext,
    request: &'a MetadataRequest,
}

impl Ask<'_> {
    /// Null asks for every topic; in version 0, which has no null, an empty list does.
    fn topics(&self) -> Vec<MetadataResponseTopic> {
        match &self.request.topics {
            Some(topics) if !topics.is_empty() || self.context.api_version > 0 => {
                let mut seen = BTreeSet::new();
                let once = topics.iter().filter(|wanted| seen.insert((wanted.name.clone(), wanted.topic_id)));
                once.map(|wanted| self.wanted(wanted)).collect()
            }
            _ => self.cluster.topics().map(|topic| self.topic(topic)).collect(),
        }
    }

    fn wanted(&self, wanted: &MetadataRequestTopic) -> MetadataResponseTopic {
        let failed = |code| {
            MetadataResponseTopic::default()
                .with_error_code(code)
                .with_name(wanted.name.clone())
                .with_topic_id(wanted.topic_id)
        };
        if !wanted.topic_id.is_nil() {
            let known = self.cluster.topic(TopicId(wanted.topic_id));
            return known.map_or_else(|| failed(UNKNOWN_TOPIC_ID).with_name(None), |topic| self.topic(topic));
        }
        let Some(name) = &wanted.name else { return failed(INVALID_REQUEST) };
        match self.cluster.topic_by_name(name) {
            Some(topic) => self.topic(topic),
            None if validate_topic_name(name).is_err() => failed(INVALID_TOPIC_EXCEPTION),
            None => failed(UNKNOWN_TOPIC_OR_PARTITION),
        }
    }

    fn topic(&self, topic: &Topic) -> MetadataResponseTopic {
        let operations_asked = self.request.include_topic_authorized_operations;
        MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
            .with_topic_id(topic.id.0)
            .with_topic_authorized_operations(topic_operations(operations_asked))
            .with_partitions(topic.partitions.iter().map(|p| self.partition(topic, p)).collect())
    }

    fn partition(
        &self,
        topic: &Topic,
        partition: &chronik_core::metadata::Partition,
    ) -> MetadataResponsePartition {
        let listener = &self.context.listener;
        let state = partition_state::of(self.backend, self.cluster, topic, partition, listener);
        // Clients older than version 6 do not know 72.
        let error = match state.error {
            LISTENER_NOT_FOUND if self.context.api_version < 6 => LEADER_NOT_AVAILABLE,
            error => error,
        };
        MetadataResponsePartition::default()
            .with_error_code(error)
            .with_partition_index(partition.number)
            .with_leader_id(state.leader)
            .with_leader_epoch(state.epoch)
            .with_replica_nodes(state.replicas)
            .with_isr_nodes(state.isr)
            .with_offline_replicas(state.offline)
    }
}
