//! What the cluster is: brokers, topics, partitions, counters. Reading only; `apply.rs` alone changes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::limits;
use super::recovery::{Recovery, Survivor};
use super::snapshot::Snapshot;
use super::standing::Standing;
use crate::ids::{
    BrokerId, ClusterId, DiskId, Generation, GroupId, Incarnation, LogIndex, ReplicaId, TopicId,
};
use crate::restart::Permits;

/// A registered broker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// Its number.
    pub id: BrokerId,
    /// The data folder it runs on.
    pub disk: DiskId,
    /// Its rack, if it has one.
    pub rack: Option<String>,
    /// What Kafka clients are told to connect to, by listener name.
    pub listeners: Vec<Listener>,
    /// `host:port` at which other brokers reach it.
    pub peer_address: String,
    /// Version of the build it runs.
    pub version: String,
    /// Feature levels that build can work at.
    pub features: FeatureRange,
    /// Which start of its data folder this is, from 1.
    pub incarnation_start: u64,
    /// The replica of the metadata group on that disk. In a registration: the one that the disk holds already, if it does;
    /// as registered always one.
    pub metadata_replica: Option<ReplicaId>,
}

impl Broker {
    /// The life that registered.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation { disk: self.disk, start: self.incarnation_start }
    }

    /// The listener of that name.
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == name)
    }
}

/// An advertised listener of a broker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its name, such as `PLAINTEXT`.
    pub name: String,
    /// Host that clients connect to.
    pub host: String,
    /// Port that clients connect to.
    pub port: u16,
}

/// The feature levels a build can work at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureRange {
    /// Lowest.
    pub min: u16,
    /// Highest.
    pub max: u16,
}

impl FeatureRange {
    /// What this build can work at.
    pub const THIS_BUILD: FeatureRange = FeatureRange { min: 1, max: 1 };

    /// Whether `level` lies within.
    pub fn contains(self, level: u16) -> bool {
        (self.min..=self.max).contains(&level)
    }
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its UUID.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// Replicas that each added partition gets: as many as partition 0 has.
    pub replication_factor: u32,
    /// Configs that were set.
    pub configs: BTreeMap<String, String>,
    /// Its partitions; the place in the list is the partition's number.
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// The partition of that number.
    pub fn partition(&self, number: i32) -> Option<&Partition> {
        usize::try_from(number).ok().and_then(|at| self.partitions.get(at))
    }
}

/// A partition of a topic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Its number, from 0.
    pub number: i32,
    /// Its Raft group.
    pub group: GroupId,
    /// Its replicas, the preferred leader first. While replicas move: those it shall have, then those that go.
    pub replicas: Vec<Replica>,
    /// The voters its group began with, before the first entry of its log: a new replica opens the group with them
    /// and learns all later members from the log.
    pub first_voters: Vec<ReplicaId>,
    /// Where its replicas are moving, if they are.
    pub reassignment: Option<Reassignment>,
    /// The replica that a person made all that was left of it, if one did.
    pub survivor: Option<Survivor>,
}

impl Partition {
    /// The replica on that broker: the newest, where one takes another's place.
    pub fn replica_on(&self, broker: BrokerId) -> Option<&Replica> {
        self.replicas.iter().filter(|replica| replica.broker == broker).max_by_key(|replica| replica.replica)
    }

    /// The replicas it shall have, the preferred leader first: all of them unless some are moving.
    pub fn target(&self) -> &[Replica] {
        let count = self.reassignment.as_ref().map_or(self.replicas.len(), |moving| moving.target.len());
        &self.replicas[..count]
    }

    /// Brokers that are to get a replica they did not have when the move began.
    pub fn adding(&self) -> Vec<BrokerId> {
        let Some(moving) = &self.reassignment else { return Vec::new() };
        let new = self.target().iter().filter(|replica| !moving.original.contains(&replica.replica));
        new.map(|replica| replica.broker).collect()
    }

    /// Brokers whose replica goes when the move is done, and that get no other in its place.
    pub fn removing(&self) -> Vec<BrokerId> {
        self.brokers().split_off(self.target().len())
    }

    /// The brokers of its replicas, each once: those it shall have, then those that go.
    pub fn brokers(&self) -> Vec<BrokerId> {
        let mut brokers: Vec<BrokerId> = Vec::with_capacity(self.replicas.len());
        for replica in &self.replicas {
            if !brokers.contains(&replica.broker) {
                brokers.push(replica.broker);
            }
        }
        brokers
    }
}

/// A move of a partition's replicas that is under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reassignment {
    /// Index of the command that set this target: whoever completes the move names it.
    pub since: LogIndex,
    /// The replicas before the move: where a cancelled one returns to.
    pub original: Vec<ReplicaId>,
    /// The replicas afterwards, the preferred leader first.
    pub target: Vec<ReplicaId>,
}

