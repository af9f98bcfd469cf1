//! What holds of disks and of the metadata group's voters: one disk for each broker, whose replica votes or learns.

use std::collections::BTreeSet;

use chronik_broker::replica::ReplicaState;
use chronik_core::ids::{BrokerId, DiskId, GroupId, ReplicaId};
use chronik_core::metadata::ClusterState;

use super::watch::Proposed;
use crate::scaling::Membership;
use crate::world::{M, World, broker_id};

/// Ticks that lie between what a leader took for caught up and when it is looked at.
const TICKS_BACK: usize = 3;

impl World {
    /// Metadata is seen for the first time in this state: what it says of brokers.
    pub fn check_brokers(&mut self, cluster: &ClusterState, before: Option<&ClusterState>) {
        let mut wrong = None;
        for broker in cluster.brokers() {
            let owner = (GroupId::METADATA, broker.id, broker.disk);
            let known = &mut self.checks.replicas;
            if let Some(replica) = broker.metadata_replica
                && (*known.owners.entry(replica).or_insert(owner) != owner || known.past.contains(&replica))
            {
                wrong = Some(format!("{replica} of {broker:?} once was another"));
            }
            let old = before.and_then(|before| before.broker(broker.id));
            if let Some(old) = old.filter(|old| old.metadata_replica != broker.metadata_replica) {
                self.checks.replicas.past.extend(old.metadata_replica);
                if !cluster.retired_disks().contains_key(&old.disk) {
                    wrong = Some(format!("{} is gone and not retired", old.disk));
                }
            }
        }
        let gone = before.into_iter().flat_map(ClusterState::brokers);
        for old in gone.filter(|old| cluster.broker(old.id).is_none()) {
            self.checks.replicas.past.extend(old.metadata_replica);
            if !cluster.retired_disks().contains_key(&old.disk) {
                wrong = Some(format!("{} is taken out and not retired", old.disk));
            }
        }
        let disks: BTreeSet<DiskId> = cluster.brokers().map(|broker| broker.disk).collect();
        let retired = |disk: &DiskId| cluster.retired_disks().contains_key(disk);
        // A disk that was lost in a recovery stands there until another replaces it, and holds nothing.
        let mut standing = cluster.brokers().filter(|broker| broker.metadata_replica.is_some());
        if disks.len() != cluster.brokers().len() || standing.any(|broker| retired(&broker.disk)) {
            wrong = Some(format!("{disks:?}, retired {:?}", cluster.retired_disks()));
        }
        let kept = |before: &ClusterState| before.retired_disks().keys().all(retired);
        if !before.is_none_or(kept) {
            wrong = Some("a disk is retired no more".to_owned());
        }
        let strayed = cluster.partitions().find_map(|(topic, partition)| {
            let stranger =
                partition.brokers().into_iter().find(|broker| cluster.broker(*broker).is_none())?;
            Some(format!("{}-{} names broker {stranger}", topic.name, partition.number))
        });
        if let Some(what) = strayed {
            self.fail("a broker is taken out only once no partition names it", what);
        }
        if let Some(what) = wrong {
            self.fail("each broker has one disk, and none comes back", what);
        }
    }

    /// A broker on a disk that it knows to be retired does nothing any more.
    pub fn check_identity(&mut self, at: M) {
        let Some(process) = &self.machines[at].process else { return };
        let cluster = process.shared.cluster.borrow().clone();
        if cluster.retired_disks().contains_key(&process.incarnation.disk) {
            return self.fail("a retired disk never counts", format!("b{} goes on", at + 1));
        }
        let on_retired = |replica: &ReplicaId| {
            let owner = self.checks.replicas.owners.get(replica);
            owner.is_some_and(|(_, _, disk)| cluster.retired_disks().contains_key(disk))
        };
        let counted = process.engine.replicas().find_map(|state| {
            let member = state.isr.iter().find(|member| on_retired(&member.replica))?;
            Some(format!("b{}, group {}: {member:?}", at + 1, state.group))
        });
        if let Some(what) = counted {
            self.fail("a retired disk never counts", what);
        }
    }

