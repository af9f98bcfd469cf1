//! Produce: checks batches and hands them to the engine at once, in order; the answer comes with the acks.
//!
//! Every outcome has a code of its own: never 0 for a batch that may be lost, never -1 UNKNOWN_SERVER_ERROR.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_core::ids::BrokerId;
use chronik_core::metadata::{ClusterState, Topic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Handlers;
use super::backend::{Acks, AppendError, AppendRequest, Appended, Backend, Leadership};
use super::endpoints::{self, NOBODY, epoch, node_id};
use super::errors::*;
use super::lookup::{self, LeaderHint};
use crate::log::batch::{self, CheckedBatch, Limits};
use crate::server::{After, RequestContext};

/// First version that knows zstd.
const ZSTD_FROM: i16 = 7;
const ZSTD: i16 = 4;
/// First version that names topics by id.
const IDS_FROM: i16 = 13;
/// First version whose answers name the leader.
const LEADERS_FROM: i16 = 10;
/// First version whose answers carry an error message.
const MESSAGES_FROM: i16 = 8;
/// How far ahead of this broker's clock a record's timestamp may be, as by Kafka's default.
const FUTURE_MS: i64 = 3_600_000;
/// The engine answers by the deadline; if it does not, the answer is given this much later.
const ENGINE_GRACE: Duration = Duration::from_secs(5);
/// Clients look elsewhere only when the connection goes: so it does, this long after the first refusal.
const CARETAKER_CLOSES_IN: Duration = Duration::from_secs(1);

/// Starts every append before it returns; the future only awaits them.
pub(crate) fn start(
    handlers: Arc<Handlers>,
    context: &RequestContext,
    request: ProduceRequest,
) -> impl Future<Output = (Option<ProduceResponse>, After)> + Send + use<> {
    let (acks, transactional) = (request.acks, request.transactional_id.is_some());
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = Instant::now() + timeout;
    let submit = Submit {
        backend: handlers.backend.as_ref(),
        cluster: handlers.backend.cluster(),
        version: context.api_version,
        acks: Acks::from_wire(acks),
        transactional,
        deadline,
    };
    let topics: Vec<_> = request.topic_data.into_iter().map(|topic| submit.topic(topic)).collect();
    drop(submit);
    let (version, listener) = (context.api_version, context.listener.clone());
    let client = context.client_id.clone();
    async move {
        let mut answer = Answer { version, deadline, ..Answer::default() };
        for topic in topics {
            answer.topic(topic).await;
        }
        let after = answer.after(acks, client.as_deref());
        match acks {
            0 => (None, after),
            _ => (Some(answer.response(handlers.backend.as_ref(), &listener)), after),
        }
    }
}

struct PendingTopic {
    name: TopicName,
    id: Uuid,
    partitions: Vec<(i32, Pending)>,
}

/// A batch's outcome, or the way to it.
enum Pending {
    Refused(Failure),
    Failed(AppendError),
    Submitted(oneshot::Receiver<Result<Appended, AppendError>>),
}

impl From<i16> for Pending {
    fn from(code: i16) -> Self {
        Self::Refused(Failure::new(code, ""))
    }
}

struct Submit<'a> {
    backend: &'a dyn Backend,
    cluster: Arc<ClusterState>,
    version: i16,
    acks: Option<Acks>,
    transactional: bool,
    deadline: Instant,
}

impl Submit<'_> {
    fn topic(&self, wanted: TopicProduceData) -> PendingTopic {
        let found = lookup::topic(&self.cluster, self.version >= IDS_FROM, &wanted.name, wanted.topic_id);
        let partitions =
            wanted.partition_data.into_iter().map(|data| (data.index, self.partition(found, data)));
        PendingTopic { partitions: partitions.collect(), name: wanted.name, id: wanted.topic_id }
    }

    fn partition(&self, topic: Result<&Arc<Topic>, i16>, data: PartitionProduceData) -> Pending {
        let Some(acks) = self.acks else {
            return Failure::new(INVALID_REQUIRED_ACKS, "acks must be 0, 1 or -1").into();
        };
        if self.transactional {
            return Failure::new(INVALID_TXN_STATE, "transactions are not served").into();
        }
        let topic = match topic {
            Ok(topic) => topic,
            Err(code) => return code.into(),
        };
        let replica = match lookup::replica(self.backend, topic, data.index) {
            Ok(replica) => replica,
            Err(refused) => return refused.into(),
        };
        match replica.leadership() {
            Leadership::Leader { .. } => {}
            Leadership::Follower { leader, epoch } => return AppendError::NotLeader { leader, epoch }.into(),
            Leadership::Caretaker { .. } => return AppendError::QuorumLost.into(),
            Leadership::Quarantined { reason } => return AppendError::Storage(reason).into(),
        }
        match self.check(topic, data.records) {
            Ok(batch) => {
                let left = self.deadline.saturating_duration_since(Instant::now());
                let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                let request = AppendRequest { batch, acks, timeout_ms };
                Pending::Submitted(replica.append(request))
            }
            Err(failure) => failure.into(),
        }
    }

    fn check(&self, topic: &Topic, records: Option<Bytes>) -> Result<CheckedBatch, Failure> {
        let limits = Limits {
            max_message_bytes: self.backend.topic_config(topic).max_message_bytes as usize,
            latest_timestamp: self.backend.unix_ms().saturating_add(FUTURE_MS),
        };
        let records = records.unwrap_or_default();
        let batch = batch::check(records, limits).map_err(|e| Failure::new(e.code(), e.to_string()))?;
        if batch.header().compression() == ZSTD && self.version < ZSTD_FROM {
            let message = "zstd may be sent from Produce version 7 on only";
            return Err(Failure::new(UNSUPPORTED_COMPRESSION_TYPE, message));
        }
        Ok(batch)
    }
}

impl From<Failure> for Pending {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl From<AppendError> for Pending {
    fn from(error: AppendError) -> Self {
        Self::Failed(error)
    }
}

impl From<lookup::Refused> for Pending {
    fn from(refused: lookup::Refused) -> Self {
        match refused.hint {
            Some(LeaderHint { leader, epoch }) => AppendError::NotLeader { leader, epoch }.into(),
            None => refused.code.into(),
        }
    }
}

struct Answer {
    version: i16,
    deadline: Instant,
    topics: Vec<TopicProduceResponse>,
    leaders: BTreeSet<BrokerId>,
    failed: bool,
    quorum_lost: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            version: 0,
            deadline: Instant::now(),
            topics: Vec::new(),
            leaders: BTreeSet::new(),
            failed: false,
            quorum_lost: false,
        }
    }
}

impl Answer {
    async fn topic(&mut self, topic: PendingTopic) {
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
            Pending::Submitted(answer) => {
                let latest = tokio::time::Instant::from_std(self.deadline + ENGINE_GRACE);
                match tokio::time::timeout_at(latest, answer).await {
                    Ok(Ok(outcome)) => outcome.map_err(Rejected::Append),
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
    fn after(&self, acks: i16, client: Option<&str>) -> After {
        if acks == 0 && self.failed {
            tracing::info!(client, "a produce without acks failed");
            return After::Close("a produce without acks failed");
        }
        if self.quorum_lost { After::CloseIn(CARETAKER_CLOSES_IN) } else { After::Continue }
    }

    fn response(self, backend: &dyn Backend, listener: &str) -> ProduceResponse {
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
