//! Who reads: a consumer that names its rack may read from an in-sync replica there (KIP-392). Any other reads from leaders.

use chronik_core::ids::BrokerId;
use kafka_protocol::messages::FetchRequest;

use super::super::backend::{Backend, ReplicaHandle};
use super::super::endpoints;
use crate::server::RequestContext;

/// First version in which a consumer names its rack.
const RACKS_FROM: i16 = 11;

/// A consumer with a rack.
pub(super) struct Reader {
    /// Brokers in that rack that it can reach; none if this broker is in it.
    nearer: Vec<BrokerId>,
}

impl Reader {
    /// The consumer behind a request, if it names its rack.
    pub(super) fn of(
        backend: &dyn Backend,
        context: &RequestContext,
        request: &FetchRequest,
    ) -> Option<Self> {
        let rack = request.rack_id.as_str();
        if context.api_version < RACKS_FROM || rack.is_empty() {
            return None;
        }
        let cluster = backend.cluster();
        let own = cluster.broker(backend.broker_id()).and_then(|broker| broker.rack.as_deref());
        if own == Some(rack) {
            return Some(Self { nearer: Vec::new() });
        }
        let nearer = cluster
            .brokers()
            .filter(|broker| broker.rack.as_deref() == Some(rack))
            .filter(|broker| endpoints::of(backend, &cluster, broker.id, &context.listener).is_some())
            .map(|broker| broker.id);
        Some(Self { nearer: nearer.collect() })
    }

    /// The replica that this consumer should turn to, if the leader knows a better one than itself.
    pub(super) fn better_replica(&self, leader: &dyn ReplicaHandle) -> Option<BrokerId> {
        if self.nearer.is_empty() {
            return None;
        }
        leader.readable_followers().into_iter().find(|broker| self.nearer.contains(broker))
    }
}
