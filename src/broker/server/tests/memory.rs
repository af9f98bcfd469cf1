//! The memory of requests is bounded over all connections, whoever announces how much and sends how slowly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use tokio::time::sleep;

use super::client::{Client, PATIENCE, batch, serve_with, serve_within};
use crate::handlers::tests::memory::MemoryBackend;
use crate::handlers::tests::name;
use crate::handlers::tests::replica::Fate;
use crate::server::ServerSettings;

const MIB: usize = 1024 * 1024;

/// Room for two requests of 3 MiB, and a seventh more for small ones.
fn tight(patience: Duration) -> ServerSettings {
    ServerSettings {
        max_request_bytes: 4 * MIB,
        max_request_memory_bytes: 8 * MIB,
        patience,
        ..ServerSettings::default()
    }
}

/// A client that announces 3 MiB and sends little of it.
async fn announce(address: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(address).await;
    let mut bytes = BytesMut::new();
    bytes.put_u32(3 * MIB as u32);
    bytes.put_bytes(0, 1000);
    client.write(&bytes).await;
    client
}

async fn ask_for_metadata(client: &mut Client) {
    let request = MetadataRequest::default().with_topics(None);
    let answer: MetadataResponse = client.ask(ApiKey::Metadata, 1, &request).await;
    assert_eq!(answer.brokers.len(), 3);
}

fn produce(size: usize) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_records(Some(batch(1, size)));
    let topic = TopicProduceData::default().with_name(name("logs")).with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

fn shown(backend: &Arc<MemoryBackend>, metric: &str) -> usize {
    let text = backend.metrics.render().unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{metric} is not shown")).parse().unwrap()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what} did not come about");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn slow_senders_of_large_requests_keep_no_small_one_waiting() {
    let backend = MemoryBackend::of_three();
    let (_server, address) = serve_with(&backend, tight(PATIENCE)).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(announce(address).await);
    }
    until("a line", || shown(&backend, "chronik_request_memory_waits_total") == 18).await;
    let began = Instant::now();
    ask_for_metadata(&mut Client::connect(address).await).await;
    assert!(began.elapsed() < PATIENCE / 4, "a small request waited {:?}", began.elapsed());
    assert_eq!(shown(&backend, "chronik_request_memory_bytes"), 6 * MIB);
    drop(slow);
    until("all room to be given back", || shown(&backend, "chronik_request_memory_bytes") == 0).await;
}

#[tokio::test]
async fn a_slow_sender_holds_its_room_for_a_bounded_time() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve_with(&backend, tight(Duration::from_millis(300))).await;
    let mut slow = Vec::new();
    for _ in 0..6 {
        slow.push(announce(address).await);
    }
    until("a line", || shown(&backend, "chronik_request_memory_waits_total") == 4).await;
    // Behind all of them in line, and this one comes as fast as it can.
    let mut client = Client::connect(address).await;
    let answer: ProduceResponse = client.ask(ApiKey::Produce, 9, &produce(3 * MIB)).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 10, "larger than the topic allows");
    for mut client in slow {
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn the_largest_request_fits_once_it_is_alone() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let all = ServerSettings { max_request_memory_bytes: 4 * MIB, ..tight(PATIENCE) };
    let (_server, address) = serve_with(&backend, all).await;
    let mut client = Client::connect(address).await;
    for _ in 0..2 {
        let answer: ProduceResponse = client.ask(ApiKey::Produce, 9, &produce(4 * MIB - 200)).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 10);
    }
}

#[tokio::test]
async fn a_request_keeps_its_room_until_it_is_carried_out() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.set_fate(Fate::Hold);
    let (_server, address) = serve_with(&backend, tight(PATIENCE)).await;
    let mut first = Client::connect(address).await;
    first.send(ApiKey::Produce, 9, &produce(MIB - 10_000)).await;
    until("appending", || replica.taken() == 1).await;
    assert!(shown(&backend, "chronik_request_memory_bytes") > MIB - 10_000);
    replica.release();
    let _: (i32, ProduceResponse) = first.receive(9).await;
    assert_eq!(shown(&backend, "chronik_request_memory_bytes"), 0);
}

