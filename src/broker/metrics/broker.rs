//! The broker's inside: syncs, queues, connections, memory of requests, peers, metadata.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result};

use crate::version;

use super::register::{counter, counters, gauge, gauges, histogram, raise, value};

const SYNC_SECONDS: [f64; 13] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];
const GROUP_BYTES: [f64; 8] = [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0];

/// The bounded queues worth watching.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Queue {
    /// Clients' batches for the engine.
    ClientAppends,
    /// Peers' frames for the engine.
    PeerFrames,
    /// Raft's heartbeats and votes for peers.
    PeerControl,
    /// Appends for peers.
    PeerBulk,
}

impl Queue {
    fn name(self) -> &'static str {
        match self {
            Self::ClientAppends => "client_appends",
            Self::PeerFrames => "peer_frames",
            Self::PeerControl => "peer_control",
            Self::PeerBulk => "peer_bulk",
        }
    }
}

/// What became of a request for a permit to stop, or of a permit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum PermitOutcome {
    Granted,
    Blocked,
    TakenBack,
    Begun,
    Closed,
    Aborted,
}

impl PermitOutcome {
    const ALL: [Self; 6] =
        [Self::Granted, Self::Blocked, Self::TakenBack, Self::Begun, Self::Closed, Self::Aborted];

    /// Its label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Blocked => "blocked",
            Self::TakenBack => "taken_back",
            Self::Begun => "begun",
            Self::Closed => "closed",
            Self::Aborted => "aborted",
        }
    }
}

/// See the module.
pub struct BrokerMetrics {
    sync_seconds: Histogram,
    write_group_bytes: Histogram,
    write_failures: IntCounter,
    disk_full: IntGauge,
    disk_bytes: IntGauge,
    disk_free_bytes: IntGauge,
    queue_bytes: IntGaugeVec,
    queue_refusals: IntCounterVec,
    connections: IntGaugeVec,
    connections_opened: IntCounterVec,
    connections_refused: IntCounterVec,
    request_memory: IntGauge,
    request_memory_waits: IntCounter,
    answer_memory: IntGauge,
    answer_memory_waits: IntCounter,
    peers_up: IntGauge,
    peer_bytes: IntCounterVec,
    raft_messages: IntCounterVec,
    learner_bytes: IntCounter,
    metadata_applied: IntGauge,
    metadata_leader: IntGauge,
    permits_open: IntGauge,
    permits: IntCounterVec,
}

/// The connections of one listener.
#[derive(Clone)]
pub struct ListenerMetrics {
    open: IntGauge,
    opened: IntCounter,
    refused: IntCounter,
}

/// An open connection, until it is dropped.
pub struct OpenConnection(IntGauge);

/// What requests or answers under way take of the memory they may take.
#[derive(Clone)]
pub struct MemoryMetrics {
    pub(crate) taken: IntGauge,
    pub(crate) waits: IntCounter,
}

