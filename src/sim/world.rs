//! The world of one run: machines, links, clients and the queue of what happens next. One thread, virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use chronik_broker::peer::PeerConfig;
use chronik_core::ids::{BrokerId, DiskId, Incarnation};
use uuid::Uuid;

use crate::checks::{Checks, Violation};
use crate::clients::{Client, Requests, Told};
use crate::coverage::Coverage;
use crate::disk::SimDisk;
use crate::disks::Aside;
use crate::faults::Fault;
use crate::last_resort::Step;
use crate::moves::Move;
use crate::peers::{Dialed, Link, Timing};
use crate::permits::Askers;
use crate::plan::Plan;
use crate::pods::Pod;
use crate::process::Process;
use crate::random::Random;
use crate::scaling::{self, Membership};
use crate::time::{MS, MachineClock, Micros, SECOND};
use crate::trace::Trace;
use crate::votes::VoteTrap;

/// A machine by its place, from 0; its broker's number is one more.
pub type M = usize;

pub fn broker_id(machine: M) -> BrokerId {
    BrokerId(machine as u32 + 1)
}

pub fn index_of(broker: BrokerId) -> M {
    broker.0 as usize - 1
}

/// What happens. `(M, u64)` is a machine and the life of its process: what was meant for another life is void.
pub enum Event {
    /// The supervisor starts the broker, if it is not running.
    Start(M),
    Tick(M, u64),
    Round(M, u64),
    /// The disk has done what it was asked.
    Write(M, u64),
    /// The log has rested since that many writes.
    Rest(M, u64, u64),
    Look(M, u64),
    /// A process without metadata asks around.
    Ask(M, u64),
    /// A broker whose place was taken tries again to register.
    Register(M, u64),
    Judge(M, u64),
    Dialed(M, u64, M, usize, Dialed),
    Redial(M, u64, M, usize),
    Handshake(M, u64, M, usize),
    HandshakeTimedOut(M, u64, M, usize),
    Ping(u64),
    Deliver(u64),
    LinkEnds(u64, usize),
    Propose(M, u64, u64),
    /// A broker's turn in a rolling restart.
    Roll(M),
    /// A drained broker is stopped and started again.
    Recycle(M, u64),
    Arrive(u64, M),
    GiveUp(u64),
    Answer(u64, Box<Told>),
    Disconnect(usize, M, u64),
    Wake(usize),
    Begin(Fault),
    End(Fault),
    /// A vote that a fault waited for has reached its candidate.
    VoteGiven(M),
    /// The administrator moves replicas or leaderships.
    Move(Move),
    /// The administrator has a broker come or go.
    Scale(M, scaling::Step),
    /// A person who goes on from the last disk.
    LastResort(Step),
    /// An asker's turn to ask for a permit, or to go on with one.
    Permits(usize, u64),
    /// Has a broker whose pod is deleted handed over?
    PodEnds(M),
    /// The next pod runs.
    PodStarts(M),
    /// A machine that was held down comes up.
    LetUp(M),
    /// Every fault is over.
    Heal,
    /// Is all well again?
    Settle,
}

