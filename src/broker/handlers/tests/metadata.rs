//! Metadata, DescribeCluster and DescribeTopicPartitions: what is known, and nothing more.

use chronik_core::ids::BrokerId;
use chronik_core::view::PartitionState;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::*;
use uuid::Uuid;

use super::memory::MemoryBackend;
use super::name;
use crate::server::tests::client::{Client, serve};

fn named(topic: &str) -> MetadataRequest {
    let wanted = MetadataRequestTopic::default().with_name(Some(name(topic)));
    MetadataRequest::default().with_topics(Some(vec![wanted]))
}

async fn metadata(client: &mut Client, version: i16, request: &MetadataRequest) -> MetadataResponse {
    client.ask(ApiKey::Metadata, version, request).await
}

async fn topic(client: &mut Client, request: &MetadataRequest) -> MetadataResponseTopic {
    metadata(client, 12, request).await.topics.remove(0)
}

fn ids(nodes: &[kafka_protocol::messages::BrokerId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

#[tokio::test]
async fn brokers_that_are_alive_at_the_listener_asked() {
    let backend = MemoryBackend::of_three();
    let (server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let none = MetadataRequest::default().with_topics(Some(vec![]));
    let answer = metadata(&mut client, 9, &none).await;
    let brokers: Vec<_> = answer
        .brokers
        .iter()
        .map(|b| (b.node_id.0, b.host.as_str(), b.port, b.rack.as_ref().map(|r| r.as_str())))
        .collect();
    assert_eq!(
        brokers,
        [
            (1, "broker-1.example", 9091, Some("rack-1")),
            (2, "broker-2.example", 9092, Some("rack-2")),
            (3, "broker-3.example", 9093, Some("rack-3"))
        ]
    );
    assert_eq!((answer.controller_id.0, answer.cluster_id.unwrap().as_str()), (2, "a-cluster"));
    assert!(answer.topics.is_empty());

    let mut other = Client::connect(server.addresses()[1].1).await;
    let ports: Vec<_> = metadata(&mut other, 9, &none).await.brokers.iter().map(|b| b.port).collect();
    assert_eq!(ports, [19091, 19092]);

    backend.kill(BrokerId(2));
    let answer = metadata(&mut client, 9, &none).await;
    assert_eq!(answer.brokers.iter().map(|b| b.node_id.0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(answer.controller_id.0, 1, "a controller that is not listed is of no use");
    backend.forget_metadata_leader();
    assert_eq!(metadata(&mut client, 9, &none).await.controller_id.0, 1);
}

#[tokio::test]
async fn the_isr_is_the_views_and_never_made_up() {
    let backend = MemoryBackend::of_three();
    let id = backend.topic("logs", 1, 3);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    use PartitionState::{Caretaker, Leader, Offline, Unknown};
    for (state, leader, isr, expected) in [
        (Leader, Some(2), Some(&[1, 2][..]), (0, 2, 5, vec![1, 2])),
        (Caretaker, Some(1), Some(&[1][..]), (0, 1, 5, vec![1])),
        (Offline, None, Some(&[3][..]), (5, -1, 5, vec![3])),
        (Unknown, None, None, (5, -1, -1, vec![])),
    ] {
        backend.report_as(id, state, leader, isr);
        let partition = topic(&mut client, &named("logs")).await.partitions.remove(0);
        let told = (partition.error_code, partition.leader_id.0, partition.leader_epoch);
        assert_eq!((told.0, told.1, told.2, ids(&partition.isr_nodes)), expected, "{state:?}");
        assert_eq!(ids(&partition.replica_nodes), [1, 2, 3]);
        assert_eq!(ids(&partition.offline_replicas), [] as [i32; 0]);
    }
    backend.kill(BrokerId(3));
    backend.report_as(id, Leader, Some(3), Some(&[1, 3]));
    let partition = topic(&mut client, &named("logs")).await.partitions.remove(0);
    assert_eq!((partition.error_code, partition.leader_id.0), (5, -1), "a dead broker leads nothing");
    assert_eq!(ids(&partition.offline_replicas), [3]);
}

#[tokio::test]
async fn a_leader_without_the_listener_asked_is_said_to_lack_it() {
    let backend = MemoryBackend::of_three();
    let id = backend.topic("logs", 1, 3);
    backend.report_as(id, PartitionState::Leader, Some(3), Some(&[3]));
    let (server, _) = serve(&backend).await;
    let mut client = Client::connect(server.addresses()[1].1).await;
    for (version, code) in [(5, 5), (6, 72)] {
        let answer = metadata(&mut client, version, &named("logs")).await;
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_id.0), (code, -1));
    }
}

#[tokio::test]
async fn topics_by_name_by_id_and_all_of_them() {
    let backend = MemoryBackend::of_three();
    let id = backend.topic("logs", 2, 3);
    backend.topic("audit", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let by_id = |id: Uuid| {
        let wanted = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        MetadataRequest::default().with_topics(Some(vec![wanted]))
    };
    let found = topic(&mut client, &by_id(id.0)).await;
    assert_eq!((found.error_code, found.name.unwrap().as_str(), found.partitions.len()), (0, "logs", 2));
    let unknown = topic(&mut client, &by_id(Uuid::from_u128(9))).await;
    assert_eq!((unknown.error_code, unknown.name, unknown.topic_id), (100, None, Uuid::from_u128(9)));
    for (asked, code) in [("nothing", 3), ("no/name", 17), ("", 17), (".", 17)] {
        let answer = topic(&mut client, &named(asked)).await;
        assert_eq!((answer.error_code, answer.name.unwrap().as_str()), (code, asked));
    }
    let once = MetadataRequestTopic::default().with_name(Some(name("logs")));
    let twice = MetadataRequest::default().with_topics(Some(vec![once.clone(), once]));
    assert_eq!(
        metadata(&mut client, 12, &twice).await.topics.len(),
        1,
        "what is asked twice is answered once"
    );
    let all = MetadataRequest::default().with_topics(None);
    for version in [1, 13] {
        let answer = metadata(&mut client, version, &all).await;
        let names: Vec<_> = answer.topics.iter().map(|t| t.name.clone().unwrap().to_string()).collect();
        assert_eq!(names, ["audit", "logs"]);
    }
    let empty = MetadataRequest::default().with_topics(Some(vec![]));
    assert_eq!(metadata(&mut client, 0, &empty).await.topics.len(), 2, "version 0 has no null");
    assert_eq!(metadata(&mut client, 1, &empty).await.topics.len(), 0);
}

#[tokio::test]
async fn operations_are_told_when_asked_as_kafka_does() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let asked = named("logs")
        .with_include_cluster_authorized_operations(true)
        .with_include_topic_authorized_operations(true);
    let answer = metadata(&mut client, 9, &asked).await;
    let told = (answer.cluster_authorized_operations, answer.topics[0].topic_authorized_operations);
    assert_eq!(told, (0x1fa0, 0xdf8));
    let answer = metadata(&mut client, 9, &named("logs")).await;
    let told = (answer.cluster_authorized_operations, answer.topics[0].topic_authorized_operations);
    assert_eq!(told, (i32::MIN, i32::MIN));
}

#[tokio::test]
async fn the_cluster_is_described() {
    let backend = MemoryBackend::of_three();
    backend.kill(BrokerId(3));
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
    let answer: DescribeClusterResponse = client.ask(ApiKey::DescribeCluster, 2, &request).await;
    assert_eq!((answer.cluster_id.as_str(), answer.controller_id.0), ("a-cluster", 2));
    assert_eq!(answer.brokers.iter().map(|b| b.broker_id.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(answer.cluster_authorized_operations, 0x1fa0);
    for (endpoint_type, code) in [(2, 114), (9, 115)] {
        let request = DescribeClusterRequest::default().with_endpoint_type(endpoint_type);
        let answer: DescribeClusterResponse = client.ask(ApiKey::DescribeCluster, 1, &request).await;
        assert_eq!((answer.error_code, answer.brokers.len(), answer.controller_id.0), (code, 0, -1));
        assert!(answer.error_message.unwrap().contains(&endpoint_type.to_string()));
    }
}

async fn pages(client: &mut Client, topics: &[&str], limit: i32) -> Vec<Vec<(String, Vec<i32>)>> {
    let mut cursor = None;
    let mut pages = Vec::new();
    loop {
        let wanted = topics.iter().map(|topic| TopicRequest::default().with_name(name(topic)));
        let request = DescribeTopicPartitionsRequest::default()
            .with_topics(wanted.collect())
            .with_response_partition_limit(limit)
            .with_cursor(cursor);
        let answer: DescribeTopicPartitionsResponse =
            client.ask(ApiKey::DescribeTopicPartitions, 0, &request).await;
        let page = answer.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|p| p.partition_index);
            (topic.name.clone().unwrap().to_string(), partitions.collect())
        });
        pages.push(page.collect());
        match answer.next_cursor {
            None => return pages,
            Some(next) => {
                let (topic, index) = (next.topic_name.clone(), next.partition_index);
                cursor = Some(Cursor::default().with_topic_name(topic).with_partition_index(index));
            }
        }
        assert!(pages.len() < 20, "the pages do not end");
    }
}

#[tokio::test]
async fn partitions_are_described_a_page_at_a_time() {
    let backend = MemoryBackend::of_three();
    backend.topic("b", 3, 2);
    backend.topic("a", 2, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let of = |name: &str, partitions: &[i32]| (name.to_owned(), partitions.to_vec());
    assert_eq!(pages(&mut client, &[], 100).await, [vec![of("a", &[0, 1]), of("b", &[0, 1, 2])]]);
    assert_eq!(
        pages(&mut client, &[], 2).await,
        [vec![of("a", &[0, 1])], vec![of("b", &[0, 1])], vec![of("b", &[2])]]
    );
    assert_eq!(pages(&mut client, &["b"], 3).await, [vec![of("b", &[0, 1, 2])]]);
    assert_eq!(pages(&mut client, &["b", "a"], 0).await.len(), 5, "at least one a page");
}

#[tokio::test]
async fn described_partitions_show_the_same_truth() {
    let backend = MemoryBackend::of_three();
    let id = backend.topic("logs", 1, 3);
    backend.report_as(id, PartitionState::Leader, Some(2), Some(&[2, 3]));
    backend.kill(BrokerId(1));
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let wanted = ["logs", "nothing", "no/name"].map(|topic| TopicRequest::default().with_name(name(topic)));
    let request = DescribeTopicPartitionsRequest::default().with_topics(wanted.to_vec());
    let answer: DescribeTopicPartitionsResponse =
        client.ask(ApiKey::DescribeTopicPartitions, 0, &request).await;
    assert_eq!(answer.topics.iter().map(|t| t.error_code).collect::<Vec<_>>(), [0, 17, 3]);
    let partition = &answer.topics[0].partitions[0];
    assert_eq!((partition.leader_id.0, partition.leader_epoch), (2, 5));
    assert_eq!((ids(&partition.isr_nodes), ids(&partition.offline_replicas)), (vec![2, 3], vec![1]));
    let below = request.with_cursor(Some(Cursor::default().with_partition_index(-1)));
    let answer: DescribeTopicPartitionsResponse =
        client.ask(ApiKey::DescribeTopicPartitions, 0, &below).await;
    assert!(answer.topics.iter().all(|topic| topic.error_code == 42));
}
