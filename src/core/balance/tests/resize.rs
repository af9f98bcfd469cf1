//! Topics that get more replicas, and fewer: where from and where to, and that nothing moves without need.

use super::*;

fn want(world: &mut World, topic: &str, replicas: i32) -> Applied {
    let topic = TopicRef::Name(topic.into());
    world.must(Command::SetTopicReplicas(SetTopicReplicas { topic, replicas }))
}

fn told(world: &World, topic: &str) -> Option<Resize> {
    let topic = world.state.topic_by_name(topic).unwrap();
    super::super::resize(&world.state, &world.alive, |group| world.view(group), topic)
}

fn all(world: &World, topic: &str) -> Vec<Vec<u32>> {
    let partitions = &world.state.topic_by_name(topic).unwrap().partitions;
    partitions.iter().map(|it| brokers(it).into_iter().map(|id| id.0).collect()).collect()
}

/// The plan for one partition on 1, 2 and 3 that shall have two replicas, of which these are in sync, the leader first.
fn two_of_three(world: &World, isr: &[u32]) -> Vec<Vec<u32>> {
    let isr: Vec<BrokerId> = isr.iter().copied().map(BrokerId).collect();
    let view = |group| world.state.group(group).map(|(_, partition)| view(partition, &isr));
    targets(&plan(&world.state, &world.alive, view))
}

#[test]
fn more_replicas_go_to_who_has_fewest_and_the_preferred_leader_stays() {
    let mut world = World::new(4, 0);
    world.topic("t", &[&[1, 2], &[2, 1], &[3, 1]]);
    assert_eq!(
        want(&mut world, "t", 2),
        Applied::TopicReplicasSet { topic: world.state.topics().next().unwrap().id, moving: false }
    );
    assert_eq!((world.plan(), told(&world, "t")), (Plan::default(), None), "they have two");
    want(&mut world, "t", 3);
    let plan = world.plan();
    assert_eq!(targets(&plan), [[1, 2, 4], [2, 1, 3], [3, 1, 4]]);
    world.carry_out(plan);
    assert_eq!(world.plan(), Plan::default(), "all is under way");
    assert_eq!(told(&world, "t"), Some(Resize { replicas: 3, done: 0, blocked: None }));
    world.complete_moves();
    assert_eq!((world.plan(), told(&world, "t")), (Plan::default(), None), "and is forgotten once it is so");
}

#[test]
fn new_replicas_go_to_racks_without_one_and_racks_are_kept() {
    // Racks: 1 and 4 in b, 2 and 5 in c, 3 in a.
    let mut world = World::new(5, 3);
    world.topic("t", &[&[1, 4]]);
    want(&mut world, "t", 3);
    assert_eq!(targets(&world.plan()), [[1, 4, 2]]);
    run(&mut world);
    want(&mut world, "t", 2);
    assert_eq!(targets(&world.plan()), [[1, 2]], "4 shares its rack with the leader");
}

#[test]
fn who_is_out_of_sync_goes_first_and_the_leader_last() {
    let mut world = World::new(3, 0);
    world.topic("t", &[&[1, 2, 3]]);
    want(&mut world, "t", 2);
    assert_eq!(two_of_three(&world, &[1, 2, 3]), [[1, 2]]);
    assert_eq!(two_of_three(&world, &[1, 3]), [[1, 3]]);
    assert_eq!(two_of_three(&world, &[3, 2, 1]), [[1, 3]], "neither the leader nor the preferred one");
    assert_eq!(two_of_three(&world, &[3, 2]), [[2, 3]], "the preferred one is out of sync");
    assert!(two_of_three(&world, &[1]).is_empty(), "two have to be in sync, and of those that stay one is");
    let unknown = plan(&world.state, &world.alive, |_| None);
    assert_eq!(unknown, Plan::default(), "without a word from the leader nothing is taken away");
}

#[test]
fn what_a_topic_waits_for_is_named() {
    let mut world = World::new(3, 0);
    world.topic("t", &[&[1, 2, 3], &[1, 2, 3]]);
    want(&mut world, "t", 2);
    let incarnation = Incarnation { disk: DiskId(Uuid::from_u128(2)), start: 1 };
    let (broker, pod_uid) = (BrokerId(2), "uid".to_owned());
    let leave = Leave { broker, incarnation, pod_uid, reason: Reason::Rollout, allow_unavailable: false };
    let judged = world.state.permits().version();
    world.must(Command::ChangePermit(ChangePermit::Grant { judged, leave }));
    assert_eq!(world.plan(), Plan::default(), "a permit counts on the third replica");
    let why = told(&world, "t").unwrap().blocked.unwrap();
    assert!(why.contains("while broker 2 holds permit 1 to stop: try again"), "{why}");

    let mut world = World::new(3, 0);
    world.topic("t", &[&[1, 2]]);
    want(&mut world, "t", 3);
    world.alive.remove(&BrokerId(3));
    let why = told(&world, "t").unwrap().blocked.unwrap();
    assert_eq!(why, "of the brokers that could take a replica of t/0 none is heard and stays up");
    world.alive.insert(BrokerId(3));
    let plan = world.plan();
    world.carry_out(plan);
    world.alive.remove(&BrokerId(3));
    let why = told(&world, "t").unwrap().blocked.unwrap();
    assert!(why.starts_with("t/0 moves to broker 3, which is not heard"), "{why}");
}

#[test]
fn a_move_of_somebody_else_ends_first_and_leaving_brokers_get_nothing() {
    let mut world = World::new(4, 0);
    world.topic("t", &[&[1, 2], &[1, 2]]);
    let (topic, target) = (TopicRef::Name("t".into()), Some(vec![BrokerId(2), BrokerId(3)]));
    world.must(Command::AlterReassignment(AlterReassignment { topic, partition: 0, target }));
    world.stand(4, Standing::Leaving);
    want(&mut world, "t", 3);
    assert_eq!(targets(&world.plan()), [[1, 2, 3]]);
    run(&mut world);
    assert_eq!(all(&world, "t"), [[2, 3, 1], [1, 2, 3]], "what was moved by hand stays where it is");
}

proptest! {
    #[test]
    fn partitions_get_the_number_with_one_move_each_and_nothing_else_moves(
        mut world in worlds(), wanted in 1i32..7,
    ) {
        let brokers_all = world.state.brokers().len();
        let wanted = wanted.min(brokers_all as i32);
        let names: Vec<String> = world.state.topics().map(|topic| topic.name.clone()).collect();
        let off = world.state.partitions().filter(|(_, it)| it.target().len() != wanted as usize).count();
        names.iter().for_each(|name| drop(want(&mut world, name, wanted)));
        let everyone: Vec<BrokerId> = world.alive.iter().copied().collect();
        let racks = world.racks_of(&everyone);
        let moved = run(&mut world);
        prop_assert_eq!(moved.len(), off);
        for (before, after) in &moved {
            prop_assert_eq!(after.len(), wanted as usize);
            prop_assert_eq!(after.iter().collect::<BTreeSet<_>>().len(), after.len());
            prop_assert_eq!(after[0], before[0], "the preferred leader, who leads here, stays first");
            let (more, had) = (after.len() > before.len(), world.racks_of(before));
            if more {
                prop_assert!(after.starts_with(before), "who is there stays");
                prop_assert_eq!(world.racks_of(after), racks.min(had + after.len() - before.len()));
            } else {
                prop_assert!(after.iter().all(|broker| before.contains(broker)));
                prop_assert_eq!(world.racks_of(after), had.min(after.len()));
            }
        }
        prop_assert!(world.state.resizing().next().is_none());
    }
}
