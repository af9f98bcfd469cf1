//! Moves of replicas as metadata knows them: set, changed, taken back, completed, refused.

use super::*;

fn move_to(partition: i32, target: Option<&[u32]>) -> Command {
    let target = target.map(|ids| ids.iter().map(|&id| BrokerId(id)).collect());
    Command::AlterReassignment(AlterReassignment { topic: TopicRef::Name("t".into()), partition, target })
}

fn of_four() -> Cluster {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::RegisterBroker(broker(4)));
    cluster.must(Command::CreateTopic(manual(1, "t", &[&[1, 2, 3], &[2, 3, 1]])));
    cluster
}

impl Cluster {
    fn partition(&self, number: i32) -> &Partition {
        self.0.topic_by_name("t").unwrap().partition(number).unwrap()
    }

    /// Replica ids as written in these tests: from 0.
    fn replicas(&self) -> Vec<u64> {
        self.partition(0).replicas.iter().map(|replica| replica.replica.0 - 100_000).collect()
    }

    fn shown(&self) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
        let partition = self.partition(0);
        let numbers = |brokers: Vec<BrokerId>| brokers.into_iter().map(|broker| broker.0).collect();
        let all = partition.replicas.iter().map(|replica| replica.broker).collect();
        (numbers(all), numbers(partition.adding()), numbers(partition.removing()))
    }

    fn complete(&mut self) {
        let (group, moving) = (self.partition(0).group, self.partition(0).reassignment.clone().unwrap());
        self.must(Command::CompleteReassignment(CompleteReassignment { group, since: moving.since }));
    }
}

#[test]
fn a_move_names_both_sides_until_it_is_complete() {
    let mut cluster = of_four();
    let applied = cluster.must(move_to(0, Some(&[4, 2, 3])));
    assert_eq!(applied, Applied::ReassignmentAltered { group: GroupId(16), moving: true });
    assert_eq!(cluster.shown(), (vec![4, 2, 3, 1], vec![4], vec![1]));
    assert_eq!(cluster.replicas(), [6, 1, 2, 0], "the new replica has a new id, the others keep theirs");
    assert_eq!(cluster.0.reassignments().count(), 1);
    cluster.complete();
    assert_eq!(cluster.shown(), (vec![4, 2, 3], vec![], vec![]));
    let first: Vec<u64> = cluster.partition(0).first_voters.iter().map(|id| id.0 - 100_000).collect();
    assert_eq!(first, [0, 1, 2], "the group began with these for ever");
    cluster.must(move_to(0, Some(&[1, 2, 3])));
    assert_eq!(cluster.replicas(), [7, 1, 2, 6], "broker 1 comes back as another replica");
}

#[test]
fn a_cancelled_move_is_a_move_back() {
    let mut cluster = of_four();
    cluster.must(move_to(0, Some(&[4, 2, 3])));
    cluster.must(move_to(0, None));
    assert_eq!(cluster.shown(), (vec![1, 2, 3, 4], vec![], vec![4]), "broker 4 may vote already");
    let since = cluster.partition(0).reassignment.clone().unwrap().since;
    cluster.must(move_to(0, None));
    assert_eq!(cluster.partition(0).reassignment.clone().unwrap().since, since, "nothing new");
    cluster.complete();
    assert_eq!(cluster.shown(), (vec![1, 2, 3], vec![], vec![]));
    let refusal = cluster.refused(move_to(0, None));
    assert_eq!(refusal.code.kafka_code(), 85);
    assert_eq!(refusal.to_string(), "partition = 0 is not allowed: a partition whose replicas are moving");
}

