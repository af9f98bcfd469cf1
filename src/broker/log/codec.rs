//! The journal's bytes. All numbers are little-endian; every CRC is CRC-32C. Encodes and decodes, never reads files.
//!
//! A segment file `journal/<number, 20 digits>.log` is a header and then write groups, one after the other.
//!
//! | segment header, 128 bytes | at | size |
//! |---|---|---|
//! | magic `CHRNKJNL` | 0 | 8 |
//! | format version (2) | 8 | 2 |
//! | broker id | 12 | 4 |
//! | salt: drawn once per journal, repeated in every header below, so that no payload can pass for one | 16 | 4 |
//! | segment number | 24 | 8 |
//! | disk id | 32 | 16 |
//! | cluster id: length, then text | 48 | 1 + 64 |
//! | CRC of bytes 0..124. Every format version keeps magic, version and this CRC where they are | 124 | 4 |
//!
//! A write group is one write and one sync: header, operations, directory. It is written only after the sync of the
//! one before it, so its presence certifies that sync. A seal is a header alone that repeats the sequence number of
//! the group it certifies; it is written, unsynced, when the journal goes idle, and losing it loses nothing.
//!
//! | write group header, 64 bytes | at | size |
//! |---|---|---|
//! | magic `CHWG` | 0 | 4 |
//! | CRC of bytes 8..64 | 4 | 4 |
//! | salt | 8 | 4 |
//! | flags: 1 seal, 2 checkpoint (the first group of a segment) | 12 | 4 |
//! | sequence number, from 1, over all segments | 16 | 8 |
//! | bytes that follow: operations and directory | 24 | 4 |
//! | operations | 28 | 4 |
//! | CRC of the directory | 32 | 4 |
//! | predecessor: its operations | 36 | 4 |
//! | predecessor: its sequence number | 40 | 8 |
//! | predecessor: CRC in its header | 48 | 4 |
//!
//! An operation is a header and a payload. The directory says once more whose each operation is and how long, 16
//! bytes each: Raft group (8), length with header (4), zero (4). So one damaged spot is always charged to the one
//! replica it hits: a header's damage through the directory, the directory's through the headers.
//!
//! | operation header, 96 bytes | at | size |
//! |---|---|---|
//! | CRC of bytes 4..96 | 0 | 4 |
//! | kind (`OpKind`) | 4 | 1 |
//! | entry kind, of `Entry` and `Moved` | 5 | 1 |
//! | operation version (1) | 6 | 2 |
//! | salt | 8 | 4 |
//! | payload length | 12 | 4 |
//! | CRC of the payload | 16 | 4 |
//! | records: offsets consumed; of `Start`: 1 if all that is held goes | 20 | 4 |
//! | Raft group; 0 for the journal itself | 24 | 8 |
//! | chain: counts this Raft group's operations on this disk, from 1; a gap tells that one was lost | 32 | 8 |
//! | Raft index; of `Start`: the first that may be held | 40 | 8 |
//! | Raft term; of `Start`: that of the entry before | 48 | 8 |
//! | base offset; of `Start`: the offset after the entry before | 56 | 8 |
//! | greatest timestamp | 64 | 8 |
//! | producer id, or -1 | 72 | 8 |
//! | producer's base sequence | 80 | 4 |
//! | producer epoch | 84 | 2 |

use chronik_core::ids::{BrokerId, ClusterId, DiskId, GroupId};
use uuid::Uuid;

use super::identity::Identity;
use super::types::EntryKind;

pub(super) const FORMAT: u16 = 2;
pub(super) const SEGMENT_HEADER: usize = 128;
pub(super) const GROUP_HEADER: usize = 64;
pub(super) const OP_HEADER: usize = 96;
pub(super) const DIRECTORY_ENTRY: usize = 16;
/// Sequence numbers and indices end here: no journal gets that far, and a few more never overflow.
pub(super) const LAST: u64 = 1 << 62;
/// The greatest payload of one operation.
pub(super) const MAX_PAYLOAD: usize = 128 << 20;

const SEGMENT_MAGIC: &[u8; 8] = b"CHRNKJNL";
pub(super) const GROUP_MAGIC: &[u8; 4] = b"CHWG";
const OP_VERSION: u16 = 1;
const FLAG_SEAL: u32 = 1;
const FLAG_CHECKPOINT: u32 = 2;

