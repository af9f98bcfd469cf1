//! The registry of broker configs that DescribeConfigs shows: Kafka's names where the meaning is Kafka's.

use super::kind::ConfigType::{self, Boolean, Int, List, Long, String};

/// One broker config.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BrokerKey {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub kind: ConfigType,
    /// What it means, in one sentence.
    pub doc: &'static str,
}

const fn key(name: &'static str, kind: ConfigType, doc: &'static str) -> BrokerKey {
    BrokerKey { name, kind, doc }
}

/// Every broker config that is shown, by name.
pub const BROKER_KEYS: &[BrokerKey] = &[
    key("advertised.listeners", List, "Addresses clients are told to connect to."),
    key("auto.create.topics.enable", Boolean, "Always false: topics are created on request only."),
    key("broker.id", Int, "This broker's number."),
    key("broker.rack", String, "Where this broker stands; replicas are spread over racks."),
    key("chronik.admin.listener", String, "Address of the admin API and of the metrics."),
    key("chronik.answer.memory.bytes", Long, "Bytes of all answers that may be under way at once."),
    key("chronik.election.timeout.ms", Int, "Silence of a leader after which its followers elect another."),
    key("chronik.heartbeat.interval.ms", Int, "Time between a leader's heartbeats."),
    key("chronik.isr.check.interval.ms", Long, "Time between two checks of every partition's ISR."),
    key("chronik.journal.reserve.bytes", Long, "Room kept back for what must be written on a full disk."),
    key("chronik.journal.segment.bytes", Long, "Size at which a new journal file is begun."),
    key(
        "chronik.metadata.snapshot.entries",
        Long,
        "Metadata entries after which a snapshot takes their place.",
    ),
    key("chronik.metrics.per.partition", Boolean, "Whether metrics have one series per partition."),
    key("chronik.peer.listener", String, "Address other brokers connect to."),
    key("chronik.peer.silence.timeout.ms", Long, "Silence after which another broker counts as dead."),
    key(
        "chronik.reassignment.throttle.bytes.per.second",
        Long,
        "Bytes this broker sends to new replicas that catch up, all together; 0 for no limit.",
    ),
    key("chronik.requests.in.flight", Int, "Requests of one connection that may be under way at once."),
    key("connections.max.idle.ms", Long, "Silence after which a client's connection is closed."),
    key("controlled.shutdown.enable", Boolean, "Always true: leaderships move away before a stop."),
    key("default.replication.factor", Int, "Replicas of a topic whose creator does not say."),
    key("delete.topic.enable", Boolean, "Always true."),
    key("listeners", List, "Addresses this broker listens on for Kafka clients."),
    key("log.dirs", List, "The data folder."),
    key("max.connections", Int, "Connections from Kafka clients that are open at once."),
    key("max.connections.per.ip", Int, "Connections from one address that are open at once."),
    key("message.max.bytes", Int, "Default of max.message.bytes: the largest record batch."),
    key("min.insync.replicas", Int, "Default of the topic config of that name."),
    key("node.id", Int, "This broker's number."),
    key("num.partitions", Int, "Partitions of a topic whose creator does not say."),
    key("queued.max.request.bytes", Long, "Bytes of all requests that may be under way at once."),
    key("replica.lag.max.entries", Long, "Default of the topic config of that name."),
    key("replica.lag.time.max.ms", Long, "Default of the topic config of that name."),
    key("socket.request.max.bytes", Int, "Largest request that is read."),
    key(
        "unclean.leader.election.enable",
        Boolean,
        "Always false: only a replica with all committed records leads.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted() {
        assert!(BROKER_KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
