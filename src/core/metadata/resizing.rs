//! How many replicas each partition of a topic shall have, while some have another number. The moves follow from it
//! ([`balance`](crate::balance)); it moves nothing itself, and is forgotten once every partition has that number.

use std::sync::Arc;

use super::apply::Applied;
use super::command::SetTopicReplicas;
use super::limits;
use super::refusal::{Refusal, RefusalCode};
use super::state::{ClusterState, Topic};
use crate::ids::TopicId;

impl ClusterState {
    /// Replicas that each partition of that topic shall have, while some have another number.
    pub fn wanted_replicas(&self, topic: TopicId) -> Option<u32> {
        self.resizing.get(&topic).copied()
    }

    /// Topics of which some partitions shall have another number of replicas, each with that number.
    pub fn resizing(&self) -> impl Iterator<Item = (&Arc<Topic>, usize)> {
        self.resizing.iter().filter_map(|(id, wanted)| Some((self.topics.get(id)?, *wanted as usize)))
    }

    /// Whether the partitions of the topic could have that number of replicas.
    pub fn validate_set_topic_replicas(&self, wanted: &SetTopicReplicas) -> Result<(), Refusal> {
        self.judge_topic_replicas(wanted).map(drop)
    }

    fn judge_topic_replicas(&self, wanted: &SetTopicReplicas) -> Result<(TopicId, usize), Refusal> {
        let topic = self.find_topic(&wanted.topic)?;
        let factor = self.replication_factor(wanted.replicas)?;
        let missing = |has: usize| factor.saturating_sub(has);
        let added: usize = topic.partitions.iter().map(|it| missing(it.target().len())).sum();
        let all = self.replica_count() + added;
        if added > 0 && all > limits::REPLICAS {
            let allowed = format!("at most {} in a cluster", limits::REPLICAS);
            return Err(Refusal::new(RefusalCode::LimitExceeded, "replicas of the cluster", all, allowed));
        }
        Ok((topic.id, factor))
    }

    pub(super) fn set_topic_replicas(&mut self, wanted: &SetTopicReplicas) -> Result<Applied, Refusal> {
        let (topic, factor) = self.judge_topic_replicas(wanted)?;
        self.resizing.insert(topic, factor as u32);
        self.note_resized(topic);
        Ok(Applied::TopicReplicasSet { topic, moving: self.resizing.contains_key(&topic) })
    }

    /// Forgets the number once every partition has it.
    pub(super) fn note_resized(&mut self, topic: TopicId) {
        if self.is_resized(topic) {
            self.resizing.remove(&topic);
        }
    }

    pub(super) fn is_resized(&self, topic: TopicId) -> bool {
        let (Some(wanted), Some(topic)) = (self.wanted_replicas(topic), self.topic(topic)) else {
            return false;
        };
        let mut partitions = topic.partitions.iter();
        partitions.all(|it| it.reassignment.is_none() && it.target().len() == wanted as usize)
    }
}
