//! The broker's inside: syncs, queues, connections, peers, metadata.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result};

use super::register::{counter, counters, gauge, gauges, histogram, value};

const SYNC_SECONDS: [f64; 13] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];
const GROUP_BYTES: [f64; 8] = [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0];

/// The bounded queues worth watching.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Queue {
    /// Events for the engine.
    Engine,
    /// Writes for the log.
    Log,
    /// Raft's heartbeats and votes for peers.
    PeerControl,
    /// Appends for peers.
    PeerBulk,
}

impl Queue {
    fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Log => "log",
            Self::PeerControl => "peer_control",
            Self::PeerBulk => "peer_bulk",
        }
    }
}

/// See the module.
pub struct BrokerMetrics {
    sync_seconds: Histogram,
    write_group_bytes: Histogram,
    sync_failures: IntCounter,
    queue_depth: IntGaugeVec,
    queue_refusals: IntCounterVec,
    connections: IntGaugeVec,
    connections_opened: IntCounterVec,
    connections_refused: IntCounterVec,
    peers_up: IntGauge,
    metadata_applied: IntGauge,
    metadata_leader: IntGauge,
}

impl BrokerMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        let build = gauges(r, "chronik_build_info", &["version"], "Always 1; its label names the build.")?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            sync_seconds: histogram(
                r,
                "chronik_log_sync_duration_seconds",
                &SYNC_SECONDS,
                "Time of one sync of the log; the count is the number of syncs.",
            )?,
            write_group_bytes: histogram(
                r,
                "chronik_log_write_group_bytes",
                &GROUP_BYTES,
                "Bytes that one sync made durable, over all partitions.",
            )?,
            sync_failures: counter(
                r,
                "chronik_log_write_failures_total",
                "Writes or syncs of the log that failed.",
            )?,
            queue_depth: gauges(r, "chronik_queue_depth", &["queue"], "Items that wait in a queue.")?,
            queue_refusals: counters(
                r,
                "chronik_queue_refusals_total",
                &["queue"],
                "Items a full queue refused.",
            )?,
            connections: gauges(r, "chronik_connections", &["listener"], "Connections that are open.")?,
            connections_opened: counters(
                r,
                "chronik_connections_opened_total",
                &["listener"],
                "Connections that were accepted.",
            )?,
            connections_refused: counters(
                r,
                "chronik_connections_refused_total",
                &["listener"],
                "Connections closed at once because too many were open.",
            )?,
            peers_up: gauge(r, "chronik_peers_up", "Other brokers this one hears from.")?,
            metadata_applied: gauge(r, "chronik_metadata_applied_index", "Metadata log index applied here.")?,
            metadata_leader: gauge(
                r,
                "chronik_metadata_leader",
                "1 on the leader of the metadata group, 0 elsewhere.",
            )?,
        })
    }

    /// A write group of that many bytes was written and synced.
    pub fn synced(&self, took: Duration, bytes: usize) {
        self.sync_seconds.observe(took.as_secs_f64());
        self.write_group_bytes.observe(bytes as f64);
    }

    /// A write or sync failed.
    pub fn write_failed(&self) {
        self.sync_failures.inc();
    }

    /// Items that wait in a queue now.
    pub fn set_queue_depth(&self, queue: Queue, items: usize) {
        self.queue_depth.with_label_values(&[queue.name()]).set(value(items));
    }

    /// A full queue refused an item.
    pub fn queue_refused(&self, queue: Queue) {
        self.queue_refusals.with_label_values(&[queue.name()]).inc();
    }

    /// A connection was accepted on a listener.
    pub fn connection_opened(&self, listener: &str) {
        self.connections.with_label_values(&[listener]).inc();
        self.connections_opened.with_label_values(&[listener]).inc();
    }

    /// It is closed.
    pub fn connection_closed(&self, listener: &str) {
        self.connections.with_label_values(&[listener]).dec();
    }

    /// A connection was closed at once because too many were open.
    pub fn connection_refused(&self, listener: &str) {
        self.connections_refused.with_label_values(&[listener]).inc();
    }

    /// Other brokers this one hears from.
    pub fn set_peers_up(&self, count: usize) {
        self.peers_up.set(value(count));
    }

    /// How far metadata is applied here, and whether this broker leads its group.
    pub fn set_metadata(&self, applied: u64, leads: bool) {
        self.metadata_applied.set(value(applied));
        self.metadata_leader.set(leads.into());
    }
}
