//! What the fuzzer begins with: Raft messages of every kind that travels, and configurations as they are stored.

use bytes::Bytes;
use chronik_core::ids::{ReplicaId, Term};
use raft::eraftpb::{ConfState, Entry, Message, MessageType};

use super::RaftMessage;
use super::storage::ENTRY_VERSION;
use crate::log::EntryKind;

/// One message of each kind.
pub fn messages(from: ReplicaId, to: ReplicaId) -> Vec<RaftMessage> {
    use MessageType::*;
    let kinds = [
        MsgAppend,
        MsgAppendResponse,
        MsgRequestVote,
        MsgRequestVoteResponse,
        MsgHeartbeat,
        MsgHeartbeatResponse,
        MsgSnapshot,
        MsgTransferLeader,
        MsgTimeoutNow,
        MsgReadIndex,
        MsgReadIndexResp,
        MsgRequestPreVote,
        MsgRequestPreVoteResponse,
        MsgPropose,
        MsgHup,
    ];
    kinds.into_iter().map(|kind| message(kind, from, to, 3)).collect()
}

/// A message of that kind. What is appended is one command.
pub fn message(kind: MessageType, from: ReplicaId, to: ReplicaId, term: Term) -> RaftMessage {
    let mut message = Message { from: from.0, to: to.0, term, ..Message::default() };
    message.set_msg_type(kind);
    if kind == MessageType::MsgAppend {
        let (context, data) = (vec![EntryKind::Command as u8, ENTRY_VERSION], Bytes::from_static(b"data"));
        message.mut_entries().push(Entry {
            index: 1,
            term,
            context: context.into(),
            data,
            ..Entry::default()
        });
    }
    RaftMessage(message)
}

/// What a leader of that term says until its follower has its first entry and knows it committed.
pub fn first_words(from: ReplicaId, to: ReplicaId, term: Term) -> Vec<RaftMessage> {
    let mut append = message(MessageType::MsgAppend, from, to, term);
    append.0.entries[0].context = vec![EntryKind::Empty as u8, ENTRY_VERSION].into();
    append.0.entries[0].data = Bytes::new();
    let mut heartbeat = message(MessageType::MsgHeartbeat, from, to, term);
    heartbeat.0.commit = 1;
    vec![append, heartbeat]
}

/// What a voter says that elects `to` in that term, and has its first entry.
pub fn assent(from: ReplicaId, to: ReplicaId, term: Term) -> Vec<RaftMessage> {
    use MessageType::*;
    let mut answers = [MsgRequestPreVoteResponse, MsgRequestVoteResponse, MsgAppendResponse]
        .map(|kind| message(kind, from, to, term));
    answers[2].0.index = 1;
    answers.into()
}

/// A plain configuration and a joint one.
pub fn memberships() -> Vec<Bytes> {
    let plain = ConfState::from((vec![1, 2, 3], vec![4]));
    let mut joint = plain.clone();
    joint.voters_outgoing = vec![1, 5];
    joint.learners_next = vec![5];
    let bytes = |state: &ConfState| protobuf::Message::write_to_bytes(state).expect("to memory").into();
    vec![bytes(&plain), bytes(&joint)]
}
