//! What brokers say to each other: the transport's frames and handshakes, and the engine's frames.

use chronik_broker::birth::Hello;
use chronik_broker::log::Founder;
use chronik_broker::{peer, replica};
use chronik_core::ids::{BrokerId, DiskId, Generation, GroupId, ReplicaId};
use uuid::Uuid;

pub(super) fn frame(input: &[u8]) {
    peer::fuzzing::frames(input);
}

pub(super) fn handshake(input: &[u8]) {
    peer::fuzzing::handshakes(input);
}

/// Each word and frame alone, and all of them in a row.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = peer::fuzzing::samples().iter().map(|word| word.to_vec()).collect();
    seeds.push(seeds.concat());
    seeds
}

pub(super) fn hello(input: &[u8]) {
    if let Ok(hello) = Hello::decode(input) {
        assert_eq!(Hello::decode(&hello.encode()).expect("what was sent can be read"), hello);
    }
}

pub(super) fn hello_seeds() -> Vec<Vec<u8>> {
    let disk = |number| DiskId(Uuid::from_u128(number));
    let founder = |number: u64| Founder { replica: ReplicaId(number), disk: disk(number.into()) };
    let known = Hello {
        disk: disk(1),
        formed: Some(vec![founder(1), founder(2)]),
        generation: Some(Generation::BIRTH),
        you: Some(founder(2)),
    };
    let unknown = Hello { disk: disk(1), formed: None, generation: None, you: None };
    [known, unknown].iter().map(|hello| hello.encode().to_vec()).collect()
}

pub(super) fn engine_frame(input: &[u8]) {
    replica::fuzzing::frame(input);
}

pub(super) fn engine_frame_seeds() -> Vec<Vec<u8>> {
    let samples = replica::fuzzing::samples(GroupId(16), ReplicaId(2), ReplicaId(1), BrokerId(2));
    samples.iter().map(|frame| frame.to_vec()).collect()
}
