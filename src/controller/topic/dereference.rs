//! Step 1: gathers everything a Topic's reconcile looks at, from stores and feeds. No judgement, and no waiting.

use std::sync::Arc;

use chronik_api::{BrokerCluster, Topic};

use crate::context::{Context, cluster_of};
use crate::feed::Seen;

/// What was found.
pub struct Found {
    pub cluster: Option<Arc<BrokerCluster>>,
    /// Other resources that name the same topic of the same cluster.
    pub rivals: Vec<Arc<Topic>>,
    /// The topic as the brokers see it.
    pub seen: Seen,
}

/// Gathers it.
pub fn dereference(context: &Context, topic: &Topic) -> Found {
    let key = cluster_of(topic);
    let seen = context
        .feeds
        .get(&key)
        .map_or(Seen::Unreachable, |feed| feed.with(|state| state.topic(topic.topic_name())));
    let is_rival = |other: &Topic| {
        other.metadata.uid != topic.metadata.uid
            && cluster_of(other) == key
            && other.topic_name() == topic.topic_name()
    };
    let rivals = context.topics.state().into_iter().filter(|other| is_rival(other)).collect();
    Found { cluster: context.cluster(&key), rivals, seen }
}
