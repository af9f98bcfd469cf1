//! The peer layer between simulated brokers: connections, pings and verdicts as `chronik_broker::peer` has them, on links
//! that delay, hold back and lose. Whether a peer is up is decided by that layer's own rule (`peer::verdict`).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use chronik_broker::birth::{Hello, Step, founder_replica};
use chronik_broker::peer::verdict::{self, Evidence, Verdict};
use chronik_broker::peer::{DownCause, PeerConfig, RefusalKind, generation};
use chronik_broker::replica::{Event as EngineEvent, Loss};
use chronik_core::ids::{DiskId, Incarnation};

use crate::proposals::Outcome;
use crate::time::{MS, Micros, SECOND};
use crate::world::{Event, M, World, broker_id};

/// Votes, heartbeats, pings, requests.
pub const CONTROL: usize = 0;
/// Appends and their answers.
pub const BULK: usize = 1;

/// How often silence is looked for.
const JUDGE_EVERY: Micros = 100 * MS;
/// A look that comes later than this: the process stood still.
const OVERSLEPT: Micros = 600 * MS;
/// What it then gets to take in what waits.
const CATCH_UP: Micros = 300 * MS;
/// A connection that lived so long is dialed again at once.
const STEADY: Micros = SECOND;
/// The close of a connection over a path that is cut is tried again after this long.
const CLOSE_AGAIN: Micros = 300 * MS;

/// What travels on a link.
pub enum Wire {
    /// The engine's.
    Frame(Bytes),
    /// "I live", and whether the sender hears the receiver.
    Ping(bool),
    /// "I stop."
    Stopping,
    /// A metadata command to propose.
    Request(u64, Bytes),
    /// What became of it.
    Reply(u64, Outcome),
    /// What a task asks another broker.
    Question(u64, Bytes),
    /// What that broker's task says.
    Told(u64, Bytes),
    /// What a handshake would tell now; asked of the receiver, too, or in answer.
    Hello(Hello, bool),
}

/// How often a process without metadata asks around.
const ASK_EVERY: Micros = 500 * MS;

/// Whether a life may come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    In,
    /// Another disk of that broker is alive.
    WrongDisk,
    /// An older life, or a disk that was retired.
    Out,
}

/// A handshaken connection of one lane, used in one direction.
pub struct Link {
    /// Who dialed and sends, and who accepted: machine and life.
    pub ends: [(M, u64); 2],
    pub lane: usize,
    /// Whether each end still has it.
    pub open: [bool; 2],
    since: Micros,
    on_the_way: VecDeque<Wire>,
    /// Sent while the path was cut; goes on when it heals.
    held: VecDeque<Wire>,
    last_arrival: Micros,
}

/// How far a dial came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialed {
    Connected,
    Refused,
    Failed,
}

/// What a process knows of one peer.
pub struct Peer {
    book_disk: Option<DiskId>,
    seen: Vec<Incarnation>,
    pub current: Option<Incarnation>,
    /// Links dialed and accepted, by lane.
    pub links: [[Option<u64>; 2]; 2],
    last_heard: Option<Micros>,
    hears_us: bool,
    stopping: bool,
    dial_refused: bool,
    path_doubtful: bool,
    unlinked_since: Micros,
    known_since: Micros,
    pub verdict: Verdict,
    pause: [Micros; 2],
    dialing: [bool; 2],
}

const OUT: usize = 0;
const IN: usize = 1;

impl Peer {
    pub fn new(now: Micros) -> Self {
        Self {
            book_disk: None,
            seen: Vec::new(),
            current: None,
            links: [[None; 2]; 2],
            last_heard: None,
            hears_us: false,
            stopping: false,
            dial_refused: false,
            path_doubtful: false,
            unlinked_since: now,
            known_since: now,
            verdict: Verdict::Unknown,
            pause: [0; 2],
            dialing: [false; 2],
        }
    }

    fn any_link(&self) -> bool {
        self.links.iter().flatten().any(Option::is_some)
    }

    /// Whether that life may come in, as `peer::state` decides it.
    fn admits(&self, life: Incarnation) -> Admission {
        if self.seen.iter().any(|seen| seen.disk == life.disk && seen.start > life.start) {
            return Admission::Out;
        }
        let alive = self.any_link() && self.last_heard.is_some();
        let second = self.current.is_some_and(|other| other.disk != life.disk);
        match second && alive && self.book_disk != Some(life.disk) {
            true => Admission::WrongDisk,
            false => Admission::In,
        }
    }

