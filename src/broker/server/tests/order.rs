//! Requests of a connection start in the order they arrive and are answered in that order, within bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chronik_core::metadata::ClusterState;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use tokio::time::sleep;

use super::client::{Client, PATIENCE, batch, serve, serve_with};
use crate::handlers::tests::memory::MemoryBackend;
use crate::handlers::tests::name;
use crate::handlers::tests::replica::{Fate, MemoryReplica};
use crate::server::ServerSettings;

fn produce(size: usize) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_records(Some(batch(1, size)));
    let topic = TopicProduceData::default().with_name(name("logs")).with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come about");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn base_offset(client: &mut Client) -> (i32, i64) {
    let (id, answer) = client.receive::<ProduceResponse>(9).await;
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, 0);
    (id, partition.base_offset)
}

fn settle() -> impl Future<Output = ()> {
    sleep(Duration::from_millis(150))
}

#[tokio::test]
async fn batches_are_appended_before_earlier_ones_commit_and_answered_in_order() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.set_fate(Fate::Hold);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let mut sent = Vec::new();
    for at in 0..5 {
        sent.push((client.send(ApiKey::Produce, 9, &produce(10)).await, at));
    }
    until("appending all five", || replica.taken() == 5).await;
    assert!(client.is_silent().await, "nothing is committed yet");
    replica.release();
    for expected in sent {
        assert_eq!(base_offset(&mut client).await, expected);
    }
}

#[tokio::test]
async fn later_requests_wait_for_the_answers_before_them() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.set_fate(Fate::Hold);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let first = client.send(ApiKey::Produce, 9, &produce(10)).await;
    let second = client.send(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default()).await;
    assert!(client.is_silent().await);
    replica.release();
    assert_eq!(base_offset(&mut client).await, (first, 0));
    assert_eq!(client.receive::<ApiVersionsResponse>(0).await.0, second);
}

/// The produce sees the topic that the request before it creates, though neither was answered when it arrived.
#[tokio::test]
async fn a_produce_starts_after_the_requests_before_it() {
    let (_server, address) = serve(&MemoryBackend::of_three()).await;
    let mut client = Client::connect(address).await;
    let topic =
        CreatableTopic::default().with_name(name("logs")).with_num_partitions(1).with_replication_factor(3);
    let create = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
    client.send(ApiKey::CreateTopics, 5, &create).await;
    let sent = client.send(ApiKey::Produce, 9, &produce(10)).await;
    let (_, created) = client.receive::<CreateTopicsResponse>(5).await;
    assert_eq!(created.topics[0].error_code, 0);
    assert_eq!(base_offset(&mut client).await, (sent, 0));
}

async fn sends_twelve(settings: ServerSettings, size: usize) -> (std::sync::Arc<MemoryReplica>, usize) {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.set_fate(Fate::Hold);
    let (_server, address) = serve_with(&backend, settings).await;
    let mut client = Client::connect(address).await;
    for _ in 0..12 {
        client.send(ApiKey::Produce, 9, &produce(size)).await;
    }
    settle().await;
    let taken = replica.taken();
    // Whatever is taken later commits at once; what is held is released.
    replica.set_fate(Fate::Commit);
    replica.release();
    for at in 0..12 {
        assert_eq!(base_offset(&mut client).await.1, at);
    }
    (replica, taken)
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let settings = ServerSettings { max_in_flight_requests: 3, ..Default::default() };
    let (replica, taken) = sends_twelve(settings, 10).await;
    // Three wait in line, one is awaited, one stands before the full line.
    assert_eq!((taken, replica.taken()), (5, 12));
}

#[tokio::test]
async fn bytes_in_flight_are_bounded() {
    let settings = ServerSettings { max_in_flight_bytes: 2_500, ..Default::default() };
    assert_eq!(sends_twelve(settings, 1_000).await.1, 2);
}

#[tokio::test]
async fn a_request_above_the_bytes_in_flight_runs_alone() {
    let settings = ServerSettings { max_in_flight_bytes: 100, ..Default::default() };
    assert_eq!(sends_twelve(settings, 1_000).await.1, 1);
}

#[tokio::test]
async fn a_client_that_has_nothing_more_to_say_still_gets_its_answers() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.set_fate(Fate::Hold);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let sent = client.send(ApiKey::Produce, 9, &produce(10)).await;
    client.finish_writing().await;
    until("appending", || replica.taken() == 1).await;
    replica.release();
    assert_eq!(base_offset(&mut client).await, (sent, 0));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_stop_answers_what_was_read_and_reads_no_more() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.set_fate(Fate::Hold);
    let (server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let sent = client.send(ApiKey::Produce, 9, &produce(10)).await;
    until("appending", || replica.taken() == 1).await;
    let stopping = tokio::spawn(server.stop());
    settle().await;
    client.send(ApiKey::Produce, 9, &produce(10)).await;
    settle().await;
    assert_eq!(replica.taken(), 1);
    replica.release();
    assert_eq!(base_offset(&mut client).await, (sent, 0));
    assert!(client.is_closed().await);
    stopping.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.set_fate(Fate::Hold);
    let settings = ServerSettings { drain_timeout: Duration::from_millis(100), ..Default::default() };
    let (server, address) = serve_with(&backend, settings).await;
    let mut client = Client::connect(address).await;
    client.send(ApiKey::Produce, 9, &produce(10)).await;
    until("appending", || replica.taken() == 1).await;
    tokio::time::timeout(PATIENCE, server.stop()).await.unwrap();
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn connections_are_bounded() {
    let settings = ServerSettings { max_connections: 1, ..Default::default() };
    let (_server, address) = serve_with(&MemoryBackend::of_three(), settings).await;
    let mut first = Client::connect(address).await;
    let request = ApiVersionsRequest::default();
    let _: ApiVersionsResponse = first.ask(ApiKey::ApiVersions, 0, &request).await;
    assert!(Client::connect(address).await.is_closed().await);
    drop(first);
    settle().await;
    let mut next = Client::connect(address).await;
    let _: ApiVersionsResponse = next.ask(ApiKey::ApiVersions, 0, &request).await;
}

/// A client drops the brokers that an answer does not name, and this one does not know the others yet.
#[tokio::test]
async fn a_broker_that_is_not_registered_yet_hangs_up() {
    let backend = MemoryBackend::of_three();
    let whole = backend.know(Arc::new(ClusterState::new("test".parse().unwrap())));
    let (_server, address) = serve_with(&backend, ServerSettings::default()).await;
    assert!(Client::connect(address).await.is_closed().await);
    backend.know(whole);
    let request = ApiVersionsRequest::default();
    let _: ApiVersionsResponse = Client::connect(address).await.ask(ApiKey::ApiVersions, 0, &request).await;
}

#[tokio::test]
async fn idle_connections_are_closed_and_waiting_ones_are_not() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.set_fate(Fate::Hold);
    let settings = ServerSettings { idle_timeout: Duration::from_millis(100), ..Default::default() };
    let (_server, address) = serve_with(&backend, settings).await;
    let mut waiting = Client::connect(address).await;
    let sent = waiting.send(ApiKey::Produce, 9, &produce(10)).await;
    let mut idle = Client::connect(address).await;
    assert!(idle.is_closed().await);
    let mut half = Client::connect(address).await;
    half.write(&[0, 0, 0, 40, 0, 3]).await;
    assert!(half.is_closed().await);
    settle().await;
    replica.release();
    assert_eq!(base_offset(&mut waiting).await, (sent, 0));
}