/// What an operation does. The numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum OpKind {
    Create = 1,
    Entry = 2,
    State = 3,
    Membership = 4,
    Remove = 5,
    /// An entry written anew so that its old segment can go. Replaces a place, never truncates.
    Moved = 6,
    /// One Raft group's state, at the head of a segment.
    Checkpoint = 7,
    /// The journal's segments, at the head of a segment.
    Manifest = 8,
    /// A segment without live bytes is about to be deleted.
    DropSegment = 9,
    /// The log begins here; the payload is the snapshot of what came before.
    Start = 10,
}

impl OpKind {
    fn from_number(number: u8) -> Option<Self> {
        use OpKind::*;
        [Create, Entry, State, Membership, Remove, Moved, Checkpoint, Manifest, DropSegment, Start]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// Why bytes are not the header they should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum CodecError {
    #[error("the file ends within a header")]
    Short,
    #[error("the magic is wrong")]
    Magic,
    #[error("the header's checksum does not match")]
    Crc,
    #[error("format version {found} is unknown; this build knows {known}")]
    Version { found: u16, known: u16 },
    #[error("{0}")]
    Field(String),
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(b, at))
}
fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(b, at))
}
fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(b, at))
}
/// Only called on headers of fixed size.
fn array<const N: usize>(b: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| b[at + i])
}
fn put(b: &mut [u8], at: usize, bytes: &[u8]) {
    b[at..at + bytes.len()].copy_from_slice(bytes);
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    pub(super) identity: Identity,
    pub(super) salt: u32,
    pub(super) number: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut b = [0; SEGMENT_HEADER];
        let cluster = self.identity.cluster.as_str().as_bytes();
        put(&mut b, 0, SEGMENT_MAGIC);
        put(&mut b, 8, &FORMAT.to_le_bytes());
        put(&mut b, 12, &self.identity.broker.0.to_le_bytes());
        put(&mut b, 16, &self.salt.to_le_bytes());
        put(&mut b, 24, &self.number.to_le_bytes());
        put(&mut b, 32, self.identity.disk.0.as_bytes());
        b[48] = cluster.len() as u8;
        put(&mut b, 49, cluster);
        let crc = crc32c::crc32c(&b[..124]);
        put(&mut b, 124, &crc.to_le_bytes());
        b
    }

    pub(super) fn decode(b: &[u8]) -> Result<Self, CodecError> {
        let b = b.get(..SEGMENT_HEADER).ok_or(CodecError::Short)?;
        if &b[..8] != SEGMENT_MAGIC {
            return Err(CodecError::Magic);
        }
        if crc32c::crc32c(&b[..124]) != u32_at(b, 124) {
            return Err(CodecError::Crc);
        }
        if u16_at(b, 8) != FORMAT {
            return Err(CodecError::Version { found: u16_at(b, 8), known: FORMAT });
        }
        let cluster = b.get(49..49 + usize::from(b[48])).and_then(|c| std::str::from_utf8(c).ok());
        let cluster = cluster.and_then(|c| c.parse::<ClusterId>().ok());
        let cluster = cluster.ok_or_else(|| CodecError::Field("the cluster id is not one".to_owned()))?;
        let disk = DiskId(Uuid::from_bytes(array(b, 32)));
        let identity = Identity { cluster, broker: BrokerId(u32_at(b, 12)), disk };
        Ok(Self { identity, salt: u32_at(b, 16), number: u64_at(b, 24) })
    }
}

/// What a write group says of the one before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Predecessor {
    pub(super) sequence: u64,
    pub(super) ops: u32,
    pub(super) crc: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WriteGroupHeader {
    pub(super) salt: u32,
    pub(super) seal: bool,
    pub(super) checkpoint: bool,
    pub(super) sequence: u64,
    pub(super) length: u32,
    pub(super) ops: u32,
    pub(super) directory_crc: u32,
    pub(super) predecessor: Predecessor,
}

