//! The `BrokerCluster` kind: a set of brokers, their storage and settings, and how they are.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::counts::PartitionCounts;
use crate::rollout::{Rollout, RolloutStatus};
use crate::schema;

/// What a cluster should be.
#[derive(CustomResource, KubeSchema, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[kube(
    group = "chronik.dev",
    version = "v1alpha1",
    kind = "BrokerCluster",
    plural = "brokerclusters",
    shortname = "bc",
    category = "chronik",
    namespaced,
    status = "BrokerClusterStatus",
    derive = "PartialEq",
    doc = "A cluster of brokers that speak the Kafka protocol and replicate with Raft.",
    annotation("helm.sh/resource-policy", "keep"),
    printcolumn(
        name = "Brokers",
        type_ = "string",
        json_path = ".status.brokers.summary",
        description = "Brokers that are ready, of all"
    ),
    printcolumn(
        name = "In-Sync",
        type_ = "string",
        json_path = ".status.partitions.summary",
        description = "Partitions with every replica in sync, of all"
    ),
    printcolumn(
        name = "Under-Min-ISR",
        type_ = "integer",
        json_path = ".status.partitions.underMinIsr",
        description = "Partitions that refuse acks=all"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Rollout",
        type_ = "string",
        json_path = ".status.rollout.summary",
        description = "Pods that still run other settings than the spec's, and what their restart waits for"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", priority = 1),
    printcolumn(name = "Bootstrap", type_ = "string", json_path = ".status.bootstrapServers", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40"
    ).message("metadata.name must be at most 40 characters of a-z, 0-9 and '-', starting with a letter: pods and Services are named after it")
)]
#[serde(rename_all = "camelCase")]
pub struct BrokerClusterSpec {
    /// Number of brokers. If it becomes smaller, the brokers of the highest numbers leave, one at a time: first their
    /// replicas move to the others.
    #[schemars(range(min = 1, max = 99))]
    pub replicas: u32,

    /// Whether replicas move to a broker that has less than half of its share, such as one that has just been added.
    #[serde(default)]
    pub rebalance: Rebalance,

    /// Image of the brokers; the operator's own default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// When nodes pull the image.
    #[serde(default)]
    pub image_pull_policy: ImagePullPolicy,

    /// Each broker's volume. Its size may grow.
    #[serde(default)]
    #[x_kube(validation = Rule::new("quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0").message("spec.storage.size may only grow: volumes cannot be made smaller"),
             validation = Rule::new("(has(self.storageClassName) ? self.storageClassName : '') == (has(oldSelf.storageClassName) ? oldSelf.storageClassName : '')").message("spec.storage.storageClassName cannot change: volumes of a running cluster cannot be exchanged"))]
    pub storage: Storage,

    /// CPU and memory of each broker.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,

    /// How brokers keep apart.
    #[serde(default)]
    pub spread: Spread,

    /// Where brokers learn their rack, over which replicas are spread and by which consumers find one near; without, they
    /// have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<Rack>,

    /// The brokers' network ports.
    #[serde(default)]
    pub listeners: Listeners,

    /// Seconds a broker gets to hand over its leaderships before it is killed.
    #[serde(default = "grace")]
    #[schemars(range(min = 1, max = 3600))]
    pub termination_grace_period_seconds: u32,

    /// How pods that run older settings are restarted.
    #[serde(default)]
    pub rollout: Rollout,

    /// What is laid over the brokers' pods, in the shape of a PodTemplateSpec: labels and annotations, where pods are
    /// scheduled, service account, volumes, more containers, and of the container `broker` its environment and mounts.
    /// What brokers need cannot be replaced; the condition `Ready` names what is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub pod_template: Option<serde_json::Map<String, serde_json::Value>>,

    /// Broker settings by the names `chronik-broker run --help` gives them, such as `min-insync-replicas`.
    /// Settings that identify a broker (its id, addresses, folders) are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::settings")]
    pub config: BTreeMap<String, String>,
}

fn grace() -> u32 {
    60
}

/// Whether replicas move to a broker that has less than half of its share.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Rebalance {
    /// They do, until it has its share.
    #[default]
    Auto,
    /// Only new partitions use it.
    Off,
}

