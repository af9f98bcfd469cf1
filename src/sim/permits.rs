//! Whoever restarts brokers through permits, as the operator does: asks over any broker, begins, deletes the pod, and knows
//! nothing after it died but which permits are open.

use std::collections::BTreeSet;

use chronik_broker::restart::Restarts;
use chronik_core::ids::BrokerId;
use chronik_core::restart::{Permit, PermitId, Reason, Stage};
use chronik_core::view::{PermitAnswer, PermitBody, PermitRefused, PodBody};
use futures::future::BoxFuture;

use crate::random::Random;
use crate::time::{MS, Micros, SECOND};
use crate::world::{Event, M, World, broker_id, index_of};

/// An answer that does not come within this time is not waited for any more.
const PATIENCE: Micros = 20 * SECOND;
/// How many ask at once.
const ASKERS: usize = 2;

/// What a broker answers.
pub type Told = Result<PermitAnswer, PermitRefused>;

/// What is wanted of a broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    Grant(BrokerId),
    Begin(PermitId, BrokerId),
}

/// Something that an asker wants, in one of its turns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ordered {
    pub asker: usize,
    pub turn: u64,
    pub wanted: Wanted,
    pub pod_uid: String,
}

impl Ordered {
    /// By the broker that is asked.
    pub fn carry_out(&self, restarts: &Restarts) -> BoxFuture<'static, Told> {
        let (restarts, wanted, pod_uid) = (restarts.clone(), self.wanted.clone(), self.pod_uid.clone());
        Box::pin(async move {
            match wanted {
                Wanted::Grant(broker) => {
                    let (allow_unavailable, dry_run) = (false, false);
                    let reason = Reason::Rollout;
                    restarts.ask(PermitBody { broker, pod_uid, reason, allow_unavailable, dry_run }).await
                }
                Wanted::Begin(id, _) => restarts.begin(id, PodBody { pod_uid }).await,
            }
        })
    }

    /// The broker that shall stop.
    pub fn broker(&self) -> BrokerId {
        match self.wanted {
            Wanted::Grant(broker) | Wanted::Begin(_, broker) => broker,
        }
    }
}

/// One who asks.
#[derive(Default)]
struct Asker {
    /// What is meant for another turn is void.
    turn: u64,
    /// The permit that it goes on with; the other one leaves it alone.
    own: Option<PermitId>,
    /// Permits that it got and does not use.
    unused: BTreeSet<PermitId>,
}

/// All who ask.
pub struct Askers {
    askers: Vec<Asker>,
    pub chance: Random,
}

impl Askers {
    pub fn new(chance: Random) -> Self {
        Self { askers: (0..ASKERS).map(|_| Asker::default()).collect(), chance }
    }
}

impl World {
    /// They begin to ask some time after the cluster began.
    pub fn begin_asking(&mut self) {
        for asker in 0..ASKERS {
            let at = self.askers.chance.between(3_000, 8_000) * MS;
            self.at(at, Event::Permits(asker, 0));
        }
    }

    /// An asker's next turn comes after that time, whatever comes of this one.
    fn next_turn(&mut self, asker: usize, after: Micros) -> u64 {
        let known = &mut self.askers.askers[asker];
        known.turn += 1;
        let turn = known.turn;
        self.after(after, Event::Permits(asker, turn));
        turn
    }

    /// An asker's turn: it goes on with a permit that is open, or asks for another.
    pub fn seek_permit(&mut self, asker: usize, turn: u64) {
        if self.askers.askers[asker].turn != turn {
            return;
        }
        let via = self.askers.chance.index(self.machines.len());
        let pause = self.askers.chance.between(500, 3_000) * MS;
        let Some(wanted) = self.next_wish(asker, via) else {
            self.next_turn(asker, pause);
            return;
        };
        let broker = match wanted {
            Wanted::Grant(broker) | Wanted::Begin(_, broker) => broker,
        };
        let pod_uid = self.pod_uid(index_of(broker));
        let turn = self.next_turn(asker, PATIENCE);
        let ordered = Ordered { asker, turn, wanted, pod_uid };
        self.note([80, via as u64, asker as u64], || format!("b{} is asked: {ordered:?}", via + 1));
        self.note_order(&ordered);
        if matches!(ordered.wanted, Wanted::Grant(_)) && self.askers.chance.one_in(2) {
            self.wake_another(asker);
        }
        if let Some(process) = &mut self.machines[via].process {
            process.tasks.order(ordered);
        }
        if !self.machines[via].paused {
            self.run_tasks(via);
        }
    }

