//! The cluster's metadata: commands, the stored state, the stored state of producers.

use std::collections::{BTreeMap, BTreeSet};

use chronik_core::ids::{BrokerId, DiskId, Generation, GroupId, Incarnation, ReplicaId, TopicId};
use chronik_core::metadata::{
    AllocateProducerIds, AlterReassignment, AlterTopicConfigs, Broker, ChangePermit, ClusterState, Command,
    CompleteReassignment, CreatePartitions, CreateTopic, DeleteTopic, FeatureRange, Listener, NewPartitions,
    RecoverMetadata, RecoverPartition, ReplaceReplica, SetFeatureLevel, SetStanding, SetTopicReplicas,
    Standing, TopicRef, TopicReplicas,
};
use chronik_core::replication::producer_state::{
    BatchProducer, ProducerLimits, ProducerSnapshot, ProducerState,
};
use chronik_core::restart::{Leave, PermitId, Reason};
use uuid::Uuid;

use super::{joined, parts};

pub(super) fn broker(id: u32) -> Broker {
    let listener = Listener { name: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092 };
    Broker {
        id: BrokerId(id),
        disk: DiskId(Uuid::from_u128(id.into())),
        rack: Some("a".into()),
        listeners: vec![listener],
        peer_address: "127.0.0.1:9093".into(),
        version: "fuzzed".into(),
        features: FeatureRange::THIS_BUILD,
        incarnation_start: 1,
        metadata_replica: Some(ReplicaId(id.into())),
    }
}

pub(super) fn create_topic(name: &str, brokers: &[u32]) -> Command {
    let brokers = brokers.iter().copied().map(BrokerId).collect();
    Command::CreateTopic(CreateTopic {
        id: TopicId(Uuid::from_u128(9)),
        name: name.into(),
        replicas: TopicReplicas::Manual(vec![brokers]),
        configs: BTreeMap::from([("min.insync.replicas".into(), "1".into())]),
    })
}

fn cluster() -> ClusterState {
    let mut state = ClusterState::new("fuzzed".parse().expect("a cluster id"));
    for id in 1..=3 {
        apply(&mut state, &Command::RegisterBroker(broker(id)));
    }
    apply(&mut state, &create_topic("orders", &[1, 2]));
    state
}

fn apply(state: &mut ClusterState, command: &Command) {
    let index = state.applied() + 1;
    state.apply(index, command);
}

/// Applies commands, each a part of the input, to a small cluster. What comes of it is sound, and can be stored.
pub(super) fn commands(input: &[u8]) {
    let mut state = cluster();
    for part in parts(input).into_iter().take(32) {
        let Ok(command) = Command::decode(part) else { continue };
        let encoded = command.encode();
        assert_eq!(Command::decode(&encoded).expect("what was encoded can be decoded"), command);
        apply(&mut state, &command);
    }
    must_be_stored(&state);
}

/// Reading checks all that must always hold.
fn must_be_stored(state: &ClusterState) {
    let stored = serde_json::to_vec(state).expect("state is plain data");
    let read: ClusterState = serde_json::from_slice(&stored).expect("what was stored is sound");
    assert_eq!(&read, state);
}

