//! What the fuzzer feeds to the server: a request's bytes, and a client's through frames and handlers to the answers.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, FetchRequest, ProduceRequest, RequestHeader};
use kafka_protocol::protocol::Encodable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::memory::Memory;
use super::wire::{RequestHead, agreement, samples};
use super::{ServerSettings, api_table};
use crate::handlers::Handlers;
use crate::handlers::tests::memory::MemoryBackend;

/// Longest request of the fuzzed server.
const MAX_REQUEST: usize = 1 << 20;
/// An answer has no more bytes than this, and so many for each byte of its request: the image it may show is small.
const ANSWER: usize = 16 * 1024;
const ANSWER_PER_BYTE: usize = 64;

/// Requests of every API in every version, without their length.
pub fn requests() -> Vec<Bytes> {
    let requests = samples::all().into_iter().map(|(key, version, body)| {
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(7);
        header.encode(&mut frame, key.request_header_version(version)).expect("a head always encodes");
        frame.put(body);
        frame.freeze()
    });
    requests.collect()
}

/// Decodes one request as the server does.
pub fn request(bytes: &[u8]) {
    let mut body = Bytes::copy_from_slice(bytes);
    let Ok(head) = RequestHead::split_from(&mut body) else { return };
    if let Some((key, version)) = api_table::decoded(head.api_key, head.api_version) {
        agreement::must_agree(key, version, &body);
    }
}

/// Serves one client that sends these bytes and then reads its answers to the end.
pub fn connection(bytes: &[u8]) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // Waits take no time: the clock jumps to the next deadline when nothing else is to be done.
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    let answers = runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let exchange = async {
            let (mut from, mut to) = tokio::io::split(&mut client);
            let send = async {
                // The server may close first.
                let _ = to.write_all(bytes).await;
                let _ = to.shutdown().await;
            };
            let mut answers = Vec::new();
            let (read, ()) = tokio::join!(from.read_to_end(&mut answers), send);
            read.expect("a duplex stream always reads");
            answers
        };
        tokio::join!(served().serve(server), exchange).1
    });
    must_answer(bytes, &answers);
}

fn served() -> Connection {
    let backend = MemoryBackend::of_three();
    backend.topic_as(samples::ID, "a-topic", 8);
    let metrics = Arc::clone(&backend.metrics);
    let settings = ServerSettings {
        max_request_bytes: MAX_REQUEST,
        max_request_memory_bytes: 4 * MAX_REQUEST,
        ..ServerSettings::default()
    };
    let memory = Memory::new(settings.max_request_memory_bytes, metrics.broker.request_memory());
    Connection {
        listener: "PLAINTEXT".into(),
        peer: SocketAddr::from(([127, 0, 0, 1], 1)),
        handlers: Handlers::new(backend, metrics, 4 * MAX_REQUEST),
        settings: Arc::new(settings),
        memory,
        stop: CancellationToken::new(),
    }
}

/// Every answer is whole, answers a request in its turn, and is no larger than its request explains.
fn must_answer(requests: &[u8], answers: &[u8]) {
    let mut asked = frames(requests).into_iter().filter(|frame| frame.len() >= 8);
    for answer in frames(answers) {
        let id = answer.first_chunk::<4>().expect("an answer holds its correlation id");
        // Those without an answer are passed over.
        let request = asked.find(|request| request[4..8] == *id);
        let request = request.unwrap_or_else(|| panic!("an answer with id {id:?} that nobody waits for"));
        let bound = ANSWER + ANSWER_PER_BYTE * request.len();
        assert!(answer.len() <= bound, "{} bytes answer {request:02x?}", answer.len());
    }
}

/// The whole frames that bytes begin with.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Ok(length) = bytes.try_get_u32() {
        let Some((frame, rest)) = bytes.split_at_checked(length as usize) else { break };
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// A client that writes `batch` twice and reads it back.
pub fn exchange(batch: Bytes) -> Bytes {
    let version = 13;
    let partition = PartitionProduceData::default().with_index(1).with_records(Some(batch));
    let topic = TopicProduceData::default().with_topic_id(samples::ID).with_partition_data(vec![partition]);
    let produce = ProduceRequest::default().with_acks(-1).with_timeout_ms(100).with_topic_data(vec![topic]);
    let partition = FetchPartition::default().with_partition(1).with_partition_max_bytes(1 << 16);
    let topic = FetchTopic::default().with_topic_id(samples::ID).with_partitions(vec![partition]);
    let fetch =
        FetchRequest::default().with_max_wait_ms(100).with_max_bytes(1 << 16).with_topics(vec![topic]);
    let mut bytes = BytesMut::new();
    put(&mut bytes, ApiKey::Produce, version, &produce);
    put(&mut bytes, ApiKey::Produce, version, &produce);
    put(&mut bytes, ApiKey::Fetch, version, &fetch);
    bytes.freeze()
}

fn put(bytes: &mut BytesMut, key: ApiKey, version: i16, request: &impl Encodable) {
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(bytes.len() as i32);
    let mut frame = BytesMut::new();
    header.encode(&mut frame, key.request_header_version(version)).expect("a head always encodes");
    request.encode(&mut frame, version).expect("a sample must fit its version");
    bytes.put_u32(frame.len() as u32);
    bytes.put(frame);
}
