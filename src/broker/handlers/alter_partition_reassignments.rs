//! AlterPartitionReassignments: says where replicas shall be, or takes that back. The move itself is the engine's.

use std::sync::Arc;

use chronik_core::metadata::{AlterReassignment, Command, TopicRef};
use futures::StreamExt;
use kafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, TopicName,
};
use tokio::time::Instant;

use super::Handlers;
use super::backend::Backend;
use super::create_topics::broker_ids;
use super::errors::{Failure, INVALID_REPLICATION_FACTOR};
use super::proposals::{AT_ONCE, deadline, propose};
use crate::server::RequestContext;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    _context: RequestContext,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let any_factor = request.allow_replication_factor_change;
    let moves =
        Moves { backend: handlers.backend.as_ref(), deadline: deadline(request.timeout_ms), any_factor };
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let results: Vec<_> =
            topic.partitions.iter().map(|wanted| moves.result(&topic.name, wanted)).collect();
        let results = futures::stream::iter(results).buffered(AT_ONCE).collect().await;
        let response = ReassignableTopicResponse::default().with_name(topic.name.clone());
        responses.push(response.with_partitions(results));
    }
    AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(any_factor)
        .with_responses(responses)
}

struct Moves<'a> {
    backend: &'a dyn Backend,
    deadline: Instant,
    any_factor: bool,
}

impl Moves<'_> {
    async fn result(
        &self,
        topic: &TopicName,
        wanted: &ReassignablePartition,
    ) -> ReassignablePartitionResponse {
        let result = ReassignablePartitionResponse::default().with_partition_index(wanted.partition_index);
        match self.alter(topic, wanted).await {
            Ok(()) => result,
            Err(failure) => result.with_error_code(failure.code).with_error_message(failure.text()),
        }
    }

    async fn alter(&self, topic: &TopicName, wanted: &ReassignablePartition) -> Result<(), Failure> {
        let command = AlterReassignment {
            topic: TopicRef::Name(topic.to_string()),
            partition: wanted.partition_index,
            target: wanted.replicas.as_deref().map(broker_ids).transpose()?,
        };
        self.backend.cluster().validate_alter_reassignment(&command)?;
        self.check_factor(&command)?;
        propose(self.backend, Command::AlterReassignment(command), self.deadline).await?;
        Ok(())
    }

    fn check_factor(&self, wanted: &AlterReassignment) -> Result<(), Failure> {
        let cluster = self.backend.cluster();
        let topic = cluster.find_topic(&wanted.topic)?;
        match (topic.partition(wanted.partition), &wanted.target) {
            (Some(partition), Some(target))
                if !self.any_factor && target.len() != partition.target().len() =>
            {
                let (partition, has, asked) = (wanted.partition, partition.target().len(), target.len());
                let message = format!(
                    "replicas of partition {partition} = of {asked} brokers is not allowed: {has}, as it has, since \
                     allow.replication.factor.change is false"
                );
                Err(Failure::new(INVALID_REPLICATION_FACTOR, message))
            }
            _ => Ok(()),
        }
    }
}
