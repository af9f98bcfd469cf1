//! Brokers that come and go while the cluster runs: an administrator has a new one take replicas, and one that is to go give
//! them up, by the product's own calls. Of every other one he says only that it joins or leaves, and the product moves.

use chronik_core::metadata::{Command, Partition, Replica, SetStanding, Standing, UnregisterBroker};

use crate::random::Random;
use crate::time::{Micros, SECOND};
use crate::world::{Event, M, World, broker_id, index_of};

/// The administrator looks again after this long.
const LOOKS_EVERY: Micros = SECOND;
/// What is not done by then is asked for again.
const ASKS_EVERY: u32 = 3;
/// A broker that cannot be taken out is started again after so many looks, for the others may need it.
const PATIENCE: u32 = 8;

/// A broker that comes while the cluster runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Newcomer {
    pub at: Micros,
    /// How long it stays once it has replicas; for good if `None`.
    stays: Option<Micros>,
    /// It is stopped before its replicas are elsewhere, as one that died for good.
    fails: bool,
}

impl Newcomer {
    pub fn goes(&self) -> bool {
        self.stays.is_some()
    }

    /// What is there by chance decides it, so that nothing else of a seed changes.
    fn by_standing(&self) -> bool {
        self.at.is_multiple_of(2)
    }
}

/// One or two of them.
pub fn plan(random: &mut Random, heal_at: Micros) -> Vec<Newcomer> {
    let count = random.between(1, 2);
    let newcomer = |_| Newcomer {
        at: random.between(4 * SECOND, heal_at - 20 * SECOND),
        stays: random.percent(60).then(|| random.between(SECOND, 8 * SECOND)),
        fails: random.one_in(3),
    };
    (0..count).map(newcomer).collect()
}

/// Whether a machine is one of the cluster's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Membership {
    In,
    /// It is to go.
    Leaving,
    /// Not yet, or no more: nobody starts it.
    Out,
}

/// What the administrator does next, and how often it has looked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Come,
    /// It is given replicas, until it is in full ISRs with them.
    Fill(u32),
    /// It gives its replicas up, and stops.
    Empty(u32),
    /// It is stopped, and taken out of the metadata.
    TakeOut(u32),
}

impl World {
    /// The administrator's turn with one broker.
    pub fn scale(&mut self, at: M, step: Step) {
        let next = match step {
            Step::Come => self.come(at),
            Step::Fill(looks) => self.fill(at, looks),
            Step::Empty(looks) => self.empty(at, looks),
            Step::TakeOut(looks) => self.take_out(at, looks),
        };
        match next {
            Some((after, next)) => self.after(after, Event::Scale(at, next)),
            None => self.scaling -= 1,
        }
    }

    fn come(&mut self, at: M) -> Option<(Micros, Step)> {
        self.coverage.count("scale: a broker comes");
        self.machines[at].membership = Membership::In;
        self.start(at);
        Some((LOOKS_EVERY, Step::Fill(0)))
    }

    fn fill(&mut self, at: M, looks: u32) -> Option<(Micros, Step)> {
        let wanted = self.newcomer(at);
        if self.is_in_full_isrs(at) {
            self.coverage.count("scale: a new broker in full ISRs");
            return wanted.stays.map(|stays| (stays, Step::Empty(0)));
        }
        if !self.is_registered(at) {
            return Some((LOOKS_EVERY, Step::Fill(0)));
        }
        let done_for_him = self.leaves_moves_to_the_product(at, looks);
        if looks == 0 && done_for_him {
            self.stand(at, Standing::Joining);
        }
        // Its share may be none.
        if looks.is_multiple_of(ASKS_EVERY) && !done_for_him {
            for place in 0..self.places.len() {
                let Some(partition) = self.newest_partition(place) else { continue };
                if !names(partition.target(), at) && partition.reassignment.is_none() {
                    let mut target = machines(&partition);
                    target.truncate(2);
                    target.push(at);
                    self.move_to(place, target);
                }
            }
        }
        Some((LOOKS_EVERY, Step::Fill(looks + 1)))
    }

    fn empty(&mut self, at: M, looks: u32) -> Option<(Micros, Step)> {
        self.machines[at].membership = Membership::Leaving;
        let fails = looks == 0 && self.newcomer(at).fails;
        if self.has_nothing(at) || fails {
            self.coverage.add("scale: a broker fails for good", u64::from(fails));
            match self.machines[at].paused || fails {
                true => self.crash(at, false),
                false => self.stop(at),
            }
            self.machines[at].membership = Membership::Out;
            return Some((LOOKS_EVERY, Step::TakeOut(0)));
        }
        if looks.is_multiple_of(ASKS_EVERY) {
            self.have_emptied(at, looks);
        }
        Some((LOOKS_EVERY, Step::Empty(looks + 1)))
    }

