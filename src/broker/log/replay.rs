//! What the operations of a journal amount to, and which replicas were hit where some are damaged. Pure.
//!
//! A replica is taken for whole only if its chain of operations has no gap, and reaches beyond every place where
//! operations were lost of which nobody can tell whose they were: through a later operation or a checkpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chronik_core::ids::{Generation, GroupId, LogIndex, ReplicaId};

use super::codec::{LAST, OP_HEADER, OpHeader, OpKind};
use super::index::{Index, Slot};
use super::scan::{Body, Found};
use super::segment;
use super::state::{Checkpoint, Decoded, Memberships, decode_state, forget_members_before};
use super::types::{Damage, GroupHeader, GroupKind, HardState, LogStart};

/// One Raft group as far as it was replayed.
pub(super) struct Replica {
    pub(super) header: GroupHeader,
    pub(super) state: HardState,
    pub(super) memberships: Memberships,
    pub(super) snapshot: Bytes,
    pub(super) chain: u64,
    pub(super) index: Index,
    pub(super) damage: Option<Damage>,
    /// Entries of which only the payload is damaged: it does no harm once they are cut, replaced or moved.
    unreadable: BTreeMap<LogIndex, Damage>,
    /// The same of the snapshot.
    unreadable_snapshot: Option<Damage>,
    /// The step at which its chain was last confirmed.
    proven: u64,
}

/// Replays a journal, segment by segment.
pub(super) struct Replay {
    data_dir: PathBuf,
    file: PathBuf,
    segment: u32,
    /// The segment before `segment` that is there, and whether it is the one that was written before.
    before: u32,
    pub(super) replicas: HashMap<GroupId, Replica>,
    faults: Faults,
    step: u64,
    /// The last place where operations of unknown groups were lost, and when.
    unattributed: Option<(u64, Damage)>,
    /// Whether a whole checkpoint has named every group since then.
    named_since: bool,
    /// Where anything was lost last: what a gap in a chain is put down to.
    last_loss: Option<Damage>,
    /// Replicas that changed in segments that are not there: (group, segments before and after).
    jumps: Vec<(GroupId, u32, u32)>,
    /// Segments that must be there.
    expected: BTreeSet<u32>,
    /// Entries that the journal can hold at most, by its size: no more holes can still be filled.
    most: u64,
}

/// Places where something is not what was written, each once.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) listed: Vec<Damage>,
    /// How many more there were.
    pub(super) more: u64,
}

/// Faults that are listed; more are only counted.
const FAULTS: usize = 1_000;

impl Faults {
    fn note(&mut self, damage: &Damage) {
        if self.listed.contains(damage) {
            return;
        }
        if self.listed.len() < FAULTS {
            self.listed.push(damage.clone());
        } else {
            self.more += 1;
        }
    }
}

/// Replays result in this.
pub(super) struct Replayed {
    pub(super) replicas: HashMap<GroupId, Replica>,
    pub(super) faults: Faults,
    pub(super) unattributed: Option<Damage>,
    /// Segments the journal still counts on.
    pub(super) expected: BTreeSet<u32>,
}

