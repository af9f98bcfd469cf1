//! What goes wrong: each fault's beginning and end.

use chronik_broker::replica::Event as EngineEvent;
use chronik_core::metadata::{AlterTopicConfigs, Command, TopicRef};
use tokio::sync::oneshot;

use crate::brokers::SILENCE_KNOWN_WITHIN;
use crate::random::Random;
use crate::scaling::Membership;
use crate::time::{MS, Micros, SECOND};
use crate::world::{Event, M, World};

/// The kinds, each with its share in the plans.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// The process is killed; the machine stays up.
    Kill,
    /// The machine loses power, and what was not synced.
    PowerLoss,
    /// Every machine loses power.
    Blackout,
    /// All brokers but one are killed.
    LoneSurvivor,
    /// The process stands still.
    Pause,
    /// Peers cannot reach it, clients can.
    Isolate,
    /// Neither peers nor clients can reach it.
    Disappear,
    /// Clients cannot reach it, peers can.
    Unreachable,
    /// One direction between two brokers is cut.
    OneWay,
    /// Both directions between two brokers are cut.
    Cut,
    /// Connections break, frames get lost.
    Loss,
    /// Messages take long, and overtake each other across connections.
    Delay,
    /// Wall clocks jump.
    ClockJump,
    /// A monotonic clock runs at another rate.
    Drift,
    /// The next sync fails.
    FailedSync,
    /// A read of the journal fails.
    FailedRead,
    /// The disk is full.
    FullDisk,
    /// Writes take long.
    SlowDisk,
    /// A byte of the journal changes.
    Corruption,
    /// The disk comes back empty, or without its journal.
    EmptiedDisk,
    /// The disk that was replaced is put in again.
    OldDisk,
    /// Two machines come back with each other's disks.
    ExchangedDisks,
    /// The process is killed, and the journal comes back without its end.
    LostTail,
    /// A broker moves its leaderships away.
    Drain,
    /// `min.insync.replicas` changes.
    MinIsr,
    /// One broker after another is drained, stopped and started.
    RollingRestart,
    /// A voter is killed when it has given its vote, and another candidate cannot hear whom it elected.
    LostVote,
}

impl Kind {
    pub const ALL: [Kind; 27] = [
        Kind::Kill,
        Kind::PowerLoss,
        Kind::Blackout,
        Kind::LoneSurvivor,
        Kind::Pause,
        Kind::Isolate,
        Kind::Disappear,
        Kind::Unreachable,
        Kind::OneWay,
        Kind::Cut,
        Kind::Loss,
        Kind::Delay,
        Kind::ClockJump,
        Kind::Drift,
        Kind::FailedSync,
        Kind::FailedRead,
        Kind::FullDisk,
        Kind::SlowDisk,
        Kind::Corruption,
        Kind::EmptiedDisk,
        Kind::OldDisk,
        Kind::ExchangedDisks,
        Kind::LostTail,
        Kind::Drain,
        Kind::MinIsr,
        Kind::RollingRestart,
        Kind::LostVote,
    ];

