//! Moves as a leader decides them: each rule by example, then random groups whose brokers come and go.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn ids(numbers: &[u64]) -> Vec<ReplicaId> {
    numbers.iter().map(|id| ReplicaId(*id)).collect()
}

/// A leader of the move {1,2,3} -> {2,3,4}, everybody alive and up to date.
struct Case {
    own: u64,
    target: Vec<ReplicaId>,
    observers: Vec<ReplicaId>,
    configuration: Configuration,
    alive: Vec<ReplicaId>,
    draining: Vec<ReplicaId>,
    in_sync: Vec<ReplicaId>,
    caught_up: Vec<ReplicaId>,
    pending: bool,
    moving: bool,
}

fn case(own: u64, target: &[u64], voters: &[u64], learners: &[u64]) -> Case {
    Case {
        own,
        target: ids(target),
        observers: Vec::new(),
        configuration: Configuration { voters: ids(voters), outgoing: Vec::new(), learners: ids(learners) },
        alive: ids(&[1, 2, 3, 4, 5, 6]),
        draining: Vec::new(),
        in_sync: ids(voters),
        caught_up: ids(learners),
        pending: false,
        moving: true,
    }
}

impl Case {
    fn outlook(&self) -> Outlook<'_> {
        Outlook {
            own: ReplicaId(self.own),
            target: &self.target,
            observers: &self.observers,
            moving: self.moving,
            configuration: &self.configuration,
            change_pending: self.pending,
            alive: &self.alive,
            draining: &self.draining,
            in_sync: &self.in_sync,
            caught_up: &self.caught_up,
            min_isr: 2,
        }
    }

    fn step(&self) -> Step {
        decide(&self.outlook())
    }
}

#[test]
fn a_new_replica_learns_first_then_all_change_at_once() {
    assert_eq!(case(2, &[2, 3, 4], &[1, 2, 3], &[]).step(), Step::AddLearner(ReplicaId(4)));
    let learning = case(2, &[2, 3, 4], &[1, 2, 3], &[4]);
    assert_eq!(learning.step(), Step::ChangeVoters(ids(&[2, 3, 4])));
    assert_eq!(Case { caught_up: vec![], ..learning }.step(), Step::Wait, "it has not caught up");
    assert_eq!(case(2, &[2, 3, 4], &[2, 3, 4], &[]).step(), Step::Complete);
    assert_eq!(Case { moving: false, ..case(2, &[2, 3, 4], &[2, 3, 4], &[]) }.step(), Step::Settled);
}

#[test]
fn a_leader_that_goes_hands_over_first() {
    let leader = case(1, &[2, 3, 4], &[1, 2, 3], &[4]);
    assert_eq!(leader.step(), Step::TransferLeadership(ReplicaId(2)));
    let first_is_out = Case { in_sync: ids(&[1, 3]), ..leader };
    assert_eq!(first_is_out.step(), Step::TransferLeadership(ReplicaId(3)));
}

#[test]
fn a_broker_that_is_to_stop_is_handed_nothing() {
    let leader = Case { draining: ids(&[2]), ..case(1, &[2, 3, 4], &[1, 2, 3], &[4]) };
    assert_eq!(leader.step(), Step::TransferLeadership(ReplicaId(3)));
    let only_one_stays = Case { draining: ids(&[2]), ..case(1, &[2], &[1, 2, 3], &[]) };
    assert_eq!(only_one_stays.step(), Step::Wait);
}

#[test]
fn a_group_is_not_made_smaller_around_a_leader_that_goes() {
    let out_of_sync = Case { in_sync: ids(&[1, 3]), ..case(1, &[2], &[1, 2, 3], &[]) };
    assert_eq!(out_of_sync.step(), Step::Wait);
}

#[test]
fn if_no_voter_stays_the_leader_stays_until_one_of_the_new_can_lead() {
    assert_eq!(case(1, &[4, 5], &[1], &[4, 5]).step(), Step::ChangeVoters(ids(&[4, 5, 1])));
    assert_eq!(case(1, &[4, 5], &[1, 4, 5], &[]).step(), Step::TransferLeadership(ReplicaId(4)));
    assert_eq!(case(4, &[4, 5], &[1, 4, 5], &[]).step(), Step::ChangeVoters(ids(&[4, 5])));
}

