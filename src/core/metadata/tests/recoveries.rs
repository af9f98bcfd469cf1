//! Recoveries as metadata knows them: who goes on, who is replaced, and what is never given again.

use super::*;
use crate::ids::Generation;
use crate::replication::recovery::LAST_EPOCH;

const GENERATION: Generation = Generation { number: 1, recovery: Uuid::from_u128(0x5e) };

fn rebuilt() -> Command {
    Command::RecoverMetadata(RecoverMetadata {
        generation: GENERATION,
        by: "ada@host".into(),
        unix_ms: 7,
        broker: BrokerId(1),
        disk: disk(1),
        replica: ReplicaId(1),
        retired: vec![ReplicaId(2), ReplicaId(3)],
        retired_disks: [2, 3].map(|id| (disk(id), BrokerId(id))).into(),
        last: 6,
        last_term: 2,
        epoch: 1 << 24,
    })
}

/// The same broker, with a disk that holds nothing yet.
fn emptied(id: u32, on: u32) -> Broker {
    Broker { disk: disk(on), metadata_replica: None, ..broker(id) }
}

fn wanted(survivor: u64, epoch: u64) -> RecoverPartition {
    let survivor = ReplicaId(100_000 + survivor);
    let (group, by) = (GroupId(16), "ada@host".to_owned());
    RecoverPartition { group, survivor, epoch, end_offset: 70, by, unix_ms: 9 }
}

fn one_topic() -> Cluster {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::RegisterBroker(broker(4)));
    cluster.must(Command::CreateTopic(manual(1, "t", &[&[1, 2, 3]])));
    cluster
}

impl Cluster {
    /// Brokers and replica ids as written in these tests: from 0.
    fn members(&self) -> Vec<(u32, u64)> {
        let replicas = &self.0.topic_by_name("t").unwrap().partitions[0].replicas;
        replicas.iter().map(|replica| (replica.broker.0, replica.replica.0 - 100_000)).collect()
    }

    fn moving(&self) -> &Reassignment {
        self.0.topic_by_name("t").unwrap().partitions[0].reassignment.as_ref().unwrap()
    }
}

#[test]
fn what_the_lost_majority_may_have_given_is_not_given_again() {
    let mut cluster = one_topic();
    let before = (cluster.0.next_group(), cluster.0.next_replica());
    cluster.must(Command::AllocateProducerIds(AllocateProducerIds { broker: BrokerId(1) }));
    assert_eq!(cluster.must(rebuilt()), Applied::MetadataRecovered { generation: GENERATION });
    let skipped = limits::IDS_SKIPPED_BY_RECOVERY;
    assert_eq!(cluster.0.next_group(), GroupId(before.0.0 + skipped));
    assert_eq!(cluster.0.next_replica(), ReplicaId(before.1.0 + skipped));
    assert_eq!(cluster.0.given_before_recovery(), before.1);
    let ids = cluster.must(Command::AllocateProducerIds(AllocateProducerIds { broker: BrokerId(1) }));
    assert_eq!(ids, Applied::ProducerIds { first: 1_000 + skipped as i64, count: 1_000 });
    assert_eq!(cluster.0.generation(), GENERATION);
    let told = cluster.0.recoveries();
    assert_eq!((told.len(), told[0].by.as_str(), told[0].unix_ms), (1, "ada@host", 7));
}

#[test]
fn the_survivor_stays_and_the_others_give_way_to_new_replicas() {
    let mut cluster = one_topic();
    let applied = cluster.must(Command::RecoverPartition(wanted(1, 5)));
    assert_eq!(applied, Applied::PartitionRecovered { group: GroupId(16) });
    assert_eq!(cluster.members(), [(1, 3), (2, 1), (3, 4)], "in the order they had");
    let survivor = ReplicaId(100_001);
    assert_eq!(cluster.moving().original, [survivor], "taking it back leaves the survivor alone");
    let partition = &cluster.0.topic_by_name("t").unwrap().partitions[0];
    assert_eq!(partition.survivor, Some(Survivor { replica: survivor, epoch: 5 }));
    let Recovered::Partition { topic, broker, end_offset, epoch, retired, .. } =
        &cluster.0.recoveries()[0].what
    else {
        panic!("{:?}", cluster.0.recoveries());
    };
    assert_eq!((topic.as_str(), *broker, *end_offset, *epoch), ("t", BrokerId(2), 70, 5));
    assert_eq!(*retired, [ReplicaId(100_000), ReplicaId(100_002)]);
}

