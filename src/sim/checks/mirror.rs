//! What is really on a broker's disk, kept beside the broker: made from the writes it hands to its log, at the moment the
//! disk has them. No check has to ask the broker for it, nor read the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronik_broker::log::{EntryKind, HardState, LogEntry, LogStart, Memberships, RecoveredGroup, WriteOp};
use chronik_core::ids::{GroupId, LogIndex, Offset, ReplicaId, Term};

use super::members::Change;
use crate::batch::{Tag, tag_of};

/// An entry in brief.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Digest {
    pub term: Term,
    pub base_offset: Offset,
    pub records: u32,
    pub size: u32,
    pub hash: u32,
    /// Where its batch comes from.
    pub tag: Option<Tag>,
    /// What it changes about the group's members, if it does.
    pub change: Option<Arc<Change>>,
}

impl Digest {
    pub fn of(entry: &LogEntry) -> Self {
        let tag = (entry.kind == EntryKind::Records).then(|| tag_of(&entry.payload)).flatten();
        Self {
            term: entry.term,
            base_offset: entry.base_offset,
            records: entry.records,
            size: entry.payload.len() as u32,
            hash: crc32c::crc32c(&entry.payload),
            tag,
            change: (entry.kind == EntryKind::Membership).then(|| Arc::new(Change::read(&entry.payload))),
        }
    }

    pub fn end_offset(&self) -> Offset {
        self.base_offset + Offset::from(self.records)
    }
}

/// A write operation in brief.
#[derive(Clone, Debug)]
pub enum MirrorOp {
    /// A replica's beginning, with the first voters of its group.
    Create(GroupId, ReplicaId, Vec<ReplicaId>),
    Append(GroupId, LogIndex, Vec<Digest>),
    State(GroupId, HardState),
    /// The members in force since an entry, as a hash of their bytes.
    Membership(GroupId, LogIndex, u32),
    /// Where the log begins, a hash of the snapshot, and what it stands for if all that was held goes.
    Start(GroupId, LogStart, Option<Vec<Digest>>, u32),
    Remove(GroupId),
}

/// One replica's log on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirror {
    pub replica: ReplicaId,
    pub start: LogStart,
    /// A hash of what came before the start.
    pub snapshot: u32,
    /// From the first on: also those that were here, and those of others, that the snapshot stands for.
    pub entries: Vec<Digest>,
    pub state: HardState,
    pub memberships: BTreeMap<LogIndex, u32>,
}

impl Mirror {
    /// An empty one.
    pub fn new(replica: ReplicaId) -> Self {
        Self {
            replica,
            start: LogStart::default(),
            snapshot: 0,
            entries: Vec::new(),
            state: HardState::default(),
            memberships: BTreeMap::new(),
        }
    }

