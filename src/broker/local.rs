//! This broker as its Kafka handlers see it: joins engine, reports and settings behind the handlers' traits. No rules.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_core::config::{BrokerValues, TopicConfig, TopicDefaults};
use chronik_core::ids::{BrokerId, DiskId, GroupId, Offset, Term, TopicId};
use chronik_core::metadata::{Applied, ClusterState, Command, Partition, Topic};
use chronik_core::view::PartitionReport;
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use crate::handlers::backend::{Backend, CreationDefaults, ReadError, ReplicaHandle, TimedOffset};
use crate::replica::{
    AppendError, AppendRequest, Appended, Clock, EngineHandle, Event, Leadership, PartitionHandle,
    ProposeError, Proposer, Reports, Shared,
};

/// The broker behind the handlers.
pub struct LocalBroker {
    /// Its number.
    pub id: BrokerId,
    /// Its data folder's identity.
    pub disk: DiskId,
    /// State shared with the engine.
    pub shared: Shared,
    /// The way to the engine.
    pub engine: EngineHandle,
    /// The way to the metadata leader.
    pub proposer: Proposer,
    /// What is known of partitions.
    pub reports: Reports,
    /// Configs where a topic sets none.
    pub topics: TopicDefaults,
    /// What a creator gets who does not say.
    pub creation: CreationDefaults,
    /// The broker's settings by Kafka's names.
    pub values: Arc<BrokerValues>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Backend for LocalBroker {
    fn broker_id(&self) -> BrokerId {
        self.id
    }

    fn cluster(&self) -> Arc<ClusterState> {
        Arc::clone(&self.shared.cluster.borrow())
    }

    fn is_member(&self) -> bool {
        self.shared.cluster.borrow().is_registered(self.id, self.disk)
    }

    fn is_alive(&self, broker: BrokerId) -> bool {
        self.reports.is_alive(broker)
    }

    fn is_listed(&self, broker: BrokerId) -> bool {
        self.reports.is_listed(broker)
    }

    fn metadata_leader(&self) -> Option<BrokerId> {
        *self.shared.metadata_leader.borrow()
    }

    fn report(&self, topic: &Topic, partition: &Partition) -> PartitionReport {
        self.reports.partition(topic, partition)
    }

    fn replica(&self, topic: TopicId, partition: i32) -> Option<Arc<dyn ReplicaHandle>> {
        let handle = self.shared.partitions.get(topic, partition)?;
        Some(Arc::new(LocalReplica { handle, engine: self.engine.clone() }))
    }

    fn topic_config(&self, topic: &Topic) -> TopicConfig {
        TopicConfig::resolve(&topic.configs, &self.topics)
    }

    fn creation_defaults(&self) -> CreationDefaults {
        self.creation
    }

    fn broker_values(&self) -> Arc<BrokerValues> {
        Arc::clone(&self.values)
    }

    fn unix_ms(&self) -> i64 {
        i64::try_from(self.clock.now().unix_ms).unwrap_or(i64::MAX)
    }

    fn elect_preferred(&self, groups: Vec<GroupId>) {
        self.engine.submit(Event::ElectPreferred { groups });
    }

    fn propose(
        &self,
        command: Command,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Applied, ProposeError>> {
        let proposer = self.proposer.clone();
        Box::pin(async move { proposer.propose(command, timeout).await })
    }
}

/// One replica behind the handlers.
struct LocalReplica {
    handle: Arc<PartitionHandle>,
    engine: EngineHandle,
}

impl ReplicaHandle for LocalReplica {
    fn leadership(&self) -> Leadership {
        self.handle.leadership()
    }

    fn high_watermark(&self) -> Offset {
        self.handle.high_watermark()
    }

    fn log_start_offset(&self) -> Offset {
        self.handle.log_start_offset()
    }

    fn log_end_offset(&self) -> Offset {
        self.handle.log().end_offset()
    }

    fn size_bytes(&self) -> u64 {
        self.handle.log().size_bytes()
    }

    fn epoch_start_reached(&self) -> bool {
        self.handle.epoch_start_reached()
    }

    fn readable_followers(&self) -> Vec<BrokerId> {
        self.handle.readable_followers()
    }

    fn is_in_sync(&self) -> bool {
        self.handle.is_in_sync()
    }

    fn progress(&self) -> watch::Receiver<u64> {
        self.handle.progress()
    }

    fn read(
        &self,
        from: Offset,
        below: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Bytes, ReadError> {
        self.handle.log().records_from(from, below, max_bytes, at_least_one).map_err(unreadable)
    }

    fn readable(&self, from: Offset, below: Offset, max_bytes: usize, at_least_one: bool) -> usize {
        self.handle.log().bytes_from(from, below, max_bytes, at_least_one)
    }

    fn offset_for_time(&self, timestamp: i64, below: Offset) -> Result<Option<TimedOffset>, ReadError> {
        let found = self.handle.log().offset_for_time(timestamp, below).map_err(unreadable)?;
        Ok(found.map(|(offset, timestamp)| TimedOffset { offset, timestamp }))
    }

    fn max_timestamp(&self, below: Offset) -> Option<i64> {
        let found = self.handle.log().offset_of_max_timestamp(below).ok().flatten();
        found.map(|(_, timestamp)| timestamp)
    }

    fn end_of_epoch(&self, epoch: Term) -> Option<(Term, Offset)> {
        self.handle.log().end_of_epoch(epoch)
    }

    fn epoch_at(&self, offset: Offset) -> Option<Term> {
        self.handle.log().epoch_at(offset)
    }

    fn append(&self, request: AppendRequest) -> oneshot::Receiver<Result<Appended, AppendError>> {
        self.engine.append(self.handle.group, request)
    }
}

fn unreadable(error: crate::log::ReadError) -> ReadError {
    tracing::error!(%error, "read the log for a client");
    ReadError(error.to_string())
}
