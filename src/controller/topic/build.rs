//! Step 3: what must be done in the brokers so that a topic is what its spec says. Pure.

use std::collections::BTreeMap;

use chronik_core::view::TopicReport;

use super::error::Error;
use super::validate::ValidTopic;
use crate::broker_client::{AlterTopic, CreateTopic};

/// What to do, and what the spec asks for that cannot be done.
#[derive(Debug, Default)]
pub struct Plan {
    pub action: Option<Action>,
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
        return Plan { action: Some(Action::Create(create(topic))), refusal: None };
    };
    let change = AlterTopic {
        partitions: (topic.partitions > present.totals.total).then_some(topic.partitions),
        configs: config_changes(&topic.configs, &present.configs),
    };
    let action = (change != AlterTopic::default()).then_some(Action::Alter(change));
    Plan { action, refusal: refusal(topic, present) }
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
    if topic.replicas != present.replication_factor {
        return Some(Error::InvalidSpec {
            field: "spec.replicas".to_owned(),
            value: topic.replicas.to_string(),
            allowed: format!(
                "{}, which the topic has; replicas cannot be moved yet",
                present.replication_factor
            ),
        });
    }
    None
}