    /// The link to send on.
    pub fn out(&self, lane: usize) -> Option<u64> {
        self.links[OUT][lane]
    }
}

impl World {
    /// A process began: it dials everybody and looks around.
    pub fn begin_peering(&mut self, at: M) {
        let life = self.life(at);
        for to in (0..self.machines.len()).filter(|to| *to != at) {
            self.dial(at, to, CONTROL);
        }
        self.after(JUDGE_EVERY, Event::Look(at, life));
        self.after(ASK_EVERY, Event::Ask(at, life));
    }

    /// Asks everybody who is connected, until the metadata group runs here.
    pub fn ask_around(&mut self, at: M) {
        let life = self.life(at);
        if self.is_formed(at) {
            return;
        }
        for other in (0..self.machines.len()).filter(|other| *other != at) {
            if let Some(link) = self.peer(at, other).and_then(|peer| peer.out(CONTROL)) {
                let hello = self.hello(at, other);
                self.send(link, Wire::Hello(hello, true));
            }
        }
        self.after(ASK_EVERY, Event::Ask(at, life));
    }

    fn is_formed(&self, at: M) -> bool {
        self.machines[at].process.as_ref().is_some_and(|process| process.shared.formed.borrow().is_some())
    }

    fn peer(&mut self, at: M, other: M) -> Option<&mut Peer> {
        self.machines[at].process.as_mut().map(|process| &mut process.peers[other])
    }

    fn path_open(&self, from: M, to: M) -> bool {
        self.network.cuts[from][to] == 0
    }

    // ---- dialing ------------------------------------------------------------------------------------------------

    fn dial(&mut self, at: M, to: M, lane: usize) {
        let life = self.life(at);
        let Some(peer) = self.peer(at, to) else { return };
        if peer.dialing[lane]
            || peer.links[OUT][lane].is_some()
            || (lane == BULK && peer.links[OUT][CONTROL].is_none())
        {
            return;
        }
        peer.dialing[lane] = true;
        let there_and_back = self.path_open(at, to) && self.path_open(to, at);
        let (outcome, takes) = if !there_and_back || !self.machines[to].powered {
            (Dialed::Failed, self.timing.connect)
        } else if self.machines[to].process.is_none() {
            (Dialed::Refused, 2 * self.latency())
        } else {
            (Dialed::Connected, 2 * self.latency())
        };
        self.after(takes, Event::Dialed(at, life, to, lane, outcome));
    }

    pub fn dialed(&mut self, at: M, to: M, lane: usize, outcome: Dialed) {
        let life = self.life(at);
        let Some(peer) = self.peer(at, to) else { return };
        if lane == CONTROL {
            peer.dial_refused = outcome == Dialed::Refused;
            peer.path_doubtful &= outcome != Dialed::Connected;
        }
        if outcome == Dialed::Connected {
            let takes = 2 * self.latency();
            self.after(takes, Event::Handshake(at, life, to, lane));
        } else {
            self.dial_later(at, to, lane);
        }
        if lane == CONTROL {
            self.judge(at);
        }
    }

    pub fn dial_later(&mut self, at: M, to: M, lane: usize) {
        let life = self.life(at);
        let (least, most) = self.timing.pause;
        let Some(peer) = self.peer(at, to) else { return };
        peer.dialing[lane] = false;
        peer.pause[lane] = (peer.pause[lane] * 2).clamp(least, most);
        let pause = peer.pause[lane];
        self.after(pause, Event::Redial(at, life, to, lane));
    }

    pub fn redial(&mut self, at: M, to: M, lane: usize) {
        self.dial(at, to, lane);
    }

    pub fn handshake(&mut self, at: M, to: M, lane: usize) {
        let reachable = self.path_open(at, to) && self.path_open(to, at) && self.machines[to].powered;
        if self.machines[to].paused && reachable {
            // The system accepted, and nobody answers.
            let (life, patience) = (self.life(at), self.timing.handshake);
            return self.after(patience, Event::HandshakeTimedOut(at, life, to, lane));
        }
        let (Some(own), Some(theirs)) = (self.incarnation(at), self.incarnation(to)) else {
            return self.dial_later(at, to, lane);
        };
        if !reachable {
            return self.dial_later(at, to, lane);
        }
        if let Some(out) = self.older_history(at, to) {
            self.dial_later(at, to, lane);
            return self.outcast(out, "its history of the metadata was given up".to_owned());
        }
        let (our_hello, their_hello) = (self.hello(at, to), self.hello(to, at));
        let admitted = self.admission(to, at, own);
        if admitted != Admission::In {
            self.hear_hello(at, to, &their_hello);
            return self.refused(at, to, lane, (at, own), admitted);
        }
        let admitted = self.admission(at, to, theirs);
        if admitted != Admission::In {
            self.hear_hello(to, at, &our_hello);
            return self.refused(at, to, lane, (to, theirs), admitted);
        }
        if let Some(peer) = self.peer(at, to) {
            peer.dialing[lane] = false;
        }
        if lane == CONTROL {
            self.hear_hello(at, to, &their_hello);
            self.hear_hello(to, at, &our_hello);
        }
        self.check_histories(at, to);
        if self.incarnation(at) == Some(own) && self.incarnation(to) == Some(theirs) {
            self.link(at, to, lane, own, theirs);
        }
    }

