//! Judges commands against the state without changing it: for `validate_only` requests, early answers and `apply`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::command::{
    AllocateProducerIds, AlterTopicConfigs, CreatePartitions, CreateTopic, DeleteTopic, NewPartitions,
    SetFeatureLevel, TopicRef, TopicReplicas,
};
use super::limits;
use super::names::{collision_key, validate_topic_name};
use super::placement::{Candidate, place};
use super::refusal::{Refusal, RefusalCode};
use super::state::{ClusterState, FeatureRange, Topic};
use crate::config::validate_topic_config;
use crate::ids::BrokerId;

/// The brokers of each partition, the preferred leader first.
pub type Assignments = Vec<Vec<BrokerId>>;

impl ClusterState {
    /// The topic that is meant, or why there is none.
    pub fn find_topic(&self, topic: &TopicRef) -> Result<&Arc<Topic>, Refusal> {
        match topic {
            TopicRef::Name(name) => self.topic_by_name(name).ok_or_else(|| {
                Refusal::new(RefusalCode::UnknownTopic, "topic name", name, "the name of an existing topic")
            }),
            TopicRef::Id(id) => self.topic(*id).ok_or_else(|| {
                Refusal::new(RefusalCode::UnknownTopicId, "topic id", id, "the id of an existing topic")
            }),
        }
    }

    /// Whether the topic could be created, and on which brokers its partitions would be.
    pub fn validate_create_topic(&self, wanted: &CreateTopic) -> Result<Assignments, Refusal> {
        validate_topic_name(&wanted.name)?;
        self.validate_new_name(&wanted.name)?;
        if wanted.id.0.is_nil() || self.topic(wanted.id).is_some() {
            let allowed = "a new random UUID";
            return Err(Refusal::new(RefusalCode::InvalidRequest, "topic id", wanted.id, allowed));
        }
        self.validate_configs(&wanted.configs)?;
        match &wanted.replicas {
            TopicReplicas::Placed { partitions, replication_factor, alive } => {
                let added = partition_count(*partitions)?;
                let factor = self.replication_factor(*replication_factor)?;
                self.validate_growth(added, factor)?;
                Ok(self.place(added, factor, alive))
            }
            TopicReplicas::Manual(assignments) => {
                let factor = assignments.first().map_or(0, Vec::len);
                self.validate_manual(assignments, factor, 0)?;
                Ok(assignments.clone())
            }
        }
    }

    /// Whether partitions could be added: the topic, and on which brokers the added ones would be.
    pub fn validate_create_partitions(
        &self,
        wanted: &CreatePartitions,
    ) -> Result<(Arc<Topic>, Assignments), Refusal> {
        let topic = self.find_topic(&wanted.topic)?;
        let has = topic.partitions.len();
        let added = usize::try_from(wanted.count).unwrap_or(0).saturating_sub(has);
        if added == 0 {
            let allowed =
                format!("more than {has}, which topic {} has: partitions are never removed", topic.name);
            return Err(Refusal::new(RefusalCode::InvalidPartitions, "partitions", wanted.count, allowed));
        }
        // A topic that is on its way to another number is not given partitions that would have to follow.
        let factor = self.wanted_replicas(topic.id).unwrap_or(topic.replication_factor);
        let assignments = match &wanted.replicas {
            NewPartitions::Placed { alive } => {
                let factor = self.replication_factor(factor.try_into().unwrap_or(i32::MAX))?;
                self.validate_growth(added, factor)?;
                self.place(added, factor, alive)
            }
            NewPartitions::Manual(assignments) if assignments.len() == added => {
                self.validate_manual(assignments, factor as usize, has)?;
                assignments.clone()
            }
            NewPartitions::Manual(assignments) => {
                let allowed = format!("{added}, one for each added partition");
                return Err(refuse_assignment("manual assignments", assignments.len(), allowed));
            }
        };
        Ok((topic.clone(), assignments))
    }

    /// Whether the topic could be deleted.
    pub fn validate_delete_topic(&self, wanted: &DeleteTopic) -> Result<Arc<Topic>, Refusal> {
        self.find_topic(&wanted.topic).cloned()
    }

