//! One Raft group's log as its readers see it: what is synced, by index, offset, time and epoch.
//! Readers and the writer share it; every byte served was checked against its CRC. Never writes.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use chronik_core::ids::{GroupId, LogIndex, Offset, Term};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::batch;
use super::codec::{OP_HEADER, OpHeader};
use super::index::{Index, Slot};
use super::segment::SegmentTable;
use super::types::{Damage, EntryMeta, LogEntry, LogStart};

/// Entries that lie this close in a file are fetched by one read.
const READ_GAP: u64 = 4 << 10;
/// One read fetches at most this much, or one entry.
const READ_SPAN: u64 = 4 << 20;
/// A consumer gets at most so many batches at once: of very small ones each costs more to find than it holds.
const READ_BATCHES: usize = 1 << 16;
/// A reader whose entries were moved to another segment meanwhile looks again this often.
const LOOKS: usize = 4;

/// Why entries cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// They are not in the log, or not any more.
    #[error("entry {index} is not in the log, which holds {first} to {last}")]
    Missing { index: LogIndex, first: LogIndex, last: LogIndex },
    /// The log begins after the offset by now.
    #[error("offset {offset} lies before the log's start {start}")]
    Gone { offset: Offset, start: Offset },
    /// Their bytes are not what was written: the replica is to be quarantined.
    #[error("the log is damaged: {0}")]
    Damaged(Damage),
}

/// The synced log of one Raft group.
pub struct GroupLog {
    group: GroupId,
    salt: u32,
    index: RwLock<Index>,
    segments: Arc<SegmentTable>,
    damage: OnceLock<Damage>,
}

impl GroupLog {
    pub(super) fn new(group: GroupId, salt: u32, segments: Arc<SegmentTable>, index: Index) -> Self {
        Self { group, salt, index: RwLock::new(index), segments, damage: OnceLock::new() }
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write()
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read()
    }

    /// Remembers the first damage found.
    pub(super) fn set_damage(&self, damage: Damage) {
        if self.damage.set(damage).is_ok() {
            self.segments.note_damaged(self.group);
        }
    }

