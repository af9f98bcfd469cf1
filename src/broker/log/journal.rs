//! The log as the broker holds it: open, submit, look up a group, close. One thread writes; see `writer.rs`.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_core::ids::{GroupId, LogIndex};
use parking_lot::RwLock;

use super::disk::Disk;
use super::group_log::GroupLog;
use super::identity::Identity;
use super::index::Index;
use super::queue::{Item, Next, Queue};
use super::recovery;
use super::segment::SegmentTable;
use super::state::Memberships;
use super::types::{Damage, Done, GroupHeader, HardState, WriteError, WriteOp};
use super::writer::{Outcome, Writer};

/// How long the journal rests before its last group is sealed.
pub const REST: Duration = Duration::from_millis(100);

/// Hears what the writer does; called on its thread.
pub trait LogObserver: Send + Sync {
    /// A write group was written and synced.
    fn synced(&self, took: Duration, bytes: usize, submissions: usize);
    /// A write group could not be written or synced; `full` if only for want of room.
    fn failed(&self, full: bool);
    /// Whether there is room again, after a write or a rest.
    fn short_of_room(&self, short: bool);
}

/// What may be chosen.
#[derive(Clone)]
pub struct Options {
    /// A segment takes no further group from this size on. At most 1 GiB.
    pub segment_bytes: u64,
    /// Submissions are merged into one write group up to this size.
    pub group_bytes: usize,
    /// Submissions beyond this many waiting bytes are refused. At most 1 GiB.
    pub queue_bytes: usize,
    /// Room kept back for what must be written when the disk is full; 0 for none.
    pub reserve_bytes: u64,
    pub observer: Option<Arc<dyn LogObserver>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            group_bytes: 8 << 20,
            queue_bytes: 256 << 20,
            reserve_bytes: 0,
            observer: None,
        }
    }
}

/// Why the log cannot be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the journal in {0} holds no segment: this disk was emptied and must not go on under its identity"
    )]
    Missing(PathBuf),
    #[error("{file}: {what} version {found} is unknown; this build knows {known}")]
    UnknownFormat { file: PathBuf, what: &'static str, found: u16, known: u16 },
    #[error("{file} belongs to cluster {}, broker {}, disk {}: not to this data folder", .found.cluster, .found.broker, .found.disk)]
    Foreign { file: PathBuf, found: Box<Identity> },
    #[error("the journal is damaged beyond use: {0}")]
    Damaged(Damage),
}

/// A Raft group found on the disk.
pub struct RecoveredGroup {
    pub group: GroupId,
    pub header: GroupHeader,
    pub state: HardState,
    /// The members in force at the log's start, if they ever changed, and all later ones.
    pub memberships: Memberships,
    /// What came before the log's start, as it was submitted.
    pub snapshot: Bytes,
    pub log: Arc<GroupLog>,
    /// Set if this replica lost something: it must not go on under its replica id.
    pub damage: Option<Damage>,
}

impl RecoveredGroup {
    /// The newest members, and since which entry.
    pub fn membership(&self) -> Option<(LogIndex, Bytes)> {
        self.memberships.last_key_value().map(|(index, bytes)| (*index, bytes.clone()))
    }

    /// The members in force at the log's start, unless they are still those in the header.
    pub fn membership_at_start(&self) -> Option<Bytes> {
        let start = self.log.start();
        self.memberships.range(..start.index).next_back().map(|(_, bytes)| bytes.clone())
    }
}

/// What readers and the writer share.
pub(super) struct Shared {
    pub(super) segments: Arc<SegmentTable>,
    pub(super) groups: RwLock<HashMap<GroupId, Arc<GroupLog>>>,
}

impl Shared {
    /// A group's log, empty if the group is new.
    pub(super) fn group_or_new(&self, group: GroupId, salt: u32) -> Arc<GroupLog> {
        let fresh = || Arc::new(GroupLog::new(group, salt, self.segments.clone(), Index::default()));
        self.groups.write().entry(group).or_insert_with(fresh).clone()
    }
}

