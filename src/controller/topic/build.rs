//! Step 3: what must be done in the brokers so that a topic is what its spec says. Pure.

use std::collections::BTreeMap;

use chronik_core::view::{PartitionReport, TopicReport};

use super::error::Error;
use super::validate::ValidTopic;
use crate::broker_client::{AlterTopic, CreateTopic};

/// What to do, and what the spec asks for that cannot be done.
#[derive(Debug, Default)]
pub struct Plan {
    pub action: Option<Action>,
    /// Replicas that each partition is to get. It is asked for by itself: refused, it stands in the way of nothing else.
    pub replicas: Option<u32>,
    pub refusal: Option<Error>,
}

/// One request to the brokers.
#[derive(Debug, PartialEq)]
pub enum Action {
    Create(CreateTopic),
    Alter(AlterTopic),
}

/// The plan for a topic that the brokers know as `present`, or do not know.
pub fn plan(topic: &ValidTopic, present: Option<&TopicReport>) -> Plan {
    let Some(present) = present else {
        return Plan { action: Some(Action::Create(create(topic))), ..Plan::default() };
    };
    let change = AlterTopic {
        partitions: (topic.partitions > present.totals.total).then_some(topic.partitions),
        replicas: None,
        configs: config_changes(&topic.configs, &present.configs),
    };
    let action = (change != AlterTopic::default()).then_some(Action::Alter(change));
    Plan { action, replicas: replicas(topic, present), refusal: refusal(topic, present) }
}

/// The spec's number of replicas, unless every partition has it or is on its way to it already.
fn replicas(topic: &ValidTopic, present: &TopicReport) -> Option<u32> {
    let has = |partition: &PartitionReport| partition.replicas.len() - partition.removing.len();
    let differs = match &present.resize {
        Some(under_way) => under_way.replicas != topic.replicas,
        None => present.partitions.iter().any(|partition| has(partition) != topic.replicas as usize),
    };
    differs.then_some(topic.replicas)
}

fn create(topic: &ValidTopic) -> CreateTopic {
    CreateTopic {
        name: topic.name.clone(),
        partitions: topic.partitions,
        replication_factor: topic.replicas,
        configs: topic.configs.clone(),
    }
}

/// The spec is all there is: a key set in the brokers and absent in the spec goes back to its default.
fn config_changes(
    wanted: &BTreeMap<String, String>,
    present: &BTreeMap<String, String>,
) -> BTreeMap<String, Option<String>> {
    let set = wanted
        .iter()
        .filter(|(key, value)| present.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), Some(value.clone())));
    let reset = present.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key.clone(), None));
    set.chain(reset).collect()
}

fn refusal(topic: &ValidTopic, present: &TopicReport) -> Option<Error> {
    if topic.partitions < present.totals.total {
        return Some(Error::InvalidSpec {
            field: "spec.partitions".to_owned(),
            value: topic.partitions.to_string(),
            allowed: format!(
                "at least {}, which the topic has; partitions cannot be taken away",
                present.totals.total
            ),
        });
    }
    None
}
