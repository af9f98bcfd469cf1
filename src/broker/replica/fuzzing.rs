//! What the fuzzer feeds to the engine: frames of other brokers.

use bytes::Bytes;
use chronik_core::ids::{BrokerId, GroupId, ReplicaId, TopicId};
use chronik_core::view::{PartitionView, ViewVersion};
use uuid::Uuid;

use super::frame::{Frame, LeaderHighWatermark, QuietGroup};
use super::views::Digest;
use crate::quorum;

/// Decodes a frame; what it says is the same when it is sent on.
pub fn frame(bytes: &[u8]) {
    let Ok(frame) = Frame::decode(Bytes::copy_from_slice(bytes)) else { return };
    let sent = frame.encode();
    if matches!(&frame, Frame::Raft(messages) if messages.is_empty()) {
        return;
    }
    let again = Frame::decode(sent.clone()).expect("what was sent can be read");
    let again = again.encode();
    match frame {
        // Fields that raft does not know are sent in any order.
        Frame::Raft(_) => assert_eq!(again.len(), sent.len()),
        _ => assert_eq!(again, sent),
    }
}

/// Frames of every kind about `group`, from its `replica` to another one.
pub fn samples(group: GroupId, from: ReplicaId, to: ReplicaId, leader: BrokerId) -> Vec<Bytes> {
    let view = view(group, leader);
    let at = view.at;
    let frames = [
        Frame::HighWatermarks(vec![LeaderHighWatermark { group, term: 3, index: 2 }]),
        Frame::Views(vec![view]),
        Frame::Pulse { metadata_index: 5, draining: false, views: Digest { count: 1, sum: 7 } },
        Frame::WantConfirmed,
        Frame::Confirmed(vec![(group, at)]),
        Frame::Quiet(vec![QuietGroup { group, term: 3, end: 2 }]),
        Frame::Wake(vec![group]),
        Frame::WantViews(vec![group]),
        Frame::Commands(vec![Bytes::from_static(b"\0\x09\x01{}")]),
        Frame::ElectPreferred(vec![group]),
        Frame::Quarantined(vec![(group, from)]),
    ];
    let raft =
        quorum::fuzzing::messages(from, to).into_iter().map(|message| Frame::Raft(vec![(group, message)]));
    frames.into_iter().chain(raft).map(|frame| frame.encode()).collect()
}

fn view(group: GroupId, leader: BrokerId) -> PartitionView {
    PartitionView {
        group,
        topic: TopicId(Uuid::from_u128(1)),
        partition: 0,
        leader,
        at: ViewVersion { term: 3, version: 4 },
        isr: vec![leader],
        effective_min_isr: 1,
        provisional: false,
        metadata_index: 5,
    }
}

/// What a leader says until its follower rests.
pub fn to_rest(group: GroupId, from: ReplicaId, to: ReplicaId, leader: BrokerId) -> Vec<Bytes> {
    let (term, end) = (3, 1);
    let words = quorum::fuzzing::first_words(from, to, term);
    let words = words.into_iter().map(|message| Frame::Raft(vec![(group, message)]));
    let known = [
        Frame::Views(vec![view(group, leader)]),
        Frame::HighWatermarks(vec![LeaderHighWatermark { group, term, index: end }]),
        Frame::Quiet(vec![QuietGroup { group, term, end }]),
    ];
    words.chain(known).map(|frame| frame.encode()).collect()
}

/// What a voter says that elects a replica in the first term.
pub fn to_elect(group: GroupId, from: ReplicaId, to: ReplicaId) -> Vec<Bytes> {
    let answers = quorum::fuzzing::assent(from, to, 1);
    answers.into_iter().map(|message| Frame::Raft(vec![(group, message)]).encode()).collect()
}