    /// Whether the configs could be changed: the topic, and all configs it would then have set.
    pub fn validate_alter_configs(
        &self,
        wanted: &AlterTopicConfigs,
    ) -> Result<(Arc<Topic>, BTreeMap<String, String>), Refusal> {
        let topic = self.find_topic(&wanted.topic)?;
        let mut configs = topic.configs.clone();
        for (key, value) in &wanted.changes {
            match value {
                Some(value) => {
                    self.validate_config(key, value)?;
                    configs.insert(key.clone(), value.clone());
                }
                // A key that is set may always be unset, also one that this build no longer knows.
                None if configs.remove(key).is_some() => {}
                None => self.validate_config_key(key)?,
            }
        }
        self.validate_min_isr_while_permitted(topic, &configs)?;
        Ok((topic.clone(), configs))
    }

    /// Whether a block of producer ids could be handed out: its first id.
    pub fn validate_allocate_producer_ids(&self, wanted: &AllocateProducerIds) -> Result<i64, Refusal> {
        if self.broker(wanted.broker).is_none() {
            let allowed = "the id of a registered broker";
            return Err(Refusal::new(RefusalCode::UnknownBroker, "broker id", wanted.broker, allowed));
        }
        match self.next_producer_id.checked_add(i64::from(limits::PRODUCER_ID_BLOCK)) {
            Some(_) => Ok(self.next_producer_id),
            None => {
                let allowed = "ids up to 2^63 - 1, and all are used up";
                Err(Refusal::new(RefusalCode::LimitExceeded, "producer id", self.next_producer_id, allowed))
            }
        }
    }

    /// Whether the feature level could be finalised.
    pub fn validate_set_feature_level(&self, wanted: &SetFeatureLevel) -> Result<(), Refusal> {
        let ranges = || self.brokers().map(|broker| broker.features);
        let max = ranges().map(|range| range.max).min().unwrap_or(FeatureRange::THIS_BUILD.max);
        let min = ranges().map(|range| range.min).max().unwrap_or(1).max(self.feature_level);
        if (min..=max).contains(&wanted.level) {
            return Ok(());
        }
        let allowed = format!("{min} to {max}: it never falls, and every registered broker must support it");
        Err(Refusal::new(RefusalCode::InvalidFeatureLevel, "feature level", wanted.level, allowed))
    }

    fn validate_new_name(&self, name: &str) -> Result<(), Refusal> {
        let Some(other) = self.keys.get(&collision_key(name)).and_then(|id| self.topic(*id)) else {
            return Ok(());
        };
        if other.name == name {
            let allowed = "the name of no existing topic, and this one already exists";
            return Err(Refusal::new(RefusalCode::TopicExists, "topic name", name, allowed));
        }
        let allowed =
            format!("a name that differs from {} in more than '.' and '_', or they collide", other.name);
        Err(Refusal::new(RefusalCode::InvalidTopicName, "topic name", name, allowed))
    }

    /// Whether these configs may be set on a topic.
    pub fn validate_configs(&self, configs: &BTreeMap<String, String>) -> Result<(), Refusal> {
        configs.iter().try_for_each(|(key, value)| self.validate_config(key, value))
    }

    fn validate_config(&self, key: &str, value: &str) -> Result<(), Refusal> {
        validate_topic_config(key, value, self.feature_level).map(|_| ()).map_err(Refusal::from)
    }

    fn validate_config_key(&self, key: &str) -> Result<(), Refusal> {
        // A known key is valid with its own default, so only an unknown one is refused here.
        let default = crate::config::topic_key(key).map_or("", |known| known.default);
        self.validate_config(key, default)
    }

    pub(super) fn replication_factor(&self, wanted: i32) -> Result<usize, Refusal> {
        let (registered, staying) = (self.brokers.len(), self.staying());
        let most = staying.min(limits::REPLICATION_FACTOR);
        match usize::try_from(wanted) {
            Ok(factor) if (1..=most).contains(&factor) => Ok(factor),
            _ => {
                let leave = match registered - staying {
                    0 => String::new(),
                    leave => format!(" and {leave} of them leave"),
                };
                let allowed = format!("1 to {most}, as {registered} brokers are registered{leave}");
                let code = RefusalCode::InvalidReplicationFactor;
                Err(Refusal::new(code, "replication factor", wanted, allowed))
            }
        }
    }

