//! Requests of every served API in every version, each with something in all its arrays, as a client encodes them.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use uuid::Uuid;

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic() -> TopicName {
    TopicName(text("a-topic"))
}

pub(crate) const ID: Uuid = Uuid::from_u128(0x1234_5678_9abc);

/// Key, version and body of each.
pub(crate) fn all() -> Vec<(ApiKey, i16, Bytes)> {
    let mut all = Vec::new();
    let mut add = |key, versions: std::ops::RangeInclusive<i16>, encode: fn(i16) -> BytesMut| {
        all.extend(versions.map(|version| (key, version, encode(version).freeze())));
    };
    add(ApiKey::Produce, 3..=13, |v| encoded(&produce(v), v));
    add(ApiKey::Fetch, 4..=18, |v| encoded(&fetch(v), v));
    add(ApiKey::ListOffsets, 1..=10, |v| encoded(&list_offsets(v), v));
    add(ApiKey::Metadata, 0..=13, |v| encoded(&metadata(v), v));
    add(ApiKey::ApiVersions, 0..=4, |v| encoded(&api_versions(v), v));
    add(ApiKey::CreateTopics, 2..=7, |v| encoded(&create_topics(), v));
    add(ApiKey::DeleteTopics, 1..=6, |v| encoded(&delete_topics(v), v));
    add(ApiKey::InitProducerId, 0..=5, |v| encoded(&init_producer_id(v), v));
    add(ApiKey::OffsetForLeaderEpoch, 2..=4, |v| encoded(&offset_for_leader_epoch(v), v));
    add(ApiKey::DescribeConfigs, 1..=4, |v| encoded(&describe_configs(v), v));
    add(ApiKey::AlterConfigs, 0..=2, |v| encoded(&alter_configs(), v));
    add(ApiKey::CreatePartitions, 0..=3, |v| encoded(&create_partitions(), v));
    add(ApiKey::IncrementalAlterConfigs, 0..=1, |v| encoded(&incremental_alter_configs(), v));
    add(ApiKey::DescribeLogDirs, 1..=4, |v| encoded(&describe_log_dirs(), v));
    add(ApiKey::ElectLeaders, 0..=2, |v| encoded(&elect_leaders(), v));
    add(ApiKey::AlterPartitionReassignments, 0..=1, |v| encoded(&alter_partition_reassignments(), v));
    add(ApiKey::ListPartitionReassignments, 0..=0, |v| encoded(&list_partition_reassignments(), v));
    add(ApiKey::DescribeCluster, 0..=2, |v| encoded(&describe_cluster(v), v));
    add(ApiKey::UnregisterBroker, 0..=0, |v| encoded(&unregister_broker(), v));
    add(ApiKey::DescribeTopicPartitions, 0..=0, |v| encoded(&describe_topic_partitions(), v));
    all
}

fn encoded<Q: Encodable>(request: &Q, version: i16) -> BytesMut {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("a sample must fit its version");
    body
}

fn produce(version: i16) -> ProduceRequest {
    let records = Some(Bytes::from_static(b"no batch"));
    let partition = PartitionProduceData::default().with_index(3).with_records(records);
    let topic = if version >= 13 {
        TopicProduceData::default().with_topic_id(ID)
    } else {
        TopicProduceData::default().with_name(topic())
    };
    ProduceRequest::default()
        .with_transactional_id(Some(TransactionalId(text("tx"))))
        .with_acks(-1)
        .with_timeout_ms(1000)
        .with_topic_data(vec![topic.with_partition_data(vec![partition])])
}

fn fetch(version: i16) -> FetchRequest {
    let mut partition = FetchPartition::default().with_partition(1).with_fetch_offset(9);
    partition.current_leader_epoch = if version >= 9 { 4 } else { -1 };
    partition.last_fetched_epoch = if version >= 12 { 4 } else { -1 };
    partition.log_start_offset = if version >= 5 { 0 } else { -1 };
    partition.replica_directory_id = if version >= 17 { ID } else { Uuid::nil() };
    if version >= 18 {
        partition.high_watermark = 7;
    }
    let (name, id) = if version >= 13 { (TopicName::default(), ID) } else { (topic(), Uuid::nil()) };
    let wanted = FetchTopic::default().with_topic(name.clone()).with_topic_id(id);
    let forgotten = ForgottenTopic::default().with_topic(name).with_topic_id(id).with_partitions(vec![1, 2]);
    let mut request = FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_topics(vec![wanted.with_partitions(vec![partition])]);
    if version >= 7 {
        request = request.with_session_epoch(-1).with_forgotten_topics_data(vec![forgotten]);
    }
    if version >= 11 {
        request.rack_id = text("rack");
    }
    if version >= 12 {
        request.cluster_id = Some(text("cluster"));
    }
    if version >= 15 {
        request.replica_state = ReplicaState::default().with_replica_id(BrokerId(2)).with_replica_epoch(8);
    }
    request
}

