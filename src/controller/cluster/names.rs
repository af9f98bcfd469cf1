//! Addresses of a cluster's brokers, beside the names that are part of the API. Pure.

pub use chronik_api::names::*;

use crate::feed::ClusterKey;

/// What follows the pod's name in its DNS name.
pub fn pod_domain(key: &ClusterKey, cluster_domain: &str) -> String {
    format!("{}.{}.svc.{cluster_domain}", headless(&key.name), key.namespace)
}

/// `host:port` of a broker's listener.
pub fn address(key: &ClusterKey, broker: u32, cluster_domain: &str, port: u16) -> String {
    format!("{}.{}:{port}", pod(&key.name, broker), pod_domain(key, cluster_domain))
}
