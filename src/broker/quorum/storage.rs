//! What raft reads: the synced log plus the tail that is not synced yet. Writes nothing: the engine submits the tail.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use chronik_core::ids::{LogIndex, Offset, Term};
use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::snapshot::Base;
use crate::log::{Damage, EntryKind, GroupLog, LogEntry, LogStart};

/// One entry of the tail, with the offset that follows it.
struct TailEntry {
    entry: Entry,
    end_offset: Offset,
}

/// Raft's view of one replica's log.
pub(super) struct GroupStorage {
    log: Arc<GroupLog>,
    hard_state: HardState,
    membership: ConfState,
    /// What came before the first entry. It moves before the journal's start does, so that raft never asks for what the
    /// journal drops meanwhile.
    base: Base,
    /// A follower needs a newer snapshot than there is.
    wants_snapshot: AtomicBool,
    /// Contiguous entries up to the end: all that are not synced, and those synced ones not applied yet.
    tail: VecDeque<TailEntry>,
    /// The last index that the journal has synced and raft was told about.
    synced: LogIndex,
    /// Grows when an append replaces entries, so that an older write's completion is told apart.
    generation: u64,
    /// Set when a read met damage: the replica must leave service.
    damaged: AtomicBool,
    /// Payload bytes of the tails of all groups of this broker.
    held: Arc<AtomicUsize>,
}

