//! Kubernetes kinds of chronik.dev, one per file. No client, no I/O: types, schemas and small pure helpers.
#![warn(missing_docs)]

pub mod broker_cluster;
pub mod broker_pod;
pub mod conditions;
pub mod counts;
pub mod labels;
pub mod names;
pub mod restart_policy;
pub mod rollout;
mod schema;
pub mod topic;

pub use broker_cluster::BrokerCluster;
pub use topic::Topic;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Every CustomResourceDefinition of this version, in the order they are installed.
///
/// # Panics
/// When a derived schema is not valid JSON, which a unit test would show first.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [BrokerCluster::crd(), Topic::crd()].into_iter().map(schema::tidy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_have_no_nullable_field_and_describe_every_property() {
        for crd in crds() {
            let text = serde_json::to_string(&crd).unwrap();
            assert!(!text.contains("\"nullable\""), "{text}");
            let version = &crd.spec.versions[0];
            let root = version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
            let properties = root.properties.as_ref().unwrap();
            for part in ["spec", "status"] {
                for (name, property) in properties[part].properties.as_ref().unwrap() {
                    assert!(property.description.is_some(), "{part}.{name} has no description");
                }
            }
        }
    }
}
