//! ListOffsets and OffsetForLeaderEpoch.

use std::time::Instant;

use bytes::Bytes;
use chronik_core::ids::BrokerId;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;

use super::memory::{MemoryBackend, NOW_MS};
use super::name;
use crate::handlers::backend::Leadership;
use crate::server::tests::client::{Client, batch_at, serve};

async fn produce(client: &mut Client, records: Bytes) {
    let data = PartitionProduceData::default().with_records(Some(records));
    let topic = TopicProduceData::default().with_name(name("logs")).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(1_000).with_topic_data(vec![topic]);
    let answer: ProduceResponse = client.ask(ApiKey::Produce, 9, &request).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

fn at(partition: i32, timestamp: i64, epoch: i32) -> ListOffsetsRequest {
    let wanted = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(timestamp)
        .with_current_leader_epoch(epoch);
    let topic = ListOffsetsTopic::default().with_name(name("logs")).with_partitions(vec![wanted]);
    ListOffsetsRequest::default().with_replica_id(messages_broker(-1)).with_topics(vec![topic])
}

/// Error, offset, timestamp, epoch.
async fn list(client: &mut Client, version: i16, timestamp: i64) -> (i16, i64, i64, i32) {
    let answer: ListOffsetsResponse = client.ask(ApiKey::ListOffsets, version, &at(0, timestamp, -1)).await;
    let partition = &answer.topics[0].partitions[0];
    (partition.error_code, partition.offset, partition.timestamp, partition.leader_epoch)
}

#[tokio::test]
async fn first_last_and_by_time() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    assert_eq!(list(&mut client, 7, -3).await, (0, -1, -1, -1));
    for later in [0, 20, 10] {
        produce(&mut client, batch_at(2, 5, NOW_MS + later)).await;
    }
    replica.set_high_watermark(4);
    assert_eq!(list(&mut client, 7, -1).await, (0, 4, -1, 5));
    assert_eq!(list(&mut client, 7, -2).await, (0, 0, -1, 5));
    assert_eq!(list(&mut client, 7, -3).await, (0, 2, NOW_MS + 20, 5));
    assert_eq!(list(&mut client, 7, NOW_MS + 1).await, (0, 2, NOW_MS + 20, 5));
    assert_eq!(list(&mut client, 7, NOW_MS + 21).await, (0, -1, -1, -1));
    assert_eq!(list(&mut client, 8, -4).await, (0, 0, -1, 5));
    assert_eq!(list(&mut client, 9, -5).await, (0, -1, -1, -1));
    // Versions that do not know a special time say so.
    for (version, timestamp) in [(6, -3), (7, -4), (8, -5), (10, -6), (10, -7)] {
        assert_eq!(list(&mut client, version, timestamp).await.0, 35, "{timestamp} in version {version}");
    }
    assert_eq!(list(&mut client, 1, -1).await.1, 4);
}

#[tokio::test]
async fn version_11_knows_one_more_time() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let mut body = bytes::BytesMut::new();
    kafka_protocol::protocol::Encodable::encode(&at(0, -6, -1), &mut body, 10).unwrap();
    client.send_as(2, 11, 2, &body).await;
    let (_, answer) = client.receive::<ListOffsetsResponse>(10).await;
    assert_eq!((answer.topics[0].partitions[0].error_code, answer.topics[0].partitions[0].offset), (0, -1));
}

