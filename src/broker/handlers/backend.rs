//! What the handlers need of the broker around them: the cluster's image, the partitions held here, and the way to
//! the metadata leader. Traits only; the engine implements them, and so does the tests' backend in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_core::config::{BrokerValues, TopicConfig};
use chronik_core::ids::{BrokerId, GroupId, Offset, Term, TopicId};
use chronik_core::metadata::{Applied, ClusterState, Command, Partition, Topic};
use chronik_core::view::PartitionReport;
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};

pub use crate::replica::{Acks, AppendError, AppendRequest, Appended, Leadership, ProposeError};

/// The broker as its handlers see it. Every method but `propose` answers at once, from memory.
pub trait Backend: Send + Sync + 'static {
    /// The broker that answers.
    fn broker_id(&self) -> BrokerId;

    /// The cluster's metadata as applied here.
    fn cluster(&self) -> Arc<ClusterState>;

    /// Whether this broker is registered, on its disk, in the metadata as applied here: then it knows who else there is.
    fn is_member(&self) -> bool;

    /// Whether this broker hears from that one; always true of itself.
    fn is_alive(&self, broker: BrokerId) -> bool;

    /// Whether clients are told of that broker.
    fn is_listed(&self, broker: BrokerId) -> bool;

    /// The leader of the metadata group, if one is known.
    fn metadata_leader(&self) -> Option<BrokerId>;

    /// What is known of a partition, and from whom: `views::partition_report`.
    fn report(&self, topic: &Topic, partition: &Partition) -> PartitionReport;

    /// The replica of that partition that this broker holds.
    fn replica(&self, topic: TopicId, partition: i32) -> Option<Arc<dyn ReplicaHandle>>;

    /// The configs in force for a topic.
    fn topic_config(&self, topic: &Topic) -> TopicConfig;

    /// What a new topic gets whose creator does not say.
    fn creation_defaults(&self) -> CreationDefaults;

    /// What this broker's own settings became, for DescribeConfigs.
    fn broker_values(&self) -> Arc<BrokerValues>;

    /// Unix milliseconds: what a record's timestamp is compared with.
    fn unix_ms(&self) -> i64;

    /// Asks the leaders of these groups to hand over to the preferred replicas, as far as these could lead at once.
    fn elect_preferred(&self, groups: Vec<GroupId>);

    /// Sends a command through the metadata leader; done when it is applied there and then here.
    fn propose(
        &self,
        command: Command,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Applied, ProposeError>>;
}

/// `num.partitions` and `default.replication.factor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreationDefaults {
    /// Partitions of a topic.
    pub partitions: i32,
    /// Replicas of each.
    pub replication_factor: i32,
}

/// A partition's replica on this broker.
pub trait ReplicaHandle: Send + Sync {
    /// Its part, and the epoch it goes by.
    fn leadership(&self) -> Leadership;

    /// Consumers read below this.
    fn high_watermark(&self) -> Offset;

    /// The first offset there is.
    fn log_start_offset(&self) -> Offset;

    /// The next offset after the last synced record.
    fn log_end_offset(&self) -> Offset;

    /// Bytes of its log.
    fn size_bytes(&self) -> u64;

    /// False on a new leader until its high watermark has reached the start of its epoch.
    fn epoch_start_reached(&self) -> bool;

    /// On the leader: followers that consumers may read from instead, being in the ISR and hardly behind.
    fn readable_followers(&self) -> Vec<BrokerId>;

    /// On a follower: whether it is in the ISR, as far as it has heard.
    fn is_in_sync(&self) -> bool;

    /// Changes whenever high watermark or leadership do.
    fn progress(&self) -> watch::Receiver<u64>;

    /// Whole batches from the one that holds `from`, all below `below`, of at most `max_bytes`; with
    /// `at_least_one` the first batch comes whatever its size. Reads from disk: called on a blocking thread.
    fn read(
        &self,
        from: Offset,
        below: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Bytes, ReadError>;

    /// How many bytes [`read`](Self::read) would give, without reading.
    fn readable(&self, from: Offset, below: Offset, max_bytes: usize, at_least_one: bool) -> usize;

    /// The first record below `below` with a timestamp of at least `timestamp`. Reads from disk.
    fn offset_for_time(&self, timestamp: i64, below: Offset) -> Result<Option<TimedOffset>, ReadError>;

    /// The greatest timestamp below `below`.
    fn max_timestamp(&self, below: Offset) -> Option<i64>;

    /// The greatest epoch with records that is not above `epoch`, and the offset after its last record.
    fn end_of_epoch(&self, epoch: Term) -> Option<(Term, Offset)>;

    /// The epoch of the record at that offset.
    fn epoch_at(&self, offset: Offset) -> Option<Term>;

    /// Hands a batch to the engine. Batches are taken in the order of these calls; it never blocks. The answer comes
    /// by the deadline: with acks=0 once the batch is taken, else once the acks are there.
    fn append(&self, request: AppendRequest) -> oneshot::Receiver<Result<Appended, AppendError>>;
}

/// A record's place and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOffset {
    /// Where it is.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: i64,
}

/// The log could not be read; the replica is being taken out of service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the log: {0}")]
pub struct ReadError(pub String);
