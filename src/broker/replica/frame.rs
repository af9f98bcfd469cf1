//! What brokers say to each other, as bytes: Raft messages of many groups in one frame, high watermarks, views. Pure.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chronik_core::ids::{GroupId, LogIndex, ReplicaId, Term};
use chronik_core::view::{PartitionView, ViewVersion};

use super::views::Digest;
use crate::quorum::{MessageError, RaftMessage};

/// A leader's high watermark, for its followers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaderHighWatermark {
    /// The group.
    pub group: GroupId,
    /// The leader's term.
    pub term: Term,
    /// The high watermark as a log index.
    pub index: LogIndex,
}

/// A group whose leader lets it rest: all that is known of it is on every disk that lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuietGroup {
    /// The group.
    pub group: GroupId,
    /// The leader's term.
    pub term: Term,
    /// The end of the log, which is also the commit and the high watermark.
    pub end: LogIndex,
}

/// One frame between two brokers.
#[derive(Clone, Debug)]
pub enum Frame {
    /// Raft messages, in order.
    Raft(Vec<(GroupId, RaftMessage)>),
    /// High watermarks that moved.
    HighWatermarks(Vec<LeaderHighWatermark>),
    /// Views of partitions that the sender leads and that changed.
    Views(Vec<PartitionView>),
    /// The sender's pulse: metadata it has applied, and all views it stands by.
    Pulse {
        /// Metadata log index the sender has applied.
        metadata_index: LogIndex,
        /// The sender hands its leaderships over and takes no new ones.
        draining: bool,
        /// Views that still hold.
        views: Digest,
    },
    /// The receiver's pulse does not fit what the sender knows: which views does it stand by?
    WantConfirmed,
    /// All views that the sender stands by, one by one.
    Confirmed(Vec<(GroupId, ViewVersion)>),
    /// The sender, which leads these groups, lets them rest.
    Quiet(Vec<QuietGroup>),
    /// These groups must not rest: the sender's replicas of them do not.
    Wake(Vec<GroupId>),
    /// The sender lacks these views, which the receiver confirmed.
    WantViews(Vec<GroupId>),
    /// Metadata commands that groups led by the sender call for; repeated until they no longer do.
    Commands(Vec<Bytes>),
    /// The receiver shall hand these partitions to their preferred replicas, where it leads in their place.
    ElectPreferred(Vec<GroupId>),
    /// Replicas that the sender took out of service, of partitions that the receiver leads.
    Quarantined(Vec<(GroupId, ReplicaId)>),
}

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The first byte names no known frame.
    #[error("peer frame of unknown kind {0}")]
    Kind(u8),
    /// The frame ends inside an item.
    #[error("peer frame is cut")]
    Cut,
    /// A Raft message in it is broken.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The views in it are broken.
    #[error("views cannot be decoded: {0}")]
    Views(#[from] serde_json::Error),
}

const RAFT: u8 = 1;
const HIGH_WATERMARKS: u8 = 2;
const VIEWS: u8 = 3;
const WANT_VIEWS: u8 = 5;
const COMMANDS: u8 = 6;
const ELECT_PREFERRED: u8 = 8;
const QUARANTINED: u8 = 9;
/// 4 and 7 were pulses that listed every view.
const PULSE: u8 = 10;
const WANT_CONFIRMED: u8 = 11;
const CONFIRMED: u8 = 12;
const QUIET: u8 = 13;
const WAKE: u8 = 14;

const TRIPLE_BYTES: usize = 24;

/// Collects Raft messages for one peer and lane until they are sent as one frame.
#[derive(Default)]
pub struct RaftFrame {
    bytes: BytesMut,
}

impl RaftFrame {
    /// Adds a message.
    pub fn push(&mut self, group: GroupId, message: &RaftMessage) {
        if self.bytes.is_empty() {
            self.bytes.put_u8(RAFT);
        }
        message.encode_into(group, &mut self.bytes);
    }

    /// Bytes collected so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The frame; the collector is empty afterwards.
    pub fn take(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }
}