impl Replay {
    /// Of a journal of so many `bytes`.
    pub(super) fn new(data_dir: &Path, bytes: u64) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            file: PathBuf::new(),
            segment: 0,
            before: 0,
            replicas: HashMap::new(),
            faults: Faults::default(),
            step: 0,
            unattributed: None,
            named_since: true,
            last_loss: None,
            jumps: Vec::new(),
            expected: BTreeSet::new(),
            most: bytes / OP_HEADER as u64,
        }
    }

    pub(super) fn begin_segment(&mut self, number: u32) {
        self.before = self.segment;
        self.segment = number;
        self.file = segment::path(&self.data_dir, number);
        self.expected.insert(number);
    }

    /// Whether segments before this one are not there.
    pub(super) fn after_gap(&self) -> bool {
        self.segment != self.before + 1
    }

    /// Operations were lost, nobody knows whose.
    pub(super) fn lost(&mut self, at: usize, what: String) {
        self.lost_in(self.file.clone(), at, what);
    }

    /// The same, in a file of the caller's choice.
    pub(super) fn lost_in(&mut self, file: PathBuf, at: usize, what: String) {
        self.step += 1;
        let damage = Damage { file, offset: at as u64, what };
        tracing::error!(%damage, "the journal is damaged");
        self.faults.note(&damage);
        self.last_loss = Some(damage.clone());
        self.unattributed = Some((self.step, damage));
        self.named_since = false;
    }

    /// Replays what a write group holds.
    pub(super) fn body(&mut self, body: &Body<'_>, at: usize, checkpoint: bool) {
        if body.untraced > 0 {
            self.lost(at, format!("{} operations of this write group are unreadable", body.untraced));
        }
        let lost = self.unattributed.clone().filter(|_| body.untraced > 0);
        let mut named = HashSet::new();
        for found in &body.found {
            self.step += 1;
            match found {
                Found::Lost { at, group } => self.lost_op(*at, *group),
                Found::Op { at, header, payload } => {
                    named.insert(header.group);
                    self.op(*at, header, *payload);
                }
            }
        }
        if let Some((_, damage)) = lost {
            // They may have come after those that were found, which therefore prove nothing.
            self.step += 1;
            self.unattributed = Some((self.step, damage));
        }
        if checkpoint && body.untraced == 0 && !body.found.iter().any(|f| matches!(f, Found::Lost { .. })) {
            self.replicas.retain(|group, _| named.contains(group));
            self.named_since = true;
        }
    }

    fn damage(&self, at: usize, what: String) -> Damage {
        Damage { file: self.file.clone(), offset: at as u64, what }
    }

    fn lost_op(&mut self, at: usize, group: GroupId) {
        let damage = self.damage(at, "an operation's header is unreadable".to_owned());
        self.faults.note(&damage);
        self.last_loss = Some(damage.clone());
        if group.0 != 0 {
            self.hit(group, damage);
        }
    }

    /// Charges a replica, which is made up if nothing is known of it.
    fn hit(&mut self, group: GroupId, damage: Damage) -> &mut Replica {
        self.faults.note(&damage);
        let replica = self.replicas.entry(group).or_insert_with(Replica::unknown);
        if replica.damage.is_none() {
            tracing::error!(%group, %damage, "a replica is damaged");
            replica.damage = Some(damage);
        }
        replica
    }

    fn op(&mut self, at: usize, header: &OpHeader, payload: Option<&[u8]>) {
        let of_the_journal = matches!(header.kind, OpKind::Manifest | OpKind::DropSegment);
        if of_the_journal != (header.group.0 == 0) {
            return self
                .lost(at, format!("{:?} cannot be an operation of group {}", header.kind, header.group));
        }
        match header.kind {
            OpKind::Manifest => self.manifest(payload),
            OpKind::DropSegment => {
                self.expected.remove(&u32::try_from(header.index).unwrap_or(0));
            }
            OpKind::Checkpoint => self.checkpoint(at, header, payload),
            OpKind::Create => self.create(at, header, payload),
            _ => self.change(at, header, payload),
        }
    }

    /// An unreadable manifest leaves the older one in force, which asks for no fewer segments.
    fn manifest(&mut self, payload: Option<&[u8]>) {
        let Some(payload) = payload else { return };
        let listed = payload.chunks_exact(4).map(|n| u32::from_le_bytes([n[0], n[1], n[2], n[3]]));
        self.expected = listed.chain([self.segment]).collect();
    }

    fn create(&mut self, at: usize, header: &OpHeader, payload: Option<&[u8]>) {
        let mut replica = Replica { chain: header.chain, proven: self.step, ..Replica::unknown() };
        match payload.and_then(|payload| serde_json::from_slice(payload).ok()) {
            Some(header) => replica.header = header,
            None => {
                let damage = self.damage(at, "the replica's header is unreadable".to_owned());
                self.faults.note(&damage);
                replica.damage = Some(damage);
            }
        }
        self.replicas.insert(header.group, replica);
    }

    fn checkpoint(&mut self, at: usize, header: &OpHeader, payload: Option<&[u8]>) {
        let (step, jump) = (self.step, self.after_gap());
        let group = header.group;
        let Some(decoded) = payload.and_then(Checkpoint::decode) else {
            let damage = self.damage(at, "the replica's checkpoint is unreadable".to_owned());
            let replica = self.hit(group, damage);
            (replica.chain, replica.proven) = (header.chain, step);
            return;
        };
        let known = self.replicas.get(&group).is_some_and(|replica| replica.chain == header.chain);
        if !known {
            if jump {
                self.jumps.push((group, self.before, self.segment));
                self.replicas.entry(group).or_insert_with(Replica::unknown);
            } else {
                let damage = self.loss_before(at);
                self.hit(group, damage);
            }
        }
        let most = self.most;
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let last = decoded.checkpoint.last;
        replica.proven = step;
        replica.damage = replica.damage.take().or(decoded.checkpoint.damage.clone());
        replica.unreadable_snapshot = None;
        if !known {
            replica.chain = header.chain;
            replica.adopt(decoded, most);
        } else {
            replica.snapshot = decoded.snapshot;
        }
        if replica.index.last() < last {
            let what = format!("the journal is too small for the entries up to {last}");
            let damage = self.damage(at, what);
            self.hit(group, damage);
        }
    }

    /// What a gap in a chain is put down to: the last place where something was lost, else where it shows.
    fn loss_before(&self, at: usize) -> Damage {
        let here = || self.damage(at, "operations before this one are missing".to_owned());
        self.last_loss.clone().unwrap_or_else(here)
    }

    fn change(&mut self, at: usize, header: &OpHeader, payload: Option<&[u8]>) {
        let group = header.group;
        if self.replicas.get(&group).is_none_or(|replica| replica.chain.wrapping_add(1) != header.chain) {
            let damage = self.loss_before(at);
            self.hit(group, damage);
        }
        if header.kind == OpKind::Remove {
            self.replicas.remove(&group);
            return;
        }
        let what = || format!("the payload of {:?} {} is unreadable", header.kind, header.index);
        let unreadable = payload.is_none().then(|| self.damage(at, what()));
        if let Some(damage) = &unreadable {
            self.faults.note(damage);
        }
        let slot = Slot::new(header, self.segment, at as u32);
        let most = self.most;
        let wrong = self.replicas.get_mut(&group).is_some_and(|replica| {
            (replica.chain, replica.proven) = (header.chain, self.step);
            !replica.change(header, slot, payload, unreadable, most)
        });
        if wrong {
            let damage = self.damage(at, format!("{:?} {} does not fit the log", header.kind, header.index));
            self.hit(group, damage);
        }
    }

    /// Judges what is there in the end. `last` and `end` are where the journal was found to end.
    pub(super) fn finish(mut self, present: &[u32], last: &Path, end: usize) -> Replayed {
        let missing: Vec<u32> = self.expected.iter().copied().filter(|n| !present.contains(n)).collect();
        for (group, before, after) in std::mem::take(&mut self.jumps) {
            if let Some(number) = missing.iter().find(|number| (before..after).contains(number)) {
                let file = segment::path(&self.data_dir, *number);
                self.hit(group, Damage { file, offset: 0, what: "the segment is missing".to_owned() });
            }
        }
        let groups: Vec<GroupId> = self.replicas.keys().copied().collect();
        for group in groups {
            if let Some(damage) = self.flaw(group, last, end) {
                self.hit(group, damage);
            }
            if let Some(replica) = self.replicas.get_mut(&group) {
                replica.index.rebuild();
            }
        }
        let unattributed = self.unattributed.filter(|_| !self.named_since).map(|(_, damage)| damage);
        Replayed { replicas: self.replicas, faults: self.faults, unattributed, expected: self.expected }
    }

    /// Why a replica cannot be taken for whole.
    fn flaw(&self, group: GroupId, last_file: &Path, end: usize) -> Option<Damage> {
        let replica = self.replicas.get(&group)?;
        if let Some((step, damage)) = &self.unattributed
            && *step > replica.proven
        {
            return Some(damage.clone());
        }
        let unreadable = replica.unreadable.values().next().or(replica.unreadable_snapshot.as_ref());
        if unreadable.is_some() {
            return unreadable.cloned();
        }
        if replica.state.commit > replica.index.last() {
            let (last, commit) = (replica.index.last(), replica.state.commit);
            let what = format!("the log ends at entry {last}, {commit} were committed");
            return Some(Damage { file: last_file.to_owned(), offset: end as u64, what });
        }
        let (at, what) = replica.index.flaw()?;
        let (index, slot) = (replica.index.first() + at as u64, replica.index.slots[at]);
        let file = segment::path(&self.data_dir, slot.segment.max(1));
        Some(Damage { file, offset: u64::from(slot.position), what: format!("entry {index}: {what}") })
    }
}

