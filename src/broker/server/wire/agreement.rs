//! Walk and decoder must agree on every request, and a request must survive being encoded again. For tests and fuzzing.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::WireError;
use super::layout::{self, Message};
use super::scan;

/// Checks and decodes `body` as what `key` says; gives what walk and decoder each consumed.
pub(crate) fn both(key: ApiKey, version: i16, body: &Bytes) -> Result<(usize, usize), WireError> {
    match key {
        ApiKey::Produce => of::<ProduceRequest>(&layout::PRODUCE, version, body),
        ApiKey::Fetch => of::<FetchRequest>(&layout::FETCH, version, body),
        ApiKey::ListOffsets => of::<ListOffsetsRequest>(&layout::LIST_OFFSETS, version, body),
        ApiKey::Metadata => of::<MetadataRequest>(&layout::METADATA, version, body),
        ApiKey::ApiVersions => of::<ApiVersionsRequest>(&layout::API_VERSIONS, version, body),
        ApiKey::CreateTopics => of::<CreateTopicsRequest>(&layout::CREATE_TOPICS, version, body),
        ApiKey::DeleteTopics => of::<DeleteTopicsRequest>(&layout::DELETE_TOPICS, version, body),
        ApiKey::InitProducerId => of::<InitProducerIdRequest>(&layout::INIT_PRODUCER_ID, version, body),
        ApiKey::OffsetForLeaderEpoch => {
            of::<OffsetForLeaderEpochRequest>(&layout::OFFSET_FOR_LEADER_EPOCH, version, body)
        }
        ApiKey::DescribeConfigs => of::<DescribeConfigsRequest>(&layout::DESCRIBE_CONFIGS, version, body),
        ApiKey::AlterConfigs => of::<AlterConfigsRequest>(&layout::ALTER_CONFIGS, version, body),
        ApiKey::CreatePartitions => of::<CreatePartitionsRequest>(&layout::CREATE_PARTITIONS, version, body),
        ApiKey::IncrementalAlterConfigs => {
            of::<IncrementalAlterConfigsRequest>(&layout::INCREMENTAL_ALTER_CONFIGS, version, body)
        }
        ApiKey::DescribeLogDirs => of::<DescribeLogDirsRequest>(&layout::DESCRIBE_LOG_DIRS, version, body),
        ApiKey::ElectLeaders => of::<ElectLeadersRequest>(&layout::ELECT_LEADERS, version, body),
        ApiKey::AlterPartitionReassignments => {
            of::<AlterPartitionReassignmentsRequest>(&layout::ALTER_PARTITION_REASSIGNMENTS, version, body)
        }
        ApiKey::ListPartitionReassignments => {
            of::<ListPartitionReassignmentsRequest>(&layout::LIST_PARTITION_REASSIGNMENTS, version, body)
        }
        ApiKey::DescribeCluster => of::<DescribeClusterRequest>(&layout::DESCRIBE_CLUSTER, version, body),
        ApiKey::UnregisterBroker => of::<UnregisterBrokerRequest>(&layout::UNREGISTER_BROKER, version, body),
        ApiKey::DescribeTopicPartitions => {
            of::<DescribeTopicPartitionsRequest>(&layout::DESCRIBE_TOPIC_PARTITIONS, version, body)
        }
        other => panic!("{other:?} is not served"),
    }
}

fn of<Q: Decodable + Encodable + PartialEq + Debug>(
    shape: &Message,
    version: i16,
    body: &Bytes,
) -> Result<(usize, usize), WireError> {
    let walked = scan::check(body, shape, version)?;
    let mut rest = body.clone();
    let request = Q::decode(&mut rest, version).map_err(|e| WireError::Decode(e.to_string()))?;
    must_survive(&request, shape, version);
    Ok((walked, body.len() - rest.len()))
}

/// What was decoded means the same when it is encoded again. (Not the same bytes: lengths may be written in several
/// ways, and some fields are ignored in some versions.)
fn must_survive<Q: Decodable + Encodable + PartialEq + Debug>(request: &Q, shape: &Message, version: i16) {
    let mut bytes = BytesMut::new();
    if request.encode(&mut bytes, version).is_err() {
        // A null where only some clients' encoders allow none.
        return;
    }
    let bytes = bytes.freeze();
    let walked = scan::check(&bytes, shape, version);
    assert_eq!(walked, Ok(bytes.len()), "{request:?} in version {version}");
    let again = Q::decode(&mut bytes.clone(), version).expect("what was encoded can be decoded");
    assert_eq!(&again, request, "version {version}");
}

/// The decoder either refuses, or has read exactly what was walked.
pub(crate) fn must_agree(key: ApiKey, version: i16, body: &Bytes) {
    if let Ok((walked, decoded)) = both(key, version, body) {
        assert_eq!(walked, decoded, "{key:?} version {version}: {body:02x?}");
    }
}
