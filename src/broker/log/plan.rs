//! One write group in the making: checks each submission against the log as it will be by then, encodes it, and
//! remembers what the indexes must learn once it is synced. Pure: touches neither files nor shared state.

use std::collections::HashMap;

use bytes::Bytes;
use chronik_core::ids::{GroupId, LogIndex, Offset, Term};

use super::batch::BatchHeader;
use super::codec::{self, MAX_PAYLOAD, OpHeader, OpKind};
use super::index::{Index, Slot};
use super::state::{Groups, encode_state};
use super::types::{EntryKind, GroupHeader, HardState, LogEntry, LogStart, WriteError, WriteOp};

/// What becomes true with the sync.
pub(super) enum Effect {
    Create(GroupId, GroupHeader),
    Entries(GroupId, LogIndex, Vec<Slot>),
    State(GroupId, HardState),
    Membership(GroupId, LogIndex, Bytes),
    Start(GroupId, LogStart, bool, Bytes),
    Remove(GroupId),
    Moved(GroupId, LogIndex, Slot),
    Dropped(u32),
}

/// A Raft group as it will be after what is planned so far.
#[derive(Clone)]
struct Staged {
    chain: u64,
    /// `None` while it does not exist.
    live: Option<StagedLog>,
}

#[derive(Clone, Default)]
struct StagedLog {
    state: HardState,
    start: LogStart,
    /// Entries up to here are in the index as they are; the rest are in `tail`.
    base: LogIndex,
    /// Term and end offset of each entry after `base`.
    tail: Vec<(Term, Offset)>,
}

impl StagedLog {
    fn last(&self) -> LogIndex {
        self.base + self.tail.len() as u64
    }

    /// Term and end offset of the entry at `index`, also of the one right before the start.
    fn place(&self, index: LogIndex, known: Option<&Index>) -> Option<(Term, Offset)> {
        if index <= self.start.before() {
            return (index == self.start.before()).then_some((self.start.term, self.start.offset));
        }
        match index.checked_sub(self.base + 1) {
            Some(at) => self.tail.get(usize::try_from(at).ok()?).copied(),
            None => known?.place(index),
        }
    }

    /// Lets it begin there.
    fn begin_at(&mut self, start: LogStart, replace: bool) {
        if replace {
            self.tail.clear();
            self.base = start.before();
        } else if start.before() > self.base {
            self.tail.drain(..(start.before() - self.base) as usize);
            self.base = start.before();
        }
        self.start = start;
        self.state.commit = self.state.commit.max(start.before());
    }
}

