//! The world around the planner: brokers and their permits, Kubernetes, people, and the operator's steps.

use std::collections::BTreeMap;

use super::*;
use crate::restart::PermitId;

/// A broker's pod, or the gap where one shall be.
pub(super) struct Broker {
    pub(super) pod: Option<PodSeen>,
    alive: bool,
    in_isr: bool,
}

pub(super) struct World {
    pub(super) brokers: Vec<Broker>,
    /// Versions of the spec; those in `broken` make no broker that comes up.
    pub(super) spec: u32,
    pub(super) taken: u32,
    broken: BTreeSet<u32>,
    paused: bool,
    refuse: bool,
    silent: bool,
    leader: usize,
    pub(super) now: i64,
    pub(super) options: Options,
    pub(super) racks: BTreeMap<BrokerId, String>,
    pub(super) open: Vec<PermitReport>,
    /// How many the brokers grant at once.
    pub(super) open_max: usize,
    last_permit: u64,
    last_uid: u32,
    /// What the operator knows in the middle of a round.
    operator: Option<Observed>,
    pub(super) deletions: usize,
}

impl World {
    pub(super) fn new(brokers: usize) -> Self {
        let mut world = Self {
            brokers: Vec::new(),
            spec: 1,
            taken: 1,
            broken: BTreeSet::new(),
            paused: false,
            refuse: false,
            silent: false,
            leader: 0,
            now: 1_000,
            options: Options { progress_deadline_seconds: 100, ..Options::default() },
            racks: BTreeMap::new(),
            open: Vec::new(),
            open_max: 1,
            last_permit: 0,
            last_uid: 0,
            operator: None,
            deletions: 0,
        };
        for at in 0..brokers {
            world.brokers.push(Broker { pod: None, alive: true, in_isr: true });
            let pod = world.new_pod(at);
            world.brokers[at].pod = Some(PodSeen { ready: true, ready_since: Some(world.now), ..pod });
        }
        world
    }

    fn new_pod(&mut self, at: usize) -> PodSeen {
        self.last_uid += 1;
        PodSeen {
            broker: BrokerId(at as u32 + 1),
            name: format!("demo-broker-{}", at + 1),
            uid: format!("uid-{}", self.last_uid),
            hash: Some(self.taken.to_string()),
            ready: false,
            ready_since: None,
            deleting: false,
            since: Some(self.now),
            asked: false,
            allow_unavailable: false,
        }
    }

    pub(super) fn observe(&self) -> Observed {
        let alive = self.brokers.iter().zip(1..).filter(|(broker, _)| broker.alive);
        let brokers = BrokersSeen {
            alive: alive.map(|(_, id)| BrokerId(id)).collect(),
            metadata_leader: Some(BrokerId(self.leader as u32 + 1)),
            racks: self.racks.clone(),
        };
        Observed {
            desired: self.spec.to_string(),
            paused: self.paused,
            options: self.options.clone(),
            now: self.now,
            template_taken: self.taken == self.spec,
            pods: self.brokers.iter().filter_map(|broker| broker.pod.clone()).collect(),
            brokers: (!self.silent).then_some(brokers),
            permits: (!self.silent).then(|| self.open.clone()),
            ..Observed::default()
        }
    }

    /// One step of the operator's round. True if the round is over. What it acts on may be old by then.
    pub(super) fn operator(&mut self) -> bool {
        let Some(mut seen) = self.operator.take() else {
            self.operator = Some(self.observe());
            return false;
        };
        let goes_on = match next(&seen) {
            Step::Done | Step::Wait(_) => false,
            Step::Ask { broker, pod_uid, reason, .. } => self.asked(&mut seen, broker, &pod_uid, reason),
            Step::Begin { permit, pod_uid, .. } => self.begin(&mut seen, permit, &pod_uid),
            Step::Delete { broker, pod_uid, .. } => self.delete(&mut seen, broker, &pod_uid),
        };
        self.operator = goes_on.then_some(seen);
        !goes_on
    }

