//! The properties that hold in every run, checked against what really happened: what is on the disks (`mirror`), what was
//! committed, what clients were told. Nothing here asks a broker for its opinion where the truth can be had.

mod answers;
mod changes;
mod end;
mod members;
pub mod mirror;
mod moves;
mod permits;
mod progress;
mod quiet;
mod recovery;
mod replicas;
mod stops;
mod voters;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chronik_broker::replica::Acks;
use chronik_core::ids::{BrokerId, GroupId, LogIndex, Offset, Term};
use chronik_core::metadata::ClusterState;

use self::members::History;
use self::mirror::{Digest, Disk, MirrorOp};
use self::moves::{Moving, Replicas};
use self::permits::Permitted;
use self::recovery::Rebuilt;
use crate::batch::Tag;
use crate::time::Micros;
use crate::world::{M, World};

/// A property that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    pub property: &'static str,
    pub what: String,
}

/// One group's truth.
#[derive(Default)]
pub struct Truth {
    /// The committed log.
    pub committed: Vec<Digest>,
    /// Its members at each point of that log.
    members: History,
    /// By term, the place in that history at which its leader was seen last.
    led_at: BTreeMap<Term, usize>,
    /// Offset and operation of every batch acknowledged to acks=all.
    pub acknowledged: BTreeMap<Offset, (u32, u32)>,
    /// Up to where somebody was shown records, or told that they are safe, by the epoch of who did.
    exposed: BTreeMap<Term, Offset>,
    /// The highest high watermark that a leader had.
    high_watermark: LogIndex,
    /// Who led each term.
    leaders: BTreeMap<Term, M>,
    /// When each of them was elected.
    elected: BTreeMap<Term, Micros>,
    /// The last committed operation of each idempotent producer.
    last_op: BTreeMap<u32, u32>,
    /// ISR and leader of every view that a leader published.
    views: BTreeMap<(Term, u64), (BrokerId, Vec<BrokerId>)>,
    /// The recovery from which it went on, if it did.
    rebuilt: Option<Rebuilt>,
    /// The last operation of each producer that was committed and lost in a recovery.
    lost_ops: BTreeMap<u32, u32>,
}

impl Truth {
    fn expose(&mut self, epoch: Term, end: Offset) {
        let known = self.exposed.entry(epoch).or_default();
        *known = (*known).max(end);
    }
}

/// Everything that is known to be true.
#[derive(Default)]
pub struct Checks {
    pub disks: Vec<Disk>,
    /// What a write under way would make of a disk whose process ended meanwhile.
    uncertain: Vec<Option<Vec<MirrorOp>>>,
    pub groups: BTreeMap<GroupId, Truth>,
    /// Attempts that were refused: they must never be found in a log.
    refused: BTreeSet<Tag>,
    idempotent: BTreeSet<u32>,
    /// Metadata by index, as first seen.
    metadata: BTreeMap<u64, u32>,
    /// The newest metadata that anybody has applied.
    pub newest_metadata: Option<Arc<ClusterState>>,
    replicas: Replicas,
    /// Since when a partition has had no leader, although it could have one.
    leaderless: BTreeMap<usize, Micros>,
    /// Which history of the metadata is the cluster's: those of lower numbers are void.
    generation: u32,
    /// Moves under way.
    moves: BTreeMap<GroupId, Moving>,
    /// Permits to stop, and who asked for them.
    permits: Permitted,
}

impl Checks {
    pub fn new(machines: usize) -> Self {
        Self { disks: vec![Disk::new(); machines], uncertain: vec![None; machines], ..Self::default() }
    }

    /// An attempt was refused before anything was appended.
    pub fn refused(&mut self, tag: Tag) {
        self.refused.insert(tag);
    }

    /// An attempt went out.
    pub fn sent(&mut self, tag: Tag, _acks: Acks, idempotent: bool) {
        if idempotent {
            self.idempotent.insert(tag.client);
        }
    }

    /// Another disk is in a machine; gives what was uncertain about the one before.
    pub fn exchange_uncertain(&mut self, at: M, ops: Option<Vec<MirrorOp>>) -> Option<Vec<MirrorOp>> {
        std::mem::replace(&mut self.uncertain[at], ops)
    }

    /// A process ended while a write was under way.
    pub fn interrupted(&mut self, at: M, ops: Option<Vec<MirrorOp>>) {
        self.uncertain[at] = ops;
    }
}

impl World {
    /// A property does not hold: the run ends.
    pub fn fail(&mut self, property: &'static str, what: String) {
        if self.violation.is_none() {
            self.note([99, 0, 0], || format!("VIOLATED: {property}: {what}"));
            self.violation = Some(Violation { property, what });
        }
    }

