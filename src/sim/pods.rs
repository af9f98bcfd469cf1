//! Pods: one for each machine's broker. One that is deleted has its broker stop in order, or is killed; another takes its
//! place. A broker that is started again by itself stays in its pod.

use chronik_broker::replica::Event as EngineEvent;
use tokio::sync::oneshot;

use crate::time::{MS, Micros, SECOND};
use crate::world::{Event, M, World};

/// What a broker gets to hand its leaderships over.
const GRACE: Micros = 10 * SECOND;
/// How often it is looked whether it has.
const LOOKS_EVERY: Micros = 20 * MS;

/// A machine's pod.
#[derive(Default)]
pub struct Pod {
    /// Its number; each gets another.
    number: u64,
    /// It has ended, and the next one is not there yet.
    gone: bool,
    /// It is being deleted: until when its broker may take, and where it says that it has handed everything over.
    ends: Option<(Micros, oneshot::Receiver<()>)>,
}

impl World {
    /// The name of the pod that a machine's broker runs in.
    pub fn pod_uid(&self, at: M) -> String {
        format!("pod-{}-{}", at + 1, self.machines[at].pod.number)
    }

    /// Whether a machine's broker has a pod.
    pub fn has_pod(&self, at: M) -> bool {
        !self.machines[at].pod.gone
    }

    /// Somebody deletes a pod by its UID.
    pub fn delete_pod(&mut self, at: M, uid: &str) {
        if self.pod_uid(at) != uid || !self.has_pod(at) || self.machines[at].pod.ends.is_some() {
            return;
        }
        // Nobody starts it in this pod again.
        self.machines[at].held_down += u32::from(!self.is_healed());
        let killed = self.machines[at].paused || self.askers.chance.one_in(6);
        self.note([82, at as u64, u64::from(killed)], || format!("{uid} is deleted, killed: {killed}"));
        if killed {
            self.coverage.count("permits: pod killed");
            self.check_stop(at);
            self.crash(at, false);
            return self.pod_gone(at);
        }
        let (reply, done) = oneshot::channel();
        let grace = if self.drain_for(at, reply) { GRACE } else { 0 };
        self.machines[at].pod.ends = Some((self.now + grace, done));
        self.after(LOOKS_EVERY, Event::PodEnds(at));
    }

    fn drain_for(&mut self, at: M, reply: oneshot::Sender<()>) -> bool {
        let Some(process) = &mut self.machines[at].process else { return false };
        process.draining = true;
        self.engine(at, EngineEvent::Drain { reply });
        true
    }

    /// Looks whether a broker that is to stop has handed its leaderships over.
    pub fn pod_ends(&mut self, at: M) {
        let now = self.now;
        let Some((until, done)) = &mut self.machines[at].pod.ends else { return };
        let waits = matches!(done.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        if waits && now < *until && self.machines[at].process.is_some() {
            return self.after(LOOKS_EVERY, Event::PodEnds(at));
        }
        self.machines[at].pod.ends = None;
        self.check_stop(at);
        match self.machines[at].paused {
            true => self.crash(at, false),
            false => self.stop(at),
        }
        self.pod_gone(at);
    }

    fn pod_gone(&mut self, at: M) {
        self.coverage.count("permits: pod replaced");
        let pod = &mut self.machines[at].pod;
        (pod.number, pod.gone) = (pod.number + 1, true);
        let longest = if self.is_healed() { 3_000 } else { 12_000 };
        let takes = self.askers.chance.between(200, longest) * MS;
        self.after(takes, Event::PodStarts(at));
    }

    /// The next pod runs. What held it down before everything healed holds it no more.
    pub fn pod_starts(&mut self, at: M) {
        self.machines[at].pod.gone = false;
        match self.is_healed() {
            true => self.start(at),
            false => self.bring_up(at),
        }
    }
}
