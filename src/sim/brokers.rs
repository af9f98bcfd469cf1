//! Drives the brokers: starts, rounds, writes and the many ways a process ends. In the product this is `run.rs`, the
//! engine's thread and the log's.

use std::path::Path;
use std::sync::Arc;

use chronik_broker::log::{Birth, DataFolder, Identity, InitialVoter, REST, WriteError};
use chronik_broker::replica::Event as EngineEvent;
use chronik_core::metadata::{Applied, Broker, Command, FeatureRange, Listener, RefusalCode};
use parking_lot::Mutex;

use crate::checks::mirror;
use crate::clients::Told;
use crate::disks;
use crate::process::{DATA, Process, Start, WriteUnderWay};
use crate::proposals::Asker;
use crate::scaling::Membership;
use crate::time::{MS, Micros, SECOND};
use crate::world::{Event, M, World, broker_id, index_of};

/// Events that come so close together share a round.
const ROUND: Micros = 200;
/// A broker that could not start is tried again after this long.
const START_AGAIN: Micros = 5 * SECOND;
/// The others know within this time of whom they do not hear any more, by clocks that drift.
pub const SILENCE_KNOWN_WITHIN: Micros = 4 * SECOND;
/// They know within this time that a process is gone whose machine is up.
const END_KNOWN_WITHIN: Micros = 1_500 * MS;

impl World {
    /// Makes a machine's disk a broker's data folder, which founds the cluster with the others or joins it.
    pub fn format(&mut self, at: M, joins: bool) {
        let voter =
            |machine| InitialVoter { broker: broker_id(machine), address: format!("b{}", machine + 1) };
        let founders = (0..self.plan.founders).map(voter).collect();
        let birth = if joins { Birth::Join(founders) } else { Birth::InitialVoters(founders) };
        let identity =
            Identity { cluster: disks::cluster(), broker: broker_id(at), disk: self.machines[at].disk_id };
        let salt = self.chance.disks.next() as u32;
        let disk = self.machines[at].disk.clone();
        DataFolder::format_as(&*disk, Path::new(DATA), identity, birth, salt)
            .expect("an empty folder is formatted");
    }

    /// The supervisor starts a broker that is not running.
    pub fn start(&mut self, at: M) {
        let machine = &self.machines[at];
        if machine.process.is_some()
            || !machine.powered
            || machine.held_down > 0
            || machine.membership == Membership::Out
        {
            return;
        }
        if !self.is_on_its_own_disk(at) {
            return self.after(START_AGAIN, Event::Start(at));
        }
        let machine = &self.machines[at];
        let start = Start {
            disk: &machine.disk,
            plan: &self.plan.broker,
            machines: self.machines.len(),
            now: machine.clock.at(self.now),
            at: self.now,
        };
        match Process::start(&start) {
            Ok((process, found)) => {
                let machine = &mut self.machines[at];
                (machine.process, machine.restart_due) = (Some(process), false);
                machine.lives += 1;
                let groups = found.len();
                self.note([1, at as u64, groups as u64], || {
                    format!("b{} starts with {groups} groups", at + 1)
                });
                self.check_recovered(at, &found);
                self.begin_life(at);
            }
            Err(error) => {
                self.note([2, at as u64, 0], || format!("b{} cannot start: {error}", at + 1));
                let machine = &self.machines[at];
                if !machine.damaged && !machine.may_stop && !machine.disk.is_full() {
                    return self.fail("a broker with a whole disk starts", format!("b{}: {error}", at + 1));
                }
                if machine.damaged {
                    self.replace_disk(at);
                }
                self.coverage.count("start refused");
                self.after(START_AGAIN, Event::Start(at));
            }
        }
    }

    fn begin_life(&mut self, at: M) {
        let life = self.life(at);
        self.begin_peering(at);
        let process = self.machines[at].process.as_ref().expect("it was just started");
        let step = process.birth.alone();
        self.take_step(at, step);
        self.after(0, Event::Tick(at, life));
        self.follow_metadata(at);
        self.keep_voter_from_standing(at);
    }

