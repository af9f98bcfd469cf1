//! The one table of what is served: API, versions, the request's shape, its handler. What is not in it is not
//! advertised and not answered.

use std::sync::Arc;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::api_versions_response::ApiVersion;

use super::dispatch::{Call, Work};
use super::wire::WireError;
use super::wire::layout::{self, Message};
use crate::handlers::*;
use crate::metrics::{ApiMetrics, RequestMetrics};

/// One served API.
pub(super) struct Api {
    key: ApiKey,
    /// What ApiVersions says.
    advertised: (i16, i16),
    /// Highest version `kafka-protocol` knows; advertised ones above it look the same on the wire.
    wire_max: i16,
    pub(super) shape: &'static Message,
    pub(super) start: fn(Call) -> Result<Work, WireError>,
}

impl Api {
    pub(super) fn accepts(&self, version: i16) -> bool {
        self.advertised.0 <= version && version <= self.advertised.1
    }

    pub(super) fn is_api_versions(&self) -> bool {
        self.key == ApiKey::ApiVersions
    }

    pub(super) fn metrics<'a>(&self, all: &'a RequestMetrics) -> &'a Arc<ApiMetrics> {
        all.api(self.key as i16, || format!("{:?}", self.key)).expect("served keys are small")
    }

    pub(super) fn wire_version(&self, version: i16) -> i16 {
        version.min(self.wire_max)
    }
}

const fn api(
    key: ApiKey,
    (first, last): (i16, i16),
    shape: &'static Message,
    start: fn(Call) -> Result<Work, WireError>,
) -> Api {
    Api { key, advertised: (first, last), wire_max: last, shape, start }
}

static TABLE: &[Api] = &[
    api(ApiKey::Produce, (0, 13), &layout::PRODUCE, |c| c.produce()),
    api(ApiKey::Fetch, (4, 18), &layout::FETCH, |c| c.queued_with(fetch::handle)),
    // Version 11 only adds a special timestamp, which is handled.
    Api {
        wire_max: 10,
        ..api(ApiKey::ListOffsets, (1, 11), &layout::LIST_OFFSETS, |c| c.queued_then(list_offsets::handle))
    },
    api(ApiKey::Metadata, (0, 13), &layout::METADATA, |c| c.queued_in_room(metadata::handle)),
    api(ApiKey::ApiVersions, (0, 4), &layout::API_VERSIONS, |c| c.queued(api_versions::handle)),
    api(ApiKey::CreateTopics, (2, 7), &layout::CREATE_TOPICS, |c| c.queued(create_topics::handle)),
    api(ApiKey::DeleteTopics, (1, 6), &layout::DELETE_TOPICS, |c| c.queued(delete_topics::handle)),
    api(ApiKey::InitProducerId, (0, 5), &layout::INIT_PRODUCER_ID, |c| c.queued(init_producer_id::handle)),
    api(ApiKey::OffsetForLeaderEpoch, (2, 4), &layout::OFFSET_FOR_LEADER_EPOCH, |c| {
        c.queued_then(offset_for_leader_epoch::handle)
    }),
    api(ApiKey::DescribeConfigs, (1, 4), &layout::DESCRIBE_CONFIGS, |c| {
        c.queued_in_room(describe_configs::handle)
    }),
    api(ApiKey::AlterConfigs, (0, 2), &layout::ALTER_CONFIGS, |c| c.queued(alter_configs::handle)),
    api(ApiKey::DescribeLogDirs, (1, 4), &layout::DESCRIBE_LOG_DIRS, |c| {
        c.queued_in_room(describe_log_dirs::handle)
    }),
    api(ApiKey::CreatePartitions, (0, 3), &layout::CREATE_PARTITIONS, |c| {
        c.queued(create_partitions::handle)
    }),
    api(ApiKey::ElectLeaders, (0, 2), &layout::ELECT_LEADERS, |c| c.queued(elect_leaders::handle)),
    api(ApiKey::IncrementalAlterConfigs, (0, 1), &layout::INCREMENTAL_ALTER_CONFIGS, |c| {
        c.queued(incremental_alter_configs::handle)
    }),
    api(ApiKey::AlterPartitionReassignments, (0, 1), &layout::ALTER_PARTITION_REASSIGNMENTS, |c| {
        c.queued(alter_partition_reassignments::handle)
    }),
    api(ApiKey::ListPartitionReassignments, (0, 0), &layout::LIST_PARTITION_REASSIGNMENTS, |c| {
        c.queued(list_partition_reassignments::handle)
    }),
    api(ApiKey::DescribeCluster, (0, 2), &layout::DESCRIBE_CLUSTER, |c| c.queued(describe_cluster::handle)),
    api(ApiKey::UnregisterBroker, (0, 0), &layout::UNREGISTER_BROKER, |c| {
        c.queued(unregister_broker::handle)
    }),
    api(ApiKey::DescribeTopicPartitions, (0, 0), &layout::DESCRIBE_TOPIC_PARTITIONS, |c| {
        c.queued(describe_topic_partitions::handle)
    }),
];

pub(super) fn find(key: i16) -> Option<&'static Api> {
    TABLE.iter().find(|api| api.key as i16 == key)
}

/// The version in which a request of this API and version is decoded, if it is served and decoded by its shape.
#[cfg(feature = "fuzzing")]
pub(super) fn decoded(key: i16, version: i16) -> Option<(ApiKey, i16)> {
    let api = find(key).filter(|api| api.accepts(version))?;
    let own = api.key == ApiKey::Produce && version <= produce_unsupported::LAST;
    (!own).then(|| (api.key, api.wire_version(version)))
}

/// What ApiVersions answers: every served API with its versions, by key.
pub(crate) fn advertised() -> Vec<ApiVersion> {
    TABLE
        .iter()
        .map(|api| {
            ApiVersion::default()
                .with_api_key(api.key as i16)
                .with_min_version(api.advertised.0)
                .with_max_version(api.advertised.1)
        })
        .collect()
}
