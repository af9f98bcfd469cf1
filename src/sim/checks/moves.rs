//! What holds of replicas that move: ids, data that begins and goes, and what metadata says of it all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chronik_broker::log::RecoveredGroup;
use chronik_core::ids::{BrokerId, DiskId, GroupId, ReplicaId};
use chronik_core::metadata::{ClusterState, Partition};

use super::Checks;
use super::mirror::{self, Mirror, MirrorOp};
use super::watch::Watch;
use crate::world::{M, World, broker_id};

/// What is known of all replicas that ever were.
#[derive(Default)]
pub struct Replicas {
    /// Whose each id is.
    pub(super) owners: BTreeMap<ReplicaId, (GroupId, BrokerId, DiskId)>,
    /// Ids that metadata named once and names no more.
    pub(super) past: BTreeSet<ReplicaId>,
    /// Ids that were begun on a disk.
    begun: BTreeSet<ReplicaId>,
    /// What those had whose data was deleted.
    deleted: BTreeMap<ReplicaId, Mirror>,
}

impl Replicas {
    /// What a group's replicas had that are on no disk in a machine.
    pub(super) fn copies_of(&self, group: GroupId) -> impl Iterator<Item = &Mirror> {
        let of_group =
            move |replica: &ReplicaId| self.owners.get(replica).is_some_and(|owner| owner.0 == group);
        self.deleted.iter().filter(move |(replica, _)| of_group(replica)).map(|(_, mirror)| mirror)
    }
}

/// A move that is under way.
#[derive(Default)]
pub struct Moving {
    taken_back: bool,
    leader_lost: bool,
}

impl Checks {
    /// A disk is taken out: its replicas hold what they held.
    pub fn keep_copies(&mut self, disk: &mirror::Disk) {
        for mirror in disk.values() {
            self.replicas.deleted.insert(mirror.replica, mirror.clone());
        }
    }
}

impl World {
    /// A write is on a machine's disk.
    pub fn on_disk(&mut self, at: M, ops: &[MirrorOp]) {
        for op in ops {
            match op {
                MirrorOp::Create(group, replica, _) => self.begun(at, *group, *replica),
                MirrorOp::Remove(group) => {
                    self.coverage.count("move: data of a replica deleted");
                    self.keep_deleted(at, *group);
                }
                _ => {}
            }
            mirror::apply(&mut self.checks.disks[at], std::slice::from_ref(op));
        }
    }

    fn begun(&mut self, at: M, group: GroupId, replica: ReplicaId) {
        self.keep_deleted(at, group);
        if !self.checks.replicas.begun.insert(replica) {
            let text = format!("b{} begins replica {replica} of group {group} anew", at + 1);
            self.fail("a replica id is never used twice", text);
        }
    }

    fn keep_deleted(&mut self, at: M, group: GroupId) {
        if let Some(mirror) = self.checks.disks[at].remove(&group) {
            self.checks.replicas.deleted.insert(mirror.replica, mirror);
        }
    }

    /// A damaged disk may hold an earlier replica in place of the one that was begun on it, or one that lost its name.
    pub fn forget_lost_identities(&mut self, at: M, found: &[RecoveredGroup]) {
        for group in found.iter().filter(|group| group.damage.is_some()) {
            let known = self.checks.disks[at].get(&group.group).map(|mirror| mirror.replica);
            if known.is_some_and(|known| known != group.header.replica) {
                self.keep_deleted(at, group.group);
                let placeholder = Mirror::new(group.header.replica);
                self.checks.disks[at].insert(group.group, placeholder);
            }
        }
    }

    /// A replica begins.
    pub fn check_beginning(&mut self, at: M, group: GroupId, voters: &[ReplicaId]) {
        if !self.checks.groups.entry(group).or_default().members.begins(voters) {
            let text = format!("b{}, group {group}: {voters:?}", at + 1);
            self.fail("every replica begins with the first voters of its group", text);
        }
    }

    /// A replica's data is about to be deleted. Ids are given once, so what the newest metadata names is no past one.
    pub fn check_removal(&mut self, at: M, group: GroupId) {
        let Some(mirror) = self.checks.disks[at].get(&group) else { return };
        // This broker may be the first to have applied what removes it.
        let own = self.machines[at].process.as_ref().map(|process| process.shared.cluster.borrow().clone());
        let newest = self.checks.newest_metadata.iter().chain(&own).max_by_key(|cluster| cluster.applied());
        let partition = newest.and_then(|cluster| Some(cluster.group(group)?.1));
        let named = partition.and_then(|partition| partition.replica_on(broker_id(at)));
        if named.is_some_and(|named| named.replica == mirror.replica) {
            let text = format!("b{}, group {group}: metadata names replica {}", at + 1, mirror.replica);
            self.fail("data goes only with its replica", text);
        }
    }

    /// A replica's copy on disk.
    pub fn mirror_of(&self, group: GroupId, replica: ReplicaId) -> Option<&Mirror> {
        let mut mirrors = self.checks.disks.iter().filter_map(|disk| disk.get(&group));
        mirrors.find(|mirror| mirror.replica == replica)
    }

    /// A replica's copy on disk, or the one that was deleted: a leader of the past may not know of that yet.
    pub fn copy_of(&self, group: GroupId, replica: ReplicaId) -> Option<&Mirror> {
        self.mirror_of(group, replica).or_else(|| self.checks.replicas.deleted.get(&replica))
    }

