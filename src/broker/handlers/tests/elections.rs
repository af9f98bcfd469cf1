//! ElectLeaders and DescribeLogDirs through real TCP.

use chronik_core::view::PartitionState;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::*;

use super::memory::MemoryBackend;
use super::name;
use crate::server::tests::client::{Client, serve};

/// Code of the answer, then partition and code of each.
async fn elect(
    client: &mut Client,
    kind: i8,
    asked: Option<&[i32]>,
    timeout_ms: i32,
) -> (i16, Vec<(i32, i16)>) {
    let topics = asked.map(|partitions| {
        vec![TopicPartitions::default().with_topic(name("t")).with_partitions(partitions.to_vec())]
    });
    let request = ElectLeadersRequest::default()
        .with_election_type(kind)
        .with_topic_partitions(topics)
        .with_timeout_ms(timeout_ms);
    let answer: ElectLeadersResponse = client.ask(ApiKey::ElectLeaders, 2, &request).await;
    let results = answer.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
    (answer.error_code, results.map(|p| (p.partition_id, p.error_code)).collect())
}

#[tokio::test]
async fn the_preferred_replica_is_elected_where_another_leads() {
    let backend = MemoryBackend::of_three();
    let topic = backend.topic("t", 2, 3);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    backend.report_as(topic, PartitionState::Leader, Some(2), Some(&[1, 2, 3]));
    assert_eq!(elect(&mut client, 0, Some(&[0, 1, 7]), 5_000).await, (0, vec![(0, 0), (1, 84), (7, 3)]));
    assert_eq!(elect(&mut client, 0, None, 5_000).await, (0, vec![]), "all lead already");
}

#[tokio::test]
async fn elections_that_cannot_be_are_refused() {
    let backend = MemoryBackend::of_three();
    let topic = backend.topic("t", 1, 3);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    assert_eq!(elect(&mut client, 1, Some(&[0]), 5_000).await, (42, vec![]), "unclean");
    backend.report_as(topic, PartitionState::Leader, Some(2), Some(&[2, 3]));
    assert_eq!(elect(&mut client, 0, Some(&[0]), 5_000).await, (0, vec![(0, 80)]), "not in sync");
}

#[tokio::test]
async fn the_data_folder_names_the_replicas_held() {
    let backend = MemoryBackend::of_three();
    backend.topic("t", 2, 3);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let answer: DescribeLogDirsResponse = client.ask(ApiKey::DescribeLogDirs, 4, &request).await;
    let folder = &answer.results[0];
    let partitions: Vec<i32> = folder.topics[0].partitions.iter().map(|p| p.partition_index).collect();
    assert_eq!((answer.error_code, folder.error_code, partitions), (0, 0, vec![0, 1]));
    assert_eq!((folder.total_bytes, folder.usable_bytes), (-1, -1), "not known");
}
