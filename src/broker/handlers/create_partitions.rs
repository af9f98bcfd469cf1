//! CreatePartitions: adds partitions to topics; there are never fewer.

use std::collections::BTreeSet;
use std::sync::Arc;

use chronik_core::ids::BrokerId;
use chronik_core::metadata::{Command, CreatePartitions, NewPartitions, TopicRef};
use futures::StreamExt;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName};
use tokio::time::Instant;

use super::Handlers;
use super::backend::Backend;
use super::create_topics::broker_ids;
use super::errors::Failure;
use super::proposals::{AT_ONCE, Once, alive, await_leaders, deadline, propose, repeated};
use crate::server::RequestContext;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    _context: RequestContext,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut once = Once::new(request.topics.iter().map(|topic| topic.name.clone()));
    let wanted: Vec<_> = request.topics.iter().filter(|topic| once.is_first(&topic.name)).collect();
    let growth = Growth {
        backend: handlers.backend.as_ref(),
        deadline: deadline(request.timeout_ms),
        validate_only: request.validate_only,
        once,
    };
    let results: Vec<_> = wanted.into_iter().map(|topic| growth.result(topic)).collect();
    let results = futures::stream::iter(results).buffered(AT_ONCE);
    CreatePartitionsResponse::default().with_results(results.collect().await)
}

struct Growth<'a> {
    backend: &'a dyn Backend,
    deadline: Instant,
    validate_only: bool,
    once: Once<TopicName>,
}

impl Growth<'_> {
    async fn result(&self, wanted: &CreatePartitionsTopic) -> CreatePartitionsTopicResult {
        let result = CreatePartitionsTopicResult::default().with_name(wanted.name.clone());
        match self.grow(wanted).await {
            Ok(()) => result,
            Err(failure) => result.with_error_code(failure.code).with_error_message(failure.text()),
        }
    }

    async fn grow(&self, wanted: &CreatePartitionsTopic) -> Result<(), Failure> {
        if self.once.is_repeated(&wanted.name) {
            return Err(repeated(&wanted.name));
        }
        let cluster = self.backend.cluster();
        let command = CreatePartitions {
            topic: TopicRef::Name(wanted.name.to_string()),
            count: wanted.count,
            replicas: replicas(wanted, alive(self.backend, &cluster))?,
        };
        let (topic, _) = cluster.validate_create_partitions(&command)?;
        if !self.validate_only {
            propose(self.backend, Command::CreatePartitions(command), self.deadline).await?;
            await_leaders(self.backend, topic.id, topic.partitions.len(), self.deadline).await;
        }
        Ok(())
    }
}

fn replicas(wanted: &CreatePartitionsTopic, alive: BTreeSet<BrokerId>) -> Result<NewPartitions, Failure> {
    match &wanted.assignments {
        None => Ok(NewPartitions::Placed { alive }),
        Some(assignments) => {
            let manual: Result<_, _> = assignments.iter().map(|a| broker_ids(&a.broker_ids)).collect();
            manual.map(NewPartitions::Manual)
        }
    }
}
