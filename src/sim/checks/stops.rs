//! What a stop on purpose leaves of each partition and of the metadata group, as things truly are on disks and in engines.

use std::collections::BTreeSet;

use chronik_broker::replica::ReplicaState;
use chronik_core::ids::{BrokerId, GroupId, ReplicaId};
use chronik_core::metadata::Replica;
use chronik_core::restart::Stage;

use super::members::majority;
use super::permits::{Asked, Then};
use crate::time::{MS, Micros};
use crate::world::{M, Machine, World, broker_id, index_of};

impl World {
    /// A broker is about to stop on purpose.
    pub fn check_stop(&mut self, at: M) {
        let Some(life) = self.incarnation(at) else { return };
        // Its permit may be closed already, if it started again since it was begun.
        let Some((permit, asked)) = self.checks.permits.begun(broker_id(at), life) else { return };
        let (permit, asked) = (permit.clone(), asked.clone());
        self.coverage.count("permits: stopped with one");
        if let Some(what) = self.broken_without(at, &asked, &self.begun_to_stop()) {
            let text = format!("{permit:?}, asked for at {}: {what}", asked.at / MS);
            self.fail("a stop with a permit costs no partition min ISR or majority", text);
        }
    }

    /// Who may be on the way out: whoever was only granted a permit is judged again before it begins.
    fn begun_to_stop(&self) -> BTreeSet<BrokerId> {
        let permits = self.checks.newest_metadata.iter().flat_map(|cluster| cluster.permits().open());
        permits.filter(|permit| permit.stage == Stage::Begun).map(|permit| permit.broker).collect()
    }

    /// What would be broken without a broker and those others, but for what befell them since somebody asked.
    pub(super) fn broken_without(
        &mut self,
        at: M,
        asked: &Asked,
        others: &BTreeSet<BrokerId>,
    ) -> Option<String> {
        let cluster = self.checks.newest_metadata.clone()?;
        let mut gone = others.clone();
        gone.insert(broker_id(at));
        let excused = |machine: M| self.machines[machine].known_at >= asked.at;
        let lives = self.machines[at].process.is_some() && !self.machines[at].paused;
        if !lives || excused(at) {
            // Its absence costs nothing that is not paid already, or others took it for well that was not.
            return None;
        }
        self.coverage.count("permits: looked at what is left");
        let hosted = cluster.partitions().map(|(_, partition)| partition);
        let hosted = hosted.filter(|partition| partition.brokers().contains(&broker_id(at)));
        for partition in hosted.filter(|partition| self.is_of_use(at, partition.group)) {
            // What moved since is judged anew when the next permit is asked for.
            let then = asked.then.get(&partition.group).filter(|then| then.partition == *partition);
            let Some(then) = then else { continue };
            let what = self.lacks_members(&gone, then, asked.at, &excused);
            let what = what.or_else(|| self.lacks_majority(&gone, partition.group, &excused));
            if let Some(what) = what {
                return Some(format!("group {}: {what}", partition.group));
            }
        }
        let voters = &self.checks.groups.get(&GroupId::METADATA)?.members;
        let votes = voters.newest().voters.iter().chain(&voters.newest().outgoing);
        let here = votes.copied().any(|voter| self.holder_of(GroupId::METADATA, voter) == at);
        let here = here && self.is_of_use(at, GroupId::METADATA);
        let what = here.then(|| self.lacks_majority(&gone, GroupId::METADATA, &excused)).flatten()?;
        Some(format!("the metadata group: {what}"))
    }

    /// Whether a group has anything of a broker: whoever is not in its ISR, and not heard by its leader or by that of the
    /// metadata group, is not missed.
    fn is_of_use(&self, at: M, group: GroupId) -> bool {
        let mut others = (0..self.machines.len()).filter(|other| *other != at);
        match self.led(group) {
            Some((leader, state)) => {
                let in_isr = state.isr.iter().any(|member| member.broker == broker_id(at));
                leader == at || in_isr || (self.hears(leader, at) && self.metadata_leader_hears(at))
            }
            None => others.all(|other| self.network.cuts[other][at] + self.network.cuts[at][other] == 0),
        }
    }