/// Its requests wait behind an answer that it does not take: they hold memory that others could use. One that holds
/// nothing but its answer may take its time.
#[tokio::test]
async fn who_takes_no_answers_holds_no_memory_for_long() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve_with(&backend, tight(Duration::from_millis(300))).await;
    // More than the sockets take in, so that the answer stands before a client that does not read.
    let mut filler = Client::connect(address).await;
    for _ in 0..20 {
        let answer: ProduceResponse = filler.ask(ApiKey::Produce, 9, &produce(MIB - 10_000)).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    let partition = FetchPartition::default().with_fetch_offset(0).with_partition_max_bytes(20 * MIB as i32);
    let topic = FetchTopic::default().with_topic(name("logs")).with_partitions(vec![partition]);
    let fetch = FetchRequest::default().with_max_bytes(20 * MIB as i32).with_topics(vec![topic]);

    let mut resting = Client::connect(address).await;
    resting.send(ApiKey::Fetch, 11, &fetch).await;
    let mut greedy = Client::connect(address).await;
    greedy.send(ApiKey::Fetch, 11, &fetch).await;
    greedy.send(ApiKey::Fetch, 11, &fetch).await;
    until("memory to be held", || shown(&backend, "chronik_requests_in_flight") == 1).await;
    until("it to be given back", || shown(&backend, "chronik_requests_in_flight") == 0).await;
    sleep(Duration::from_millis(600)).await;
    let (_, answer) = resting.receive::<FetchResponse>(11).await;
    assert!(
        answer.responses[0].partitions[0].records.as_ref().is_some_and(|records| records.len() > 19 * MIB)
    );
    assert!(greedy.is_cut_short().await, "its answer was given up in the middle");
}

/// A Fetch of all that `logs` has, in as many bytes as it takes.
fn fetch_all() -> FetchRequest {
    let partition = FetchPartition::default().with_fetch_offset(0).with_partition_max_bytes(50 * MIB as i32);
    let topic = FetchTopic::default().with_topic(name("logs")).with_partitions(vec![partition]);
    FetchRequest::default().with_max_bytes(50 * MIB as i32).with_topics(vec![topic])
}

async fn filled(address: std::net::SocketAddr, batches: usize) {
    let mut filler = Client::connect(address).await;
    for _ in 0..batches {
        let answer: ProduceResponse = filler.ask(ApiKey::Produce, 9, &produce(MIB - 10_000)).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
}

fn records(answer: &FetchResponse) -> usize {
    answer.responses[0].partitions[0].records.as_ref().map_or(0, bytes::Bytes::len)
}

/// Thirty-two consumers ask for more than their sockets take in, again and again, and read nothing: together they get what answers may take, and whoever comes
/// after them gets a smaller answer at once, or waits until they are closed.
#[tokio::test]
async fn answers_that_nobody_takes_are_bounded_and_keep_others_waiting_for_a_bounded_time() {
    const ANSWERS: usize = 24 * MIB;
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let patient = Duration::from_millis(1_500);
    let settings = ServerSettings { patience: patient, ..ServerSettings::default() };
    let (_server, address) = serve_within(&backend, settings, ANSWERS).await;
    filled(address, 16).await;
    let mut greedy = Vec::new();
    for _ in 0..32 {
        let mut client = Client::connect(address).await;
        for _ in 0..12 {
            client.send(ApiKey::Fetch, 11, &fetch_all()).await;
        }
        greedy.push(client);
    }
    until("a line", || shown(&backend, "chronik_answer_memory_waits_total") > 0).await;
    let taken = shown(&backend, "chronik_answer_memory_bytes");
    assert!(taken <= ANSWERS, "{taken} bytes");
    let began = Instant::now();
    ask_for_metadata(&mut Client::connect(address).await).await;
    assert!(began.elapsed() < patient / 2, "a small answer waited {:?}", began.elapsed());

    let mut fair = Client::connect(address).await;
    let answer: FetchResponse = fair.ask(ApiKey::Fetch, 11, &fetch_all()).await;
    assert!(records(&answer) >= MIB - 20_000, "{} bytes", records(&answer));
    let mut cut = 0;
    for client in &mut greedy {
        for _ in 0..12 {
            if client.frame().await.is_none() {
                cut += 1;
                break;
            }
        }
    }
    assert!(cut > 0, "nobody had to give up its place");
    drop(greedy);
    until("all room to be given back", || shown(&backend, "chronik_answer_memory_bytes") == 0).await;
}

#[tokio::test]
async fn a_consumer_gets_less_while_little_is_left_and_all_of_it_in_the_end() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve_within(&backend, ServerSettings::default(), 24 * MIB).await;
    filled(address, 8).await;
    let mut client = Client::connect(address).await;
    let first: FetchResponse = client.ask(ApiKey::Fetch, 11, &fetch_all()).await;
    // A quarter of what is left for large answers, and each byte counts twice while the answer is made.
    assert_eq!(records(&first) / (MIB - 20_000), 2, "{} bytes", records(&first));
    until("its room to be given back", || shown(&backend, "chronik_answer_memory_bytes") == 0).await;
}

#[tokio::test]
async fn an_answer_larger_than_all_memory_is_made_when_it_is_alone() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve_within(&backend, ServerSettings::default(), MIB / 2).await;
    filled(address, 2).await;
    let mut client = Client::connect(address).await;
    let answer: FetchResponse = client.ask(ApiKey::Fetch, 11, &fetch_all()).await;
    assert_eq!(records(&answer) / (MIB - 20_000), 1);
}
