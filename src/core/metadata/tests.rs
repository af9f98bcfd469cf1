//! The state machine as its users see it: each rule by example, then thousands of random commands.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::ids::{BrokerId, DiskId, GroupId, ReplicaId, TopicId};

mod permits;
mod reassignments;
mod recoveries;
mod registrations;
mod resizing;
mod standings;

fn disk(number: u32) -> DiskId {
    DiskId(Uuid::from_u128(0xd15c_0000 + u128::from(number)))
}

fn topic_id(number: u32) -> TopicId {
    TopicId(Uuid::from_u128(0x70_0000 + u128::from(number)))
}

fn broker(id: u32) -> Broker {
    Broker {
        id: BrokerId(id),
        disk: disk(id),
        rack: None,
        listeners: vec![Listener { name: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092 }],
        peer_address: "127.0.0.1:9093".into(),
        version: "0.1.0".into(),
        features: FeatureRange::THIS_BUILD,
        incarnation_start: 1,
        metadata_replica: Some(ReplicaId(u64::from(id))),
    }
}

fn alive(ids: &[u32]) -> BTreeSet<BrokerId> {
    ids.iter().map(|&id| BrokerId(id)).collect()
}

fn create(number: u32, name: &str, partitions: i32, replication_factor: i32) -> CreateTopic {
    let replicas = TopicReplicas::Placed { partitions, replication_factor, alive: alive(&[1, 2, 3]) };
    CreateTopic { id: topic_id(number), name: name.into(), replicas, configs: BTreeMap::new() }
}

fn manual(number: u32, name: &str, brokers: &[&[u32]]) -> CreateTopic {
    CreateTopic { replicas: TopicReplicas::Manual(lists(brokers)), ..create(number, name, 0, 0) }
}

fn lists(brokers: &[&[u32]]) -> Assignments {
    brokers.iter().map(|list| list.iter().map(|&id| BrokerId(id)).collect()).collect()
}

fn grow(name: &str, count: i32) -> Command {
    let replicas = NewPartitions::Placed { alive: alive(&[1, 2, 3]) };
    Command::CreatePartitions(CreatePartitions { topic: TopicRef::Name(name.into()), count, replicas })
}

fn alter(name: &str, changes: &[(&str, Option<&str>)]) -> Command {
    let changes = changes.iter().map(|(key, value)| (key.to_string(), value.map(str::to_owned))).collect();
    Command::AlterTopicConfigs(AlterTopicConfigs { topic: TopicRef::Name(name.into()), changes })
}

/// A state with three brokers, and a way to drive it that checks every invariant after every command.
struct Cluster(ClusterState);

impl Cluster {
    fn of_three() -> Self {
        let mut cluster = Self(ClusterState::new("test".parse().unwrap()));
        for id in 1..=3 {
            cluster.must(Command::RegisterBroker(broker(id)));
        }
        cluster
    }

    fn apply(&mut self, command: Command) -> Applied {
        let before = self.0.clone();
        let applied = self.0.apply(self.0.applied() + 1, &command);
        self.0.check().unwrap_or_else(|broken| panic!("{broken} after {command:?}"));
        if matches!(applied, Applied::Refused(_)) {
            let unchanged = ClusterState { applied: self.0.applied, ..before };
            assert_eq!(self.0, unchanged, "a refused command changed something");
        }
        applied
    }

