//! Replicas and leaderships that move: what an administrator asks for, when, and what is asked of moves that cannot end.

use chronik_broker::replica::Event as EngineEvent;
use chronik_core::ids::{BrokerId, GroupId};
use chronik_core::metadata::{AlterReassignment, Command, Partition, TopicRef};

use crate::faults::{Fault, Kind};
use crate::random::Random;
use crate::time::{MS, Micros, SECOND};
use crate::world::{Event, M, World, broker_id, index_of};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// As many replicas, on other brokers as far as there are any.
    Elsewhere,
    /// The same brokers in another order.
    Reordered,
    /// More replicas.
    More,
    /// Fewer replicas.
    Fewer,
    /// One broker in place of another.
    Swapped,
    /// Any brokers.
    Anywhere,
    /// What is under way is taken back.
    TakenBack,
    /// The preferred replicas lead.
    Preferred,
}

impl Wanted {
    const ALL: [Wanted; 8] = [
        Wanted::Elsewhere,
        Wanted::Elsewhere,
        Wanted::Reordered,
        Wanted::More,
        Wanted::Fewer,
        Wanted::Swapped,
        Wanted::Anywhere,
        Wanted::Preferred,
    ];

    fn name(self) -> &'static str {
        match self {
            Wanted::Elsewhere => "asked: replicas elsewhere",
            Wanted::Reordered => "asked: replicas in another order",
            Wanted::More => "asked: more replicas",
            Wanted::Fewer => "asked: fewer replicas",
            Wanted::Swapped => "asked: one broker for another",
            Wanted::Anywhere => "asked: replicas anywhere",
            Wanted::TakenBack => "asked: a move taken back",
            Wanted::Preferred => "asked: preferred leaders",
        }
    }
}

/// One request of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    wanted: Wanted,
    place: usize,
    /// Whatever else follows from chance.
    extra: u64,
}

/// The requests of a run: none in some, a few in most, and many of them taken back or changed on their way.
pub fn plan(random: &mut Random, heal_at: Micros) -> Vec<(Micros, Move)> {
    let mut moves = Vec::new();
    let count = if random.percent(80) { random.between(1, 6) } else { 0 };
    for _ in 0..count {
        let at = random.between(4 * SECOND, heal_at - SECOND);
        let (wanted, place, extra) = (random.pick(&Wanted::ALL), random.index(4), random.next());
        moves.push((at, Move { wanted, place, extra }));
        if random.percent(35) {
            let wanted = if random.percent(70) { Wanted::TakenBack } else { random.pick(&Wanted::ALL) };
            let later = random.pick(&[100 * MS, SECOND, 6 * SECOND]);
            let at = at + random.below(later);
            moves.push((at.min(heal_at - MS), Move { wanted, place, extra: random.next() }));
        }
    }
    moves
}

/// What hits a partition's leader, mostly, while its replicas move.
const AMID: [Kind; 6] = [Kind::Kill, Kind::PowerLoss, Kind::Pause, Kind::Isolate, Kind::Cut, Kind::SlowDisk];

/// Faults that come soon after a request.
pub fn faults_amid(moves: &[(Micros, Move)], machines: usize, random: &mut Random) -> Vec<(Micros, Fault)> {
    let mut faults = Vec::new();
    for (number, (at, wanted)) in (100..).zip(moves) {
        if random.one_in(3) {
            let within = random.pick(&[50 * MS, 300 * MS, 2 * SECOND]);
            let at = at + random.below(within);
            faults.push((at, Fault { extra: wanted.place as u64, ..fault_amid(number, machines, random) }));
        }
    }
    faults
}

/// Faults that wait for a joint configuration.
pub fn faults_amid_joint(machines: usize, random: &mut Random) -> Vec<Fault> {
    (200..200 + random.below(4)).map(|number| fault_amid(number, machines, random)).collect()
}

fn fault_amid(number: u64, machines: usize, random: &mut Random) -> Fault {
    let fault = Fault::of(random.pick(&AMID), number, machines, 0, random);
    Fault { leader: random.percent(75), ..fault }
}

impl World {
    /// The administrator asks.
    pub fn begin_move(&mut self, wanted: Move) {
        if self.is_healed() {
            return;
        }
        let place = wanted.place % self.places.len();
        let Some(partition) = self.newest_partition(place) else { return };
        let mut random = Random::new(wanted.extra);
        let target = match wanted.wanted {
            Wanted::Preferred => return self.elect_preferred(&mut random),
            Wanted::TakenBack if partition.reassignment.is_none() => return,
            Wanted::TakenBack => None,
            other => Some(self.target_of(other, &partition, &mut random)),
        };
        self.coverage.count(wanted.wanted.name());
        self.note([65, place as u64, wanted.extra], || format!("asked for {:?}: {target:?}", wanted.wanted));
        self.alter_reassignment(place, target);
    }

