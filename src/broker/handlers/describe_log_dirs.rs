//! DescribeLogDirs: the one data folder of this broker, the replicas in it, and how large their logs are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chronik_core::metadata::Topic;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Handlers;
use super::backend::Backend;
use crate::server::{RequestContext, Room};

/// What an answer has at most of each.
const TOPIC_BYTES: usize = 260;
const PARTITION_BYTES: usize = 24;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    _context: RequestContext,
    request: DescribeLogDirsRequest,
) -> (DescribeLogDirsResponse, Option<Room>) {
    let backend = handlers.backend.as_ref();
    let cluster = backend.cluster();
    let most = TOPIC_BYTES * cluster.topics().len() + PARTITION_BYTES * cluster.partition_count();
    let room = handlers.answers.room_for(most).await;
    let topics = match &request.topics {
        None => cluster.topics().filter_map(|topic| held(backend, topic, |_| true)).collect(),
        Some(wanted) => {
            let find = |name: &str| cluster.topic_by_name(name);
            // A topic that is named more than once is looked at once.
            let mut asked: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
            for topic in wanted {
                asked.entry(&topic.topic).or_default().extend(&topic.partitions);
            }
            let topics = asked.into_iter().filter_map(|(name, partitions)| {
                held(backend, find(name)?, |partition| partitions.contains(&partition))
            });
            topics.collect()
        }
    };
    let folder = backend.broker_values().get("log.dirs").map(|known| known.value.clone()).unwrap_or_default();
    // The folder's own size is not looked up: the defaults of both byte counts say that they are not known.
    let result =
        DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(folder)).with_topics(topics);
    (DescribeLogDirsResponse::default().with_results(vec![result]), Some(room))
}

/// The partitions of a topic that this broker holds; nothing if there are none.
fn held(backend: &dyn Backend, topic: &Topic, wanted: impl Fn(i32) -> bool) -> Option<DescribeLogDirsTopic> {
    let numbers = topic.partitions.iter().map(|partition| partition.number).filter(|number| wanted(*number));
    let partitions: Vec<_> = numbers
        .filter_map(|number| {
            let replica = backend.replica(topic.id, number)?;
            let partition = DescribeLogDirsPartition::default()
                .with_partition_index(number)
                .with_partition_size(i64::try_from(replica.size_bytes()).unwrap_or(i64::MAX))
                .with_offset_lag((replica.high_watermark() - replica.log_end_offset()).max(0));
            Some(partition)
        })
        .collect();
    let name = TopicName(StrBytes::from_string(topic.name.clone()));
    (!partitions.is_empty())
        .then(|| DescribeLogDirsTopic::default().with_name(name).with_partitions(partitions))
}
