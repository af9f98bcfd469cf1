//! ListOffsets: first and last offset, and offsets by time.

use std::sync::Arc;

use chronik_core::ids::Offset;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::Handlers;
use super::backend::{Backend, Leadership, ReadError, ReplicaHandle, TimedOffset};
use super::endpoints::epoch;
use super::errors::{
    KAFKA_STORAGE_ERROR, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, OFFSET_NOT_AVAILABLE,
    UNKNOWN_TOPIC_OR_PARTITION, UNSUPPORTED_VERSION,
};
use super::{lookup, stranded};
use crate::server::{After, RequestContext};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// First version that knows 78.
const NOT_AVAILABLE_FROM: i16 = 5;
/// First version whose answers carry an epoch.
const EPOCHS_FROM: i16 = 4;
/// "There is no such record", as Kafka says it.
const NONE_FOUND: Answer = Answer { offset: -1, timestamp: -1, epoch: -1 };

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    context: RequestContext,
    request: ListOffsetsRequest,
) -> (ListOffsetsResponse, After) {
    let version = context.api_version;
    let cluster = handlers.backend.cluster();
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut stranded = false;
    for wanted in request.topics {
        let mut partitions = Vec::with_capacity(wanted.partitions.len());
        for partition in &wanted.partitions {
            let topic = cluster.topic_by_name(&wanted.name).ok_or(UNKNOWN_TOPIC_OR_PARTITION);
            let answer = match topic {
                Ok(topic) => {
                    let backend = handlers.backend.as_ref();
                    let answer = one(backend, topic, partition, version).await;
                    stranded |=
                        answer.is_err() && stranded::is_caretaker(backend, topic, partition.partition_index);
                    answer
                }
                Err(code) => Err(code),
            };
            partitions.push(response(partition.partition_index, answer, version));
        }
        topics.push(ListOffsetsTopicResponse::default().with_name(wanted.name).with_partitions(partitions));
    }
    (ListOffsetsResponse::default().with_topics(topics), stranded::after(stranded))
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    offset: Offset,
    timestamp: i64,
    epoch: i32,
}

fn response(index: i32, answer: Result<Answer, i16>, version: i16) -> ListOffsetsPartitionResponse {
    let (code, answer) = match answer {
        Ok(answer) => (0, answer),
        Err(code) => (code, NONE_FOUND),
    };
    let response = ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(code)
        .with_offset(answer.offset)
        .with_timestamp(answer.timestamp);
    if version >= EPOCHS_FROM { response.with_leader_epoch(answer.epoch) } else { response }
}

async fn one(
    backend: &dyn Backend,
    topic: &chronik_core::metadata::Topic,
    wanted: &ListOffsetsPartition,
    version: i16,
) -> Result<Answer, i16> {
    let replica = lookup::replica(backend, topic, wanted.partition_index).map_err(|refused| refused.code)?;
    let leadership = replica.leadership();
    lookup::check_epoch(&leadership, wanted.current_leader_epoch)?;
    // Whether the end is known: a new leader's and a caretaker's high watermark may be behind what was served before.
    let (term, settled) = match leadership {
        Leadership::Leader { epoch } => (epoch, replica.epoch_start_reached()),
        Leadership::Caretaker { epoch } => (epoch, false),
        Leadership::Follower { .. } => return Err(NOT_LEADER_OR_FOLLOWER),
        Leadership::Quarantined { .. } => return Err(KAFKA_STORAGE_ERROR),
    };
    let unsettled = if version >= NOT_AVAILABLE_FROM { OFFSET_NOT_AVAILABLE } else { LEADER_NOT_AVAILABLE };
    let ask = Ask { replica };
    match wanted.timestamp {
        LATEST if !settled => Err(unsettled),
        LATEST => Ok(Answer { offset: ask.replica.high_watermark(), timestamp: -1, epoch: epoch(term) }),
        EARLIEST => Ok(ask.earliest()),
        EARLIEST_LOCAL if version >= 8 => Ok(ask.earliest()),
        // There is no second tier: nothing is in it, and nothing waits to go there.
        LATEST_TIERED if version >= 9 => Ok(NONE_FOUND),
        EARLIEST_PENDING_UPLOAD if version >= 11 => Ok(NONE_FOUND),
        MAX_TIMESTAMP if version >= 7 => ask.newest().await,
        timestamp @ 0.. => match ask.by_time(timestamp).await? {
            None if !settled => Err(unsettled),
            found => Ok(found.unwrap_or(NONE_FOUND)),
        },
        _ => Err(UNSUPPORTED_VERSION),
    }
}

struct Ask {
    replica: Arc<dyn ReplicaHandle>,
}

impl Ask {
    fn earliest(&self) -> Answer {
        let offset = self.replica.log_start_offset();
        Answer { offset, timestamp: -1, epoch: self.epoch_at(offset) }
    }

    fn epoch_at(&self, offset: Offset) -> i32 {
        self.replica.epoch_at(offset).map_or(-1, epoch)
    }

    async fn newest(&self) -> Result<Answer, i16> {
        match self.replica.max_timestamp(self.replica.high_watermark()) {
            None => Ok(NONE_FOUND),
            Some(timestamp) => Ok(self.by_time(timestamp).await?.unwrap_or(NONE_FOUND)),
        }
    }

    async fn by_time(&self, timestamp: i64) -> Result<Option<Answer>, i16> {
        let replica = self.replica.clone();
        let find = move || replica.offset_for_time(timestamp, replica.high_watermark());
        let found = tokio::task::spawn_blocking(find).await;
        let found = found.map_err(|_| KAFKA_STORAGE_ERROR)?.map_err(|error: ReadError| {
            tracing::error!(%error, "list offsets by time");
            KAFKA_STORAGE_ERROR
        })?;
        Ok(found.map(|TimedOffset { offset, timestamp }| Answer {
            offset,
            timestamp,
            epoch: self.epoch_at(offset),
        }))
    }
}
