//! Random worlds around the planner: brokers that die, permits that are refused, given to others or lapse, a spec that is
//! edited and may be broken, an operator that forgets everything between any two steps.
//!
//! The brokers here have one permit open at a time. Every deletion of ours must be under it; and when nothing goes wrong any
//! more, every pod comes to run the spec's settings.

use proptest::prelude::*;

use super::*;

/// What may happen. Brokers count from 0 and are taken modulo their number.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The operator looks, or takes the next step by what it saw.
    Operator,
    /// The operator dies; another one knows nothing.
    OperatorDies,
    Edit {
        broken: bool,
    },
    Pause(bool),
    TemplateIsTaken,
    Dies(usize),
    /// What runs comes up, unless its settings are broken; at the second time it is in every ISR.
    Recovers(usize),
    /// A pod that is being deleted ends, or one that is missing is made.
    Kubernetes(usize),
    DeletedByHand(usize),
    Asked(usize),
    /// The brokers refuse everything, or do not.
    Refuse(bool),
    /// Somebody else gets a permit; the eviction may come to nothing yet.
    Evict {
        broker: usize,
        happens: bool,
    },
    /// The open permit ends if it has not begun.
    Lapses,
    /// The brokers tell the operator nothing.
    Silent(bool),
    Leads(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let broker = 0..3_usize;
    prop_oneof![
        8 => Just(Event::Operator),
        1 => Just(Event::OperatorDies),
        1 => any::<bool>().prop_map(|broken| Event::Edit { broken }),
        1 => any::<bool>().prop_map(Event::Pause),
        4 => Just(Event::TemplateIsTaken),
        1 => broker.clone().prop_map(Event::Dies),
        6 => broker.clone().prop_map(Event::Recovers),
        6 => broker.clone().prop_map(Event::Kubernetes),
        1 => broker.clone().prop_map(Event::DeletedByHand),
        1 => broker.clone().prop_map(Event::Asked),
        1 => any::<bool>().prop_map(Event::Refuse),
        1 => (broker.clone(), any::<bool>()).prop_map(|(broker, happens)| Event::Evict { broker, happens }),
        2 => Just(Event::Lapses),
        1 => any::<bool>().prop_map(Event::Silent),
        1 => broker.prop_map(Event::Leads),
    ]
}

/// A broker's pod, or the gap where one shall be.
struct Broker {
    pod: Option<PodSeen>,
    alive: bool,
    in_isr: bool,
}

struct World {
    brokers: Vec<Broker>,
    /// Versions of the spec; those in `broken` make no broker that comes up.
    spec: u32,
    taken: u32,
    broken: BTreeSet<u32>,
    paused: bool,
    refuse: bool,
    silent: bool,
    leader: usize,
    open: Option<PermitReport>,
    last_permit: u64,
    last_uid: u32,
    /// What the operator knows in the middle of a round.
    operator: Option<Observed>,
    deletions: usize,
}

impl World {
    fn new(brokers: usize) -> Self {
        let mut world = Self {
            brokers: Vec::new(),
            spec: 1,
            taken: 1,
            broken: BTreeSet::new(),
            paused: false,
            refuse: false,
            silent: false,
            leader: 0,
            open: None,
            last_permit: 0,
            last_uid: 0,
            operator: None,
            deletions: 0,
        };
        for at in 0..brokers {
            world.brokers.push(Broker { pod: None, alive: true, in_isr: true });
            let pod = world.new_pod(at);
            world.brokers[at].pod = Some(PodSeen { ready: true, ..pod });
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
            deleting: false,
            asked: false,
            allow_unavailable: false,
        }
    }

    fn observe(&self) -> Observed {
        let alive = self.brokers.iter().zip(1..).filter(|(broker, _)| broker.alive);
        let brokers = BrokersSeen {
            alive: alive.map(|(_, id)| BrokerId(id)).collect(),
            metadata_leader: Some(BrokerId(self.leader as u32 + 1)),
        };
        Observed {
            desired: self.spec.to_string(),
            paused: self.paused,
            template_taken: self.taken == self.spec,
            pods: self.brokers.iter().filter_map(|broker| broker.pod.clone()).collect(),
            brokers: (!self.silent).then_some(brokers),
            permits: (!self.silent).then(|| self.open.iter().cloned().collect()),
            ..Observed::default()
        }
    }

    /// One step of the operator's round. True if the round is over. What it acts on may be old by then.
    fn operator(&mut self) -> bool {
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
        if self.refuse {
            seen.was_refused(pod_uid);
            return true;
        }
        if self.open.as_ref().is_some_and(|open| open.pod_uid != pod_uid) {
            return false;
        }
        if self.open.is_none() {
            self.grant(broker, pod_uid, reason);
        }
        seen.granted(self.open.clone().unwrap());
        true
    }

