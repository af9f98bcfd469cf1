//! The answer to a Fetch.

use std::collections::BTreeSet;

use bytes::Bytes;
use chronik_core::ids::BrokerId;
use kafka_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::{FetchRequest, FetchResponse};

use super::super::backend::Backend;
use super::super::endpoints::{self, NOBODY, epoch, node_id};
use super::super::errors::{NONE, OFFSET_NOT_AVAILABLE};
use super::super::lookup::Refused;
use super::target::{Found, Target};
use crate::server::RequestContext;

/// First version whose answers say where to find the leaders they name.
const ENDPOINTS_FROM: i16 = 16;
/// First version whose answers name the leader.
const LEADERS_FROM: i16 = 12;

pub(super) struct Answer<'a> {
    backend: &'a dyn Backend,
    context: &'a RequestContext,
    leaders: BTreeSet<BrokerId>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(backend: &'a dyn Backend, context: &'a RequestContext) -> Self {
        Self { backend, context, leaders: BTreeSet::new() }
    }

    pub(super) fn response(mut self, request: &FetchRequest, targets: Vec<Target>) -> FetchResponse {
        let topics = request.topics.iter();
        let mut topics: Vec<_> = topics
            .map(|topic| {
                FetchableTopicResponse::default()
                    .with_topic(topic.topic.clone())
                    .with_topic_id(topic.topic_id)
            })
            .collect();
        for target in targets {
            let partition = self.partition(target.partition, target.found);
            topics[target.topic].partitions.push(partition);
        }
        let response = FetchResponse::default().with_responses(topics);
        if self.context.api_version < ENDPOINTS_FROM {
            return response;
        }
        response.with_node_endpoints(self.endpoints())
    }

    fn partition(&mut self, index: i32, found: Result<Found, Refused>) -> PartitionData {
        let empty = PartitionData::default()
            .with_partition_index(index)
            .with_aborted_transactions(Some(Vec::new()))
            .with_preferred_read_replica(NOBODY)
            .with_records(Some(Bytes::new()));
        match found {
            Ok(found) => served(empty, found),
            Err(refused) => self.refused(empty, refused),
        }
    }

    fn refused(&mut self, empty: PartitionData, refused: Refused) -> PartitionData {
        let answer = empty
            .with_error_code(refused.code)
            .with_high_watermark(-1)
            .with_last_stable_offset(-1)
            .with_log_start_offset(-1);
        match refused.hint {
            Some(hint) if self.context.api_version >= LEADERS_FROM => {
                self.leaders.extend(hint.leader);
                answer.with_current_leader(
                    LeaderIdAndEpoch::default()
                        .with_leader_id(hint.leader.map_or(NOBODY, node_id))
                        .with_leader_epoch(epoch(hint.epoch)),
                )
            }
            _ => answer,
        }
    }

    fn endpoints(&self) -> Vec<NodeEndpoint> {
        let cluster = self.backend.cluster();
        let listener = &self.context.listener;
        let known = self.leaders.iter().filter_map(|id| endpoints::of(self.backend, &cluster, *id, listener));
        known
            .map(|endpoint| {
                NodeEndpoint::default()
                    .with_node_id(endpoint.node())
                    .with_host(endpoint.host())
                    .with_port(endpoint.port())
                    .with_rack(endpoint.rack())
            })
            .collect()
    }
}

/// Without transactions the last stable offset is the high watermark.
fn served(empty: PartitionData, found: Found) -> PartitionData {
    let answer = empty
        .with_error_code(if found.behind { OFFSET_NOT_AVAILABLE } else { NONE })
        .with_preferred_read_replica(found.read_from.map_or(NOBODY, node_id))
        .with_high_watermark(found.high_watermark)
        .with_last_stable_offset(found.high_watermark)
        .with_log_start_offset(found.log_start_offset)
        .with_records(Some(found.records));
    match found.diverging {
        None => answer,
        Some((term, end)) => answer
            .with_diverging_epoch(EpochEndOffset::default().with_epoch(epoch(term)).with_end_offset(end)),
    }
}
