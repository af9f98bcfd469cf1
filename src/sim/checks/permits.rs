//! What holds of permits to stop: what a stop leaves of each partition, as things truly are on disks and in engines, and how
//! permits come and end.

use std::collections::{BTreeMap, BTreeSet};

use chronik_broker::replica::ReplicaState;
use chronik_core::ids::{BrokerId, GroupId, Incarnation, LogIndex, ReplicaId, Term};
use chronik_core::metadata::{ClusterState, Partition};
use chronik_core::restart::{Permit, PermitId, Stage};

use crate::permits::{Ordered, Told, Wanted};
use crate::time::{MS, Micros, SECOND};
use crate::world::{M, World, broker_id, index_of};

/// A member has what was its leader's end one second before it is asked for, by clocks that drift.
const BEHIND: Micros = 1_200 * MS;
/// From a question whether a broker is back to the end of its permit: one second for the word, five for the commit.
const CLOSED_WITHIN: Micros = 8 * SECOND;
/// A permit without use is kept for this long at least, by a clock that is too fast.
const UNUSED: Micros = 26 * SECOND;
/// What was asked for and not answered may still be done for this long.
const MAY_BE_DONE: Micros = 120 * SECOND;

/// A partition when somebody asked: as metadata had it, and up to where members have to have it.
#[derive(Clone)]
struct Then {
    partition: Partition,
    term: Term,
    end: LogIndex,
}

/// How things were when somebody asked.
#[derive(Clone)]
struct Asked {
    at: Micros,
    then: BTreeMap<GroupId, Then>,
}

/// A permit that was seen.
struct Seen {
    permit: Permit,
    since: Micros,
    asked: Asked,
}

/// Everything about permits.
#[derive(Default)]
pub struct Permitted {
    open: BTreeMap<PermitId, Seen>,
    /// All that were ever seen.
    known: BTreeSet<PermitId>,
    orders: Vec<(Ordered, Asked)>,
    /// When a broker was last seen in the ISR of one who leads, and in which life.
    in_sync: BTreeMap<(GroupId, BrokerId), (Micros, Incarnation)>,
    /// When a partition's replicas were last given others.
    changed: BTreeMap<GroupId, Micros>,
}

impl Permitted {
    /// How things were when that was asked for the first time, of all that may still be done.
    fn asked(&self, broker: BrokerId, begin: bool) -> Option<Asked> {
        let fits = |(ordered, _): &&(Ordered, Asked)| {
            ordered.broker() == broker && matches!(ordered.wanted, Wanted::Begin(..)) == begin
        };
        self.orders.iter().filter(fits).map(|(_, asked)| asked).min_by_key(|asked| asked.at).cloned()
    }
}

impl World {
    /// Somebody asks.
    pub fn note_order(&mut self, ordered: &Ordered) {
        let (at, mut then) = (self.now, BTreeMap::new());
        let Some(cluster) = self.checks.newest_metadata.clone() else { return };
        for (_, partition) in cluster.partitions() {
            let (group, partition) = (partition.group, partition.clone());
            let led = self.led(group);
            let end = led.as_ref().and_then(|(leader, _)| {
                let watch = self.machines[*leader].process.as_ref()?.watch.get(&group)?;
                watch.end_at(at.saturating_sub(BEHIND))
            });
            let term = led.map_or(0, |(_, state)| state.term);
            then.insert(group, Then { partition, term, end: end.unwrap_or(0) });
        }
        let orders = &mut self.checks.permits.orders;
        orders.retain(|(_, asked)| asked.at + MAY_BE_DONE > at);
        orders.push((ordered.clone(), Asked { at, then }));
    }

    /// Somebody is told what came of it.
    pub fn check_told_permit(&mut self, ordered: &Ordered, told: &Told) {
        let permits = &mut self.checks.permits;
        let begins = |ordered: &Ordered| matches!(ordered.wanted, Wanted::Begin(..));
        match told {
            Ok(answer) => {
                let of = |other: &Ordered| (other.broker(), begins(other));
                permits.orders.retain(|(other, _)| of(other) != of(ordered));
                let known = answer.permit.as_ref().filter(|permit| permits.known.contains(&permit.id));
                if known.is_none() {
                    self.fail("no permit is lost", format!("{ordered:?}: {answer:?} is in no metadata"));
                }
            }
            Err(refused) if refused.error.code == "unavailable" => {}
            Err(_) => permits.orders.retain(|(other, _)| other != ordered),
        }
    }