    /// Which of two brokers has to go because they hold different histories of the metadata, as `peer::generation` decides.
    fn older_history(&self, at: M, to: M) -> Option<M> {
        let generation = |at: M| *self.machines[at].process.as_ref()?.shared.generation.borrow();
        let refusal = generation::check(generation(at), broker_id(to), generation(to)).err()?;
        Some(if refusal.kind == RefusalKind::NewerGeneration { at } else { to })
    }

    fn admission(&self, at: M, other: M, life: Incarnation) -> Admission {
        let process = self.machines[at].process.as_ref().expect("it greets");
        if process.shared.cluster.borrow().retired_disks().contains_key(&life.disk) {
            return Admission::Out;
        }
        process.peers[other].admits(life)
    }

    /// A handshake that one of them refused the other, which may be out for good.
    fn refused(&mut self, at: M, to: M, lane: usize, (out, life): (M, Incarnation), why: Admission) {
        self.dial_later(at, to, lane);
        if why == Admission::Out || self.is_formed(out) {
            self.outcast(out, format!("{life} is refused: {why:?}"));
        }
    }

    fn hello(&self, at: M, to: M) -> Hello {
        let process = self.machines[at].process.as_ref().expect("only a process greets");
        Hello::to(broker_id(to), process.incarnation.disk, &process.shared)
    }

    fn hear_hello(&mut self, at: M, from: M, hello: &Hello) {
        let Some(process) = &mut self.machines[at].process else { return };
        if process.shared.formed.borrow().is_none() {
            let step = process.birth.hear(broker_id(from), hello);
            self.take_step(at, step);
        }
    }

    /// A disk without metadata knows what to do.
    pub fn take_step(&mut self, at: M, step: Option<Step>) {
        match step {
            Some(Step::Begin(beginning)) => {
                let founds = beginning.replica == founder_replica(broker_id(at));
                self.coverage.count(if founds { "birth: founded" } else { "birth: joined under a new id" });
                self.engine(at, EngineEvent::StartMetadata(beginning));
            }
            Some(Step::Register) => {
                if let Some(process) = &mut self.machines[at].process {
                    process.joining = true;
                }
                self.follow_metadata(at);
            }
            None => {}
        }
    }

    // ---- links --------------------------------------------------------------------------------------------------

    fn link(&mut self, from: M, to: M, lane: usize, own: Incarnation, theirs: Incarnation) {
        let ends = [(from, self.life(from)), (to, self.life(to))];
        self.admit(from, to, theirs);
        self.admit(to, from, own);
        let id = self.next_id();
        let (since, (on_the_way, held)) = (self.now, Default::default());
        let link = Link { ends, lane, open: [true; 2], since, on_the_way, held, last_arrival: self.now };
        for (at, other, side) in [(from, to, OUT), (to, from, IN)] {
            let peer = self.peer(at, other).expect("both were just seen");
            if let Some(older) = peer.links[side][lane].replace(id) {
                self.close_end(older, side);
            }
            let now = self.now;
            let peer = self.peer(at, other).expect("both were just seen");
            peer.dial_refused = false;
            peer.path_doubtful = false;
            if side == IN {
                peer.last_heard = Some(now);
                let dead = matches!(peer.verdict, Verdict::Down(DownCause::Refused | DownCause::Stopping));
                if dead && !peer.stopping {
                    (peer.verdict, peer.known_since) = (Verdict::Unknown, now);
                }
            }
        }
        self.links.insert(id, link);
        self.note([10, from as u64, to as u64], || {
            format!("b{} linked to b{} lane {lane}", from + 1, to + 1)
        });
        self.machines[from].process.as_ref().expect("it dialed").outgoing.lock().open[to][lane] = true;
        self.after(0, Event::Ping(id));
        if lane == CONTROL {
            self.dial(from, to, BULK);
            self.dial(to, from, CONTROL);
            // It need not wait for the next ping to know that it is heard.
            if let Some(back) = self.peer(to, from).and_then(|peer| peer.links[OUT][CONTROL]) {
                self.send(back, Wire::Ping(true));
            }
        }
        self.judge(from);
        self.judge(to);
    }