struct Queued {
    at: Micros,
    number: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// One machine.
pub struct Machine {
    pub disk: Arc<SimDisk>,
    pub disk_id: DiskId,
    pub clock: MachineClock,
    pub process: Option<Process>,
    /// Processes started so far; also the number of the running one.
    pub lives: u64,
    pub powered: bool,
    pub paused: bool,
    /// When its process stood still the last time: from, and until.
    pub stood: (Micros, Micros),
    /// What came while it stood still.
    parked: VecDeque<Event>,
    /// Ends of links that hear of a lost machine when it is back.
    pub half_open: Vec<(u64, usize)>,
    /// A write takes this long, in microseconds.
    pub write_takes: (Micros, Micros),
    /// Its disk lost or changed what was synced: it may call replicas damaged.
    pub damaged: bool,
    /// Its disk failed a sync: it may stop.
    pub may_stop: bool,
    /// The disk that was in it before, with what is on it.
    pub aside: Option<Aside>,
    /// The machine with whose disk it is started, while that one has its own.
    pub exchanged_with: Option<M>,
    /// Whether it is one of the cluster's now.
    pub membership: Membership,
    pub restart_due: bool,
    /// This fault waits for the next write, to come amid it.
    pub doomed: Option<Fault>,
    /// The supervisor leaves it down until the fault is over.
    pub held_down: u32,
    /// The pod that its broker runs in.
    pub pod: Pod,
    /// Who looks from then on knows all that befell it so far.
    pub known_at: Micros,
}

/// Streams of chance, apart from each other so that a change of one leaves the others.
pub struct Chance {
    pub network: Random,
    pub disks: Random,
    pub clients: Random,
    pub brokers: Random,
}

/// The state of the paths.
pub struct Network {
    /// How many faults cut the path from one machine to another.
    pub cuts: Vec<Vec<u32>>,
    /// How many faults cut clients from a machine.
    pub client_cuts: Vec<u32>,
    pub latency: (Micros, Micros),
    pub loss_percent: u64,
}

/// One run.
pub struct World {
    pub now: Micros,
    queue: BinaryHeap<Reverse<Queued>>,
    numbers: u64,
    pub plan: Plan,
    pub chance: Chance,
    pub timing: Timing,
    pub network: Network,
    /// The fault of that name, while it lasts.
    pub vote_trap: Option<VoteTrap>,
    pub machines: Vec<Machine>,
    pub links: BTreeMap<u64, Link>,
    pub clients: Vec<Client>,
    pub requests: Requests,
    /// Topic and number of every partition.
    pub places: Vec<(String, i32)>,
    pub producing_until: Micros,
    /// Brokers that are still to come or to go.
    pub scaling: usize,
    /// Those who ask for permits to stop.
    pub askers: Askers,
    pub operations: u64,
    pub trace: Trace,
    pub checks: Checks,
    pub coverage: Coverage,
    pub violation: Option<Violation>,
    healed_at: Option<Micros>,
    finished: bool,
}

/// Clients go on producing this long after the faults are over.
const PRODUCING_ON: Micros = 6 * SECOND;
/// By then all must be well again.
const SETTLED_WITHIN: Micros = 45 * SECOND;
/// No run is shorter.
const SHORTEST: Micros = 60 * SECOND;

impl World {
    /// The world of a seed, with nothing running yet.
    pub fn new(seed: u64, readable: bool) -> Self {
        let mut random = Random::new(seed);
        let mut plan = Plan::of(&mut random);
        let chance = Chance {
            network: random.fork(),
            disks: random.fork(),
            clients: random.fork(),
            brokers: random.fork(),
        };
        plan.add_last_resort(&mut random);
        plan.add_newcomers(&mut random);
        plan.add_permits(&mut random);
        let count = plan.machines;
        let mut world = Self {
            now: 0,
            queue: BinaryHeap::new(),
            numbers: 0,
            timing: Timing::of(&peer_defaults()),
            network: Network {
                cuts: vec![vec![0; count]; count],
                client_cuts: vec![0; count],
                latency: plan.latency,
                loss_percent: 0,
            },
            vote_trap: None,
            machines: Vec::new(),
            links: BTreeMap::new(),
            clients: Vec::new(),
            requests: Requests::new(),
            places: plan.places(),
            producing_until: plan.heal_at + PRODUCING_ON,
            scaling: plan.newcomers.len(),
            askers: Askers::new(random.fork()),
            operations: 0,
            trace: Trace::new(readable),
            checks: Checks::new(count),
            coverage: Coverage::default(),
            violation: None,
            healed_at: None,
            finished: false,
            plan,
            chance,
        };
        world.set_up();
        world
    }

    /// Runs to the end, or to the first violation.
    pub fn run(&mut self) {
        while !self.finished && self.violation.is_none() {
            let Reverse(next) = self.queue.pop().expect("clients always want to do something later");
            debug_assert!(next.at >= self.now);
            self.now = next.at;
            self.dispatch(next.event);
        }
    }

    /// At that time.
    pub fn at(&mut self, at: Micros, event: Event) {
        let number = self.next_id();
        self.queue.push(Reverse(Queued { at, number, event }));
    }

    /// After so long.
    pub fn after(&mut self, passes: Micros, event: Event) {
        self.at(self.now + passes, event);
    }