    fn must(&mut self, command: Command) -> Applied {
        self.apply(command).into_result().unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    fn refused(&mut self, command: Command) -> Refusal {
        self.apply(command.clone()).into_result().expect_err(&format!("{command:?}"))
    }
}

#[test]
fn a_topic_gets_groups_and_replicas_tied_to_disks() {
    let mut cluster = Cluster::of_three();
    let applied = cluster.must(Command::CreateTopic(create(1, "t", 2, 3)));
    let groups = vec![GroupId(16), GroupId(17)];
    assert_eq!(applied, Applied::TopicCreated { topic: topic_id(1), groups });
    let (topic, partition) = cluster.0.group(GroupId(17)).unwrap();
    assert_eq!((topic.name.as_str(), topic.replication_factor, partition.number), ("t", 3, 1));
    assert_eq!(
        partition.replicas[0],
        Replica { broker: BrokerId(2), replica: ReplicaId(100_003), disk: disk(2) },
        "the second partition's first choice is the second broker"
    );
    assert_eq!((cluster.0.partition_count(), cluster.0.replica_count()), (2, 6));
}

#[test]
fn ids_are_never_used_twice() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(create(1, "t", 2, 3)));
    let deleted = cluster.must(Command::DeleteTopic(DeleteTopic { topic: TopicRef::Id(topic_id(1)) }));
    let groups = vec![GroupId(16), GroupId(17)];
    assert_eq!(deleted, Applied::TopicDeleted { topic: topic_id(1), name: "t".into(), groups });
    assert_eq!((cluster.0.partition_count(), cluster.0.replica_count()), (0, 0));
    cluster.must(Command::CreateTopic(create(2, "t", 1, 1)));
    let again = cluster.0.topic_by_name("t").unwrap();
    assert_eq!(again.partitions[0].group, GroupId(18));
    assert_eq!(again.partitions[0].replicas[0].replica, ReplicaId(100_006));
}

#[test]
fn a_lost_answer_may_be_asked_for_again() {
    let mut cluster = Cluster::of_three();
    let first = cluster.must(Command::CreateTopic(create(1, "t", 2, 3)));
    assert_eq!(cluster.must(Command::CreateTopic(create(1, "t", 2, 3))), first);
    assert_eq!(cluster.refused(Command::CreateTopic(create(1, "u", 2, 3))).code, RefusalCode::InvalidRequest);
    let index = cluster.0.applied();
    assert_eq!(cluster.0.apply(index, &grow("t", 5)), Applied::AlreadyApplied);
    assert_eq!(cluster.0.partition_count(), 2);
}

#[test]
fn topics_that_are_refused() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(create(1, "a.b", 1, 1)));
    let with = |key: &str, value: &str| CreateTopic {
        configs: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        ..create(2, "c", 1, 1)
    };
    let nil = CreateTopic { id: TopicId(Uuid::nil()), ..create(2, "n", 1, 1) };
    let cases: Vec<(CreateTopic, i16, &str)> = vec![
        (
            create(2, "a.b", 1, 1),
            36,
            "topic name = a.b is not allowed: the name of no existing topic, and this one already exists",
        ),
        (create(2, "a_b", 1, 1), 17, "a.b"),
        (create(2, "a b", 1, 1), 17, "ASCII letters"),
        (create(2, "c", 0, 1), 37, "partitions = 0 is not allowed: 1 to 10000"),
        (create(2, "c", -5, 1), 37, "partitions = -5"),
        (
            create(2, "c", 1, 4),
            38,
            "replication factor = 4 is not allowed: 1 to 3, as 3 brokers are registered",
        ),
        (create(2, "c", 1, 0), 38, "replication factor = 0"),
        (create(2, "c", i32::MAX, 3), 44, "at most 10000 in one request"),
        (with("nope", "1"), 40, "config name = nope"),
        (
            with("min.insync.replicas", "0"),
            40,
            "config min.insync.replicas = 0 is not allowed: an integer from 1",
        ),
        (
            with("retention.ms", "5"),
            40,
            "config retention.ms = 5 is not allowed: only its default \"604800000\"",
        ),
        (manual(2, "c", &[]), 39, "at least one partition"),
        (manual(2, "c", &[&[]]), 39, "1 to 100 brokers"),
        (manual(2, "c", &[&[1, 1]]), 39, "broker"),
        (
            manual(2, "c", &[&[1, 7]]),
            39,
            "replicas of partition 0 = 7 is not allowed: registered brokers only",
        ),
        (
            manual(2, "c", &[&[1, 2], &[1]]),
            39,
            "replicas of partition 1 = \"of 1 brokers\" is not allowed: 2 brokers",
        ),
        (nil, 42, "UUID"),
    ];
    for (wanted, code, words) in cases {
        let dry = cluster.0.validate_create_topic(&wanted).expect_err(words);
        let refusal = cluster.refused(Command::CreateTopic(wanted));
        assert_eq!(refusal, dry, "a dry run and the real run judge alike");
        assert_eq!(refusal.code.kafka_code(), code, "{refusal}");
        assert!(refusal.to_string().contains(words), "{refusal}");
    }
}