/// When nodes pull an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// At every start.
    Always,
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// Never: the image was loaded into the node.
    Never,
}

/// Each broker's volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Storage {
    /// Its size.
    #[schemars(schema_with = "schema::size")]
    pub size: String,

    /// Its storage class; the Kubernetes cluster's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// What becomes of the volumes when the cluster is deleted.
    pub retention: Retention,
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: "10Gi".to_owned(), storage_class_name: None, retention: Retention::Retain }
    }
}

/// What becomes of volume claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Retention {
    /// They stay, with their data: a cluster of the same name adopts them.
    #[default]
    Retain,
    /// They are deleted, and all data with them.
    Delete,
}

/// CPU and memory of a container.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// What it is sure to get.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub requests: BTreeMap<String, IntOrString>,

    /// What it may not exceed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub limits: BTreeMap<String, IntOrString>,
}

impl Resources {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }
}

/// How brokers keep apart.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Spread {
    /// Over nodes.
    pub nodes: SpreadMode,
    /// Over zones (label topology.kubernetes.io/zone).
    pub zones: SpreadMode,
}

/// How strictly brokers keep apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum SpreadMode {
    /// As evenly as possible.
    #[default]
    Preferred,
    /// A broker that would break it is not started.
    Required,
}

/// Where brokers learn their rack.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rack {
    /// A label of nodes, such as topology.kubernetes.io/zone. A broker takes its node's value up when it starts.
    #[schemars(
        length(min = 1, max = 317),
        regex(
            pattern = r"^([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$"
        )
    )]
    pub node_label: String,
}

/// The brokers' network ports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Listeners {
    /// Port of Kafka clients.
    #[schemars(range(min = 1024, max = 65_535))]
    #[schemars(extend("x-kubernetes-validations" = [{"rule": "self != 9093 && self != 9095", "message": "9093 and 9095 are taken by the brokers' own traffic"}]))]
    pub kafka_port: u16,
}

impl Default for Listeners {
    fn default() -> Self {
        Self { kafka_port: 9092 }
    }
}

/// What a cluster is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerClusterStatus {
    /// metadata.generation this status was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The cluster in one word.
    pub phase: Phase,

    /// The cluster's identity, on every disk and volume claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,

    /// How many brokers, from the first, were the first metadata voters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_voters: Option<u32>,

    /// Whether the cluster was formed. It never turns false: an empty disk joins and forms no second cluster.
    pub initialised: bool,

    /// What Kafka clients connect to first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_servers: Option<String>,

    /// The broker that leads the metadata group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_leader: Option<u32>,

    /// Broker counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brokers: Option<BrokerCounts>,

    /// Partition counts over all topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionCounts>,

    /// Pods that run with settings older than the spec's; they take them at their next start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub outdated_pods: Vec<String>,

    /// How far a change of the number of brokers is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleStatus>,

    /// How far the restart of outdated pods is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,

    /// Ready, Initialised, PodsOutdated, Scaling, RollingOut, InSync, UnderMinIsr, Offline, StorageSized; RacksKnown where
    /// racks are asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Broker counts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct BrokerCounts {
    /// `ready/desired`, for a column of `kubectl get`.
    pub summary: String,
    /// Brokers the spec asks for.
    pub desired: u32,
    /// Brokers whose pod is ready.
    pub ready: u32,
    /// Brokers that the others hear from; absent while no broker answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alive: Option<u32>,
}

/// How far a change of the number of brokers is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ScaleStatus {
    /// All of it in a few words.
    pub summary: String,
    /// What happens now, or what is waited for.
    pub message: String,
    /// The broker that leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaving: Option<u32>,
    /// Replicas that it still has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas_left: Option<u32>,
    /// Those of them that move now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moving: Option<u32>,
    /// What keeps it from leaving, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
}

/// A cluster in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing was started yet.
    #[default]
    Pending,
    /// Brokers start for the first time.
    Forming,
    /// Every broker is ready.
    Running,
    /// Some broker or partition is not well.
    Degraded,
    /// The operator refuses to act; conditions say why.
    Blocked,
}
