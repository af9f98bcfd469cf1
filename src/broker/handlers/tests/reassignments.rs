//! Moves of replicas as Kafka's clients ask for them: what is answered, what is listed, and what is refused.

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::*;

use super::memory::MemoryBackend;
use super::name;
use crate::server::tests::client::{Client, serve};

fn partition(number: i32, brokers: Option<&[i32]>) -> ReassignablePartition {
    let brokers = brokers.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
    ReassignablePartition::default().with_partition_index(number).with_replicas(brokers)
}

/// Code and words for each partition.
async fn alter(
    client: &mut Client,
    topic: &str,
    partitions: Vec<ReassignablePartition>,
    any_factor: bool,
) -> Vec<(i16, String)> {
    let topic = ReassignableTopic::default().with_name(name(topic)).with_partitions(partitions);
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(5_000)
        .with_allow_replication_factor_change(any_factor)
        .with_topics(vec![topic]);
    let answer: AlterPartitionReassignmentsResponse =
        client.ask(ApiKey::AlterPartitionReassignments, 1, &request).await;
    assert_eq!((answer.error_code, answer.allow_replication_factor_change), (0, any_factor));
    let results = answer.responses[0].partitions.iter();
    results.map(|p| (p.error_code, p.error_message.as_deref().unwrap_or_default().to_owned())).collect()
}

/// Partition, all, adding and removing replicas of each move.
async fn list(client: &mut Client, asked: Option<&[i32]>) -> Vec<(i32, Vec<i32>, Vec<i32>, Vec<i32>)> {
    let asked = asked.map(|partitions| {
        let topic = ListPartitionReassignmentsTopics::default().with_name(name("t"));
        vec![topic.with_partition_indexes(partitions.to_vec())]
    });
    let request = ListPartitionReassignmentsRequest::default().with_topics(asked);
    let answer: ListPartitionReassignmentsResponse =
        client.ask(ApiKey::ListPartitionReassignments, 0, &request).await;
    let numbers = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|p| {
            let sides = (numbers(&p.adding_replicas), numbers(&p.removing_replicas));
            (p.partition_index, numbers(&p.replicas), sides.0, sides.1)
        })
        .collect()
}

#[tokio::test]
async fn a_move_is_set_listed_and_taken_back() {
    let backend = MemoryBackend::of_three();
    backend.topic("t", 2, 2);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    assert_eq!(list(&mut client, None).await, []);
    let done = alter(&mut client, "t", vec![partition(0, Some(&[3, 2])), partition(1, None)], true).await;
    assert_eq!(done[0], (0, String::new()));
    assert_eq!(done[1].0, 85, "{}", done[1].1);
    let moving = [(0, vec![3, 2, 1], vec![3], vec![1])];
    assert_eq!(list(&mut client, None).await, moving);
    assert_eq!(list(&mut client, Some(&[0])).await, moving);
    assert_eq!(list(&mut client, Some(&[1])).await, []);
    assert_eq!(alter(&mut client, "t", vec![partition(0, None)], true).await, [(0, String::new())]);
    assert_eq!(list(&mut client, None).await, [(0, vec![1, 2, 3], vec![], vec![3])]);
}

#[tokio::test]
async fn moves_that_cannot_be_are_refused_one_by_one() {
    let backend = MemoryBackend::of_three();
    backend.topic("t", 1, 2);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let cases: [(Option<&[i32]>, i16, &str); 5] = [
        (Some(&[]), 39, "1 to 100 brokers"),
        (Some(&[1, 1]), 39, "each broker once only"),
        (Some(&[1, 9]), 39, "replicas of partition 0 = 9 is not allowed: registered brokers only"),
        (Some(&[-1]), 39, "broker -1 is not allowed"),
        (Some(&[1, 2, 3]), 38, "of 3 brokers is not allowed: 2, as it has"),
    ];
    for (target, code, words) in cases {
        let results = alter(&mut client, "t", vec![partition(0, target)], false).await;
        assert!(results[0].0 == code && results[0].1.contains(words), "{results:?}");
    }
    let unknown = alter(&mut client, "nope", vec![partition(0, None)], true).await;
    assert_eq!(unknown[0].0, 3, "{unknown:?}");
    let unknown = alter(&mut client, "t", vec![partition(7, None)], true).await;
    assert_eq!(unknown[0].0, 3, "{unknown:?}");
    assert_eq!(list(&mut client, None).await, []);
}
