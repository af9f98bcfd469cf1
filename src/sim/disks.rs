//! Disks that are taken out, put in, exchanged and formatted: each new one has an id of its own, and the one before may come
//! back.

use std::path::Path;
use std::sync::Arc;

use chronik_broker::log::{DataFolder, IdentityError};
use chronik_core::ids::{ClusterId, DiskId};
use uuid::Uuid;

use crate::checks::mirror::{self, MirrorOp};
use crate::disk::SimDisk;
use crate::process::DATA;
use crate::world::{M, World, broker_id};

/// The cluster of all disks.
pub fn cluster() -> ClusterId {
    "sim".parse().expect("a valid id")
}

/// A disk that is in no machine.
pub struct Aside {
    disk: Arc<SimDisk>,
    id: DiskId,
    contents: mirror::Disk,
    /// What a write that was under way would make of it.
    uncertain: Option<Vec<MirrorOp>>,
    damaged: bool,
}

impl World {
    /// A machine gets a new disk, formatted; the one before is put aside.
    pub fn replace_disk(&mut self, at: M) {
        self.coverage.count("identity: disk replaced");
        let id = DiskId(Uuid::from_u128(u128::from(self.chance.disks.next())));
        let new = Aside {
            disk: Arc::default(),
            id,
            contents: mirror::Disk::new(),
            uncertain: None,
            damaged: false,
        };
        let old = self.put_in(at, new);
        self.machines[at].aside = Some(old);
        // Whoever formats it may not know that the cluster exists.
        let joins = at >= self.plan.founders || self.chance.disks.one_in(2);
        self.format(at, joins);
        self.note([52, at as u64, u64::from(joins)], || {
            format!("b{} gets disk {id}, joins: {joins}", at + 1)
        });
    }

    /// The disk before is put back; the one in its place is put aside.
    pub fn put_old_disk_back(&mut self, at: M) -> bool {
        let Some(old) = self.machines[at].aside.take() else { return false };
        let id = old.id;
        let new = self.put_in(at, old);
        self.machines[at].aside = Some(new);
        self.note([53, at as u64, 0], || format!("b{} has its old disk {id} again", at + 1));
        true
    }

    fn put_in(&mut self, at: M, disk: Aside) -> Aside {
        let machine = &mut self.machines[at];
        let contents = std::mem::replace(&mut self.checks.disks[at], disk.contents);
        // What is aside stays what it was, whoever counts it.
        self.checks.keep_copies(&contents);
        let uncertain = self.checks.exchange_uncertain(at, disk.uncertain);
        Aside {
            disk: std::mem::replace(&mut machine.disk, disk.disk),
            id: std::mem::replace(&mut machine.disk_id, disk.id),
            contents,
            uncertain,
            damaged: std::mem::replace(&mut machine.damaged, disk.damaged),
        }
    }

    /// Whether the disk in a machine lost its place, as the newest metadata says.
    pub fn is_retired(&self, at: M) -> bool {
        let newest = self.checks.newest_metadata.as_ref();
        newest.is_some_and(|cluster| cluster.retired_disks().contains_key(&self.machines[at].disk_id))
    }

    /// Somebody reads why the broker ended, and gives it the disk that it shall have, or a new one.
    pub fn take_newer_disk(&mut self, at: M) {
        if !self.put_old_disk_back(at) || self.is_retired(at) {
            self.replace_disk(at);
        }
    }

    /// Two machines without power get each other's disks.
    pub fn exchange_disks(&mut self, one: M, other: M) -> bool {
        if [one, other].iter().any(|at| self.machines[*at].exchanged_with.is_some()) {
            return false;
        }
        for (at, with) in [(one, other), (other, one)] {
            self.bring_down(at, true);
            self.machines[at].exchanged_with = Some(with);
        }
        for at in [one, other] {
            self.bring_up(at);
        }
        true
    }

    /// Each gets its own again.
    pub fn give_disks_back(&mut self, at: M) {
        let Some(other) = self.machines[at].exchanged_with.take() else { return };
        self.machines[other].exchanged_with = None;
        for at in [at, other] {
            self.start(at);
        }
    }

    /// What `format --if-empty` says before each start: a broker starts on its own disk, and on no other's.
    pub fn is_on_its_own_disk(&mut self, at: M) -> bool {
        let exchanged = self.machines[at].exchanged_with;
        let disk = &self.machines[exchanged.unwrap_or(at)].disk;
        let formatted = DataFolder::is_formatted_for(&**disk, Path::new(DATA), &cluster(), broker_id(at));
        match (formatted, exchanged) {
            (Ok(true), None) => true,
            (Err(IdentityError::OtherBroker { found, expected, .. }), Some(other))
                if (found, expected) == (broker_id(other), broker_id(at)) =>
            {
                self.coverage.count("start refused: the disk is another broker's");
                self.note([56, at as u64, other as u64], || {
                    format!("b{} does not start on the disk of b{}", at + 1, other + 1)
                });
                false
            }
            (formatted, _) => {
                let text = format!("b{}, exchanged with {exchanged:?}: {formatted:?}", at + 1);
                self.fail("a broker starts on its own disk and on no other's", text);
                false
            }
        }
    }
}
