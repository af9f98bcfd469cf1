//! The registry of topic configs: one line per key. The keys and defaults are what Apache Kafka 4.3.0 describes.

use super::kind::ConfigType::{self, Boolean, Double, Int, List, Long, String};

/// The largest `max.message.bytes`: a batch of that size still fits one request and one message between brokers.
pub const MAX_MESSAGE_BYTES_LIMIT: i64 = 64 * 1024 * 1024;

/// How far Chronik acts on a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// An integer Chronik acts on.
    Understood {
        /// Feature level from which on it may be set: every build must judge a committed command alike.
        since: u16,
        /// Lowest value.
        min: i64,
        /// Highest value.
        max: i64,
    },
    /// What a broker's stop must leave, which Chronik acts on.
    RestartPolicy {
        /// As above.
        since: u16,
    },
    /// Kafka's, not acted on yet: only the default may be set.
    NotYet,
}

/// One topic config.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TopicKey {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub kind: ConfigType,
    /// Its default, where neither topic nor broker says otherwise.
    pub default: &'static str,
    /// The broker config that gives its default, if there is one.
    pub broker_key: Option<&'static str>,
    /// How far Chronik acts on it.
    pub support: Support,
    /// What it means, in one sentence.
    pub doc: &'static str,
}

/// The topic config of that name.
pub fn topic_key(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.binary_search_by(|entry| entry.name.cmp(name)).ok().map(|at| &TOPIC_KEYS[at])
}

const fn not_yet(name: &'static str, kind: ConfigType, default: &'static str, doc: &'static str) -> TopicKey {
    TopicKey { name, kind, default, broker_key: None, support: Support::NotYet, doc }
}

const I32_MAX: i64 = i32::MAX as i64;
const LONG_MAX: &str = "9223372036854775807";