    /// A leader has these in sync.
    pub fn note_in_sync(&mut self, state: &ReplicaState) {
        if self.checks.permits.open.is_empty() && self.checks.permits.orders.is_empty() {
            return;
        }
        for member in &state.isr {
            if let Some(life) = self.incarnation(index_of(member.broker)) {
                self.checks.permits.in_sync.insert((state.group, member.broker), (self.now, life));
            }
        }
    }

    /// Another leads the metadata group.
    pub fn note_leader_amid_permits(&mut self, group: GroupId) {
        let open = self.checks.newest_metadata.as_ref().is_some_and(|c| c.permits().open().next().is_some());
        self.coverage
            .add("permits: another metadata leader amid one", u64::from(group == GroupId::METADATA && open));
    }

    /// Metadata is seen for the first time in this state: what became of permits.
    pub fn check_permits(&mut self, cluster: &ClusterState, before: Option<&ClusterState>) {
        for (_, partition) in cluster.partitions() {
            if before.and_then(|before| before.group(partition.group)).map(|(_, known)| known)
                != Some(partition)
            {
                self.checks.permits.changed.insert(partition.group, self.now);
            }
        }
        let mut holders = BTreeSet::new();
        if let Some(twice) = cluster.permits().open().find(|permit| !holders.insert(permit.broker)) {
            self.fail("a broker holds one permit", format!("{twice:?} is another of its broker"));
        }
        let ended: Vec<PermitId> = self.checks.permits.open.keys().copied().collect();
        for id in ended.into_iter().filter(|id| cluster.permits().get(*id).is_none()) {
            let seen = self.checks.permits.open.remove(&id).expect("just listed");
            self.check_ended_permit(cluster, &seen);
        }
        for permit in cluster.permits().open() {
            self.check_open_permit(permit);
        }
    }

    fn check_open_permit(&mut self, permit: &Permit) {
        let (now, begun) = (self.now, permit.stage == Stage::Begun);
        let known = self.checks.permits.open.get(&permit.id).map(|seen| seen.permit.clone());
        if known.as_ref() == Some(permit) {
            return;
        }
        let is_later = |known: &Permit| begun && Permit { stage: Stage::Begun, ..known.clone() } == *permit;
        let is_new = known.is_none() && self.checks.permits.known.insert(permit.id);
        if !known.as_ref().map_or(is_new, is_later) {
            return self.fail("a permit is granted once and then begun", format!("{permit:?} was {known:?}"));
        }
        self.coverage.add("permits: granted", u64::from(is_new));
        self.coverage.add("permits: begun", u64::from(begun));
        self.note([83, permit.id.0, u64::from(begun)], || format!("{permit:?}"));
        let Some(asked) = self.checks.permits.asked(permit.broker, begun) else {
            return self.fail("permits are given to those who ask", format!("{permit:?}"));
        };
        let broken = self.broken_without(index_of(permit.broker), &asked);
        let seen = Seen { permit: permit.clone(), since: now, asked };
        self.checks.permits.open.insert(permit.id, seen);
        if let Some(what) = broken {
            let text = format!("{permit:?}, asked for at {}: {what}", self.asked_at(permit.id));
            let property = match begun {
                true => "a permit is begun only if no partition pays",
                false => "a permit is granted only if no partition pays",
            };
            self.fail(property, text);
        }
    }

    fn asked_at(&self, id: PermitId) -> Micros {
        self.checks.permits.open.get(&id).map_or(0, |seen| seen.asked.at / MS)
    }

    fn check_ended_permit(&mut self, cluster: &ClusterState, seen: &Seen) {
        let permit = &seen.permit;
        self.note([84, permit.id.0, 0], || format!("ended: {permit:?}"));
        let Some(registered) = cluster.broker(permit.broker) else {
            return self.coverage.count("permits: its broker taken out");
        };
        if permit.stage == Stage::Begun {
            self.coverage.count("permits: closed");
            if let Some(what) = self.not_back(cluster, permit) {
                self.fail(
                    "a begun permit ends with a later life in every ISR",
                    format!("{permit:?}: {what}"),
                );
            }
            return;
        }
        let lapsed = self.now >= seen.since + UNUSED;
        self.coverage.count(if lapsed { "permits: lapsed" } else { "permits: taken back" });
        let tried = self.checks.permits.asked(permit.broker, true).is_some();
        if !lapsed && !tried && !permit.is_over_with(registered.incarnation()) {
            self.fail("no permit is lost", format!("{permit:?} of {} is gone", seen.since / MS));
        }
    }