    /// Registers this broker, with the replica of the metadata group that its disk holds by now.
    pub fn register(&mut self, at: M) {
        let process = self.machines[at].process.as_ref().expect("it runs");
        let host = format!("b{}", at + 1);
        let broker = Broker {
            id: broker_id(at),
            disk: process.incarnation.disk,
            rack: None,
            listeners: vec![Listener { name: "PLAINTEXT".to_owned(), host: host.clone(), port: 9092 }],
            peer_address: host,
            version: "sim".to_owned(),
            features: FeatureRange::THIS_BUILD,
            incarnation_start: process.incarnation.start,
            metadata_replica: process.shared.formed.borrow().as_ref().map(|beginning| beginning.replica),
        };
        self.propose(at, Command::RegisterBroker(broker), Asker::Registration);
    }

    /// A proposal of a broker came to its end.
    pub fn proposed(&mut self, at: M, asker: Asker, applied: Option<Applied>) {
        match (asker, applied) {
            (Asker::Registration, Some(Applied::Refused(refusal)))
                if refusal.code == RefusalCode::BrokerAlive =>
            {
                self.coverage.count("birth: another disk is alive");
                let life = self.life(at);
                self.after(SECOND, Event::Register(at, life));
            }
            (Asker::Registration, Some(Applied::Refused(refusal))) => {
                self.outcast(at, format!("the cluster refuses this broker: {refusal}"));
            }
            (Asker::Registration, Some(_)) => {}
            (Asker::Registration, None) => {
                if self.machines[at].process.is_some() {
                    self.register(at);
                }
            }
            (Asker::Person, _) => {}
            (Asker::Request(number), Some(applied)) => self.answer(number, Told::Changed(applied)),
            (Asker::Request(number), None) => self.answer(number, Told::Failed { code: 7, route: None }),
        }
    }

    // ---- rounds -------------------------------------------------------------------------------------------------

    /// Lets a process see the time.
    pub fn set_clock(&mut self, at: M) {
        let machine = &self.machines[at];
        if let Some(process) = &machine.process {
            process.clock.set(machine.clock.at(self.now));
        }
    }

    /// Gives the engine an event.
    pub fn engine(&mut self, at: M, event: EngineEvent) {
        let machine = &mut self.machines[at];
        let now = machine.clock.at(self.now);
        let Some(process) = &mut machine.process else { return };
        process.clock.set(now);
        process.engine.handle(event, now);
        self.round_soon(at);
    }

    fn round_soon(&mut self, at: M) {
        let life = self.life(at);
        let Some(process) = &mut self.machines[at].process else { return };
        if !std::mem::replace(&mut process.round_due, true) {
            let passes = self.chance.brokers.below(ROUND);
            self.after(passes, Event::Round(at, life));
        }
    }

    /// A tick, and the round that ends with it.
    pub fn tick(&mut self, at: M) {
        let life = self.life(at);
        let machine = &mut self.machines[at];
        let now = machine.clock.at(self.now);
        let process = machine.process.as_mut().expect("it ticks");
        process.engine.tick(now);
        let next = machine.clock.lasts(self.plan.broker.tick_ms * MS);
        self.after(next, Event::Tick(at, life));
        self.round(at);
        self.run_tasks(at);
        self.check_after_tick(at);
        self.note_committed(at);
    }

    /// Ends a round: a write may begin, frames go out, answers are ready.
    pub fn round(&mut self, at: M) {
        let Some(process) = &mut self.machines[at].process else { return };
        process.round_due = false;
        let ops = process.engine.finish_round();
        let frames = std::mem::take(&mut process.outgoing.lock().frames);
        if let Some(ops) = ops {
            let mut brief = mirror::brief(&ops);
            self.look_at_starts(at, &mut brief);
            self.check_write(at, &brief);
            let result = Arc::new(Mutex::new(None));
            let told = result.clone();
            let process = self.machines[at].process.as_mut().expect("just seen");
            process.log.submit(ops, Box::new(move |outcome| *told.lock() = Some(outcome)));
            process.write = Some(WriteUnderWay { ops: brief, result });
            process.writes += 1;
            let (least, most) = self.machines[at].write_takes;
            let (takes, life) = (self.chance.disks.between(least, most), self.life(at));
            self.after(takes, Event::Write(at, life));
            if let Some(fault) = self.machines[at].doomed.take() {
                self.after(takes / 2, Event::Begin(fault));
            }
        }
        for (to, lane, frame) in frames {
            let hash = u64::from(crc32c::crc32c(&frame));
            self.trace.note(self.now, [3, (at * 16 + index_of(to)) as u64, hash], String::new);
            let process = self.machines[at].process.as_ref().expect("just seen");
            if let Some(link) = process.peers[index_of(to)].out(lane) {
                self.send(link, crate::peers::Wire::Frame(frame));
            }
        }
        self.check_replicas(at);
        self.watch_for_early_vote(at);
        self.poll_appends(at);
        self.poll_proposals(at);
        self.follow_metadata(at);
        self.run_waiting_tasks(at);
    }