    /// A snapshot of another's log stands for what is committed.
    pub fn look_at_starts(&mut self, at: M, ops: &mut [MirrorOp]) {
        for op in ops {
            let MirrorOp::Start(group, start, Some(stands_for), _) = op else { continue };
            let truth = self.checks.groups.get(group);
            let cut = truth.and_then(|truth| truth.committed.get(..start.before() as usize));
            let place = cut.and_then(<[Digest]>::last).map(|last| (last.term, last.end_offset()));
            if place != Some((start.term, start.offset)) {
                let text = format!("b{}, group {group}: {start:?} behind {place:?}", at + 1);
                return self.fail("a log begins behind what is committed", text);
            }
            *stands_for = cut.unwrap_or_default().to_vec();
        }
    }

    /// A write was handed to the log.
    pub fn check_write(&mut self, at: M, ops: &[MirrorOp]) {
        for op in ops {
            match op {
                MirrorOp::Create(group, _, voters) => self.check_beginning(at, *group, voters),
                MirrorOp::Remove(group) => self.check_removal(at, *group),
                MirrorOp::Append(group, first, entries) => self.check_appended(at, *group, *first, entries),
                MirrorOp::Start(_, _, Some(_), _) => self.coverage.count("metadata: snapshot installed"),
                MirrorOp::Start(..) => self.coverage.count("metadata: log shortened"),
                MirrorOp::State(..) | MirrorOp::Membership(..) => {}
            }
        }
    }

    fn check_appended(&mut self, at: M, group: GroupId, first: LogIndex, entries: &[Digest]) {
        let mut tags = entries.iter().filter_map(|entry| entry.tag);
        if let Some(tag) = tags.find(|tag| self.checks.refused.contains(tag)) {
            let text =
                format!("b{}, group {group}, from {first}: {tag:?} was refused and is in the log", at + 1);
            return self.fail("a refused batch is absent", text);
        }
        for (index, entry) in (first..).zip(entries) {
            self.note_parked(at, group, index, entry);
            self.check_change_of_voters(at, group, index, entry);
        }
    }

    /// A leader writes a batch that it had put aside: what it went by is looked at after this round.
    fn note_parked(&mut self, at: M, group: GroupId, index: LogIndex, entry: &Digest) {
        let Some(process) = &mut self.machines[at].process else { return };
        let leads = process.watch.get_mut(&group).filter(|watch| watch.leads && watch.term == entry.term);
        if let (Some(tag), Some(watch)) = (entry.tag, leads)
            && process.parked.remove(&tag)
        {
            watch.parked.push(index);
        }
    }

    /// A restart found this on the disk.
    pub fn check_recovered(&mut self, at: M, found: &[chronik_broker::log::RecoveredGroup]) {
        let damaged = found.iter().find_map(|group| Some((group.group, group.damage.clone()?)));
        if let Some((group, damage)) = damaged
            && !self.machines[at].damaged
        {
            let text = format!("b{}, group {group}: {damage}", at + 1);
            return self.fail("only damage is called damage", text);
        }
        self.forget_lost_identities(at, found);
        let before = &self.checks.disks[at];
        let Some(what) = mirror::difference(before, found) else {
            self.checks.uncertain[at] = None;
            return;
        };
        let Some(ops) = self.checks.uncertain[at].take() else {
            let text = format!("b{}: {what}", at + 1);
            return self.fail("what was synced is found again", text);
        };
        let mut after = before.clone();
        mirror::apply(&mut after, &ops);
        match mirror::difference(&after, found) {
            None => self.on_disk(at, &ops),
            Some(other) => {
                let text = format!(
                    "b{}: neither as before the last write ({what}) nor as after it ({other})",
                    at + 1
                );
                self.fail("what was synced is found again", text);
            }
        }
    }

    /// Metadata was applied up to this state.
    pub fn check_metadata(&mut self, at: M) {
        if self.is_void(at) {
            return;
        }
        let Some(process) = &self.machines[at].process else { return };
        let cluster = process.shared.cluster.borrow().clone();
        let bytes = serde_json::to_vec(&*cluster).expect("cluster states serialise");
        let (index, digest) = (cluster.applied(), crc32c::crc32c(&bytes));
        if *self.checks.metadata.entry(index).or_insert(digest) != digest {
            self.fail("metadata is the same everywhere", format!("b{} differs at index {index}", at + 1));
        }
        if self.checks.newest_metadata.as_ref().is_none_or(|known| known.applied() < index) {
            self.check_new_metadata(cluster);
        }
    }
}