/// A replica of a partition: a Raft id tied to one disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// The broker that holds it.
    pub broker: BrokerId,
    /// Its Raft id.
    pub replica: ReplicaId,
    /// The data folder it lives in: on another one it is not this replica.
    pub disk: DiskId,
}

/// Everything the metadata group agrees on. Cloning shares the topics and brokers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Snapshot", into = "Snapshot")]
pub struct ClusterState {
    pub(super) cluster: ClusterId,
    pub(super) applied: LogIndex,
    pub(super) feature_level: u16,
    pub(super) next_group: u64,
    pub(super) next_replica: u64,
    pub(super) next_producer_id: i64,
    pub(super) brokers: BTreeMap<BrokerId, Arc<Broker>>,
    /// Disks that lost their place for ever, each with the broker it was registered for.
    pub(super) retired: Arc<BTreeMap<DiskId, BrokerId>>,
    /// Of the brokers that are not settled.
    pub(super) standings: BTreeMap<BrokerId, Standing>,
    /// Replicas that each partition of a topic shall have, while some have not.
    pub(super) resizing: BTreeMap<TopicId, u32>,
    pub(super) topics: BTreeMap<TopicId, Arc<Topic>>,
    pub(super) names: BTreeMap<String, TopicId>,
    /// Collision key of each name: `a.b` and `a_b` have the same.
    pub(super) keys: BTreeMap<String, TopicId>,
    pub(super) groups: BTreeMap<GroupId, (TopicId, i32)>,
    pub(super) replicas: usize,
    pub(super) generation: Generation,
    /// Replicas with an id below this were given before the metadata was last rebuilt.
    pub(super) given_before: ReplicaId,
    /// The newest last.
    pub(super) recoveries: Vec<Recovery>,
    pub(super) permits: Permits,
}

impl ClusterState {
    /// The state before the first command.
    pub fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            applied: 0,
            feature_level: 1,
            next_group: limits::FIRST_GROUP_ID,
            next_replica: limits::FIRST_REPLICA_ID,
            next_producer_id: 0,
            brokers: BTreeMap::new(),
            retired: Arc::default(),
            standings: BTreeMap::new(),
            resizing: BTreeMap::new(),
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            keys: BTreeMap::new(),
            groups: BTreeMap::new(),
            replicas: 0,
            generation: Generation::BIRTH,
            given_before: ReplicaId(0),
            recoveries: Vec::new(),
            permits: Permits::default(),
        }
    }

    /// The cluster's identity.
    pub fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    /// Index of the last entry this state contains.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The finalised feature level: it decides what may be written.
    pub fn feature_level(&self) -> u16 {
        self.feature_level
    }

    /// Every registered broker, ascending.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// The broker of that number.
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// The broker whose disk holds that replica of the metadata group.
    pub fn metadata_replica(&self, replica: ReplicaId) -> Option<&Arc<Broker>> {
        self.brokers().find(|broker| broker.metadata_replica == Some(replica))
    }

    /// Whether that is the disk its broker is registered with: a replica on another one lives no more.
    pub fn is_registered(&self, broker: BrokerId, disk: DiskId) -> bool {
        self.broker(broker).is_some_and(|known| known.disk == disk)
    }

    /// Disks that lost their place for ever, each with the broker it was registered for.
    pub fn retired_disks(&self) -> &Arc<BTreeMap<DiskId, BrokerId>> {
        &self.retired
    }

    /// Every topic, by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.names.values().map(|id| &self.topics[id])
    }

    /// The topic of that id.
    pub fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// The topic of that name.
    pub fn topic_by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.names.get(name).and_then(|id| self.topics.get(id))
    }

    /// The topic and partition a group belongs to.
    pub fn group(&self, group: GroupId) -> Option<(&Arc<Topic>, &Partition)> {
        let (topic, number) = self.groups.get(&group)?;
        let topic = self.topics.get(topic)?;
        Some((topic, topic.partition(*number)?))
    }

    /// Every partition with its topic, by group.
    pub fn partitions(&self) -> impl Iterator<Item = (&Arc<Topic>, &Partition)> {
        self.groups.keys().filter_map(|&group| self.group(group))
    }

    /// The group the next partition will get: one below it that is not here was deleted.
    pub fn next_group(&self) -> GroupId {
        GroupId(self.next_group)
    }

    /// The id the next replica will get.
    pub fn next_replica(&self) -> ReplicaId {
        ReplicaId(self.next_replica)
    }

    /// Which history of the metadata this is.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Replicas with an id below this were given before the metadata was last rebuilt: what became of them in between,
    /// this state may not know.
    pub fn given_before_recovery(&self) -> ReplicaId {
        self.given_before
    }

    /// What people rebuilt, the newest last.
    pub fn recoveries(&self) -> &[Recovery] {
        &self.recoveries
    }

    /// Number of partitions.
    pub fn partition_count(&self) -> usize {
        self.groups.len()
    }

    /// Number of replicas.
    pub fn replica_count(&self) -> usize {
        self.replicas
    }
}
