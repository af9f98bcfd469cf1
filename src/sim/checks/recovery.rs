//! What a recovery from one disk may change, and nothing else: the survivor's log is what was committed from then on. What
//! others had committed beyond it is lost, as the dry run says; all that it held stays where it was.

use std::sync::Arc;

use chronik_broker::log::RecoveredGroup;
use chronik_broker::recover::rebuild::Plan;
use chronik_broker::replica::ReplicaState;
use chronik_core::ids::{GroupId, Offset, Term};
use chronik_core::metadata::{Recovered, Recovery};

use super::Truth;
use super::mirror::{Digest, Mirror, hashes};
use crate::world::{M, World};

/// How a group went on from one replica.
#[derive(Clone, Copy, Default)]
pub struct Rebuilt {
    /// From which epoch on.
    epoch: Term,
    /// Where the survivor's records ended.
    pub end: Offset,
}

impl Truth {
    /// The survivor's log is all there is. Gives what it did not hold.
    fn go_on_from(&mut self, survivor: &Mirror, epoch: Term) -> Vec<Digest> {
        let held = survivor.entries.iter().take_while(|entry| entry.term < epoch).count();
        let same = self.committed.iter().zip(&survivor.entries[..held]).take_while(|(a, b)| a == b).count();
        let lost = self.committed.split_off(same);
        self.members.forget_after(same as u64);
        let places = self.members.newest_place();
        self.led_at.retain(|_, place| *place <= places);
        self.last_op.clear();
        for tag in self.committed.iter().filter_map(|entry| entry.tag) {
            self.last_op.insert(tag.client, tag.op);
        }
        for tag in lost.iter().filter_map(|entry| entry.tag) {
            let highest = self.lost_ops.entry(tag.client).or_default();
            *highest = (*highest).max(tag.op);
        }
        let end = survivor.entries[..held].last().map_or(0, Digest::end_offset);
        self.exposed.values_mut().for_each(|known| *known = (*known).min(end));
        self.rebuilt = Some(Rebuilt { epoch, end });
        lost
    }

    /// Forgets acknowledgements of what is not committed; their number.
    fn forget_lost(&mut self) -> usize {
        let (committed, before) = (&self.committed, self.acknowledged.len());
        self.acknowledged.retain(|offset, operation| {
            let at = committed.partition_point(|entry| entry.end_offset() <= *offset);
            let found = committed[at..].iter().find(|entry| entry.records > 0);
            found.is_some_and(|entry| {
                entry.base_offset == *offset && entry.tag.is_some_and(|tag| tag.operation() == *operation)
            })
        });
        before - self.acknowledged.len()
    }
}

impl World {
    /// Whether what a broker says is void: its disk is of a history of the metadata that was given up.
    pub fn is_void(&self, at: M) -> bool {
        let newest = self.checks.newest_metadata.as_ref().map(|cluster| cluster.generation());
        let own = self.machines[at].process.as_ref().and_then(|process| *process.shared.generation.borrow());
        let rebuilt = self.checks.generation.max(newest.map_or(0, |newest| newest.number));
        own.is_some_and(|own| own.number < rebuilt)
    }

    /// The metadata was rebuilt on a survivor's disk, where this was found.
    pub fn metadata_rebuilt(&mut self, at: M, plan: &Plan, found: &[RecoveredGroup]) {
        let Some(found) = found.iter().find(|group| group.group == GroupId::METADATA) else { return };
        let written = found.log.entries(plan.last + 1, found.log.last_index() + 1, usize::MAX);
        let written = written.expect("it was just written");
        let mirror = self.checks.disks[at].get_mut(&GroupId::METADATA).expect("it was looked at");
        mirror.entries.extend(written.iter().map(Digest::of));
        mirror.state = found.state;
        mirror.memberships = hashes(&found.memberships);
        let state = Arc::new(plan.state.clone());
        self.checks.metadata.split_off(&(plan.last + 1));
        for (_, partition) in state.partitions() {
            partition.replicas.iter().for_each(|replica| {
                self.checks.replicas.past.remove(&replica.replica);
            });
        }
        self.checks.generation = state.generation().number + 1;
        self.checks.newest_metadata = Some(state);
        self.rebuilt(at, GroupId::METADATA, plan.epoch);
    }

    /// Whether a replica that is to go on alone has not written so yet; once it has, the truth is what it holds.
    pub fn waits_to_go_on(&mut self, at: M, state: &ReplicaState) -> bool {
        let Some(epoch) = self.alone_from(at, state) else { return false };
        let done = self.checks.groups.get(&state.group).and_then(|truth| truth.rebuilt);
        if state.term < epoch || done.is_some_and(|done| done.epoch >= epoch) {
            return false;
        }
        let own = self.checks.disks[at].get(&state.group).filter(|mirror| mirror.replica == state.replica);
        if own.is_none_or(|mirror| mirror.entries.iter().all(|entry| entry.term < epoch)) {
            return true;
        }
        self.rebuilt(at, state.group, epoch);
        false
    }

