//! Bytes that no client sends: they cost their connection, and nothing else.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::client::{Client, batch, serve};
use crate::handlers::tests::memory::MemoryBackend;
use crate::handlers::tests::name;
use crate::handlers::tests::replica::Fate;

/// A client that was there before must be served as before.
async fn goes_on(client: &mut Client) {
    let request = MetadataRequest::default().with_topics(None);
    let answer: MetadataResponse = client.ask(ApiKey::Metadata, 1, &request).await;
    assert_eq!(answer.brokers.len(), 3);
}

#[tokio::test]
async fn lengths_that_are_not_allowed_close_the_connection() {
    let (_server, address) = serve(&MemoryBackend::of_three()).await;
    let mut good = Client::connect(address).await;
    for length in [i32::MAX, 100 * 1024 * 1024 + 1, -1, i32::MIN, 0, 7] {
        let mut client = Client::connect(address).await;
        client.write(&length.to_be_bytes()).await;
        assert!(client.is_closed().await, "length {length}");
        goes_on(&mut good).await;
    }
}

/// As many connections as claim together 20 GiB take no memory for it: they hold what they sent.
#[tokio::test]
async fn a_claimed_length_takes_no_memory() {
    let (_server, address) = serve(&MemoryBackend::of_three()).await;
    let mut good = Client::connect(address).await;
    let before = resident_kib();
    let mut holding = Vec::new();
    for _ in 0..200 {
        let mut client = Client::connect(address).await;
        client.write(&(100 * 1024 * 1024_i32).to_be_bytes()).await;
        client.write(&[0; 1000]).await;
        holding.push(client);
    }
    goes_on(&mut good).await;
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 200 * 1024, "{grown} KiB for 200 connections");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn counts_that_bytes_do_not_back_close_the_connection() {
    let (_server, address) = serve(&MemoryBackend::of_three()).await;
    let mut good = Client::connect(address).await;
    for count in [i32::MAX, 1_000_000_000, 3, -2, i32::MIN] {
        let mut client = Client::connect(address).await;
        client.send_as(3, 1, 1, &count.to_be_bytes()).await;
        assert!(client.is_closed().await, "count {count}");
        // Compact: the same as a varint, in the head's tagged fields and in the body.
        let mut client = Client::connect(address).await;
        client.send_as(3, 12, 2, &[0xff, 0xff, 0xff, 0xff, 0x0f]).await;
        assert!(client.is_closed().await);
        goes_on(&mut good).await;
    }
}

#[tokio::test]
async fn a_head_with_false_counts_closes_the_connection() {
    let (_server, address) = serve(&MemoryBackend::of_three()).await;
    let mut good = Client::connect(address).await;
    let heads: [&[u8]; 3] = [
        &[0, 3, 0, 12, 0, 0, 0, 1, 0x7f, 0xff],
        &[0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xfe],
        &[0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    for head in heads {
        let mut client = Client::connect(address).await;
        let mut frame = BytesMut::new();
        frame.put_i32(head.len() as i32);
        frame.put_slice(head);
        client.write(&frame).await;
        assert!(client.is_closed().await, "{head:02x?}");
        goes_on(&mut good).await;
    }
}

#[tokio::test]
async fn half_requests_and_random_bytes_end_with_their_connection() {
    let (_server, address) = serve(&MemoryBackend::of_three()).await;
    let mut good = Client::connect(address).await;
    let mut runner = TestRunner::deterministic();
    let garbage = prop::collection::vec(any::<u8>(), 1..2_000);
    for _ in 0..200 {
        let bytes = garbage.new_tree(&mut runner).unwrap().current();
        let mut raw = Client::connect(address).await;
        raw.write(&bytes).await;
        let mut framed = Client::connect(address).await;
        let mut frame = BytesMut::new();
        frame.put_i32(bytes.len() as i32);
        frame.put_slice(&bytes);
        framed.write(&frame).await;
        raw.finish_writing().await;
        framed.finish_writing().await;
        while raw.frame().await.is_some() {}
        while framed.frame().await.is_some() {}
    }
    goes_on(&mut good).await;
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    let backend = MemoryBackend::of_three();
    let replica = backend.replica_of(backend.topic("logs", 1, 1), 0);
    replica.set_fate(Fate::Panic);
    let (_server, address) = serve(&backend).await;
    let mut good = Client::connect(address).await;
    let partition = PartitionProduceData::default().with_records(Some(batch(1, 10)));
    let topic = TopicProduceData::default().with_name(name("logs")).with_partition_data(vec![partition]);
    let request = ProduceRequest::default().with_acks(1).with_topic_data(vec![topic]);
    let mut client = Client::connect(address).await;
    client.send(ApiKey::Produce, 9, &request).await;
    assert!(client.is_closed().await);
    goes_on(&mut good).await;
}