    fn asked(&mut self, seen: &mut Observed, broker: BrokerId, pod_uid: &str, reason: Reason) -> bool {
        self.may_be_asked_for(seen, pod_uid, reason);
        if self.refuse {
            seen.was_refused(pod_uid);
            return true;
        }
        let known = self.open.iter().position(|open| open.broker == broker);
        let full = known.is_none() && self.open.len() >= self.open_max;
        if full || known.is_some_and(|at| self.open[at].pod_uid != pod_uid) {
            return false;
        }
        if known.is_none() {
            self.grant(broker, pod_uid, reason);
        }
        let granted = self.open.iter().find(|open| open.broker == broker).unwrap();
        seen.granted(granted.clone());
        true
    }

    fn grant(&mut self, broker: BrokerId, pod_uid: &str, reason: Reason) {
        self.last_permit += 1;
        let (id, pod_uid, stage) = (PermitId(self.last_permit), pod_uid.to_owned(), Stage::Granted);
        self.open.push(PermitReport { id, broker, pod_uid, reason, stage });
    }

    fn begin(&mut self, seen: &mut Observed, id: PermitId, pod_uid: &str) -> bool {
        let Some(at) = self.open.iter().position(|open| open.id == id) else { return false };
        let open = self.open[at].clone();
        assert_eq!(open.pod_uid, pod_uid, "a permit is begun for the pod it was granted for");
        if open.stage == Stage::Granted && self.refuse {
            self.open.remove(at);
            seen.was_refused(pod_uid);
            return true;
        }
        let stops = |pod: &PodSeen| pod.uid == pod_uid && !pod.deleting;
        let pod = &self.brokers[open.broker.0 as usize - 1].pod;
        let stays = open.reason == Reason::Eviction && pod.as_ref().is_some_and(stops);
        assert!(!stays, "an eviction that did not happen is begun: nothing would end its permit");
        self.open[at].stage = Stage::Begun;
        self.are_few_and_of_one_rack();
        seen.begun(id);
        // Between this answer and the deletion lie milliseconds: a pod that was down does not get into every ISR in them.
        if let step @ Step::Delete { .. } = next(seen) {
            let Step::Delete { broker, pod_uid: deleted, .. } = step else { unreachable!() };
            if deleted != pod_uid {
                return self.delete(seen, broker, &deleted);
            }
        }
        true
    }

    /// Kubernetes deletes a pod only if it has this UID. Here it is seen that the deletion is allowed.
    fn delete(&mut self, seen: &mut Observed, broker: BrokerId, pod_uid: &str) -> bool {
        let at = broker.0 as usize - 1;
        let now = self.now;
        let Some(pod) = self.brokers[at].pod.as_mut().filter(|pod| pod.uid == pod_uid) else { return false };
        let open = self.open.iter().find(|open| open.broker == broker);
        let open = open.expect("no pod is deleted without a permit of its broker");
        assert_eq!(open.stage, Stage::Begun, "under {open:?}");
        let replaced = open.pod_uid != pod_uid;
        assert!(replaced || open.reason != Reason::Eviction, "who evicts a pod deletes it");
        assert!(
            !replaced || pod.hash != Some(self.spec.to_string()),
            "it comes back with what was asked for"
        );
        (pod.deleting, pod.since) = (true, Some(now));
        seen.deleted(pod_uid);
        self.deletions += 1;
        true
    }

    pub(super) fn happen(&mut self, event: Event) {
        let count = self.brokers.len();
        match event {
            Event::Operator => drop(self.operator()),
            Event::OperatorDies => self.operator = None,
            Event::Edit { broken } => {
                self.spec += 1;
                self.broken.extend(broken.then_some(self.spec));
            }
            Event::Pause(paused) => self.paused = paused,
            Event::TemplateIsTaken => self.taken = self.spec,
            Event::Dies(at) => self.die(at % count),
            Event::Recovers(at) => self.recover(at % count),
            Event::Kubernetes(at) => self.kubernetes(at % count),
            Event::DeletedByHand(at) => {
                let now = self.now;
                let stop = |pod: &mut PodSeen| (pod.deleting, pod.since) = (true, Some(now));
                self.brokers[at % count].pod.iter_mut().filter(|pod| !pod.deleting).for_each(stop);
            }
            Event::Asked(at) => self.brokers[at % count].pod.iter_mut().for_each(|pod| pod.asked = true),
            Event::Refuse(refuse) => self.refuse = refuse,
            Event::Evict { broker, happens } => self.evict(broker % count, happens),
            Event::Lapses => self.open.retain(|open| open.stage == Stage::Begun),
            Event::Silent(silent) => self.silent = silent,
            Event::Leads(at) => self.leader = at % count,
            Event::Passes(seconds) => self.now += i64::from(seconds),
            Event::FromBroker(broker) => self.options.from_broker = broker,
            Event::NeedsApproval(needs) => self.options.needs_approval = needs,
        }
    }

