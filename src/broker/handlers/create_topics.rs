//! CreateTopics: each topic is judged against the applied state, then created through the metadata leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chronik_core::config::describe_topic;
use chronik_core::ids::{BrokerId, TopicId};
use chronik_core::metadata::{Applied, Command, CreateTopic, TopicReplicas};
use futures::StreamExt;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::Handlers;
use super::backend::Backend;
use super::errors::{Failure, INVALID_CONFIG, INVALID_REPLICA_ASSIGNMENT, INVALID_REQUEST};
use super::proposals::{AT_ONCE, Once, alive, await_leaders, deadline, propose, repeated};
use crate::server::RequestContext;

/// First version whose answers say how the topic turned out.
const DETAILS_FROM: i16 = 5;
/// "The broker's default", as Kafka says it.
const DEFAULT: i32 = -1;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    context: RequestContext,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut once = Once::new(request.topics.iter().map(|topic| topic.name.clone()));
    let wanted: Vec<_> = request.topics.iter().filter(|topic| once.is_first(&topic.name)).collect();
    let creation = Creation {
        backend: handlers.backend.as_ref(),
        deadline: deadline(request.timeout_ms),
        validate_only: request.validate_only,
        once,
        version: context.api_version,
    };
    let results: Vec<_> = wanted.into_iter().map(|topic| creation.result(topic)).collect();
    let results = futures::stream::iter(results).buffered(AT_ONCE);
    CreateTopicsResponse::default().with_topics(results.collect().await)
}

struct Creation<'a> {
    backend: &'a dyn Backend,
    deadline: Instant,
    validate_only: bool,
    once: Once<TopicName>,
    version: i16,
}

/// A topic as it was made, or would be.
struct Created {
    id: Uuid,
    partitions: usize,
    replication_factor: usize,
    configs: BTreeMap<String, String>,
}

impl Creation<'_> {
    async fn result(&self, wanted: &CreatableTopic) -> CreatableTopicResult {
        let result = CreatableTopicResult::default().with_name(wanted.name.clone()).with_error_message(None);
        match self.create(wanted).await {
            Ok(created) if self.version >= DETAILS_FROM => result
                .with_topic_id(created.id)
                .with_num_partitions(i32::try_from(created.partitions).unwrap_or(i32::MAX))
                .with_replication_factor(i16::try_from(created.replication_factor).unwrap_or(i16::MAX))
                .with_configs(Some(self.configs(&created.configs))),
            Ok(_) => result,
            Err(failure) => result.with_error_code(failure.code).with_error_message(failure.text()),
        }
    }

    async fn create(&self, wanted: &CreatableTopic) -> Result<Created, Failure> {
        if self.once.is_repeated(&wanted.name) {
            return Err(repeated(&wanted.name));
        }
        let cluster = self.backend.cluster();
        let command = CreateTopic {
            id: TopicId(Uuid::new_v4()),
            name: wanted.name.to_string(),
            replicas: self.replicas(wanted, alive(self.backend, &cluster))?,
            configs: configs(wanted)?,
        };
        let assignments = cluster.validate_create_topic(&command)?;
        let mut created = Created {
            id: Uuid::nil(),
            partitions: assignments.len(),
            replication_factor: assignments.first().map_or(0, Vec::len),
            configs: command.configs.clone(),
        };
        if self.validate_only {
            return Ok(created);
        }
        if let Applied::TopicCreated { topic, .. } =
            propose(self.backend, Command::CreateTopic(command), self.deadline).await?
        {
            created.id = topic.0;
            await_leaders(self.backend, topic, 0, self.deadline).await;
        }
        Ok(created)
    }

    fn replicas(&self, wanted: &CreatableTopic, alive: BTreeSet<BrokerId>) -> Result<TopicReplicas, Failure> {
        let (partitions, factor) = (wanted.num_partitions, i32::from(wanted.replication_factor));
        if wanted.assignments.is_empty() {
            let defaults = self.backend.creation_defaults();
            let or_default = |value, default| if value == DEFAULT { default } else { value };
            return Ok(TopicReplicas::Placed {
                partitions: or_default(partitions, defaults.partitions),
                replication_factor: or_default(factor, defaults.replication_factor),
                alive,
            });
        }
        if (partitions, factor) != (DEFAULT, DEFAULT) {
            let message = format!(
                "partitions {partitions} and replication factor {factor} are not allowed beside a manual \
                 assignment: both must be -1"
            );
            return Err(Failure::new(INVALID_REQUEST, message));
        }
        manual(&wanted.assignments).map(TopicReplicas::Manual)
    }

    fn configs(&self, set: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
        let entries = describe_topic(set, &self.backend.broker_values()).into_iter();
        entries
            .map(|entry| {
                CreatableTopicConfigs::default()
                    .with_name(StrBytes::from_static_str(entry.name))
                    .with_value(Some(StrBytes::from_string(entry.value)))
                    .with_read_only(entry.read_only)
                    .with_config_source(entry.source.kafka_code())
                    .with_is_sensitive(entry.sensitive)
            })
            .collect()
    }
}

/// Assignments by partition: every number from 0 on must be there once, in any order.
fn manual(assignments: &[CreatableReplicaAssignment]) -> Result<Vec<Vec<BrokerId>>, Failure> {
    let mut by_partition = BTreeMap::new();
    for assignment in assignments {
        let brokers = broker_ids(&assignment.broker_ids)?;
        if by_partition.insert(assignment.partition_index, brokers).is_some() {
            let message = format!("partition {} is assigned more than once", assignment.partition_index);
            return Err(Failure::new(INVALID_REPLICA_ASSIGNMENT, message));
        }
    }
    if let Some((wrong, _)) = (0..).zip(by_partition.keys()).find(|(expected, given)| expected != *given) {
        let message =
            format!("partition {wrong} is not assigned: partitions must be numbered from 0 without gaps");
        return Err(Failure::new(INVALID_REPLICA_ASSIGNMENT, message));
    }
    Ok(by_partition.into_values().collect())
}

/// Broker numbers of an assignment.
pub(super) fn broker_ids(ids: &[kafka_protocol::messages::BrokerId]) -> Result<Vec<BrokerId>, Failure> {
    let known = |id: &kafka_protocol::messages::BrokerId| {
        u32::try_from(id.0).map(BrokerId).map_err(|_| {
            let message = format!("broker {} is not allowed: registered brokers only", id.0);
            Failure::new(INVALID_REPLICA_ASSIGNMENT, message)
        })
    };
    ids.iter().map(known).collect()
}

/// Of a config that stands there more than once the last value holds, as in Kafka.
fn configs(wanted: &CreatableTopic) -> Result<BTreeMap<String, String>, Failure> {
    let mut configs = BTreeMap::new();
    for config in &wanted.configs {
        let Some(value) = &config.value else {
            let message = format!("topic config {} must have a value", config.name.as_str());
            return Err(Failure::new(INVALID_CONFIG, message));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    Ok(configs)
}
