//! Fetch: what is served, how long it waits, and which errors a consumer survives.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_core::ids::BrokerId;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::memory::MemoryBackend;
use super::name;
use super::replica::Fate;
use crate::handlers::backend::Leadership;
use crate::log::batch::BatchHeader;
use crate::server::tests::client::{Client, batch, serve};

fn request(partitions: &[(i32, i64)]) -> FetchRequest {
    let wanted = partitions.iter().map(|(index, offset)| {
        FetchPartition::default()
            .with_partition(*index)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(1_000_000)
    });
    let topic = FetchTopic::default().with_topic(name("logs")).with_partitions(wanted.collect());
    FetchRequest::default().with_max_wait_ms(0).with_min_bytes(1).with_topics(vec![topic])
}

async fn fetch(client: &mut Client, version: i16, request: &FetchRequest) -> Vec<PartitionData> {
    let mut answer: FetchResponse = client.ask(ApiKey::Fetch, version, request).await;
    assert_eq!((answer.error_code, answer.session_id), (0, 0));
    answer.responses.remove(0).partitions
}

async fn one(client: &mut Client, version: i16, offset: i64) -> PartitionData {
    fetch(client, version, &request(&[(0, offset)])).await.remove(0)
}

async fn produce(client: &mut Client, partition: i32, records: Bytes) {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(name("logs")).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(1_000).with_topic_data(vec![topic]);
    let answer: ProduceResponse = client.ask(ApiKey::Produce, 9, &request).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

/// Base offsets of the batches in an answer.
fn offsets(partition: &PartitionData) -> Vec<i64> {
    let mut rest = partition.records.clone().unwrap();
    let mut offsets = Vec::new();
    while !rest.is_empty() {
        let header = BatchHeader::parse(&rest).unwrap();
        offsets.push(header.base_offset);
        rest = rest.slice(header.size..);
    }
    offsets
}

#[tokio::test]
async fn records_below_the_high_watermark_come_in_every_version() {
    let backend = MemoryBackend::of_three();
    let id = backend.topic("logs", 1, 1);
    let replica = backend.replica_of(id, 0);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    for _ in 0..3 {
        produce(&mut client, 0, batch(2, 10)).await;
    }
    replica.set_high_watermark(4);
    for version in 4..=18 {
        let mut request = request(&[(0, 2)]);
        if version >= 13 {
            request.topics[0].topic = TopicName::default();
            request.topics[0].topic_id = id.0;
        }
        let partition = fetch(&mut client, version, &request).await.remove(0);
        assert_eq!((partition.error_code, offsets(&partition)), (0, vec![2]), "version {version}");
        assert_eq!((partition.high_watermark, partition.last_stable_offset), (4, 4));
        assert_eq!(partition.aborted_transactions, Some(vec![]));
        assert_eq!(partition.preferred_read_replica.0, -1);
    }
    // From within a batch the whole batch comes; between high watermark and end nothing does.
    assert_eq!(offsets(&one(&mut client, 12, 3).await), [2]);
    for offset in [4, 5, 6] {
        let partition = one(&mut client, 12, offset).await;
        assert_eq!((partition.error_code, partition.records.unwrap().len()), (0, 0), "offset {offset}");
    }
}

#[tokio::test]
async fn only_a_leader_says_that_an_offset_is_out_of_range() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    produce(&mut client, 0, batch(5, 10)).await;
    replica.set_log_start(2);
    for (offset, code) in [(1, 1), (-1, 1), (6, 1), (2, 0), (5, 0)] {
        assert_eq!(one(&mut client, 12, offset).await.error_code, code, "offset {offset}");
    }
    replica.lead_as(Leadership::Caretaker { epoch: 5 });
    // Also at its end: a client that waited there would never look for the leader.
    for (offset, code) in [(1, 78), (6, 78), (2, 0), (5, 78)] {
        assert_eq!(one(&mut client, 12, offset).await.error_code, code, "caretaker, offset {offset}");
    }
    assert_eq!(offsets(&one(&mut client, 12, 2).await), [0]);
}

#[tokio::test]
async fn who_does_not_lead_says_who_does_and_where() {
    let backend = MemoryBackend::of_three();
    let id = backend.topic("logs", 1, 2);
    backend.replica_of(id, 0).lead_as(Leadership::Follower { leader: Some(BrokerId(2)), epoch: 6 });
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let mut request = request(&[(0, 0)]);
    let old = one(&mut client, 12, 0).await;
    assert_eq!((old.error_code, old.current_leader.leader_id.0, old.current_leader.leader_epoch), (6, 2, 6));
    assert_eq!((old.high_watermark, old.log_start_offset), (-1, -1));
    request.topics[0].topic = TopicName::default();
    request.topics[0].topic_id = id.0;
    let answer: FetchResponse = client.ask(ApiKey::Fetch, 16, &request).await;
    let node = &answer.node_endpoints[0];
    assert_eq!((node.node_id.0, node.host.as_str(), node.port), (2, "broker-2.example", 9092));
}

