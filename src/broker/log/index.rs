//! The index of one Raft group's entries: where each lies, and what finding by offset, time and epoch needs. Pure.

use std::collections::VecDeque;

use chronik_core::ids::{LogIndex, Offset, Term};

use super::codec::OpHeader;
use super::types::{BatchProducer, EntryKind, EntryMeta, LogStart};

/// One entry: 64 bytes, whatever its payload. `segment` 0 is a hole, known only to recovery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) term: Term,
    pub(super) base_offset: Offset,
    pub(super) max_timestamp: i64,
    /// The greatest timestamp of this entry and all before it: makes finding by time a binary search.
    pub(super) prefix_max_timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) segment: u32,
    /// Of the operation's header.
    pub(super) position: u32,
    /// Of the payload.
    pub(super) length: u32,
    pub(super) records: u32,
    pub(super) base_sequence: i32,
    pub(super) producer_epoch: i16,
    pub(super) kind: EntryKind,
}

const _: () = assert!(size_of::<Slot>() <= 64);

impl Slot {
    pub(super) fn new(header: &OpHeader, segment: u32, position: u32) -> Self {
        Self {
            term: header.term,
            base_offset: header.base_offset,
            max_timestamp: header.max_timestamp,
            prefix_max_timestamp: header.max_timestamp,
            producer_id: header.producer_id,
            segment,
            position,
            length: header.payload_length,
            records: header.records,
            base_sequence: header.base_sequence,
            producer_epoch: header.producer_epoch,
            kind: header.entry_kind,
        }
    }

    /// The place of an entry that is missing.
    pub(super) const HOLE: Slot = Slot {
        term: 0,
        base_offset: 0,
        max_timestamp: -1,
        prefix_max_timestamp: -1,
        producer_id: -1,
        segment: 0,
        position: 0,
        length: 0,
        records: 0,
        base_sequence: -1,
        producer_epoch: -1,
        kind: EntryKind::Empty,
    };

    pub(super) fn is_hole(&self) -> bool {
        self.segment == 0
    }

    pub(super) fn end_offset(&self) -> Offset {
        self.base_offset + Offset::from(self.records)
    }

    pub(super) fn meta(&self, index: LogIndex) -> EntryMeta {
        EntryMeta {
            index,
            term: self.term,
            kind: self.kind,
            base_offset: self.base_offset,
            records: self.records,
            max_timestamp: self.max_timestamp,
            producer: BatchProducer::of(
                self.producer_id,
                self.producer_epoch,
                self.base_sequence,
                self.records,
            ),
            size: self.length,
        }
    }
}

/// The entries of one Raft group, from its start on without a gap (recovery fills gaps with holes, and tells).
#[derive(Default, Debug)]
pub(super) struct Index {
    pub(super) start: LogStart,
    pub(super) slots: VecDeque<Slot>,
    /// Of all payloads.
    pub(super) bytes: u64,
}

impl Index {
    /// Index of the first entry, which may not be there yet.
    pub(super) fn first(&self) -> LogIndex {
        self.start.index
    }

    /// The last entry's index; `first - 1` when there is none.
    pub(super) fn last(&self) -> LogIndex {
        self.start.before() + self.slots.len() as u64
    }

    /// Term and end offset of the entry at `index`, also of the one right before the first.
    pub(super) fn place(&self, index: LogIndex) -> Option<(Term, Offset)> {
        if index == self.start.before() {
            return Some((self.start.term, self.start.offset));
        }
        self.get(index).map(|slot| (slot.term, slot.end_offset()))
    }

