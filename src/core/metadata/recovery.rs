//! What the state keeps of recoveries: which replica goes on alone under which epoch, and who decided so. It rebuilds
//! nothing: the metadata's survivor was rebuilt before its record is read, a partition's is by its own broker.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::apply::Applied;
use super::command::{RecoverMetadata, RecoverPartition};
use super::limits;
use super::refusal::{Refusal, RefusalCode};
use super::state::{ClusterState, Partition, Reassignment, Replica, Topic};
use crate::ids::{BrokerId, DiskId, Generation, LogIndex, Offset, ReplicaId, Term};
use crate::replication::recovery::LAST_EPOCH;

/// The replica that goes on alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survivor {
    /// Which.
    pub replica: ReplicaId,
    /// From which epoch on: a group of a lower one has not been rebuilt yet.
    pub epoch: Term,
}

/// A recovery that was carried out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// The metadata index of its command.
    pub index: LogIndex,
    /// Who decided so.
    pub by: String,
    /// When: milliseconds since 1970.
    pub unix_ms: i64,
    /// What went on, and from where.
    pub what: Recovered,
}

/// What a recovery was of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Recovered {
    /// The cluster's metadata.
    Metadata {
        /// The generation that began.
        generation: Generation,
        /// The survivor's broker.
        broker: BrokerId,
        /// The survivor's disk.
        disk: DiskId,
        /// The last entry that the survivor had.
        last: LogIndex,
        /// The epoch from there on.
        epoch: Term,
        /// Members that are so no more.
        retired: Vec<ReplicaId>,
    },
    /// A partition.
    Partition {
        /// Its topic, by the name it had.
        topic: String,
        /// Its number.
        partition: i32,
        /// The survivor's broker.
        broker: BrokerId,
        /// The survivor's disk.
        disk: DiskId,
        /// The survivor's end offset when it was asked for.
        end_offset: Offset,
        /// The epoch from there on.
        epoch: Term,
        /// Replicas that are so no more.
        retired: Vec<ReplicaId>,
    },
}

impl ClusterState {
    /// Nothing is refused: the command stands in the log because it was carried out.
    pub(super) fn recover_metadata(&mut self, done: &RecoverMetadata) -> Applied {
        let skipped = limits::IDS_SKIPPED_BY_RECOVERY;
        self.next_group = self.next_group.saturating_add(skipped);
        self.given_before = ReplicaId(self.next_replica);
        self.next_replica = self.next_replica.saturating_add(skipped);
        self.next_producer_id = self.next_producer_id.saturating_add_unsigned(skipped);
        self.generation = done.generation;
        for (disk, owner) in &done.retired_disks {
            self.retire(*disk, *owner);
        }
        for broker in self.brokers.values_mut().filter(|broker| self.retired.contains_key(&broker.disk)) {
            // Its number stays, since partitions name it: another disk may come as it.
            Arc::make_mut(broker).metadata_replica = None;
        }
        self.remember(&done.by, done.unix_ms, || Recovered::Metadata {
            generation: done.generation,
            broker: done.broker,
            disk: done.disk,
            last: done.last,
            epoch: done.epoch,
            retired: done.retired.clone(),
        });
        Applied::MetadataRecovered { generation: done.generation }
    }

    /// Gives a broker's new disk the replicas that it was given since the disk before was lost in a recovery. That one was
    /// never heard again, so they have begun nowhere.
    pub(super) fn give_to(&mut self, disk: DiskId, lost: DiskId) {
        let begun_nowhere = |replica: &Replica| replica.disk == lost && replica.replica >= self.given_before;
        let waiting = |topic: &&mut Arc<Topic>| {
            topic.partitions.iter().flat_map(|partition| &partition.replicas).any(begun_nowhere)
        };
        for topic in self.topics.values_mut().filter(waiting) {
            let partitions = &mut Arc::make_mut(topic).partitions;
            let replicas = partitions.iter_mut().flat_map(|partition| &mut partition.replicas);
            replicas.filter(|replica| begun_nowhere(replica)).for_each(|replica| replica.disk = disk);
        }
    }

