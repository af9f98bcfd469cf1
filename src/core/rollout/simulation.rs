//! Random worlds around the planner: brokers that die, permits that are refused, given to others or lapse, a spec that is
//! edited and may be broken, an operator that forgets everything between any two steps.
//!
//! The brokers here have so many permits open at a time as they like. Every deletion of ours must be under one; never are more
//! brokers away under ours than the spec allows, nor of two racks; and what a person holds back stays. When nothing goes wrong
//! any more, every pod that may comes to run the spec's settings.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::restart::PermitId;

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
    /// Time passes, in seconds.
    Passes(u16),
    FromBroker(u32),
    NeedsApproval(bool),
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
        3 => (0..60_u16).prop_map(Event::Passes),
        1 => (0..=4_u32).prop_map(Event::FromBroker),
        1 => any::<bool>().prop_map(Event::NeedsApproval),
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
    now: i64,
    options: Options,
    racks: BTreeMap<BrokerId, String>,
    open: Vec<PermitReport>,
    /// How many the brokers grant at once.
    open_max: usize,
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

    fn observe(&self) -> Observed {
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

    /// What a person or a deadline holds back is not asked for, by what the operator saw.
    fn may_be_asked_for(&self, seen: &Observed, pod_uid: &str, reason: Reason) {
        let pod = seen.pods.iter().find(|pod| pod.uid == pod_uid).unwrap();
        let ours = seen.permits.iter().flatten().filter(|permit| is_ours(permit));
        let (options, under_ours) =
            (&seen.options, ours.map(|permit| permit.broker).collect::<BTreeSet<_>>());
        assert!(under_ours.len() < options.max_unavailable as usize, "under ours: {under_ours:?}");
        for other in seen.pods.iter().filter(|pod| under_ours.contains(&pod.broker)) {
            assert!(seen.now - other.since.unwrap() <= 100, "on top of one that does not return: {other:?}");
        }
        if reason == Reason::Rollout {
            assert!(!seen.paused && pod.broker.0 >= options.from_broker, "{pod:?} is not in turn");
            assert!(pod.asked || !options.needs_approval, "{pod:?} is not approved");
            let young = |ready: i64| seen.now - ready < i64::from(options.min_ready_seconds);
            let settled = seen.pods.iter().all(|pod| !pod.ready_since.is_some_and(young));
            assert!(settled || !pod.ready, "{pod:?} follows too soon");
        }
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

    fn are_few_and_of_one_rack(&self) {
        let begun = self.open.iter().filter(|open| is_ours(open) && open.stage == Stage::Begun);
        let away: BTreeSet<BrokerId> = begun.map(|open| open.broker).collect();
        assert!(away.len() <= self.options.max_unavailable as usize, "away: {away:?}");
        let racks: BTreeSet<_> = away.iter().map(|broker| self.racks.get(broker)).collect();
        assert!(racks.len() <= 1, "{away:?} are away, of {racks:?}");
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
        pod.ready_since.get_or_insert(self.now);
        // Its permit ends with a later life.
        let ends = |open: &PermitReport| {
            open.broker == pod.broker && open.pod_uid != pod.uid && open.stage == Stage::Begun
        };
        self.open.retain(|open| !ends(open));
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
        if self.open.len() < self.open_max && !self.open.iter().any(|open| open.broker == pod.broker) {
            if happens {
                (pod.deleting, pod.since) = (true, Some(self.now));
            }
            let (broker, uid) = (pod.broker, pod.uid.clone());
            self.grant(broker, &uid, Reason::Eviction);
        }
    }

    /// Nothing goes wrong any more: brokers come up, permits are given, the last spec is a good one. Who has to approve does.
    fn settle(&mut self) {
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
    fn comes_back(&mut self, at: usize) {
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

    /// Brokers whose pods are being deleted, missing or not ready.
    fn away(&self) -> usize {
        self.brokers
            .iter()
            .filter(|broker| !broker.pod.as_ref().is_some_and(|pod| pod.ready && !pod.deleting))
            .count()
    }
}

#[test]
fn each_pod_is_deleted_once_when_nothing_goes_wrong() {
    let mut world = World::new(5);
    world.settle();
    assert_eq!(world.deletions, 5);
}

#[test]
fn two_at_once_take_fewer_rounds_and_as_many_deletions() {
    let rounds = |max: u32| {
        let mut world = World::new(4);
        (world.options.max_unavailable, world.open_max) = (max, 4);
        (world.spec, world.taken) = (2, 2);
        let rounds = (1..20).find(|_| {
            while !world.operator() {}
            let deleting = world.away();
            assert!(deleting <= max as usize, "{deleting} are away");
            (0..4).for_each(|at| world.comes_back(at));
            world.deletions == 4
        });
        rounds.unwrap()
    };
    assert_eq!((rounds(1), rounds(2), rounds(4)), (4, 2, 1));
}

/// However the operator's steps and the edits fall: at most one pod is away at any moment.
#[test]
fn a_spec_edited_twice_mid_roll_still_restarts_one_at_a_time() {
    for (first, second) in (0..12).flat_map(|first| (first..12).map(move |second| (first, second))) {
        let mut world = World::new(3);
        world.open_max = 3;
        (world.spec, world.taken) = (2, 2);
        for step in 0..200 {
            if step == first || step == second {
                world.happen(Event::Edit { broken: false });
            }
            let round_is_over = world.operator();
            assert!(world.away() <= 1, "edited at {first} and {second}: {} are away at {step}", world.away());
            if !round_is_over {
                continue;
            }
            // Between two rounds each broker comes one step further, and Kubernetes takes the template.
            world.taken = world.spec;
            for at in 0..3 {
                world.kubernetes(at);
                world.recover(at);
            }
        }
        let last = world.observe();
        assert_eq!(next(&last), Step::Done, "edited at {first} and {second}: {last:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn never_more_than_allowed_and_all_of_them_in_the_end(
        brokers in 1..=3_usize,
        (max_unavailable, open_max) in (1..=2_u32, 1..=3_usize),
        min_ready_seconds in prop_oneof![Just(0), Just(30_u32)],
        racks in prop::collection::vec(prop::sample::select(vec!["", "a", "b"]), 3),
        events in prop::collection::vec(event(), 0..400),
    ) {
        let mut world = World::new(brokers);
        world.options = Options { max_unavailable, min_ready_seconds, ..world.options };
        world.open_max = open_max;
        let racks = (1..).map(BrokerId).zip(racks).filter(|(_, rack)| !rack.is_empty());
        world.racks = racks.map(|(broker, rack)| (broker, rack.to_owned())).collect();
        events.into_iter().for_each(|event| world.happen(event));
        world.settle();
        let last = world.observe();
        let from = world.options.from_broker;
        let left = last.pods.iter().filter(|pod| last.is_outdated(pod)).collect::<Vec<_>>();
        prop_assert!(last.pods.len() == brokers && left.iter().all(|pod| pod.broker.0 < from), "{last:?}");
        prop_assert_eq!(world.open.clone(), Vec::new());
        let end = if left.is_empty() { Step::Done } else { Step::Wait(Wait::HeldBack) };
        prop_assert_eq!(next(&last), end);
    }
}