    /// Its name in the coverage table.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kill => "fault: kill",
            Kind::PowerLoss => "fault: power loss",
            Kind::Blackout => "fault: power loss of all",
            Kind::LoneSurvivor => "fault: kill of all but one",
            Kind::Pause => "fault: pause",
            Kind::Isolate => "fault: cut from peers, not from clients",
            Kind::Disappear => "fault: cut from peers and clients",
            Kind::Unreachable => "fault: cut from clients",
            Kind::OneWay => "fault: one-way cut",
            Kind::Cut => "fault: cut between two",
            Kind::Loss => "fault: loss and broken connections",
            Kind::Delay => "fault: delay and reordering",
            Kind::ClockJump => "fault: clock jump",
            Kind::Drift => "fault: clock drift",
            Kind::FailedSync => "fault: failed sync",
            Kind::FailedRead => "fault: failed read",
            Kind::FullDisk => "fault: full disk",
            Kind::SlowDisk => "fault: slow disk",
            Kind::Corruption => "fault: corrupted sector",
            Kind::EmptiedDisk => "fault: emptied disk",
            Kind::OldDisk => "fault: a replaced disk put back",
            Kind::ExchangedDisks => "fault: disks exchanged",
            Kind::LostTail => "fault: lost end of the journal",
            Kind::Drain => "fault: drain",
            Kind::MinIsr => "fault: min ISR change",
            Kind::RollingRestart => "fault: rolling restart",
            Kind::LostVote => "fault: two candidates for one vote",
        }
    }

    /// Its name where it hits a leader of a partition at rest.
    pub fn name_at_rest(self) -> &'static str {
        match self {
            Kind::Kill | Kind::LoneSurvivor => "rest: leader killed",
            Kind::PowerLoss | Kind::Blackout => "rest: leader without power",
            Kind::Pause => "rest: leader paused",
            Kind::Isolate | Kind::Disappear => "rest: leader isolated",
            Kind::OneWay => "rest: leader cut one way",
            Kind::Cut => "rest: leader cut from one",
            Kind::Loss | Kind::Delay => "rest: frames of a leader lost or late",
            Kind::FailedSync
            | Kind::FailedRead
            | Kind::FullDisk
            | Kind::SlowDisk
            | Kind::Corruption
            | Kind::EmptiedDisk
            | Kind::OldDisk
            | Kind::ExchangedDisks
            | Kind::LostTail => "rest: leader's disk at fault",
            Kind::Drain | Kind::RollingRestart => "rest: leader drained",
            Kind::Unreachable | Kind::ClockJump | Kind::Drift | Kind::MinIsr | Kind::LostVote => {
                "rest: another fault of a leader"
            }
        }
    }

    /// Whether it takes something from a disk for good: one machine of a run at most suffers such faults.
    pub fn damages(self) -> bool {
        matches!(
            self,
            Kind::FailedRead | Kind::Corruption | Kind::EmptiedDisk | Kind::OldDisk | Kind::LostTail
        )
    }
}

/// One fault of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    pub number: u64,
    pub kind: Kind,
    /// Whom it hits; where it says `leader`, whoever leads by then.
    pub machine: M,
    pub other: M,
    pub leader: bool,
    pub lasts: Micros,
    /// It waits until a write is under way.
    pub amid_write: bool,
    /// Whatever else the kind needs.
    pub extra: u64,
}

impl Fault {
    /// Any fault of that kind.
    pub fn of(kind: Kind, number: u64, machines: usize, victim: M, random: &mut Random) -> Self {
        let machine = if kind.damages() { victim } else { random.index(machines) };
        let other = (machine + 1 + random.index(machines - 1)) % machines;
        let leader = !kind.damages() && random.percent(40);
        let lasts = match random.below(3) {
            0 => random.between(50, 1_000) * MS,
            1 => random.between(1, 5) * SECOND,
            _ => random.between(3, 12) * SECOND,
        };
        let (amid_write, extra) = (random.one_in(2), random.next());
        Self { number, kind, machine, other, leader, lasts, amid_write, extra }
    }
}

impl World {
    /// A fault begins.
    pub fn begin(&mut self, mut fault: Fault) {
        if self.is_healed() {
            return;
        }
        if fault.leader {
            let place = fault.extra as usize % self.places.len();
            if let Some(leader) = self.leader_of(place) {
                fault.machine = leader;
            }
            if fault.other == fault.machine {
                fault.other = (fault.machine + 1) % self.machines.len();
            }
        }
        let at = fault.machine;
        if self.machines[at].membership == Membership::Out {
            return;
        }
        self.note([60, fault.kind as u64, at as u64], || format!("fault: {fault:?}"));
        let rests = self.leads_at_rest(at);
        if !self.strikes(&fault) {
            return;
        }
        self.fault_befell(&fault);
        self.coverage.count(fault.kind.name());
        if rests {
            self.coverage.add("rest: a fault hits a leader", 1);
            self.coverage.add(fault.kind.name_at_rest(), 1);
        }
        self.after(fault.lasts, Event::End(fault));
    }