impl BrokerMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        let build = gauges(r, "chronik_build_info", &["version"], "Always 1; its label names the build.")?;
        build.with_label_values(&[version::NAME]).set(1);
        let permits = counters(
            r,
            "chronik_permits_total",
            &["outcome"],
            "What became of permits to stop and of requests for one, counted by the metadata leader.",
        )?;
        PermitOutcome::ALL.iter().for_each(|outcome| permits.with_label_values(&[outcome.name()]).reset());
        Ok(Self {
            permits,
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
            write_failures: counter(
                r,
                "chronik_log_write_failures_total",
                "Write groups of the log that could not be written or synced.",
            )?,
            disk_full: gauge(
                r,
                "chronik_log_disk_full",
                "1 while the log has no room: this broker takes no records and gives its leaderships away.",
            )?,
            disk_bytes: gauge(
                r,
                "chronik_disk_bytes",
                "Size of the file system with the data folder, in bytes.",
            )?,
            disk_free_bytes: gauge(
                r,
                "chronik_disk_free_bytes",
                "Bytes of that file system that this broker may still use.",
            )?,
            queue_bytes: gauges(r, "chronik_queue_bytes", &["queue"], "Bytes that wait in a queue.")?,
            queue_refusals: counters(
                r,
                "chronik_queue_refusals_total",
                &["queue"],
                "Items a full queue refused, or one whose connection was gone.",
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
                "Connections closed at once because too many were open, altogether or from their address.",
            )?,
            request_memory: gauge(
                r,
                "chronik_request_memory_bytes",
                "Bytes of requests that are being read or carried out; max-request-memory-bytes is the limit.",
            )?,
            request_memory_waits: counter(
                r,
                "chronik_request_memory_waits_total",
                "Requests that were not read at once because the limit was used up.",
            )?,
            answer_memory: gauge(
                r,
                "chronik_answer_memory_bytes",
                "Bytes of answers that are being made or written; max-answer-memory-bytes is the limit.",
            )?,
            answer_memory_waits: counter(
                r,
                "chronik_answer_memory_waits_total",
                "Answers that were not made at once because the limit was used up.",
            )?,
            peers_up: gauge(r, "chronik_peers_up", "Other brokers this one hears from.")?,
            peer_bytes: counters(
                r,
                "chronik_peer_bytes_total",
                &["lane", "direction"],
                "Bytes exchanged with other brokers.",
            )?,
            raft_messages: counters(
                r,
                "chronik_raft_messages_sent_total",
                &["group"],
                "Raft messages sent to other brokers, for the metadata group and for all partitions.",
            )?,
            learner_bytes: counter(
                r,
                "chronik_learner_bytes_sent_total",
                "Bytes of entries sent to new replicas that catch up; reassignment-throttle-bytes-per-second limits them.",
            )?,
            metadata_applied: gauge(r, "chronik_metadata_applied_index", "Metadata log index applied here.")?,
            metadata_leader: gauge(
                r,
                "chronik_metadata_leader",
                "1 on the leader of the metadata group, 0 elsewhere.",
            )?,
            permits_open: gauge(
                r,
                "chronik_permits_open",
                "Permits to stop that are open, as applied here.",
            )?,
        })
    }

    /// A write group of that many bytes was written and synced.
    pub fn synced(&self, took: Duration, bytes: usize) {
        self.sync_seconds.observe(took.as_secs_f64());
        self.write_group_bytes.observe(bytes as f64);
    }

    /// A write group could not be written or synced; `full` if only for want of room.
    pub fn write_failed(&self, full: bool) {
        self.write_failures.inc();
        if full {
            self.set_disk_full(true);
        }
    }

    /// Whether there is no room for more than what must be written.
    pub fn set_disk_full(&self, full: bool) {
        self.disk_full.set(full.into());
    }

    /// Size of the file system with the data, and what is free of it, in bytes.
    pub fn set_disk(&self, size: u64, free: u64) {
        self.disk_bytes.set(value(size));
        self.disk_free_bytes.set(value(free));
    }

    /// Bytes that wait in a queue now, and what it has refused since the start.
    pub fn set_queue(&self, queue: Queue, bytes: usize, refused: u64) {
        let labels = [queue.name()];
        self.queue_bytes.with_label_values(&labels).set(value(bytes));
        raise(&self.queue_refusals.with_label_values(&labels), refused);
    }

    /// The series of a listener.
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        ListenerMetrics {
            open: self.connections.with_label_values(&[name]),
            opened: self.connections_opened.with_label_values(&[name]),
            refused: self.connections_refused.with_label_values(&[name]),
        }
    }

    /// The series of the requests' memory.
    pub fn request_memory(&self) -> MemoryMetrics {
        MemoryMetrics { taken: self.request_memory.clone(), waits: self.request_memory_waits.clone() }
    }

    /// The series of the answers' memory.
    pub fn answer_memory(&self) -> MemoryMetrics {
        MemoryMetrics { taken: self.answer_memory.clone(), waits: self.answer_memory_waits.clone() }
    }

    /// Other brokers this one hears from.
    pub fn set_peers_up(&self, count: usize) {
        self.peers_up.set(value(count));
    }

    /// Bytes sent to and received from other brokers since the start.
    pub fn set_peer_bytes(&self, lane: &str, sent: u64, received: u64) {
        raise(&self.peer_bytes.with_label_values(&[lane, "sent"]), sent);
        raise(&self.peer_bytes.with_label_values(&[lane, "received"]), received);
    }

    /// Bytes of entries sent to learners since the start.
    pub fn set_learner_bytes(&self, bytes: u64) {
        raise(&self.learner_bytes, bytes);
    }

    /// Raft messages sent since the start.
    pub fn set_raft_messages(&self, metadata: u64, partitions: u64) {
        raise(&self.raft_messages.with_label_values(&["metadata"]), metadata);
        raise(&self.raft_messages.with_label_values(&["partitions"]), partitions);
    }

    /// What became of a permit to stop.
    pub fn permit(&self, outcome: PermitOutcome) {
        self.permits.with_label_values(&[outcome.name()]).inc();
    }

    /// Permits to stop that are open.
    pub fn set_permits_open(&self, count: usize) {
        self.permits_open.set(value(count));
    }

    /// How far metadata is applied here, and whether this broker leads its group.
    pub fn set_metadata(&self, applied: u64, leads: bool) {
        self.metadata_applied.set(value(applied));
        self.metadata_leader.set(leads.into());
    }
}

impl ListenerMetrics {
    /// A connection was accepted.
    pub fn opened(&self) -> OpenConnection {
        self.opened.inc();
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    /// A connection was closed at once because too many were open.
    pub fn refused(&self) {
        self.refused.inc();
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