#[tokio::test]
async fn a_consumer_with_a_rack_is_sent_to_the_replica_there() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 3), 0);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    produce(&mut client, 0, batch(2, 10)).await;
    let from = |rack: &'static str| request(&[(0, 0)]).with_rack_id(StrBytes::from_static_str(rack));
    replica.set_readable_followers(&[2, 3]);
    // Broker 1 is this one; nobody is in rack 9.
    for (version, rack, told, records) in [
        (11, "rack-2", 2, 0),
        (12, "rack-2", 2, 0),
        (12, "rack-1", -1, 1),
        (12, "rack-9", -1, 1),
        (12, "", -1, 1),
    ] {
        let partition = fetch(&mut client, version, &from(rack)).await.remove(0);
        let seen = (partition.error_code, partition.preferred_read_replica.0, offsets(&partition).len());
        assert_eq!(seen, (0, told, records), "{rack} in version {version}");
    }
    // One that is dead or too far behind is nobody to be sent to.
    replica.set_readable_followers(&[3]);
    assert_eq!(offsets(&fetch(&mut client, 12, &from("rack-2")).await[0]), [0]);
    replica.set_readable_followers(&[2]);
    backend.kill(BrokerId(2));
    assert_eq!(offsets(&fetch(&mut client, 12, &from("rack-2")).await[0]), [0]);
    // An offset that does not exist is still told by the leader.
    let mut beyond = from("rack-2");
    beyond.topics[0].partitions[0].fetch_offset = 9;
    assert_eq!(fetch(&mut client, 12, &beyond).await[0].error_code, 1);
}

#[tokio::test]
async fn a_follower_serves_consumers_with_a_rack_while_it_is_in_sync() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 3), 0);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    produce(&mut client, 0, batch(2, 10)).await;
    produce(&mut client, 0, batch(2, 10)).await;
    replica.set_high_watermark(2);
    replica.lead_as(Leadership::Follower { leader: Some(BrokerId(2)), epoch: 5 });
    let at = |offset| request(&[(0, offset)]).with_rack_id(StrBytes::from_static_str("rack-1"));
    // Below its high watermark records come, up to its end nothing does, beyond that it has not got there yet.
    for (offset, code, expected) in
        [(0, 0, vec![0]), (2, 0, vec![]), (4, 0, vec![]), (5, 78, vec![]), (-1, 1, vec![])]
    {
        let partition = fetch(&mut client, 12, &at(offset)).await.remove(0);
        assert_eq!((partition.error_code, offsets(&partition)), (code, expected), "offset {offset}");
    }
    let start = Instant::now();
    fetch(&mut client, 12, &at(5).with_max_wait_ms(300)).await;
    assert!(
        start.elapsed() >= Duration::from_millis(300),
        "an answer at once would make clients ask in circles"
    );
    // Without a rack, out of sync, or without a leader, it sends them on.
    assert_eq!(one(&mut client, 12, 0).await.error_code, 6);
    replica.set_in_sync(false);
    assert_eq!(fetch(&mut client, 12, &at(0)).await[0].error_code, 6);
    replica.set_in_sync(true);
    replica.lead_as(Leadership::Follower { leader: None, epoch: 5 });
    assert_eq!(fetch(&mut client, 12, &at(0)).await[0].error_code, 6);
}

#[tokio::test]
async fn epochs_are_fenced_both_ways() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    for (epoch, code) in [(-1, 0), (4, 74), (5, 0), (6, 75)] {
        let mut request = request(&[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        assert_eq!(fetch(&mut client, 9, &request).await[0].error_code, code, "epoch {epoch}");
    }
}

#[tokio::test]
async fn a_log_that_left_ours_is_told_where() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    replica.lead_as(Leadership::Leader { epoch: 3 });
    produce(&mut client, 0, batch(4, 10)).await;
    replica.lead_as(Leadership::Leader { epoch: 5 });
    produce(&mut client, 0, batch(4, 10)).await;
    for (last, offset, diverging) in [(3, 6, Some((3, 4))), (4, 4, Some((3, 4))), (3, 4, None), (5, 8, None)]
    {
        let mut request = request(&[(0, offset)]);
        request.topics[0].partitions[0].last_fetched_epoch = last;
        let partition = fetch(&mut client, 12, &request).await.remove(0);
        let told = (partition.diverging_epoch.epoch, partition.diverging_epoch.end_offset);
        assert_eq!(told, diverging.unwrap_or((-1, -1)), "epoch {last}, offset {offset}");
        assert_eq!(partition.error_code, 0);
    }
}