/// The write group being filled.
pub(super) struct Plan<'a> {
    groups: &'a Groups,
    salt: u32,
    segment: u32,
    /// Where the first operation will lie.
    start: u64,
    pub(super) ops: Vec<u8>,
    pub(super) directory: Vec<(GroupId, u32)>,
    pub(super) effects: Vec<Effect>,
    staged: HashMap<GroupId, Staged>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(groups: &'a Groups, salt: u32, segment: u32, start: u64, buffer: Vec<u8>) -> Self {
        let (directory, effects, staged) = Default::default();
        Self { groups, salt, segment, start, ops: buffer, directory, effects, staged }
    }

    /// Adds all of a submission, or nothing of it.
    pub(super) fn add(&mut self, ops: Vec<WriteOp>) -> Result<(), WriteError> {
        let mark = (self.ops.len(), self.directory.len(), self.effects.len());
        let mut before = HashMap::new();
        for op in ops {
            let group = op.group();
            before.entry(group).or_insert_with(|| self.staged.get(&group).cloned());
            if let Err(what) = self.add_op(op) {
                self.ops.truncate(mark.0);
                self.directory.truncate(mark.1);
                self.effects.truncate(mark.2);
                for (group, staged) in before {
                    match staged {
                        Some(staged) => self.staged.insert(group, staged),
                        None => self.staged.remove(&group),
                    };
                }
                return Err(WriteError::Refused(format!("group {group}: {what}")));
            }
        }
        Ok(())
    }

    /// Adds an entry's new place; `header` and `payload` are as they were read from the old one.
    pub(super) fn add_moved(&mut self, header: OpHeader, payload: &[u8]) {
        let position = self.position();
        let header = self.push(OpHeader { kind: OpKind::Moved, ..header }, payload);
        let slot = Slot::new(&header, self.segment, position);
        self.effects.push(Effect::Moved(header.group, header.index, slot));
    }

    /// Says that a segment is about to be deleted.
    pub(super) fn add_dropped(&mut self, segment: u32) {
        let mut header = OpHeader::plain(OpKind::DropSegment, GroupId(0), 0);
        header.index = u64::from(segment);
        self.push(header, &[]);
        self.effects.push(Effect::Dropped(segment));
    }

    fn add_op(&mut self, op: WriteOp) -> Result<(), String> {
        match op {
            WriteOp::CreateGroup { group, header } => self.create(group, header),
            WriteOp::Append { group, entries } => self.append(group, &entries),
            WriteOp::State { group, state } => self.add_state(group, state),
            WriteOp::Membership { group, index, bytes } => self.membership(group, index, bytes),
            WriteOp::Start { group, start, replace, snapshot } => {
                self.begin_at(group, start, replace, snapshot)
            }
            WriteOp::RemoveGroup { group } => self.remove(group),
        }
    }

    fn create(&mut self, group: GroupId, header: GroupHeader) -> Result<(), String> {
        if group.0 == 0 {
            return Err("group 0 is the journal itself".to_owned());
        }
        let staged = self.stage(group);
        if staged.live.is_some() {
            return Err("it exists already".to_owned());
        }
        // A group that comes anew counts from 1 again: that is how recovery tells it from the old one.
        staged.chain = 0;
        staged.live = Some(StagedLog::default());
        let payload = serde_json::to_vec(&header).map_err(|error| error.to_string())?;
        self.push(OpHeader::plain(OpKind::Create, group, 0), &payload);
        self.effects.push(Effect::Create(group, header));
        Ok(())
    }

    fn append(&mut self, group: GroupId, entries: &[LogEntry]) -> Result<(), String> {
        let Some(first) = entries.first().map(|entry| entry.index) else { return Ok(()) };
        let (mut term, mut end) = self.before(group, first)?;
        let mut slots = Vec::with_capacity(entries.len());
        for (index, entry) in (first..).zip(entries) {
            check_entry(entry, index, term, end)?;
            (term, end) = (entry.term, end + Offset::from(entry.records));
            let position = self.position();
            let header = self.push(entry_header(group, entry), &entry.payload);
            slots.push(Slot::new(&header, self.segment, position));
            let log = self.live(group)?;
            log.tail.push((term, end));
        }
        self.effects.push(Effect::Entries(group, first, slots));
        Ok(())
    }

    /// Cuts the staged log so that `first` comes next; gives term and end offset of the entry before.
    fn before(&mut self, group: GroupId, first: LogIndex) -> Result<(Term, Offset), String> {
        let groups = self.groups;
        let log = self.live(group)?;
        if first < log.start.index || first > log.last() + 1 {
            let (start, last) = (log.start.index, log.last());
            return Err(format!("entry {first} does not follow the log, {start} to {last}"));
        }
        if first <= log.state.commit {
            return Err(format!(
                "entry {first} would replace one at or below the commit {}",
                log.state.commit
            ));
        }
        if first <= log.base {
            log.base = first - 1;
            log.tail.clear();
        } else {
            log.tail.truncate((first - 1 - log.base) as usize);
        }
        let index = groups.get(&group).map(|group| group.log.read());
        log.place(first - 1, index.as_deref()).ok_or_else(|| format!("entry {} is not known", first - 1))
    }

    fn begin_at(
        &mut self,
        group: GroupId,
        start: LogStart,
        replace: bool,
        snapshot: Bytes,
    ) -> Result<(), String> {
        check_payload(&snapshot)?;
        let groups = self.groups;
        let log = self.live(group)?;
        if start.index < log.start.index {
            return Err(format!("start {start:?} would go back from {:?}", log.start));
        }
        if replace && start.before() < log.state.commit {
            return Err(format!("start {start:?} would replace what is committed to {}", log.state.commit));
        }
        if !replace {
            let index = groups.get(&group).map(|group| group.log.read());
            let place = log.place(start.before(), index.as_deref());
            if place != Some((start.term, start.offset)) {
                return Err(format!("start {start:?} is not in the log, which holds {place:?} before it"));
            }
        }
        log.begin_at(start, replace);
        let mut header = OpHeader::plain(OpKind::Start, group, 0);
        (header.index, header.term, header.base_offset) = (start.index, start.term, start.offset);
        header.records = u32::from(replace);
        self.push(header, &snapshot);
        self.effects.push(Effect::Start(group, start, replace, snapshot));
        Ok(())
    }

    fn add_state(&mut self, group: GroupId, state: HardState) -> Result<(), String> {
        let log = self.live(group)?;
        if state.commit > log.last() {
            return Err(format!("commit {} is beyond the log's end {}", state.commit, log.last()));
        }
        if state.term < log.state.term || state.commit < log.state.commit {
            return Err(format!("{state:?} would go back from {:?}", log.state));
        }
        log.state = state;
        let mut header = OpHeader::plain(OpKind::State, group, 0);
        (header.term, header.index) = (state.term, state.commit);
        self.push(header, &encode_state(state));
        self.effects.push(Effect::State(group, state));
        Ok(())
    }

    fn membership(&mut self, group: GroupId, index: LogIndex, bytes: Bytes) -> Result<(), String> {
        self.live(group)?;
        check_payload(&bytes)?;
        let mut header = OpHeader::plain(OpKind::Membership, group, 0);
        header.index = index;
        self.push(header, &bytes);
        self.effects.push(Effect::Membership(group, index, bytes));
        Ok(())
    }

    fn remove(&mut self, group: GroupId) -> Result<(), String> {
        self.live(group)?;
        self.push(OpHeader::plain(OpKind::Remove, group, 0), &[]);
        self.stage(group).live = None;
        self.effects.push(Effect::Remove(group));
        Ok(())
    }

    fn stage(&mut self, group: GroupId) -> &mut Staged {
        self.staged.entry(group).or_insert_with(|| match self.groups.get(&group) {
            None => Staged { chain: 0, live: None },
            Some(known) => {
                let log = known.log.read();
                let live =
                    StagedLog { state: known.state, start: log.start, base: log.last(), tail: Vec::new() };
                Staged { chain: known.chain, live: Some(live) }
            }
        })
    }

    fn live(&mut self, group: GroupId) -> Result<&mut StagedLog, String> {
        self.stage(group).live.as_mut().ok_or_else(|| "it does not exist".to_owned())
    }

    fn position(&self) -> u32 {
        u32::try_from(self.start + self.ops.len() as u64).expect("segments stay below 4 GiB")
    }

    /// Encodes an operation as the next in its group's chain.
    fn push(&mut self, mut header: OpHeader, payload: &[u8]) -> OpHeader {
        let group = header.group;
        if group.0 != 0 {
            let staged = self.stage(group);
            staged.chain = staged.chain.wrapping_add(1);
            header.chain = staged.chain;
        }
        let length = codec::encode_op(&mut self.ops, self.salt, header, payload);
        self.directory.push((group, length));
        header.payload_length = payload.len() as u32;
        header
    }

    /// The chains as they are once the plan is synced.
    pub(super) fn chains(&self) -> impl Iterator<Item = (GroupId, u64)> {
        self.staged.iter().map(|(group, staged)| (*group, staged.chain))
    }
}

