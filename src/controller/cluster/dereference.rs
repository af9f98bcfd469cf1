//! Step 1: reads everything a BrokerCluster's reconcile looks at. I/O only, no judgement.

use std::time::Duration;

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
    /// How long ago one of them said so.
    pub report_age: Option<Duration>,
    /// The broker that did, by its admin listener.
    pub source: Option<String>,
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
    let found = Found { stateful_set, claims: claims.items, pods: pods.items, ..Found::default() };
    let Some(feed) = context.feeds.get(key) else { return Ok(found) };
    Ok(feed.with(|state| Found {
        settled: state.is_settled(),
        report: state.cluster().cloned(),
        report_age: state.cluster_age(),
        source: state.source().map(str::to_owned),
        foreign: state.foreign().map(str::to_owned),
        ..found
    }))
}

fn selector(cluster: &str) -> String {
    let pairs: Vec<String> =
        broker_selector(cluster).iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}