#[tokio::test]
async fn the_end_is_not_told_before_it_is_known() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    produce(&mut client, batch_at(2, 5, NOW_MS)).await;
    replica.set_epoch_start_reached(false);
    assert_eq!(list(&mut client, 5, -1).await.0, 78);
    assert_eq!(list(&mut client, 4, -1).await.0, 5);
    assert_eq!(list(&mut client, 5, NOW_MS).await.1, 0);
    assert_eq!(list(&mut client, 5, NOW_MS + 1).await.0, 78);
    replica.set_epoch_start_reached(true);
    assert_eq!(list(&mut client, 5, -1).await.1, 2);
    replica.lead_as(Leadership::Caretaker { epoch: 5 });
    assert_eq!(list(&mut client, 5, -1).await.0, 78);
    assert_eq!(list(&mut client, 5, -2).await.1, 0);
    replica.lead_as(Leadership::Follower { leader: Some(BrokerId(2)), epoch: 6 });
    assert_eq!(list(&mut client, 5, -1).await.0, 6);
    replica.lead_as(Leadership::Quarantined { reason: "damaged".into() });
    assert_eq!(list(&mut client, 5, -1).await.0, 56);
}

#[tokio::test]
async fn epochs_are_fenced_and_partitions_known() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    for (partition, epoch, code) in [(0, 4, 74), (0, 6, 75), (0, 5, 0), (1, -1, 3)] {
        let answer: ListOffsetsResponse = client.ask(ApiKey::ListOffsets, 7, &at(partition, -1, epoch)).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, code, "epoch {epoch}");
    }
}

/// Error, epoch, end.
async fn end_of(client: &mut Client, current: i32, asked: i32) -> (i16, i32, i64) {
    let wanted =
        OffsetForLeaderPartition::default().with_current_leader_epoch(current).with_leader_epoch(asked);
    let topic = OffsetForLeaderTopic::default().with_topic(name("logs")).with_partitions(vec![wanted]);
    let request =
        OffsetForLeaderEpochRequest::default().with_replica_id(messages_broker(-1)).with_topics(vec![topic]);
    let answer: OffsetForLeaderEpochResponse = client.ask(ApiKey::OffsetForLeaderEpoch, 4, &request).await;
    let partition = &answer.topics[0].partitions[0];
    (partition.error_code, partition.leader_epoch, partition.end_offset)
}

fn messages_broker(id: i32) -> kafka_protocol::messages::BrokerId {
    kafka_protocol::messages::BrokerId(id)
}

#[tokio::test]
async fn the_end_of_an_epoch() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    replica.lead_as(Leadership::Leader { epoch: 3 });
    produce(&mut client, batch_at(2, 5, NOW_MS)).await;
    replica.lead_as(Leadership::Leader { epoch: 5 });
    produce(&mut client, batch_at(1, 5, NOW_MS)).await;
    replica.lead_as(Leadership::Leader { epoch: 7 });
    for (asked, told) in [(2, (-1, -1)), (3, (3, 2)), (4, (3, 2)), (5, (5, 3)), (7, (7, 3)), (8, (-1, -1))] {
        assert_eq!(end_of(&mut client, 7, asked).await, (0, told.0, told.1), "epoch {asked}");
    }
    assert_eq!(end_of(&mut client, 6, 5).await.0, 74);
    assert_eq!(end_of(&mut client, 8, 5).await.0, 75);
    replica.lead_as(Leadership::Caretaker { epoch: 7 });
    assert_eq!(end_of(&mut client, 7, 5).await.0, 6);
}

/// Its errors alone would make clients ask it for ever.
#[tokio::test]
async fn a_caretaker_closes_the_connection_soon_after_its_first_refusal() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.lead_as(Leadership::Caretaker { epoch: 5 });
    let (_server, address) = serve(&backend).await;
    for ask_for_the_end in [true, false] {
        let mut client = Client::connect(address).await;
        assert_eq!(list(&mut client, 7, -2).await.0, 0);
        let first = Instant::now();
        let code = if ask_for_the_end {
            list(&mut client, 7, -1).await.0
        } else {
            end_of(&mut client, 5, 5).await.0
        };
        assert_eq!(code, if ask_for_the_end { 78 } else { 6 });
        assert!(client.is_closed().await);
        let lived = first.elapsed();
        assert!((250..1_000).contains(&lived.as_millis()), "closed after {lived:?}");
    }
}