impl WriteOp {
    /// The group it changes.
    pub fn group(&self) -> GroupId {
        match self {
            Self::CreateGroup { group, .. }
            | Self::Append { group, .. }
            | Self::State { group, .. }
            | Self::Membership { group, .. }
            | Self::Start { group, .. }
            | Self::RemoveGroup { group } => *group,
        }
    }
}

fn entry_header(group: GroupId, entry: &LogEntry) -> OpHeader {
    let producer = entry.producer;
    OpHeader {
        entry_kind: entry.kind,
        index: entry.index,
        term: entry.term,
        base_offset: entry.base_offset,
        records: entry.records,
        max_timestamp: entry.max_timestamp,
        producer_id: producer.map_or(-1, |p| p.id),
        producer_epoch: producer.map_or(-1, |p| p.epoch),
        base_sequence: producer.map_or(-1, |p| p.base_sequence),
        ..OpHeader::plain(OpKind::Entry, group, 0)
    }
}

fn check_payload(payload: &[u8]) -> Result<(), String> {
    if payload.len() > MAX_PAYLOAD {
        return Err(format!("a payload of {} bytes; at most {MAX_PAYLOAD} are allowed", payload.len()));
    }
    Ok(())
}

/// An entry must follow the one before it, and say of itself what its batch says.
fn check_entry(entry: &LogEntry, index: LogIndex, term: Term, end: Offset) -> Result<(), String> {
    check_payload(&entry.payload)?;
    if entry.index != index {
        return Err(format!("entry {} where {index} was to come", entry.index));
    }
    if entry.term < term {
        return Err(format!("entry {index} has term {} after term {term}", entry.term));
    }
    if entry.base_offset != end {
        return Err(format!("entry {index} has base offset {}, the log ends at {end}", entry.base_offset));
    }
    if entry.kind != EntryKind::Records {
        let nothing = entry.records == 0 && entry.max_timestamp == -1 && entry.producer.is_none();
        return if nothing { Ok(()) } else { Err(format!("entry {index} is no batch, yet it has records")) };
    }
    let batch = BatchHeader::parse(&entry.payload).map_err(|error| format!("entry {index}: {error}"))?;
    let told = (entry.base_offset, entry.records, entry.max_timestamp, entry.producer, entry.payload.len());
    let is = (batch.base_offset, batch.records(), batch.max_timestamp, batch.producer(), batch.size);
    if told != is || entry.records == 0 {
        return Err(format!("entry {index} says {told:?} of its batch, which says {is:?}"));
    }
    Ok(())
}