    /// The other one asks at the same time.
    fn wake_another(&mut self, asker: usize) {
        let other = (asker + 1) % ASKERS;
        let known = &self.askers.askers[other];
        if known.own.is_none() {
            let soon = self.askers.chance.below(3 * MS);
            self.next_turn(other, soon);
        }
    }

    /// What an asker does next, by what a broker says of the permits; nothing if that broker does not run.
    fn next_wish(&mut self, asker: usize, via: M) -> Option<Wanted> {
        let process = self.machines[via].process.as_ref()?;
        let cluster = process.shared.cluster.borrow().clone();
        let healed = self.is_healed();
        let others = |id: PermitId| {
            let mut others = self.askers.askers.iter().enumerate().filter(|(other, _)| *other != asker);
            others.any(|(_, other)| other.own == Some(id))
        };
        let own = &self.askers.askers[asker];
        let may = |permit: &&Permit| {
            !others(permit.id)
                && (healed || !own.unused.contains(&permit.id))
                && self.has_pod(index_of(permit.broker))
                && permit.pod_uid == self.pod_uid(index_of(permit.broker))
        };
        if let Some(permit) = cluster.permits().open().find(may).cloned() {
            if permit.stage == Stage::Begun && own.own != Some(permit.id) {
                self.coverage.count("permits: gone on from one that was begun");
            }
            self.askers.askers[asker].own = Some(permit.id);
            return Some(Wanted::Begin(permit.id, permit.broker));
        }
        self.askers.askers[asker].own = None;
        let mut hosts = self.hosts();
        hosts.retain(|host| self.has_pod(*host));
        if healed || hosts.is_empty() {
            return None;
        }
        let host = self.askers.chance.index(hosts.len());
        Some(Wanted::Grant(broker_id(hosts[host])))
    }

    /// A broker's answer.
    pub fn permit_told(&mut self, ordered: Ordered, told: Told) {
        let code = told.as_ref().map_err(|refused| refused.error.code.clone()).err();
        self.note([81, ordered.asker as u64, u64::from(told.is_ok())], || {
            format!("told: {ordered:?}: {told:?}")
        });
        self.check_told_permit(&ordered, &told);
        if code.as_deref() == Some("blocked") {
            self.coverage.count("permits: blocked");
        }
        let asker = ordered.asker;
        if self.askers.askers[asker].turn != ordered.turn {
            return;
        }
        if !self.is_healed() && self.askers.chance.one_in(8) {
            return self.asker_dies(asker);
        }
        let after = match (&ordered.wanted, told) {
            (Wanted::Grant(_), Ok(answer)) => {
                let id = answer.permit.map(|permit| permit.id);
                if !self.is_healed() && self.askers.chance.one_in(5) {
                    self.coverage.count("permits: granted and not used");
                    self.askers.askers[asker].unused.extend(id);
                    self.askers.chance.between(500, 4_000) * MS
                } else {
                    self.askers.askers[asker].own = id;
                    self.askers.chance.pick(&[0, 300 * MS, 3 * SECOND])
                }
            }
            (Wanted::Begin(..), Ok(_)) => {
                self.askers.askers[asker].own = None;
                self.delete_pod(index_of(ordered.broker()), &ordered.pod_uid);
                self.askers.chance.between(500, 4_000) * MS
            }
            (_, Err(_)) => {
                self.askers.askers[asker].own = None;
                self.askers.chance.between(300, 3_000) * MS
            }
        };
        self.next_turn(asker, after);
    }

    /// It knows nothing of what it did; another goes on some time later.
    fn asker_dies(&mut self, asker: usize) {
        self.coverage.count("permits: asker died");
        self.askers.askers[asker] = Asker { turn: self.askers.askers[asker].turn, ..Asker::default() };
        let long = self.askers.chance.one_in(3);
        let away = if long { (31_000, 38_000) } else { (500, 5_000) };
        let away = self.askers.chance.between(away.0, away.1) * MS;
        self.next_turn(asker, away);
        if long {
            // Nor does the other one: there is one operator.
            for other in (0..ASKERS).filter(|other| *other != asker) {
                self.askers.askers[other] =
                    Asker { turn: self.askers.askers[other].turn, ..Asker::default() };
                self.next_turn(other, away);
            }
        }
    }
}