/// The log of all Raft groups on one disk.
pub struct Log {
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    salt: u32,
    unattributed: Option<Damage>,
    reserve_spent: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Log {
    /// Reads the journal of a formatted data folder, cuts a torn end, and starts the writer on a thread of its own.
    /// `dir` is the data folder, which the caller holds locked (`DataFolder::open`).
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: Identity,
        options: Options,
    ) -> Result<(Self, Vec<RecoveredGroup>), LogError> {
        let (mut log, driver, found) = Self::open_driven(disk, dir, identity, options)?;
        let thread = thread::Builder::new().name("log-writer".to_owned()).spawn(move || driver.run());
        let thread = thread.map_err(|source| LogError::Io {
            action: "start the writer of",
            path: dir.to_owned(),
            source,
        })?;
        log.writer = Some(thread);
        Ok((log, found))
    }

    /// Like [`open`](Self::open), but nothing is written unless the caller drives it.
    pub fn open_driven(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: Identity,
        options: Options,
    ) -> Result<(Self, LogDriver, Vec<RecoveredGroup>), LogError> {
        let recovered = recovery::recover(&disk, dir, &identity)?;
        let salt = recovered.position.salt;
        let queue = Arc::new(Queue::new(options.queue_bytes.min(1 << 30)));
        let writer = Writer::new(
            disk,
            dir.to_owned(),
            identity,
            &options,
            recovered.shared.clone(),
            recovered.groups,
            recovered.position,
        );
        let reserve_spent = writer.reserve.spent();
        let (shared, unattributed) = (recovered.shared, recovered.unattributed);
        let driver =
            LogDriver { writer, queue: queue.clone(), options, written: 0, looks: 0, complained: false };
        Ok((Self { queue, shared, salt, unattributed, reserve_spent, writer: None }, driver, recovered.found))
    }

    /// Queues a change, to be written whole or not at all. `done` is called on the writer's thread, in the order
    /// of submission, once the change is synced and readable, or refused. Never blocks.
    pub fn submit(&self, ops: Vec<WriteOp>, done: Done) {
        self.queue.push(ops, done);
    }

    /// The log of a group that exists on this disk.
    pub fn group(&self, group: GroupId) -> Option<Arc<GroupLog>> {
        self.shared.groups.read().get(&group).cloned()
    }

    /// The log of a group about to be created: empty, and readable before its creation is written.
    pub fn new_group(&self, group: GroupId) -> Arc<GroupLog> {
        self.shared.group_or_new(group, self.salt)
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Groups of which damage was found since the last call, by a client's read or any other: their replicas must not go on.
    pub fn take_damaged(&self) -> BTreeSet<GroupId> {
        self.shared.segments.take_damaged()
    }

    /// Whether the disk was full, and only what was kept back is left for what must be written.
    pub fn is_short_of_room(&self) -> bool {
        self.reserve_spent.load(Ordering::Acquire)
    }

    /// Damage of which recovery could not exclude that it held the only trace of a group. While it is set, a
    /// replica that metadata assigned to this disk before the start and that is not here may have been lost.
    pub fn unattributed_damage(&self) -> Option<&Damage> {
        self.unattributed.as_ref()
    }
}

impl Drop for Log {
    /// Writes what waits, seals, and ends the writer.
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.writer.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// Answers whoever waits, also if the writer's thread panics.
struct Burial<'a>(&'a Queue);

impl Drop for Burial<'_> {
    fn drop(&mut self) {
        self.0.bury();
    }
}

/// The writing half of a log: writes what was submitted, on the thread of whoever holds it.
pub struct LogDriver {
    writer: Writer,
    queue: Arc<Queue>,
    options: Options,
    /// Bytes since the last step of housework.
    written: usize,
    /// Writes and rests without a reserve.
    looks: u32,
    /// That the journal cannot be sealed was said, and has not changed: a full disk is not worth a line at each rest.
    complained: bool,
}

