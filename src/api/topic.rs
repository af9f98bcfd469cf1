//! The `Topic` kind: one topic of one `BrokerCluster`, and the in-sync replicas its partitions truly have.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::counts::PartitionCounts;
use crate::restart_policy::{RESTART_POLICY_KEY, RestartPolicy};
use crate::schema;

/// Partitions a status lists; of more, the worst.
pub const PARTITIONS_SHOWN_MAX: usize = 64;

/// Most partitions one topic may ask for.
pub const PARTITIONS_MAX: u32 = 10_000;

/// The topic key that `spec.minInsyncReplicas` sets.
pub const MIN_ISR_KEY: &str = "min.insync.replicas";

/// What a topic should be.
#[derive(CustomResource, KubeSchema, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[kube(
    group = "chronik.dev",
    version = "v1alpha1",
    kind = "Topic",
    plural = "topics",
    category = "chronik",
    namespaced,
    status = "TopicStatus",
    derive = "PartialEq",
    doc = "A topic of a BrokerCluster. Its status shows leader and in-sync replicas of each partition.",
    annotation("helm.sh/resource-policy", "keep"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".spec.partitions"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicationFactor"),
    printcolumn(
        name = "Min-ISR",
        type_ = "integer",
        json_path = ".status.effectiveMinIsr",
        description = "In-sync replicas that acks=all needs"
    ),
    printcolumn(
        name = "In-Sync",
        type_ = "string",
        json_path = ".status.totals.summary",
        description = "Partitions with every replica in sync, of all"
    ),
    printcolumn(
        name = "Under-Min-ISR",
        type_ = "integer",
        json_path = ".status.totals.underMinIsr",
        description = "Partitions that refuse acks=all"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(
        "(has(self.spec.topicName) ? self.spec.topicName : self.metadata.name) == (has(oldSelf.spec.topicName) ? oldSelf.spec.topicName : oldSelf.metadata.name)"
    ).message("spec.topicName cannot change: a topic cannot be renamed; create another Topic instead"),
    validation = Rule::new(
        "has(self.spec.topicName) || size(self.metadata.name) <= 249"
    ).message("metadata.name is the topic's name and may have at most 249 characters; set spec.topicName otherwise"),
    validation = Rule::new(
        "self.spec.partitions >= oldSelf.spec.partitions || !has(oldSelf.status) || !has(oldSelf.status.topicId) || self.spec.partitions >= oldSelf.status.totals.total"
    ).message("spec.partitions may only grow: Kafka cannot take partitions away from a topic")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.minInsyncReplicas) || self.minInsyncReplicas <= self.replicas"
    ).message("spec.minInsyncReplicas may not be above spec.replicas: no write with acks=all could ever succeed"),
    validation = Rule::new(
        "!has(self.config) || !('min.insync.replicas' in self.config) || !self.config['min.insync.replicas'].matches('^[0-9]{1,9}$') || int(self.config['min.insync.replicas']) <= self.replicas"
    ).message("spec.config['min.insync.replicas'] may not be above spec.replicas: no write with acks=all could ever succeed"),
    validation = Rule::new(
        "!(has(self.minInsyncReplicas) && has(self.config) && 'min.insync.replicas' in self.config)"
    ).message("set either spec.minInsyncReplicas or spec.config['min.insync.replicas'], not both"),
    validation = Rule::new(
        "!(has(self.restartPolicy) && has(self.config) && 'restart.policy' in self.config)"
    ).message("set either spec.restartPolicy or spec.config['restart.policy'], not both"),
    validation = Rule::new(
        "!has(self.restartPolicy) || !has(self.restartPolicy.allowUnavailable) || self.replicas == 1"
    ).message("spec.restartPolicy.allowUnavailable is for spec.replicas = 1: with more, one at a time may restart without a partition being unavailable")
)]
pub struct TopicSpec {
    /// The cluster that holds the topic. It cannot change.
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.clusterRef cannot change: a topic cannot move to another cluster; create another Topic instead"))]
    pub cluster_ref: ClusterRef,

    /// The topic's name in the brokers, metadata.name when absent. It cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), pattern("^[a-zA-Z0-9._-]+$"))]
    #[x_kube(validation = Rule::new("self != '.' && self != '..'").message("'.' and '..' are not topic names"))]
    pub topic_name: Option<String>,

    /// Number of partitions. It may only grow.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub partitions: u32,

