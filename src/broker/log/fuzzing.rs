//! What the fuzzer feeds to the log: headers and batches, and journals whose checksums are put right after a mutation,
//! for behind a checksum no random change would ever come through.

use bytes::Bytes;
use chronik_core::ids::{BrokerId, DiskId, Generation, GroupId, ReplicaId};
use uuid::Uuid;

use super::batch::{self, BatchHeader, HEADER, Limits};
use super::codec::{
    self, DIRECTORY_ENTRY, GROUP_HEADER, GROUP_MAGIC, OP_HEADER, OpHeader, OpKind, Predecessor,
    SEGMENT_HEADER, SegmentHeader, WriteGroupHeader,
};
use super::state::{Checkpoint, Decoded, decode_state, encode_state};
use super::{Founder, GroupHeader, GroupKind, HardState, Identity, LogStart, mark, scan};

const SALT: u32 = 7;
/// So many bytes of a write group may be missing at the end of a file.
const GONE: usize = 64 << 10;
const LIMITS: Limits = Limits { max_message_bytes: 1 << 20, latest_timestamp: i64::MAX };

/// Checks a batch as it is, and as it would be with length and checksum put right.
pub fn batch(bytes: &[u8]) {
    must_be_stable(Bytes::copy_from_slice(bytes));
    if let Some(sealed) = sealed_batch(bytes) {
        must_be_stable(sealed);
    }
}

fn sealed_batch(bytes: &[u8]) -> Option<Bytes> {
    let length = i32::try_from(bytes.len().checked_sub(12)?).ok()?;
    if bytes.len() < HEADER {
        return None;
    }
    let mut bytes = bytes.to_vec();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Some(bytes.into())
}

/// What is accepted is what its header says, whatever offset and epoch it gets, and is accepted again.
fn must_be_stable(bytes: Bytes) {
    let size = bytes.len();
    let Ok(checked) = batch::check(bytes, LIMITS) else { return };
    let header = *checked.header();
    assert_eq!((checked.size(), header.size), (size, size));
    assert!(checked.records() >= 1 && i64::from(checked.records()) == i64::from(header.record_count));
    let placed = checked.patch(1_000, 9);
    let expected = BatchHeader { base_offset: 1_000, leader_epoch: 9, ..header };
    assert_eq!(BatchHeader::parse(&placed), Ok(expected));
    let again = batch::check(placed.clone(), LIMITS).map(|checked| *checked.header());
    assert_eq!(again, Ok(expected));
    let found = batch::find_time(&placed, header.max_timestamp);
    let (offset, timestamp) = found.expect("the greatest timestamp is there");
    assert!((1_000..1_000 + i64::from(expected.records())).contains(&offset), "{offset}");
    assert_eq!(timestamp, header.max_timestamp);
}

/// Decodes the journal's headers and states, and the mark, as they are and with their checksums put right.
pub fn headers(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    for sealed in [false, true] {
        if let Ok(header) = SegmentHeader::decode(&bytes) {
            assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        }
        if let Ok(header) = WriteGroupHeader::decode(&bytes, None) {
            assert_eq!(WriteGroupHeader::decode(&header.encode(), Some(header.salt)), Ok(header));
        }
        if let Ok(header) = OpHeader::decode(&bytes, SALT) {
            assert_eq!(OpHeader::decode(&header.encode(SALT), SALT), Ok(header));
        }
        mark::fuzzing(&bytes, SALT);
        if !sealed {
            seal_headers(&mut bytes);
        }
    }
    if let Some(state) = decode_state(&bytes) {
        assert_eq!(encode_state(state)[..], bytes[..]);
    }
    if let Some(decoded) = Checkpoint::decode(&bytes) {
        assert_eq!(Checkpoint::decode(&decoded.encode()), Some(decoded));
    }
    let pieces = scan::pieces(&bytes, 0, SALT, 0);
    assert_eq!(pieces.iter().map(|piece| piece.end - piece.at).sum::<usize>(), bytes.len());
}

/// By what it begins with, each kind of header in its own way.
fn seal_headers(bytes: &mut [u8]) {
    if bytes.starts_with(b"CHRNKJNL") && bytes.len() >= SEGMENT_HEADER {
        seal(bytes, 124, 0..124);
    } else if bytes.starts_with(b"CHRNKMRK") && bytes.len() >= 64 {
        bytes[12..16].copy_from_slice(&SALT.to_le_bytes());
        seal(bytes, 60, 0..60);
    } else if bytes.starts_with(GROUP_MAGIC) && bytes.len() >= GROUP_HEADER {
        seal(bytes, 4, 8..GROUP_HEADER);
    } else if bytes.len() >= OP_HEADER {
        bytes[8..12].copy_from_slice(&SALT.to_le_bytes());
        seal(bytes, 0, 4..OP_HEADER);
    }
}

