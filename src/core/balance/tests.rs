//! The planner by example, then over thousands of random clusters: it ends, moves no more than it must, and breaks nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::ids::{DiskId, Incarnation, ReplicaId, TopicId};
use crate::metadata::{
    Applied, Broker, ChangePermit, Command, CompleteReassignment, CreateTopic, FeatureRange, Listener,
    SetStanding, SetTopicReplicas, TopicReplicas,
};
use crate::restart::{Leave, Reason};
use crate::view::ViewVersion;

const RACKS: [&str; 3] = ["a", "b", "c"];

/// A cluster, and which of its brokers are heard.
#[derive(Clone, Debug)]
struct World {
    state: ClusterState,
    alive: BTreeSet<BrokerId>,
}

impl World {
    /// Brokers 1 to `brokers`, in as many racks (0: none is named).
    fn new(brokers: u32, racks: usize) -> Self {
        let mut world = Self { state: ClusterState::new("test".parse().unwrap()), alive: BTreeSet::new() };
        (1..=brokers).for_each(|id| world.join(id, racks));
        world
    }

    fn join(&mut self, id: u32, racks: usize) {
        self.must(Command::RegisterBroker(Broker {
            id: BrokerId(id),
            disk: DiskId(Uuid::from_u128(id.into())),
            rack: (racks > 0).then(|| RACKS[id as usize % racks].to_owned()),
            listeners: vec![Listener { name: "PLAINTEXT".into(), host: "h".into(), port: 9092 }],
            peer_address: "h:9093".into(),
            version: "1".into(),
            features: FeatureRange::THIS_BUILD,
            incarnation_start: 1,
            metadata_replica: Some(ReplicaId(id.into())),
        }));
        self.alive.insert(BrokerId(id));
    }