impl GroupStorage {
    pub(super) fn new(
        log: Arc<GroupLog>,
        hard_state: HardState,
        membership: ConfState,
        base: Base,
        held: Arc<AtomicUsize>,
    ) -> Self {
        let synced = log.last_index();
        Self {
            log,
            hard_state,
            membership,
            base,
            wants_snapshot: AtomicBool::new(false),
            tail: VecDeque::new(),
            synced,
            generation: 0,
            damaged: AtomicBool::new(false),
            held,
        }
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Notes that entries up to `synced` were synced here once.
    pub(super) fn lost(&self, synced: LogIndex) {
        self.log.lost(synced);
    }

    /// What is wrong with the log, if anything was found.
    pub(super) fn damage(&self) -> Option<&Damage> {
        self.log.damage()
    }

    /// The last index of the log, synced or not.
    pub(super) fn end_index(&self) -> LogIndex {
        let before = || self.synced.max(self.base.start.before());
        self.tail.back().map_or_else(before, |last| last.entry.index)
    }

    /// The offset after the last entry, synced or not.
    pub(super) fn end_offset(&self) -> Offset {
        self.tail.back().map_or_else(|| self.position_of(self.end_index()), |last| last.end_offset)
    }

    /// The offset after the entry at `index`, which is at most the end.
    pub(super) fn position_of(&self, index: LogIndex) -> Offset {
        if index == self.base.start.before() {
            return self.base.start.offset;
        }
        match self.in_tail(index) {
            Some(entry) => entry.end_offset,
            None => self.log.position_of(index).unwrap_or(0),
        }
    }

    /// The offset after the entry that precedes `index`.
    pub(super) fn offset_before(&self, index: LogIndex) -> Offset {
        self.position_of(index.saturating_sub(1))
    }

    /// Adds entries that the engine is about to submit; the first may replace what lies at or above it.
    pub(super) fn append(&mut self, entry: Entry, end_offset: Offset) {
        if entry.index <= self.end_index() {
            self.generation += 1;
            self.synced = self.synced.min(entry.index - 1);
        }
        while self.tail.back().is_some_and(|last| last.entry.index >= entry.index) {
            let replaced = self.tail.pop_back();
            self.let_go(replaced);
        }
        self.held.fetch_add(entry.data.len(), Ordering::Relaxed);
        self.tail.push_back(TailEntry { entry, end_offset });
    }

    /// Notes that the journal has synced everything up to `index`.
    pub(super) fn synced_to(&mut self, index: LogIndex) {
        self.synced = self.synced.max(index.min(self.end_index()));
    }

    pub(super) fn synced(&self) -> LogIndex {
        self.synced
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Forgets tail entries that are both synced and applied.
    pub(super) fn trim(&mut self, applied: LogIndex) {
        self.forget_below(applied.min(self.synced) + 1);
    }

    fn forget_below(&mut self, index: LogIndex) {
        while self.tail.front().is_some_and(|first| first.entry.index < index) {
            let gone = self.tail.pop_front();
            self.let_go(gone);
        }
    }

    fn let_go(&self, gone: Option<TailEntry>) {
        self.held.fetch_sub(gone.map_or(0, |gone| gone.entry.data.len()), Ordering::Relaxed);
    }

    pub(super) fn start(&self) -> LogStart {
        self.base.start
    }

    /// Whether a follower needs a newer snapshot than there is; told once.
    pub(super) fn wants_snapshot(&self) -> bool {
        self.wants_snapshot.swap(false, Ordering::Relaxed)
    }

    /// Lets the log begin after what was applied.
    pub(super) fn begin_at(&mut self, base: Base) {
        self.base = base;
        self.forget_below(self.base.start.index);
    }

    /// Puts an empty log in the place of what is held. Nothing of it is synced yet.
    pub(super) fn replace(&mut self, base: Base) {
        self.membership = base.members.clone();
        self.base = base;
        self.forget_below(LogIndex::MAX);
        self.synced = 0;
        self.generation += 1;
    }

    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(super) fn set_membership(&mut self, membership: ConfState) {
        self.membership = membership;
    }

    fn in_tail(&self, index: LogIndex) -> Option<&TailEntry> {
        let first = self.tail.front()?.entry.index;
        self.tail.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    fn unreadable(&self, error: impl std::fmt::Display) -> raft::Error {
        tracing::error!("read replica's log: {error}");
        self.damaged.store(true, Ordering::Relaxed);
        raft::Error::Store(StorageError::LogTemporarilyUnavailable)
    }
}

impl Drop for GroupStorage {
    fn drop(&mut self) {
        while let Some(gone) = self.tail.pop_front() {
            self.let_go(Some(gone));
        }
    }
}

/// The kind and version byte that ride in an entry's context.
pub(super) const ENTRY_VERSION: u8 = 1;

/// Rebuilds raft's entry from the log's.
fn to_raft(stored: LogEntry) -> Entry {
    let mut entry = Entry { index: stored.index, term: stored.term, ..Entry::default() };
    match stored.kind {
        EntryKind::Empty => {}
        EntryKind::Membership => {
            entry.set_entry_type(EntryType::EntryConfChangeV2);
            entry.data = stored.payload;
        }
        kind => {
            entry.context = Bytes::copy_from_slice(&[kind as u8, ENTRY_VERSION]);
            entry.data = stored.payload;
        }
    }
    entry
}

impl Storage for GroupStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.membership.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.base.start.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let max_size = max_size.into().unwrap_or(u64::MAX);
        let tail_first = self.tail.front().map_or(u64::MAX, |first| first.entry.index);
        let mut entries = Vec::new();
        let mut size = 0;
        if low < tail_first {
            let stored = self
                .log
                .entries(low, high.min(tail_first), usize::try_from(max_size).unwrap_or(usize::MAX))
                .map_err(|error| self.unreadable(error))?;
            for stored in stored {
                size += stored.payload.len() as u64;
                entries.push(to_raft(stored));
            }
        }
        let mut next = low + entries.len() as u64;
        while next < high && next >= tail_first {
            let Some(tail) = self.in_tail(next) else { break };
            size += tail.entry.data.len() as u64;
            if size > max_size && !entries.is_empty() {
                break;
            }
            entries.push(tail.entry.clone());
            next += 1;
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<Term> {
        if index <= self.base.start.before() {
            let known = index == self.base.start.before();
            return known.then_some(self.base.start.term).ok_or(raft::Error::Store(StorageError::Compacted));
        }
        if let Some(tail) = self.in_tail(index) {
            return Ok(tail.entry.term);
        }
        if index > self.end_index() {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        self.log.term(index).ok_or(raft::Error::Store(StorageError::Compacted))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.start.index)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.end_index())
    }

    fn snapshot(&self, _request_index: u64, to: u64) -> raft::Result<Snapshot> {
        self.base.for_follower(to).ok_or_else(|| {
            self.wants_snapshot.store(true, Ordering::Relaxed);
            raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable)
        })
    }
}