    fn take_out(&mut self, at: M, looks: u32) -> Option<(Micros, Step)> {
        if !self.is_registered(at) {
            self.coverage.count("scale: a broker is gone");
            return None;
        }
        if looks > PATIENCE {
            self.machines[at].membership = Membership::Leaving;
            self.start(at);
            return Some((LOOKS_EVERY, Step::Empty(1)));
        }
        if looks.is_multiple_of(ASKS_EVERY) {
            // Refused as long as a partition names it.
            self.want(Command::UnregisterBroker(UnregisterBroker { broker: broker_id(at) }));
            self.have_emptied(at, looks);
        }
        Some((LOOKS_EVERY, Step::TakeOut(looks + 1)))
    }

    /// A partition with as many replicas as there are brokers cannot leave by itself: he has it have fewer.
    fn have_emptied(&mut self, at: M, looks: u32) {
        match self.leaves_moves_to_the_product(at, looks) {
            true => self.stand(at, Standing::Leaving),
            false => self.move_away(at),
        }
    }

    /// For some time; then he moves himself. A copy that may be lost is put nowhere by chance.
    fn leaves_moves_to_the_product(&self, at: M, looks: u32) -> bool {
        self.newcomer(at).by_standing() && looks < PATIENCE && self.plan.victim.is_none()
    }

    fn stand(&mut self, at: M, standing: Standing) {
        let name = match standing {
            Standing::Leaving => "scale: a broker is said to leave",
            _ => "scale: a broker is said to join",
        };
        self.coverage.count(name);
        self.want(Command::SetStanding(SetStanding { broker: broker_id(at), standing }));
    }

    fn newcomer(&self, at: M) -> Newcomer {
        self.plan.newcomers[at - self.plan.founders]
    }

    fn is_registered(&self, at: M) -> bool {
        self.checks.newest_metadata.as_ref().is_some_and(|cluster| cluster.broker(broker_id(at)).is_some())
    }

    /// Whether no partition names it.
    fn has_nothing(&self, at: M) -> bool {
        let named = |place| {
            self.newest_partition(place).is_some_and(|partition| partition.brokers().contains(&broker_id(at)))
        };
        !(0..self.places.len()).any(named)
    }

    /// Whether it has replicas, and all partitions that have one there are whole.
    fn is_in_full_isrs(&self, at: M) -> bool {
        let partitions =
            (0..self.places.len()).filter_map(|place| Some((place, self.newest_partition(place)?)));
        let mut here = partitions.filter(|(_, partition)| names(&partition.replicas, at)).peekable();
        let whole = |(place, partition): (usize, Partition)| {
            let leader = self.leader_of(place).and_then(|leader| self.machines[leader].process.as_ref());
            let state = leader.and_then(|leader| {
                leader.engine.replicas().find(|state| state.group == partition.group && state.leads)
            });
            partition.reassignment.is_none()
                && state.is_some_and(|state| state.isr.len() == partition.replicas.len())
        };
        here.peek().is_some() && here.all(whole)
    }

    /// Its replicas go to the brokers that stay.
    fn move_away(&mut self, at: M) {
        for place in 0..self.places.len() {
            let Some(partition) = self.newest_partition(place) else { continue };
            if names(partition.target(), at) {
                let staying = self.hosts();
                let mut target = machines(&partition);
                let count = target.len().min(staying.len());
                target.retain(|machine| staying.contains(machine));
                let others: Vec<M> =
                    staying.into_iter().filter(|machine| !target.contains(machine)).collect();
                target.extend(others);
                target.truncate(count);
                self.move_to(place, target);
            }
        }
    }

    /// The machines that replicas may be put on.
    pub fn hosts(&self) -> Vec<M> {
        let may = |at: &M| self.machines[*at].membership == Membership::In && self.is_registered(*at);
        (0..self.machines.len()).filter(may).collect()
    }

    fn move_to(&mut self, place: usize, mut target: Vec<M>) {
        self.leave_no_copy_to_the_victim(&mut target);
        self.alter_reassignment(place, Some(target.into_iter().map(broker_id).collect()));
    }
}

fn names(replicas: &[Replica], at: M) -> bool {
    replicas.iter().any(|replica| replica.broker == broker_id(at))
}

fn machines(partition: &Partition) -> Vec<M> {
    partition.target().iter().map(|replica| index_of(replica.broker)).collect()
}