    /// Replicas of each partition, at most the number of brokers. Once the topic is there the brokers move replicas until each
    /// partition has this number.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 99))]
    pub replicas: u32,

    /// In-sync replicas a write with acks=all needs: a shortcut to config `min.insync.replicas`.
    /// A majority of the replicas is always needed as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub min_insync_replicas: Option<u32>,

    /// What is asked for while a broker with a replica is stopped on purpose: a shortcut to config `restart.policy`.
    /// No write with acks=all is refused for it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,

    /// Topic configs, as Kafka names them. Keys that are absent have their defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::settings")]
    pub config: BTreeMap<String, String>,

    /// What happens to the data when this resource is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Whether the operator makes the topic what this spec says. If not it changes nothing in the brokers, shows the topic in the
    /// status, and leaves it alone when this resource is deleted.
    #[serde(default = "yes")]
    pub managed: bool,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn three() -> u32 {
    3
}

/// Names a `BrokerCluster` of the same namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// Name of the BrokerCluster.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// What happens to the data when a `Topic` is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The topic is deleted from the brokers, with its data.
    #[default]
    Delete,
    /// The topic stays in the brokers.
    Retain,
}

/// What a topic is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStatus {
    /// metadata.generation this status was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The topic's name in the brokers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,

    /// The topic's UUID in the brokers; a topic that was created anew has another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,

    /// Replicas of each partition in the brokers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u32>,

    /// In-sync replicas that a write with acks=all needs: at least `min.insync.replicas`, at least a majority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_min_isr: Option<u32>,

    /// Partition counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totals: Option<PartitionCounts>,

    /// Partitions by number: all of them up to 64, else the 64 that are worst off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub partitions: Vec<PartitionStatus>,

    /// Partitions that are not listed; they are no worse off than any that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions_omitted: Option<u32>,

    /// Ready, InSync, UnderMinIsr, Offline, ConfigInSync; Managed if it is not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PartitionStatus {
    /// Its number, from 0.
    pub partition: i32,

    /// How its state is known.
    pub state: PartitionState,

    /// The broker that leads it, or its caretaker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<u32>,

    /// The leader's epoch.
    pub epoch: i64,

    /// Assigned brokers in order of preference.
    pub replicas: Vec<u32>,

    /// Brokers in sync; absent while unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isr: Option<Vec<u32>>,
}

/// How a partition's state is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum PartitionState {
    /// From its leader.
    Leader,
    /// From the lone survivor of a lost quorum: it shows itself, nothing can be written.
    Caretaker,
    /// It has no leader.
    Offline,
    /// Nothing recent is known.
    #[default]
    Unknown,
}

impl Topic {
    /// The topic's name in the brokers.
    pub fn topic_name(&self) -> &str {
        self.spec.topic_name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

impl TopicSpec {
    /// Every config the topic should have set: `config` with the shortcuts written out.
    pub fn configs(&self) -> BTreeMap<String, String> {
        let mut configs = self.config.clone();
        if let Some(min_isr) = self.min_insync_replicas {
            configs.insert(MIN_ISR_KEY.to_owned(), min_isr.to_string());
        }
        if let Some(restart) = &self.restart_policy {
            configs.insert(RESTART_POLICY_KEY.to_owned(), restart.policy().to_string());
        }
        configs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: serde_json::Value) -> TopicSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn shortcuts_are_written_out_as_configs() {
        let spec = spec(serde_json::json!({
            "clusterRef": {"name": "demo"}, "minInsyncReplicas": 2, "restartPolicy": {"margin": 1},
            "config": {"max.message.bytes": "1000"},
        }));
        let configs: Vec<_> = spec.configs().into_iter().collect();
        let expected =
            [("max.message.bytes", "1000"), ("min.insync.replicas", "2"), ("restart.policy", "margin:1")];
        assert_eq!(configs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!((spec.partitions, spec.replicas, spec.deletion_policy), (1, 3, DeletionPolicy::Delete));
        assert!(spec.managed);
    }

    #[test]
    fn the_resource_names_the_topic_unless_the_spec_does() {
        let mut topic = Topic::new("orders.v1", spec(serde_json::json!({"clusterRef": {"name": "demo"}})));
        assert_eq!(topic.topic_name(), "orders.v1");
        topic.spec.topic_name = Some("Orders_V1".to_owned());
        assert_eq!(topic.topic_name(), "Orders_V1");
    }
}