    /// Keeps what the metadata group's leader went by when it appended, until that is written.
    pub fn note_voters_proposed(&mut self, at: M, state: &ReplicaState) {
        let written = self.checks.disks[at].get(&state.group).map_or(0, |mirror| mirror.last());
        let process = self.machines[at].process.as_mut().expect("its state was just read");
        let watch = process.watch.entry(state.group).or_default();
        let reached = watch.committed.front().copied().unwrap_or(0);
        let now = Proposed {
            end: state.end,
            high_watermark: reached,
            members: watch.members,
            ..Proposed::default()
        };
        let last = std::mem::replace(&mut watch.last, now);
        if state.end > last.end {
            watch.proposed.push_back(Proposed { end: state.end, ..last });
        }
        while watch.proposed.front().is_some_and(|proposed| proposed.end <= written) {
            watch.proposed.pop_front();
        }
    }

    /// After a tick: what the metadata group's leader had committed at the last ones.
    pub fn note_committed(&mut self, at: M) {
        let Some(process) = &mut self.machines[at].process else { return };
        let found = process.engine.replicas().find(|state| state.group == GroupId::METADATA);
        let Some(state) = found else { return };
        let watch = process.watch.entry(GroupId::METADATA).or_default();
        if !state.leads {
            return watch.committed.clear();
        }
        watch.committed.push_back(state.commit);
        if watch.committed.len() > TICKS_BACK {
            watch.committed.pop_front();
        }
    }

    /// The metadata group's members changed: nobody votes twice.
    pub fn check_voters(&mut self, index: u64) {
        let Some(truth) = self.checks.groups.get(&GroupId::METADATA) else { return };
        let members = truth.members.newest().clone();
        self.coverage.add("voters: joint configuration", u64::from(members.is_joint()));
        let brokers: Vec<BrokerId> = members.voters.iter().map(|voter| self.voter_s_broker(*voter)).collect();
        let mut once = brokers.clone();
        once.sort_unstable();
        once.dedup();
        if once.len() != brokers.len() {
            let text = format!("entry {index}: {members:?} on {brokers:?}");
            self.fail("a broker has one vote", text);
        }
    }

    fn voter_s_broker(&self, replica: ReplicaId) -> BrokerId {
        let owner = self.checks.replicas.owners.get(&replica).map(|(_, broker, _)| *broker);
        owner.unwrap_or(BrokerId(u32::try_from(replica.0).unwrap_or(u32::MAX)))
    }

    /// Why the metadata group is not yet as it should be at the end.
    pub fn unsettled_voters(&self) -> Option<String> {
        let cluster = self.checks.newest_metadata.clone()?;
        let members =
            self.machines.iter().enumerate().filter(|(_, machine)| machine.membership != Membership::Out);
        for (at, machine) in members {
            let life = machine.process.as_ref().map(|process| process.incarnation);
            let registered = cluster.broker(broker_id(at)).map(|broker| broker.disk);
            if life.is_none() || life.map(|life| life.disk) != registered {
                return Some(format!("b{} runs as {life:?}, registered is {registered:?}", at + 1));
            }
        }
        let members = self.checks.groups.get(&GroupId::METADATA)?.members.newest();
        let all: BTreeSet<ReplicaId> =
            cluster.brokers().filter_map(|broker| broker.metadata_replica).collect();
        let known: BTreeSet<ReplicaId> = members.voters.iter().chain(&members.learners).copied().collect();
        let count = match all.len() {
            0..=2 => 1,
            3..=4 => 3,
            _ => 5,
        };
        let well = !members.is_joint() && members.voters.len() == count && known == all;
        (!well).then(|| format!("metadata's members are {members:?} of {all:?}"))
    }
}
