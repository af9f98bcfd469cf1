//! Step 1: gathers everything a Topic's reconcile looks at, from stores and feeds. No judgement.

use std::sync::Arc;

use chronik_api::{BrokerCluster, Topic};

use crate::context::{Context, cluster_of};
use crate::feed::Seen;

/// What was found.
pub struct Found {
    pub cluster: Option<Arc<BrokerCluster>>,
    /// Whether all founders of the cluster have registered: before that, too few brokers are known to place replicas.
    pub formed: bool,
    /// Other resources that name the same topic of the same cluster.
    pub rivals: Vec<Arc<Topic>>,
    /// The topic as the brokers see it.
    pub seen: Seen,
}

/// Gathers it. The topic's own store is filled before any reconcile runs; the clusters' may still be filling.
pub async fn dereference(context: &Context, topic: &Topic) -> Found {
    // An error means shutdown, and an empty store is never judged then.
    if context.clusters_filled.clone().wait_for(|filled| *filled).await.is_err() {
        std::future::pending::<()>().await;
    }
    gather(context, topic)
}

/// As above, once the stores are known to be filled.
pub fn gather(context: &Context, topic: &Topic) -> Found {
    let key = cluster_of(topic);
    let seen = context
        .feeds
        .get(&key)
        .map_or(Seen::Pending, |feed| feed.with(|state| state.topic(topic.topic_name())));
    let mut rivals = context.topics.standing_for(&key, topic.topic_name());
    rivals.retain(|other| other.metadata.uid != topic.metadata.uid);
    let cluster = context.cluster(&key);
    let formed = cluster.as_deref().is_some_and(|cluster| is_formed(context, cluster));
    Found { cluster, formed, rivals, seen }
}

/// By the status in the store, or by the one this process wrote a moment ago.
fn is_formed(context: &Context, cluster: &BrokerCluster) -> bool {
    let written = context.status.last_written(cluster.metadata.uid.as_deref().unwrap_or_default());
    cluster.status.as_ref().is_some_and(|status| status.initialised)
        || written.is_some_and(|status| status["initialised"] == true)
}