#[test]
fn min_isr_above_the_replication_factor_is_taken_as_kafka_does() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(create(1, "t", 1, 1)));
    let applied = cluster.must(alter("t", &[("min.insync.replicas", Some("9"))]));
    assert_eq!(applied, Applied::ConfigsAltered { topic: topic_id(1), changed: true });
}

#[test]
fn a_manual_assignment_is_kept_as_given() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(manual(1, "t", &[&[3, 1], &[2, 3]])));
    let topic = cluster.0.topic_by_name("t").unwrap();
    assert_eq!(topic.replication_factor, 2);
    let given: Assignments =
        topic.partitions.iter().map(|p| p.replicas.iter().map(|r| r.broker).collect()).collect();
    assert_eq!(given, lists(&[&[3, 1], &[2, 3]]));
}

#[test]
fn partitions_only_grow() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(create(1, "t", 2, 2)));
    for count in [i32::MIN, -1, 0, 1, 2] {
        let refusal = cluster.refused(grow("t", count));
        assert_eq!(refusal.code.kafka_code(), 37);
        assert!(refusal.to_string().contains("more than 2, which topic t has"), "{refusal}");
    }
    assert_eq!(cluster.refused(grow("t", i32::MAX)).code.kafka_code(), 44);
    assert_eq!(cluster.refused(grow("u", 3)).code.kafka_code(), 3);
    let before = cluster.0.topic_by_name("t").unwrap().partitions.clone();
    let applied = cluster.must(grow("t", 4));
    assert_eq!(
        applied,
        Applied::PartitionsCreated { topic: topic_id(1), groups: vec![GroupId(18), GroupId(19)] }
    );
    let after = &cluster.0.topic_by_name("t").unwrap().partitions;
    assert_eq!(after[..2], before[..], "what was there stays as it was");

    let more = |brokers: &[&[u32]]| {
        let replicas = NewPartitions::Manual(lists(brokers));
        Command::CreatePartitions(CreatePartitions { topic: TopicRef::Id(topic_id(1)), count: 5, replicas })
    };
    for wrong in [&[][..], &[&[1, 2][..], &[1, 2]], &[&[1]], &[&[1, 2, 3]], &[&[2, 2]]] {
        assert_eq!(cluster.refused(more(wrong)).code.kafka_code(), 39, "{wrong:?}");
    }
    cluster.must(more(&[&[2, 1]]));
}

#[test]
fn configs_are_set_and_unset() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(create(1, "t", 1, 3)));
    cluster.must(alter("t", &[("min.insync.replicas", Some("3")), ("retention.ms", Some("604800000"))]));
    let refusal = cluster.refused(alter("t", &[("max.message.bytes", Some("5")), ("nope", None)]));
    assert_eq!(refusal.code.kafka_code(), 40);
    assert!(refusal.to_string().contains("nope"), "{refusal}");
    cluster.must(alter("t", &[("min.insync.replicas", None), ("max.message.bytes", None)]));
    let set: Vec<_> = cluster.0.topic_by_name("t").unwrap().configs.iter().collect();
    assert_eq!(set, [(&"retention.ms".to_owned(), &"604800000".to_owned())]);
    let again = cluster.must(alter("t", &[("retention.ms", Some("604800000"))]));
    assert_eq!(again, Applied::ConfigsAltered { topic: topic_id(1), changed: false });
}