fn seal(bytes: &mut [u8], at: usize, of: std::ops::Range<usize>) {
    let crc = crc32c::crc32c(&bytes[of]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Puts every checksum and every length of a segment right, from its first write group on. With `chained` also what each
/// group says of the one before it.
pub fn seal_segment(bytes: &mut [u8], salt: u32, chained: bool) {
    if bytes.len() >= SEGMENT_HEADER {
        bytes[16..20].copy_from_slice(&salt.to_le_bytes());
        seal(bytes, 124, 0..124);
    }
    let (mut at, mut before) = (SEGMENT_HEADER, None);
    while at + GROUP_HEADER <= bytes.len() {
        if !bytes[at..].starts_with(GROUP_MAGIC) {
            at += 1;
            continue;
        }
        let end = seal_group(&mut bytes[at..], salt, before.filter(|_| chained));
        let sequence = u64_at(bytes, at + 16);
        before = Some((u32_at(bytes, at + 28), sequence, u32_at(bytes, at + 4)));
        at += end;
    }
}

/// Seals the write group that `bytes` begin with; gives where it ends.
fn seal_group(bytes: &mut [u8], salt: u32, before: Option<(u32, u64, u32)>) -> usize {
    let rest = bytes.len() - GROUP_HEADER;
    // A header with a right checksum was written once: it may tell of bytes that are gone, but not of any number of them.
    let told = (u32_at(bytes, 24) as usize).min(rest + GONE);
    bytes[24..28].copy_from_slice(&(told as u32).to_le_bytes());
    let length = told.min(rest);
    let directory = length.min(u32_at(bytes, 28) as usize * DIRECTORY_ENTRY);
    let (mut at, ops_end, end) = (GROUP_HEADER, GROUP_HEADER + length - directory, GROUP_HEADER + length);
    let mut entry = ops_end;
    while at + OP_HEADER <= ops_end {
        let payload = (u32_at(bytes, at + 12) as usize).min(ops_end - at - OP_HEADER);
        bytes[at + 8..at + 12].copy_from_slice(&salt.to_le_bytes());
        bytes[at + 12..at + 16].copy_from_slice(&(payload as u32).to_le_bytes());
        seal(bytes, at + 16, at + OP_HEADER..at + OP_HEADER + payload);
        let op = OP_HEADER + payload;
        seal(&mut bytes[at..at + OP_HEADER], 0, 4..OP_HEADER);
        if entry + DIRECTORY_ENTRY <= end {
            bytes.copy_within(at + 24..at + 32, entry);
            bytes[entry + 8..entry + 12].copy_from_slice(&(op as u32).to_le_bytes());
            entry += DIRECTORY_ENTRY;
        }
        at += op;
    }
    bytes[8..12].copy_from_slice(&salt.to_le_bytes());
    seal(bytes, 32, ops_end..end);
    if let Some((ops, sequence, crc)) = before {
        bytes[36..40].copy_from_slice(&ops.to_le_bytes());
        bytes[40..48].copy_from_slice(&sequence.to_le_bytes());
        bytes[48..52].copy_from_slice(&crc.to_le_bytes());
    }
    seal(&mut bytes[..GROUP_HEADER], 4, 8..GROUP_HEADER);
    end
}

/// Puts salt and checksum of a mark right.
pub fn seal_mark(bytes: &mut [u8], salt: u32) {
    if bytes.len() >= 64 {
        bytes[12..16].copy_from_slice(&salt.to_le_bytes());
        seal(bytes, 60, 0..60);
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// One header of each kind, and the stored states.
pub fn samples() -> Vec<Vec<u8>> {
    let cluster = "fuzzed".parse().expect("a cluster id");
    let identity = Identity { cluster, broker: BrokerId(1), disk: DiskId(Uuid::from_u128(1)) };
    let state = HardState { term: 3, vote: 1, commit: 2 };
    let header = GroupHeader {
        kind: GroupKind::Partition,
        topic: None,
        partition: 0,
        replica: ReplicaId(100_000),
        voters: vec![ReplicaId(100_000)],
        learners: Vec::new(),
        generation: Generation::BIRTH,
        founders: vec![Founder { replica: ReplicaId(1), disk: identity.disk }],
    };
    let mut decoded = Decoded::bare(header, state, LogStart::default(), 2);
    decoded.memberships.insert(1, Bytes::from_static(b"members"));
    decoded.snapshot = Bytes::from_static(b"snapshot");
    let predecessor = Predecessor { sequence: 1, ops: 1, crc: 9 };
    let group = WriteGroupHeader {
        salt: SALT,
        seal: false,
        checkpoint: false,
        sequence: 2,
        length: 112,
        ops: 1,
        directory_crc: 5,
        predecessor,
    };
    let mut op = Vec::new();
    codec::encode_op(&mut op, SALT, OpHeader::plain(OpKind::State, GroupId(16), 2), &encode_state(state));
    let mark = mark::Mark { group: predecessor, segment: 1, end: 300 };
    vec![
        SegmentHeader { identity, salt: SALT, number: 1 }.encode().to_vec(),
        group.encode().to_vec(),
        op,
        decoded.encode(),
        encode_state(state).to_vec(),
        mark::encode(&mark, SALT).to_vec(),
    ]
}
