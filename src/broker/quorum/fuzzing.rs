//! What the fuzzer begins with: Raft messages of every kind that travels, and configurations as they are stored.

use bytes::Bytes;
use chronik_core::ids::ReplicaId;
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
    let message = |kind| {
        let mut message = Message { from: from.0, to: to.0, term: 3, ..Message::default() };
        message.set_msg_type(kind);
        if kind == MsgAppend {
            let (context, data) =
                (vec![EntryKind::Command as u8, ENTRY_VERSION], Bytes::from_static(b"data"));
            let entry = Entry { index: 1, term: 3, context: context.into(), data, ..Entry::default() };
            message.mut_entries().push(entry);
        }
        RaftMessage(message)
    };
    kinds.into_iter().map(message).collect()
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
