//! DescribeTopicPartitions: what Metadata says of partitions, a page at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use chronik_core::metadata::{ClusterState, Partition, Topic, validate_topic_name};
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::access::topic_operations;
use super::backend::Backend;
use super::errors::{INVALID_REQUEST, INVALID_TOPIC_EXCEPTION, UNKNOWN_TOPIC_OR_PARTITION};
use super::{Handlers, partition_state};
use crate::server::RequestContext;

/// Most partitions in one answer, Kafka's `max.request.partition.size.limit`.
const LIMIT: i32 = 2_000;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    context: RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let backend = handlers.backend.as_ref();
    let cluster = backend.cluster();
    let (from, first) = match &request.cursor {
        None => ("", 0),
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index),
    };
    let names = names(&cluster, &request, from);
    let Ok(first) = usize::try_from(first) else {
        let refused = names.into_iter().map(|name| failed(&name, INVALID_REQUEST));
        return DescribeTopicPartitionsResponse::default().with_topics(refused.collect());
    };
    let limit = request.response_partition_limit.clamp(1, LIMIT) as usize;
    let mut page = Page { backend, cluster: &cluster, context: &context, room: limit, topics: Vec::new() };
    let next = names.iter().find_map(|name| page.add(name, if name == from { first } else { 0 }));
    DescribeTopicPartitionsResponse::default().with_topics(page.topics).with_next_cursor(next)
}

/// The topics asked for, or all of them, from the cursor on, in order.
fn names(cluster: &ClusterState, request: &DescribeTopicPartitionsRequest, from: &str) -> BTreeSet<String> {
    let onwards = |name: &String| name.as_str() >= from;
    if request.topics.is_empty() {
        return cluster.topics().map(|topic| topic.name.clone()).filter(onwards).collect();
    }
    request.topics.iter().map(|topic| topic.name.to_string()).filter(onwards).collect()
}

fn failed(name: &str, code: i16) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code)
        .with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))))
        .with_topic_authorized_operations(topic_operations(false))
}

struct Page<'a> {
    backend: &'a dyn Backend,
    cluster: &'a ClusterState,
    context: &'a RequestContext,
    /// Partitions that still fit.
    room: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
}

impl Page<'_> {
    /// Adds a topic from its partition `first` on. When the page is full it says where the next one begins.
    fn add(&mut self, name: &str, first: usize) -> Option<Cursor> {
        let Some(topic) = self.cluster.topic_by_name(name) else {
            let invalid = validate_topic_name(name).is_err();
            let code = if invalid { INVALID_TOPIC_EXCEPTION } else { UNKNOWN_TOPIC_OR_PARTITION };
            self.topics.push(failed(name, code));
            return None;
        };
        if self.room == 0 {
            return Some(cursor(name, first));
        }
        let shown: Vec<_> = topic.partitions.iter().skip(first).take(self.room).collect();
        self.room -= shown.len();
        let next = first + shown.len();
        let partitions = shown.into_iter().map(|partition| self.partition(topic, partition)).collect();
        self.topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
                .with_topic_id(topic.id.0)
                .with_topic_authorized_operations(topic_operations(true))
                .with_partitions(partitions),
        );
        (next < topic.partitions.len()).then(|| cursor(name, next))
    }

    fn partition(&self, topic: &Topic, partition: &Partition) -> DescribeTopicPartitionsResponsePartition {
        let listener = &self.context.listener;
        let state = partition_state::of(self.backend, self.cluster, topic, partition, listener);
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(state.error)
            .with_partition_index(partition.number)
            .with_leader_id(state.leader)
            .with_leader_epoch(state.epoch)
            .with_replica_nodes(state.replicas)
            .with_isr_nodes(state.isr)
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
            .with_offline_replicas(state.offline)
    }
}

fn cursor(name: &str, partition: usize) -> Cursor {
    Cursor::default()
        .with_topic_name(TopicName(StrBytes::from_string(name.to_owned())))
        .with_partition_index(i32::try_from(partition).unwrap_or(i32::MAX))
}
