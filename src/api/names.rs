//! Names and ports of what the operator makes for a cluster.
//!
//! Pods count from 1 (`ordinals.start`), so a pod's number is its broker's id: `demo-broker-2` is broker 2.

/// Port of peer traffic.
pub const PEER_PORT: u16 = 9093;
/// Port of the admin API, health and metrics.
pub const ADMIN_PORT: u16 = 9095;

/// Name of the StatefulSet; pods are this, a dash and the broker's id.
pub fn stateful_set(cluster: &str) -> String {
    format!("{cluster}-broker")
}

/// Name of a broker's pod.
pub fn pod(cluster: &str, broker: u32) -> String {
    format!("{}-{broker}", stateful_set(cluster))
}

/// The broker in the pod of that name.
pub fn broker_of(cluster: &str, pod: &str) -> Option<u32> {
    pod.strip_prefix(&stateful_set(cluster))?.strip_prefix('-')?.parse().ok()
}

/// Name of the volume in a broker's pod that holds its data.
pub const DATA_VOLUME: &str = "data";

/// The broker whose data is on the volume claim of that name.
pub fn broker_of_claim(cluster: &str, claim: &str) -> Option<u32> {
    broker_of(cluster, claim.strip_prefix(DATA_VOLUME)?.strip_prefix('-')?)
}

/// Name of the headless Service that gives each pod its DNS name.
pub fn headless(cluster: &str) -> String {
    format!("{cluster}-brokers")
}

/// Name of the Service that clients connect to first.
pub fn bootstrap(cluster: &str) -> String {
    format!("{cluster}-bootstrap")
}

/// Name of the ConfigMap.
pub fn config_map(cluster: &str) -> String {
    format!("{cluster}-broker-config")
}

/// Name of the ConfigMap with what rollouts decided.
pub fn rollout_journal(cluster: &str) -> String {
    format!("{cluster}-rollout-journal")
}

/// Name of the PodDisruptionBudget.
pub fn disruption_budget(cluster: &str) -> String {
    stateful_set(cluster)
}