    fn must(&mut self, command: Command) -> Applied {
        let index = self.state.applied() + 1;
        self.state.apply(index, &command).into_result().unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    fn topic(&mut self, name: &str, partitions: &[&[u32]]) {
        let lists = partitions.iter().map(|list| list.iter().map(|id| BrokerId(*id)).collect());
        let replicas = TopicReplicas::Manual(lists.collect());
        let id = TopicId(Uuid::from_u128(1 + self.state.topics().len() as u128));
        let configs = BTreeMap::new();
        self.must(Command::CreateTopic(CreateTopic { id, name: name.into(), replicas, configs }));
    }

    fn stand(&mut self, id: u32, standing: Standing) {
        self.must(Command::SetStanding(SetStanding { broker: BrokerId(id), standing }));
    }

    fn plan(&self) -> Plan {
        plan(&self.state, &self.alive, |group| self.view(group))
    }

    /// The first of a partition's brokers that is heard leads, and all that are heard are in sync.
    fn view(&self, group: GroupId) -> Option<PartitionView> {
        let (_, partition) = self.state.group(group)?;
        let isr: Vec<BrokerId> =
            brokers(partition).into_iter().filter(|id| self.alive.contains(id)).collect();
        Some(view(partition, &isr))
    }

    fn blocked(&self, id: u32) -> Option<String> {
        progress(&self.state, &self.alive, BrokerId(id)).blocked
    }

    /// Begins what is planned, settles who is; gives what began, with the brokers before.
    fn carry_out(&mut self, plan: Plan) -> Vec<(Vec<BrokerId>, Vec<BrokerId>)> {
        let mut moved = Vec::new();
        for wanted in plan.moves {
            let topic = self.state.find_topic(&wanted.topic).unwrap();
            let before = brokers(topic.partition(wanted.partition).unwrap());
            moved.push((before, wanted.target.clone().unwrap()));
            self.must(Command::AlterReassignment(wanted));
        }
        for broker in plan.settled {
            self.must(Command::SetStanding(SetStanding { broker, standing: Standing::Settled }));
        }
        moved
    }

    fn complete_moves(&mut self) {
        let moving: Vec<_> = self.state.reassignments().map(|(_, partition)| partition.clone()).collect();
        for partition in moving {
            let (group, since) = (partition.group, partition.reassignment.unwrap().since);
            self.must(Command::CompleteReassignment(CompleteReassignment { group, since }));
        }
    }

    fn counts(&self) -> BTreeMap<u32, usize> {
        let load = Load::of(&self.state);
        self.state.brokers().map(|broker| (broker.id.0, load.replicas(broker.id))).collect()
    }

    fn racks_of(&self, brokers: &[BrokerId]) -> usize {
        let racks = brokers.iter().map(|id| self.state.broker(*id).unwrap().rack.clone());
        racks.collect::<BTreeSet<_>>().len()
    }
}

fn brokers(partition: &Partition) -> Vec<BrokerId> {
    partition.target().iter().map(|replica| replica.broker).collect()
}

/// What the leader of a partition says, which is the first of these that are in sync.
fn view(partition: &Partition, isr: &[BrokerId]) -> PartitionView {
    PartitionView {
        group: partition.group,
        topic: TopicId(Uuid::nil()),
        partition: partition.number,
        metadata_index: 0,
        at: ViewVersion { term: 1, version: 1 },
        leader: *isr.first().unwrap_or(&BrokerId(0)),
        isr: isr.to_vec(),
        effective_min_isr: partition.target().len() as u32 / 2 + 1,
        provisional: false,
    }
}

fn targets(plan: &Plan) -> Vec<Vec<u32>> {
    let numbers = |it: &AlterReassignment| it.target.iter().flatten().map(|broker| broker.0).collect();
    plan.moves.iter().map(numbers).collect()
}

#[test]
fn replicas_go_to_the_brokers_that_have_the_fewest() {
    let mut world = World::new(4, 0);
    world.topic("t", &[&[4, 1], &[1, 2], &[4, 2], &[2, 1]]);
    assert_eq!(world.plan(), Plan::default(), "nobody leaves");
    world.stand(4, Standing::Leaving);
    // 3 has none, and the leaderships of 4 go to who leads least.
    assert_eq!(targets(&world.plan()), [[3, 1], [3, 2]]);
    assert_eq!(world.blocked(4), None);
}

#[test]
fn a_broker_without_which_a_topic_has_too_few_is_kept_whole() {
    let mut world = World::new(3, 0);
    world.topic("one", &[&[3]]);
    world.topic("three", &[&[1, 2, 3]]);
    world.stand(3, Standing::Leaving);
    assert_eq!(world.plan(), Plan::default(), "not even what could go");
    let why = world.blocked(3).unwrap();
    assert!(why.starts_with("topic three has 3 replicas, and 2 brokers would be left"), "{why}");
    world.join(4, 0);
    assert_eq!(targets(&world.plan()), [vec![4], vec![1, 2, 4]]);
}

#[test]
fn nothing_moves_to_a_broker_that_is_not_heard_or_may_stop() {
    let mut world = World::new(3, 0);
    world.topic("t", &[&[1, 3]]);
    world.stand(3, Standing::Leaving);
    world.alive.remove(&BrokerId(2));
    assert_eq!(world.plan(), Plan::default());
    let why = world.blocked(3).unwrap();
    assert!(why.contains("t/0 has nowhere to go") && why.contains("(2)"), "{why}");
    world.alive.insert(BrokerId(2));
    let incarnation = Incarnation { disk: DiskId(Uuid::from_u128(2)), start: 1 };
    let (broker, pod_uid) = (BrokerId(2), "uid".to_owned());
    let leave = Leave { broker, incarnation, pod_uid, reason: Reason::Rollout, allow_unavailable: false };
    let judged = world.state.permits().version();
    world.must(Command::ChangePermit(ChangePermit::Grant { judged, leave }));
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn a_few_move_at_once_and_moves_of_others_count() {
    let mut world = World::new(3, 0);
    let on_three: Vec<&[u32]> = vec![&[3]; 9];
    world.topic("t", &on_three);
    world.topic("by-hand", &[&[1]]);
    let topic = TopicRef::Name("by-hand".into());
    let by_hand = AlterReassignment { topic, partition: 0, target: Some(vec![BrokerId(3)]) };
    world.must(Command::AlterReassignment(by_hand));
    world.stand(3, Standing::Leaving);
    assert_eq!(world.plan().moves.len(), MOVES_AT_ONCE - 1);
    world.alive.remove(&BrokerId(3));
    let why = world.blocked(3).unwrap();
    assert!(why.starts_with("by-hand/0 moves to broker 3, which is not heard"), "{why}");
}

#[test]
fn a_move_to_a_broker_that_is_not_heard_is_named() {
    let mut world = World::new(3, 0);
    world.topic("t", &[&[3]]);
    world.stand(3, Standing::Leaving);
    let plan = world.plan();
    world.carry_out(plan);
    let moving = progress(&world.state, &world.alive, BrokerId(3));
    assert_eq!(moving, Progress { moving: 1, blocked: None });
    world.alive.remove(&BrokerId(1));
    assert!(world.blocked(3).unwrap().contains("t/0 moves to broker 1, which is not heard"));
}

#[test]
fn a_broker_that_joined_gets_its_share_of_replicas_and_leaderships() {
    let mut world = World::new(4, 0);
    let thrice: [&[u32]; 3] = [&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]];
    world.topic("t", &thrice.repeat(4));
    world.stand(4, Standing::Joining);
    for _ in 0..3 {
        let plan = world.plan();
        world.carry_out(plan);
        world.complete_moves();
    }
    assert_eq!(world.counts(), BTreeMap::from([(1, 9), (2, 9), (3, 9), (4, 9)]));
    let leads = world.state.partitions().filter(|(_, it)| brokers(it)[0] == BrokerId(4)).count();
    assert!((2..=4).contains(&leads), "{leads} of 12");
    assert!(world.state.is_settled());
}

#[test]
fn a_share_is_lacking_below_its_half() {
    assert!(lacks_share(0, 3, 3) && !lacks_share(1, 3, 3) && !lacks_share(0, 2, 3));
    assert!(lacks_share(4, 36, 4) && !lacks_share(5, 36, 4));
    assert!(!lacks_share(0, 0, 0));
}

mod resize;

fn worlds() -> impl Strategy<Value = World> {
    let topic = (1usize..5, prop::collection::vec(prop::collection::vec(any::<u8>(), 4), 1..8));
    (2u32..7, 0usize..4, prop::collection::vec(topic, 0..5)).prop_map(|(count, racks, topics)| {
        let mut world = World::new(count, racks);
        for (number, (factor, partitions)) in topics.into_iter().enumerate() {
            let factor = factor.min(count as usize);
            let lists: Vec<Vec<u32>> = partitions
                .into_iter()
                .map(|chance| {
                    let mut all: Vec<u32> = (1..=count).collect();
                    (0..factor).map(|at| all.remove(chance[at] as usize % all.len())).collect()
                })
                .collect();
            let lists: Vec<&[u32]> = lists.iter().map(Vec::as_slice).collect();
            world.topic(&format!("t{number}"), &lists);
        }
        world
    })
}

/// Carries plans out until there is none; gives all moves.
fn run(world: &mut World) -> Vec<(Vec<BrokerId>, Vec<BrokerId>)> {
    let mut moved = Vec::new();
    for _ in 0..200 {
        let plan = world.plan();
        assert!(plan.moves.len() <= MOVES_AT_ONCE);
        if plan == Plan::default() {
            return moved;
        }
        moved.extend(world.carry_out(plan));
        world.complete_moves();
    }
    panic!("no end after {} moves", moved.len());
}

proptest! {
    #[test]
    fn brokers_that_leave_are_emptied_with_a_move_for_each_replica(
        mut world in worlds(), leaving in prop::collection::btree_set(1u32..7, 1..3),
    ) {
        let all = world.state.brokers().len() as u32;
        let leaving: Vec<u32> = leaving.into_iter().filter(|id| *id <= all).take(all as usize - 1).collect();
        leaving.iter().for_each(|id| world.stand(*id, Standing::Leaving));
        let staying = world.state.staying();
        let goes = |broker: &BrokerId| leaving.contains(&broker.0);
        let fits = world.state.partitions().all(|(_, it)| it.target().len() <= staying);
        let replicas: usize = leaving.iter().map(|id| world.counts()[id]).sum();
        let free_racks = {
            let stay: Vec<BrokerId> = world.state.brokers().map(|it| it.id).filter(|id| !goes(id)).collect();
            world.racks_of(&stay)
        };
        let moved = run(&mut world);
        for (before, after) in &moved {
            prop_assert_eq!(before.len(), after.len());
            prop_assert_eq!(after.iter().collect::<BTreeSet<_>>().len(), after.len());
            prop_assert!(!after.iter().any(goes));
            // As many racks as the brokers that stay allow to those that were kept.
            let kept: Vec<BrokerId> = before.iter().copied().filter(|id| !goes(id)).collect();
            let new = after.len() - kept.len();
            prop_assert!(world.racks_of(after) >= free_racks.min(world.racks_of(&kept) + new));
            prop_assert!(kept.iter().all(|broker| after.contains(broker)), "who stays is not moved");
        }
        let exchanged: usize = moved.iter().map(|(before, _)| before.iter().filter(|id| goes(id)).count()).sum();
        if fits {
            prop_assert_eq!(exchanged, replicas);
            prop_assert!(leaving.iter().all(|id| world.counts()[id] == 0));
        } else {
            let blocked = leaving.iter().any(|id| world.blocked(*id).is_some());
            prop_assert!(blocked);
        }
    }

    #[test]
    fn a_broker_that_joins_gets_its_share_with_as_many_moves_and_then_nothing_moves(
        mut world in worlds(), racks in 0usize..4,
    ) {
        let id = world.state.brokers().len() as u32 + 1;
        world.join(id, racks);
        world.stand(id, Standing::Joining);
        let all: usize = world.counts().values().sum();
        let share = all / id as usize;
        let before = world.counts();
        let moved = run(&mut world);
        prop_assert!(world.state.is_settled());
        let (counts, has) = (world.counts(), world.counts()[&id]);
        prop_assert_eq!(moved.len(), has);
        prop_assert!(has <= share);
        for (before, after) in &moved {
            prop_assert_eq!(before.len(), after.len());
            prop_assert_eq!(after.iter().collect::<BTreeSet<_>>().len(), after.len());
            prop_assert!(world.racks_of(after) >= world.racks_of(before));
        }
        for (other, count) in &counts {
            prop_assert!(*other == id || *count >= has.min(before[other]), "nobody is left with less");
        }
        if world.state.brokers().all(|it| it.rack.is_none()) {
            prop_assert_eq!(has, share);
        }
        world.stand(id, Standing::Joining);
        prop_assert!(world.plan().moves.is_empty(), "asked once more, it has all it can have");
    }
}
