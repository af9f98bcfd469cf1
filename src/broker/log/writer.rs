//! Write groups: one write, one sync, then the indexes. Runs on whatever thread drives it, and on one only.
//!
//! A failed write or sync is never retried, for the state of the file is unknown then: the log stops. The exception
//! is a full disk: the file is cut back to where it was synced, the submissions are refused, and the log goes on.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use chronik_core::ids::GroupId;

use super::codec::{
    self, GROUP_HEADER, OpHeader, OpKind, Predecessor, SEGMENT_HEADER, SegmentHeader, WriteGroupHeader,
};
use super::disk::Disk;
use super::identity::Identity;
use super::index::Slot;
use super::journal::{Options, Shared};
use super::mark::{Mark, MarkFile};
use super::plan::{Effect, Plan};
use super::queue::Item;
use super::reserve::Reserve;
use super::segment::{self, Segment};
use super::space::{Housework, Usage};
use super::state::{Checkpoint, GroupState, Groups, Memberships, forget_members_before};
use super::types::{Done, GroupHeader, HardState, LogStart, WriteError};

/// A buffer that grew beyond this for one large group is given back.
const KEEP_BUFFER: usize = 16 << 20;

/// What recovery leaves for the writer to go on from.
pub(super) struct Position {
    pub(super) active: Arc<Segment>,
    pub(super) end: u64,
    pub(super) previous: Predecessor,
    pub(super) salt: u32,
    pub(super) mark: MarkFile,
}

impl Position {
    /// Notes beside the journal that it is synced up to here.
    pub(super) fn certify(&mut self) {
        let mark = Mark { group: self.previous, segment: self.active.number, end: self.end };
        self.mark.write(&mark);
    }
}

/// Owns the journal's end.
pub(super) struct Writer {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) data_dir: PathBuf,
    identity: Identity,
    pub(super) segment_bytes: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) groups: Groups,
    pub(super) position: Position,
    /// Where the active segment's checkpoint ends.
    pub(super) head: u64,
    /// What of each segment is still referred to.
    pub(super) usage: Usage,
    pub(super) housework: Housework,
    pub(super) reserve: Reserve,
    /// Written since the last seal.
    unsealed: bool,
    stopped: Option<String>,
    buffer: Vec<u8>,
}

/// What one write group cost, for the metrics: bytes written, submissions merged.
pub(super) struct Written {
    pub(super) bytes: usize,
    pub(super) submissions: usize,
}

/// A plan that is complete.
pub(super) struct Planned {
    buffer: Vec<u8>,
    directory: Vec<(GroupId, u32)>,
    effects: Vec<Effect>,
    chains: Vec<(GroupId, u64)>,
}

impl Planned {
    pub(super) fn of(plan: Plan<'_>) -> Self {
        let chains = plan.chains().collect();
        Self { buffer: plan.ops, directory: plan.directory, effects: plan.effects, chains }
    }
}

/// A submission and what became of it.
pub(super) type Outcome = (Done, Result<(), WriteError>);

