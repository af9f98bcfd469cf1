//! The settings as Kafka's broker configs, for DescribeConfigs. Reads only.

use chronik_core::config::{BrokerValue, BrokerValues};
use chronik_core::ids::BrokerId;

use super::{ListenerSettings, Settings};

impl Settings {
    /// Each broker config with its value and whether somebody set it.
    pub fn broker_values(&self, broker: BrokerId) -> BrokerValues {
        let id = broker.to_string();
        // Config, its value, and the setting behind it: "" where none is.
        let values: Vec<(&'static str, String, &str)> = vec![
            ("advertised.listeners", self.addresses(|l| l.advertised.to_string()), "advertised-listener"),
            ("auto.create.topics.enable", "false".into(), ""),
            ("broker.id", id.clone(), ""),
            ("broker.rack", self.rack.clone().unwrap_or_default(), "rack"),
            ("chronik.admin.listener", self.admin_bind.to_string(), "admin-listener"),
            ("chronik.election.timeout.ms", self.raft.election_ms.to_string(), "raft-election-ms"),
            ("chronik.heartbeat.interval.ms", self.raft.heartbeat_ms.to_string(), "raft-heartbeat-ms"),
            (
                "chronik.isr.check.interval.ms",
                self.isr.check_interval_ms.to_string(),
                "isr-check-interval-ms",
            ),
            (
                "chronik.answer.memory.bytes",
                self.clients.max_answer_memory_bytes.to_string(),
                "max-answer-memory-bytes",
            ),
            (
                "chronik.journal.reserve.bytes",
                self.journal_reserve_bytes.to_string(),
                "journal-reserve-bytes",
            ),
            (
                "chronik.journal.segment.bytes",
                self.journal_segment_bytes.to_string(),
                "journal-segment-bytes",
            ),
            (
                "chronik.metadata.snapshot.entries",
                self.metadata_snapshot_entries.to_string(),
                "metadata-snapshot-entries",
            ),
            (
                "chronik.metrics.per.partition",
                self.metrics_per_partition.to_string(),
                "metrics-per-partition",
            ),
            ("chronik.peer.listener", self.peer_bind.to_string(), "peer-listener"),
            ("chronik.peer.silence.timeout.ms", self.peer_silence.as_millis().to_string(), "peer-silence-ms"),
            (
                "chronik.reassignment.throttle.bytes.per.second",
                self.reassignment_bytes_per_second.to_string(),
                "reassignment-throttle-bytes-per-second",
            ),
            (
                "chronik.requests.in.flight",
                self.clients.max_requests_per_connection.to_string(),
                "max-requests-per-connection",
            ),
            (
                "connections.max.idle.ms",
                self.clients.connection_idle.as_millis().to_string(),
                "connection-idle-seconds",
            ),
            ("controlled.shutdown.enable", "true".into(), ""),
            (
                "default.replication.factor",
                self.default_replication_factor.to_string(),
                "default-replication-factor",
            ),
            ("delete.topic.enable", "true".into(), ""),
            ("listeners", self.addresses(|l| l.bind.to_string()), "listener"),
            ("log.dirs", self.data_dir.display().to_string(), "data-dir"),
            ("max.connections", self.clients.max_connections.to_string(), "max-connections"),
            (
                "max.connections.per.ip",
                self.clients.max_connections_per_ip.to_string(),
                "max-connections-per-ip",
            ),
            ("message.max.bytes", self.max_message_bytes.to_string(), "max-message-bytes"),
            ("min.insync.replicas", self.min_insync_replicas.to_string(), "min-insync-replicas"),
            ("node.id", id, ""),
            ("num.partitions", self.default_partitions.to_string(), "default-partitions"),
            (
                "queued.max.request.bytes",
                self.clients.max_request_memory_bytes.to_string(),
                "max-request-memory-bytes",
            ),
            ("replica.lag.max.entries", self.isr.max_lag_entries.to_string(), "isr-max-lag-entries"),
            ("replica.lag.time.max.ms", self.isr.max_lag_ms.to_string(), "isr-max-lag-ms"),
            ("socket.request.max.bytes", self.clients.max_request_bytes.to_string(), "max-request-bytes"),
            ("unclean.leader.election.enable", "false".into(), ""),
        ];
        let shown = |(name, value, setting)| (name, BrokerValue { value, set: self.set.contains(setting) });
        values.into_iter().map(shown).collect()
    }

    fn addresses(&self, address: impl Fn(&ListenerSettings) -> String) -> String {
        let entries: Vec<String> =
            self.listeners.iter().map(|l| format!("{}://{}", l.name, address(l))).collect();
        entries.join(",")
    }
}
