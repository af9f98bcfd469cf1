//! Write groups: one write, one sync, then the indexes. Runs on whatever thread drives it, and on one only.
//!
//! A failed write or sync is never retried, for the state of the file is unknown then: the log stops. The exception
//! is a full disk: the file is cut back to where it was synced, the submissions are refused, and the log goes on.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use chronik_core::ids::GroupId;

use super::codec::{self, GROUP_HEADER, OpHeader, OpKind, Predecessor, SegmentHeader, WriteGroupHeader};
use super::disk::Disk;
use super::identity::Identity;
use super::index::Slot;
use super::journal::Shared;
use super::mark::{Mark, MarkFile};
use super::plan::{Effect, Plan};
use super::queue::Item;
use super::segment::{self, Segment};
use super::state::{Checkpoint, GroupState, Groups};
use super::types::{Done, GroupHeader, HardState, WriteError};

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
    /// Bytes of entries still referred to, by segment.
    pub(super) live: BTreeMap<u32, u64>,
    /// Segments that the next write group says good-bye to.
    pub(super) to_drop: Vec<u32>,
    /// Entries that the next write group writes anew.
    pub(super) to_move: Vec<(OpHeader, bytes::Bytes)>,
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

/// A submission and what became of it.
pub(super) type Outcome = (Done, Result<(), WriteError>);