    /// A group came to a joint configuration, which lasts two ticks if nothing happens.
    pub fn strike_amid_joint(&mut self, group: GroupId) {
        let known = self.places.iter().position(|(name, number)| {
            let cluster = self.checks.newest_metadata.as_ref();
            let topic = cluster.and_then(|cluster| cluster.topic_by_name(name));
            topic.and_then(|topic| topic.partition(*number)).is_some_and(|known| known.group == group)
        });
        let Some(place) = known.filter(|_| !self.is_healed()) else { return };
        if let Some(fault) = self.plan.faults_amid_joint.pop() {
            let soon = fault.extra % (150 * MS);
            self.after(soon, Event::Begin(Fault { extra: place as u64, ..fault }));
        }
    }

    pub fn alter_reassignment(&mut self, place: usize, target: Option<Vec<BrokerId>>) {
        let (name, number) = self.places[place].clone();
        let topic = TopicRef::Name(name);
        self.want(Command::AlterReassignment(AlterReassignment { topic, partition: number, target }));
    }

    /// A partition as the newest metadata has it.
    pub fn newest_partition(&self, place: usize) -> Option<Partition> {
        let (name, number) = &self.places[place];
        self.checks.newest_metadata.as_ref()?.topic_by_name(name)?.partition(*number).cloned()
    }

    fn target_of(&self, wanted: Wanted, partition: &Partition, random: &mut Random) -> Vec<BrokerId> {
        let mut inside: Vec<M> = partition.target().iter().map(|replica| index_of(replica.broker)).collect();
        let mut outside: Vec<M> =
            self.hosts().into_iter().filter(|machine| !inside.contains(machine)).collect();
        shuffle(&mut outside, random);
        let count = inside.len();
        match wanted {
            Wanted::Elsewhere => {
                shuffle(&mut inside, random);
                inside = outside.iter().chain(&inside).copied().take(count).collect();
            }
            Wanted::More => {
                let more = 1 + random.index(outside.len().max(1));
                inside.extend(outside.iter().take(more));
            }
            Wanted::Fewer => {
                shuffle(&mut inside, random);
                inside.truncate(1 + random.index(count));
            }
            Wanted::Swapped => {
                let at = random.index(count);
                inside[at] = outside.first().copied().unwrap_or(inside[at]);
            }
            Wanted::Anywhere => {
                inside.append(&mut outside);
                shuffle(&mut inside, random);
                inside.truncate(1 + random.index(self.machines.len()));
            }
            Wanted::Reordered | Wanted::TakenBack | Wanted::Preferred => shuffle(&mut inside, random),
        }
        self.leave_no_copy_to_the_victim(&mut inside);
        inside.into_iter().map(broker_id).collect()
    }

    /// A broker whose disk is damaged in this run is never one of two, nor alone: nobody could bring back what it loses.
    pub fn leave_no_copy_to_the_victim(&self, target: &mut Vec<M>) {
        let Some(victim) = self.plan.victim else { return };
        if target.len() > 2 || !target.contains(&victim) {
            return;
        }
        let others =
            self.hosts().into_iter().filter(|machine| *machine != victim && !target.contains(machine));
        let other = others.into_iter().next();
        target.retain(|machine| *machine != victim);
        target.extend(other);
    }

    /// Asks some broker for preferred leaders, as its handler of ElectLeaders does.
    fn elect_preferred(&mut self, random: &mut Random) {
        let at = random.index(self.machines.len());
        let Some(process) = &self.machines[at].process else { return };
        if self.machines[at].paused {
            return;
        }
        let groups: Vec<GroupId> =
            process.shared.cluster.borrow().partitions().map(|(_, partition)| partition.group).collect();
        self.coverage.count(Wanted::Preferred.name());
        self.note([66, at as u64, 0], || format!("b{} is asked for preferred leaders", at + 1));
        self.engine(at, EngineEvent::ElectPreferred { groups });
    }
}

fn shuffle<T>(list: &mut [T], random: &mut Random) {
    for at in (1..list.len()).rev() {
        list.swap(at, random.index(at + 1));
    }
}