impl WriteGroupHeader {
    pub(super) fn encode(&self) -> [u8; GROUP_HEADER] {
        let mut b = [0; GROUP_HEADER];
        let flags = if self.seal { FLAG_SEAL } else { 0 } | if self.checkpoint { FLAG_CHECKPOINT } else { 0 };
        put(&mut b, 0, GROUP_MAGIC);
        put(&mut b, 8, &self.salt.to_le_bytes());
        put(&mut b, 12, &flags.to_le_bytes());
        put(&mut b, 16, &self.sequence.to_le_bytes());
        put(&mut b, 24, &self.length.to_le_bytes());
        put(&mut b, 28, &self.ops.to_le_bytes());
        put(&mut b, 32, &self.directory_crc.to_le_bytes());
        put(&mut b, 36, &self.predecessor.ops.to_le_bytes());
        put(&mut b, 40, &self.predecessor.sequence.to_le_bytes());
        put(&mut b, 48, &self.predecessor.crc.to_le_bytes());
        let crc = crc32c::crc32c(&b[8..]);
        put(&mut b, 4, &crc.to_le_bytes());
        b
    }

    /// `salt` is `None` when it is this header that the salt is learnt from.
    pub(super) fn decode(b: &[u8], salt: Option<u32>) -> Result<Self, CodecError> {
        let b = b.get(..GROUP_HEADER).ok_or(CodecError::Short)?;
        if &b[..4] != GROUP_MAGIC || salt.is_some_and(|salt| salt != u32_at(b, 8)) {
            return Err(CodecError::Magic);
        }
        if crc32c::crc32c(&b[8..]) != u32_at(b, 4) {
            return Err(CodecError::Crc);
        }
        let flags = u32_at(b, 12);
        let header = Self {
            salt: u32_at(b, 8),
            seal: flags & FLAG_SEAL != 0,
            checkpoint: flags & FLAG_CHECKPOINT != 0,
            sequence: u64_at(b, 16),
            length: u32_at(b, 24),
            ops: u32_at(b, 28),
            directory_crc: u32_at(b, 32),
            predecessor: Predecessor { ops: u32_at(b, 36), sequence: u64_at(b, 40), crc: u32_at(b, 48) },
        };
        if (header.ops as usize).saturating_mul(OP_HEADER + DIRECTORY_ENTRY) > header.length as usize {
            return Err(CodecError::Field(format!("{} operations in {} bytes", header.ops, header.length)));
        }
        if !header.follows_its_predecessor() {
            let (what, before) =
                (if header.seal { "seal" } else { "write group" }, header.predecessor.sequence);
            return Err(CodecError::Field(format!("{what} {} behind write group {before}", header.sequence)));
        }
        Ok(header)
    }

    /// A seal repeats the number of the group before it, and holds nothing; a group has the next number.
    fn follows_its_predecessor(&self) -> bool {
        let before = self.predecessor.sequence;
        match self.seal {
            true => before <= LAST && self.sequence == before && self.length == 0 && !self.checkpoint,
            false => self.sequence <= LAST && self.sequence == before.saturating_add(1),
        }
    }
}

/// The CRC a write group's header carries, by which its successor names it.
pub(super) fn header_crc(encoded: &[u8; GROUP_HEADER]) -> u32 {
    u32_at(encoded, 4)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OpHeader {
    pub(super) kind: OpKind,
    pub(super) entry_kind: EntryKind,
    pub(super) payload_length: u32,
    pub(super) payload_crc: u32,
    pub(super) group: GroupId,
    pub(super) chain: u64,
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) base_offset: i64,
    pub(super) records: u32,
    pub(super) max_timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
}