    /// The entry at an index.
    pub fn at(&self, index: LogIndex) -> Option<&Digest> {
        self.entries.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// Index of the last entry.
    pub fn last(&self) -> LogIndex {
        self.entries.len() as u64
    }

    fn begin_at(&mut self, start: LogStart, stands_for: Option<&[Digest]>, snapshot: u32) {
        if let Some(others) = stands_for {
            self.entries = others.to_vec();
        }
        (self.start, self.snapshot) = (start, snapshot);
        self.state.commit = self.state.commit.max(start.before());
        let in_force = self.memberships.range(..start.index).next_back().map_or(0, |(index, _)| *index);
        self.memberships.retain(|index, _| *index >= in_force);
    }

    /// The batch that begins at an offset.
    pub fn at_offset(&self, offset: Offset) -> Option<&Digest> {
        let from = self.entries.partition_point(|entry| entry.end_offset() <= offset);
        self.entries[from..]
            .iter()
            .find(|entry| entry.records > 0)
            .filter(|entry| entry.base_offset == offset)
    }
}

/// All replicas on one disk.
pub type Disk = BTreeMap<GroupId, Mirror>;

/// Operations in brief.
pub fn brief(ops: &[WriteOp]) -> Vec<MirrorOp> {
    let brief = |op: &WriteOp| match op {
        WriteOp::CreateGroup { group, header } => {
            Some(MirrorOp::Create(*group, header.replica, header.voters.clone()))
        }
        WriteOp::Append { group, entries } => {
            let first = entries.first()?.index;
            Some(MirrorOp::Append(*group, first, entries.iter().map(Digest::of).collect()))
        }
        WriteOp::State { group, state } => Some(MirrorOp::State(*group, *state)),
        WriteOp::RemoveGroup { group } => Some(MirrorOp::Remove(*group)),
        WriteOp::Membership { group, index, bytes } => {
            Some(MirrorOp::Membership(*group, *index, crc32c::crc32c(bytes)))
        }
        WriteOp::Start { group, start, replace, snapshot } => {
            Some(MirrorOp::Start(*group, *start, replace.then(Vec::new), crc32c::crc32c(snapshot)))
        }
    };
    ops.iter().filter_map(brief).collect()
}

/// The write is on disk. Every replica is created before anything else of it is written.
pub fn apply(disk: &mut Disk, ops: &[MirrorOp]) {
    for op in ops {
        match op {
            MirrorOp::Create(group, replica, _) => drop(disk.insert(*group, Mirror::new(*replica))),
            MirrorOp::Append(group, first, entries) => {
                let Some(mirror) = disk.get_mut(group) else { continue };
                mirror.entries.truncate(*first as usize - 1);
                mirror.entries.extend_from_slice(entries);
            }
            MirrorOp::State(group, state) => {
                disk.entry(*group).and_modify(|mirror| mirror.state = *state);
            }
            MirrorOp::Membership(group, index, hash) => {
                disk.entry(*group).and_modify(|mirror| mirror.memberships.extend([(*index, *hash)]));
            }
            MirrorOp::Start(group, start, stands_for, snapshot) => {
                let begin = |mirror: &mut Mirror| mirror.begin_at(*start, stands_for.as_deref(), *snapshot);
                disk.entry(*group).and_modify(begin);
            }
            MirrorOp::Remove(group) => drop(disk.remove(group)),
        }
    }
}

/// Why what a restart found is not what was on disk. Replicas that it calls damaged are left out.
pub fn difference(disk: &Disk, found: &[RecoveredGroup]) -> Option<String> {
    for group in found.iter().filter(|group| group.damage.is_none()) {
        let Some(mirror) = disk.get(&group.group) else {
            return Some(format!("group {} was found and never written", group.group));
        };
        if let Some(what) = differs(mirror, group) {
            return Some(format!("group {}: {what}", group.group));
        }
    }
    let lost = disk.keys().find(|group| found.iter().all(|found| found.group != **group));
    lost.map(|group| format!("group {group} is gone"))
}

fn differs(mirror: &Mirror, found: &RecoveredGroup) -> Option<String> {
    if found.header.replica != mirror.replica {
        return Some(format!("replica {} was found, {} was written", found.header.replica, mirror.replica));
    }
    let memberships = hashes(&found.memberships);
    if memberships != mirror.memberships {
        return Some(format!("members {memberships:?} were found, {:?} were synced", mirror.memberships));
    }
    let (start, snapshot) = (found.log.start(), crc32c::crc32c(&found.snapshot));
    if (start, snapshot) != (mirror.start, mirror.snapshot) {
        return Some(format!(
            "start {start:?} was found, {:?} was synced, or another snapshot",
            mirror.start
        ));
    }
    if found.state != mirror.state {
        return Some(format!("state {:?} was found, {:?} was synced", found.state, mirror.state));
    }
    let metas = found.log.metas(1, found.log.last_index(), usize::MAX);
    let held = mirror.entries.get(start.before() as usize..).unwrap_or_default();
    if metas.len() != held.len() {
        return Some(format!("{} entries were found, {} were synced", metas.len(), held.len()));
    }
    let same = |(meta, digest): (&chronik_broker::log::EntryMeta, &Digest)| {
        (meta.term, meta.base_offset, meta.records, meta.size)
            == (digest.term, digest.base_offset, digest.records, digest.size)
    };
    let wrong = metas.iter().zip(held).find(|pair| !same(*pair));
    wrong.map(|(meta, digest)| format!("entry {meta:?} was found, {digest:?} was synced"))
}

/// Members as a mirror keeps them.
pub fn hashes(memberships: &Memberships) -> BTreeMap<LogIndex, u32> {
    memberships.iter().map(|(index, bytes)| (*index, crc32c::crc32c(bytes))).collect()
}