impl Frame {
    /// The frame as bytes.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Frame::Raft(messages) => {
                let mut frame = RaftFrame::default();
                messages.iter().for_each(|(group, message)| frame.push(*group, message));
                return frame.take();
            }
            Frame::HighWatermarks(items) => {
                bytes.reserve(1 + items.len() * TRIPLE_BYTES);
                bytes.put_u8(HIGH_WATERMARKS);
                items.iter().for_each(|item| put_triple(&mut bytes, item.group, item.term, item.index));
            }
            Frame::Views(views) => {
                bytes.put_u8(VIEWS);
                serde_json::to_writer((&mut bytes).writer(), views).expect("views always serialise");
            }
            Frame::Pulse { metadata_index, draining, views } => {
                bytes.put_u8(PULSE);
                bytes.put_u64_le(*metadata_index);
                bytes.put_u8(u8::from(*draining));
                bytes.put_u64_le(views.count);
                bytes.put_u64_le(views.sum);
            }
            Frame::WantConfirmed => bytes.put_u8(WANT_CONFIRMED),
            Frame::Confirmed(views) => {
                bytes.reserve(1 + views.len() * TRIPLE_BYTES);
                bytes.put_u8(CONFIRMED);
                views.iter().for_each(|(group, at)| put_triple(&mut bytes, *group, at.term, at.version));
            }
            Frame::Quiet(groups) => {
                bytes.reserve(1 + groups.len() * TRIPLE_BYTES);
                bytes.put_u8(QUIET);
                groups.iter().for_each(|quiet| put_triple(&mut bytes, quiet.group, quiet.term, quiet.end));
            }
            Frame::Wake(groups) => {
                bytes.put_u8(WAKE);
                groups.iter().for_each(|group| put_triple(&mut bytes, *group, 0, 0));
            }
            Frame::ElectPreferred(groups) => {
                bytes.put_u8(ELECT_PREFERRED);
                groups.iter().for_each(|group| put_triple(&mut bytes, *group, 0, 0));
            }
            Frame::Quarantined(replicas) => {
                bytes.put_u8(QUARANTINED);
                replicas.iter().for_each(|(group, replica)| put_triple(&mut bytes, *group, replica.0, 0));
            }
            Frame::WantViews(groups) => {
                bytes.put_u8(WANT_VIEWS);
                groups.iter().for_each(|group| put_triple(&mut bytes, *group, 0, 0));
            }
            Frame::Commands(commands) => {
                bytes.put_u8(COMMANDS);
                for command in commands {
                    bytes.put_u32_le(command.len() as u32);
                    bytes.put_slice(command);
                }
            }
        }
        bytes.freeze()
    }

    /// Reads a frame; it shares its memory with the bytes.
    pub fn decode(mut bytes: Bytes) -> Result<Frame, FrameError> {
        if bytes.is_empty() {
            return Err(FrameError::Cut);
        }
        match bytes.get_u8() {
            RAFT => {
                let mut messages = Vec::new();
                while bytes.has_remaining() {
                    messages.push(RaftMessage::decode_from(&mut bytes)?);
                }
                Ok(Frame::Raft(messages))
            }
            HIGH_WATERMARKS => Ok(Frame::HighWatermarks(
                triples(bytes)?
                    .map(|(group, term, index)| LeaderHighWatermark { group, term, index })
                    .collect(),
            )),
            VIEWS => Ok(Frame::Views(serde_json::from_slice(&bytes)?)),
            PULSE => {
                let metadata_index = bytes.try_get_u64_le().map_err(|_| FrameError::Cut)?;
                let draining = bytes.try_get_u8().map_err(|_| FrameError::Cut)? != 0;
                let count = bytes.try_get_u64_le().map_err(|_| FrameError::Cut)?;
                let sum = bytes.try_get_u64_le().map_err(|_| FrameError::Cut)?;
                Ok(Frame::Pulse { metadata_index, draining, views: Digest { count, sum } })
            }
            WANT_CONFIRMED => Ok(Frame::WantConfirmed),
            CONFIRMED => {
                let views = triples(bytes)?;
                let views = views.map(|(group, term, version)| (group, ViewVersion { term, version }));
                Ok(Frame::Confirmed(views.collect()))
            }
            QUIET => {
                let groups = triples(bytes)?.map(|(group, term, end)| QuietGroup { group, term, end });
                Ok(Frame::Quiet(groups.collect()))
            }
            WAKE => Ok(Frame::Wake(triples(bytes)?.map(|(group, _, _)| group).collect())),
            QUARANTINED => {
                let replicas = triples(bytes)?.map(|(group, replica, _)| (group, ReplicaId(replica)));
                Ok(Frame::Quarantined(replicas.collect()))
            }
            ELECT_PREFERRED => {
                Ok(Frame::ElectPreferred(triples(bytes)?.map(|(group, _, _)| group).collect()))
            }
            WANT_VIEWS => Ok(Frame::WantViews(triples(bytes)?.map(|(group, _, _)| group).collect())),
            COMMANDS => {
                let mut commands = Vec::new();
                while bytes.has_remaining() {
                    let length = bytes.try_get_u32_le().map_err(|_| FrameError::Cut)? as usize;
                    if length > bytes.remaining() {
                        return Err(FrameError::Cut);
                    }
                    commands.push(bytes.split_to(length));
                }
                Ok(Frame::Commands(commands))
            }
            kind => Err(FrameError::Kind(kind)),
        }
    }
}

