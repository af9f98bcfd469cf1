//! The planner by example, and in a small world in which operators die, people change their minds and nothing may be lost.

use proptest::prelude::*;

use super::*;
use chronik_core::ids::BrokerId;

fn permit(broker: u32, uid: &str, reason: Reason, stage: Stage) -> PermitReport {
    let (id, broker, pod_uid) = (PermitId(u64::from(broker)), BrokerId(broker), uid.to_owned());
    PermitReport { id, broker, pod_uid, reason, stage }
}

/// Brokers 1 to `size`, each with six replicas, a pod and a claim; `wanted` are asked for.
fn seen(size: u32, wanted: u32) -> Observed {
    let broker = |number: u32| {
        let votes = number <= 3;
        (number, BrokerSeen { alive: true, replicas: 6, votes, ..BrokerSeen::default() })
    };
    let pod = |number: u32| (number, PodSeen { uid: format!("uid-{number}"), deleting: false });
    let claim =
        |number: u32| (number, ClaimSeen { name: format!("data-{number}"), uid: format!("claim-{number}") });
    Observed {
        wanted,
        size,
        rebalance: true,
        brokers: Some((1..=size).map(broker).collect()),
        permits: Some(Vec::new()),
        pods: (1..=size).map(pod).collect(),
        claims: (1..=size).map(claim).collect(),
        ..Observed::default()
    }
}

fn broker(seen: &mut Observed, number: u32) -> &mut BrokerSeen {
    seen.brokers.as_mut().unwrap().get_mut(&number).unwrap()
}

/// Broker 4 of four leaves and has nothing any more.
fn emptied() -> Observed {
    let mut seen = seen(4, 3);
    *broker(&mut seen, 4) = BrokerSeen { alive: true, standing: Standing::Leaving, ..BrokerSeen::default() };
    seen
}

#[test]
fn a_set_is_never_told_to_be_smaller_by_the_spec_alone() {
    assert_eq!([size(3, None), size(3, Some(4)), size(5, Some(4))], [3, 4, 5]);
}

#[test]
fn the_last_broker_leaves_with_its_replicas_and_its_vote_before_its_pod_goes() {
    assert_eq!(next(&seen(4, 4)), Step::Done);
    let mut seen = seen(5, 3);
    assert_eq!(next(&seen), Step::Stand { broker: 5, standing: Standing::Leaving });
    broker(&mut seen, 5).standing = Standing::Leaving;
    assert_eq!(next(&seen), Step::Wait(Wait::Draining(5)));
    broker(&mut seen, 5).replicas = 0;
    broker(&mut seen, 5).votes = true;
    assert_eq!(next(&seen), Step::Wait(Wait::Draining(5)));
    broker(&mut seen, 5).votes = false;
    let pod_uid = "uid-5".to_owned();
    assert_eq!(next(&seen), Step::Ask { broker: 5, pod_uid: pod_uid.clone() });
    seen.permits = Some(vec![permit(5, "uid-5", Reason::ScaleDown, Stage::Granted)]);
    assert_eq!(next(&seen), Step::Begin { permit: PermitId(5), pod_uid });
    seen.confirmed = Some(PermitId(5));
    assert_eq!(next(&seen), Step::Shrink { broker: 5 });
}

#[test]
fn what_is_left_of_it_goes_and_its_number_last() {
    let mut seen = emptied();
    seen.size = 3;
    assert_eq!(next(&seen), Step::Wait(Wait::Stopping(4)));
    seen.pods.remove(&4);
    assert_eq!(next(&seen), Step::Wait(Wait::StillHeard(4)));
    broker(&mut seen, 4).alive = false;
    let claim = seen.claims[&4].clone();
    assert_eq!(next(&seen), Step::DeleteClaim { broker: 4, claim });
    seen.claims.remove(&4);
    assert_eq!(next(&seen), Step::Unregister { broker: 4 });
    seen.brokers.as_mut().unwrap().remove(&4);
    assert_eq!(next(&seen), Step::Done);
}

