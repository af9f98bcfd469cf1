//! Which brokers a client is told of, and where: at the listener through which it asked.

use std::sync::Arc;

use chronik_core::ids::{BrokerId, Term};
use chronik_core::metadata::{Broker, ClusterState, Listener};
use kafka_protocol::messages;
use kafka_protocol::protocol::StrBytes;

use super::backend::Backend;

/// No broker, in Kafka's numbers.
pub(super) const NOBODY: messages::BrokerId = messages::BrokerId(-1);

/// A broker's number as Kafka writes it.
pub(super) fn node_id(broker: BrokerId) -> messages::BrokerId {
    messages::BrokerId(i32::try_from(broker.0).unwrap_or(i32::MAX))
}

/// An epoch as Kafka writes it; 0, before the first leader, is -1.
pub(super) fn epoch(term: Term) -> i32 {
    match term {
        0 => -1,
        term => i32::try_from(term).unwrap_or(i32::MAX),
    }
}

/// A broker that can be reached through a listener.
pub(super) struct Endpoint {
    broker: Arc<Broker>,
    listener: Listener,
}

impl Endpoint {
    pub(super) fn node(&self) -> messages::BrokerId {
        node_id(self.broker.id)
    }

    pub(super) fn host(&self) -> StrBytes {
        StrBytes::from_string(self.listener.host.clone())
    }

    pub(super) fn port(&self) -> i32 {
        i32::from(self.listener.port)
    }

    pub(super) fn rack(&self) -> Option<StrBytes> {
        self.broker.rack.clone().map(StrBytes::from_string)
    }
}

/// Every broker that clients are told of and that has that listener, ascending.
pub(super) fn listed(backend: &dyn Backend, cluster: &ClusterState, listener: &str) -> Vec<Endpoint> {
    let listed = cluster.brokers().filter(|broker| backend.is_listed(broker.id));
    listed.filter_map(|broker| at(broker, listener)).collect()
}

/// Where one broker is reached, if it is alive and has that listener.
pub(super) fn of(
    backend: &dyn Backend,
    cluster: &ClusterState,
    broker: BrokerId,
    listener: &str,
) -> Option<Endpoint> {
    cluster.broker(broker).filter(|_| backend.is_alive(broker)).and_then(|broker| at(broker, listener))
}

fn at(broker: &Arc<Broker>, listener: &str) -> Option<Endpoint> {
    let listener = broker.listener(listener)?.clone();
    Some(Endpoint { broker: broker.clone(), listener })
}

/// The broker named as controller. Any takes admin requests, but one that is cut off lists others which it does not hear.
pub(super) fn controller(backend: &dyn Backend, endpoints: &[Endpoint]) -> messages::BrokerId {
    let listed: Vec<BrokerId> = endpoints.iter().map(|endpoint| endpoint.broker.id).collect();
    choose_controller(backend.metadata_leader(), backend.broker_id(), &listed).map_or(NOBODY, node_id)
}

/// The metadata leader, else the broker that answers, which surely lives, else any: of those that clients are told of.
fn choose_controller(leader: Option<BrokerId>, own: BrokerId, listed: &[BrokerId]) -> Option<BrokerId> {
    let preferred = leader.into_iter().chain([own]).find(|broker| listed.contains(broker));
    preferred.or_else(|| listed.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_survivor_names_itself_and_not_a_broker_it_does_not_hear() {
        let listed = [1, 2, 3].map(BrokerId);
        assert_eq!(choose_controller(None, BrokerId(3), &listed), Some(BrokerId(3)));
        assert_eq!(choose_controller(Some(BrokerId(2)), BrokerId(3), &listed), Some(BrokerId(2)));
        assert_eq!(choose_controller(Some(BrokerId(9)), BrokerId(3), &listed), Some(BrokerId(3)));
        assert_eq!(choose_controller(None, BrokerId(9), &listed), Some(BrokerId(1)));
        assert_eq!(choose_controller(None, BrokerId(3), &[]), None);
    }
}