fn put_triple(bytes: &mut BytesMut, group: GroupId, second: u64, third: u64) {
    bytes.put_u64_le(group.0);
    bytes.put_u64_le(second);
    bytes.put_u64_le(third);
}

fn triples(mut bytes: Bytes) -> Result<impl Iterator<Item = (GroupId, u64, u64)>, FrameError> {
    if !bytes.len().is_multiple_of(TRIPLE_BYTES) {
        return Err(FrameError::Cut);
    }
    Ok(std::iter::from_fn(move || {
        bytes.has_remaining().then(|| (GroupId(bytes.get_u64_le()), bytes.get_u64_le(), bytes.get_u64_le()))
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pulse_survives_the_wire() {
        let views = Digest { count: 2, sum: u64::MAX };
        let bytes = Frame::Pulse { metadata_index: 7, draining: true, views }.encode();
        assert!(matches!(Frame::decode(bytes.slice(..bytes.len() - 1)), Err(FrameError::Cut)));
        let Frame::Pulse { metadata_index, draining, views: read } = Frame::decode(bytes).unwrap() else {
            panic!("another kind");
        };
        assert_eq!((metadata_index, draining, read), (7, true, views));
    }

    #[test]
    fn quiet_groups_and_confirmed_views_survive_the_wire() {
        let quiet = QuietGroup { group: GroupId(2), term: 3, end: 4 };
        let Frame::Quiet(read) = Frame::decode(Frame::Quiet(vec![quiet]).encode()).unwrap() else {
            panic!("another kind");
        };
        assert_eq!(read, [quiet]);
        let views = vec![(GroupId(2), ViewVersion { term: 3, version: 4 })];
        let Frame::Confirmed(read) = Frame::decode(Frame::Confirmed(views.clone()).encode()).unwrap() else {
            panic!("another kind");
        };
        assert_eq!(read, views);
        let Frame::Wake(read) = Frame::decode(Frame::Wake(vec![GroupId(5)]).encode()).unwrap() else {
            panic!("another kind");
        };
        assert_eq!(read, [GroupId(5)]);
    }

    #[test]
    fn high_watermarks_survive_the_wire_and_a_cut_is_refused() {
        let item = LeaderHighWatermark { group: GroupId(9), term: 1, index: 5 };
        let bytes = Frame::HighWatermarks(vec![item]).encode();
        assert!(matches!(Frame::decode(bytes.slice(..bytes.len() - 1)), Err(FrameError::Cut)));
        let Frame::HighWatermarks(items) = Frame::decode(bytes).unwrap() else { panic!("another kind") };
        assert_eq!(items, [item]);
    }

    #[test]
    fn commands_survive_the_wire_and_a_cut_is_refused() {
        let commands = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        let bytes = Frame::Commands(commands.clone()).encode();
        assert!(matches!(Frame::decode(bytes.slice(..bytes.len() - 1)), Err(FrameError::Cut)));
        let Frame::Commands(read) = Frame::decode(bytes).unwrap() else { panic!("another kind") };
        assert_eq!(read, commands);
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frame::decode(Bytes::from(bytes));
        }
    }
}