impl OpHeader {
    /// An operation that is no entry; the length and CRC of its payload are filled in by `encode_op`.
    pub(super) fn plain(kind: OpKind, group: GroupId, chain: u64) -> Self {
        Self {
            kind,
            entry_kind: EntryKind::Empty,
            payload_length: 0,
            payload_crc: 0,
            group,
            chain,
            index: 0,
            term: 0,
            base_offset: 0,
            records: 0,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }

    /// Header and payload together.
    pub(super) fn total(&self) -> usize {
        OP_HEADER + self.payload_length as usize
    }

    pub(super) fn encode(&self, salt: u32) -> [u8; OP_HEADER] {
        let mut b = [0; OP_HEADER];
        b[4] = self.kind as u8;
        b[5] = self.entry_kind as u8;
        put(&mut b, 6, &OP_VERSION.to_le_bytes());
        put(&mut b, 8, &salt.to_le_bytes());
        put(&mut b, 12, &self.payload_length.to_le_bytes());
        put(&mut b, 16, &self.payload_crc.to_le_bytes());
        put(&mut b, 20, &self.records.to_le_bytes());
        put(&mut b, 24, &self.group.0.to_le_bytes());
        put(&mut b, 32, &self.chain.to_le_bytes());
        put(&mut b, 40, &self.index.to_le_bytes());
        put(&mut b, 48, &self.term.to_le_bytes());
        put(&mut b, 56, &self.base_offset.to_le_bytes());
        put(&mut b, 64, &self.max_timestamp.to_le_bytes());
        put(&mut b, 72, &self.producer_id.to_le_bytes());
        put(&mut b, 80, &self.base_sequence.to_le_bytes());
        put(&mut b, 84, &self.producer_epoch.to_le_bytes());
        let crc = crc32c::crc32c(&b[4..]);
        put(&mut b, 0, &crc.to_le_bytes());
        b
    }

    pub(super) fn decode(b: &[u8], salt: u32) -> Result<Self, CodecError> {
        let b = b.get(..OP_HEADER).ok_or(CodecError::Short)?;
        // The salt first: it is the cheap way to say no when a region is searched byte by byte.
        if u32_at(b, 8) != salt {
            return Err(CodecError::Magic);
        }
        if crc32c::crc32c(&b[4..]) != u32_at(b, 0) {
            return Err(CodecError::Crc);
        }
        if u16_at(b, 6) != OP_VERSION {
            return Err(CodecError::Version { found: u16_at(b, 6), known: OP_VERSION });
        }
        let kind = OpKind::from_number(b[4]);
        let kind = kind.ok_or_else(|| CodecError::Field(format!("operation kind {} is unknown", b[4])))?;
        let entry_kind = EntryKind::from_number(b[5]);
        let entry_kind =
            entry_kind.ok_or_else(|| CodecError::Field(format!("entry kind {} is unknown", b[5])))?;
        Ok(Self {
            kind,
            entry_kind,
            payload_length: u32_at(b, 12),
            payload_crc: u32_at(b, 16),
            records: u32_at(b, 20),
            group: GroupId(u64_at(b, 24)),
            chain: u64_at(b, 32),
            index: u64_at(b, 40),
            term: u64_at(b, 48),
            base_offset: u64_at(b, 56) as i64,
            max_timestamp: u64_at(b, 64) as i64,
            producer_id: u64_at(b, 72) as i64,
            base_sequence: u32_at(b, 80) as i32,
            producer_epoch: u16_at(b, 84) as i16,
        })
    }

    /// Whether these are the bytes that this header was written with.
    pub(super) fn owns(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_length as usize && crc32c::crc32c(payload) == self.payload_crc
    }
}

/// Appends an operation; gives its length with header.
pub(super) fn encode_op(out: &mut Vec<u8>, salt: u32, mut header: OpHeader, payload: &[u8]) -> u32 {
    header.payload_length = payload.len() as u32;
    header.payload_crc = crc32c::crc32c(payload);
    out.extend_from_slice(&header.encode(salt));
    out.extend_from_slice(payload);
    header.total() as u32
}

/// Appends the directory; gives its CRC.
pub(super) fn encode_directory(out: &mut Vec<u8>, directory: &[(GroupId, u32)]) -> u32 {
    let start = out.len();
    for (group, length) in directory {
        out.extend_from_slice(&group.0.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }
    crc32c::crc32c(&out[start..])
}

/// The directory of a write group's body, if it is whole and fits the body.
pub(super) fn decode_directory(header: &WriteGroupHeader, body: &[u8]) -> Option<Vec<(GroupId, u32)>> {
    let size = header.ops as usize * DIRECTORY_ENTRY;
    let start = (header.length as usize).checked_sub(size)?;
    let bytes = body.get(start..header.length as usize)?;
    if crc32c::crc32c(bytes) != header.directory_crc {
        return None;
    }
    let entries = bytes.chunks_exact(DIRECTORY_ENTRY);
    let directory: Vec<_> = entries.map(|e| (GroupId(u64_at(e, 0)), u32_at(e, 8))).collect();
    let total: u64 = directory.iter().map(|(_, length)| u64::from(*length)).sum();
    (total == start as u64).then_some(directory)
}
