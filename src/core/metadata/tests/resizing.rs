//! The number of replicas that a topic shall have, as metadata holds it.

use super::*;

fn want(replicas: i32) -> Command {
    Command::SetTopicReplicas(SetTopicReplicas { topic: TopicRef::Name("t".into()), replicas })
}

fn assign(partition: i32, brokers: &[u32]) -> Command {
    let target = Some(brokers.iter().map(|&id| BrokerId(id)).collect());
    Command::AlterReassignment(AlterReassignment { topic: TopicRef::Name("t".into()), partition, target })
}

fn wanted(cluster: &Cluster) -> Option<u32> {
    cluster.0.topic_by_name("t").and_then(|topic| cluster.0.wanted_replicas(topic.id))
}

#[test]
fn a_number_is_kept_until_every_partition_has_it() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(manual(1, "t", &[&[1, 2], &[2, 3]])));
    cluster.must(want(3));
    assert_eq!(wanted(&cluster), Some(3));
    cluster.must(assign(0, &[1, 2, 3]));
    cluster.must(assign(1, &[2, 3, 1]));
    for partition in 0..2 {
        assert_eq!(wanted(&cluster), Some(3), "until the last move has ended");
        let topic = cluster.0.topic_by_name("t").unwrap();
        let moving = topic.partition(partition).unwrap().clone();
        let (group, since) = (moving.group, moving.reassignment.unwrap().since);
        cluster.must(Command::CompleteReassignment(CompleteReassignment { group, since }));
    }
    assert_eq!(wanted(&cluster), None);
    cluster.must(want(3));
    assert_eq!(wanted(&cluster), None, "there is nothing to do");
    cluster.must(want(1));
    cluster.must(want(3));
    assert_eq!(wanted(&cluster), None, "taken back");
}

#[test]
fn it_is_at_least_one_and_at_most_the_brokers_that_stay() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(manual(1, "t", &[&[1, 2]])));
    for (replicas, allowed) in [(0, "1 to 3, as 3 brokers are registered"), (4, "1 to 3"), (-1, "1 to 3")] {
        let refused = cluster.refused(want(replicas)).to_string();
        assert!(
            refused.contains(&format!("replication factor = {replicas}")) && refused.contains(allowed),
            "{refused}"
        );
    }
    let leaving = SetStanding { broker: BrokerId(3), standing: Standing::Leaving };
    cluster.must(Command::SetStanding(leaving));
    assert!(
        cluster
            .refused(want(3))
            .to_string()
            .contains("1 to 2, as 3 brokers are registered and 1 of them leave")
    );
    let nowhere = SetTopicReplicas { topic: TopicRef::Name("nowhere".into()), replicas: 1 };
    assert_eq!(cluster.refused(Command::SetTopicReplicas(nowhere)).code, RefusalCode::UnknownTopic);
}

#[test]
fn added_partitions_have_it_at_once_and_it_goes_with_its_topic() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(manual(1, "t", &[&[1, 2]])));
    cluster.must(want(3));
    let alive = (1..4).map(BrokerId).collect();
    let (topic, replicas) = (TopicRef::Name("t".into()), NewPartitions::Placed { alive });
    cluster.must(Command::CreatePartitions(CreatePartitions { topic: topic.clone(), count: 2, replicas }));
    assert_eq!(cluster.0.topic_by_name("t").unwrap().partitions[1].replicas.len(), 3);
    cluster.must(Command::DeleteTopic(DeleteTopic { topic }));
    assert!(cluster.0.resizing().next().is_none());
}