#[test]
fn a_completion_of_an_earlier_move_does_not_end_a_later_one() {
    let mut cluster = of_four();
    cluster.must(move_to(0, Some(&[4, 2, 3])));
    let (group, since) = (GroupId(16), cluster.partition(0).reassignment.clone().unwrap().since);
    cluster.must(move_to(0, Some(&[4, 1])));
    assert_eq!(cluster.shown(), (vec![4, 1, 2, 3], vec![4], vec![2, 3]));
    let late = Command::CompleteReassignment(CompleteReassignment { group, since });
    assert_eq!(cluster.refused(late).code.kafka_code(), 85);
    cluster.complete();
    assert_eq!(cluster.shown(), (vec![4, 1], vec![], vec![]));
}

#[test]
fn another_order_needs_no_move_and_the_replication_factor_follows_partition_0() {
    let mut cluster = of_four();
    let applied = cluster.must(move_to(0, Some(&[3, 1, 2])));
    assert_eq!(applied, Applied::ReassignmentAltered { group: GroupId(16), moving: false });
    assert_eq!(cluster.replicas(), [2, 0, 1]);
    cluster.must(move_to(1, Some(&[2])));
    assert_eq!(cluster.0.topic_by_name("t").unwrap().replication_factor, 3);
    cluster.must(move_to(0, Some(&[1])));
    cluster.complete();
    assert_eq!(cluster.0.topic_by_name("t").unwrap().replication_factor, 1);
    assert_eq!(cluster.0.replica_count(), 1 + 3, "partition 1 still has those that go");
    cluster.must(grow("t", 3));
    assert_eq!(cluster.partition(2).replicas.len(), 1);
}

#[test]
fn a_replica_is_replaced_on_its_broker() {
    let mut cluster = of_four();
    let replace = |id: u64| {
        Command::ReplaceReplica(ReplaceReplica { group: GroupId(16), replica: ReplicaId(100_000 + id) })
    };
    let applied = cluster.must(replace(1));
    assert_eq!(applied, Applied::ReplicaReplaced { group: GroupId(16), replica: ReplicaId(100_006) });
    assert_eq!(cluster.replicas(), [0, 6, 2, 1]);
    let partition = cluster.partition(0);
    assert_eq!(partition.replica_on(BrokerId(2)).unwrap().replica, ReplicaId(100_006));
    let brokers: Vec<u32> = partition.brokers().iter().map(|broker| broker.0).collect();
    assert_eq!((brokers, partition.adding(), partition.removing()), (vec![1, 2, 3], vec![], vec![]));
    assert_eq!(cluster.refused(replace(1)).code, RefusalCode::InvalidRequest, "it is on its way out");
    cluster.must(move_to(0, None));
    assert_eq!(cluster.replicas(), [0, 6, 2, 1], "what cannot be trusted does not come back");
    cluster.must(replace(6));
    cluster.complete();
    assert_eq!(cluster.replicas(), [0, 7, 2]);
}

#[test]
fn moves_that_are_refused() {
    let mut cluster = of_four();
    let cases: [(Command, i16, &str); 6] = [
        (move_to(0, Some(&[])), 39, "replicas of partition 0 = \"of 0 brokers\" is not allowed: 1 to 100"),
        (move_to(0, Some(&[1, 1])), 39, "each broker once only"),
        (
            move_to(0, Some(&[1, 9])),
            39,
            "replicas of partition 0 = 9 is not allowed: registered brokers only",
        ),
        (move_to(2, Some(&[1])), 3, "partition = 2 is not allowed: 0 to 1, as topic t has"),
        (move_to(-1, None), 3, "partition = -1"),
        (move_to(1, None), 85, "partition = 1 is not allowed: a partition whose replicas are moving"),
    ];
    for (command, code, words) in cases {
        let Command::AlterReassignment(wanted) = &command else { unreachable!() };
        let dry = cluster.0.validate_alter_reassignment(wanted).expect_err(words);
        let refusal = cluster.refused(command);
        assert_eq!(refusal, dry, "a dry run and the real run judge alike");
        assert_eq!(refusal.code.kafka_code(), code, "{refusal}");
        assert!(refusal.to_string().contains(words), "{refusal}");
    }
}
