//! Requests that change the cluster, and InitProducerId: bad input gets a code and words, nothing is half done.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::*;
use uuid::Uuid;

use super::memory::MemoryBackend;
use super::name;
use crate::handlers::backend::{Backend, ProposeError};
use crate::server::tests::client::{Client, serve};

fn topic(topic: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(factor)
}

fn with_config(wanted: CreatableTopic, key: &str, value: Option<&str>) -> CreatableTopic {
    let value = value.map(|value| value.to_owned().into());
    wanted.with_configs(vec![
        CreatableTopicConfig::default().with_name(key.to_owned().into()).with_value(value),
    ])
}

fn assigned(wanted: CreatableTopic, partitions: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = partitions.iter().map(|(index, brokers)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*index)
            .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
    });
    wanted.with_assignments(assignments.collect())
}

async fn create(client: &mut Client, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(5_000);
    let answer: CreateTopicsResponse = client.ask(ApiKey::CreateTopics, 7, &request).await;
    answer.topics
}

#[tokio::test]
async fn topics_are_created_as_asked_or_by_default() {
    let backend = MemoryBackend::of_three();
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let wanted = vec![
        with_config(topic("asked", 6, 3), "min.insync.replicas", Some("2")),
        topic("default", -1, -1),
        assigned(topic("manual", -1, -1), &[(1, &[3, 1]), (0, &[2, 3])]),
    ];
    let results = create(&mut client, wanted).await;
    let told: Vec<_> =
        results.iter().map(|r| (r.error_code, r.num_partitions, r.replication_factor)).collect();
    assert_eq!(told, [(0, 6, 3), (0, 4, 2), (0, 2, 2)]);
    let cluster = backend.cluster();
    assert_eq!(cluster.topic_by_name("asked").unwrap().id.0, results[0].topic_id);
    let config = |result: &CreatableTopicResult, key: &str| {
        let found = result.configs.as_ref().unwrap().iter().find(|c| c.name.as_str() == key).unwrap();
        (found.value.clone().unwrap().to_string(), found.config_source)
    };
    assert_eq!(config(&results[0], "min.insync.replicas"), ("2".to_owned(), 1));
    assert_eq!(config(&results[0], "retention.ms"), ("604800000".to_owned(), 5));
    let manual = cluster.topic_by_name("manual").unwrap();
    let first: Vec<_> = manual.partitions[0].replicas.iter().map(|replica| replica.broker.0).collect();
    assert_eq!(first, [2, 3]);
}

