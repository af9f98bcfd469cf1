//! What the log should hold, kept as plainly as can be.

use std::collections::BTreeMap;

use super::*;

/// What a replica must hold.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Held {
    pub(super) start: LogStart,
    pub(super) snapshot: Bytes,
    pub(super) state: HardState,
    pub(super) memberships: BTreeMap<LogIndex, Bytes>,
    pub(super) entries: Vec<LogEntry>,
}

pub(super) type Snapshot = BTreeMap<GroupId, Held>;

impl Held {
    /// What was found.
    pub(super) fn of(found: &RecoveredGroup) -> Self {
        Self {
            start: found.log.start(),
            snapshot: found.snapshot.clone(),
            state: found.state,
            memberships: found.memberships.clone(),
            entries: all(&found.log),
        }
    }

    pub(super) fn last(&self) -> LogIndex {
        self.start.before() + self.entries.len() as u64
    }

    /// Term and end offset of the last entry, held or not.
    pub(super) fn end(&self) -> (Term, Offset) {
        let last = self.entries.last();
        last.map_or((self.start.term, self.start.offset), |e| {
            (e.term, e.base_offset + Offset::from(e.records))
        })
    }

    fn begin_at(&mut self, start: LogStart, replace: bool) {
        self.entries.retain(|entry| !replace && entry.index >= start.index);
        self.start = start;
        self.state.commit = self.state.commit.max(start.before());
        let in_force = self.memberships.keys().copied().filter(|index| *index < start.index).max();
        self.memberships.retain(|index, _| *index >= in_force.unwrap_or(0));
    }
}

pub(super) fn take_in(held: &mut Snapshot, op: WriteOp) {
    let group = op.group();
    match op {
        WriteOp::CreateGroup { .. } => drop(held.insert(group, Held::default())),
        WriteOp::RemoveGroup { .. } => drop(held.remove(&group)),
        WriteOp::Append { entries, .. } => {
            let log = &mut held.get_mut(&group).unwrap().entries;
            log.retain(|entry| entry.index < entries[0].index);
            log.extend(entries);
        }
        WriteOp::State { state, .. } => held.get_mut(&group).unwrap().state = state,
        WriteOp::Membership { index, bytes, .. } => {
            held.get_mut(&group).unwrap().memberships.insert(index, bytes);
        }
        WriteOp::Start { start, replace, snapshot, .. } => {
            let held = held.get_mut(&group).unwrap();
            held.begin_at(start, replace);
            held.snapshot = snapshot;
        }
    }
}