    /// A number never used before.
    pub fn next_id(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Notes an event in the trace.
    pub fn note(&mut self, numbers: [u64; 3], words: impl FnOnce() -> String) {
        self.trace.note(self.now, numbers, words);
    }

    /// The number of a machine's running process.
    pub fn life(&self, at: M) -> u64 {
        self.machines[at].lives
    }

    pub fn incarnation(&self, at: M) -> Option<Incarnation> {
        self.machines[at].process.as_ref().map(|process| process.incarnation)
    }

    /// How long a message takes between brokers now.
    pub fn latency(&mut self) -> Micros {
        let (least, most) = self.network.latency;
        self.chance.network.between(least, most)
    }

    /// How long a message takes between a client and a broker.
    pub fn client_latency(&mut self, client: usize) -> Micros {
        let (least, most) = self.clients[client].latency;
        self.chance.clients.between(least, most)
    }

    fn set_up(&mut self) {
        for machine in 0..self.plan.machines {
            let founds = machine < self.plan.founders;
            let disk_id = DiskId(Uuid::from_u128(u128::from(self.chance.disks.next())));
            let (drift, wall) = self.plan.clocks[machine];
            self.machines.push(Machine {
                disk: Arc::new(SimDisk::default()),
                disk_id,
                clock: MachineClock::new(drift, wall),
                process: None,
                lives: 0,
                powered: true,
                paused: false,
                stood: (0, 0),
                parked: VecDeque::new(),
                half_open: Vec::new(),
                write_takes: self.plan.write_takes,
                damaged: false,
                may_stop: false,
                aside: None,
                exchanged_with: None,
                membership: if founds { Membership::In } else { Membership::Out },
                restart_due: false,
                doomed: None,
                held_down: 0,
                pod: Pod::default(),
                known_at: 0,
            });
            self.format(machine, !founds);
            if founds {
                let starts = self.chance.brokers.below(300 * MS);
                self.at(starts, Event::Start(machine));
            }
        }
        self.clients = self.plan.clients(self.places.len());
        for client in 0..self.clients.len() {
            let wakes = SECOND + self.chance.clients.below(200 * MS);
            self.at(wakes, Event::Wake(client));
        }
        self.plan.topics().into_iter().for_each(|command| self.want(command));
        for (at, fault) in self.plan.faults.clone() {
            self.at(at, Event::Begin(fault));
        }
        for (at, wanted) in self.plan.moves.clone() {
            self.at(at, Event::Move(wanted));
        }
        for (machine, newcomer) in (self.plan.founders..).zip(self.plan.newcomers.clone()) {
            self.at(newcomer.at, Event::Scale(machine, scaling::Step::Come));
        }
        if let Some(at) = self.plan.last_resort {
            self.at(at, Event::LastResort(Step::Choose));
        }
        if self.plan.permits {
            self.begin_asking();
        }
        self.at(self.plan.heal_at, Event::Heal);
    }

    // ---- what happens -------------------------------------------------------------------------------------------

    /// The machine an event happens on, and the life it is for, if it is for one.
    fn place_of(&self, event: &Event) -> Option<(M, Option<u64>)> {
        Some(match event {
            Event::Tick(at, life)
            | Event::Round(at, life)
            | Event::Write(at, life)
            | Event::Rest(at, life, _)
            | Event::Look(at, life)
            | Event::Ask(at, life)
            | Event::Register(at, life)
            | Event::Judge(at, life)
            | Event::Dialed(at, life, ..)
            | Event::Redial(at, life, ..)
            | Event::Handshake(at, life, ..)
            | Event::HandshakeTimedOut(at, life, ..)
            | Event::Propose(at, life, _) => (*at, Some(*life)),
            Event::Ping(link) => (self.links.get(link)?.ends[0].0, None),
            Event::Deliver(link) => (self.links.get(link)?.ends[1].0, None),
            Event::LinkEnds(link, side) => (self.links.get(link)?.ends[*side].0, None),
            Event::Arrive(_, at) => (*at, None),
            _ => return None,
        })
    }

    fn dispatch(&mut self, event: Event) {
        if let Some((at, life)) = self.place_of(&event) {
            let machine = &mut self.machines[at];
            if life.is_some_and(|life| machine.process.is_none() || machine.lives != life) {
                return;
            }
            if machine.paused {
                machine.parked.push_back(event);
                return;
            }
            self.set_clock(at);
        }
        match event {
            Event::Start(at) => self.start(at),
            Event::Tick(at, _) => self.tick(at),
            Event::Round(at, _) => self.round(at),
            Event::Write(at, _) => self.written(at),
            Event::Rest(at, _, writes) => self.rest(at, writes),
            Event::Look(at, _) => self.look_around(at),
            Event::Ask(at, _) => self.ask_around(at),
            Event::Register(at, _) => self.register(at),
            Event::Judge(at, _) => self.judge(at),
            Event::Dialed(at, _, to, lane, outcome) => self.dialed(at, to, lane, outcome),
            Event::Redial(at, _, to, lane) => self.redial(at, to, lane),
            Event::Handshake(at, _, to, lane) => self.handshake(at, to, lane),
            Event::HandshakeTimedOut(at, _, to, lane) => self.dial_later(at, to, lane),
            Event::Ping(link) => self.ping(link),
            Event::Deliver(link) => self.deliver(link),
            Event::LinkEnds(link, side) => self.link_ends(link, side),
            Event::Propose(at, _, number) => self.look_for_leader(at, number),
            Event::Roll(at) => self.roll(at),
            Event::Recycle(at, life) => self.recycle(at, life),
            Event::Arrive(request, at) => self.arrived(request, at),
            Event::GiveUp(request) => self.give_up(request),
            Event::Answer(request, told) => self.answered(request, *told),
            Event::Disconnect(client, at, connection) => self.disconnect(client, at, connection),
            Event::Wake(client) => self.wake(client),
            Event::Begin(fault) => self.begin(fault),
            Event::End(fault) => self.end(fault),
            Event::VoteGiven(voter) => self.vote_given(voter),
            Event::Move(wanted) => self.begin_move(wanted),
            Event::Scale(at, step) => self.scale(at, step),
            Event::LastResort(step) => self.last_resort(step),
            Event::Permits(asker, turn) => self.seek_permit(asker, turn),
            Event::PodEnds(at) => self.pod_ends(at),
            Event::PodStarts(at) => self.pod_starts(at),
            Event::LetUp(at) => self.let_up(at),
            Event::Heal => self.heal(),
            Event::Settle => self.settle(),
        }
    }

    /// A machine goes on after it stood still: what came meanwhile comes now, in order.
    pub fn unpark(&mut self, at: M) {
        for event in std::mem::take(&mut self.machines[at].parked) {
            self.after(0, event);
        }
    }

    /// What was meant for a machine that stood still and then lost its process.
    pub fn forget_parked(&mut self, at: M) {
        let parked = std::mem::take(&mut self.machines[at].parked);
        // Ends of links and requests are not the process's own.
        for event in parked {
            if matches!(event, Event::LinkEnds(..) | Event::Arrive(..) | Event::Deliver(..)) {
                self.after(0, event);
            }
        }
    }

    /// Whether the faults are over.
    pub fn is_healed(&self) -> bool {
        self.healed_at.is_some()
    }

    fn wake(&mut self, client: usize) {
        match self.clients[client].role {
            crate::clients::Role::Producer(_) => self.producer_wakes(client),
            crate::clients::Role::Consumer(_) => self.consumer_wakes(client),
            crate::clients::Role::Admin(_) => self.admin_wakes(client),
        }
    }

    fn heal(&mut self) {
        self.note([50, 0, 0], || "every fault is over".to_owned());
        self.end_all_faults();
        self.healed_at = Some(self.now);
        self.at(self.producing_until + SECOND, Event::Settle);
    }

    fn settle(&mut self) {
        let healed_at = self.healed_at.expect("it comes after the heal");
        match self.unsettled() {
            None if self.now >= SHORTEST => {
                self.check_end();
                self.finished = true;
            }
            Some(why) if self.now > healed_at + SETTLED_WITHIN => {
                self.fail("after the faults all is well again", why);
            }
            _ => self.after(500 * MS, Event::Settle),
        }
    }
}

/// The product's own settings of its peer layer.
fn peer_defaults() -> PeerConfig {
    let life = Incarnation { disk: DiskId(Uuid::nil()), start: 1 };
    let cluster = "sim".parse().expect("a valid id");
    PeerConfig::new(cluster, BrokerId(1), life, String::new(), String::new())
}
