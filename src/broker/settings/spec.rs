//! The table of settings: one entry each. Names become flags, `CHRONIK_` variables and keys of the file.

use chronik_core::config::MAX_MESSAGE_BYTES_LIMIT;

/// One setting.
pub(super) struct Spec {
    /// Flag without dashes: `isr-max-lag-ms`.
    pub(super) name: &'static str,
    /// What stands for its value in the help.
    pub(super) value: &'static str,
    /// Heading in the help.
    pub(super) group: &'static str,
    /// `None`: required, or derived from others.
    pub(super) default: Option<&'static str>,
    /// What a number may be.
    pub(super) range: Option<(u64, u64)>,
    pub(super) help: &'static str,
}

impl Spec {
    /// `CHRONIK_ISR_MAX_LAG_MS`.
    pub(super) fn env(&self) -> String {
        format!("CHRONIK_{}", self.name.replace('-', "_").to_ascii_uppercase())
    }

    /// `isr_max_lag_ms`.
    pub(super) fn file_key(&self) -> String {
        self.name.replace('-', "_")
    }
}

/// The setting of that name; names are this module's own constants.
pub(super) fn spec(name: &str) -> &'static Spec {
    SPECS
        .iter()
        .find(|spec| spec.name == name)
        .unwrap_or_else(|| panic!("setting {name} is not in the table"))
}

