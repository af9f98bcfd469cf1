//! Brokers that leave or join, as metadata holds that.

use super::*;

fn stand(id: u32, standing: Standing) -> Command {
    Command::SetStanding(SetStanding { broker: BrokerId(id), standing })
}

fn assign(partition: i32, brokers: &[u32]) -> Command {
    let target = Some(brokers.iter().map(|&id| BrokerId(id)).collect());
    Command::AlterReassignment(AlterReassignment { topic: TopicRef::Name("t".into()), partition, target })
}

#[test]
fn a_standing_is_set_once_and_goes_with_its_broker() {
    let mut cluster = Cluster::of_three();
    let set = |standing, changed| Applied::StandingSet { broker: BrokerId(3), standing, changed };
    assert_eq!(cluster.must(stand(3, Standing::Leaving)), set(Standing::Leaving, true));
    assert_eq!(cluster.must(stand(3, Standing::Leaving)), set(Standing::Leaving, false));
    assert!(cluster.0.leaves(BrokerId(3)) && cluster.0.staying() == 2);
    cluster.must(Command::RegisterBroker(Broker { incarnation_start: 2, ..broker(3) }));
    assert!(cluster.0.leaves(BrokerId(3)), "a restart changes nothing");
    cluster.must(Command::UnregisterBroker(UnregisterBroker { broker: BrokerId(3) }));
    assert!(cluster.0.is_settled());
    cluster.must(stand(2, Standing::Joining));
    assert_eq!(cluster.0.brokers_that_are(Standing::Joining).collect::<Vec<_>>(), [BrokerId(2)]);
    let unknown = cluster.refused(stand(3, Standing::Leaving)).to_string();
    assert!(unknown.contains("broker id = 3") && unknown.contains("registered"), "{unknown}");
}

#[test]
fn the_last_broker_that_stays_cannot_leave() {
    let mut cluster = Cluster::of_three();
    cluster.must(stand(1, Standing::Leaving));
    cluster.must(stand(2, Standing::Leaving));
    let refused = cluster.refused(stand(3, Standing::Leaving)).to_string();
    assert!(refused.contains("standing of broker 3 = leaving") && refused.contains("settled"), "{refused}");
    cluster.must(stand(2, Standing::Leaving));
    cluster.must(stand(2, Standing::Settled));
    cluster.must(stand(3, Standing::Leaving));
}

#[test]
fn a_broker_that_leaves_gets_no_new_replica_and_keeps_those_it_has() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(manual(1, "t", &[&[1, 2], &[2, 3]])));
    cluster.must(stand(3, Standing::Leaving));
    cluster.must(Command::CreateTopic(create(2, "placed", 8, 2)));
    let placed = cluster.0.topic_by_name("placed").unwrap();
    assert!(placed.partitions.iter().all(|partition| partition.replica_on(BrokerId(3)).is_none()));
    let three = cluster.refused(Command::CreateTopic(create(3, "three", 1, 3))).to_string();
    assert!(three.contains("1 to 2, as 3 brokers are registered and 1 of them leave"), "{three}");
    let by_hand = cluster.refused(Command::CreateTopic(manual(4, "m", &[&[1, 3]]))).to_string();
    assert!(
        by_hand.contains("replicas of partition 0 = 3") && by_hand.contains("this one leaves"),
        "{by_hand}"
    );
    let moved = cluster.refused(assign(0, &[1, 3])).to_string();
    assert!(moved.contains("this one leaves"), "{moved}");
    cluster.must(assign(1, &[3, 2]));
    assert_eq!(cluster.0.topic_by_name("t").unwrap().partitions[1].brokers(), [BrokerId(3), BrokerId(2)]);
}

#[test]
fn a_move_away_can_be_taken_back_while_the_broker_leaves() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(manual(1, "t", &[&[2, 3]])));
    cluster.must(stand(3, Standing::Leaving));
    cluster.must(assign(0, &[2, 1]));
    let back = AlterReassignment { topic: TopicRef::Name("t".into()), partition: 0, target: None };
    cluster.must(Command::AlterReassignment(back));
    let target = cluster.0.topic_by_name("t").unwrap().partitions[0].target().to_vec();
    assert_eq!(target.iter().map(|replica| replica.broker).collect::<Vec<_>>(), [BrokerId(2), BrokerId(3)]);
}
