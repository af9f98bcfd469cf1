//! Which versions are served, and what becomes of the others.

use bytes::Buf;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, HeaderVersion, StrBytes};

use super::client::{Client, serve};
use crate::handlers::tests::memory::MemoryBackend;
use crate::handlers::tests::name;
use crate::server::wire::samples;

/// Key, first and last version: Kafka 4.3's ranges.
const SERVED: [(i16, i16, i16); 20] = [
    (0, 0, 13),
    (1, 4, 18),
    (2, 1, 11),
    (3, 0, 13),
    (18, 0, 4),
    (19, 2, 7),
    (20, 1, 6),
    (22, 0, 5),
    (23, 2, 4),
    (32, 1, 4),
    (33, 0, 2),
    (35, 1, 4),
    (37, 0, 3),
    (43, 0, 2),
    (44, 0, 1),
    (45, 0, 1),
    (46, 0, 0),
    (60, 0, 2),
    (64, 0, 0),
    (75, 0, 0),
];

#[tokio::test]
async fn api_versions_names_what_is_served_in_each_of_its_versions() {
    let (_server, address) = serve(&MemoryBackend::of_three()).await;
    for version in 0..=4 {
        let mut client = Client::connect(address).await;
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = StrBytes::from_static_str("librdkafka");
            request.client_software_version = StrBytes::from_static_str("2.12.0-rc.1");
        }
        let answer: ApiVersionsResponse = client.ask(ApiKey::ApiVersions, version, &request).await;
        let served: Vec<_> =
            answer.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        assert_eq!((answer.error_code, served), (0, SERVED.to_vec()), "version {version}");
    }
}

#[tokio::test]
async fn a_client_that_names_itself_badly_is_told() {
    let (_server, address) = serve(&MemoryBackend::of_three()).await;
    let mut client = Client::connect(address).await;
    for (software, version) in [("-a", "1"), ("a", ""), ("a b", "1"), ("a", "1.")] {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(software))
            .with_client_software_version(StrBytes::from_static_str(version));
        let answer: ApiVersionsResponse = client.ask(ApiKey::ApiVersions, 3, &request).await;
        assert_eq!((answer.error_code, answer.api_keys.len()), (42, 0), "{software:?} {version:?}");
    }
}

/// Kafka answers in version 0 and names the versions of ApiVersions only; the connection stays.
#[tokio::test]
async fn a_newer_api_versions_is_answered_in_version_0() {
    let (_server, address) = serve(&MemoryBackend::of_three()).await;
    let mut client = Client::connect(address).await;
    let sent = client.send_as(18, 9, 2, b"whatever version 9 holds").await;
    let (received, answer) = client.receive::<ApiVersionsResponse>(0).await;
    let named: Vec<_> =
        answer.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    assert_eq!((received, answer.error_code, named), (sent, 35, vec![(18, 0, 4)]));
    let answer: MetadataResponse =
        client.ask(ApiKey::Metadata, 1, &MetadataRequest::default().with_topics(None)).await;
    assert_eq!(answer.brokers.len(), 3);
}

#[tokio::test]
async fn other_versions_and_other_apis_close_the_connection_as_kafka_does() {
    let (_server, address) = serve(&MemoryBackend::of_three()).await;
    let too_high = SERVED.iter().filter(|(key, _, _)| *key != 18).map(|(key, _, last)| (*key, last + 1));
    let too_low = SERVED.iter().filter(|(_, first, _)| *first > 0).map(|(key, first, _)| (*key, first - 1));
    let unknown = [(8, 3), (10, 3), (999, 0), (-1, 0), (3, -1)];
    for (key, version) in too_high.chain(too_low).chain(unknown) {
        let mut client = Client::connect(address).await;
        client.send_as(key, version, 2, &[0; 32]).await;
        assert!(client.is_closed().await, "API {key} version {version}");
    }
}

/// Advertised for older librdkafka's sake; Kafka closes the connection, and here the client is told why before.
#[tokio::test]
async fn produce_0_to_2_is_refused_by_name() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    let (_server, address) = serve(&backend).await;
    let mut body = vec![0, 1, 0, 0, 3, 0xe8, 0, 0, 0, 1, 0, 4];
    body.extend_from_slice(b"logs");
    body.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, b'h', b'i']);
    for version in 0..=2 {
        let mut client = Client::connect(address).await;
        let sent = client.send_as(0, version, 1, &body).await;
        let mut frame = client.frame().await.unwrap();
        assert_eq!(frame.get_i32(), sent);
        assert_eq!((frame.get_i32(), frame.get_i16()), (1, 4));
        assert_eq!(frame.split_to(4), "logs");
        assert_eq!((frame.get_i32(), frame.get_i32(), frame.get_i16()), (1, 0, 35), "version {version}");
        assert!(client.is_closed().await);
    }
    assert_eq!(replica.taken(), 0);
}

