//! Produce: every outcome of the gate and the engine has its code, and reaches the client as such.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use chronik_core::ids::{BrokerId, TopicId};
use chronik_core::replication::producer_state::ProducerError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::*;
use uuid::Uuid;

use super::memory::{MemoryBackend, NOW_MS};
use super::name;
use super::replica::Fate;
use crate::handlers::backend::{Acks, AppendError, Leadership};
use crate::log::batch::BatchHeader;
use crate::server::tests::client::{Client, batch, batch_at, serve};

const TOO_FEW: AppendError = AppendError::NotEnoughReplicas { in_sync: 1, required: 2 };

fn request(acks: i16, records: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_records(Some(records));
    let topic = TopicProduceData::default().with_name(name("logs")).with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(5_000).with_topic_data(vec![topic])
}

async fn produce(client: &mut Client, version: i16, request: &ProduceRequest) -> PartitionProduceResponse {
    let mut answer: ProduceResponse = client.ask(ApiKey::Produce, version, request).await;
    answer.responses.remove(0).partition_responses.remove(0)
}

#[tokio::test]
async fn a_batch_gets_its_offset_and_the_leaders_epoch_and_keeps_its_bytes() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    for (version, base) in (3..=12).zip((0..).step_by(3)) {
        let answer = produce(&mut client, version, &request(-1, batch(3, 20))).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, base), "version {version}");
        assert_eq!(answer.log_append_time_ms, -1);
    }
    let stored = &replica.bytes()[1];
    let header = BatchHeader::parse(stored).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (3, 5));
    assert_eq!(stored[16..], batch(3, 20)[16..]);
    assert_eq!(replica.acks()[0], Acks::All);
}

#[tokio::test]
async fn version_13_names_topics_by_id() {
    let backend = MemoryBackend::of_three();
    let id = backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    for (asked, code) in [(id, 0), (TopicId(Uuid::from_u128(7)), 100)] {
        let mut request = request(1, batch(1, 1));
        request.topic_data[0].name = TopicName::default();
        request.topic_data[0].topic_id = asked.0;
        let answer: ProduceResponse = client.ask(ApiKey::Produce, 13, &request).await;
        assert_eq!(answer.responses[0].topic_id, asked.0);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, code);
    }
}

#[tokio::test]
async fn every_refusal_of_the_engine_has_its_code_and_none_is_unknown() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    let (_server, address) = serve(&backend).await;
    let gap = ProducerError::OutOfOrderSequence { id: 1, epoch: 0, sequence: 7, expected: 5 };
    let fenced = ProducerError::InvalidProducerEpoch { id: 1, epoch: 0, current: 1 };
    let errors = [
        (AppendError::NotLeader { leader: None, epoch: 6 }, 6),
        (TOO_FEW, 20),
        (AppendError::TimedOut, 7),
        (AppendError::Busy, 7),
        (gap.into(), 45),
        (fenced.into(), 47),
        (ProducerError::EarlierBatchRefused { code: 20 }.into(), 20),
        (AppendError::Storage("the disk is full".into()), 56),
    ];
    let mut client = Client::connect(address).await;
    for (error, code) in errors {
        let message = error.to_string();
        replica.set_fate(Fate::Fail(error));
        let answer = produce(&mut client, 12, &request(-1, batch(1, 1))).await;
        assert_eq!((answer.error_code, answer.base_offset, answer.log_start_offset), (code, -1, -1));
        assert_eq!(answer.error_message.unwrap().as_str(), message);
    }
}

/// The batch may be in the log: it must be sent again.
#[tokio::test]
async fn an_engine_that_does_not_answer_is_a_timeout() {
    let backend = MemoryBackend::of_three();
    backend.replica_of(backend.topic("logs", 1, 1), 0).set_fate(Fate::Forget);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    assert_eq!(produce(&mut client, 9, &request(-1, batch(1, 1))).await.error_code, 7);
}

#[tokio::test]
async fn requests_at_fault_are_told_so_and_append_nothing() {
    let backend = MemoryBackend::of_three();
    let small = BTreeMap::from([("max.message.bytes".to_owned(), "500".to_owned())]);
    let replica = backend.replica_of(backend.topic_with("logs", 1, 1, small), 0);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let good = batch(1, 1);
    let mut corrupt = BytesMut::from(&good[..]);
    *corrupt.last_mut().unwrap() ^= 1;
    let two = [good.clone(), good.clone()].concat();
    let cases: [(i16, Bytes, i16); 9] = [
        (2, good.clone(), 21),
        (-2, good.clone(), 21),
        (-1, corrupt.freeze(), 2),
        (-1, good.slice(..30), 87),
        (-1, Bytes::new(), 87),
        (-1, two.into(), 87),
        (-1, batch(1, 600), 10),
        (-1, batch_at(1, 1, NOW_MS + 3_700_000), 32),
        (-1, zstd(), 76),
    ];
    for (acks, records, code) in cases {
        let answer = produce(&mut client, 6, &request(acks, records)).await;
        assert_eq!(answer.error_code, code);
    }
    let mut transactional = request(-1, good.clone());
    transactional.transactional_id = Some(TransactionalId("tx".to_owned().into()));
    assert_eq!(produce(&mut client, 9, &transactional).await.error_code, 48);
    let mut elsewhere = request(-1, good);
    elsewhere.topic_data[0].partition_data[0].index = 1;
    assert_eq!(produce(&mut client, 9, &elsewhere).await.error_code, 3);
    elsewhere.topic_data[0].name = name("nothing");
    assert_eq!(produce(&mut client, 9, &elsewhere).await.error_code, 3);
    assert_eq!(replica.taken(), 0);
}