impl Writer {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        data_dir: PathBuf,
        identity: Identity,
        options: &Options,
        shared: Arc<Shared>,
        groups: Groups,
        position: Position,
    ) -> Self {
        let reserve = Reserve::open(&*disk, &data_dir, options.reserve_bytes);
        let segment_bytes = options.segment_bytes.min(1 << 30);
        let mut usage = Usage::default();
        let mut head = SEGMENT_HEADER as u64;
        for segment in shared.segments.all() {
            usage.begin(segment.number);
            head = segment.head();
            usage.end(segment.number, segment.file.len().unwrap_or(0).saturating_sub(head));
        }
        for group in groups.values() {
            usage.hold(group.log.read().slots.iter());
        }
        Self {
            disk,
            data_dir,
            identity,
            segment_bytes,
            shared,
            groups,
            position,
            head,
            usage,
            housework: Housework::default(),
            reserve,
            unsealed: true,
            stopped: None,
            buffer: Vec::new(),
        }
    }

    /// Whether a seal would tell a restart anything new.
    pub(super) fn is_unsealed(&self) -> bool {
        self.unsealed && !self.is_stopped()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Writes all items as one group. The outcomes are in the items' order.
    pub(super) fn write(&mut self, items: Vec<Item>) -> (Vec<Outcome>, Option<Written>) {
        if let Err(error) = self.ready() {
            return (refuse_all(items, &error), None);
        }
        let buffer = self.take_buffer();
        let mut plan = self.plan(buffer);
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Item::Submission { ops, done, .. } => outcomes.push((done, plan.add(ops))),
                Item::Refused { error, done } => outcomes.push((done, Err(error))),
            }
        }
        let written = self.carry_out(Planned::of(plan));
        if let Err(error) = &written {
            let failed = |outcome: &mut Outcome| outcome.1 = outcome.1.clone().and(Err(error.clone()));
            outcomes.iter_mut().for_each(failed);
        }
        let submissions = outcomes.len();
        (outcomes, written.ok().flatten().map(|bytes| Written { bytes, submissions }))
    }

    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize(GROUP_HEADER, 0);
        buffer
    }

    /// The write group that comes next, empty. The buffer begins with its header, so a position in it is one in the file.
    pub(super) fn plan(&self, buffer: Vec<u8>) -> Plan<'_> {
        let (segment, start) = (self.position.active.number, self.position.end);
        Plan::new(&self.groups, self.position.salt, segment, start, buffer)
    }

    /// Writes what was planned and makes it true; gives the bytes written, if there was anything to write.
    pub(super) fn carry_out(&mut self, planned: Planned) -> Result<Option<usize>, WriteError> {
        let Planned { buffer, directory, effects, chains } = planned;
        if directory.is_empty() {
            self.buffer = buffer;
            return Ok(None);
        }
        let bytes = self.write_group(buffer, &directory)?;
        self.apply(effects, chains);
        Ok(Some(bytes))
    }

    /// Certifies the last group while nothing follows it, without a sync: see `codec.rs`.
    pub(super) fn seal(&mut self) -> Result<(), WriteError> {
        if !self.is_unsealed() || self.position.previous.sequence == 0 {
            self.unsealed = false;
            return Ok(());
        }
        let header = WriteGroupHeader {
            salt: self.position.salt,
            seal: true,
            checkpoint: false,
            sequence: self.position.previous.sequence,
            length: 0,
            ops: 0,
            directory_crc: 0,
            predecessor: self.position.previous,
        };
        let written = self.position.active.file.write_all_at(&header.encode(), self.position.end);
        self.settle(written, "write a seal")?;
        self.position.end += GROUP_HEADER as u64;
        self.unsealed = false;
        Ok(())
    }

    /// Seals and syncs: the last thing before the log is closed.
    pub(super) fn close(&mut self) {
        let synced = self.seal().and_then(|()| {
            let synced = self.position.active.file.sync().and_then(|()| self.position.mark.sync());
            self.settle(synced, "sync")
        });
        if let Err(error) = synced {
            tracing::error!(%error, "close the log");
        }
    }

    pub(super) fn ready(&mut self) -> Result<(), WriteError> {
        if let Some(reason) = &self.stopped {
            return Err(WriteError::Stopped(reason.clone()));
        }
        // A checkpoint as large as that shall not fill the journal by itself.
        let full = self.position.end >= self.segment_bytes.max(2 * self.head);
        if full { self.roll() } else { Ok(()) }
    }

    /// Fills in directory and header, writes and syncs. `buffer` begins with room for the header.
    fn write_group(
        &mut self,
        mut buffer: Vec<u8>,
        directory: &[(GroupId, u32)],
    ) -> Result<usize, WriteError> {
        let header = finish_group(&mut buffer, directory, false, &self.position);
        let file = self.position.active.file.clone();
        let mut written = file.write_all_at(&buffer, self.position.end);
        if written.as_ref().is_err_and(is_full) && self.spend_reserve() {
            written = file.write_all_at(&buffer, self.position.end);
        }
        self.settle(written, "write")?;
        let synced = file.sync();
        if let Err(error) = synced {
            // What is in the page cache may never reach the disk: a restart must not find it there.
            let _ = file.set_len(self.position.end);
            return Err(self.stop("sync", &error));
        }
        self.position.end += buffer.len() as u64;
        self.position.previous = header;
        self.position.certify();
        self.unsealed = true;
        let bytes = buffer.len();
        if buffer.capacity() <= KEEP_BUFFER {
            self.buffer = buffer;
        }
        Ok(bytes)
    }

    /// After a failed write: cuts the file back if the disk was full, else stops.
    fn settle(&mut self, result: io::Result<()>, action: &str) -> Result<(), WriteError> {
        let Err(error) = result else { return Ok(()) };
        let file = &self.position.active.file;
        if is_full(&error) && file.set_len(self.position.end).and_then(|()| file.sync()).is_ok() {
            tracing::debug!(file = %self.position.active.path.display(), %error, "{action}: the disk is full");
            return Err(WriteError::NoSpace);
        }
        Err(self.stop(action, &error))
    }

    fn stop(&mut self, action: &str, error: &io::Error) -> WriteError {
        let reason = format!("{action} {}: {error}", self.position.active.path.display());
        tracing::error!(reason, "the log stops");
        self.stopped = Some(reason.clone());
        WriteError::Stopped(reason)
    }

    /// Begins the next segment with a checkpoint of every Raft group.
    pub(super) fn roll(&mut self) -> Result<(), WriteError> {
        let number = self.position.active.number + 1;
        let (identity, salt) = (self.identity.clone(), self.position.salt);
        let segment_header = SegmentHeader { identity, salt, number: u64::from(number) };
        let mut buffer = vec![0; GROUP_HEADER];
        let directory = self.checkpoint(&mut buffer);
        let previous = finish_group(&mut buffer, &directory, true, &self.position);
        let mut bytes = segment_header.encode().to_vec();
        bytes.append(&mut buffer);
        let mut created = segment::create(&*self.disk, &self.data_dir, number, &bytes);
        if created.as_ref().is_err_and(is_full) && self.spend_reserve() {
            created = segment::create(&*self.disk, &self.data_dir, number, &bytes);
        }
        let segment = match created {
            Ok(segment) => Arc::new(segment),
            Err(error) if is_full(&error) => {
                tracing::debug!(number, %error, "begin a segment: the disk is full");
                return Err(WriteError::NoSpace);
            }
            Err(error) => return Err(self.stop("begin the segment after", &error)),
        };
        self.shared.segments.insert(segment.clone());
        self.usage.end(self.position.active.number, self.position.end - self.head);
        self.usage.begin(number);
        self.head = bytes.len() as u64;
        (self.position.active, self.position.end) = (segment, self.head);
        self.position.previous = previous;
        self.position.certify();
        self.unsealed = true;
        Ok(())
    }

    fn checkpoint(&self, out: &mut Vec<u8>) -> Vec<(GroupId, u32)> {
        let salt = self.position.salt;
        let numbers: Vec<u8> =
            self.shared.segments.numbers().iter().flat_map(|number| number.to_le_bytes()).collect();
        let manifest = OpHeader::plain(OpKind::Manifest, GroupId(0), 0);
        let mut directory = vec![(GroupId(0), codec::encode_op(out, salt, manifest, &numbers))];
        for (id, group) in &self.groups {
            let header = OpHeader::plain(OpKind::Checkpoint, *id, group.chain);
            let payload = Checkpoint::encode(group);
            directory.push((*id, codec::encode_op(out, salt, header, &payload)));
        }
        directory
    }

    fn apply(&mut self, effects: Vec<Effect>, chains: Vec<(GroupId, u64)>) {
        for effect in effects {
            match effect {
                Effect::Create(group, header) => self.created(group, header),
                Effect::Entries(group, first, slots) => self.appended(group, first, slots),
                Effect::State(group, state) => self.with(group, |g| g.state = state),
                Effect::Membership(group, index, bytes) => {
                    self.with(group, |g| drop(g.memberships.insert(index, bytes)));
                }
                Effect::Start(group, start, replace, snapshot) => {
                    self.begun(group, start, replace, snapshot);
                }
                Effect::Remove(group) => self.removed(group),
                Effect::Moved(group, index, slot) => self.moved(group, index, slot),
                Effect::Dropped(number) => self.dropped(number),
            }
        }
        for (group, chain) in chains {
            self.with(group, |g| g.chain = chain);
        }
    }

    fn with(&mut self, group: GroupId, change: impl FnOnce(&mut GroupState)) {
        if let Some(group) = self.groups.get_mut(&group) {
            change(group);
        }
    }

    fn created(&mut self, group: GroupId, header: GroupHeader) {
        let log = self.shared.group_or_new(group, self.position.salt);
        let (state, memberships, snapshot) = (HardState::default(), Memberships::new(), Bytes::new());
        self.groups.insert(group, GroupState { header, state, memberships, snapshot, chain: 0, log });
    }

    fn begun(&mut self, group: GroupId, start: LogStart, replace: bool, snapshot: Bytes) {
        let Some(state) = self.groups.get_mut(&group) else { return };
        state.snapshot = snapshot;
        state.state.commit = state.state.commit.max(start.before());
        forget_members_before(&mut state.memberships, start);
        let cut = state.log.write().begin_at(start, replace);
        self.usage.release(cut.iter());
    }

    fn appended(&mut self, group: GroupId, first: u64, slots: Vec<Slot>) {
        let Some(state) = self.groups.get(&group) else { return };
        self.usage.hold(slots.iter());
        let cut = {
            let mut log = state.log.write();
            let cut = log.truncate(first);
            slots.into_iter().for_each(|slot| log.push(slot));
            cut
        };
        self.usage.release(cut.iter());
    }

    fn removed(&mut self, group: GroupId) {
        self.shared.groups.write().remove(&group);
        if let Some(state) = self.groups.remove(&group) {
            let cut = state.log.write().truncate(0);
            self.usage.release(cut.iter());
        }
    }

    fn moved(&mut self, group: GroupId, index: u64, slot: Slot) {
        let Some(state) = self.groups.get(&group) else { return };
        let old = state.log.write().replace(index, slot);
        self.usage.hold([&slot]);
        self.usage.release(old.iter());
    }
}

/// Appends the directory and fills in the header; gives how the next group names this one.
fn finish_group(
    buffer: &mut Vec<u8>,
    directory: &[(GroupId, u32)],
    checkpoint: bool,
    position: &Position,
) -> Predecessor {
    let directory_crc = codec::encode_directory(buffer, directory);
    let header = WriteGroupHeader {
        salt: position.salt,
        seal: false,
        checkpoint,
        sequence: position.previous.sequence + 1,
        length: u32::try_from(buffer.len() - GROUP_HEADER).expect("the queue bounds a write group"),
        ops: directory.len() as u32,
        directory_crc,
        predecessor: position.previous,
    };
    let encoded = header.encode();
    buffer[..GROUP_HEADER].copy_from_slice(&encoded);
    Predecessor { sequence: header.sequence, ops: header.ops, crc: codec::header_crc(&encoded) }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn refuse_all(items: Vec<Item>, error: &WriteError) -> Vec<Outcome> {
    let outcome = |item| match item {
        Item::Submission { done, .. } => (done, Err(error.clone())),
        Item::Refused { error, done } => (done, Err(error)),
    };
    items.into_iter().map(outcome).collect()
}