#[test]
fn a_broker_never_grows_younger() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::RegisterBroker(Broker { incarnation_start: 5, ..broker(1) }));
    cluster.must(Command::RegisterBroker(Broker {
        incarnation_start: 5,
        rack: Some("r".into()),
        ..broker(1)
    }));
    let refusal = cluster.refused(Command::RegisterBroker(Broker { incarnation_start: 4, ..broker(1) }));
    assert_eq!(refusal.code.kafka_code(), 77);
    assert_eq!(
        refusal.to_string(),
        "start of broker 1 = 4 is not allowed: 5 or later, as that start has registered"
    );

    let text = cluster.refused(Command::RegisterBroker(Broker { disk: disk(1), ..broker(4) })).to_string();
    assert!(text.contains("registered as broker 1"), "{text}");
}

#[test]
fn a_malformed_broker_is_refused() {
    let mut cluster = Cluster::of_three();
    let listener = |name: &str, host: &str, port| Listener { name: name.into(), host: host.into(), port };
    let with = |listeners| Broker { listeners, ..broker(4) };
    let same = vec![listener("A", "h", 1), listener("A", "h", 2)];
    let cases = [
        (Broker { id: BrokerId(0), ..broker(4) }, "broker id = 0 is not allowed: 1 to 99999"),
        (Broker { id: BrokerId(100_000), ..broker(4) }, "broker id = 100000"),
        (Broker { disk: DiskId(Uuid::nil()), ..broker(4) }, "disk id"),
        (Broker { rack: Some(String::new()), ..broker(4) }, "rack"),
        (Broker { peer_address: "x".repeat(256), ..broker(4) }, "peer address"),
        (Broker { version: String::new(), ..broker(4) }, "version"),
        (with(vec![]), "listeners = 0 is not allowed: 1 to 16"),
        (with((0..17).map(|n| listener(&n.to_string(), "h", 1)).collect()), "listeners = 17"),
        (with(same), "listener name = A is not allowed: each name once only"),
        (with(vec![listener("A", "", 1)]), "listener host"),
        (with(vec![listener("A", "h", 0)]), "listener port = 0"),
        (Broker { features: FeatureRange { min: 2, max: 3 }, ..broker(4) }, "level 1"),
    ];
    for (wrong, words) in cases {
        let refusal = cluster.refused(Command::RegisterBroker(wrong));
        assert!(refusal.to_string().contains(words), "{refusal}");
    }
}

#[test]
fn producer_ids_come_in_blocks_that_do_not_overlap() {
    let mut cluster = Cluster::of_three();
    let block = |id| Command::AllocateProducerIds(AllocateProducerIds { broker: BrokerId(id) });
    assert_eq!(cluster.must(block(1)), Applied::ProducerIds { first: 0, count: 1_000 });
    assert_eq!(cluster.must(block(2)), Applied::ProducerIds { first: 1_000, count: 1_000 });
    assert_eq!(cluster.refused(block(9)).code.kafka_code(), 102);
    cluster.0.next_producer_id = i64::MAX - 999;
    assert_eq!(cluster.refused(block(1)).code, RefusalCode::LimitExceeded);
}

#[test]
fn the_feature_level_never_falls_and_suits_every_broker() {
    let mut cluster = Cluster::of_three();
    let set = |level| Command::SetFeatureLevel(SetFeatureLevel { level });
    for level in [0, 2, u16::MAX] {
        assert!(cluster.refused(set(level)).to_string().contains("1 to 1"));
    }
    for id in 1..=3 {
        cluster.must(Command::RegisterBroker(Broker {
            features: FeatureRange { min: 1, max: 2 },
            ..broker(id)
        }));
    }
    assert_eq!(cluster.must(set(2)), Applied::FeatureLevelSet { level: 2 });
    assert!(cluster.refused(set(1)).to_string().contains("2 to 2"));
    assert!(cluster.refused(Command::RegisterBroker(broker(3))).to_string().contains("level 2"));
}