    /// Whether who judges permits takes a broker for one that lives.
    fn metadata_leader_hears(&self, at: M) -> bool {
        let leader = self.led(GroupId::METADATA).map(|(leader, _)| leader);
        let process = leader.and_then(|leader| self.machines[leader].process.as_ref());
        process.is_none_or(|process| process.shared.liveness.is_up(broker_id(at)))
    }

    fn lacks_members(
        &self,
        gone: &BTreeSet<BrokerId>,
        then: &Then,
        asked_at: Micros,
        excused: &impl Fn(M) -> bool,
    ) -> Option<String> {
        let group = then.partition.group;
        let (leader, state) = self.led(group)?;
        let committed = self.checks.groups.get(&group).map_or(0, |truth| truth.committed.len() as u64);
        let end = if state.term == then.term { then.end } else { then.end.min(committed) };
        let needed = self.required(leader, group);
        let in_sync = |broker: BrokerId| {
            let seen = self.checks.permits.in_sync_at(group, broker);
            state.isr.iter().any(|member| member.broker == broker) || seen.is_some_and(|at| at >= asked_at)
        };
        let has_it = |replica: ReplicaId| self.holds_up_to(group, replica, end);
        let stays = |replica: &&Replica| {
            let machine = index_of(replica.broker);
            // Whom a leader does not hear that did not lead when that was asked, nobody could know.
            let heard = self.hears(leader, machine) || excused(leader) || state.term != then.term;
            let well = in_sync(replica.broker) && heard && has_it(replica.replica);
            !gone.contains(&replica.broker) && (excused(machine) || well)
        };
        let left: Vec<BrokerId> =
            then.partition.replicas.iter().filter(stays).map(|replica| replica.broker).collect();
        (left.len() < needed).then(|| {
            format!("{left:?} would be left, {needed} are needed, without {gone:?}; up to {end}: {state:?}")
        })
    }

    fn lacks_majority(
        &self,
        gone: &BTreeSet<BrokerId>,
        group: GroupId,
        excused: &impl Fn(M) -> bool,
    ) -> Option<String> {
        let members = self.checks.groups.get(&group)?.members.newest();
        let stays = |voter: ReplicaId| {
            let machine = self.holder_of(group, voter);
            let holds = self.checks.disks[machine].get(&group).is_some_and(|mirror| mirror.replica == voter);
            let up = self.machines[machine].process.is_some() && holds;
            !gone.contains(&broker_id(machine)) && (excused(machine) || up)
        };
        let left = !majority(members, stays);
        left.then(|| format!("no majority of {members:?} would be left, without {gone:?}"))
    }

    /// Whether a member's process runs, and hears its leader and is heard.
    fn hears(&self, leader: M, member: M) -> bool {
        let cuts = &self.network.cuts;
        let known = &self.machines[member];
        known.process.is_some() && !known.paused && cuts[leader][member] == 0 && cuts[member][leader] == 0
    }

    /// The machine that a replica was put on.
    fn holder_of(&self, group: GroupId, replica: ReplicaId) -> M {
        let owner = self.checks.replicas.owners.get(&replica).filter(|owner| owner.0 == group);
        index_of(owner.map_or(BrokerId(u32::try_from(replica.0).unwrap_or(1)), |owner| owner.1))
    }

    /// Who leads a group in the newest term that anybody leads, and as what.
    pub(super) fn led(&self, group: GroupId) -> Option<(M, ReplicaState)> {
        let leads = |(machine, known): (M, &Machine)| {
            let mut replicas = known.process.as_ref()?.engine.replicas();
            Some((machine, replicas.find(|state| state.group == group && state.leads)?))
        };
        let leaders = self.machines.iter().enumerate().filter_map(leads);
        leaders.max_by_key(|(_, state)| state.term)
    }
}
