//! The bounds of the cluster's state. They belong to the state machine: change one only with a feature level.

/// The lowest broker id; Raft forbids 0.
pub const BROKER_ID_MIN: u32 = 1;
/// The highest broker id. The founding voters of the metadata group use their broker id as Raft id, so that all
/// ids below [`FIRST_REPLICA_ID`] are theirs.
pub const BROKER_ID_MAX: u32 = 99_999;
/// The first replica id that is allocated: to a partition's replica, or to the metadata replica of a disk that joins.
pub const FIRST_REPLICA_ID: u64 = 100_000;
/// The first group id of a partition; 1 is the metadata group, 2 to 15 are kept for later internal groups.
pub const FIRST_GROUP_ID: u64 = 16;
/// Registered brokers.
pub const BROKERS: usize = 1_000;
/// Disks that were replaced or whose broker was unregistered.
pub const RETIRED_DISKS: usize = 10_000;
/// Listeners of one broker.
pub const LISTENERS: usize = 16;
/// Bytes of a listener name or of a build's version.
pub const SHORT_TEXT: usize = 64;
/// Bytes of a host name, a rack or a peer address.
pub const LONG_TEXT: usize = 255;
/// Bytes of a pod's UID; Kubernetes' own have 36.
pub const POD_UID_BYTES: usize = 128;
/// Characters of a topic name, Kafka's limit.
pub const TOPIC_NAME: usize = 249;
/// Partitions that one command may create, Kafka's limit.
pub const PARTITIONS_PER_COMMAND: usize = 10_000;
/// Partitions of the whole cluster.
pub const PARTITIONS: usize = 100_000;
/// Replicas of the whole cluster.
pub const REPLICAS: usize = 300_000;
/// Replicas of one partition.
pub const REPLICATION_FACTOR: usize = 100;
/// Replicas of one partition while they move, those that go among them.
pub const REPLICAS_WHILE_MOVING: usize = 300;
/// Producer ids handed out at once, Kafka's block size.
pub const PRODUCER_ID_BLOCK: u32 = 1_000;
/// What a recovery of the metadata skips of group, replica and producer ids: whatever the lost majority may have given
/// since the survivor's last entry is not given again.
pub const IDS_SKIPPED_BY_RECOVERY: u64 = 1 << 32;
/// Recoveries that the state remembers; the log has them all.
pub const RECOVERIES: usize = 1_000;