#[test]
fn the_cluster_has_limits() {
    let mut cluster = Cluster::of_three();
    for number in 0..10 {
        cluster.must(Command::CreateTopic(create(number, &format!("t{number}"), 10_000, 3)));
    }
    let refusal = cluster.refused(Command::CreateTopic(create(10, "more", 1, 1)));
    assert_eq!(refusal.code.kafka_code(), 44);
    assert!(refusal.to_string().contains("at most 100000"), "{refusal}");
}

#[test]
fn what_is_stored_is_read_back_and_checked() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(create(1, "t", 3, 3)));
    cluster.must(Command::CreateTopic(create(2, "u", 1, 1)));
    let stored = serde_json::to_value(&cluster.0).unwrap();
    assert_eq!(serde_json::from_value::<ClusterState>(stored.clone()).unwrap(), cluster.0);

    let damaged = |pointer: &str, value: serde_json::Value| {
        let mut stored = stored.clone();
        *stored.pointer_mut(pointer).unwrap() = value;
        serde_json::from_value::<ClusterState>(stored).expect_err(pointer).to_string()
    };
    assert!(damaged("/version", 1.into()).contains("version 1 is not known"));
    assert!(damaged("/topics/1/name", "t".into()).contains("used twice"));
    assert!(damaged("/topics/1/partitions/0/group", 16.into()).contains("well formed"));
    assert!(damaged("/topics/1/partitions/0/replicas/0/broker", 8.into()).contains("well formed"));
    assert!(damaged("/next_group", 0.into()).contains("outside"));
    assert!(damaged("/next_replica", 100_001.into()).contains("outside"));
    assert!(damaged("/brokers/1/id", 1.into()).contains("broker 1 appears twice"));
    assert!(
        damaged("/brokers/1/metadata_replica", 1.into()).contains("a metadata replica that was not given")
    );
    assert!(
        damaged("/brokers/1/metadata_replica", serde_json::Value::Null)
            .contains("on a retired disk, or none")
    );
    let one = serde_json::json!({disk(2).to_string(): 7});
    assert!(damaged("/retired", one).contains("on a retired disk"));
}

#[test]
fn bytes_that_are_no_command_are_named() {
    let encoded = Command::CreateTopic(create(1, "t", 1, 1)).encode();
    assert_eq!(encoded[..3], [0, 2, 1]);
    let error = |bytes: &[u8]| Command::decode(bytes).unwrap_err().to_string();
    assert!(error(&[0, 2]).contains("2 bytes"));
    assert!(error(&[0, 2, 9, b'{']).contains("kind 2 version 9 is not known"));
    assert!(error(&[9, 9, 1]).contains("kind 2313"));
    assert!(error(&encoded[..encoded.len() - 1]).contains("kind 2 version 1 is malformed"));
    assert!(error(&[&encoded[..], b"x"].concat()).contains("malformed"));
}