    fn grant(&mut self, broker: BrokerId, pod_uid: &str, reason: Reason) {
        self.last_permit += 1;
        let (id, pod_uid, stage) = (PermitId(self.last_permit), pod_uid.to_owned(), Stage::Granted);
        self.open = Some(PermitReport { id, broker, pod_uid, reason, stage });
    }

    fn begin(&mut self, seen: &mut Observed, id: PermitId, pod_uid: &str) -> bool {
        let refuse = self.refuse;
        let Some(open) = self.open.as_mut().filter(|open| open.id == id) else { return false };
        assert_eq!(open.pod_uid, pod_uid, "a permit is begun for the pod it was granted for");
        if open.stage == Stage::Granted && refuse {
            self.open = None;
            seen.was_refused(pod_uid);
            return true;
        }
        let stops = |pod: &PodSeen| pod.uid == pod_uid && !pod.deleting;
        let at = open.broker.0 as usize - 1;
        let stays = open.reason == Reason::Eviction && self.brokers[at].pod.as_ref().is_some_and(stops);
        assert!(!stays, "an eviction that did not happen is begun: nothing would end its permit");
        open.stage = Stage::Begun;
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
        let Some(pod) = self.brokers[at].pod.as_mut().filter(|pod| pod.uid == pod_uid) else { return false };
        let open = self.open.as_ref().expect("no pod is deleted without a permit");
        assert_eq!(open.stage, Stage::Begun, "under {open:?}");
        assert_eq!(open.broker, broker, "no pod is deleted while another broker may stop");
        let replaced = open.pod_uid != pod_uid;
        assert!(replaced || open.reason != Reason::Eviction, "who evicts a pod deletes it");
        assert!(
            !replaced || pod.hash != Some(self.spec.to_string()),
            "it comes back with what was asked for"
        );
        pod.deleting = true;
        seen.deleted(pod_uid);
        self.deletions += 1;
        true
    }

    fn happen(&mut self, event: Event) {
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
                self.brokers[at % count].pod.iter_mut().for_each(|pod| pod.deleting = true);
            }
            Event::Asked(at) => self.brokers[at % count].pod.iter_mut().for_each(|pod| pod.asked = true),
            Event::Refuse(refuse) => self.refuse = refuse,
            Event::Evict { broker, happens } => self.evict(broker % count, happens),
            Event::Lapses => self.open = self.open.take().filter(|open| open.stage == Stage::Begun),
            Event::Silent(silent) => self.silent = silent,
            Event::Leads(at) => self.leader = at % count,
        }
    }

    fn die(&mut self, at: usize) {
        let broker = &mut self.brokers[at];
        (broker.alive, broker.in_isr) = (false, false);
        broker.pod.iter_mut().for_each(|pod| pod.ready = false);
    }

    fn recover(&mut self, at: usize) {
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
        // Its permit ends with a later life.
        let ends = |open: &PermitReport| {
            open.broker == pod.broker && open.pod_uid != pod.uid && open.stage == Stage::Begun
        };
        self.open = self.open.take().filter(|open| !ends(open));
    }

    fn kubernetes(&mut self, at: usize) {
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
        if self.open.is_none() {
            pod.deleting = happens;
            let (broker, uid) = (pod.broker, pod.uid.clone());
            self.grant(broker, &uid, Reason::Eviction);
        }
    }

    /// Nothing goes wrong any more: brokers come up, permits are given, the last spec is a good one.
    fn settle(&mut self) {
        (self.paused, self.refuse, self.silent) = (false, false, false);
        self.spec += 1;
        self.taken = self.spec;
        self.happen(Event::Lapses);
        for _ in 0..6 * self.brokers.len() {
            // A bound on one round: it looks, one is asked for, begun and deleted, and it waits.
            let steps = (0..6).position(|_| self.operator());
            assert!(steps.is_some(), "a round comes to its end");
            if self.open.as_ref().is_some_and(|open| open.stage == Stage::Granted) {
                self.happen(Event::Lapses);
            }
            for at in 0..self.brokers.len() {
                // Ended, made anew, up, in every ISR.
                self.kubernetes(at);
                self.kubernetes(at);
                self.recover(at);
                self.recover(at);
            }
        }
    }
}

#[test]
fn each_pod_is_deleted_once_when_nothing_goes_wrong() {
    let mut world = World::new(5);
    world.settle();
    assert_eq!(world.deletions, 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn one_at_a_time_and_all_of_them_in_the_end(
        brokers in 1..=3_usize,
        events in prop::collection::vec(event(), 0..400),
    ) {
        let mut world = World::new(brokers);
        events.into_iter().for_each(|event| world.happen(event));
        world.settle();
        let last = world.observe();
        prop_assert!(last.pods.len() == brokers && !last.pods.iter().any(|pod| last.is_outdated(pod)), "{last:?}");
        prop_assert_eq!(world.open.clone(), None);
        prop_assert_eq!(next(&last), Step::Done);
    }
}