    fn admit(&mut self, at: M, other: M, life: Incarnation) {
        let peer = self.peer(at, other).expect("a process admits");
        if peer.current == Some(life) {
            return;
        }
        peer.seen.retain(|seen| seen.disk != life.disk);
        peer.seen.push(life);
        peer.current = Some(life);
        peer.stopping = false;
        self.cut_links(at, other);
    }

    fn cut_links(&mut self, at: M, other: M) {
        let now = self.now;
        let Some(peer) = self.peer(at, other) else { return };
        let links = peer.links;
        (peer.unlinked_since, peer.last_heard, peer.hears_us) = (now, None, false);
        for (side, lanes) in links.into_iter().enumerate() {
            lanes.into_iter().flatten().for_each(|id| self.close_end(id, side));
        }
    }

    /// An end gives a link up; the other end hears of it, if the path lets it.
    fn close_end(&mut self, id: u64, side: usize) {
        if self.forget_end(id, side) {
            let latency = self.latency();
            let arrives =
                self.links.get(&id).map_or(self.now, |link| link.last_arrival.max(self.now)) + latency;
            self.at(arrives, Event::LinkEnds(id, 1 - side));
        }
    }

    /// The other end is gone.
    pub fn link_ends(&mut self, id: u64, side: usize) {
        let Some(link) = self.links.get(&id).filter(|link| link.open[side]) else { return };
        let (here, there) = (link.ends[side].0, link.ends[1 - side].0);
        if self.path_open(there, here) {
            self.forget_end(id, side);
        } else {
            self.after(CLOSE_AGAIN, Event::LinkEnds(id, side));
        }
    }