    /// Where a broker is not back whose begun permit has just ended.
    fn not_back(&self, cluster: &ClusterState, permit: &Permit) -> Option<String> {
        let broker = permit.broker;
        if self.incarnation(index_of(broker)) == Some(permit.incarnation) {
            return Some("the life that was to end goes on".to_owned());
        }
        let since = self.now.saturating_sub(CLOSED_WITHIN);
        let permits = &self.checks.permits;
        let has_it = |group: GroupId| {
            let seen = permits.in_sync.get(&(group, broker));
            seen.is_some_and(|(at, life)| *at >= since && *life != permit.incarnation)
        };
        let lacks = |partition: &&Partition| {
            let changed = permits.changed.get(&partition.group).is_some_and(|at| *at >= since);
            partition.target().iter().any(|replica| replica.broker == broker)
                && !changed
                && !has_it(partition.group)
        };
        let lacking = cluster.partitions().map(|(_, partition)| partition).find(lacks)?;
        Some(format!("it is not in the ISR of group {}", lacking.group))
    }

    /// A broker is about to stop on purpose.
    pub fn check_stop(&mut self, at: M) {
        let Some(life) = self.incarnation(at) else { return };
        let mut open = self.checks.permits.open.values();
        let held = open.find(|seen| index_of(seen.permit.broker) == at && seen.permit.stage == Stage::Begun);
        // Its permit may be closed already, if it started again between the grant's use and now.
        let Some(seen) = held.filter(|seen| seen.permit.incarnation == life) else { return };
        let (permit, asked) = (seen.permit.clone(), seen.asked.clone());
        self.coverage.count("permits: stopped with one");
        if let Some(what) = self.broken_without(at, &asked) {
            let text = format!("{permit:?}, asked for at {}: {what}", asked.at / MS);
            self.fail("a stop with a permit costs no partition min ISR or majority", text);
        }
    }

    /// What would be broken without a broker and all who hold a permit, but for what befell others since somebody asked.
    fn broken_without(&mut self, at: M, asked: &Asked) -> Option<String> {
        let cluster = self.checks.newest_metadata.clone()?;
        let mut gone = cluster.permits().holders();
        gone.insert(broker_id(at));
        let excused = |machine: M| self.machines[machine].known_at >= asked.at;
        let lives = self.machines[at].process.is_some() && !self.machines[at].paused;
        if !lives || excused(at) {
            // Its absence costs nothing that is not paid already, or others took it for well that was not.
            return None;
        }
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

    /// Whether a group has anything of a broker: whoever is cut off from its leader, and not in its ISR, is not missed.
    fn is_of_use(&self, at: M, group: GroupId) -> bool {
        let mut others = (0..self.machines.len()).filter(|other| *other != at);
        match self.led(group) {
            Some((leader, state)) => {
                let in_isr = state.isr.iter().any(|member| member.broker == broker_id(at));
                leader == at || in_isr || self.hears(leader, at)
            }
            None => others.all(|other| self.network.cuts[other][at] + self.network.cuts[at][other] == 0),
        }
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
            let seen = self.checks.permits.in_sync.get(&(group, broker));
            state.isr.iter().any(|member| member.broker == broker)
                || seen.is_some_and(|(at, _)| *at >= asked_at)
        };
        let has_it = |replica: ReplicaId| self.holds_up_to(group, replica, end);
        let stays = |replica: &&chronik_core::metadata::Replica| {
            let machine = index_of(replica.broker);
            let heard = self.hears(leader, machine) || excused(leader);
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
        let left = !super::members::majority(members, stays);
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
    fn led(&self, group: GroupId) -> Option<(M, ReplicaState)> {
        let leads = |(machine, known): (M, &crate::world::Machine)| {
            let mut replicas = known.process.as_ref()?.engine.replicas();
            Some((machine, replicas.find(|state| state.group == group && state.leads)?))
        };
        let leaders = self.machines.iter().enumerate().filter_map(leads);
        leaders.max_by_key(|(_, state)| state.term)
    }

    /// Why not every permit has ended.
    pub fn unsettled_permit(&self) -> Option<String> {
        let open = self.checks.newest_metadata.as_ref()?.permits().open().next()?;
        Some(format!("{open:?} is open"))
    }
}