    /// Makes the fault happen; false if it cannot happen here and now.
    fn strikes(&mut self, fault: &Fault) -> bool {
        let (at, other) = (fault.machine, fault.other);
        match fault.kind {
            Kind::Kill | Kind::PowerLoss if fault.amid_write => {
                let now = Fault { amid_write: false, leader: false, ..*fault };
                self.machines[at].doomed = Some(now);
                return false;
            }
            Kind::Kill => self.bring_down(at, false),
            Kind::PowerLoss => self.bring_down(at, true),
            Kind::Blackout => (0..self.machines.len()).for_each(|machine| self.bring_down(machine, true)),
            Kind::LoneSurvivor => {
                for machine in (0..self.machines.len()).filter(|machine| *machine != at) {
                    self.bring_down(machine, false);
                }
            }
            Kind::Pause => {
                if self.machines[at].process.is_none() {
                    return false;
                }
                self.machines[at].paused = true;
                self.machines[at].stood.0 = self.now;
            }
            Kind::Isolate => self.cut_off(at, true),
            Kind::Disappear => {
                self.cut_off(at, true);
                self.network.client_cuts[at] += 1;
            }
            Kind::Unreachable => self.network.client_cuts[at] += 1,
            Kind::OneWay => self.cut(at, other),
            Kind::Cut => {
                self.cut(at, other);
                self.cut(other, at);
            }
            Kind::Loss => {
                self.network.loss_percent = 1 + fault.extra % 20;
                self.break_links(fault.extra);
            }
            Kind::Delay => self.network.latency = (0, (1 + fault.extra % 400) * MS),
            Kind::ClockJump => {
                let hours = [1, 60, 3_600, 100_000][fault.extra as usize % 4] * 1_000;
                let by = if fault.extra & 64 == 0 { hours } else { -hours };
                self.machines[at].clock.jump(by);
            }
            Kind::Drift => {
                let now = self.now;
                let ppm = (fault.extra % 200_000) as i64 - 100_000;
                self.machines[at].clock.drift(now, ppm);
            }
            Kind::FailedSync => {
                self.machines[at].may_stop = true;
                self.machines[at].disk.faults(|faults| faults.fail_sync = true);
            }
            Kind::FailedRead => {
                self.machines[at].damaged = true;
                self.machines[at].disk.faults(|faults| faults.fail_read = true);
            }
            Kind::FullDisk => self.machines[at].disk.faults(|faults| faults.full = true),
            Kind::SlowDisk => self.machines[at].write_takes = (5 * MS, (10 + fault.extra % 1_500) * MS),
            Kind::Corruption => return self.corrupt(at, fault.extra),
            Kind::EmptiedDisk => self.empty_disk(at, fault.extra),
            Kind::OldDisk => return self.old_disk(at),
            Kind::ExchangedDisks => return self.exchange_disks(at, other),
            Kind::LostTail => return self.lose_tail(at, fault.extra),
            Kind::Drain => return self.drain(at),
            Kind::MinIsr => self.set_min_isr(1 + fault.extra % 3, fault.extra as usize),
            Kind::RollingRestart => {
                for machine in 0..self.machines.len() {
                    self.after(machine as u64 * 4 * SECOND, Event::Roll(machine));
                }
            }
            Kind::LostVote => return self.set_vote_trap(fault.extra),
        }
        true
    }

    /// Those whom a fault hits, or leaves, are not what others knew of them.
    fn fault_befell(&mut self, fault: &Fault) {
        let hits = |machine: M| match fault.kind {
            Kind::Loss | Kind::Delay | Kind::LostVote => true,
            Kind::Isolate | Kind::Disappear | Kind::OneWay | Kind::Cut | Kind::ExchangedDisks => {
                machine == fault.machine || machine == fault.other
            }
            _ => machine == fault.machine,
        };
        for machine in (0..self.machines.len()).filter(|machine| hits(*machine)) {
            self.befell(machine, SILENCE_KNOWN_WITHIN);
        }
    }

