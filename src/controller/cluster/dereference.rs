//! Step 1: reads everything a BrokerCluster's reconcile looks at. I/O only, no judgement.

use chronik_api::BrokerCluster;
use chronik_api::labels::broker_selector;
use chronik_core::view::ClusterReport;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::ListParams;

use super::error::Error;
use super::names;
use crate::context::Context;
use crate::feed::ClusterKey;

/// What was found.
#[derive(Default)]
pub struct Found {
    pub stateful_set: Option<StatefulSet>,
    /// Volume claims with this cluster's labels, also those an earlier resource of this name left behind.
    pub claims: Vec<PersistentVolumeClaim>,
    pub pods: Vec<Pod>,
    /// Whether the brokers were asked long enough to say that none answers.
    pub settled: bool,
    /// The cluster as its brokers see it.
    pub report: Option<ClusterReport>,
    /// Id of a foreign cluster that answers at the brokers' addresses.
    pub foreign: Option<String>,
}

/// Reads it.
pub async fn dereference(
    context: &Context,
    cluster: &BrokerCluster,
    key: &ClusterKey,
) -> Result<Found, Error> {
    let uid = cluster.metadata.uid.as_deref().unwrap_or_default();
    let client = &context.client;
    let brokers = ListParams::default().labels(&selector(&key.name));
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &key.namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &key.namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), &key.namespace);
    let set_name = names::stateful_set(&key.name);
    let (stateful_set, claims, pods) = tokio::try_join!(
        async { sets.get_opt(&set_name).await.map_err(|e| Error::kubernetes("read the StatefulSet", e)) },
        async { claims.list(&brokers).await.map_err(|e| Error::kubernetes("list volume claims", e)) },
        async { pods.list(&brokers).await.map_err(|e| Error::kubernetes("list pods", e)) },
    )?;
    if stateful_set.is_none() {
        context.applied.forget(uid);
    }
    let feed = context.feeds.get(key);
    let (settled, report, foreign) = feed.map_or((false, None, None), |feed| {
        feed.with(|state| (state.is_settled(), state.cluster().cloned(), state.foreign().map(str::to_owned)))
    });
    Ok(Found { stateful_set, claims: claims.items, pods: pods.items, settled, report, foreign })
}

fn selector(cluster: &str) -> String {
    let pairs: Vec<String> =
        broker_selector(cluster).iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}
