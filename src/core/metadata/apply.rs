//! Applies commands: the only writer of the state. Total and deterministic: no command panics, all copies agree.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{Command, CreateTopic};
use super::limits;
use super::names::collision_key;
use super::refusal::Refusal;
use super::standing::Standing;
use super::state::{ClusterState, Partition, Replica, Topic};
use super::validate::Assignments;
use crate::ids::{BrokerId, Generation, GroupId, LogIndex, ReplicaId, TopicId};
use crate::restart::Permit;

/// What a command did, for its proposer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// The broker is registered.
    BrokerRegistered {
        /// Which.
        broker: BrokerId,
    },
    /// The broker is registered no more.
    BrokerUnregistered {
        /// Which.
        broker: BrokerId,
    },
    /// The broker's standing is as asked.
    StandingSet {
        /// Whose.
        broker: BrokerId,
        /// What it is.
        standing: Standing,
        /// False if it was so before.
        changed: bool,
    },
    /// Each partition of the topic has as many replicas as asked, or is to get them.
    TopicReplicasSet {
        /// Its id.
        topic: TopicId,
        /// Whether something is left to be moved.
        moving: bool,
    },
    /// The topic exists.
    TopicCreated {
        /// Its id.
        topic: TopicId,
        /// The groups of its partitions, in order.
        groups: Vec<GroupId>,
    },
    /// The topic is gone.
    TopicDeleted {
        /// Its id.
        topic: TopicId,
        /// Its name.
        name: String,
        /// The groups its partitions had.
        groups: Vec<GroupId>,
    },
    /// The topic has more partitions.
    PartitionsCreated {
        /// Its id.
        topic: TopicId,
        /// The groups of the added partitions, in order.
        groups: Vec<GroupId>,
    },
    /// The topic's configs are as asked.
    ConfigsAltered {
        /// Its id.
        topic: TopicId,
        /// False if they were so before.
        changed: bool,
    },
    /// The block of producer ids is the proposer's.
    ProducerIds {
        /// The first.
        first: i64,
        /// How many.
        count: u32,
    },
    /// The feature level is final.
    FeatureLevelSet {
        /// The level.
        level: u16,
    },
    /// The partition's replicas move, or are already where they shall be.
    ReassignmentAltered {
        /// The partition's group.
        group: GroupId,
        /// Whether a move is under way now.
        moving: bool,
    },
    /// The partition's replicas are where they shall be.
    ReassignmentCompleted {
        /// The partition's group.
        group: GroupId,
    },
    /// A new replica takes the place of another.
    ReplicaReplaced {
        /// The partition's group.
        group: GroupId,
        /// The new replica.
        replica: ReplicaId,
    },
    /// The metadata goes on from one disk.
    MetadataRecovered {
        /// The generation that began.
        generation: Generation,
    },
    /// The partition goes on from one replica.
    PartitionRecovered {
        /// The partition's group.
        group: GroupId,
    },
    /// The permit is as asked.
    PermitChanged {
        /// As it is now, or was when it ended.
        permit: Permit,
        /// The version of the permits from now on.
        version: u64,
    },
    /// The state already contains that index.
    AlreadyApplied,
    /// The command does not fit the state, which stays as it was.
    Refused(Refusal),
}

impl Applied {
    /// Refusals as errors.
    pub fn into_result(self) -> Result<Applied, Refusal> {
        match self {
            Self::Refused(refusal) => Err(refusal),
            done => Ok(done),
        }
    }
}

impl ClusterState {
    /// Applies the command at a log index. An index that the state already contains changes nothing.
    pub fn apply(&mut self, index: LogIndex, command: &Command) -> Applied {
        if index <= self.applied {
            return Applied::AlreadyApplied;
        }
        self.applied = index;
        let lives = self.life_named_by(command);
        let applied = self.run(command).unwrap_or_else(Applied::Refused);
        if self.moves_permits(command, &applied, lives) {
            self.permits.touch();
        }
        applied
    }

    /// Notes an entry that carries no command, such as a new leader's empty one.
    pub fn skip(&mut self, index: LogIndex) {
        self.applied = self.applied.max(index);
    }

    fn run(&mut self, command: &Command) -> Result<Applied, Refusal> {
        match command {
            Command::RegisterBroker(broker) => self.register(broker),
            Command::UnregisterBroker(wanted) => self.unregister(wanted),
            Command::SetStanding(wanted) => self.set_standing(wanted),
            Command::SetTopicReplicas(wanted) => self.set_topic_replicas(wanted),
            Command::CreateTopic(wanted) => self.create_topic(wanted),
            Command::DeleteTopic(wanted) => {
                let topic = self.validate_delete_topic(wanted)?;
                Ok(self.delete_topic(&topic))
            }
            Command::CreatePartitions(wanted) => {
                let (topic, assignments) = self.validate_create_partitions(wanted)?;
                Ok(self.add_partitions(&topic, assignments))
            }
            Command::AlterTopicConfigs(wanted) => {
                let (topic, configs) = self.validate_alter_configs(wanted)?;
                let changed = configs != topic.configs;
                if changed {
                    let altered = Topic { configs, ..(*topic).clone() };
                    self.topics.insert(topic.id, Arc::new(altered));
                }
                Ok(Applied::ConfigsAltered { topic: topic.id, changed })
            }
            Command::AllocateProducerIds(wanted) => {
                let first = self.validate_allocate_producer_ids(wanted)?;
                let count = limits::PRODUCER_ID_BLOCK;
                self.next_producer_id = first + i64::from(count);
                Ok(Applied::ProducerIds { first, count })
            }
            Command::SetFeatureLevel(wanted) => {
                self.validate_set_feature_level(wanted)?;
                self.feature_level = wanted.level;
                Ok(Applied::FeatureLevelSet { level: wanted.level })
            }
            Command::AlterReassignment(wanted) => self.alter_reassignment(wanted),
            Command::CompleteReassignment(done) => self.complete_reassignment(done),
            Command::ReplaceReplica(wanted) => self.replace_replica(wanted),
            Command::RecoverMetadata(done) => Ok(self.recover_metadata(done)),
            Command::RecoverPartition(wanted) => self.recover_partition(wanted),
            Command::ChangePermit(wanted) => self.change_permit(wanted),
        }
    }

