//! The broker's metrics, on `/metrics`. Drivers write them by plain calls, where something happens or, for what stands
//! elsewhere anyway, at each scrape (`admin_backend.rs`); nothing here decides anything. What nobody feeds is not here.
//!
//! `partitions.rs` has what is said about partitions, the seed's four series among them; `requests.rs` what clients
//! see; `broker.rs` the broker's inside: syncs, queues, connections, peers.

mod broker;
mod partitions;
mod register;
mod requests;

use prometheus::{Registry, TextEncoder};

pub use broker::{BrokerMetrics, ListenerMetrics, MemoryMetrics, OpenConnection, PermitOutcome, Queue};
pub use partitions::{LedPartition, PartitionMetrics};
pub use requests::{ApiMetrics, RequestMetrics, Timed};

/// Media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Every metric of one broker.
pub struct Metrics {
    registry: Registry,
    pub partitions: PartitionMetrics,
    pub requests: RequestMetrics,
    pub broker: BrokerMetrics,
}

impl Metrics {
    /// With one series per partition, or with totals only.
    pub fn new(per_partition: bool) -> prometheus::Result<Self> {
        let registry = Registry::new();
        Ok(Self {
            partitions: PartitionMetrics::new(&registry, per_partition)?,
            requests: RequestMetrics::new(&registry)?,
            broker: BrokerMetrics::new(&registry)?,
            registry,
        })
    }

    /// Everything as Prometheus reads it.
    pub fn render(&self) -> prometheus::Result<String> {
        self.partitions.filled(|| TextEncoder::new().encode_to_string(&self.registry.gather()))
    }
}

#[cfg(test)]
mod tests;
