//! The ConfigMap: the brokers' settings file, and how an empty disk comes to its cluster. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::core::v1::ConfigMap;

use super::super::names::{self, ADMIN_PORT, PEER_PORT};
use super::super::validate::ValidCluster;
use super::metadata;

/// Key of the settings file.
pub(super) const SETTINGS_FILE: &str = "broker.toml";
/// Key with the brokers that found, or founded, the cluster.
pub(super) const INITIAL_VOTERS_KEY: &str = "initial-voters";
/// Key that is `true` once the cluster was formed, absent before.
pub(super) const JOIN_KEY: &str = "join";

pub(super) fn build(cluster: &ValidCluster, settings: String) -> ConfigMap {
    let mut data = BTreeMap::from([
        (SETTINGS_FILE.to_owned(), settings),
        (INITIAL_VOTERS_KEY.to_owned(), initial_voters(cluster)),
    ]);
    if cluster.initialised {
        // Read anew at each start of a pod, also of one that was made before the cluster was formed: a disk emptied
        // since then must join.
        data.insert(JOIN_KEY.to_owned(), "true".to_owned());
    }
    ConfigMap {
        metadata: metadata(cluster, names::config_map(&cluster.key.name)),
        data: Some(data),
        ..ConfigMap::default()
    }
}

/// Who founds the cluster; later, whom a joining broker asks first.
fn initial_voters(cluster: &ValidCluster) -> String {
    let voter = |id| {
        let address = names::address(&cluster.key, id, &cluster.cluster_domain, PEER_PORT);
        format!("{id}@{address}")
    };
    (1..=cluster.initial_voters).map(voter).collect::<Vec<_>>().join(",")
}

/// The settings all brokers share. What differs from pod to pod is on the command line.
pub(super) fn settings_file(cluster: &ValidCluster) -> String {
    let kafka_port = cluster.spec.listeners.kafka_port;
    let mut settings = BTreeMap::from([("log_format".to_owned(), "json".to_owned())]);
    settings.extend(cluster.config.clone());
    settings.extend([
        ("listener".to_owned(), format!("PLAINTEXT=0.0.0.0:{kafka_port}")),
        ("peer_listener".to_owned(), format!("0.0.0.0:{PEER_PORT}")),
        ("admin_listener".to_owned(), format!("0.0.0.0:{ADMIN_PORT}")),
    ]);
    let mut file = String::new();
    for (key, value) in &settings {
        // A TOML basic string escapes what JSON escapes; control characters were refused before.
        let _ = writeln!(file, "{key} = {}", serde_json::Value::from(value.as_str()));
    }
    file
}