#[test]
fn other_stops_go_first_and_silence_is_waited_for() {
    let mut seen = emptied();
    seen.permits = Some(vec![permit(2, "uid-2", Reason::Rollout, Stage::Begun)]);
    assert_eq!(next(&seen), Step::Wait(Wait::OtherStop(2, PermitId(2))));
    seen.permits = None;
    assert_eq!(next(&seen), Step::Wait(Wait::Permits));
    seen.permits = Some(Vec::new());
    seen.refused = true;
    assert_eq!(next(&seen), Step::Wait(Wait::Refused(4)));
    seen.brokers = None;
    assert_eq!(next(&seen), Step::Wait(Wait::Report));
    seen.size = 3;
    assert_eq!(next(&seen), Step::Done, "nothing was to be done when they fell silent");
}

#[test]
fn a_number_that_is_restored_lets_the_broker_stay() {
    let mut seen = emptied();
    seen.wanted = 4;
    seen.permits = Some(vec![permit(4, "uid-4", Reason::ScaleDown, Stage::Begun)]);
    assert_eq!(next(&seen), Step::Abort { permit: PermitId(4), pod_uid: "uid-4".to_owned() });
    seen.permits = Some(Vec::new());
    assert_eq!(next(&seen), Step::Stand { broker: 4, standing: Standing::Settled });
    broker(&mut seen, 4).standing = Standing::Settled;
    assert_eq!(next(&seen), Step::Stand { broker: 4, standing: Standing::Joining }, "it gave all away");
}

#[test]
fn a_broker_that_never_registered_goes_at_once() {
    let mut seen = seen(4, 3);
    seen.brokers.as_mut().unwrap().remove(&4);
    assert_eq!(next(&seen), Step::Shrink { broker: 4 });
}

#[test]
fn a_new_broker_is_given_its_share_unless_that_is_off() {
    let mut seen = seen(4, 4);
    broker(&mut seen, 4).replicas = 1;
    assert_eq!(next(&seen), Step::Stand { broker: 4, standing: Standing::Joining });
    broker(&mut seen, 4).standing = Standing::Joining;
    assert_eq!(next(&seen), Step::Wait(Wait::Filling(4)));
    seen.rebalance = false;
    assert_eq!(next(&seen), Step::Stand { broker: 4, standing: Standing::Settled });
    broker(&mut seen, 4).standing = Standing::Settled;
    assert_eq!(next(&seen), Step::Done);
    seen.wanted = 5;
    assert_eq!(next(&seen), Step::Wait(Wait::Growing(4)));
}

/// Kubernetes and the brokers, as far as scaling needs them.
struct World {
    seen: Observed,
    lives: u32,
}

impl World {
    fn brokers(&mut self) -> &mut BTreeMap<u32, BrokerSeen> {
        self.seen.brokers.as_mut().unwrap()
    }