    /// The group it belongs to.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The first damage that recovery or a reader found, if any: this replica must not go on.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.get()
    }

    /// Remembers as damage that entries up to `synced` were here once.
    pub fn lost(&self, synced: LogIndex) {
        let (last, slot) = {
            let index = self.index.read();
            (index.last(), index.slots.back().copied())
        };
        let segment = slot.and_then(|slot| self.segments.get(slot.segment));
        self.set_damage(Damage {
            file: segment.map(|segment| segment.path.clone()).unwrap_or_default(),
            offset: slot.map_or(0, |slot| end(&slot)),
            what: format!("the log ends at entry {last}, {synced} were synced"),
        });
    }

    /// Index of the first entry; one above `last_index` while there is none.
    pub fn first_index(&self) -> LogIndex {
        self.index.read().first()
    }

    /// Where it begins, and what lies right before.
    pub fn start(&self) -> LogStart {
        self.index.read().start
    }

    /// Index of the last synced entry; `first_index - 1` while there is none.
    pub fn last_index(&self) -> LogIndex {
        self.index.read().last()
    }

    /// Term of the entry at `index`, also of the one right before the first; 0 where a log begins at 1.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        self.index.read().place(index).map(|(term, _)| term)
    }

    /// All of the entry at `index` but its payload.
    pub fn meta(&self, index: LogIndex) -> Option<EntryMeta> {
        self.index.read().get(index).map(|slot| slot.meta(index))
    }

    /// The entries in `low..=high` without their payloads: what derived state is rebuilt from. At most `limit`.
    pub fn metas(&self, low: LogIndex, high: LogIndex, limit: usize) -> Vec<EntryMeta> {
        let index = self.index.read();
        (low.max(index.first())..=high)
            .take(limit)
            .map_while(|i| index.get(i).map(|slot| slot.meta(i)))
            .collect()
    }

    /// The offset of the first record that is held, or of the next one while there is none.
    pub fn start_offset(&self) -> Offset {
        self.index.read().start.offset
    }

    /// The offset the next record gets.
    pub fn end_offset(&self) -> Offset {
        self.index.read().end_offset()
    }

    /// The offset after the entry at `index`; the start offset for the index before the first.
    pub fn position_of(&self, index: LogIndex) -> Option<Offset> {
        self.index.read().place(index).map(|(_, offset)| offset)
    }

    /// Bytes of all payloads.
    pub fn size_bytes(&self) -> u64 {
        self.index.read().bytes
    }

    /// The entries in `low..high`, as many as fit `max_bytes` of payload, but at least one.
    pub fn entries(
        &self,
        low: LogIndex,
        high: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, ReadError> {
        self.with_slots(
            |log| {
                let first = log.first();
                if low < first || high > log.last() + 1 {
                    let index = if low < first { low } else { high - 1 };
                    return Err(ReadError::Missing { index, first, last: log.last() });
                }
                let at = |index: LogIndex| (index - first) as usize;
                let slots = (low..).zip(log.slots.range(at(low.min(high))..at(high)).copied());
                Ok(take(slots, max_bytes, true))
            },
            |slots| {
                let payloads = self.payloads(slots)?;
                Ok(slots.iter().zip(payloads).map(|((i, slot), payload)| entry(*i, slot, payload)).collect())
            },
        )
    }

    /// Whole batches for a consumer or a Fetch: from the one that holds `offset`, none that ends beyond `below`,
    /// as many as fit `max_bytes`; the first even if it does not fit, when `at_least_one` is asked.
    pub fn records_from(
        &self,
        offset: Offset,
        below: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Bytes, ReadError> {
        self.with_slots(
            |log| {
                if offset < log.start.offset {
                    // What follows would pass for what was asked for.
                    return Err(ReadError::Gone { offset, start: log.start.offset });
                }
                Ok(batches(log, offset, below, max_bytes, at_least_one))
            },
            |slots| {
                let mut payloads = self.payloads(slots)?;
                if payloads.len() == 1 {
                    return Ok(payloads.remove(0));
                }
                let mut all = BytesMut::with_capacity(payloads.iter().map(Bytes::len).sum());
                payloads.iter().for_each(|payload| all.extend_from_slice(payload));
                Ok(all.freeze())
            },
        )
    }

    /// How many bytes [`records_from`](Self::records_from) would give.
    pub fn bytes_from(&self, offset: Offset, below: Offset, max_bytes: usize, at_least_one: bool) -> usize {
        let slots = batches(&self.index.read(), offset, below, max_bytes, at_least_one);
        slots.iter().map(|(_, slot)| slot.length as usize).sum()
    }

    /// The first record below `below` with a timestamp of at least `timestamp`, as offset and timestamp.
    /// In a compressed batch it is the batch's base offset and greatest timestamp: at or before that record.
    pub fn offset_for_time(&self, timestamp: i64, below: Offset) -> Result<Option<(Offset, i64)>, ReadError> {
        self.with_slots(
            |log| {
                let at = log.at_time(timestamp);
                let found = log.slots.get(at).filter(|slot| slot.records > 0 && slot.end_offset() <= below);
                Ok(found.map(|slot| (log.first() + at as u64, *slot)).into_iter().collect())
            },
            |slots| {
                let payloads = self.payloads(slots)?;
                Ok(payloads.first().and_then(|payload| batch::find_time(payload, timestamp)))
            },
        )
    }

    /// The first record below `below` that has the greatest timestamp of all below it, as offset and timestamp.
    pub fn offset_of_max_timestamp(&self, below: Offset) -> Result<Option<(Offset, i64)>, ReadError> {
        let greatest = {
            let log = self.index.read();
            let end = log.slots.partition_point(|slot| slot.end_offset() <= below);
            end.checked_sub(1).map(|last| log.slots[last].prefix_max_timestamp)
        };
        match greatest.filter(|timestamp| *timestamp >= 0) {
            Some(timestamp) => self.offset_for_time(timestamp, below),
            None => Ok(None),
        }
    }

    /// The epoch of the record at an offset.
    pub fn epoch_at(&self, offset: Offset) -> Option<Term> {
        let index = self.index.read();
        let after = index.slots.partition_point(|slot| slot.base_offset <= offset);
        let slot = index.slots.range(..after).rev().find(|slot| slot.records > 0)?;
        (offset < slot.base_offset + Offset::from(slot.records)).then_some(slot.term)
    }

    /// The greatest epoch not above `term` that has an entry here, and the offset at which it ends.
    pub fn end_of_epoch(&self, term: Term) -> Option<(Term, Offset)> {
        self.index.read().end_of_epoch(term)
    }

    /// Chooses entries under the lock and reads them without it; chooses anew if their segment went meanwhile.
    fn with_slots<T>(
        &self,
        choose: impl Fn(&Index) -> Result<Vec<(LogIndex, Slot)>, ReadError>,
        read: impl Fn(&[(LogIndex, Slot)]) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let mut looks = 1;
        loop {
            let slots = choose(&self.index.read())?;
            match read(&slots) {
                Err(ReadError::Missing { .. }) if looks < LOOKS => looks += 1,
                Err(ReadError::Damaged(damage)) => {
                    self.set_damage(damage.clone());
                    return Err(ReadError::Damaged(damage));
                }
                other => return other,
            }
        }
    }

    fn payloads(&self, slots: &[(LogIndex, Slot)]) -> Result<Vec<Bytes>, ReadError> {
        let mut payloads = Vec::with_capacity(slots.len());
        let mut rest = slots;
        while !rest.is_empty() {
            let (run, after) = rest.split_at(run_length(rest));
            self.read_run(run, &mut payloads)?;
            rest = after;
        }
        Ok(payloads)
    }

    /// Reads neighbours in one file at once and checks each.
    fn read_run(&self, run: &[(LogIndex, Slot)], out: &mut Vec<Bytes>) -> Result<(), ReadError> {
        let (&(index, first), (_, last)) = (&run[0], &run[run.len() - 1]);
        let missing = || {
            let log = self.index.read();
            ReadError::Missing { index, first: log.first(), last: log.last() }
        };
        let segment = self.segments.get(first.segment).ok_or_else(missing)?;
        let start = u64::from(first.position);
        let damaged = |position: u32, what: String| {
            ReadError::Damaged(Damage { file: segment.path.clone(), offset: u64::from(position), what })
        };
        let mut bytes = BytesMut::zeroed((end(last) - start) as usize);
        let read = segment.file.read_exact_at(&mut bytes, start);
        read.map_err(|error| damaged(first.position, format!("it cannot be read: {error}")))?;
        let bytes = bytes.freeze();
        for (index, slot) in run {
            let at = (u64::from(slot.position) - start) as usize;
            let payload = bytes.slice(at + OP_HEADER..at + OP_HEADER + slot.length as usize);
            self.verify(&bytes[at..], *index, slot, &payload).map_err(|what| damaged(slot.position, what))?;
            out.push(payload);
        }
        Ok(())
    }

    fn verify(&self, bytes: &[u8], index: LogIndex, slot: &Slot, payload: &[u8]) -> Result<(), String> {
        let header = OpHeader::decode(bytes, self.salt).map_err(|error| format!("entry {index}: {error}"))?;
        if (header.group, header.index, header.term) != (self.group, index, slot.term) {
            return Err(format!("entry {index} of group {} is not there", self.group));
        }
        if !header.owns(payload) {
            return Err(format!("entry {index}: the payload's checksum does not match"));
        }
        Ok(())
    }
}

fn end(slot: &Slot) -> u64 {
    u64::from(slot.position) + OP_HEADER as u64 + u64::from(slot.length)
}

/// How many of the first slots one read can fetch.
fn run_length(slots: &[(LogIndex, Slot)]) -> usize {
    let first = &slots[0].1;
    let together = slots.windows(2).take_while(|pair| {
        let (before, next) = (&pair[0].1, &pair[1].1);
        next.segment == first.segment
            && u64::from(next.position) >= end(before)
            && u64::from(next.position) - end(before) <= READ_GAP
            && end(next) - u64::from(first.position) <= READ_SPAN
    });
    1 + together.count()
}

/// The batches that a consumer gets.
fn batches(
    log: &Index,
    offset: Offset,
    below: Offset,
    max_bytes: usize,
    at_least_one: bool,
) -> Vec<(LogIndex, Slot)> {
    let from = log.at_offset(offset);
    let first = log.first() + from as u64;
    let slots = (first..).zip(log.slots.range(from..).copied());
    let slots = slots.take_while(|(_, slot)| slot.end_offset() <= below);
    take(slots.filter(|(_, slot)| slot.records > 0).take(READ_BATCHES), max_bytes, at_least_one)
}

/// As many of the slots as fit.
fn take(
    slots: impl Iterator<Item = (LogIndex, Slot)>,
    max_bytes: usize,
    at_least_one: bool,
) -> Vec<(LogIndex, Slot)> {
    let (mut left, mut forced) = (max_bytes, at_least_one);
    let fits = |(_, slot): &(LogIndex, Slot)| {
        let fits = slot.length as usize <= left || forced;
        left = left.saturating_sub(slot.length as usize);
        forced = false;
        fits
    };
    slots.take_while(fits).collect()
}

fn entry(index: LogIndex, slot: &Slot, payload: Bytes) -> LogEntry {
    let meta = slot.meta(index);
    LogEntry {
        index,
        term: meta.term,
        kind: meta.kind,
        base_offset: meta.base_offset,
        records: meta.records,
        max_timestamp: meta.max_timestamp,
        producer: meta.producer,
        payload,
    }
}
