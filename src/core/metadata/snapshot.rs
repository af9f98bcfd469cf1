//! The state as it is stored: the facts without the indexes, rebuilt and checked when it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::limits;
use super::recovery::Recovery;
use super::standing::Standing;
use super::state::{Broker, ClusterState, Partition, Reassignment, Topic};
use crate::ids::{BrokerId, ClusterId, DiskId, Generation, GroupId, LogIndex, ReplicaId, TopicId};
use crate::restart::Permits;

const VERSION: u8 = 7;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Snapshot {
    version: u8,
    cluster: ClusterId,
    applied: LogIndex,
    feature_level: u16,
    next_group: u64,
    next_replica: u64,
    next_producer_id: i64,
    brokers: Vec<Broker>,
    retired: BTreeMap<DiskId, BrokerId>,
    standings: BTreeMap<BrokerId, Standing>,
    resizing: BTreeMap<TopicId, u32>,
    topics: Vec<Topic>,
    generation: Generation,
    given_before: ReplicaId,
    recoveries: Vec<Recovery>,
    permits: Permits,
}

/// Why stored state is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Another format.
    #[error("metadata snapshot version {0} is not known: this build reads version {VERSION}")]
    Version(u8),
    /// Its bytes are no snapshot, or one that is refused for one of the other reasons.
    #[error("metadata snapshot cannot be read: {0}")]
    Unreadable(String),
    /// It contradicts itself.
    #[error("metadata snapshot is inconsistent: {0}")]
    Inconsistent(String),
}

impl From<ClusterState> for Snapshot {
    fn from(state: ClusterState) -> Self {
        Self {
            version: VERSION,
            cluster: state.cluster,
            applied: state.applied,
            feature_level: state.feature_level,
            next_group: state.next_group,
            next_replica: state.next_replica,
            next_producer_id: state.next_producer_id,
            brokers: state.brokers.into_values().map(Arc::unwrap_or_clone).collect(),
            retired: Arc::unwrap_or_clone(state.retired),
            standings: state.standings,
            resizing: state.resizing,
            topics: state.topics.into_values().map(Arc::unwrap_or_clone).collect(),
            generation: state.generation,
            given_before: state.given_before,
            recoveries: state.recoveries,
            permits: state.permits,
        }
    }
}

impl TryFrom<Snapshot> for ClusterState {
    type Error = SnapshotError;

    fn try_from(stored: Snapshot) -> Result<Self, SnapshotError> {
        if stored.version != VERSION {
            return Err(SnapshotError::Version(stored.version));
        }
        let mut state = ClusterState {
            applied: stored.applied,
            feature_level: stored.feature_level,
            next_group: stored.next_group,
            next_replica: stored.next_replica,
            next_producer_id: stored.next_producer_id,
            generation: stored.generation,
            given_before: stored.given_before,
            recoveries: stored.recoveries,
            permits: stored.permits,
            retired: Arc::new(stored.retired),
            standings: stored.standings,
            resizing: stored.resizing,
            ..ClusterState::new(stored.cluster)
        };
        for broker in stored.brokers {
            let id = broker.id;
            if state.brokers.insert(id, Arc::new(broker)).is_some() {
                return Err(SnapshotError::Inconsistent(format!("broker {id} appears twice")));
            }
        }
        for topic in stored.topics {
            state.insert_topic(topic);
        }
        state.check().map_err(SnapshotError::Inconsistent)?;
        Ok(state)
    }
}

impl ClusterState {
    /// The state as bytes.
    pub fn to_snapshot(&self) -> Bytes {
        serde_json::to_vec(self).expect("numbers, lists and texts always serialise").into()
    }

