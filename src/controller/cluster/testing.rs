//! Test support: minimal YAML in, the real types out.

use chronik_api::BrokerCluster;
use chronik_api::labels::{CLUSTER_ID, broker_labels};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::context::Settings;

/// A BrokerCluster called demo in namespace shop with UID `uid-1`.
pub fn cluster(spec: &str) -> BrokerCluster {
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let text = format!(
        "apiVersion: chronik.dev/v1alpha1\nkind: BrokerCluster\nmetadata: {{name: demo, namespace: shop, uid: uid-1, \
         generation: 4}}\nspec:\n{indented}"
    );
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Settings as the chart gives them.
pub fn settings() -> Settings {
    Settings {
        broker_image: "docker.io/chronik/chronik:dev".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
    }
}

/// A volume claim of that cluster, with data of the cluster `id`.
pub fn claim(name: &str, id: &str) -> PersistentVolumeClaim {
    let mut claim = PersistentVolumeClaim::default();
    claim.metadata.name = Some(name.to_owned());
    let mut labels = broker_labels("demo");
    labels.insert(CLUSTER_ID.to_owned(), id.to_owned());
    claim.metadata.labels = Some(labels);
    claim
}