#[test]
fn on_its_way_to_one_replica_a_group_bears_the_death_of_any_other() {
    assert_eq!(case(2, &[1], &[2, 3, 4], &[1]).step(), Step::ChangeVoters(ids(&[1, 2, 3])));
    let third_is_out = Case { in_sync: ids(&[2, 4]), ..case(2, &[1], &[2, 3, 4], &[1]) };
    assert_eq!(third_is_out.step(), Step::ChangeVoters(ids(&[1, 2, 4])));
    assert_eq!(case(2, &[1], &[1, 2, 3], &[]).step(), Step::TransferLeadership(ReplicaId(1)));
    assert_eq!(case(1, &[1], &[1, 2, 3], &[]).step(), Step::ChangeVoters(ids(&[1])));
    assert_eq!(case(2, &[1], &[2], &[1]).step(), Step::ChangeVoters(ids(&[1, 2])), "there is nobody else");
}

#[test]
fn a_joint_configuration_is_left_by_a_leader_that_stays() {
    let mut joint = case(2, &[2, 3, 4], &[2, 3, 4], &[]);
    joint.configuration.outgoing = ids(&[1, 2, 3]);
    assert_eq!(joint.step(), Step::LeaveJoint);
    joint.own = 1;
    assert_eq!(joint.step(), Step::TransferLeadership(ReplicaId(2)));
    assert_eq!(Case { pending: true, ..joint }.step(), Step::Wait);
}

#[test]
fn a_cancelled_move_goes_back() {
    assert_eq!(case(1, &[1, 2, 3], &[1, 2, 3], &[4]).step(), Step::RemoveLearner(ReplicaId(4)));
    assert_eq!(case(2, &[1, 2, 3], &[2, 3, 4], &[]).step(), Step::AddLearner(ReplicaId(1)));
}

#[test]
fn nothing_changes_that_would_lose_a_majority_or_the_isr() {
    let grow = case(1, &[1, 2, 3], &[1], &[2, 3]);
    assert_eq!(grow.step(), Step::ChangeVoters(ids(&[1, 2, 3])));
    assert_eq!(Case { alive: ids(&[1, 2]), ..grow }.step(), Step::Wait, "a learner is down");
    let shrink = Case { in_sync: ids(&[1, 2]), ..case(1, &[1, 3], &[1, 2, 3], &[]) };
    assert_eq!(shrink.step(), Step::Wait, "replica 3 is not in sync: acks=all would be refused");
    let half_dead = Case { alive: ids(&[1]), ..case(1, &[1, 2], &[1, 2, 3], &[]) };
    assert_eq!(half_dead.step(), Step::Wait);
}

#[test]
fn an_observer_learns_and_never_votes() {
    let watched = Case { observers: ids(&[4, 5]), moving: false, ..case(1, &[1, 2, 3], &[1, 2, 3], &[4]) };
    assert_eq!(watched.step(), Step::AddLearner(ReplicaId(5)));
    assert_eq!(Case { alive: ids(&[1, 2, 3]), ..watched }.step(), Step::Settled, "nobody waits for it");
    let demoted = Case { observers: ids(&[3]), moving: false, ..case(1, &[1], &[1, 2, 3], &[]) };
    assert_eq!(demoted.step(), Step::ChangeVoters(ids(&[1])));
}

#[test]
fn a_dead_replica_is_replaced() {
    let dead =
        Case { alive: ids(&[1, 2, 4]), in_sync: ids(&[1, 2]), ..case(1, &[1, 2, 4], &[1, 2, 3], &[4]) };
    assert_eq!(dead.step(), Step::ChangeVoters(ids(&[1, 2, 4])));
}

/// A group in which every committed change applies everywhere at once, and replicas are as far as the test says.
#[derive(Debug)]
struct World {
    configuration: Configuration,
    leader: Option<ReplicaId>,
    target: Vec<ReplicaId>,
    observers: Vec<ReplicaId>,
    moving: bool,
    alive: BTreeSet<ReplicaId>,
    up_to_date: BTreeSet<ReplicaId>,
}

impl World {
    fn elect(&mut self) {
        let candidates = || self.configuration.voters.iter().chain(&self.configuration.outgoing);
        let majority = self.configuration.has_majority(|replica| self.alive.contains(&replica));
        let leads_on = self.leader.filter(|leader| self.alive.contains(leader) && majority);
        let fit = |replica: &&ReplicaId| self.alive.contains(replica) && self.up_to_date.contains(replica);
        self.leader = leads_on.or_else(|| candidates().find(fit).copied().filter(|_| majority));
    }