#[tokio::test]
async fn bad_topics_are_refused_with_words_and_the_good_ones_beside_them_are_created() {
    let backend = MemoryBackend::of_three();
    backend.topic("old", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let cases: Vec<(CreatableTopic, i16, &str)> = vec![
        (topic("old", 1, 1), 36, "old"),
        (topic("no/name", 1, 1), 17, "no/name"),
        (topic("wide", 1, 4), 38, "4"),
        (topic("flat", 1, 0), 38, "0"),
        (topic("none", 0, 1), 37, "0"),
        (topic("less", -2, 1), 37, "-2"),
        (with_config(topic("odd", 1, 1), "no.such.key", Some("1")), 40, "no.such.key"),
        (with_config(topic("odd", 1, 1), "min.insync.replicas", Some("x")), 40, "x"),
        (with_config(topic("odd", 1, 1), "retention.ms", Some("5")), 40, "retention.ms"),
        (with_config(topic("odd", 1, 1), "min.insync.replicas", None), 40, "min.insync.replicas"),
        (assigned(topic("manual", 2, -1), &[(0, &[1])]), 42, "-1"),
        (assigned(topic("manual", -1, -1), &[(0, &[1]), (0, &[2])]), 39, "0"),
        (assigned(topic("manual", -1, -1), &[(1, &[1])]), 39, "0"),
        (assigned(topic("manual", -1, -1), &[(0, &[9])]), 39, "9"),
        (assigned(topic("manual", -1, -1), &[(0, &[-3])]), 39, "-3"),
        (assigned(topic("manual", -1, -1), &[(0, &[1, 1])]), 39, "1"),
    ];
    for (at, (wanted, code, word)) in cases.into_iter().enumerate() {
        let good = topic(&format!("good-{at}"), 1, 1);
        let results = create(&mut client, vec![wanted.clone(), good]).await;
        let message = results[0].error_message.clone().unwrap();
        assert_eq!(results[0].error_code, code, "{wanted:?}: {message}");
        assert!(message.contains(word), "{word} is not named: {message}");
        assert_eq!(results[1].error_code, 0);
    }
    let twice =
        create(&mut client, vec![topic("twice", 1, 1), topic("twice", 2, 1), topic("once", 1, 1)]).await;
    let told: Vec<_> =
        twice.iter().map(|r| (r.name.as_str(), r.error_code, r.error_message.is_some())).collect();
    assert_eq!(told, [("twice", 42, true), ("once", 0, false)]);
    assert!(backend.cluster().topic_by_name("twice").is_none());
}

#[tokio::test]
async fn validating_changes_nothing() {
    let backend = MemoryBackend::of_three();
    backend.topic("old", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let before = backend.cluster().applied();
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic("new", 3, 2), topic("old", 1, 1)])
        .with_validate_only(true)
        .with_timeout_ms(5_000);
    let answer: CreateTopicsResponse = client.ask(ApiKey::CreateTopics, 7, &request).await;
    assert_eq!(answer.topics.iter().map(|t| t.error_code).collect::<Vec<_>>(), [0, 36]);
    assert_eq!((answer.topics[0].num_partitions, answer.topics[0].topic_id), (3, Uuid::nil()));
    let more = CreatePartitionsTopic::default().with_name(name("old")).with_count(3).with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![more]).with_validate_only(true);
    let answer: CreatePartitionsResponse = client.ask(ApiKey::CreatePartitions, 3, &request).await;
    assert_eq!(answer.results[0].error_code, 0);
    assert_eq!(backend.cluster().applied(), before);
}

#[tokio::test]
async fn without_a_metadata_leader_it_times_out() {
    let backend = MemoryBackend::of_three();
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    for error in [ProposeError::TimedOut, ProposeError::NoLeader("all are silent".into())] {
        backend.fail_proposals(error);
        let results = create(&mut client, vec![topic("logs", 1, 1)]).await;
        assert_eq!(results[0].error_code, 7);
        assert!(results[0].error_message.is_some());
    }
}

/// Who creates a topic and uses it at once does not meet an error that passes; without a leader the answer comes too.
#[tokio::test]
async fn a_creation_waits_for_leaders_but_not_for_ever() {
    let backend = MemoryBackend::of_three();
    backend.hold_elections();
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let elected = std::sync::Arc::clone(&backend);
    let election = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        elected.elect_leaders();
    });
    let began = Instant::now();
    assert_eq!(create(&mut client, vec![topic("logs", 2, 3)]).await[0].error_code, 0);
    assert!((200..900).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    election.await.unwrap();
    backend.hold_elections();
    assert_eq!(create(&mut client, vec![topic("more", 2, 3)]).await[0].error_code, 0);
    let at_once = CreateTopicsRequest::default().with_topics(vec![topic("last", 1, 1)]).with_timeout_ms(0);
    let answer: CreateTopicsResponse = client.ask(ApiKey::CreateTopics, 7, &at_once).await;
    assert_eq!(answer.topics[0].error_code, 0);
}

async fn delete(client: &mut Client, wanted: Vec<DeleteTopicState>) -> Vec<(i16, Option<String>, Uuid)> {
    let request = DeleteTopicsRequest::default().with_topics(wanted).with_timeout_ms(5_000);
    let answer: DeleteTopicsResponse = client.ask(ApiKey::DeleteTopics, 6, &request).await;
    let results = answer.responses.into_iter();
    results.map(|r| (r.error_code, r.name.map(|name| name.to_string()), r.topic_id)).collect()
}