const fn text(
    group: &'static str,
    name: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Spec {
    Spec { name, value, group, default, range: None, help }
}

const fn number(
    group: &'static str,
    name: &'static str,
    value: &'static str,
    default: &'static str,
    range: (u64, u64),
    help: &'static str,
) -> Spec {
    Spec { name, value, group, default: Some(default), range: Some(range), help }
}

const BASICS: &str = "Data";
const ADDRESSES: &str = "Addresses";
const REPLICAS: &str = "In-sync replicas (topics may override all but the interval)";
const TOPICS: &str = "Topics (created on request only: a client's first produce never creates one)";
const CLIENTS: &str = "Limits for Kafka clients";
const RAFT: &str = "Raft and peers";
const WATCHING: &str = "Logs and metrics";
const STOPPING: &str = "Stopping";

pub(super) const SPECS: &[Spec] = &[
    text(BASICS, "data-dir", "DIR", None, "Data folder, made by `chronik-broker format`. Required"),
    text(BASICS, "rack", "NAME", None, "Rack or zone this broker stands in; replicas are spread over racks"),
    number(
        BASICS,
        "journal-segment-bytes",
        "BYTES",
        "134217728",
        (1 << 20, 4 << 30),
        "Size at which a new journal file is begun",
    ),
    number(
        BASICS,
        "journal-reserve-bytes",
        "BYTES",
        "16777216",
        (0, 1 << 30),
        "Room kept back for what must be written when the disk is full, such as that a topic is deleted; 0 for none",
    ),
    number(
        RAFT,
        "metadata-snapshot-entries",
        "N",
        "5000",
        (10, 1_000_000_000),
        "Entries of the metadata log after which a snapshot takes their place",
    ),
    text(
        ADDRESSES,
        "listener",
        "NAME=HOST:PORT",
        Some("PLAINTEXT=127.0.0.1:9092"),
        "Address to listen on for Kafka clients; several by repeating, or with commas",
    ),
    text(
        ADDRESSES,
        "advertised-listener",
        "NAME=HOST:PORT",
        None,
        "Address clients of that listener are told to connect to; without it the listener's own",
    ),
    text(
        ADDRESSES,
        "peer-listener",
        "HOST:PORT",
        Some("127.0.0.1:9093"),
        "Address to listen on for other brokers, and, unless it stands for all addresses, to connect to them from",
    ),
    text(
        ADDRESSES,
        "advertised-peer",
        "HOST:PORT",
        None,
        "Address other brokers connect to; without it the peer listener's own",
    ),
    text(
        ADDRESSES,
        "admin-listener",
        "HOST:PORT",
        Some("127.0.0.1:9095"),
        "Address of the admin API, health and metrics (HTTP)",
    ),
    number(
        REPLICAS,
        "min-insync-replicas",
        "N",
        "2",
        (1, i32::MAX as u64),
        "In-sync replicas, leader included, without which acks=all is refused; never below a majority",
    ),
    number(
        REPLICAS,
        "isr-max-lag-ms",
        "MS",
        "10000",
        (500, 86_400_000),
        "Time since a follower last had all the leader had, after which it leaves the ISR",
    ),
    number(
        REPLICAS,
        "isr-max-lag-entries",
        "RECORDS",
        "10000",
        (1, i64::MAX as u64),
        "Records a follower may be behind at two checks in a row before it leaves the ISR",
    ),
    number(
        REPLICAS,
        "isr-check-interval-ms",
        "MS",
        "1000",
        (10, 60_000),
        "Time between two checks of every ISR",
    ),
    number(
        TOPICS,
        "default-partitions",
        "N",
        "1",
        (1, 10_000),
        "Partitions of a topic whose creator leaves it to the cluster",
    ),
    number(
        TOPICS,
        "default-replication-factor",
        "N",
        "3",
        (1, 100),
        "Replicas of a topic whose creator leaves it to the cluster",
    ),
    number(
        TOPICS,
        "max-message-bytes",
        "BYTES",
        "1048588",
        (0, MAX_MESSAGE_BYTES_LIMIT as u64),
        "Largest record batch, as compressed; topics may override it (max.message.bytes)",
    ),
    number(
        CLIENTS,
        "max-request-bytes",
        "BYTES",
        "104857600",
        (1 << 16, 1 << 30),
        "Largest request that is read; a larger one closes its connection",
    ),
    number(
        CLIENTS,
        "max-request-memory-bytes",
        "BYTES",
        "268435456",
        (1 << 16, 1 << 40),
        "Bytes of all requests under way at once; reading waits when they are used up",
    ),
    number(
        CLIENTS,
        "max-answer-memory-bytes",
        "BYTES",
        "268435456",
        (1 << 20, 1 << 40),
        "Bytes of all answers being made or written at once; Fetch gives less when little is left, then answers wait",
    ),
    number(
        CLIENTS,
        "max-requests-per-connection",
        "N",
        "32",
        (1, 1_000),
        "Requests of one connection under way at once; reading waits for an answer",
    ),
    number(
        CLIENTS,
        "max-connections",
        "N",
        "1000",
        (1, 100_000),
        "Connections open at once; more are closed at once",
    ),
    number(
        CLIENTS,
        "max-connections-per-ip",
        "N",
        "1000",
        (1, 100_000),
        "Connections from one address open at once; more are closed at once",
    ),
    number(
        CLIENTS,
        "connection-idle-seconds",
        "S",
        "600",
        (1, 86_400),
        "Silence after which a client's connection is closed",
    ),
    number(RAFT, "raft-tick-ms", "MS", "100", (10, 1_000), "Step of Raft's clock"),
    number(
        RAFT,
        "raft-heartbeat-ms",
        "MS",
        "100",
        (10, 10_000),
        "Time between a leader's heartbeats; a multiple of the tick",
    ),
    number(
        RAFT,
        "raft-election-ms",
        "MS",
        "1000",
        (50, 60_000),
        "Silence of a leader before an election, up to twice as long by chance; a multiple of the tick and at least \
         three heartbeats",
    ),
    number(
        RAFT,
        "peer-silence-ms",
        "MS",
        "3000",
        (200, 60_000),
        "Silence after which another broker counts as dead; at least two heartbeats",
    ),
    number(
        RAFT,
        "reassignment-throttle-bytes-per-second",
        "BYTES",
        "0",
        (0, 1_000_000_000_000),
        "What a broker sends to new replicas that catch up, all together; 0 for no limit",
    ),
    text(
        WATCHING,
        "log-level",
        "LEVEL",
        Some("info"),
        "off, error, warn, info, debug or trace; per part as in info,chronik_broker::peer=debug",
    ),
    text(WATCHING, "log-format", "FORMAT", Some("text"), "text or json"),
    text(
        WATCHING,
        "metrics-per-partition",
        "BOOL",
        Some("true"),
        "true: one series per partition; false: totals only, for clusters with very many partitions",
    ),
    number(
        STOPPING,
        "shutdown-grace-seconds",
        "S",
        "20",
        (0, 3_600),
        "Longest a stop waits for leaderships to move away and for requests to finish",
    ),
    text(
        STOPPING,
        "pod-uid",
        "UID",
        None,
        "Pod this broker runs in. With it a stop waits until all partitions can spare this broker",
    ),
    number(
        STOPPING,
        "stop-wait-seconds",
        "S",
        "30",
        (0, 86_400),
        "Longest a stop waits for that; the broker serves meanwhile",
    ),
];