    /// The state that [`to_snapshot`](Self::to_snapshot) gave.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, SnapshotError> {
        serde_json::from_slice(bytes).map_err(|error| SnapshotError::Unreadable(error.to_string()))
    }

    /// What always holds. Checked when stored state is read, and by tests after every command.
    pub(super) fn check(&self) -> Result<(), String> {
        let (mut groups, mut replicas) = (BTreeMap::new(), BTreeMap::new());
        let metadata = self.check_brokers()?;
        if self.resizing.keys().any(|topic| !self.topics.contains_key(topic) || self.is_resized(*topic)) {
            return Err("a number of replicas is wanted of no topic, or of one that has it".into());
        }
        for topic in self.topics.values() {
            self.check_topic(topic)?;
            for partition in &topic.partitions {
                if let Some(other) = groups.insert(partition.group, &topic.name) {
                    return Err(format!("group {} is of {other} and {}", partition.group, topic.name));
                }
                for replica in &partition.replicas {
                    let elsewhere = metadata.contains(&replica.replica);
                    if replicas.insert(replica.replica, partition.group).is_some() || elsewhere {
                        return Err(format!("replica id {} is used twice", replica.replica));
                    }
                }
            }
        }
        let ids_are_allocated = self.next_group >= limits::FIRST_GROUP_ID
            && self.next_producer_id >= 0
            && groups.keys().all(|&GroupId(id)| (limits::FIRST_GROUP_ID..self.next_group).contains(&id))
            && replicas
                .keys()
                .all(|&ReplicaId(id)| (limits::FIRST_REPLICA_ID..self.next_replica).contains(&id));
        if !ids_are_allocated {
            return Err("a counter, group id or replica id lies outside its range".into());
        }
        let same = groups.len() == self.groups.len()
            && replicas.len() == self.replicas
            && self.names.len() == self.topics.len()
            && self.keys.len() == self.topics.len();
        if same { Ok(()) } else { Err("indexes and topics disagree: a name or id is used twice".into()) }
    }

    /// Each broker has a disk of its own, and on it a metadata replica of its own, unless the disk was retired by a recovery
    /// and waits to be replaced: gives those.
    fn check_brokers(&self) -> Result<BTreeSet<ReplicaId>, String> {
        let (mut disks, mut replicas) = (BTreeSet::new(), BTreeSet::new());
        for broker in self.brokers() {
            let given = |id: ReplicaId| {
                id.0 == u64::from(broker.id.0)
                    || (limits::FIRST_REPLICA_ID..self.next_replica).contains(&id.0)
            };
            if broker.metadata_replica.is_some() == self.retired.contains_key(&broker.disk) {
                return Err(format!(
                    "broker {} has a metadata replica on a retired disk, or none",
                    broker.id
                ));
            }
            if broker.metadata_replica.is_some_and(|id| !given(id)) {
                return Err(format!("broker {} has a metadata replica that was not given", broker.id));
            }
            let shared = broker.metadata_replica.is_some_and(|id| !replicas.insert(id));
            if shared || !disks.insert(broker.disk) {
                return Err(format!("broker {} shares its disk or metadata replica", broker.id));
            }
        }
        let odd = |(id, standing): (&BrokerId, &Standing)| {
            !self.brokers.contains_key(id) || *standing == Standing::Settled
        };
        if self.standings.iter().any(odd) {
            return Err("a standing is that of no broker, or none".into());
        }
        Ok(replicas)
    }

    fn check_topic(&self, topic: &Topic) -> Result<(), String> {
        if topic.partitions.is_empty() {
            return Err(format!("topic {} has no partition", topic.name));
        }
        for (at, partition) in topic.partitions.iter().enumerate() {
            let complete = i32::try_from(at) == Ok(partition.number)
                && self.groups.get(&partition.group) == Some(&(topic.id, partition.number))
                && partition.reassignment.as_ref().is_none_or(|moving| is_complete(moving, partition))
                && !partition.replicas.is_empty()
                && !partition.first_voters.is_empty();
            let known = |broker| self.brokers.contains_key(broker);
            if !complete || !partition.replicas.iter().all(|replica| known(&replica.broker)) {
                return Err(format!("partition {at} of topic {} is not well formed", topic.name));
            }
        }
        Ok(())
    }
}

/// Whether a move names replicas of its partition only, those it shall have first.
fn is_complete(moving: &Reassignment, partition: &Partition) -> bool {
    let ids: Vec<ReplicaId> = partition.replicas.iter().map(|replica| replica.replica).collect();
    !moving.target.is_empty()
        && ids.starts_with(&moving.target)
        && !moving.original.is_empty()
        && moving.original.iter().all(|replica| ids.contains(replica))
}