#[tokio::test]
async fn topics_are_deleted_by_name_and_by_id() {
    let backend = MemoryBackend::of_three();
    let (a, b) = (backend.topic("a", 1, 1), backend.topic("b", 1, 1));
    backend.topic("c", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let by_name = |topic: &str| DeleteTopicState::default().with_name(Some(name(topic)));
    let by_id = |id| DeleteTopicState::default().with_name(None).with_topic_id(id);
    let unknown = Uuid::from_u128(3);
    let wanted = vec![
        by_name("a"),
        by_id(b.0),
        by_name("nothing"),
        by_id(unknown),
        by_name("c").with_topic_id(unknown),
    ];
    assert_eq!(
        delete(&mut client, wanted).await,
        [
            (0, Some("a".to_owned()), a.0),
            (0, Some("b".to_owned()), b.0),
            (3, Some("nothing".to_owned()), Uuid::nil()),
            (100, None, unknown),
            (42, Some("c".to_owned()), unknown),
        ]
    );
    // By name and by id it is still one topic twice: nothing of it is deleted.
    let c = backend.cluster().topic_by_name("c").unwrap().id.0;
    for twice in [vec![by_name("c"), by_name("c")], vec![by_name("c"), by_id(c)]] {
        assert_eq!(delete(&mut client, twice).await, [(42, Some("c".to_owned()), Uuid::nil())]);
    }
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name("c"), name("d")]);
    let answer: DeleteTopicsResponse = client.ask(ApiKey::DeleteTopics, 1, &request).await;
    assert_eq!(answer.responses.iter().map(|r| r.error_code).collect::<Vec<_>>(), [0, 3]);
    assert_eq!(backend.cluster().topics().len(), 0);
}

#[tokio::test]
async fn partitions_are_added_and_never_removed() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 2, 2);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let placed = |topic: &str, count| {
        CreatePartitionsTopic::default().with_name(name(topic)).with_count(count).with_assignments(None)
    };
    let manual = |count, brokers: &[i32]| {
        let brokers = brokers.iter().map(|id| BrokerId(*id)).collect();
        let assignment = CreatePartitionsAssignment::default().with_broker_ids(brokers);
        placed("logs", count).with_assignments(Some(vec![assignment]))
    };
    for (wanted, code) in [
        (placed("logs", 1), 37),
        (placed("logs", 2), 37),
        (placed("logs", -4), 37),
        (placed("nothing", 4), 3),
        (manual(4, &[1, 2]), 39),
        (manual(3, &[1]), 39),
        (manual(3, &[3, 1]), 0),
        (placed("logs", 6), 0),
    ] {
        let request =
            CreatePartitionsRequest::default().with_topics(vec![wanted.clone()]).with_timeout_ms(5_000);
        let answer: CreatePartitionsResponse = client.ask(ApiKey::CreatePartitions, 3, &request).await;
        assert_eq!(answer.results[0].error_code, code, "{wanted:?}: {:?}", answer.results[0].error_message);
    }
    let cluster = backend.cluster();
    let logs = cluster.topic_by_name("logs").unwrap();
    assert_eq!((logs.partitions.len(), logs.partitions[2].replicas[0].broker.0), (6, 3));
}

#[tokio::test]
async fn producer_ids_are_never_the_same_twice() {
    let backend = MemoryBackend::of_three();
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let mut seen = BTreeSet::new();
    let request = InitProducerIdRequest::default().with_transactional_id(None);
    for _ in 0..2_500 {
        let answer: InitProducerIdResponse = client.ask(ApiKey::InitProducerId, 4, &request).await;
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        assert!(seen.insert(answer.producer_id.0));
    }
}

#[tokio::test]
async fn a_transactional_producer_is_refused_and_a_missing_block_passes() {
    let backend = MemoryBackend::of_three();
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    backend.fail_proposals(ProposeError::NoLeader("all are silent".into()));
    for (transactional_id, code) in [(Some("tx"), 35), (Some(""), 42), (None, 14)] {
        let id = transactional_id.map(|id| TransactionalId(id.to_owned().into()));
        let request = InitProducerIdRequest::default().with_transactional_id(id);
        let answer: InitProducerIdResponse = client.ask(ApiKey::InitProducerId, 4, &request).await;
        assert_eq!((answer.error_code, answer.producer_id.0, answer.producer_epoch), (code, -1, -1));
    }
}
