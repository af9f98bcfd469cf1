//! Produce: checks batches and hands them to the engine at once, in order; the answer comes with the acks.
//!
//! Every outcome has a code of its own: never 0 for a batch that may be lost, never -1 UNKNOWN_SERVER_ERROR.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_core::metadata::{ClusterState, Topic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Handlers;
use super::backend::{Acks, AppendError, AppendRequest, Appended, Backend, Leadership};
use super::errors::{Failure, INVALID_REQUIRED_ACKS, INVALID_TXN_STATE, UNSUPPORTED_COMPRESSION_TYPE};
use super::lookup::{self, LeaderHint};
use crate::log::batch::{self, CheckedBatch, Limits};
use crate::server::{After, RequestContext};

pub(super) mod answer;

use answer::Answer;

/// First version that knows zstd.
const ZSTD_FROM: i16 = 7;
const ZSTD: i16 = 4;
/// First version that names topics by id.
const IDS_FROM: i16 = 13;
/// No client waits longer, whatever it says: while it does, its request takes memory that all share.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// How far ahead of this broker's clock a record's timestamp may be, as by Kafka's default.
const FUTURE_MS: i64 = 3_600_000;

/// Starts every append before it returns; the future only awaits them. It says also whether the answer is wanted.
pub(crate) fn start(
    handlers: Arc<Handlers>,
    context: &RequestContext,
    request: ProduceRequest,
) -> impl Future<Output = (ProduceResponse, bool, After)> + Send + use<> {
    let (acks, transactional) = (request.acks, request.transactional_id.is_some());
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)).min(LONGEST_WAIT);
    let deadline = Instant::now() + timeout;
    let submit = Submit {
        backend: handlers.backend.as_ref(),
        cluster: handlers.backend.cluster(),
        version: context.api_version,
        acks: Acks::from_wire(acks),
        transactional,
        deadline,
        request_bytes: context.bytes,
    };
    let topics: Vec<_> = request.topic_data.into_iter().map(|topic| submit.topic(topic)).collect();
    drop(submit);
    let (version, listener) = (context.api_version, context.listener.clone());
    let client = context.client_id.clone();
    async move {
        let mut answer = Answer::new(version, deadline, &handlers.metrics.requests);
        for topic in topics {
            answer.topic(topic).await;
        }
        let after = answer.after(acks, client.as_deref());
        (answer.response(handlers.backend.as_ref(), &listener), acks != 0, after)
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
    Submitted(Submitted),
}

/// A batch that the engine has.
struct Submitted {
    outcome: oneshot::Receiver<Result<Appended, AppendError>>,
    records: u32,
    bytes: usize,
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
    request_bytes: usize,
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
        if let Leadership::Quarantined { reason } = replica.leadership() {
            return AppendError::Storage(reason).into();
        }
        // Who does not lead refuses it, too, and remembers that: it may lead before what was sent behind it arrives.
        match self.check(topic, data.records) {
            Ok(batch) => {
                let left = self.deadline.saturating_duration_since(Instant::now());
                let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                let (records, bytes) = (batch.records(), batch.size());
                let request = AppendRequest { batch, acks, timeout_ms };
                Pending::Submitted(Submitted { outcome: replica.append(request), records, bytes })
            }
            Err(failure) => failure.into(),
        }
    }

    fn check(&self, topic: &Topic, records: Option<Bytes>) -> Result<CheckedBatch, Failure> {
        let limits = Limits {
            max_message_bytes: self.backend.topic_config(topic).max_message_bytes as usize,
            latest_timestamp: self.backend.unix_ms().saturating_add(FUTURE_MS),
        };
        let mut records = records.unwrap_or_default();
        if records.len() < self.request_bytes / 2 {
            // The batch is kept until it is committed, and with it all that it shares memory with: the whole request.
            records = Bytes::copy_from_slice(&records);
        }
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