/// While there is much to write, a step of housework comes after so many bytes, about as many as it moves, or after this
/// part of a segment.
const WRITTEN_PER_STEP: u64 = 1 << 20;
const STEPS_PER_SEGMENT: u64 = 8;
/// A reserve that was given up is looked for room for at every so many writes and rests: a log may never come to rest.
const LOOKS_PER_RESTORE: u32 = 20;

impl LogDriver {
    /// Writes what waits, up to one write group, and answers it; false if nothing waits.
    pub fn write_waiting(&mut self) -> bool {
        match self.queue.next(self.options.group_bytes, Duration::ZERO, false) {
            Next::Write(items) => {
                self.write(items);
                true
            }
            Next::Idle | Next::Closed => false,
        }
    }

    /// What is to be done when nothing was submitted for a while: housework, then a seal. Whether there is more to do.
    pub fn rest(&mut self) -> bool {
        self.written = 0;
        if self.writer.lacks_reserve() {
            self.look_for_room();
            if let Some(observer) = &self.options.observer {
                observer.short_of_room(self.writer.lacks_reserve());
            }
        }
        if self.writer.has_housework() {
            return self.do_housework() && self.has_more();
        }
        let sealed = self.writer.seal();
        if let Err(error) = &sealed
            && !self.complained
        {
            tracing::warn!(%error, "seal the journal");
        }
        self.complained = sealed.is_err();
        self.has_more()
    }

    fn look_for_room(&mut self) {
        self.looks += 1;
        if self.looks.is_multiple_of(LOOKS_PER_RESTORE) {
            self.writer.restore_reserve();
        }
    }

    fn has_more(&self) -> bool {
        self.writer.is_unsealed() || self.writer.has_housework() || self.writer.lacks_reserve()
    }

    /// One step; false if it failed, and is to be tried again later.
    fn do_housework(&mut self) -> bool {
        let done = self.writer.do_housework();
        if let Err(error) = &done {
            tracing::debug!(%error, "give space back");
        }
        done.is_ok()
    }

    /// Seals and syncs: the last thing before the log is closed.
    pub fn close(mut self) {
        self.writer.close();
    }

    /// Writes until the log is closed.
    fn run(mut self) {
        let queue = self.queue.clone();
        let _burial = Burial(&queue);
        // Housework goes on at once as long as nobody wants to write.
        let mut patience = REST;
        loop {
            let quiet = !self.has_more();
            match queue.next(self.options.group_bytes, patience, quiet) {
                Next::Write(items) => {
                    self.write(items);
                    patience = REST;
                }
                Next::Idle => {
                    let housework = self.writer.has_housework();
                    let more = self.rest();
                    patience = if housework && more { Duration::ZERO } else { REST };
                }
                Next::Closed => return self.close(),
            }
        }
    }

    fn write(&mut self, items: Vec<Item>) {
        let started = Instant::now();
        let (outcomes, written) = self.writer.write(items);
        let full = |result: &Outcome| matches!(result.1, Err(WriteError::NoSpace));
        let failed = |result: &Outcome| full(result) || matches!(result.1, Err(WriteError::Stopped(_)));
        self.written += written.as_ref().map_or(0, |written| written.bytes);
        if self.writer.lacks_reserve() {
            self.look_for_room();
        }
        match (&self.options.observer, written) {
            (Some(observer), Some(written)) => {
                observer.synced(started.elapsed(), written.bytes, written.submissions);
                observer.short_of_room(self.writer.lacks_reserve());
            }
            (Some(observer), None) if outcomes.iter().any(failed) => {
                observer.failed(outcomes.iter().any(full));
            }
            _ => {}
        }
        outcomes.into_iter().for_each(|(done, result)| done(result));
        let due = WRITTEN_PER_STEP.min(self.options.segment_bytes / STEPS_PER_SEGMENT);
        if self.written as u64 >= due && self.writer.has_housework() {
            self.written = 0;
            self.do_housework();
        }
    }
}
