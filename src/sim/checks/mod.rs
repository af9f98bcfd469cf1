//! The properties that hold in every run, checked against what really happened: what is on the disks (`mirror`), what was
//! committed, what clients were told. Nothing here asks a broker for its opinion where the truth can be had.

mod answers;
mod end;
pub mod mirror;
mod replicas;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};

use chronik_broker::replica::Acks;
use chronik_core::ids::{BrokerId, GroupId, LogIndex, Offset, Term};

use self::mirror::{Digest, Disk, MirrorOp};
use crate::batch::Tag;
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
    /// Offset and operation of every batch acknowledged to acks=all.
    pub acknowledged: BTreeMap<Offset, (u32, u32)>,
    /// Up to where somebody was shown records, or told that they are safe, by the epoch of who did.
    exposed: BTreeMap<Term, Offset>,
    /// The highest high watermark that a leader had.
    high_watermark: LogIndex,
    /// Who led each term.
    leaders: BTreeMap<Term, M>,
    /// The last committed operation of each idempotent producer.
    last_op: BTreeMap<u32, u32>,
    /// ISR and leader of every view that a leader published.
    views: BTreeMap<(Term, u64), (BrokerId, Vec<BrokerId>)>,
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

    /// A write was handed to the log.
    pub fn check_write(&mut self, at: M, ops: &[MirrorOp]) {
        for op in ops {
            let MirrorOp::Append(group, first, entries) = op else { continue };
            let refused =
                entries.iter().filter_map(|entry| entry.tag).find(|tag| self.checks.refused.contains(tag));
            if let Some(tag) = refused {
                let text = format!(
                    "b{}, group {group}, from {first}: {tag:?} was refused and is in the log",
                    at + 1
                );
                return self.fail("a refused batch is absent", text);
            }
        }
    }

    /// A restart found this on the disk.
    pub fn check_recovered(&mut self, at: M, found: &[chronik_broker::log::RecoveredGroup]) {
        if self.machines[at].kept_out {
            return; // it holds nothing of what was there before
        }
        let damaged = found.iter().find_map(|group| Some((group.group, group.damage.clone()?)));
        if let Some((group, damage)) = damaged
            && !self.machines[at].damaged
        {
            let text = format!("b{}, group {group}: {damage}", at + 1);
            return self.fail("only damage is called damage", text);
        }
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
            None => self.checks.disks[at] = after,
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
        let Some(process) = &self.machines[at].process else { return };
        let cluster = process.shared.cluster.borrow().clone();
        let bytes = serde_json::to_vec(&*cluster).expect("cluster states serialise");
        let (index, digest) = (cluster.applied(), crc32c::crc32c(&bytes));
        if *self.checks.metadata.entry(index).or_insert(digest) != digest {
            self.fail("metadata is the same everywhere", format!("b{} differs at index {index}", at + 1));
        }
    }
}