pub(super) fn command_seeds() -> Vec<Vec<u8>> {
    let orders = || TopicRef::Name("orders".into());
    let (group, replica) = (GroupId(16), ReplicaId(100_000));
    let placed = TopicReplicas::Placed {
        partitions: 3,
        replication_factor: 2,
        alive: BTreeSet::from([BrokerId(1), BrokerId(3)]),
    };
    let create = |replicas| {
        let (id, name) = (TopicId(Uuid::from_u128(10)), "payments".to_owned());
        Command::CreateTopic(CreateTopic { id, name, replicas, configs: BTreeMap::new() })
    };
    let changes =
        BTreeMap::from([("max.message.bytes".to_owned(), Some("1000".to_owned())), ("x".to_owned(), None)]);
    let grown = NewPartitions::Placed { alive: BTreeSet::from([BrokerId(2)]) };
    let target = Some(vec![BrokerId(3), BrokerId(1)]);
    let (life, permit) = (Incarnation { disk: DiskId(Uuid::from_u128(2)), start: 1 }, PermitId(1));
    let leave = Leave {
        broker: BrokerId(2),
        incarnation: life,
        pod_uid: "uid".into(),
        reason: Reason::Rollout,
        allow_unavailable: false,
    };
    let permits_version = cluster().permits().version();
    let commands = [
        Command::RegisterBroker(broker(4)),
        create(placed),
        create(TopicReplicas::Manual(vec![vec![BrokerId(1)], vec![BrokerId(2)]])),
        Command::CreatePartitions(CreatePartitions { topic: orders(), count: 4, replicas: grown }),
        Command::AlterTopicConfigs(AlterTopicConfigs { topic: orders(), changes }),
        Command::AllocateProducerIds(AllocateProducerIds { broker: BrokerId(1) }),
        Command::SetFeatureLevel(SetFeatureLevel { level: 1 }),
        Command::AlterReassignment(AlterReassignment { topic: orders(), partition: 0, target }),
        Command::CompleteReassignment(CompleteReassignment { group, since: 12 }),
        Command::ReplaceReplica(ReplaceReplica { group, replica }),
        Command::RecoverPartition(RecoverPartition {
            group,
            survivor: replica,
            epoch: 7,
            end_offset: 3,
            by: "ada@host".into(),
            unix_ms: 1_000,
        }),
        Command::RecoverMetadata(RecoverMetadata {
            generation: Generation { number: 1, recovery: Uuid::from_u128(7) },
            by: "ada@host".into(),
            unix_ms: 1_000,
            broker: BrokerId(1),
            disk: DiskId(Uuid::from_u128(1)),
            replica: ReplicaId(1),
            retired: vec![ReplicaId(2)],
            retired_disks: BTreeMap::from([(DiskId(Uuid::from_u128(2)), BrokerId(2))]),
            last: 9,
            last_term: 3,
            epoch: 7,
        }),
        Command::SetStanding(SetStanding { broker: BrokerId(3), standing: Standing::Leaving }),
        Command::SetTopicReplicas(SetTopicReplicas { topic: orders(), replicas: 3 }),
        Command::ChangePermit(ChangePermit::Grant { judged: permits_version, leave }),
        Command::ChangePermit(ChangePermit::Begin { permit, pod_uid: "uid".into() }),
        Command::ChangePermit(ChangePermit::Close { permit, back: Incarnation { start: 2, ..life } }),
        Command::DeleteTopic(DeleteTopic { topic: TopicRef::Id(TopicId(Uuid::from_u128(9))) }),
    ];
    let encoded: Vec<_> = commands.iter().map(Command::encode).collect();
    let mut seeds: Vec<_> = encoded.iter().map(|command| joined([&command[..]])).collect();
    seeds.push(joined(encoded.iter().map(|command| &command[..])));
    seeds
}

/// Reads a stored state. One that is taken is stored as it is, and commands can be applied to it.
pub(super) fn snapshot(input: &[u8]) {
    let Ok(mut state) = serde_json::from_slice::<ClusterState>(input) else { return };
    must_be_stored(&state);
    for command in [
        Command::RegisterBroker(broker(1)),
        Command::AllocateProducerIds(AllocateProducerIds { broker: BrokerId(1) }),
        create_topic("fresh", &[1]),
    ] {
        if state.applied() == u64::MAX {
            return;
        }
        apply(&mut state, &command);
    }
    must_be_stored(&state);
}

pub(super) fn snapshot_seeds() -> Vec<Vec<u8>> {
    let mut moving = cluster();
    let target = Some(vec![BrokerId(3), BrokerId(1)]);
    let topic = TopicRef::Name("orders".into());
    apply(&mut moving, &Command::AlterReassignment(AlterReassignment { topic, partition: 0, target }));
    let mut emptied = cluster();
    let other = Broker { disk: DiskId(Uuid::from_u128(9)), metadata_replica: None, ..broker(2) };
    apply(&mut emptied, &Command::RegisterBroker(other));
    let empty = ClusterState::new("fuzzed".parse().expect("a cluster id"));
    let stored = |state| serde_json::to_vec(state).expect("state is plain data");
    vec![stored(&empty), stored(&cluster()), stored(&moving), stored(&emptied)]
}

/// Restores the state of producers; what is taken is stored as it is, and goes on.
pub(super) fn producers(input: &[u8]) {
    let Ok(stored) = serde_json::from_slice::<ProducerSnapshot>(input) else { return };
    let Ok(mut state) = ProducerState::restore(stored.clone(), ProducerLimits::default()) else { return };
    let again = ProducerState::restore(state.snapshot(), ProducerLimits::default());
    assert_eq!(again.expect("what was stored is sound").snapshot(), state.snapshot());
    let next = BatchProducer { id: 4, epoch: 0, base_sequence: 3, last_sequence: 5 };
    if state.check(&next, 2_000).is_ok() && stored.committed() < u64::MAX {
        state.appended(stored.committed() + 1, 3, &next, 2_000);
    }
}

pub(super) fn producer_seeds() -> Vec<Vec<u8>> {
    let mut state = ProducerState::new(ProducerLimits::default());
    for index in 1..=3 {
        let base_sequence = 3 * (index as i32 - 1);
        let batch = BatchProducer { id: 4, epoch: 0, base_sequence, last_sequence: base_sequence + 2 };
        state.appended(index, i64::from(base_sequence), &batch, 1_000);
    }
    state.committed(3);
    vec![serde_json::to_vec(&state.snapshot()).expect("it is plain data")]
}