    pub(super) fn get(&self, index: LogIndex) -> Option<&Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.start.index)?).ok()?)
    }

    pub(super) fn end_offset(&self) -> Offset {
        self.slots.back().map_or(self.start.offset, Slot::end_offset)
    }

    /// Cuts what lies at or above `index`; gives what was cut.
    pub(super) fn truncate(&mut self, index: LogIndex) -> VecDeque<Slot> {
        let keep = usize::try_from(index.saturating_sub(self.start.index)).unwrap_or(usize::MAX);
        if keep >= self.slots.len() {
            return VecDeque::new();
        }
        let cut = self.slots.split_off(keep);
        self.bytes -= bytes_of(&cut);
        cut
    }

    /// Lets the log begin at `start`: without what lies before it, or without anything if all is to be replaced. Gives
    /// what was cut.
    pub(super) fn begin_at(&mut self, start: LogStart, replace: bool) -> VecDeque<Slot> {
        let gone = usize::try_from(start.index.saturating_sub(self.start.index)).unwrap_or(usize::MAX);
        let kept = if replace { VecDeque::new() } else { self.slots.split_off(gone.min(self.slots.len())) };
        let cut = std::mem::replace(&mut self.slots, kept);
        self.start = start;
        self.bytes -= bytes_of(&cut);
        if self.slots.capacity() / 4 > self.slots.len() {
            self.slots.shrink_to(self.slots.len() * 2);
        }
        self.rebuild();
        cut
    }

    pub(super) fn push(&mut self, mut slot: Slot) {
        let before = self.slots.back().map_or(-1, |last| last.prefix_max_timestamp);
        slot.prefix_max_timestamp = slot.max_timestamp.max(before);
        self.bytes += u64::from(slot.length);
        self.slots.push_back(slot);
    }

    /// Puts another place for the entry at `index`; gives the old one. Nothing else of the entry may differ, but
    /// in recovery, where the old one may be a hole or an entry that was truncated since.
    pub(super) fn replace(&mut self, index: LogIndex, slot: Slot) -> Option<Slot> {
        let at = usize::try_from(index.checked_sub(self.start.index)?).ok()?;
        let old = self.slots.get_mut(at)?;
        self.bytes = self.bytes - u64::from(old.length) + u64::from(slot.length);
        let prefix = old.prefix_max_timestamp;
        Some(std::mem::replace(old, Slot { prefix_max_timestamp: prefix, ..slot }))
    }

    /// The position in `slots` of the entry that holds `offset`, or of the first after it.
    pub(super) fn at_offset(&self, offset: Offset) -> usize {
        self.slots.partition_point(|slot| slot.end_offset() <= offset)
    }

    /// The first position whose entry has a timestamp of at least `timestamp`.
    pub(super) fn at_time(&self, timestamp: i64) -> usize {
        self.slots.partition_point(|slot| slot.prefix_max_timestamp < timestamp)
    }

    /// The greatest epoch not above `term` with an entry here, and its end offset.
    pub(super) fn end_of_epoch(&self, term: Term) -> Option<(Term, Offset)> {
        let after = self.slots.partition_point(|slot| slot.term <= term);
        let last = self.slots.get(after.checked_sub(1)?)?;
        Some((last.term, last.end_offset()))
    }

    /// Fills up with holes so that `last` is the last, if these are no more than `most`; whether there was none to fill.
    pub(super) fn extend_to(&mut self, last: LogIndex, most: u64) -> bool {
        let missing = last.saturating_sub(self.last());
        if missing <= most {
            self.slots.resize(self.slots.len() + missing as usize, Slot::HOLE);
        }
        missing == 0
    }

    /// The first entry that is missing or does not follow the one before it.
    pub(super) fn flaw(&self) -> Option<(usize, &'static str)> {
        let (mut term, mut end) = (self.start.term, self.start.offset);
        for (at, slot) in self.slots.iter().enumerate() {
            if slot.is_hole() {
                return Some((at, "it is missing"));
            }
            if slot.term < term || slot.base_offset != end {
                return Some((at, "it does not follow the one before it"));
            }
            (term, end) = (slot.term, slot.end_offset());
        }
        None
    }

    /// Computes anew what depends on the entries before each.
    pub(super) fn rebuild(&mut self) {
        let mut greatest = -1;
        for slot in &mut self.slots {
            greatest = slot.max_timestamp.max(greatest);
            slot.prefix_max_timestamp = greatest;
        }
    }
}

fn bytes_of(slots: &VecDeque<Slot>) -> u64 {
    slots.iter().map(|slot| u64::from(slot.length)).sum()
}
