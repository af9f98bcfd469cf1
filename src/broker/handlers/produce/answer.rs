//! The answer to a Produce: awaits each batch's outcome and gives it its code.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chronik_core::ids::BrokerId;
use kafka_protocol::messages::ProduceResponse;
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::super::backend::{AppendError, Appended, Backend};
use super::super::endpoints::{self, NOBODY, epoch, node_id};
use super::super::errors::Failure;
use super::super::stranded;
use super::{Pending, PendingTopic, Submitted};
use crate::metrics::RequestMetrics;
use crate::server::After;

/// First version whose answers name the leader.
const LEADERS_FROM: i16 = 10;
/// First version whose answers carry an error message.
const MESSAGES_FROM: i16 = 8;
/// The engine answers by the deadline; if it does not, the answer is given this much later.
const ENGINE_GRACE: Duration = Duration::from_secs(5);

/// What is known of a request's batches so far.
pub(super) struct Answer<'a> {
    metrics: &'a RequestMetrics,
    version: i16,
    deadline: Instant,
    topics: Vec<TopicProduceResponse>,
    leaders: BTreeSet<BrokerId>,
    failed: bool,
    quorum_lost: bool,
}

impl<'a> Answer<'a> {
    pub(super) fn new(version: i16, deadline: Instant, metrics: &'a RequestMetrics) -> Self {
        let (topics, leaders) = (Vec::new(), BTreeSet::new());
        Self { metrics, version, deadline, topics, leaders, failed: false, quorum_lost: false }
    }

    pub(super) async fn topic(&mut self, topic: PendingTopic) {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (index, pending) in topic.partitions {
            let outcome = self.outcome(pending).await;
            partitions.push(self.partition(index, outcome));
        }
        self.topics.push(
            TopicProduceResponse::default()
                .with_name(topic.name)
                .with_topic_id(topic.id)
                .with_partition_responses(partitions),
        );
    }

    /// A batch whose fate the engine does not tell may be in the log: 7, and the client sends it again.
    async fn outcome(&self, pending: Pending) -> Result<Appended, Rejected> {
        match pending {
            Pending::Refused(failure) => Err(Rejected::Request(failure)),
            Pending::Failed(error) => Err(Rejected::Append(error)),
            Pending::Submitted(Submitted { outcome, records, bytes }) => {
                let latest = tokio::time::Instant::from_std(self.deadline + ENGINE_GRACE);
                match tokio::time::timeout_at(latest, outcome).await {
                    Ok(Ok(Ok(appended))) => {
                        self.metrics.produced(records, bytes);
                        Ok(appended)
                    }
                    Ok(Ok(Err(error))) => Err(Rejected::Append(error)),
                    Ok(Err(_)) | Err(_) => Err(Rejected::Append(AppendError::TimedOut)),
                }
            }
        }
    }

    fn partition(&mut self, index: i32, outcome: Result<Appended, Rejected>) -> PartitionProduceResponse {
        let answer = PartitionProduceResponse::default().with_index(index);
        let rejected = match outcome {
            Ok(appended) => {
                return answer
                    .with_base_offset(appended.base_offset)
                    .with_log_start_offset(appended.log_start_offset);
            }
            Err(rejected) => rejected,
        };
        self.failed = true;
        self.quorum_lost |= rejected == Rejected::Append(AppendError::QuorumLost);
        let failure = rejected.failure();
        let message =
            Some(failure.message.clone()).filter(|m| !m.is_empty() && self.version >= MESSAGES_FROM);
        answer
            .with_error_code(failure.code)
            .with_error_message(message.map(StrBytes::from_string))
            .with_base_offset(-1)
            .with_log_start_offset(-1)
            .with_current_leader(self.leader_of(&rejected))
    }

    fn leader_of(&mut self, rejected: &Rejected) -> LeaderIdAndEpoch {
        match rejected {
            Rejected::Append(AppendError::NotLeader { leader, epoch: term })
                if self.version >= LEADERS_FROM =>
            {
                self.leaders.extend(leader);
                LeaderIdAndEpoch::default()
                    .with_leader_id(leader.map_or(NOBODY, node_id))
                    .with_leader_epoch(epoch(*term))
            }
            _ => LeaderIdAndEpoch::default(),
        }
    }

    /// Without acks a closed connection is the only way to say that something failed.
    pub(super) fn after(&self, acks: i16, client: Option<&str>) -> After {
        if acks == 0 && self.failed {
            tracing::info!(client, "a produce without acks failed");
            return After::Close("a produce without acks failed");
        }
        stranded::after(self.quorum_lost)
    }

    pub(super) fn response(self, backend: &dyn Backend, listener: &str) -> ProduceResponse {
        let cluster = backend.cluster();
        let known = self.leaders.iter().filter_map(|id| endpoints::of(backend, &cluster, *id, listener));
        let nodes = known.map(|endpoint| {
            NodeEndpoint::default()
                .with_node_id(endpoint.node())
                .with_host(endpoint.host())
                .with_port(endpoint.port())
                .with_rack(endpoint.rack())
        });
        ProduceResponse::default().with_node_endpoints(nodes.collect()).with_responses(self.topics)
    }
}

/// Why a batch was not acknowledged: the request is at fault, or the engine said no.
#[derive(PartialEq)]
enum Rejected {
    Request(Failure),
    Append(AppendError),
}

impl Rejected {
    fn failure(&self) -> Failure {
        match self {
            Self::Request(failure) => failure.clone(),
            Self::Append(error) => Failure::new(error.code(), error.to_string()),
        }
    }
}