    /// After a round: what is new in metadata, or that the metadata group begins here.
    pub fn follow_metadata(&mut self, at: M) {
        let Some(process) = &mut self.machines[at].process else { return };
        let known = (process.shared.cluster.borrow().applied(), process.shared.formed.borrow().is_some());
        let registers = (known.1 || process.joining) && !std::mem::replace(&mut process.registering, true);
        process.registering = registers || known.1 || process.joining;
        let before = std::mem::replace(&mut process.known, known);
        if before.0 != known.0 {
            self.check_metadata(at);
        }
        if before != known {
            self.follow_address_book(at);
        }
        if registers {
            self.register(at);
        }
    }

    // ---- the disk -----------------------------------------------------------------------------------------------

    /// The log writes what it was given: now, when the disk has taken its time.
    pub fn written(&mut self, at: M) {
        let before = self.machines[at].disk.files(".log").pop();
        let process = self.machines[at].process.as_mut().expect("it writes");
        process.driver.write_waiting();
        let after = self.machines[at].disk.files(".log").pop();
        let process = self.machines[at].process.as_mut().expect("it writes");
        process.settled = before.zip(after).map(|((path, begin), (segment, end))| match path == segment {
            true => (path, begin, end),
            false => (segment, 0, end),
        });
        let Some(write) = process.write.take() else { return };
        let result = write.result.lock().take().expect("a write is answered when it is done");
        let life = self.life(at);
        let process = self.machines[at].process.as_mut().expect("it writes");
        let writes = process.writes;
        self.note([4, at as u64, u64::from(result.is_ok())], || format!("b{} wrote: {result:?}", at + 1));
        match &result {
            Ok(()) => {
                if self.machines[at].disk.is_synced(".log") {
                    self.on_disk(at, &write.ops);
                    self.watch_for_vote(at, &write.ops);
                }
            }
            Err(WriteError::NoSpace) => self.coverage.count("write without space"),
            // The next start tells what became of it.
            Err(_) => self.checks.interrupted(at, Some(write.ops)),
        }
        let rests = self.machines[at].clock.lasts(REST.as_micros() as Micros);
        self.after(rests, Event::Rest(at, life, writes));
        self.engine(at, EngineEvent::Written(result));
    }

    /// Nothing was written for a while.
    pub fn rest(&mut self, at: M, writes: u64) {
        let process = self.machines[at].process.as_mut().expect("it rests");
        if process.writes == writes && process.write.is_none() {
            let deletes = self.machines[at].disk.files(".log").len();
            let process = self.machines[at].process.as_mut().expect("it rests");
            if process.driver.rest() {
                let (life, rests) =
                    (self.life(at), self.machines[at].clock.lasts(REST.as_micros() as Micros));
                self.after(rests, Event::Rest(at, life, writes));
            }
            let left = self.machines[at].disk.files(".log").len();
            self.coverage.add("segment deleted", deletes.saturating_sub(left) as u64);
        }
    }

    // ---- ends ---------------------------------------------------------------------------------------------------

