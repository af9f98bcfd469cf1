//! What the brokers of each cluster say, kept current: one feed per BrokerCluster. Read `follow.rs` for how.
//!
//! Reconcilers read feeds, they never wait for one. What a feed no longer hears is unknown, not "as before".

mod choose;
mod follow;
mod state;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::broker_client::BrokerClient;
use crate::metrics::Metrics;

#[cfg(test)]
pub(crate) use choose::tests;
pub use state::{FeedState, Seen};

/// Namespace and name of a BrokerCluster.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClusterKey {
    pub namespace: String,
    pub name: String,
}

impl std::fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whom a feed may ask, and about which cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedSpec {
    /// `host:port` of each broker's admin listener.
    pub brokers: Vec<String>,
    /// A broker of another cluster is not believed.
    pub cluster_id: String,
}

/// What changed in a feed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Brokers, their life, or partition totals.
    Cluster,
    /// One topic.
    Topic(String),
    /// All topics: the feed was found or lost.
    AllTopics,
}

/// Told of every change, from the feed's task.
pub type OnChange = Arc<dyn Fn(&ClusterKey, Change) + Send + Sync>;

/// One cluster's feed.
pub struct Feed {
    key: ClusterKey,
    state: Mutex<FeedState>,
    on_change: OnChange,
    metrics: Arc<Metrics>,
}

impl Feed {
    /// Reads or changes what is known.
    pub fn with<T>(&self, work: impl FnOnce(&mut FeedState) -> T) -> T {
        work(&mut self.state.lock())
    }

    fn changed(&self, change: Change) {
        (self.on_change)(&self.key, change);
    }
}

struct Running {
    feed: Arc<Feed>,
    spec: watch::Sender<FeedSpec>,
    stop: CancellationToken,
}

/// All feeds.
pub struct Feeds {
    client: BrokerClient,
    metrics: Arc<Metrics>,
    on_change: OnChange,
    stop: CancellationToken,
    running: Mutex<HashMap<ClusterKey, Running>>,
}

impl Feeds {
    /// No feed yet. All end with `stop`.
    pub fn new(
        client: BrokerClient,
        metrics: Arc<Metrics>,
        on_change: OnChange,
        stop: CancellationToken,
    ) -> Self {
        Self { client, metrics, on_change, stop, running: Mutex::default() }
    }

    /// Starts the cluster's feed, or tells it what its spec is now.
    pub fn ensure(&self, key: &ClusterKey, spec: FeedSpec) {
        let mut running = self.running.lock();
        if let Some(present) = running.get(key) {
            present.spec.send_if_modified(|now| {
                let differs = *now != spec;
                *now = spec;
                differs
            });
            return;
        }
        let feed = Arc::new(Feed {
            key: key.clone(),
            state: Mutex::default(),
            on_change: self.on_change.clone(),
            metrics: self.metrics.clone(),
        });
        let (sender, receiver) = watch::channel(spec);
        let stop = self.stop.child_token();
        let task = follow::run(feed.clone(), self.client.clone(), receiver);
        tokio::spawn(stop.clone().run_until_cancelled_owned(task));
        running.insert(key.clone(), Running { feed: feed.clone(), spec: sender, stop });
        drop(running);
        // Until now there was no such cluster for them.
        feed.changed(Change::AllTopics);
    }

    /// The cluster's feed, if there is one.
    pub fn get(&self, key: &ClusterKey) -> Option<Arc<Feed>> {
        self.running.lock().get(key).map(|running| running.feed.clone())
    }

    /// Ends every feed whose cluster is not to be kept, and names them.
    pub fn retain(&self, keep: impl Fn(&ClusterKey) -> bool) -> Vec<ClusterKey> {
        let mut ended = Vec::new();
        self.running.lock().retain(|key, running| {
            let kept = keep(key);
            if !kept {
                running.stop.cancel();
                self.metrics.forget_cluster(&key.namespace, &key.name);
                ended.push(key.clone());
            }
            kept
        });
        ended
    }
}
