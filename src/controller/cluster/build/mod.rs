//! Step 3: the objects a valid BrokerCluster becomes. Pure: no client, no clock.

mod config_map;
mod disruption_budget;
pub mod hash;
mod overlay;
pub(super) mod pod;
mod services;
mod stateful_set;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::validate::ValidCluster;
use chronik_api::labels::{broker_labels, broker_selector};

/// Every object of a cluster.
#[derive(Clone, Debug)]
pub struct Objects {
    pub config_map: ConfigMap,
    pub headless: Service,
    pub bootstrap: Service,
    pub disruption_budget: PodDisruptionBudget,
    pub stateful_set: StatefulSet,
    /// What a pod's annotation says when the pod runs today's settings.
    pub restart_hash: String,
}

/// Builds them.
pub fn build(cluster: &ValidCluster) -> Objects {
    let settings = config_map::settings_file(cluster);
    let containers = pod::containers(cluster);
    let restart_hash = hash::restart_hash(cluster, &containers, &settings);
    Objects {
        config_map: config_map::build(cluster, settings),
        headless: services::headless(cluster),
        bootstrap: services::bootstrap(cluster),
        disruption_budget: disruption_budget::build(cluster),
        stateful_set: stateful_set::build(cluster, containers, &restart_hash),
        restart_hash,
    }
}

/// Metadata of an object of the cluster.
fn metadata(cluster: &ValidCluster, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.key.namespace.clone()),
        labels: Some(broker_labels(&cluster.key.name)),
        owner_references: Some(vec![cluster.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// Selects the cluster's brokers.
fn selector(cluster: &ValidCluster) -> LabelSelector {
    LabelSelector { match_labels: Some(broker_selector(&cluster.key.name)), match_expressions: None }
}

#[cfg(test)]
mod tests;