fn list_offsets(version: i16) -> ListOffsetsRequest {
    let mut partition = ListOffsetsPartition::default().with_partition_index(1).with_timestamp(-1);
    partition.current_leader_epoch = if version >= 4 { 2 } else { -1 };
    let topic = ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

fn metadata(version: i16) -> MetadataRequest {
    let named = MetadataRequestTopic::default().with_name(Some(topic()));
    let topic = if version >= 10 { named.with_topic_id(ID) } else { named };
    MetadataRequest::default().with_topics(Some(vec![topic.clone(), topic]))
}

fn api_versions(version: i16) -> ApiVersionsRequest {
    let request = ApiVersionsRequest::default();
    if version < 3 {
        return request;
    }
    request.with_client_software_name(text("client")).with_client_software_version(text("1.2"))
}

fn create_topics() -> CreateTopicsRequest {
    let assignment = CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(1), BrokerId(2)]);
    let config = CreatableTopicConfig::default().with_name(text("key")).with_value(Some(text("value")));
    let topic = CreatableTopic::default()
        .with_name(topic())
        .with_num_partitions(6)
        .with_replication_factor(3)
        .with_assignments(vec![assignment])
        .with_configs(vec![config]);
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
}

fn delete_topics(version: i16) -> DeleteTopicsRequest {
    let request = DeleteTopicsRequest::default().with_timeout_ms(1000);
    if version < 6 {
        return request.with_topic_names(vec![topic(), topic()]);
    }
    request.with_topics(vec![DeleteTopicState::default().with_name(Some(topic()))])
}

fn init_producer_id(version: i16) -> InitProducerIdRequest {
    let request = InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(text("tx"))));
    if version < 3 {
        return request;
    }
    request.with_producer_id(ProducerId(4)).with_producer_epoch(1)
}

fn offset_for_leader_epoch(version: i16) -> OffsetForLeaderEpochRequest {
    let partition = OffsetForLeaderPartition::default().with_partition(1).with_leader_epoch(3);
    let topic = OffsetForLeaderTopic::default().with_topic(topic()).with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    if version >= 3 { request.with_replica_id(BrokerId(-1)) } else { request }
}

fn describe_configs(version: i16) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("a-topic"))
        .with_configuration_keys(Some(vec![text("retention.ms"), text("x")]));
    DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(version >= 3)
}

fn create_partitions() -> CreatePartitionsRequest {
    let assignment = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1)]);
    let topic = CreatePartitionsTopic::default()
        .with_name(topic())
        .with_count(8)
        .with_assignments(Some(vec![assignment]));
    CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
}

fn incremental_alter_configs() -> IncrementalAlterConfigsRequest {
    let config = AlterableConfig::default().with_name(text("key")).with_value(Some(text("value")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("a-topic"))
        .with_configs(vec![config]);
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

fn alter_configs() -> AlterConfigsRequest {
    use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config = AlterableConfig::default().with_name(text("key")).with_value(Some(text("value")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("a-topic"))
        .with_configs(vec![config]);
    AlterConfigsRequest::default().with_resources(vec![resource])
}

fn describe_log_dirs() -> DescribeLogDirsRequest {
    let topic = DescribableLogDirTopic::default().with_topic(topic()).with_partitions(vec![1, 2]);
    DescribeLogDirsRequest::default().with_topics(Some(vec![topic]))
}

fn elect_leaders() -> ElectLeadersRequest {
    let partitions = TopicPartitions::default().with_topic(topic()).with_partitions(vec![1, 2]);
    ElectLeadersRequest::default().with_topic_partitions(Some(vec![partitions])).with_timeout_ms(1000)
}

fn alter_partition_reassignments() -> AlterPartitionReassignmentsRequest {
    let partition =
        ReassignablePartition::default().with_partition_index(5).with_replicas(Some(vec![BrokerId(1)]));
    let cancelled = ReassignablePartition::default().with_partition_index(4).with_replicas(None);
    let topic = ReassignableTopic::default().with_name(topic()).with_partitions(vec![partition, cancelled]);
    AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
}

fn list_partition_reassignments() -> ListPartitionReassignmentsRequest {
    let topic =
        ListPartitionReassignmentsTopics::default().with_name(topic()).with_partition_indexes(vec![5, 6]);
    ListPartitionReassignmentsRequest::default().with_topics(Some(vec![topic]))
}

fn describe_cluster(version: i16) -> DescribeClusterRequest {
    DescribeClusterRequest::default().with_include_fenced_brokers(version >= 2)
}

fn unregister_broker() -> UnregisterBrokerRequest {
    UnregisterBrokerRequest::default().with_broker_id(BrokerId(3))
}

fn describe_topic_partitions() -> DescribeTopicPartitionsRequest {
    DescribeTopicPartitionsRequest::default()
        .with_topics(vec![TopicRequest::default().with_name(topic())])
        .with_cursor(Some(Cursor::default().with_topic_name(topic()).with_partition_index(4)))
}