    /// One step of the leader, if there is one; false once nothing is left to do.
    fn step(&mut self) -> bool {
        self.elect();
        let Some(own) = self.leader else { return true };
        let fit = |replica: &&ReplicaId| self.alive.contains(replica) && self.up_to_date.contains(replica);
        let in_sync: Vec<_> =
            self.configuration.voters.iter().filter(|r| fit(r) || **r == own).copied().collect();
        let caught_up: Vec<_> = self.configuration.learners.iter().filter(fit).copied().collect();
        let alive: Vec<_> = self.alive.iter().copied().collect();
        let step = decide(&Outlook {
            own,
            target: &self.target,
            observers: &self.observers,
            moving: self.moving,
            configuration: &self.configuration,
            change_pending: false,
            alive: &alive,
            draining: &[],
            in_sync: &in_sync,
            caught_up: &caught_up,
            min_isr: 1,
        });
        let known = &mut self.configuration;
        let wanted = |id: &ReplicaId| self.target.contains(id) || self.observers.contains(id);
        match step {
            Step::Settled => return false,
            Step::Wait => {}
            Step::AddLearner(new) => {
                assert!(wanted(&new) && !known.contains(new), "{new}");
                known.learners.push(new);
            }
            Step::RemoveLearner(old) => {
                assert!(known.learners.contains(&old) && !wanted(&old), "{old}");
                known.learners.retain(|replica| *replica != old);
            }
            Step::ChangeVoters(next) => {
                assert!(next.contains(&own), "the leader is never removed");
                assert!(has_majority(&next, |r| self.alive.contains(&r)), "a dead majority: {next:?}");
                assert!(next.iter().all(|r| known.voters.contains(r) || caught_up.contains(r)), "{next:?}");
                known.learners.retain(|replica| !next.contains(replica));
                known.outgoing = std::mem::replace(&mut known.voters, next);
            }
            Step::LeaveJoint => {
                assert!(known.voters.contains(&own), "the leader is never removed");
                known.outgoing.clear();
            }
            Step::TransferLeadership(to) => {
                assert!(known.voters.contains(&to) && in_sync.contains(&to), "{to}");
                self.leader = Some(to);
            }
            Step::Complete => {
                let sorted = |list: &[ReplicaId]| list.iter().copied().collect::<BTreeSet<_>>();
                assert_eq!(sorted(&known.voters), sorted(&self.target));
                assert!(!known.is_joint() && known.learners.iter().all(|id| self.observers.contains(id)));
                self.moving = false;
            }
        }
        true
    }
}

#[derive(Clone, Debug)]
enum Event {
    Step,
    Toggle(u64),
    Lag(u64),
    Target(Vec<u64>),
    Observers(Vec<u64>),
    NewLeader(u64),
}

fn events() -> impl Strategy<Value = Event> {
    let replica = 1u64..7;
    prop_oneof![
        6 => Just(Event::Step),
        1 => replica.clone().prop_map(Event::Toggle),
        1 => replica.clone().prop_map(Event::Lag),
        1 => prop::collection::btree_set(replica.clone(), 1..4).prop_map(|set| Event::Target(set.into_iter().collect())),
        1 => prop::collection::btree_set(replica.clone(), 0..3).prop_map(|set| Event::Observers(set.into_iter().collect())),
        1 => replica.prop_map(Event::NewLeader),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_move_ends_once_all_are_well(
        first in prop::collection::btree_set(1u64..7, 1..4), events in prop::collection::vec(events(), 0..60),
    ) {
        let first = ids(&first.into_iter().collect::<Vec<_>>());
        let mut world = World {
            configuration: Configuration { voters: first.clone(), ..Configuration::default() },
            leader: None,
            target: first.clone(),
            observers: Vec::new(),
            moving: false,
            alive: ids(&[1, 2, 3, 4, 5, 6]).into_iter().collect(),
            up_to_date: first.into_iter().collect(),
        };
        for event in events {
            match event {
                Event::Step => drop(world.step()),
                Event::Toggle(id) => {
                    let id = ReplicaId(id);
                    if !world.alive.remove(&id) {
                        world.alive.insert(id);
                    }
                }
                // What a committed entry rests on never lags: a majority of each half stays up to date.
                Event::Lag(id) => {
                    let id = ReplicaId(id);
                    let left = |r| r != id && world.up_to_date.contains(&r);
                    if world.configuration.has_majority(left) {
                        world.up_to_date.remove(&id);
                    }
                }
                Event::Target(target) => {
                    world.target = ids(&target);
                    world.moving = true;
                }
                Event::Observers(observers) => world.observers = ids(&observers),
                Event::NewLeader(id) => {
                    let id = ReplicaId(id);
                    if world.configuration.votes(id) && world.up_to_date.contains(&id) {
                        world.leader = Some(id);
                    }
                }
            }
            world.elect();
        }
        world.alive = ids(&[1, 2, 3, 4, 5, 6]).into_iter().collect();
        world.up_to_date = world.alive.clone();
        let steps = (0..30).take_while(|_| world.step()).count();
        prop_assert!(steps < 30, "{world:?}");
        prop_assert!(!world.moving);
        for observer in &world.observers {
            prop_assert!(world.configuration.contains(*observer), "{world:?}");
        }
    }
}
