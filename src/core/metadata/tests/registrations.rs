//! Which disk may come as which broker, and which replica of the metadata group lives on it.

use super::*;

/// A registration of a disk that holds nothing yet.
fn empty(id: u32, on: u32) -> Broker {
    Broker { disk: disk(on), metadata_replica: None, ..broker(id) }
}

impl Cluster {
    fn registers(&mut self, broker: Broker) {
        self.must(Command::RegisterBroker(broker));
    }

    fn replica_of(&self, id: u32) -> u64 {
        self.0.broker(BrokerId(id)).unwrap().metadata_replica.unwrap().0
    }
}

#[test]
fn founders_keep_their_replicas_and_others_are_given_new_ones() {
    let mut cluster = Cluster::of_three();
    cluster.registers(empty(4, 4));
    assert_eq!([1, 2, 3, 4].map(|id| cluster.replica_of(id)), [1, 2, 3, 100_000]);
    cluster.registers(empty(4, 4));
    assert_eq!(cluster.replica_of(4), 100_000, "the same disk again keeps what it was given");
    cluster.registers(Broker { metadata_replica: Some(ReplicaId(100_000)), ..broker(4) });
    let found = cluster.0.metadata_replica(ReplicaId(100_000)).unwrap();
    assert_eq!(found.id, BrokerId(4));
    let text = cluster.refused(Command::RegisterBroker(broker(4))).to_string();
    assert_eq!(text, "metadata replica of broker 4 = 4 is not allowed: 100000, which its disk was given");
}

#[test]
fn an_empty_disk_takes_the_place_of_the_one_before_for_ever() {
    let mut cluster = Cluster::of_three();
    assert_eq!(cluster.0.disk_replaced_by(&empty(1, 9)), Some(disk(1)));
    assert_eq!(cluster.0.disk_replaced_by(&empty(1, 1)), None);
    cluster.registers(empty(1, 9));
    assert_eq!(cluster.replica_of(1), 100_000, "never under the id of the disk before");
    assert!(cluster.0.is_registered(BrokerId(1), disk(9)) && !cluster.0.is_registered(BrokerId(1), disk(1)));
    for old in [broker(1), empty(1, 1), empty(5, 1)] {
        let refusal = cluster.refused(Command::RegisterBroker(old));
        assert_eq!((refusal.code, refusal.code.kafka_code()), (RefusalCode::RetiredDisk, 101));
        assert!(refusal.to_string().contains("formatted anew"), "{refusal}");
    }
    cluster.registers(empty(1, 10));
    assert_eq!(cluster.0.retired_disks().keys().copied().collect::<Vec<_>>(), [disk(1), disk(9)]);
}

#[test]
fn a_disk_that_took_part_replaces_no_other() {
    let mut cluster = Cluster::of_three();
    let founder_s_first_disk = Broker { disk: disk(9), ..broker(1) };
    let refusal = cluster.refused(Command::RegisterBroker(founder_s_first_disk));
    assert_eq!(refusal.code.kafka_code(), 101);
    let text = refusal.to_string();
    assert!(text.contains(&disk(9).to_string()) && text.contains(&disk(1).to_string()), "{text}");
    let stranger = Broker { metadata_replica: Some(ReplicaId(3)), ..broker(4) };
    let text = cluster.refused(Command::RegisterBroker(stranger)).to_string();
    assert!(text.contains("none, or 4 of a founder"), "{text}");
}

#[test]
fn replicas_of_a_disk_that_was_replaced_give_way_to_new_ones() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(manual(1, "t", &[&[1, 2, 3]])));
    cluster.registers(empty(1, 9));
    let old = cluster.0.topic_by_name("t").unwrap().partition(0).unwrap().replicas[0];
    assert!(!cluster.0.is_registered(old.broker, old.disk));
    cluster.must(Command::ReplaceReplica(ReplaceReplica { group: GroupId(16), replica: old.replica }));
    let new = *cluster.0.topic_by_name("t").unwrap().partition(0).unwrap().replica_on(BrokerId(1)).unwrap();
    assert_eq!(
        (new.disk, new.replica),
        (disk(9), ReplicaId(100_004)),
        "100003 is the disk's metadata replica"
    );
}

#[test]
fn disks_are_replaced_a_bounded_number_of_times() {
    let mut cluster = Cluster::of_three();
    let many = (0..limits::RETIRED_DISKS as u32).map(|number| (disk(1_000 + number), BrokerId(9)));
    cluster.0.retired = std::sync::Arc::new(many.collect());
    let refusal = cluster.refused(Command::RegisterBroker(empty(1, 9)));
    assert_eq!(refusal.code, RefusalCode::LimitExceeded);
    cluster.registers(empty(4, 4));
}

#[test]
fn a_broker_is_unregistered_once_it_hosts_nothing_and_its_disk_never_comes_back() {
    let mut cluster = Cluster::of_three();
    let unregister = |id| Command::UnregisterBroker(UnregisterBroker { broker: BrokerId(id) });
    cluster.must(Command::CreateTopic(manual(1, "t", &[&[1, 3], &[3, 1]])));
    let refusal = cluster.refused(unregister(3));
    assert_eq!(refusal.code.kafka_code(), 42);
    let text = refusal.to_string();
    assert!(
        text.starts_with("broker id = 3 is not allowed") && text.contains("has 2, that of t-0"),
        "{text}"
    );
    assert_eq!(cluster.refused(unregister(9)).code.kafka_code(), 102);
    cluster.must(Command::DeleteTopic(DeleteTopic { topic: TopicRef::Name("t".into()) }));
    assert_eq!(cluster.must(unregister(3)), Applied::BrokerUnregistered { broker: BrokerId(3) });
    assert!(cluster.0.broker(BrokerId(3)).is_none());
    assert_eq!(cluster.refused(Command::RegisterBroker(broker(3))).code, RefusalCode::RetiredDisk);
    cluster.registers(empty(3, 33));
    assert_eq!(cluster.replica_of(3), 100_004, "four replicas were given before");
}