#[tokio::test]
async fn limits_hold_but_the_first_batch_always_comes() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 3, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    for partition in 0..3 {
        produce(&mut client, partition, batch(1, 1_000)).await;
        produce(&mut client, partition, batch(1, 1_000)).await;
    }
    let size = batch(1, 1_000).len() as i32;
    let ask = |max: i32, each: i32| {
        let mut request = request(&[(2, 0), (0, 0), (1, 0)]).with_max_bytes(max);
        request.topics[0].partitions.iter_mut().for_each(|p| p.partition_max_bytes = each);
        request
    };
    for (max, each, expected) in [
        (i32::MAX, i32::MAX, [2, 2, 2]),
        (1, 1, [1, 0, 0]),
        (i32::MAX, size, [1, 1, 1]),
        (3 * size, i32::MAX, [2, 1, 0]),
        (i32::MAX, 1, [1, 0, 0]),
        (i32::MAX, 0, [1, 0, 0]),
    ] {
        let partitions = fetch(&mut client, 12, &ask(max, each)).await;
        let counts: Vec<_> = partitions.iter().map(|p| offsets(p).len()).collect();
        assert_eq!(counts, expected, "max {max}, each {each}");
        assert_eq!(partitions.iter().map(|p| p.partition_index).collect::<Vec<_>>(), [2, 0, 1]);
    }
}

#[tokio::test]
async fn it_waits_until_there_is_enough_or_the_time_is_over() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 2, 1);
    let (_server, address) = serve(&backend).await;
    let mut consumer = Client::connect(address).await;
    let mut producer = Client::connect(address).await;
    let start = Instant::now();
    let waiting = request(&[(0, 0), (1, 0)]).with_max_wait_ms(300);
    assert_eq!(fetch(&mut consumer, 12, &waiting).await.len(), 2);
    assert!(start.elapsed() >= Duration::from_millis(300));

    let long = request(&[(0, 0), (1, 0)]).with_max_wait_ms(15_000);
    consumer.send(ApiKey::Fetch, 12, &long).await;
    assert!(consumer.is_silent().await);
    let start = Instant::now();
    produce(&mut producer, 1, batch(1, 100)).await;
    let (_, answer) = consumer.receive::<FetchResponse>(12).await;
    assert_eq!(offsets(&answer.responses[0].partitions[1]), [0]);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());

    let much = long.with_min_bytes(2 * batch(1, 100).len() as i32);
    consumer.send(ApiKey::Fetch, 12, &much).await;
    assert!(consumer.is_silent().await);
    produce(&mut producer, 0, batch(1, 100)).await;
    let (_, answer) = consumer.receive::<FetchResponse>(12).await;
    assert_eq!(answer.responses[0].partitions.iter().map(|p| offsets(p).len()).sum::<usize>(), 2);
}

#[tokio::test]
async fn uncommitted_records_do_not_end_the_wait_but_a_lost_leadership_does() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.set_fate(Fate::Hold);
    let (_server, address) = serve(&backend).await;
    let mut consumer = Client::connect(address).await;
    let mut producer = Client::connect(address).await;
    consumer.send(ApiKey::Fetch, 12, &request(&[(0, 0)]).with_max_wait_ms(15_000)).await;
    let data = PartitionProduceData::default().with_records(Some(batch(1, 10)));
    let topic = TopicProduceData::default().with_name(name("logs")).with_partition_data(vec![data]);
    let held = ProduceRequest::default().with_acks(-1).with_timeout_ms(9_000).with_topic_data(vec![topic]);
    producer.send(ApiKey::Produce, 9, &held).await;
    assert!(consumer.is_silent().await);
    replica.lead_as(Leadership::Follower { leader: None, epoch: 6 });
    let (_, answer) = consumer.receive::<FetchResponse>(12).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, 6);
}

#[tokio::test]
async fn what_is_not_there_is_said_at_once() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let wait = request(&[(9, 0)]).with_max_wait_ms(15_000);
    assert_eq!(fetch(&mut client, 12, &wait).await[0].error_code, 3);
    let mut unknown = request(&[(0, 0)]).with_max_wait_ms(15_000);
    unknown.topics[0].topic = TopicName::default();
    unknown.topics[0].topic_id = uuid::Uuid::from_u128(5);
    assert_eq!(fetch(&mut client, 13, &unknown).await[0].error_code, 100);
    // A session that goes on does not exist; one that begins or ends names everything, and gets it.
    for (id, epoch, code) in [(77, 3, 70), (0, 3, 70), (77, -1, 0), (77, 0, 0), (0, 0, 0), (0, -1, 0)] {
        let session = request(&[(0, 0)]).with_session_id(id).with_session_epoch(epoch);
        let answer: FetchResponse = client.ask(ApiKey::Fetch, 12, &session).await;
        let told = (answer.error_code, answer.session_id, answer.responses.len());
        assert_eq!(told, (code, 0, usize::from(code == 0)), "session {id} epoch {epoch}");
    }
}
