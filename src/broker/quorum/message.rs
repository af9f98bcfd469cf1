//! Raft messages as bytes: a bounded protobuf body behind the group's number. Knows nothing of connections.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chronik_core::ids::{GroupId, ReplicaId};
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use super::protobuf_bytes;
use crate::log::EntryKind;

/// Which connection a message travels on: votes and heartbeats never queue behind appends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Votes, heartbeats and their answers.
    Control,
    /// Appends and their answers.
    Bulk,
}

/// A message for another replica of the same group.
#[derive(Clone, Debug)]
pub struct RaftMessage(pub(super) Message);

/// A message and where it goes.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The replica it is for.
    pub to: ReplicaId,
    /// The connection it belongs on.
    pub lane: Lane,
    /// The message itself.
    pub message: RaftMessage,
}

/// Why bytes are not a Raft message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The frame ends inside an item.
    #[error("raft frame is cut: {missing} bytes are missing")]
    Cut {
        /// Bytes the item claims beyond the frame's end.
        missing: usize,
    },
    /// The body is not the protobuf message it should be.
    #[error("raft message cannot be decoded: {0}")]
    Body(#[from] protobuf::ProtobufError),
}

impl RaftMessage {
    /// The replica that sent it.
    pub fn from(&self) -> ReplicaId {
        ReplicaId(self.0.from)
    }

    /// The replica it is for.
    pub fn to(&self) -> ReplicaId {
        ReplicaId(self.0.to)
    }

    /// The sender's term; 0 in local messages.
    pub fn term(&self) -> u64 {
        self.0.term
    }

    /// Whether only a leader sends such a message.
    pub fn is_from_leader(&self) -> bool {
        matches!(
            self.0.get_msg_type(),
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot
        )
    }

    /// Whether it confirms an append: it proves what the sender has synced. A rejection proves nothing, and what the
    /// leader remembers of the sender may be more than is left there.
    pub fn is_append_answer(&self) -> bool {
        self.0.get_msg_type() == MessageType::MsgAppendResponse && !self.0.reject
    }

    /// Whether it only answers: its sender wants nothing.
    pub fn is_answer(&self) -> bool {
        matches!(self.0.get_msg_type(), MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse)
    }

    /// Whether a leader sends such a message while its group is awake, and never late: a heartbeat overtakes nothing.
    pub fn is_heartbeat(&self) -> bool {
        self.0.get_msg_type() == MessageType::MsgHeartbeat
    }

    /// Whether it answers a heartbeat: it proves that the sender lives.
    pub fn is_heartbeat_answer(&self) -> bool {
        self.0.get_msg_type() == MessageType::MsgHeartbeatResponse
    }

    /// Whether it carries log entries: losing it makes the leader probe.
    pub fn is_append(&self) -> bool {
        matches!(self.0.get_msg_type(), MessageType::MsgAppend | MessageType::MsgSnapshot)
    }

    /// Whether it stands for the beginning of a log.
    pub fn is_snapshot(&self) -> bool {
        self.0.get_msg_type() == MessageType::MsgSnapshot
    }

    /// Whether it brings entries to be written.
    pub fn carries_entries(&self) -> bool {
        !self.0.get_entries().is_empty()
    }

    /// Whether clients' records are among them.
    pub fn carries_records(&self) -> bool {
        let records = |context: &Bytes| context.first() == Some(&(EntryKind::Records as u8));
        self.0.get_entries().iter().any(|entry| records(&entry.context))
    }

    /// Bytes of the entries it carries, or of the snapshot.
    pub fn entry_bytes(&self) -> usize {
        let entries: usize = self.0.get_entries().iter().map(|entry| entry.data.len()).sum();
        entries + self.0.get_snapshot().data.len()
    }

    pub(super) fn lane(&self) -> Lane {
        match self.0.get_msg_type() {
            MessageType::MsgAppend | MessageType::MsgAppendResponse | MessageType::MsgSnapshot => Lane::Bulk,
            _ => Lane::Control,
        }
    }

    /// Appends `group`, the body's length and the body to `frame`.
    pub fn encode_into(&self, group: GroupId, frame: &mut BytesMut) {
        let size = self.0.compute_size();
        frame.reserve(12 + size as usize);
        frame.put_u64_le(group.0);
        frame.put_u32_le(size);
        let mut writer = frame.writer();
        self.0.write_to_writer(&mut writer).expect("writing to memory cannot fail");
    }

    /// Takes the next item off `frame`, which shares its memory with the message's entries.
    pub fn decode_from(frame: &mut Bytes) -> Result<(GroupId, RaftMessage), MessageError> {
        if frame.remaining() < 12 {
            return Err(MessageError::Cut { missing: 12 - frame.remaining() });
        }
        let group = GroupId(frame.get_u64_le());
        let size = frame.get_u32_le() as usize;
        if frame.remaining() < size {
            return Err(MessageError::Cut { missing: size - frame.remaining() });
        }
        let body = frame.split_to(size);
        Ok((group, RaftMessage(protobuf_bytes::decode(&body)?)))
    }
}