impl Replica {
    /// A group of which nothing is known yet.
    fn unknown() -> Self {
        let header = GroupHeader {
            kind: GroupKind::Partition,
            topic: None,
            partition: -1,
            replica: ReplicaId(0),
            voters: Vec::new(),
            learners: Vec::new(),
            generation: Generation::BIRTH,
            founders: Vec::new(),
        };
        Self {
            header,
            state: HardState::default(),
            memberships: Memberships::new(),
            snapshot: Bytes::new(),
            chain: 0,
            index: Index::default(),
            damage: None,
            unreadable: BTreeMap::new(),
            unreadable_snapshot: None,
            proven: 0,
        }
    }

    /// Takes over what a checkpoint says. Entries it counts and that were not seen are holes for now: the entries
    /// may have been moved to a later segment.
    fn adopt(&mut self, Decoded { checkpoint, memberships, snapshot }: Decoded, most: u64) {
        self.header = checkpoint.header;
        self.state = checkpoint.state;
        self.truncate(checkpoint.last.saturating_add(1));
        let known = self.index.first()..=self.index.last() + 1;
        let replace = !known.contains(&checkpoint.start.index);
        self.begin_at(checkpoint.start, replace);
        self.index.extend_to(checkpoint.last, most);
        (self.memberships, self.snapshot) = (memberships, snapshot);
    }

