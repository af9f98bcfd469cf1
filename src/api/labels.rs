//! Labels, annotations and finalizers this project puts on Kubernetes objects. Names only.

use std::collections::BTreeMap;

/// Field manager of every server-side apply.
pub const FIELD_MANAGER: &str = "chronik-operator";

/// Holds a deleted `Topic` until its data has been dealt with.
pub const TOPIC_FINALIZER: &str = "chronik.dev/topic";

/// Label: the `BrokerCluster` an object belongs to.
pub const CLUSTER: &str = "chronik.dev/cluster";

/// Label of a PersistentVolumeClaim: id of the cluster whose data it holds.
pub const CLUSTER_ID: &str = "chronik.dev/cluster-id";

/// Annotation of a PersistentVolumeClaim: how many brokers were the first metadata voters.
pub const INITIAL_VOTERS: &str = "chronik.dev/initial-voters";

/// Annotation of a PersistentVolumeClaim: `true` once the cluster was formed. From then on an empty disk joins.
pub const INITIALISED: &str = "chronik.dev/initialised";

/// Annotation of a broker pod: hash over what it must be restarted for.
pub const RESTART_HASH: &str = "chronik.dev/restart-hash";

/// Annotation of a broker pod: seconds that its stop may wait until partitions can spare the broker.
pub const STOP_WAIT: &str = "chronik.dev/stop-wait-seconds";

/// Annotation of a broker pod: the rack it stands in, by its node's label.
pub const RACK: &str = "chronik.dev/rack";

/// Annotation of a broker pod that a person sets: `true` restarts it once the brokers let it go.
pub const RESTART: &str = "chronik.dev/restart";

/// Annotation of a broker pod that a person sets: the pod's own UID lets it restart although partitions become
/// unavailable. It is for that very pod: the next one of its name is gated again.
pub const ALLOW_UNAVAILABLE: &str = "chronik.dev/allow-unavailable";

/// Label: the application.
pub const APP_NAME: &str = "app.kubernetes.io/name";

/// Label: the part of the application.
pub const COMPONENT: &str = "app.kubernetes.io/component";

/// Label: who manages the object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What selects the brokers (and their volume claims) of one cluster. It may never change: a StatefulSet's
/// selector is immutable.
pub fn broker_selector(cluster: &str) -> BTreeMap<String, String> {
    [(APP_NAME, "chronik"), (COMPONENT, "broker"), (CLUSTER, cluster)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Labels of every object the operator makes for a cluster.
pub fn broker_labels(cluster: &str) -> BTreeMap<String, String> {
    let mut labels = broker_selector(cluster);
    labels.insert(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned());
    labels
}