    /// Takes a link off one end's books; true if the other end still has it.
    fn forget_end(&mut self, id: u64, side: usize) -> bool {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.open[side]) else { return false };
        link.open[side] = false;
        let ((at, life), other, lane) = (link.ends[side], link.ends[1 - side].0, link.lane);
        let (lived, still_open) = (self.now - link.since, link.open[1 - side]);
        if !still_open {
            self.links.remove(&id);
        }
        if self.machines[at].process.is_none() || self.life(at) != life {
            return still_open;
        }
        let now = self.now;
        let process = self.machines[at].process.as_mut().expect("just seen");
        let peer = &mut process.peers[other];
        if peer.links[side][lane] == Some(id) {
            peer.links[side][lane] = None;
            if lane == CONTROL {
                peer.unlinked_since = now;
            }
            if side == OUT {
                process.outgoing.lock().open[other][lane] = false;
                if lived >= STEADY {
                    peer.pause[lane] = 0;
                    self.after(0, Event::Redial(at, life, other, lane));
                } else {
                    self.dial_later(at, other, lane);
                }
            }
            self.after(0, Event::Judge(at, life));
        }
        still_open
    }

    /// A process is gone. With its machine's power the others hear nothing of it until the machine is back.
    pub fn end_peering(&mut self, at: M, life: u64, silently: bool) {
        let mine = |link: &Link| (0..2).find(|side| link.ends[*side] == (at, life) && link.open[*side]);
        let links: Vec<(u64, usize)> =
            self.links.iter().filter_map(|(id, link)| Some((*id, mine(link)?))).collect();
        for (id, side) in links {
            if silently {
                let link = self.links.get_mut(&id).expect("just listed");
                link.open[side] = false;
                if link.open[1 - side] {
                    self.machines[at].half_open.push((id, 1 - side));
                } else {
                    self.links.remove(&id);
                }
            } else {
                self.close_end(id, side);
            }
        }
    }

    /// Breaks connections at once, as a router that restarts does.
    pub fn reset_links(&mut self, from: M, to: M) {
        let between = |link: &Link| link.ends[0].0 == from && link.ends[1].0 == to;
        let links: Vec<u64> =
            self.links.iter().filter(|(_, link)| between(link)).map(|(id, _)| *id).collect();
        for id in links {
            if let Some(link) = self.links.get_mut(&id) {
                link.on_the_way.clear();
                link.held.clear();
            }
            self.close_end(id, OUT);
        }
    }

    // ---- words --------------------------------------------------------------------------------------------------

    /// Sends on a link: in order, later, or once its path heals.
    pub fn send(&mut self, id: u64, wire: Wire) {
        let latency = self.latency();
        let now = self.now;
        let Some(link) = self.links.get_mut(&id).filter(|link| link.open[OUT]) else { return };
        let (from, to) = (link.ends[0].0, link.ends[1].0);
        if self.network.cuts[from][to] > 0 {
            link.held.push_back(wire);
            return;
        }
        link.last_arrival = link.last_arrival.max(now + latency);
        link.on_the_way.push_back(wire);
        let arrival = link.last_arrival;
        self.at(arrival, Event::Deliver(id));
    }

    /// A path works again: what was held goes on.
    pub fn release_held(&mut self, from: M, to: M) {
        let waiting = |link: &Link| link.ends[0].0 == from && link.ends[1].0 == to && !link.held.is_empty();
        let links: Vec<u64> =
            self.links.iter().filter(|(_, link)| waiting(link)).map(|(id, _)| *id).collect();
        for id in links {
            let held = self.links.get_mut(&id).map(|link| std::mem::take(&mut link.held)).unwrap_or_default();
            held.into_iter().for_each(|wire| self.send(id, wire));
        }
    }

    pub fn deliver(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(wire) = link.on_the_way.pop_front() else { return };
        let ([(from, _), (at, life)], open) = (link.ends, link.open[IN]);
        if !open || self.machines[at].process.is_none() || self.life(at) != life {
            return;
        }
        let now = self.now;
        let Some(peer) = self.peer(at, from) else { return };
        peer.last_heard = Some(now);
        match wire {
            Wire::Frame(payload) => self.hear_frame(at, from, payload),
            Wire::Ping(hears) => {
                if std::mem::replace(&mut peer.hears_us, hears) != hears {
                    self.judge(at);
                }
            }
            Wire::Stopping => {
                peer.stopping = true;
                self.judge(at);
            }
            Wire::Request(number, payload) => self.serve(at, from, number, &payload),
            Wire::Reply(number, outcome) => self.replied(at, number, outcome),
            Wire::Question(number, payload) => self.serve_question(at, from, number, payload),
            Wire::Told(number, payload) => self.hear_told(at, number, payload),
            Wire::Hello(hello, asked) => {
                self.hear_hello(at, from, &hello);
                if asked && let Some(link) = self.peer(at, from).and_then(|peer| peer.out(CONTROL)) {
                    let told = self.hello(at, from);
                    self.send(link, Wire::Hello(told, false));
                }
            }
        }
    }

    fn hear_frame(&mut self, at: M, from: M, payload: Bytes) {
        let lost = self.network.loss_percent > 0 && self.chance.network.percent(self.network.loss_percent);
        let hash = u64::from(crc32c::crc32c(&payload));
        self.note([11, (from * 16 + at) as u64, hash], || {
            let fate = if lost { " (lost)" } else { "" };
            format!("b{} -> b{}: {} bytes{fate}", from + 1, at + 1, payload.len())
        });
        if !lost {
            self.engine(at, EngineEvent::PeerFrame { from: broker_id(from), payload });
        }
    }

    pub fn ping(&mut self, id: u64) {
        let Some(link) = self.links.get(&id).filter(|link| link.open[OUT]) else { return };
        let ((at, life), other, lane) = (link.ends[0], link.ends[1].0, link.lane);
        if self.machines[at].process.is_none() || self.life(at) != life {
            return;
        }
        let hears = self.peer(at, other).is_some_and(|peer| peer.last_heard.is_some());
        self.send(id, Wire::Ping(hears));
        let interval = self.timing.ping[lane];
        self.after(interval, Event::Ping(id));
    }

    /// Says good-bye on every link.
    pub fn say_stopping(&mut self, at: M) {
        for other in 0..self.machines.len() {
            for lane in [CONTROL, BULK] {
                if let Some(id) = self.peer(at, other).and_then(|peer| peer.links[OUT][lane]) {
                    self.send(id, Wire::Stopping);
                }
            }
        }
    }

    // ---- verdicts -----------------------------------------------------------------------------------------------

    /// The look that comes by itself.
    pub fn look_around(&mut self, at: M) {
        let life = self.life(at);
        self.judge(at);
        self.after(JUDGE_EVERY, Event::Look(at, life));
    }

    pub fn judge(&mut self, at: M) {
        let now = self.now;
        let Some(process) = &mut self.machines[at].process else { return };
        if now - process.last_look > OVERSLEPT {
            process.fair_from = now + CATCH_UP;
        }
        process.last_look = now;
        for other in (0..self.machines.len()).filter(|other| *other != at) {
            while let Some(event) = self.judge_peer(at, other) {
                self.engine(at, event);
            }
        }
    }

    fn judge_peer(&mut self, at: M, other: M) -> Option<EngineEvent> {
        let (now, silence, grace) = (self.now, self.timing.silence, self.timing.grace);
        let process = self.machines[at].process.as_mut()?;
        let late = now < process.fair_from;
        let peer = &mut process.peers[other];
        if peer.last_heard.is_some_and(|heard| !late && now - heard >= silence) {
            peer.path_doubtful = true;
            self.cut_links(at, other);
        }
        let peer = self.peer(at, other)?;
        let linked = peer.links[OUT][CONTROL].is_some() && peer.links[IN][CONTROL].is_some();
        let evidence = Evidence {
            newest: peer.current,
            linked,
            unlinked_for: micros(if linked { 0 } else { now - peer.unlinked_since }),
            heard: peer.last_heard.is_some(),
            hears_us: peer.hears_us,
            refused: peer.dial_refused && !peer.path_doubtful && !peer.any_link(),
            stopping: peer.stopping,
            known_for: micros(if late { 0 } else { now - peer.known_since }),
        };
        let before = peer.verdict;
        peer.verdict = verdict::next(before, &evidence, micros(silence), micros(grace));
        if peer.verdict == before {
            return None;
        }
        let verdict = peer.verdict;
        self.note([12, (at * 16 + other) as u64, 0], || {
            format!("b{} judges b{}: {verdict:?}", at + 1, other + 1)
        });
        let broker = broker_id(other);
        match verdict {
            Verdict::Unknown => None,
            Verdict::Up(incarnation) => Some(EngineEvent::PeerUp { broker, incarnation }),
            Verdict::Down(cause) => {
                let peer = self.peer(at, other)?;
                let life = if let Verdict::Up(life) = before { Some(life) } else { peer.current };
                if peer.current == life {
                    peer.hears_us = false;
                }
                self.fail_requests(at, other);
                self.fail_questions(at, other);
                let loss = if cause.is_dead() { Loss::Dead } else { Loss::Silent };
                Some(EngineEvent::PeerDown { broker, loss })
            }
        }
    }

    /// What the brokers registered: a disk that no longer fits loses its links.
    pub fn follow_address_book(&mut self, at: M) {
        let Some(process) = &self.machines[at].process else { return };
        let cluster = process.shared.cluster.borrow().clone();
        let formed = process.shared.formed.borrow().clone();
        for other in (0..self.machines.len()).filter(|other| *other != at) {
            let founders = formed.iter().flat_map(|beginning| &beginning.founders);
            let founder =
                founders.into_iter().find(|known| known.replica == founder_replica(broker_id(other)));
            let founder = founder.map(|founder| founder.disk);
            let founder = founder.filter(|disk| !cluster.retired_disks().contains_key(disk));
            let disk = cluster.broker(broker_id(other)).map(|broker| broker.disk).or(founder);
            let peer = self.peer(at, other).expect("its process was just seen");
            let replaced = std::mem::replace(&mut peer.book_disk, disk) != disk;
            if replaced && disk.is_some_and(|disk| peer.current.is_some_and(|life| life.disk != disk)) {
                peer.current = None;
                self.cut_links(at, other);
            }
        }
    }
}

fn micros(of: Micros) -> Duration {
    Duration::from_micros(of)
}

/// The peer layer's times, taken from its defaults.
pub struct Timing {
    silence: Micros,
    grace: Micros,
    connect: Micros,
    handshake: Micros,
    pause: (Micros, Micros),
    ping: [Micros; 2],
}

impl Timing {
    /// The product's own.
    pub fn of(config: &PeerConfig) -> Self {
        let micros = |duration: Duration| duration.as_micros() as Micros;
        Self {
            silence: micros(config.silence_timeout),
            grace: micros(config.closed_grace),
            connect: micros(config.connect_timeout),
            handshake: micros(config.handshake_timeout),
            pause: (micros(config.backoff_min), micros(config.backoff_max)),
            ping: [micros(config.control.ping_interval), micros(config.bulk.ping_interval)],
        }
    }
}