    /// A fault ends.
    pub fn end(&mut self, fault: Fault) {
        if self.is_healed() {
            return;
        }
        self.fault_befell(&fault);
        let (at, other) = (fault.machine, fault.other);
        self.note([61, fault.kind as u64, at as u64], || format!("over: {:?} of b{}", fault.kind, at + 1));
        match fault.kind {
            Kind::Kill | Kind::PowerLoss => self.bring_up(at),
            Kind::Blackout => {
                for machine in 0..self.machines.len() {
                    self.bring_up(machine);
                }
            }
            Kind::LoneSurvivor => {
                for machine in (0..self.machines.len()).filter(|machine| *machine != at) {
                    self.bring_up(machine);
                }
            }
            Kind::Pause => self.resume(at),
            Kind::Isolate => self.cut_off(at, false),
            Kind::Disappear => {
                self.cut_off(at, false);
                self.network.client_cuts[at] -= 1;
            }
            Kind::Unreachable => self.network.client_cuts[at] -= 1,
            Kind::OneWay => self.mend(at, other),
            Kind::Cut => {
                self.mend(at, other);
                self.mend(other, at);
            }
            Kind::Loss => self.network.loss_percent = 0,
            Kind::Delay => self.network.latency = self.plan.latency,
            Kind::FullDisk => self.machines[at].disk.faults(|faults| faults.full = false),
            Kind::SlowDisk => self.machines[at].write_takes = self.plan.write_takes,
            Kind::EmptiedDisk | Kind::OldDisk | Kind::LostTail => self.bring_up(at),
            Kind::ExchangedDisks => self.give_disks_back(at),
            Kind::Drain => self.undrain(at),
            Kind::LostVote => self.open_vote_trap(),
            Kind::ClockJump
            | Kind::Drift
            | Kind::FailedSync
            | Kind::FailedRead
            | Kind::Corruption
            | Kind::MinIsr
            | Kind::RollingRestart => {}
        }
    }

    /// Every fault ends; who was down comes up.
    pub fn end_all_faults(&mut self) {
        self.open_vote_trap();
        let count = self.machines.len();
        for from in 0..count {
            for to in 0..count {
                self.network.cuts[from][to] = 0;
                self.release_held(from, to);
            }
            self.network.client_cuts[from] = 0;
        }
        (self.network.loss_percent, self.network.latency) = (0, self.plan.latency);
        for machine in 0..count {
            self.machines[machine].doomed = None;
            self.machines[machine].disk.faults(|faults| *faults = crate::disk::DiskFaults::default());
            self.machines[machine].write_takes = self.plan.write_takes;
            self.machines[machine].held_down = 1;
            self.machines[machine].exchanged_with = None;
            self.bring_up(machine);
            self.resume(machine);
            self.undrain(machine);
        }
        for topic in 0..self.plan.topic_count() {
            self.set_min_isr(2, topic);
        }
    }

    // ---- machines -----------------------------------------------------------------------------------------------

    pub fn bring_down(&mut self, at: M, power: bool) {
        self.machines[at].held_down += 1;
        self.crash(at, power);
    }

    pub fn bring_up(&mut self, at: M) {
        self.machines[at].held_down -= 1;
        if self.machines[at].held_down == 0 {
            if !self.machines[at].powered {
                self.power_on(at);
            }
            self.start(at);
        }
    }

    fn resume(&mut self, at: M) {
        if std::mem::replace(&mut self.machines[at].paused, false) {
            self.machines[at].stood.1 = self.now;
            // What it should have shown meanwhile, it could not.
            let watches = self.machines[at].process.iter_mut().flat_map(|process| process.watch.values_mut());
            watches.for_each(|watch| watch.stranded_since = None);
            self.unpark(at);
        }
    }

    pub fn drain(&mut self, at: M) -> bool {
        let (reply, _) = oneshot::channel();
        let Some(process) = &mut self.machines[at].process else { return false };
        process.draining = true;
        self.engine(at, EngineEvent::Drain { reply });
        true
    }

    pub fn undrain(&mut self, at: M) {
        let Some(process) = &mut self.machines[at].process else { return };
        if std::mem::replace(&mut process.draining, false) {
            self.engine(at, EngineEvent::Undrain);
        }
    }

    /// Begins a broker's turn: it is drained, and replaced two seconds later.
    pub fn roll(&mut self, at: M) {
        let life = self.life(at);
        if !self.is_healed() && self.drain(at) {
            self.after(2 * SECOND, Event::Recycle(at, life));
        }
    }

    // ---- paths --------------------------------------------------------------------------------------------------