    /// As its broker has applied it: the checks of metadata come after those of replicas.
    fn alone_from(&self, at: M, state: &ReplicaState) -> Option<Term> {
        let cluster = self.machines[at].process.as_ref()?.shared.cluster.borrow();
        let (_, partition) = cluster.group(state.group)?;
        let survivor = partition.survivor.filter(|survivor| survivor.replica == state.replica);
        survivor.map(|survivor| survivor.epoch)
    }

    fn rebuilt(&mut self, at: M, group: GroupId, epoch: Term) {
        self.check_epoch_of_recovery(at, group, epoch);
        let survivor = self.checks.disks[at][&group].clone();
        let truth = self.checks.groups.entry(group).or_default();
        let led_last = truth.leaders.last_key_value().is_some_and(|(_, leader)| *leader == at);
        let lost = truth.go_on_from(&survivor, epoch);
        let known = truth.committed.len();
        let first_new = survivor.entries.iter().position(|entry| entry.term >= epoch).unwrap_or(known);
        let changes = survivor.entries[first_new..].iter().take_while(|entry| entry.change.is_some()).count();
        for (place, entry) in survivor.entries.iter().enumerate().take(first_new + changes).skip(known) {
            self.commit(group, place as u64 + 1, entry.clone());
        }
        self.check_dry_run(at, group, epoch);
        let truth = self.checks.groups.entry(group).or_default();
        let unacknowledged = truth.forget_lost();
        self.note([73, group.0, lost.len() as u64], || {
            format!(
                "group {group} goes on from b{}, {} entries lost, {unacknowledged} acknowledged",
                at + 1,
                lost.len()
            )
        });
        self.coverage.add("last resort: committed entries lost", u64::from(!lost.is_empty()));
        self.coverage.add("last resort: acknowledged batches lost", unacknowledged as u64);
        if led_last && unacknowledged > 0 {
            let text = format!("b{}, group {group}: {unacknowledged} batches", at + 1);
            self.fail("who led last lacks nothing that was acknowledged", text);
        }
    }

    /// The records that the person was told would be kept are those that are.
    fn check_dry_run(&mut self, at: M, group: GroupId, epoch: Term) {
        let told = |recovery: &Recovery| match &recovery.what {
            Recovered::Partition { end_offset, epoch: from, topic, partition, .. } if *from == epoch => {
                Some((topic.clone(), *partition, *end_offset))
            }
            _ => None,
        };
        let Some(cluster) = &self.checks.newest_metadata else { return };
        let Some((topic, partition)) = cluster.group(group) else { return };
        let place = (topic.name.clone(), partition.number);
        let told = cluster
            .recoveries()
            .iter()
            .filter_map(told)
            .find(|(topic, number, _)| (topic, number) == (&place.0, &place.1));
        let kept = self.checks.groups.get(&group).and_then(|truth| truth.rebuilt).map(|rebuilt| rebuilt.end);
        if told.as_ref().map(|told| told.2) != kept {
            let text = format!("b{}, {place:?}: {told:?} was told, {kept:?} is kept", at + 1);
            self.fail("what the dry run says is kept is kept", text);
        }
    }

    /// The lost replicas, on whatever disk, were never in that epoch or a later one.
    fn check_epoch_of_recovery(&mut self, at: M, group: GroupId, epoch: Term) {
        let copies = self.checks.disks.iter().filter_map(|disk| disk.get(&group));
        let aside = self.checks.replicas.copies_of(group);
        let others =
            copies.chain(aside).filter(|mirror| mirror.replica != self.checks.disks[at][&group].replica);
        if let Some(other) = others.filter(|mirror| mirror.state.term >= epoch).max_by_key(|m| m.state.term) {
            let text = format!(
                "b{}, group {group} goes on in {epoch}, replica {} was in {}",
                at + 1,
                other.replica,
                other.state.term
            );
            self.fail("a recovery's epoch is above all that anybody was in", text);
        }
    }

    /// Up to where the records of a partition's survivor went, if it was recovered.
    pub fn rebuilt_end(&self, place: usize) -> Option<Offset> {
        let (name, number) = &self.places[place];
        let cluster = self.checks.newest_metadata.as_ref()?;
        let group = cluster.topic_by_name(name)?.partition(*number)?.group;
        self.checks.groups.get(&group)?.rebuilt.map(|rebuilt| rebuilt.end)
    }

    /// Whether acknowledged batches of a producer may have been lost.
    pub fn may_have_lost(&self, client: u32) -> bool {
        self.checks.groups.values().any(|truth| truth.lost_ops.contains_key(&client))
    }

    /// Two brokers connect.
    pub fn check_histories(&mut self, one: M, other: M) {
        let generation = |at: M| {
            self.machines[at].process.as_ref().and_then(|process| *process.shared.generation.borrow())
        };
        let (ours, theirs) = (generation(one), generation(other));
        if ours.is_some() && theirs.is_some() && ours != theirs {
            let text = format!("b{}: {ours:?}, b{}: {theirs:?}", one + 1, other + 1);
            self.fail("brokers of two histories do not speak", text);
        }
    }
}