    /// The StatefulSet's pods come and go, brokers with them; a replica leaves who leaves, or comes to who joins.
    fn pass_time(&mut self) {
        self.seen.size = size(self.seen.wanted, Some(self.seen.size));
        let size = self.seen.size;
        self.seen.pods.retain(|number, _| *number <= size);
        for number in 1..=size {
            if !self.seen.pods.contains_key(&number) {
                self.lives += 1;
                let uid = format!("uid-{number}-{}", self.lives);
                self.seen.pods.insert(number, PodSeen { uid, deleting: false });
                let claim =
                    ClaimSeen { name: format!("data-{number}"), uid: format!("claim-{}", self.lives) };
                self.seen.claims.entry(number).or_insert(claim);
                self.brokers().entry(number).or_default();
            }
        }
        let alive: Vec<u32> = self.seen.pods.keys().copied().collect();
        self.brokers().iter_mut().for_each(|(number, broker)| broker.alive = alive.contains(number));
        let all: u32 = self.brokers().values().map(|broker| broker.replicas).sum();
        let moves: Vec<(u32, Standing)> =
            self.brokers().iter().map(|(number, broker)| (*number, broker.standing)).collect();
        let staying = moves.iter().filter(|(_, standing)| *standing != Standing::Leaving).count() as u32;
        for (number, standing) in moves {
            let most = self.brokers().iter().max_by_key(|(_, broker)| broker.replicas).map(|(id, _)| *id);
            let to = match standing {
                Standing::Leaving => 1,
                Standing::Joining => number,
                Standing::Settled => continue,
            };
            let from = if standing == Standing::Leaving { number } else { most.unwrap() };
            let filled = standing == Standing::Joining && self.brokers()[&to].replicas >= all / staying;
            if filled {
                self.brokers().get_mut(&to).unwrap().standing = Standing::Settled;
            } else if self.brokers()[&from].replicas > 0 {
                self.brokers().get_mut(&from).unwrap().replicas -= 1;
                self.brokers().get_mut(&to).unwrap().replicas += 1;
            }
            self.brokers().get_mut(&number).unwrap().votes &= standing != Standing::Leaving;
        }
        // A permit that was not begun lapses; a later life of its broker ends one that was.
        let pods = self.seen.pods.clone();
        let lives =
            |permit: &PermitReport| pods.get(&permit.broker.0).is_none_or(|pod| pod.uid == permit.pod_uid);
        let goes_on = |permit: &PermitReport| permit.stage == Stage::Begun && lives(permit);
        self.seen.permits.iter_mut().for_each(|open| open.retain(|permit| goes_on(permit)));
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Done | Step::Wait(_) => {}
            Step::Stand { broker, standing } => self.brokers().get_mut(&broker).unwrap().standing = standing,
            Step::Ask { broker, pod_uid } => {
                let granted = permit(broker, &pod_uid, Reason::ScaleDown, Stage::Granted);
                self.seen.permits.as_mut().unwrap().push(granted);
            }
            Step::Begin { permit, .. } => {
                let open = self.seen.permits.as_mut().unwrap().iter_mut();
                open.filter(|known| known.id == permit).for_each(|known| known.stage = Stage::Begun);
                self.seen.confirmed = Some(permit);
            }
            Step::Abort { permit, .. } => {
                self.seen.permits.as_mut().unwrap().retain(|known| known.id != permit);
            }
            Step::Shrink { broker } => {
                assert_eq!(broker, self.seen.size, "a StatefulSet takes its last pod away");
                assert!(broker > self.seen.wanted);
                let known = self.brokers()[&broker].clone();
                assert!(known.standing == Standing::Leaving && known.replicas == 0 && !known.votes);
                let stops = self.seen.permits.as_ref().unwrap().iter().any(|permit| {
                    permit.broker.0 == broker
                        && permit.stage == Stage::Begun
                        && permit.pod_uid == self.seen.pods[&broker].uid
                });
                assert!(stops || !self.seen.pods.contains_key(&broker), "its pod goes under a permit");
                self.seen.size -= 1;
            }
            Step::DeleteClaim { broker, .. } => {
                let known = self.brokers()[&broker].clone();
                assert!(!known.alive && known.replicas == 0 && known.standing == Standing::Leaving);
                self.seen.claims.remove(&broker);
            }
            Step::Unregister { broker } => {
                let known = self.brokers().remove(&broker).unwrap();
                assert!(!known.alive && known.replicas == 0 && !self.seen.claims.contains_key(&broker));
                self.seen.permits.as_mut().unwrap().retain(|permit| permit.broker.0 != broker);
            }
        }
    }

    /// An operator's round, which may end after any step.
    fn round(&mut self, steps: usize) {
        self.seen.confirmed = None;
        for _ in 0..steps {
            self.carry_out(next(&self.seen));
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_wanted_in_the_end_comes_about(
        size in 1u32..6, wishes in prop::collection::vec((1u32..7, 0usize..12), 1..6),
        steps in prop::collection::vec(0usize..6, 80),
    ) {
        let mut world = World { seen: seen(size, size), lives: 0 };
        let mut steps = steps.into_iter();
        for (wanted, rounds) in wishes {
            world.seen.wanted = wanted;
            for steps in steps.by_ref().take(rounds) {
                world.pass_time();
                world.round(steps);
            }
        }
        for _ in 0..200 {
            world.pass_time();
            world.round(8);
        }
        prop_assert_eq!(next(&world.seen), Step::Done);
        let wanted: Vec<u32> = (1..=world.seen.wanted).collect();
        prop_assert_eq!(world.seen.pods.keys().copied().collect::<Vec<_>>(), wanted.clone());
        prop_assert_eq!(world.seen.claims.keys().copied().collect::<Vec<_>>(), wanted.clone());
        prop_assert_eq!(world.brokers().keys().copied().collect::<Vec<_>>(), wanted);
        prop_assert!(world.brokers().values().all(|broker| broker.standing == Standing::Settled));
        prop_assert_eq!(world.seen.permits.as_ref().unwrap().len(), 0);
        let all: u32 = world.brokers().values().map(|broker| broker.replicas).sum();
        prop_assert_eq!(all, 6 * size, "no replica was lost");
    }
}