    /// The process dies as it stands; what the system had not written yet survives it. Or the machine loses power.
    pub fn crash(&mut self, at: M, power: bool) {
        let life = self.life(at);
        if let Some(mut process) = self.machines[at].process.take() {
            if let Some(write) = process.write.take() {
                match self.chance.disks.below(3) {
                    0 => {}
                    1 => drop(process.driver.write_waiting()),
                    _ => {
                        self.machines[at].disk.faults(|faults| faults.power_lost = true);
                        process.driver.write_waiting();
                        self.machines[at].disk.faults(|faults| faults.power_lost = false);
                        self.coverage.count("torn write");
                    }
                }
                self.checks.interrupted(at, Some(write.ops));
            } else if self.chance.disks.one_in(4) {
                // It may have been giving space back.
                self.machines[at].disk.faults(|faults| faults.power_lost = true);
                process.driver.rest();
                self.machines[at].disk.faults(|faults| faults.power_lost = false);
            }
            self.note([5, at as u64, u64::from(power)], || format!("b{} dies, power lost: {power}", at + 1));
            self.note_lost_leader(&process.watch);
            drop(process);
            let known_within = if power { SILENCE_KNOWN_WITHIN } else { END_KNOWN_WITHIN };
            self.befell(at, known_within);
            self.end_peering(at, life, power);
            if !power {
                self.break_clients(at);
            }
        }
        self.machines[at].paused = false;
        self.forget_parked(at);
        if power {
            self.machines[at].powered = false;
            let (disk, mut chance) = (self.machines[at].disk.clone(), self.chance.disks.fork());
            disk.lose_power(&mut chance);
        }
    }

    /// Something befell a machine that others may not know of for so long.
    pub fn befell(&mut self, at: M, known_within: Micros) {
        let known = &mut self.machines[at].known_at;
        *known = (*known).max(self.now + known_within);
    }

    /// The machine has power again.
    pub fn power_on(&mut self, at: M) {
        self.machines[at].powered = true;
        for (link, side) in std::mem::take(&mut self.machines[at].half_open) {
            let latency = self.latency();
            self.after(latency, Event::LinkEnds(link, side));
        }
    }

    /// The process ends in order.
    pub fn stop(&mut self, at: M) {
        let life = self.life(at);
        self.say_stopping(at);
        let Some(mut process) = self.machines[at].process.take() else { return };
        self.note([6, at as u64, 0], || format!("b{} stops", at + 1));
        self.note_lost_leader(&process.watch);
        process.driver.write_waiting();
        if let Some(write) = process.write.take() {
            self.checks.interrupted(at, Some(write.ops));
        }
        process.driver.close();
        self.befell(at, END_KNOWN_WITHIN);
        self.end_peering(at, life, false);
        self.break_clients(at);
    }

    /// The others, or the cluster, do not take this broker: it ends by itself.
    pub fn outcast(&mut self, at: M, reason: String) {
        if self.machines[at].process.is_none() {
            return;
        }
        self.note([7, at as u64, 0], || format!("b{} gives up: {reason}", at + 1));
        if !self.is_retired(at) {
            return self.fail("only a disk that lost its place is refused", format!("b{}: {reason}", at + 1));
        }
        self.coverage.count("a retired disk refused");
        self.stop(at);
        self.take_newer_disk(at);
        self.after(START_AGAIN, Event::Start(at));
    }

    /// The supervisor replaces a broker that is of no use any more.
    pub fn restart_later(&mut self, at: M, after: Micros) {
        let life = self.life(at);
        self.after(after, Event::Recycle(at, life));
    }

    /// Stops and starts a broker.
    pub fn recycle(&mut self, at: M, life: u64) {
        if self.machines[at].process.is_none() || self.life(at) != life {
            return;
        }
        if self.machines[at].paused {
            self.crash(at, false);
        } else {
            self.stop(at);
        }
        let pause = self.chance.brokers.between(200 * MS, SECOND);
        self.after(pause, Event::Start(at));
    }

    /// Which machine leads a partition, if one does.
    pub fn leader_of(&self, place: usize) -> Option<M> {
        (0..self.machines.len()).find(|machine| {
            let (group, process) = (self.group_of(*machine, place), self.machines[*machine].process.as_ref());
            let (Some(group), Some(process)) = (group, process) else { return false };
            process.engine.replicas().any(|state| state.group == group && state.leads)
        })
    }
}