    fn die(&mut self, at: usize) {
        let broker = &mut self.brokers[at];
        (broker.alive, broker.in_isr) = (false, false);
        broker.pod.iter_mut().for_each(|pod| (pod.ready, pod.ready_since) = (false, None));
    }

    pub(super) fn recover(&mut self, at: usize) {
        let broken = &self.broken;
        let broker = &mut self.brokers[at];
        let works = |pod: &&mut PodSeen| {
            pod.hash.as_ref().is_some_and(|hash| !broken.contains(&hash.parse().unwrap()))
        };
        let Some(pod) = broker.pod.as_mut().filter(|pod| !pod.deleting).filter(works) else { return };
        if !broker.alive {
            broker.alive = true;
            return;
        }
        (broker.in_isr, pod.ready) = (true, true);
        pod.ready_since.get_or_insert(self.now);
        // Its permit ends with a later life.
        let ends = |open: &PermitReport| {
            open.broker == pod.broker && open.pod_uid != pod.uid && open.stage == Stage::Begun
        };
        self.open.retain(|open| !ends(open));
    }

    pub(super) fn kubernetes(&mut self, at: usize) {
        match &self.brokers[at].pod {
            Some(pod) if pod.deleting => {
                self.brokers[at].pod = None;
                self.die(at);
            }
            Some(_) => {}
            None => self.brokers[at].pod = Some(self.new_pod(at)),
        }
    }

    fn evict(&mut self, at: usize, happens: bool) {
        let Some(pod) = self.brokers[at].pod.as_mut().filter(|pod| !pod.deleting) else { return };
        if self.open.len() < self.open_max && !self.open.iter().any(|open| open.broker == pod.broker) {
            if happens {
                (pod.deleting, pod.since) = (true, Some(self.now));
            }
            let (broker, uid) = (pod.broker, pod.uid.clone());
            self.grant(broker, &uid, Reason::Eviction);
        }
    }

    /// Nothing goes wrong any more: brokers come up, permits are given, the last spec is a good one. Who has to approve does.
    pub(super) fn settle(&mut self) {
        (self.paused, self.refuse, self.silent) = (false, false, false);
        self.spec += 1;
        self.taken = self.spec;
        self.happen(Event::Lapses);
        self.operator = None;
        for _ in 0..6 * self.brokers.len() {
            // A bound on one round: it looks, each is asked for, begun and deleted, and it waits.
            let steps = (0..3 * self.brokers.len() + 3).position(|_| self.operator());
            assert!(steps.is_some(), "a round comes to its end");
            self.happen(Event::Lapses);
            for at in 0..self.brokers.len() {
                self.comes_back(at);
                self.approve(at);
            }
            self.now += 60;
        }
    }

    /// Ended, made anew, up, in every ISR.
    pub(super) fn comes_back(&mut self, at: usize) {
        self.kubernetes(at);
        self.kubernetes(at);
        self.recover(at);
        self.recover(at);
    }

    fn approve(&mut self, at: usize) {
        let spec = self.spec.to_string();
        let pod = self.brokers[at].pod.iter_mut().filter(|pod| pod.hash.as_ref() != Some(&spec));
        pod.for_each(|pod| {
            pod.asked |= self.options.needs_approval && pod.broker.0 >= self.options.from_broker
        });
    }
}