    /// Whether the partition could go on from that replica: the partition, and the replica that is left.
    pub fn validate_recover_partition(
        &self,
        wanted: &RecoverPartition,
    ) -> Result<(Arc<Topic>, Partition, Replica), Refusal> {
        let invalid = |field: String, value: &dyn ToString, allowed: String| {
            Err(Refusal::new(RefusalCode::InvalidRequest, field, value.to_string(), allowed))
        };
        let Some((topic, partition)) = self.group(wanted.group) else {
            return invalid("group".into(), &wanted.group, "the group of a partition".into());
        };
        let place = format!("{}/{}", topic.name, partition.number);
        let mut replicas = partition.replicas.iter();
        let Some(survivor) = replicas.find(|replica| replica.replica == wanted.survivor) else {
            return invalid(format!("survivor of {place}"), &wanted.survivor, "one of its replicas".into());
        };
        let least = partition.survivor.map_or(1, |survivor| survivor.epoch + 1);
        if !(least..=LAST_EPOCH).contains(&wanted.epoch) {
            return invalid(format!("epoch of {place}"), &wanted.epoch, format!("{least} to {LAST_EPOCH}"));
        }
        if wanted.by.is_empty() || wanted.by.len() > limits::LONG_TEXT {
            return invalid("by".into(), &wanted.by, format!("1 to {} bytes", limits::LONG_TEXT));
        }
        let added = partition.target().iter().filter(|replica| replica.replica != survivor.replica).count();
        self.validate_more_replicas(partition, added)?;
        Ok((topic.clone(), partition.clone(), *survivor))
    }

    /// The survivor stays, and each other replica gives way to a new one on its broker, which begins empty. A move that was
    /// under way goes on to where it was going.
    pub(super) fn recover_partition(&mut self, wanted: &RecoverPartition) -> Result<Applied, Refusal> {
        let done = Some(Survivor { replica: wanted.survivor, epoch: wanted.epoch });
        if self.group(wanted.group).is_some_and(|(_, partition)| partition.survivor == done) {
            // Proposed again because its first answer got lost.
            return Ok(Applied::PartitionRecovered { group: wanted.group });
        }
        let (topic, mut partition, survivor) = self.validate_recover_partition(wanted)?;
        let lost = partition.replicas.iter().map(|replica| replica.replica);
        let retired: Vec<ReplicaId> = lost.filter(|replica| *replica != survivor.replica).collect();
        let mut replicas = Vec::with_capacity(partition.target().len() + 1);
        for replica in partition.target().to_vec() {
            if replica.replica == survivor.replica {
                replicas.push(survivor);
            } else {
                replicas.extend(self.new_replica(replica.broker));
            }
        }
        let target: Vec<ReplicaId> = replicas.iter().map(|replica| replica.replica).collect();
        if !target.contains(&survivor.replica) {
            replicas.push(survivor);
        }
        let original = vec![survivor.replica];
        partition.reassignment =
            (target != original).then(|| Reassignment { since: self.applied(), original, target });
        partition.replicas = replicas;
        partition.survivor = done;
        let number = partition.number;
        self.replace_partition(&topic, partition);
        self.remember(&wanted.by, wanted.unix_ms, || Recovered::Partition {
            topic: topic.name.clone(),
            partition: number,
            broker: survivor.broker,
            disk: survivor.disk,
            end_offset: wanted.end_offset,
            epoch: wanted.epoch,
            retired,
        });
        Ok(Applied::PartitionRecovered { group: wanted.group })
    }

    fn remember(&mut self, by: &str, unix_ms: i64, what: impl FnOnce() -> Recovered) {
        if self.recoveries.len() >= limits::RECOVERIES {
            self.recoveries.remove(0);
        }
        self.recoveries.push(Recovery { index: self.applied(), by: by.to_owned(), unix_ms, what: what() });
    }
}
