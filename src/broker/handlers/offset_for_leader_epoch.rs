//! OffsetForLeaderEpoch: where an epoch's records end, so that a client sees whether its position was cut off.

use std::sync::Arc;

use chronik_core::ids::{Offset, Term};
use chronik_core::metadata::Topic;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::Handlers;
use super::backend::{Backend, Leadership};
use super::endpoints::epoch;
use super::errors::{KAFKA_STORAGE_ERROR, NOT_LEADER_OR_FOLLOWER, UNKNOWN_TOPIC_OR_PARTITION};
use super::{lookup, stranded};
use crate::server::{After, RequestContext};

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    _context: RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> (OffsetForLeaderEpochResponse, After) {
    let backend = handlers.backend.as_ref();
    let cluster = backend.cluster();
    let mut stranded = false;
    let topics = request.topics.into_iter().map(|wanted| {
        let topic = cluster.topic_by_name(&wanted.topic).ok_or(UNKNOWN_TOPIC_OR_PARTITION);
        let partitions = wanted.partitions.iter().map(|partition| {
            let end = topic.and_then(|topic| {
                let end = end_offset(backend, topic, partition);
                stranded |= end.is_err() && stranded::is_caretaker(backend, topic, partition.partition);
                end
            });
            response(partition.partition, end)
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(wanted.topic).with_partitions(partitions)
    });
    let answer = OffsetForLeaderEpochResponse::default().with_topics(topics.collect());
    (answer, stranded::after(stranded))
}

/// Without an end both fields are -1: no epoch that old is known, or none that new.
fn response(index: i32, end: Result<Option<(Term, Offset)>, i16>) -> EpochEndOffset {
    let (code, end) = match end {
        Ok(end) => (0, end),
        Err(code) => (code, None),
    };
    let (epoch, offset) = end.map_or((-1, -1), |(term, offset)| (epoch(term), offset));
    EpochEndOffset::default()
        .with_partition(index)
        .with_error_code(code)
        .with_leader_epoch(epoch)
        .with_end_offset(offset)
}

fn end_offset(
    backend: &dyn Backend,
    topic: &Topic,
    wanted: &OffsetForLeaderPartition,
) -> Result<Option<(Term, Offset)>, i16> {
    let replica = lookup::replica(backend, topic, wanted.partition).map_err(|refused| refused.code)?;
    let leadership = replica.leadership();
    lookup::check_epoch(&leadership, wanted.current_leader_epoch)?;
    let leader_epoch = match leadership {
        Leadership::Leader { epoch } => epoch,
        // A caretaker cannot tell where an epoch ended: others may have gone on.
        Leadership::Follower { .. } | Leadership::Caretaker { .. } => return Err(NOT_LEADER_OR_FOLLOWER),
        Leadership::Quarantined { .. } => return Err(KAFKA_STORAGE_ERROR),
    };
    match Term::try_from(wanted.leader_epoch) {
        Ok(asked) if asked == leader_epoch => Ok(Some((asked, replica.log_end_offset()))),
        Ok(asked) if asked < leader_epoch => Ok(replica.end_of_epoch(asked)),
        _ => Ok(None),
    }
}