/// A batch that says it is compressed with zstd; nobody opens it.
fn zstd() -> Bytes {
    let mut bytes = BytesMut::from(&batch(1, 1)[..]);
    bytes[22] |= 4;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

#[tokio::test]
async fn zstd_passes_from_version_7_on() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    assert_eq!(produce(&mut client, 7, &request(-1, zstd())).await.error_code, 0);
}

#[tokio::test]
async fn who_does_not_lead_says_who_does_and_where() {
    let backend = MemoryBackend::of_three();
    let id = backend.topic("logs", 1, 2);
    backend.replica_of(id, 0).lead_as(Leadership::Follower { leader: Some(BrokerId(2)), epoch: 6 });
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let answer: ProduceResponse = client.ask(ApiKey::Produce, 10, &request(-1, batch(1, 1))).await;
    let partition = &answer.responses[0].partition_responses[0];
    let leader = &partition.current_leader;
    assert_eq!((partition.error_code, leader.leader_id.0, leader.leader_epoch), (6, 2, 6));
    let node = &answer.node_endpoints[0];
    assert_eq!((node.node_id.0, node.host.as_str(), node.port), (2, "broker-2.example", 9092));
    assert_eq!(node.rack.as_ref().unwrap().as_str(), "rack-2");
    // Before version 10 there is no place for it.
    assert_eq!(produce(&mut client, 9, &request(-1, batch(1, 1))).await.error_code, 6);
    // A broker without a replica knows the leader from the views.
    backend.lose_replica(id, 0);
    let answer: ProduceResponse = client.ask(ApiKey::Produce, 10, &request(-1, batch(1, 1))).await;
    let leader = &answer.responses[0].partition_responses[0].current_leader;
    assert_eq!((leader.leader_id.0, leader.leader_epoch), (1, 5));
    // A dead leader has no endpoint.
    backend.kill(BrokerId(1));
    let answer: ProduceResponse = client.ask(ApiKey::Produce, 10, &request(-1, batch(1, 1))).await;
    assert!(answer.node_endpoints.is_empty());
}

#[tokio::test]
async fn a_quarantined_replica_answers_a_storage_error() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.lead_as(Leadership::Quarantined { reason: "damaged".into() });
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    assert_eq!(produce(&mut client, 9, &request(-1, batch(1, 1))).await.error_code, 56);
}

#[tokio::test]
async fn without_acks_there_is_no_answer_but_the_order_stays() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    client.send(ApiKey::Produce, 9, &request(0, batch(2, 1))).await;
    let answer = produce(&mut client, 9, &request(1, batch(1, 1))).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 2));
    assert_eq!(replica.acks(), [Acks::None, Acks::Leader]);
}

#[tokio::test]
async fn without_acks_a_failure_closes_the_connection() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    let (_server, address) = serve(&backend).await;
    for (fate, leadership) in [
        (Fate::Fail(TOO_FEW), Leadership::Leader { epoch: 5 }),
        (Fate::Commit, Leadership::Caretaker { epoch: 5 }),
        (Fate::Commit, Leadership::Follower { leader: None, epoch: 5 }),
    ] {
        replica.set_fate(fate);
        replica.lead_as(leadership);
        let mut client = Client::connect(address).await;
        client.send(ApiKey::Produce, 9, &request(0, batch(1, 1))).await;
        assert!(client.is_closed().await);
    }
}

/// 20 makes no client look for another broker; a closed connection does.
#[tokio::test]
async fn a_caretaker_refuses_at_once_and_closes_the_connection_soon_after_its_first_refusal() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.lead_as(Leadership::Caretaker { epoch: 5 });
    let (_server, address) = serve(&backend).await;
    for acks in [-1, 1] {
        let mut client = Client::connect(address).await;
        let first = Instant::now();
        assert_eq!(produce(&mut client, 9, &request(acks, batch(1, 1))).await.error_code, 20);
        assert!(first.elapsed() < Duration::from_millis(200));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(produce(&mut client, 9, &request(acks, batch(1, 1))).await.error_code, 20);
        assert!(client.is_closed().await);
        let lived = first.elapsed();
        assert!((250..1_000).contains(&lived.as_millis()), "closed after {lived:?}");
    }
    assert_eq!(replica.taken(), 0);
}

/// A leader's own 20 is a matter of seconds: its clients stay.
#[tokio::test]
async fn a_leader_below_min_isr_keeps_its_connections() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.set_fate(Fate::Fail(TOO_FEW));
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    assert_eq!(produce(&mut client, 9, &request(-1, batch(1, 1))).await.error_code, 20);
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    replica.set_fate(Fate::Commit);
    assert_eq!(produce(&mut client, 9, &request(-1, batch(1, 1))).await.error_code, 0);
}

#[tokio::test]
async fn partitions_of_one_request_fare_each_on_their_own() {
    let backend = MemoryBackend::of_three();
    let id = backend.topic("logs", 3, 1);
    backend.replica_of(id, 1).set_fate(Fate::Fail(TOO_FEW));
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let mut request = request(-1, batch(1, 1));
    let data = request.topic_data[0].partition_data[0].clone();
    request.topic_data[0].partition_data = (0..4).map(|index| data.clone().with_index(index)).collect();
    let answer: ProduceResponse = client.ask(ApiKey::Produce, 9, &request).await;
    let codes: Vec<_> =
        answer.responses[0].partition_responses.iter().map(|p| (p.index, p.error_code)).collect();
    assert_eq!(codes, [(0, 0), (1, 20), (2, 0), (3, 3)]);
}