    fn create_topic(&mut self, wanted: &CreateTopic) -> Result<Applied, Refusal> {
        // The id was drawn for this command, so the topic that has it is this command's own work: it was proposed
        // again because its first answer got lost.
        if let Some(topic) = self.topic(wanted.id).filter(|topic| topic.name == wanted.name) {
            return Ok(Applied::TopicCreated { topic: topic.id, groups: groups_of(&topic.partitions) });
        }
        let assignments = self.validate_create_topic(wanted)?;
        let replication_factor = assignments.first().map_or(0, |replicas| replicas.len() as u32);
        let partitions = self.new_partitions(0, assignments);
        let groups = groups_of(&partitions);
        self.insert_topic(Topic {
            id: wanted.id,
            name: wanted.name.clone(),
            replication_factor,
            configs: wanted.configs.clone(),
            partitions,
        });
        Ok(Applied::TopicCreated { topic: wanted.id, groups })
    }

    fn add_partitions(&mut self, topic: &Topic, assignments: Assignments) -> Applied {
        let added = self.new_partitions(topic.partitions.len(), assignments);
        let groups = groups_of(&added);
        let mut grown = topic.clone();
        grown.partitions.extend(added);
        self.remove_topic(topic);
        self.insert_topic(grown);
        Applied::PartitionsCreated { topic: topic.id, groups }
    }

    fn delete_topic(&mut self, topic: &Topic) -> Applied {
        self.remove_topic(topic);
        self.resizing.remove(&topic.id);
        Applied::TopicDeleted {
            topic: topic.id,
            name: topic.name.clone(),
            groups: groups_of(&topic.partitions),
        }
    }

    /// Gives the partitions their groups and replica ids, which are never given again.
    fn new_partitions(&mut self, first: usize, assignments: Assignments) -> Vec<Partition> {
        let mut partitions = Vec::with_capacity(assignments.len());
        for (at, brokers) in assignments.into_iter().enumerate() {
            let replicas: Vec<Replica> =
                brokers.into_iter().filter_map(|broker| self.new_replica(broker)).collect();
            // Limits keep the number of partitions far below i32::MAX.
            let number = (first + at) as i32;
            partitions.push(Partition {
                number,
                group: GroupId(self.next_group),
                first_voters: replicas.iter().map(|replica| replica.replica).collect(),
                replicas,
                reassignment: None,
                survivor: None,
            });
            self.next_group += 1;
        }
        partitions
    }

    pub(super) fn new_replica(&mut self, broker: BrokerId) -> Option<Replica> {
        let disk = self.broker(broker)?.disk;
        Some(Replica { broker, replica: self.new_replica_id(), disk })
    }

    pub(super) fn insert_topic(&mut self, topic: Topic) {
        self.names.insert(topic.name.clone(), topic.id);
        self.keys.insert(collision_key(&topic.name), topic.id);
        for partition in &topic.partitions {
            self.groups.insert(partition.group, (topic.id, partition.number));
            self.replicas += partition.replicas.len();
        }
        self.topics.insert(topic.id, Arc::new(topic));
    }

    /// Puts a partition in place of the one of its number.
    pub(super) fn replace_partition(&mut self, topic: &Topic, partition: Partition) {
        let mut changed = topic.clone();
        if let Ok(at) = usize::try_from(partition.number)
            && let Some(place) = changed.partitions.get_mut(at)
        {
            self.replicas = self.replicas + partition.replicas.len() - place.replicas.len();
            *place = partition;
            changed.replication_factor = changed.partitions[0].target().len() as u32;
            let id = changed.id;
            self.topics.insert(id, Arc::new(changed));
            self.note_resized(id);
        }
    }

    fn remove_topic(&mut self, topic: &Topic) {
        self.names.remove(&topic.name);
        self.keys.remove(&collision_key(&topic.name));
        for partition in &topic.partitions {
            self.groups.remove(&partition.group);
            self.replicas -= partition.replicas.len();
        }
        self.topics.remove(&topic.id);
    }
}

fn groups_of(partitions: &[Partition]) -> Vec<GroupId> {
    partitions.iter().map(|partition| partition.group).collect()
}