/// Every topic config, by name.
pub const TOPIC_KEYS: &[TopicKey] = &[
    not_yet(
        "cleanup.policy",
        List,
        "delete",
        "How old data goes: by retention (delete) or by key (compact).",
    ),
    not_yet("compression.gzip.level", Int, "-1", "Gzip level where the broker compresses."),
    not_yet("compression.lz4.level", Int, "9", "LZ4 level where the broker compresses."),
    not_yet("compression.type", String, "producer", "Compression on disk; producer keeps what was sent."),
    not_yet("compression.zstd.level", Int, "3", "Zstandard level where the broker compresses."),
    not_yet("delete.retention.ms", Long, "86400000", "How long a compacted topic keeps tombstones."),
    not_yet("file.delete.delay.ms", Long, "60000", "Wait before a dropped file is removed."),
    not_yet(
        "flush.messages",
        Long,
        LONG_MAX,
        "Records between forced syncs; Chronik syncs before each answer.",
    ),
    not_yet("flush.ms", Long, LONG_MAX, "Time between forced syncs; Chronik syncs before each answer."),
    not_yet("follower.replication.throttled.replicas", List, "", "Replicas throttled where they receive."),
    not_yet("index.interval.bytes", Int, "4096", "Bytes between entries of the offset index."),
    not_yet("leader.replication.throttled.replicas", List, "", "Replicas throttled where they send."),
    not_yet("local.retention.bytes", Long, "-2", "Bytes kept locally with tiered storage."),
    not_yet("local.retention.ms", Long, "-2", "Time kept locally with tiered storage."),
    not_yet("max.compaction.lag.ms", Long, LONG_MAX, "Longest time a record escapes compaction."),
    TopicKey {
        name: "max.message.bytes",
        kind: Int,
        default: "1048588",
        broker_key: Some("message.max.bytes"),
        support: Support::Understood { since: 1, min: 0, max: MAX_MESSAGE_BYTES_LIMIT },
        doc: "Largest record batch a producer may send, as compressed.",
    },
    not_yet(
        "message.timestamp.after.max.ms",
        Long,
        "3600000",
        "How far ahead of the clock a record may be stamped.",
    ),
    not_yet(
        "message.timestamp.before.max.ms",
        Long,
        LONG_MAX,
        "How far behind the clock a record may be stamped.",
    ),
    not_yet("message.timestamp.type", String, "CreateTime", "Whose clock stamps records."),
    not_yet("min.cleanable.dirty.ratio", Double, "0.5", "Share of uncompacted data that starts compaction."),
    not_yet("min.compaction.lag.ms", Long, "0", "Shortest time a record escapes compaction."),
    TopicKey {
        name: "min.insync.replicas",
        kind: Int,
        default: "2",
        broker_key: Some("min.insync.replicas"),
        support: Support::Understood { since: 1, min: 1, max: I32_MAX },
        doc: "In-sync replicas, the leader included, without which acks=all is refused. In effect it is never below \
              a majority of the replicas and never above their number.",
    },
    not_yet("preallocate", Boolean, "false", "Whether segment files get their full size at once."),
    not_yet("remote.log.copy.disable", Boolean, "false", "Stops copying to tiered storage."),
    not_yet(
        "remote.log.delete.on.disable",
        Boolean,
        "false",
        "Deletes tiered data when tiering is switched off.",
    ),
    not_yet("remote.storage.enable", Boolean, "false", "Tiered storage."),
    TopicKey {
        name: "replica.lag.max.entries",
        kind: Long,
        default: "10000",
        broker_key: Some("replica.lag.max.entries"),
        support: Support::Understood { since: 1, min: 1, max: i64::MAX },
        doc: "Records a follower may be behind at two checks in a row before it leaves the ISR. Chronik's own.",
    },
    TopicKey {
        name: "replica.lag.time.max.ms",
        kind: Long,
        default: "10000",
        broker_key: Some("replica.lag.time.max.ms"),
        support: Support::Understood { since: 1, min: 500, max: 86_400_000 },
        doc: "Time since a follower last had all the leader had, after which it leaves the ISR. Kafka has it as a \
              broker config only.",
    },
    TopicKey {
        name: "restart.policy",
        kind: String,
        default: "margin:0",
        broker_key: None,
        support: Support::RestartPolicy { since: 1 },
        doc: "What stays while a broker is stopped on purpose: margin:N in-sync replicas more than acks=all needs; \
              allow-unavailable lets a partition with one replica be away; forbid stops no broker with a replica. \
              Chronik's own.",
    },
    not_yet("retention.bytes", Long, "-1", "Bytes a partition keeps; nothing is dropped yet."),
    not_yet("retention.ms", Long, "604800000", "Time records are kept; nothing is dropped yet."),
    not_yet("segment.bytes", Int, "1073741824", "Size of a segment file."),
    not_yet("segment.index.bytes", Int, "10485760", "Size of an offset index."),
    not_yet("segment.jitter.ms", Long, "0", "Random part of the time to roll a segment."),
    not_yet("segment.ms", Long, "604800000", "Time after which a segment is rolled."),
    not_yet(
        "unclean.leader.election.enable",
        Boolean,
        "false",
        "Whether a stale replica may lead; with Raft never.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_found() {
        assert!(TOPIC_KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for entry in TOPIC_KEYS {
            assert_eq!(topic_key(entry.name), Some(entry));
        }
        assert_eq!(topic_key("nope"), None);
    }

    #[test]
    fn every_key_kafka_4_3_describes_is_here() {
        let kafka = include_str!("../testdata/kafka-4.3-topic-configs.txt");
        let mut seen = 0;
        for line in kafka.lines().filter(|line| !line.starts_with('#')) {
            let [name, default, kind] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let entry = topic_key(name).unwrap_or_else(|| panic!("{name} is missing"));
            // Chronik keeps the seed's default of 2 where Kafka has 1.
            let expected = if name == "min.insync.replicas" { "2" } else { default };
            assert_eq!(entry.default, expected, "{name}");
            assert_eq!(format!("{:?}", entry.kind).to_uppercase(), kind, "{name}");
            seen += 1;
        }
        assert_eq!(seen, TOPIC_KEYS.len() - 3, "all but Chronik's three");
    }
}