    // ---- metadata -----------------------------------------------------------------------------------------------

    /// Metadata is seen for the first time in this state.
    pub fn check_new_metadata(&mut self, cluster: Arc<ClusterState>) {
        let before = self.checks.newest_metadata.replace(cluster.clone());
        self.check_brokers(&cluster, before.as_deref());
        self.check_permits(&cluster, before.as_deref());
        for (_, partition) in cluster.partitions() {
            let known = before.as_ref().and_then(|before| Some(before.group(partition.group)?.1));
            self.check_ids(partition, known, cluster.retired_disks());
            self.check_settled_members(partition);
            if let Some(known) = known {
                self.follow_move(partition, known);
            }
        }
    }

    fn check_ids(
        &mut self,
        partition: &Partition,
        before: Option<&Partition>,
        retired: &BTreeMap<DiskId, BrokerId>,
    ) {
        let known = &mut self.checks.replicas;
        let mut wrong = None;
        for replica in &partition.replicas {
            let owner = (partition.group, replica.broker, replica.disk);
            let first = known.owners.entry(replica.replica).or_insert(owner);
            // What was given to a lost disk since a recovery goes to the one that replaces it.
            if (first.0, first.1) == (owner.0, owner.1)
                && retired.contains_key(&first.2)
                && !known.begun.contains(&replica.replica)
            {
                *first = owner;
            }
            if *first != owner || known.past.contains(&replica.replica) {
                wrong = Some(replica);
            }
        }
        let gone = before.into_iter().flat_map(|before| &before.replicas);
        let gone = gone.filter(|replica| partition.replicas.iter().all(|r| r.replica != replica.replica));
        known.past.extend(gone.map(|replica| replica.replica));
        if let Some(replica) = wrong {
            let text = format!("group {}: {replica:?} once was another", partition.group);
            self.fail("a replica id is never used twice", text);
        }
    }

    /// A partition that does not move has its replicas as voters and no others. A leader that has not heard of a move's end may
    /// let a replica of before learn once more, which counts for nothing, and takes it out when it hears.
    fn check_settled_members(&mut self, partition: &Partition) {
        let Some(truth) = self.checks.groups.get(&partition.group) else { return };
        let members = truth.members.newest();
        if partition.reassignment.is_some() || members.voters.is_empty() {
            return;
        }
        let mut voters: Vec<ReplicaId> = partition.replicas.iter().map(|replica| replica.replica).collect();
        voters.sort_unstable();
        if members.voters != voters || members.is_joint() {
            let text =
                format!("group {}: {members:?}, metadata names {:?}", partition.group, partition.replicas);
            self.fail("a move is complete when its replicas are the voters", text);
        }
    }

    /// Counts what became of a partition's move.
    fn follow_move(&mut self, partition: &Partition, before: &Partition) {
        let group = partition.group;
        match (&before.reassignment, &partition.reassignment) {
            (None, None) => {}
            (Some(_), None) => {
                self.coverage.count("move: completed");
                let moving = self.checks.moves.remove(&group).unwrap_or_default();
                if moving.taken_back {
                    self.coverage.count("move: completed back where it began");
                }
                if moving.leader_lost {
                    self.coverage.count("move: completed, its leader lost meanwhile");
                }
                self.note([70, group.0, 1], || format!("group {group} has moved"));
            }
            (known, Some(now)) if known.as_ref().is_none_or(|known| known.since != now.since) => {
                let taken_back = known.is_some() && now.target == now.original;
                self.coverage.count(match known {
                    _ if replaces(partition, before) => "move: replica replaced",
                    Some(_) if taken_back => "move: taken back",
                    Some(_) => "move: sent elsewhere on its way",
                    None => "move: begun",
                });
                let leader_lost = self.checks.moves.get(&group).is_some_and(|moving| moving.leader_lost);
                let moving = Moving { taken_back, leader_lost };
                self.checks.moves.insert(group, moving);
                let text = format!("{:?} {now:?}", partition.replicas);
                self.note([71, group.0, now.since], || format!("group {group} moves: {text}"));
            }
            _ => {}
        }
    }

    /// Whether a partition's replicas are moving, as the newest metadata says.
    pub fn moves(&self, group: GroupId) -> bool {
        self.checks.moves.contains_key(&group)
    }

    /// A process ended: it may have led partitions that move.
    pub fn note_lost_leader(&mut self, watches: &BTreeMap<GroupId, Watch>) {
        for (group, watch) in watches.iter().filter(|(_, watch)| watch.leads) {
            self.coverage.add("rest: leader lost", u64::from(watch.quiet));
            if let Some(moving) = self.checks.moves.get_mut(group) {
                moving.leader_lost = true;
                let joint =
                    self.checks.groups.get(group).is_some_and(|truth| truth.members.newest().is_joint());
                self.coverage.add("move: leader lost in a joint configuration", u64::from(joint));
            }
        }
    }
}

/// Whether another replica takes the place of one on its own disk.
fn replaces(partition: &Partition, before: &Partition) -> bool {
    let shall = partition.target();
    shall.iter().filter(|new| !before.replicas.contains(new)).any(|new| {
        let old = before.target().iter().find(|old| old.broker == new.broker);
        old.is_some_and(|old| old.disk == new.disk && !shall.contains(old))
    })
}
