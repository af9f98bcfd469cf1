//! What every reconciler is given: clients, stores, feeds and the settings of this process. No logic.

use std::sync::Arc;

use chronik_api::{BrokerCluster, Topic};
use kube::Client;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::watch;

use crate::broker_client::BrokerClient;
use crate::cluster::rollout::journal::Journals;
use crate::dirty::Dirty;
use crate::events::Events;
use crate::feed::{ClusterKey, Feeds};
use crate::metrics::Metrics;
use crate::status_writer::StatusWriter;
use crate::topics::Topics;

/// Where a broker's admin listener is, given the cluster and the broker's id.
pub type AdminAddress = Arc<dyn Fn(&ClusterKey, u32) -> String + Send + Sync>;

/// Shared by all reconciles.
pub struct Context {
    pub client: Client,
    pub brokers: BrokerClient,
    pub feeds: Feeds,
    pub clusters: Store<BrokerCluster>,
    /// Whether that store holds everything there is: before, a cluster that is missing there may exist.
    pub clusters_filled: watch::Receiver<bool>,
    pub topics: Topics,
    /// Topics to reconcile again.
    pub dirty_topics: Arc<Dirty<ObjectRef<Topic>>>,
    pub status: Arc<StatusWriter>,
    pub events: Arc<Events>,
    pub metrics: Arc<Metrics>,
    pub applied: crate::apply::Applied,
    /// What rollouts decided.
    pub journals: Journals,
    pub settings: Settings,
    pub admin_address: AdminAddress,
}

/// Settings of this process that end up in what it builds.
#[derive(Clone, Debug)]
pub struct Settings {
    pub broker_image: String,
    pub cluster_domain: String,
}

impl Context {
    /// The cluster of that key, from the store.
    pub fn cluster(&self, key: &ClusterKey) -> Option<Arc<BrokerCluster>> {
        self.clusters.get(&ObjectRef::new(&key.name).within(&key.namespace))
    }
}

/// The cluster a topic refers to.
pub fn cluster_of(topic: &Topic) -> ClusterKey {
    ClusterKey {
        namespace: topic.metadata.namespace.clone().unwrap_or_default(),
        name: topic.spec.cluster_ref.name.clone(),
    }
}
