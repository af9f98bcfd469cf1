//! What Kafka clients send: requests, connections full of them, record batches.

use chronik_broker::log;
use chronik_broker::server::fuzzing;
use chronik_sim::batch::{Sequenced, Tag, encode};

pub(super) fn request(input: &[u8]) {
    fuzzing::request(input);
}

pub(super) fn request_seeds() -> Vec<Vec<u8>> {
    fuzzing::requests().into_iter().map(|request| request.to_vec()).collect()
}

pub(super) fn connection(input: &[u8]) {
    fuzzing::connection(input);
}

/// Each request alone, behind its length, and all Produce and Fetch requests in a row.
pub(super) fn connection_seeds() -> Vec<Vec<u8>> {
    let framed = |request: &[u8]| [&(request.len() as u32).to_be_bytes(), request].concat();
    let mut seeds: Vec<_> = request_seeds().iter().map(|request| framed(request)).collect();
    let data = |seed: &&Vec<u8>| matches!(seed[4..6], [0, 0 | 1]);
    let row = seeds.iter().filter(data).flatten().copied().collect();
    seeds.push(row);
    seeds.push(produced());
    seeds
}

/// Two Produce requests of version 13 with a real batch, and a Fetch that finds what they wrote.
fn produced() -> Vec<u8> {
    fuzzing::exchange(batches().remove(0)).into()
}

pub(super) fn batch(input: &[u8]) {
    log::fuzzing::batch(input);
}

pub(super) fn batch_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = batches().into_iter().map(|batch| batch.to_vec()).collect();
    let mut compressed = seeds[0].clone();
    compressed[22] = 1;
    seeds.push(compressed);
    seeds
}

fn batches() -> Vec<bytes::Bytes> {
    let tag = Tag { client: 1, op: 2, attempt: 3 };
    let producer = Sequenced { id: 4, epoch: 0, base: 7 };
    vec![
        encode(tag, None, 1, 10, 1_000),
        encode(tag, Some(producer), 3, 0, 1_000),
        encode(tag, Some(producer), 20, 100, 1_000),
    ]
}
