//! The metadata group's members: every registered broker's replica learns, and those vote that core chooses. Its leader takes
//! one step at a time, with each tick, as leaders of partitions do.

use chronik_core::ids::{BrokerId, GroupId, LogIndex, ReplicaId};
use chronik_core::metadata::voters::{Candidate, choose};
use chronik_core::replication::reassignment::{self, Outlook, Step};

use super::Engine;
use super::moves::take;
use crate::quorum::Group;
use crate::replica::hosted::{Hosted, Serves};
use crate::replica::liveness::Liveness;
use crate::replica::metadata::Metadata;
use crate::replica::outbox::Transport;
use crate::replica::partition::Surroundings;

/// Voters without which those that are left could not decide.
const FEW_VOTERS: usize = 2;

impl<T: Transport> Engine<T> {
    /// Takes the next step towards the members that the metadata group shall have, if it is led here.
    pub(super) fn advance_voters(&mut self) {
        let draining = self.draining.is_some();
        self.guard(GroupId::METADATA, |hosted, around| {
            let Hosted { group, serves: Serves::Metadata(metadata), .. } = hosted else { return Ok(()) };
            let reached = metadata.committed_a_tick_ago(group.commit());
            if group.role().leads {
                take(next_step(group, metadata, reached, draining, around), group);
            }
            Ok(())
        });
    }

    /// Tells the rest of the broker who leads the metadata group and who votes in it.
    pub(super) fn show_metadata_group(&self, leader: Option<ReplicaId>) {
        let Some(hosted) = self.hosted.get(&GroupId::METADATA) else { return };
        let leader = leader.and_then(|replica| hosted.broker_of(replica));
        self.shared.metadata_leader.send_if_modified(|known| std::mem::replace(known, leader) != leader);
        let voters = hosted.voters().into_iter().filter_map(|replica| hosted.broker_of(replica));
        let mut voters: Vec<BrokerId> = voters.collect();
        voters.sort_unstable();
        self.shared.metadata_voters.send_if_modified(|known| {
            let changed = *known != voters;
            known.clone_from(&voters);
            changed
        });
    }

    /// Whether this broker holds one of so few votes that the metadata group would stand still without it, and another
    /// broker can take it over: then it leaves before its process ends.
    pub(super) fn vote_must_leave(&self) -> bool {
        let Some(hosted) = self.hosted.get(&GroupId::METADATA).filter(|_| self.draining.is_some()) else {
            return false;
        };
        let (own, members) = (hosted.group.replica(), hosted.group.configuration());
        let few = members.voters.len() <= FEW_VOTERS || members.is_joint();
        let could = |replica: &ReplicaId| {
            let staying = |broker| !self.shared.liveness.is_draining(broker);
            *replica != own
                && hosted.is_up(*replica, &self.shared.liveness)
                && hosted.broker_of(*replica).is_some_and(staying)
        };
        few && members.votes(own) && members.voters.iter().chain(&members.learners).any(could)
    }
}

/// `reached` is what was committed a tick ago: whoever has synced it keeps up.
fn next_step(
    group: &Group,
    metadata: &Metadata,
    reached: LogIndex,
    draining: bool,
    around: Surroundings<'_>,
) -> Step {
    let (own, members) = (group.replica(), group.configuration());
    let candidates = candidates(metadata, around.liveness, draining.then_some(around.own));
    let target = choose(&candidates, &members.voters, own);
    let others = candidates.iter().map(|known| known.replica).filter(|replica| !target.contains(replica));
    let observers: Vec<ReplicaId> = others.collect();
    let up = |replica: &ReplicaId| *replica == own || metadata.is_up(*replica, around.liveness);
    let keeps_up = |replica: &ReplicaId| {
        up(replica) && (*replica == own || group.matched(*replica).is_some_and(|synced| synced >= reached))
    };
    let known = target.iter().chain(&observers).chain(&members.voters).chain(&members.outgoing).copied();
    let alive: Vec<ReplicaId> = known.filter(up).collect();
    let in_sync: Vec<ReplicaId> = members.voters.iter().copied().filter(keeps_up).collect();
    let caught_up: Vec<ReplicaId> = members.learners.iter().copied().filter(keeps_up).collect();
    reassignment::decide(&Outlook {
        own,
        target: &target,
        observers: &observers,
        moving: false,
        configuration: &members,
        change_pending: group.is_changing(),
        alive: &alive,
        // Those are no candidates to begin with.
        draining: &[],
        in_sync: &in_sync,
        caught_up: &caught_up,
        min_isr: 1,
    })
}

/// Replicas of registered brokers, and of founders that have not registered yet.
fn candidates<'a>(
    metadata: &'a Metadata,
    liveness: &Liveness,
    draining: Option<BrokerId>,
) -> Vec<Candidate<'a>> {
    let candidate = |(broker, replica, rack)| Candidate {
        replica,
        rack,
        alive: metadata.is_up(replica, liveness),
        draining: draining == Some(broker) || liveness.is_draining(broker),
        leaving: metadata.state().leaves(broker),
    };
    metadata.homes().map(candidate).collect()
}
