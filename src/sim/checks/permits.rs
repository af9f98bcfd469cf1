//! What holds of permits to stop: how they come and end, and whom they are given to. What a stop leaves is in `stops.rs`.

use std::collections::{BTreeMap, BTreeSet};

use chronik_broker::replica::ReplicaState;
use chronik_core::ids::{BrokerId, GroupId, Incarnation, LogIndex, Term};
use chronik_core::metadata::{ClusterState, Partition};
use chronik_core::restart::{Permit, PermitId, Stage};

use crate::permits::{Ordered, Told, Wanted};
use crate::time::{MS, Micros, SECOND};
use crate::world::{World, index_of};

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
pub(super) struct Then {
    pub(super) partition: Partition,
    pub(super) term: Term,
    pub(super) end: LogIndex,
}

/// How things were when somebody asked.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) at: Micros,
    pub(super) then: BTreeMap<GroupId, Then>,
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
    /// Who has asked and was told nothing yet.
    pending: Vec<Ordered>,
    /// When a broker was last seen in the ISR of one who leads, and in which life.
    in_sync: BTreeMap<(GroupId, BrokerId), (Micros, Incarnation)>,
    /// When a partition's replicas were last given others.
    changed: BTreeMap<GroupId, Micros>,
}

impl Permitted {
    /// The begun permit that a broker holds in that life, and how things were when somebody asked to begin.
    pub(super) fn begun(&self, broker: BrokerId, life: Incarnation) -> Option<(&Permit, &Asked)> {
        let begun = |permit: &Permit| {
            permit.broker == broker && permit.incarnation == life && permit.stage == Stage::Begun
        };
        self.open.values().find(|seen| begun(&seen.permit)).map(|seen| (&seen.permit, &seen.asked))
    }

    /// When a broker was last seen in the ISR of one who leads.
    pub(super) fn in_sync_at(&self, group: GroupId, broker: BrokerId) -> Option<Micros> {
        self.in_sync.get(&(group, broker)).map(|(at, _)| *at)
    }

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
        self.checks.permits.pending.push(ordered.clone());
    }

    /// Somebody is told what came of it.
    pub fn check_told_permit(&mut self, ordered: &Ordered, told: &Told) {
        let permits = &mut self.checks.permits;
        permits.pending.retain(|other| other != ordered);
        let begins = |ordered: &Ordered| matches!(ordered.wanted, Wanted::Begin(..));
        match told {
            Ok(answer) => {
                let of = |other: &Ordered| (other.broker(), begins(other));
                let pending = &permits.pending;
                permits.orders.retain(|(other, _)| of(other) != of(ordered) || pending.contains(other));
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
            self.check_open_permit(permit, &cluster.permits().holders());
        }
    }

    fn check_open_permit(&mut self, permit: &Permit, holders: &BTreeSet<BrokerId>) {
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
        // A life that is over cannot end, and a later one can begin nothing with its permit.
        let lives = self.incarnation(index_of(permit.broker)) == Some(permit.incarnation);
        let broken = lives.then(|| self.broken_without(index_of(permit.broker), &asked, holders)).flatten();
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
        // Whoever begins it, or asks for it again, has it judged again, and may have been given up for lost meanwhile.
        let orders = &mut self.checks.permits.orders.iter();
        let tried = orders.any(|(ordered, _)| ordered.broker() == permit.broker);
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
        // It was in sync when that was asked; the end may be committed long after, where nobody leads the metadata group meanwhile.
        let has_it = |group: GroupId| {
            let seen = permits.in_sync.get(&(group, broker));
            seen.is_some_and(|(_, life)| *life != permit.incarnation)
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

    /// Why not every permit has ended.
    pub fn unsettled_permit(&self) -> Option<String> {
        let open = self.checks.newest_metadata.as_ref()?.permits().open().next()?;
        Some(format!("{open:?} is open"))
    }
}