/// Every answer of every version can be encoded, is decoded by a client, and leaves the connection open.
#[tokio::test]
async fn every_request_of_every_version_is_answered() {
    let backend = MemoryBackend::of_three();
    backend.topic("a-topic", 6, 3);
    let (_server, address) = serve(&backend).await;
    let mut samples = samples::all();
    let newest = samples.iter().find(|(key, version, _)| (*key, *version) == (ApiKey::ListOffsets, 10));
    let same_on_the_wire = newest.unwrap().2.clone();
    samples.push((ApiKey::ListOffsets, 11, same_on_the_wire));
    let mut client = Client::connect(address).await;
    for (key, version, body) in samples {
        let sent = client.send_as(key as i16, version, key.request_header_version(version), &body).await;
        let received =
            answer(&mut client, key, version.min(if key == ApiKey::ListOffsets { 10 } else { 99 })).await;
        assert_eq!(received, sent, "{key:?} version {version}");
    }
}

async fn answer(client: &mut Client, key: ApiKey, version: i16) -> i32 {
    async fn of<A: Decodable + HeaderVersion>(client: &mut Client, version: i16) -> i32 {
        client.receive::<A>(version).await.0
    }
    match key {
        ApiKey::Produce => of::<ProduceResponse>(client, version).await,
        ApiKey::Fetch => of::<FetchResponse>(client, version).await,
        ApiKey::ListOffsets => of::<ListOffsetsResponse>(client, version).await,
        ApiKey::Metadata => of::<MetadataResponse>(client, version).await,
        ApiKey::ApiVersions => of::<ApiVersionsResponse>(client, version).await,
        ApiKey::CreateTopics => of::<CreateTopicsResponse>(client, version).await,
        ApiKey::DeleteTopics => of::<DeleteTopicsResponse>(client, version).await,
        ApiKey::InitProducerId => of::<InitProducerIdResponse>(client, version).await,
        ApiKey::OffsetForLeaderEpoch => of::<OffsetForLeaderEpochResponse>(client, version).await,
        ApiKey::DescribeConfigs => of::<DescribeConfigsResponse>(client, version).await,
        ApiKey::AlterConfigs => of::<AlterConfigsResponse>(client, version).await,
        ApiKey::CreatePartitions => of::<CreatePartitionsResponse>(client, version).await,
        ApiKey::IncrementalAlterConfigs => of::<IncrementalAlterConfigsResponse>(client, version).await,
        ApiKey::DescribeLogDirs => of::<DescribeLogDirsResponse>(client, version).await,
        ApiKey::ElectLeaders => of::<ElectLeadersResponse>(client, version).await,
        ApiKey::AlterPartitionReassignments => {
            of::<AlterPartitionReassignmentsResponse>(client, version).await
        }
        ApiKey::ListPartitionReassignments => of::<ListPartitionReassignmentsResponse>(client, version).await,
        ApiKey::DescribeCluster => of::<DescribeClusterResponse>(client, version).await,
        ApiKey::UnregisterBroker => of::<UnregisterBrokerResponse>(client, version).await,
        ApiKey::DescribeTopicPartitions => of::<DescribeTopicPartitionsResponse>(client, version).await,
        other => panic!("{other:?} is not served"),
    }
}

/// Answers that carry something in every field must fit every version, too.
#[tokio::test]
async fn metadata_with_partitions_fits_every_version() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 2, 3);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    for version in 0..=13 {
        let wanted = kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
            .with_name(Some(name("logs")));
        let mut request = MetadataRequest::default().with_topics(Some(vec![wanted]));
        request.include_topic_authorized_operations = version >= 8;
        request.include_cluster_authorized_operations = (8..=10).contains(&version);
        let answer: MetadataResponse = client.ask(ApiKey::Metadata, version, &request).await;
        assert_eq!(answer.topics[0].partitions[1].isr_nodes.len(), 3, "version {version}");
    }
}