    fn validate_growth(&self, partitions: usize, factor: usize) -> Result<(), Refusal> {
        let refuse = |field: &str, wanted: usize, most: usize, whose: &str| {
            let allowed = format!("at most {most} {whose}");
            Err(Refusal::new(RefusalCode::LimitExceeded, field, wanted, allowed))
        };
        if partitions > limits::PARTITIONS_PER_COMMAND {
            return refuse("partitions", partitions, limits::PARTITIONS_PER_COMMAND, "in one request");
        }
        let all = self.partition_count() + partitions;
        if all > limits::PARTITIONS {
            return refuse("partitions of the cluster", all, limits::PARTITIONS, "in a cluster");
        }
        let replicas = self.replica_count() + partitions * factor;
        if replicas > limits::REPLICAS {
            return refuse("replicas of the cluster", replicas, limits::REPLICAS, "in a cluster");
        }
        Ok(())
    }

    fn place(&self, partitions: usize, factor: usize, alive: &BTreeSet<BrokerId>) -> Assignments {
        let candidates: Vec<Candidate<'_>> = self
            .brokers()
            .filter(|broker| !self.leaves(broker.id))
            .map(|broker| Candidate {
                id: broker.id,
                rack: broker.rack.as_deref(),
                alive: alive.contains(&broker.id),
            })
            .collect();
        place(&candidates, partitions, factor, self.next_group - limits::FIRST_GROUP_ID)
    }

    fn validate_manual(&self, assignments: &Assignments, factor: usize, first: usize) -> Result<(), Refusal> {
        if assignments.is_empty() {
            return Err(refuse_assignment("manual assignments", 0, "at least one partition"));
        }
        for (at, brokers) in assignments.iter().enumerate() {
            let field = format!("replicas of partition {}", first + at);
            self.validate_replicas(&field, brokers, factor)?;
            brokers.iter().try_for_each(|broker| self.validate_new_replica(&field, *broker))?;
        }
        self.validate_growth(assignments.len(), factor)
    }

    /// A broker that leaves gets no new replica.
    pub(super) fn validate_new_replica(&self, field: &str, broker: BrokerId) -> Result<(), Refusal> {
        if self.leaves(broker) {
            return Err(refuse_assignment(field, broker, "brokers that stay only, and this one leaves"));
        }
        Ok(())
    }

    pub(super) fn validate_replicas(
        &self,
        field: &str,
        brokers: &[BrokerId],
        factor: usize,
    ) -> Result<(), Refusal> {
        let most = limits::REPLICATION_FACTOR;
        if brokers.is_empty() || brokers.len() > most || brokers.len() != factor {
            let allowed = match factor {
                _ if brokers.is_empty() || brokers.len() > most => format!("1 to {most} brokers"),
                _ => format!("{} brokers, as for every partition of the topic", factor.min(most)),
            };
            return Err(refuse_assignment(field, format!("of {} brokers", brokers.len()), allowed));
        }
        let mut seen = BTreeSet::new();
        for broker in brokers {
            if self.broker(*broker).is_none() {
                return Err(refuse_assignment(field, broker, "registered brokers only, and this one is not"));
            }
            if !seen.insert(broker) {
                return Err(refuse_assignment(
                    field,
                    broker,
                    "each broker once only, and this one stands there twice",
                ));
            }
        }
        Ok(())
    }
}

fn partition_count(wanted: i32) -> Result<usize, Refusal> {
    match usize::try_from(wanted) {
        Ok(count) if count > 0 => Ok(count),
        _ => {
            let allowed = format!("1 to {}", limits::PARTITIONS_PER_COMMAND);
            Err(Refusal::new(RefusalCode::InvalidPartitions, "partitions", wanted, allowed))
        }
    }
}

pub(super) fn refuse_assignment(field: &str, value: impl ToString, allowed: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::InvalidReplicaAssignment, field, value, allowed)
}