    pub fn cut(&mut self, from: M, to: M) {
        self.network.cuts[from][to] += 1;
    }

    pub fn mend(&mut self, from: M, to: M) {
        self.network.cuts[from][to] -= 1;
        if self.network.cuts[from][to] == 0 {
            self.release_held(from, to);
        }
    }

    pub fn cut_off(&mut self, at: M, off: bool) {
        for other in (0..self.machines.len()).filter(|other| *other != at) {
            if off {
                self.cut(at, other);
                self.cut(other, at);
            } else {
                self.mend(at, other);
                self.mend(other, at);
            }
        }
    }

    fn break_links(&mut self, which: u64) {
        let count = self.machines.len();
        for (bit, (from, to)) in (0..count).flat_map(|from| (0..count).map(move |to| (from, to))).enumerate()
        {
            if from != to && which >> (bit % 32) & 1 == 1 {
                self.reset_links(from, to);
            }
        }
    }

    // ---- disks --------------------------------------------------------------------------------------------------

    /// Changes a byte of the journal that lies before the last write group: what is behind it proves that it was synced.
    fn corrupt(&mut self, at: M, which: u64) -> bool {
        let disk = self.machines[at].disk.clone();
        let mut files = disk.files(".log");
        let settled = self.machines[at].process.as_ref().and_then(|process| process.settled.clone());
        if let Some((path, length)) = files.last_mut() {
            *length = settled.filter(|settled| settled.0 == *path).map_or(0, |settled| settled.1);
        }
        let whole: usize = files.iter().map(|(_, length)| length.saturating_sub(HEADER)).sum();
        if whole == 0 {
            return false;
        }
        let mut at_byte = which as usize % whole;
        for (path, length) in files {
            let bytes = length.saturating_sub(HEADER);
            if at_byte < bytes {
                disk.corrupt(&path, HEADER + at_byte, 1 << (which >> 56 & 7));
                self.machines[at].damaged = true;
                return true;
            }
            at_byte -= bytes;
        }
        false
    }

    /// Takes synced write groups off the journal's end, whole or in part, after the process was killed.
    fn lose_tail(&mut self, at: M, which: u64) -> bool {
        let settled = self.machines[at].process.as_ref().and_then(|process| process.settled.clone());
        let Some((path, begin, end)) = settled else { return false };
        let from = if which & 1 == 0 { begin } else { begin.saturating_sub(4 << 10) };
        let from = from.max(HEADER);
        if from >= end || self.machines[at].process.as_ref().is_some_and(|process| process.write.is_some()) {
            return false;
        }
        self.bring_down(at, false);
        self.machines[at].damaged = true;
        // At the beginning of the last write group nothing in the journal itself tells of it any more.
        let to = if which & 2 == 0 { from } else { from + (which >> 8) as usize % (end - from) };
        // The mark beside the journal has reached the disk: without it nobody could tell that anything is missing.
        self.machines[at].disk.write_back();
        self.machines[at].disk.cut(&path, to);
        true
    }

    fn empty_disk(&mut self, at: M, which: u64) {
        self.bring_down(at, true);
        if !which.is_multiple_of(3) {
            return self.replace_disk(at);
        }
        // The journal alone is gone: the broker does not start, and somebody formats the disk.
        let files = self.machines[at].disk.files(".log");
        files.iter().for_each(|(path, _)| self.machines[at].disk.lose_file(path));
        self.machines[at].damaged = true;
    }

    fn old_disk(&mut self, at: M) -> bool {
        if self.machines[at].aside.is_none() {
            return false;
        }
        self.bring_down(at, false);
        self.put_old_disk_back(at)
    }

    // ---- metadata -----------------------------------------------------------------------------------------------

    fn set_min_isr(&mut self, value: u64, topic: usize) {
        let name = self.plan.topic_name(topic % self.plan.topic_count());
        let changes = [("min.insync.replicas".to_owned(), Some(value.to_string()))].into();
        self.want(Command::AlterTopicConfigs(AlterTopicConfigs { topic: TopicRef::Name(name), changes }));
    }
}

/// Bytes of a segment's header: they hold nothing that is not known from elsewhere.
const HEADER: usize = 128;
