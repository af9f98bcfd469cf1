//! Tests of the log as a whole, on real files. The helpers they share.

mod basic;
mod check;
mod failures;
mod losses;
mod model;
mod space;

use std::path::Path;
use std::sync::{Arc, mpsc};

use bytes::{BufMut, Bytes, BytesMut};
use chronik_core::ids::{BrokerId, Generation, GroupId, LogIndex, Offset, ReplicaId, Term, TopicId};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

pub(super) const G: GroupId = GroupId(7);

/// A formatted data folder that is gone with the test.
pub(super) struct Folder {
    dir: TempDir,
    pub(super) identity: Identity,
    pub(super) options: Options,
}

impl Folder {
    pub(super) fn new() -> Self {
        Self::with_segments(Options::default().segment_bytes)
    }

    pub(super) fn with_segments(segment_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cluster = "test".parse().unwrap();
        let identity =
            DataFolder::format(&RealDisk, dir.path(), cluster, BrokerId(1), Birth::Join(Vec::new())).unwrap();
        Self { dir, identity, options: Options { segment_bytes, ..Options::default() } }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn try_open(&self) -> Result<(Log, Vec<RecoveredGroup>), LogError> {
        Log::open(Arc::new(RealDisk), self.path(), self.identity.clone(), self.options.clone())
    }

    pub(super) fn open(&self) -> (Log, Vec<RecoveredGroup>) {
        self.try_open().unwrap()
    }

    pub(super) fn segment(&self, number: u32) -> std::path::PathBuf {
        segment::path(self.path(), number)
    }
}

/// Submits and waits.
pub(super) fn submit(log: &Log, ops: Vec<WriteOp>) -> Result<(), WriteError> {
    let (send, receive) = mpsc::channel();
    log.submit(ops, Box::new(move |result| send.send(result).unwrap()));
    receive.recv().unwrap()
}

pub(super) fn create(group: GroupId) -> WriteOp {
    let header = GroupHeader {
        kind: GroupKind::Partition,
        topic: Some(TopicId(Uuid::from_u128(u128::from(group.0)))),
        partition: 0,
        replica: ReplicaId(group.0),
        voters: vec![ReplicaId(group.0)],
        learners: vec![],
        generation: Generation::BIRTH,
        founders: vec![],
    };
    WriteOp::CreateGroup { group, header }
}

/// A batch of `count` uncompressed records with values of `size` bytes, one millisecond apart from `timestamp` on.
pub(crate) fn batch(base_offset: Offset, epoch: i32, count: usize, size: usize, timestamp: i64) -> Bytes {
    let mut records = BytesMut::new();
    for i in 0..count {
        let mut body = BytesMut::new();
        body.put_i8(0);
        put_varint(&mut body, i as i64);
        put_varint(&mut body, i as i64);
        put_varint(&mut body, -1);
        put_varint(&mut body, size as i64);
        body.put_bytes(b'v', size);
        put_varint(&mut body, 0);
        put_varint(&mut records, body.len() as i64);
        records.put(body);
    }
    assemble(base_offset, epoch, 0, count, timestamp, timestamp + count as i64 - 1, (-1, -1, -1), &records)
}

#[allow(clippy::too_many_arguments)]
pub(super) fn assemble(
    base_offset: Offset,
    epoch: i32,
    attributes: i16,
    count: usize,
    base_timestamp: i64,
    max_timestamp: i64,
    producer: (i64, i16, i32),
    records: &[u8],
) -> Bytes {
    let mut tail = BytesMut::new();
    tail.put_i16(attributes);
    tail.put_i32(count as i32 - 1);
    tail.put_i64(base_timestamp);
    tail.put_i64(max_timestamp);
    tail.put_i64(producer.0);
    tail.put_i16(producer.1);
    tail.put_i32(producer.2);
    tail.put_i32(count as i32);
    tail.put_slice(records);
    let mut batch = BytesMut::new();
    batch.put_i64(base_offset);
    batch.put_i32(tail.len() as i32 + 9);
    batch.put_i32(epoch);
    batch.put_i8(2);
    batch.put_u32(crc32c::crc32c(&tail));
    batch.put(tail);
    batch.freeze()
}

pub(super) fn put_varint(out: &mut BytesMut, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(crate) fn records(
    index: LogIndex,
    term: Term,
    base_offset: Offset,
    count: usize,
    size: usize,
) -> LogEntry {
    let payload = batch(base_offset, term as i32, count, size, 1_000 * index as i64);
    let header = BatchHeader::parse(&payload).unwrap();
    LogEntry {
        index,
        term,
        kind: EntryKind::Records,
        base_offset,
        records: header.records(),
        max_timestamp: header.max_timestamp,
        producer: header.producer(),
        payload,
    }
}

pub(super) fn empty(index: LogIndex, term: Term, base_offset: Offset) -> LogEntry {
    LogEntry {
        index,
        term,
        kind: EntryKind::Empty,
        base_offset,
        records: 0,
        max_timestamp: -1,
        producer: None,
        payload: Bytes::new(),
    }
}

pub(super) fn append(group: GroupId, entries: Vec<LogEntry>) -> WriteOp {
    WriteOp::Append { group, entries }
}

pub(super) fn start(
    group: GroupId,
    index: LogIndex,
    term: Term,
    offset: Offset,
    replace: bool,
    snapshot: &'static [u8],
) -> WriteOp {
    let start = LogStart { index, term, offset };
    WriteOp::Start { group, start, replace, snapshot: Bytes::from_static(snapshot) }
}

/// Everything a log holds.
pub(super) fn all(log: &GroupLog) -> Vec<LogEntry> {
    log.entries(log.first_index(), log.last_index() + 1, usize::MAX).unwrap()
}