#[test]
fn a_survivor_that_was_to_go_hands_over_to_those_that_come() {
    let mut cluster = one_topic();
    let (topic, target) = (TopicRef::Name("t".into()), Some(vec![BrokerId(2), BrokerId(4)]));
    cluster.must(Command::AlterReassignment(AlterReassignment { topic, partition: 0, target }));
    assert_eq!(cluster.members(), [(2, 1), (4, 3), (1, 0), (3, 2)]);
    cluster.must(Command::RecoverPartition(wanted(0, 5)));
    assert_eq!(cluster.members(), [(2, 4), (4, 5), (1, 0)]);
    assert_eq!(cluster.moving().target, [ReplicaId(100_004), ReplicaId(100_005)]);
}

#[test]
fn a_recovery_names_a_replica_of_the_partition_and_a_higher_epoch() {
    let mut cluster = one_topic();
    cluster.must(Command::RecoverPartition(wanted(1, 6)));
    let once = cluster.members();
    cluster.must(Command::RecoverPartition(wanted(1, 6)));
    assert_eq!(cluster.members(), once, "the same again is the same");
    let refused = |cluster: &mut Cluster, wanted: RecoverPartition| {
        cluster.refused(Command::RecoverPartition(wanted)).to_string()
    };
    let text = refused(&mut cluster, wanted(1, 5));
    assert_eq!(text, "epoch of t/0 = 5 is not allowed: 7 to 2147483647");
    assert!(refused(&mut cluster, wanted(1, LAST_EPOCH + 1)).starts_with("epoch of t/0 = 2147483648"));
    let text = refused(&mut cluster, wanted(0, 7));
    assert_eq!(text, "survivor of t/0 = 100000 is not allowed: one of its replicas");
    let other = RecoverPartition { group: GroupId(99), ..wanted(1, 7) };
    assert_eq!(refused(&mut cluster, other), "group = 99 is not allowed: the group of a partition");
    let nobody = RecoverPartition { by: String::new(), ..wanted(1, 7) };
    assert!(refused(&mut cluster, nobody).contains("1 to 255 bytes"));
    cluster.must(Command::RecoverPartition(wanted(1, 7)));
}

#[test]
fn recoveries_are_in_the_snapshot() {
    let mut cluster = one_topic();
    cluster.must(rebuilt());
    cluster.must(Command::RecoverPartition(wanted(1, 5)));
    let stored = serde_json::to_string(&cluster.0).unwrap();
    assert_eq!(serde_json::from_str::<ClusterState>(&stored).unwrap(), cluster.0);
}

#[test]
fn a_disk_that_was_lost_never_counts_again_and_another_may_come_under_its_broker_s_id() {
    let mut cluster = one_topic();
    cluster.must(rebuilt());
    for lost in [broker(2), emptied(2, 2), emptied(5, 2)] {
        let refusal = cluster.refused(Command::RegisterBroker(lost));
        assert_eq!(refusal.code, RefusalCode::RetiredDisk);
    }
    assert_eq!(cluster.0.metadata_replica(ReplicaId(2)), None, "its replica is nowhere");
    cluster.must(Command::RegisterBroker(emptied(2, 12)));
    let returned = cluster.0.broker(BrokerId(2)).unwrap();
    assert!(
        returned.disk == disk(12) && returned.metadata_replica >= Some(cluster.0.given_before_recovery())
    );
}

/// Of three, 1 and 2 hold replicas; 3 lost its disk too, and was given another replica since.
#[test]
fn what_was_given_to_a_lost_disk_since_is_begun_on_the_one_that_replaces_it() {
    let mut cluster = one_topic();
    cluster.must(rebuilt());
    cluster.must(Command::RecoverPartition(wanted(0, LAST_EPOCH)));
    cluster.must(Command::CreateTopic(manual(2, "new", &[&[1, 2, 3]])));
    let on = |cluster: &Cluster, topic: &str| {
        let replicas = &cluster.0.topic_by_name(topic).unwrap().partitions[0].replicas;
        replicas.iter().map(|replica| replica.disk).collect::<Vec<_>>()
    };
    assert_eq!(on(&cluster, "t"), [1, 2, 3].map(disk));
    let ids = cluster.members();
    cluster.must(Command::RegisterBroker(emptied(2, 12)));
    cluster.must(Command::RegisterBroker(emptied(2, 22)));
    assert_eq!(
        (on(&cluster, "t"), on(&cluster, "new")),
        ([1, 12, 3].map(disk).into(), [1, 12, 3].map(disk).into())
    );
    assert_eq!(cluster.members(), ids);

    let mut again = one_topic();
    again.must(rebuilt());
    again.must(Command::RegisterBroker(emptied(3, 13)));
    assert_eq!(on(&again, "t"), [1, 2, 3].map(disk), "an older one may have been begun");
}