    fn truncate(&mut self, index: LogIndex) {
        self.index.truncate(index);
        self.unreadable.split_off(&index);
    }

    fn begin_at(&mut self, start: LogStart, replace: bool) {
        self.index.begin_at(start, replace);
        self.unreadable = if replace { BTreeMap::new() } else { self.unreadable.split_off(&start.index) };
        self.state.commit = self.state.commit.max(start.before());
        forget_members_before(&mut self.memberships, start);
    }

    /// False if the operation cannot follow what is there.
    fn change(
        &mut self,
        header: &OpHeader,
        slot: Slot,
        payload: Option<&[u8]>,
        unreadable: Option<Damage>,
        most: u64,
    ) -> bool {
        match header.kind {
            OpKind::Entry => {
                if !(self.index.first()..=LAST).contains(&header.index) {
                    return false;
                }
                self.truncate(header.index);
                self.unreadable.extend(unreadable.map(|damage| (header.index, damage)));
                let fits = self.index.extend_to(header.index - 1, most);
                self.index.push(slot);
                fits
            }
            OpKind::Moved => {
                self.unreadable.remove(&header.index);
                self.unreadable.extend(unreadable.map(|damage| (header.index, damage)));
                self.index.replace(header.index, slot).is_some()
            }
            OpKind::Start => self.change_start(header, payload, unreadable),
            OpKind::State => match payload.map(decode_state) {
                Some(Some(state)) => {
                    self.state = state;
                    true
                }
                Some(None) => false,
                None => self.damage_by(unreadable),
            },
            OpKind::Membership => match payload {
                Some(payload) => {
                    self.memberships.insert(header.index, Bytes::copy_from_slice(payload));
                    true
                }
                None => self.damage_by(unreadable),
            },
            _ => false,
        }
    }

    fn damage_by(&mut self, unreadable: Option<Damage>) -> bool {
        self.damage = self.damage.take().or(unreadable);
        true
    }

    fn change_start(
        &mut self,
        header: &OpHeader,
        payload: Option<&[u8]>,
        unreadable: Option<Damage>,
    ) -> bool {
        let start = LogStart { index: header.index, term: header.term, offset: header.base_offset };
        let replace = header.records != 0;
        let fits = (self.index.first()..=LAST).contains(&start.index)
            && (replace || start.before() <= self.index.last());
        if fits {
            self.begin_at(start, replace);
            self.snapshot = payload.map_or(Bytes::new(), Bytes::copy_from_slice);
            self.unreadable_snapshot = unreadable;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_the_journal_has_no_room_for_take_no_memory() {
        let group = GroupId(16);
        let header = Replica::unknown().header;
        let payload = Decoded::bare(header, HardState::default(), LogStart::default(), 1 << 27).encode();
        let header = OpHeader::plain(OpKind::Checkpoint, group, 9);
        let mut replay = Replay::new(Path::new("data"), 10 * OP_HEADER as u64);
        replay.begin_segment(5);
        replay.op(128, &header, Some(&payload));
        let replica = &replay.finish(&[5], Path::new("last"), 1_000).replicas[&group];
        assert_eq!(replica.index.slots.len(), 0);
        let damage = replica.damage.as_ref().expect("the entries are not there");
        assert_eq!(damage.what, "the journal is too small for the entries up to 134217728");
    }
}