impl Writer {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        data_dir: PathBuf,
        identity: Identity,
        segment_bytes: u64,
        shared: Arc<Shared>,
        groups: Groups,
        position: Position,
    ) -> Self {
        let mut live: BTreeMap<u32, u64> =
            shared.segments.numbers().into_iter().map(|number| (number, 0)).collect();
        for group in groups.values() {
            for slot in group.log.read().slots.iter().filter(|slot| !slot.is_hole()) {
                *live.entry(slot.segment).or_default() += weight(slot);
            }
        }
        Self {
            disk,
            data_dir,
            identity,
            segment_bytes,
            shared,
            groups,
            position,
            live,
            to_drop: Vec::new(),
            to_move: Vec::new(),
            unsealed: true,
            stopped: None,
            buffer: Vec::new(),
        }
    }

    /// Whether a seal would tell a restart anything new.
    pub(super) fn is_unsealed(&self) -> bool {
        self.unsealed && self.stopped.is_none()
    }

    /// Writes all items as one group. The outcomes are in the items' order.
    pub(super) fn write(&mut self, items: Vec<Item>) -> (Vec<Outcome>, Option<Written>) {
        if let Err(error) = self.ready() {
            return (refuse_all(items, &error), None);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize(GROUP_HEADER, 0);
        let (segment, start) = (self.position.active.number, self.position.end);
        // The buffer begins with the group's header, so a position in it is one in the file.
        let mut plan = Plan::new(&self.groups, self.position.salt, segment, start, buffer);
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Item::Submission { ops, done, .. } => outcomes.push((done, plan.add(ops))),
                Item::Refused { error, done } => outcomes.push((done, Err(error))),
            }
        }
        self.to_drop.iter().for_each(|segment| plan.add_dropped(*segment));
        self.to_move.iter().for_each(|(header, payload)| plan.add_moved(*header, payload));
        let chains: Vec<_> = plan.chains().collect();
        let (buffer, directory, effects) = (plan.ops, plan.directory, plan.effects);
        if directory.is_empty() {
            self.buffer = buffer;
            return (outcomes, None);
        }
        let written = self.write_group(buffer, &directory, false);
        match &written {
            Ok(_) => self.apply(effects, chains),
            Err(error) => {
                let failed = |outcome: &mut Outcome| outcome.1 = outcome.1.clone().and(Err(error.clone()));
                outcomes.iter_mut().for_each(failed);
            }
        }
        // Whatever became of them, they are found again when space is next looked at.
        (self.to_drop, self.to_move) = Default::default();
        let submissions = outcomes.len();
        (outcomes, written.ok().map(|bytes| Written { bytes, submissions }))
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

    fn ready(&mut self) -> Result<(), WriteError> {
        if let Some(reason) = &self.stopped {
            return Err(WriteError::Stopped(reason.clone()));
        }
        if self.position.end >= self.segment_bytes { self.roll() } else { Ok(()) }
    }

    /// Fills in directory and header, writes and syncs. `buffer` begins with room for the header.
    fn write_group(
        &mut self,
        mut buffer: Vec<u8>,
        directory: &[(GroupId, u32)],
        checkpoint: bool,
    ) -> Result<usize, WriteError> {
        let header = finish_group(&mut buffer, directory, checkpoint, &self.position);
        let file = self.position.active.file.clone();
        let written = file.write_all_at(&buffer, self.position.end);
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
    fn roll(&mut self) -> Result<(), WriteError> {
        let number = self.position.active.number + 1;
        let (identity, salt) = (self.identity.clone(), self.position.salt);
        let segment_header = SegmentHeader { identity, salt, number: u64::from(number) };
        let mut buffer = vec![0; GROUP_HEADER];
        let directory = self.checkpoint(&mut buffer);
        let previous = finish_group(&mut buffer, &directory, true, &self.position);
        let mut bytes = segment_header.encode().to_vec();
        bytes.append(&mut buffer);
        let segment = match segment::create(&*self.disk, &self.data_dir, number, &bytes) {
            Ok(segment) => Arc::new(segment),
            Err(error) if is_full(&error) => {
                tracing::debug!(number, %error, "begin a segment: the disk is full");
                return Err(WriteError::NoSpace);
            }
            Err(error) => return Err(self.stop("begin the segment after", &error)),
        };
        self.shared.segments.insert(segment.clone());
        self.live.insert(number, 0);
        (self.position.active, self.position.end) = (segment, bytes.len() as u64);
        self.position.previous = previous;
        self.position.certify();
        self.unsealed = true;
        self.find_dead_segments();
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
            let members = group.membership.as_ref().map_or(&[][..], |(_, bytes)| bytes);
            let payload = Checkpoint::of(group).encode(members);
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
                    self.with(group, |g| g.membership = Some((index, bytes)));
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
        let state = HardState::default();
        self.groups.insert(group, GroupState { header, state, membership: None, chain: 0, log });
    }

    fn appended(&mut self, group: GroupId, first: u64, slots: Vec<Slot>) {
        let Some(state) = self.groups.get(&group) else { return };
        let active = self.live.entry(self.position.active.number).or_default();
        *active += slots.iter().map(weight).sum::<u64>();
        let cut = {
            let mut log = state.log.write();
            let cut = log.truncate(first);
            slots.into_iter().for_each(|slot| log.push(slot));
            cut
        };
        self.release(&cut);
    }

    fn removed(&mut self, group: GroupId) {
        self.shared.groups.write().remove(&group);
        if let Some(state) = self.groups.remove(&group) {
            let cut = state.log.write().truncate(0);
            self.release(&cut);
        }
    }

    fn moved(&mut self, group: GroupId, index: u64, slot: Slot) {
        let Some(state) = self.groups.get(&group) else { return };
        let old = state.log.write().replace(index, slot);
        *self.live.entry(slot.segment).or_default() += weight(&slot);
        self.release(old.as_slice());
    }

    fn release(&mut self, slots: &[Slot]) {
        for slot in slots.iter().filter(|slot| !slot.is_hole()) {
            if let Some(live) = self.live.get_mut(&slot.segment) {
                *live = live.saturating_sub(weight(slot));
            }
        }
    }
}

/// What an entry takes of its segment.
pub(super) fn weight(slot: &Slot) -> u64 {
    codec::OP_HEADER as u64 + u64::from(slot.length)
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

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn refuse_all(items: Vec<Item>, error: &WriteError) -> Vec<Outcome> {
    let outcome = |item| match item {
        Item::Submission { done, .. } => (done, Err(error.clone())),
        Item::Refused { error, done } => (done, Err(error)),
    };
    items.into_iter().map(outcome).collect()
}