fn commands() -> impl Strategy<Value = Command> {
    let name = prop_oneof![Just("a.b"), Just("a_b"), Just("t"), Just(""), Just("x y")];
    let topic = prop_oneof![
        name.clone().prop_map(|name| TopicRef::Name(name.into())),
        (0u32..6).prop_map(|id| TopicRef::Id(topic_id(id))),
    ];
    let brokers = prop::collection::vec(prop::collection::vec((0u32..6).prop_map(BrokerId), 0..4), 0..4);
    let up = prop::collection::btree_set((0u32..6).prop_map(BrokerId), 0..4);
    let key = prop_oneof![Just("min.insync.replicas"), Just("retention.ms"), Just("nope")];
    let value = prop_oneof![Just("2"), Just("604800000"), Just("zwei")];
    prop_oneof![
        (0u32..6, 0u32..6, 0u64..4, 1u16..4, 0u64..9).prop_map(|(id, on, start, max, held)| {
            Command::RegisterBroker(Broker {
                disk: if on < 3 { disk(id + on) } else { disk(id) },
                metadata_replica: (held < 6).then_some(ReplicaId(held)),
                rack: (id % 2 == 0).then(|| "r".into()),
                incarnation_start: start,
                features: FeatureRange { min: 1, max },
                ..broker(id)
            })
        }),
        (0u32..6, name.clone(), -1i32..8, -1i32..5, up.clone()).prop_map(
            |(id, name, partitions, factor, alive)| {
                let replicas = TopicReplicas::Placed { partitions, replication_factor: factor, alive };
                Command::CreateTopic(CreateTopic { replicas, ..create(id, name, 0, 0) })
            }
        ),
        (0u32..6, name, brokers.clone()).prop_map(|(id, name, brokers)| {
            Command::CreateTopic(CreateTopic {
                replicas: TopicReplicas::Manual(brokers),
                ..create(id, name, 0, 0)
            })
        }),
        topic.clone().prop_map(|topic| Command::DeleteTopic(DeleteTopic { topic })),
        (topic.clone(), any::<i8>(), up).prop_map(|(topic, count, alive)| {
            let replicas = NewPartitions::Placed { alive };
            Command::CreatePartitions(CreatePartitions { topic, count: count.into(), replicas })
        }),
        (topic.clone(), 0i32..9, brokers).prop_map(|(topic, count, brokers)| {
            let replicas = NewPartitions::Manual(brokers);
            Command::CreatePartitions(CreatePartitions { topic, count, replicas })
        }),
        (
            topic.clone(),
            -1i32..4,
            prop::option::of(prop::collection::vec((1u32..6).prop_map(BrokerId), 0..4))
        )
            .prop_map(|(topic, partition, target)| {
                Command::AlterReassignment(AlterReassignment { topic, partition, target })
            }),
        (14u64..24, 99_998u64..100_020).prop_map(|(group, replica)| {
            Command::ReplaceReplica(ReplaceReplica { group: GroupId(group), replica: ReplicaId(replica) })
        }),
        (14u64..24, 0u64..80).prop_map(|(group, since)| {
            Command::CompleteReassignment(CompleteReassignment { group: GroupId(group), since })
        }),
        (topic.clone(), key, prop::option::of(value)).prop_map(|(topic, key, value)| {
            let changes = BTreeMap::from([(key.to_owned(), value.map(str::to_owned))]);
            Command::AlterTopicConfigs(AlterTopicConfigs { topic, changes })
        }),
        (0u32..6).prop_map(|id| Command::UnregisterBroker(UnregisterBroker { broker: BrokerId(id) })),
        (0u32..6, prop_oneof![Just(Standing::Settled), Just(Standing::Joining), Just(Standing::Leaving)])
            .prop_map(|(id, standing)| {
                Command::SetStanding(SetStanding { broker: BrokerId(id), standing })
            }),
        (topic, 0i32..6).prop_map(|(topic, replicas)| {
            Command::SetTopicReplicas(SetTopicReplicas { topic, replicas })
        }),
        (0u32..6).prop_map(|id| Command::AllocateProducerIds(AllocateProducerIds { broker: BrokerId(id) })),
        (0u16..4).prop_map(|level| Command::SetFeatureLevel(SetFeatureLevel { level })),
    ]
}

proptest! {
    #[test]
    fn any_commands_keep_the_invariants_and_every_copy_equal(
        commands in prop::collection::vec(commands(), 1..80), cut in 0usize..80,
    ) {
        let mut cluster = Cluster::of_three();
        let mut copy = cluster.0.clone();
        for (at, command) in commands.into_iter().enumerate() {
            let decoded = Command::decode(&command.encode()).unwrap();
            prop_assert_eq!(&decoded, &command);
            if at == cut {
                copy = serde_json::from_slice(&serde_json::to_vec(&copy).unwrap()).unwrap();
            }
            let elsewhere = copy.apply(copy.applied() + 1, &decoded);
            prop_assert_eq!(cluster.apply(command), elsewhere);
            prop_assert_eq!(&cluster.0, &copy);
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..14) {
        let _ = Command::decode(&bytes);
        let _ = Command::decode(&[&[0, kind, 1], &bytes[..]].concat());
    }
}
