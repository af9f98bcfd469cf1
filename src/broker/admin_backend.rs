//! This broker as the admin API sees it. Joins reports, proposals and metrics; decides nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use chronik_core::ids::{BrokerId, GroupId, TopicId};
use chronik_core::metadata::{
    AlterTopicConfigs, Command, CreatePartitions, CreateTopic, DeleteTopic, NewPartitions, Refusal,
    RefusalCode, SetStanding, SetTopicReplicas, Standing, TopicRef, TopicReplicas, UnregisterBroker,
};
use chronik_core::restart::PermitId;
use chronik_core::view::{
    ClusterReport, PartitionState, PermitAnswer, PermitBody, PermitRefused, PermitsReport, PodBody,
    RecoverBody, RecoveryReport, TopicReport,
};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::admin::{AdminBackend, CreateTopicBody, ErrorBody, PatchTopicBody, Problem};
use crate::handlers::backend::Backend;
use crate::local::LocalBroker;
use crate::metrics::{LedPartition, Metrics, Queue};
use crate::peer::{Lane, PeerCounts, PeerHandle};
use crate::replica::{Known, Leadership, ProposeError, Shared};
use crate::restart::Restarts;

mod recovery;

/// How long a change of the cluster may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The broker behind the admin API.
pub struct AdminOf {
    local: Arc<LocalBroker>,
    metrics: Arc<Metrics>,
    peers: PeerHandle,
    shared: Shared,
    restarts: Restarts,
    data_dir: PathBuf,
    was_ready: AtomicBool,
}

impl AdminOf {
    /// The admin side of a broker.
    pub fn new(
        local: Arc<LocalBroker>,
        metrics: Arc<Metrics>,
        peers: PeerHandle,
        shared: Shared,
        restarts: Restarts,
        data_dir: PathBuf,
    ) -> Self {
        Self { local, metrics, peers, shared, restarts, data_dir, was_ready: AtomicBool::new(false) }
    }

    async fn propose(&self, command: Command) -> Result<(), Problem> {
        self.local.proposer.propose(command, PATIENCE).await.map(drop).map_err(problem)
    }

    fn alive(&self) -> BTreeSet<BrokerId> {
        let cluster = self.local.cluster();
        cluster.brokers().map(|broker| broker.id).filter(|id| self.local.reports.is_alive(*id)).collect()
    }

    fn not_ready(&self) -> Option<String> {
        let cluster = self.local.cluster();
        if cluster.broker(self.local.id).is_none() {
            return Some("this broker is not registered yet".to_owned());
        }
        let now_ms = self.local.clock.now().ms;
        let mut outside = Vec::new();
        for (topic, partition) in cluster.partitions() {
            // A replica that goes need not be in sync any more.
            if !partition.target().iter().any(|replica| replica.broker == self.local.id) {
                continue;
            }
            let handle = self.shared.partitions.get(topic.id, partition.number);
            let healthy =
                handle.is_none_or(|handle| !matches!(handle.leadership(), Leadership::Quarantined { .. }));
            let view = self.shared.views.get(partition.group, now_ms);
            let in_sync = matches!(view, Known::Leader(view, _) if view.isr.contains(&self.local.id));
            if healthy && !in_sync {
                outside.push(format!("{}-{}", topic.name, partition.number));
            }
        }
        let first = outside.first()?;
        Some(format!(
            "{} of this broker's replicas are not in their ISR yet, {first} among them",
            outside.len()
        ))
    }

    /// Fills the partition series from what is led at this moment.
    fn refresh_partition_metrics(&self) {
        let cluster = self.local.cluster();
        let partitions = &self.metrics.partitions;
        let (mut offline, mut unknown, mut hosted, mut quarantined, mut quiet) = (0, 0, 0, 0, 0);
        for (topic, partition) in cluster.partitions() {
            let report = self.local.reports.partition(topic, partition);
            offline += usize::from(report.state == PartitionState::Offline);
            unknown += usize::from(report.state == PartitionState::Unknown);
            hosted += usize::from(partition.replica_on(self.local.id).is_some());
            quarantined += usize::from(report.quarantined.is_some());
            let replica = self.shared.partitions.get(topic.id, partition.number);
            quiet += usize::from(replica.is_some_and(|replica| replica.is_quiet()));
            match report.isr {
                Some(isr) if report.leader == Some(self.local.id) => {
                    let led = LedPartition {
                        topic: topic.name.clone(),
                        partition: partition.number,
                        isr: isr.len() as u32,
                        replicas: (report.replicas.len() - report.adding.len()) as u32,
                        effective_min_isr: report.effective_min_isr,
                        caretaker: report.state == PartitionState::Caretaker,
                        followers: report.followers,
                    };
                    partitions.set_led(partition.group, led);
                }
                _ => partitions.remove_led(partition.group),
            }
        }
        partitions.retain_led(|group| cluster.group(group).is_some());
        let counts = &self.shared.counts;
        partitions.set_changes(count(&counts.shrinks), count(&counts.expands), count(&counts.leaderships));
        let (transfers_ms, longest_ms) = (count(&counts.transfers_ms), count(&counts.longest_transfer_ms));
        partitions.set_transfers(count(&counts.transfers), transfers_ms, longest_ms);
        partitions.set_replicas(hosted, quarantined, quiet);
        partitions.set_cluster(offline, unknown);
    }

    /// What stands elsewhere: queues, peers, metadata.
    fn refresh_broker_metrics(&self) {
        let (metrics, cluster) = (&self.metrics.broker, self.local.cluster());
        let (appends, frames) = (self.local.engine.waiting_appends(), self.local.engine.waiting_frames());
        metrics.set_queue(Queue::ClientAppends, appends.bytes, appends.refused);
        metrics.set_queue(Queue::PeerFrames, frames.bytes, frames.refused);
        let PeerCounts { control, bulk, .. } = self.peers.metrics();
        metrics.set_queue(Queue::PeerControl, self.peers.queued_bytes(Lane::Control), control.dropped);
        metrics.set_queue(Queue::PeerBulk, self.peers.queued_bytes(Lane::Bulk), bulk.dropped);
        let counts = &self.shared.counts;
        metrics.set_raft_messages(count(&counts.metadata_messages), count(&counts.partition_messages));
        metrics.set_learner_bytes(count(&counts.learner_bytes));
        metrics.set_peer_bytes("control", control.bytes_sent, control.bytes_received);
        metrics.set_peer_bytes("bulk", bulk.bytes_sent, bulk.bytes_received);
        metrics.set_permits_open(cluster.permits().open().count());
        let others = cluster.brokers().filter(|broker| broker.id != self.local.id);
        metrics.set_peers_up(others.filter(|broker| self.shared.liveness.is_up(broker.id)).count());
        let leads = *self.shared.metadata_leader.borrow() == Some(self.local.id);
        metrics.set_metadata(cluster.applied(), leads);
        // A file system that does not answer leaves the figures as they were: the log itself says what it cannot write.
        if let Ok(file_system) = rustix::fs::statvfs(&self.data_dir) {
            let bytes = |blocks: u64| blocks.saturating_mul(file_system.f_frsize);
            metrics.set_disk(bytes(file_system.f_blocks), bytes(file_system.f_bavail));
        }
    }
}

impl AdminBackend for AdminOf {
    fn is_live(&self) -> bool {
        !self.shared.log_stopped.load(Ordering::Acquire)
    }

    fn ready(&self) -> Result<(), String> {
        if self.was_ready.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.not_ready() {
            Some(why) => Err(why),
            None => {
                self.was_ready.store(true, Ordering::Release);
                Ok(())
            }
        }
    }

    fn metrics(&self) -> String {
        self.refresh_partition_metrics();
        self.refresh_broker_metrics();
        let leads = self.local.metadata_leader() == Some(self.local.id);
        self.metrics.broker.set_metadata(self.local.cluster().applied(), leads);
        self.metrics.render().unwrap_or_else(|error| format!("# metrics cannot be rendered: {error}\n"))
    }

    fn cluster(&self) -> ClusterReport {
        self.local.reports.cluster()
    }

    fn topics(&self, with_partitions: bool) -> Vec<TopicReport> {
        let cluster = self.local.cluster();
        let mut topics: Vec<TopicReport> =
            cluster.topics().map(|topic| self.local.reports.topic(topic, with_partitions)).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    fn topic(&self, name: &str) -> Option<TopicReport> {
        let cluster = self.local.cluster();
        cluster.topic_by_name(name).map(|topic| self.local.reports.topic(topic, true))
    }

    fn changes(&self) -> broadcast::Receiver<GroupId> {
        self.shared.views.subscribe()
    }

    fn partition_of(&self, group: GroupId) -> Option<(String, i32)> {
        let cluster = self.local.cluster();
        cluster.group(group).map(|(topic, partition)| (topic.name.clone(), partition.number))
    }

    async fn create(&self, body: CreateTopicBody) -> Result<(), Problem> {
        let defaults = self.local.creation;
        self.propose(Command::CreateTopic(CreateTopic {
            id: TopicId(Uuid::new_v4()),
            name: body.name,
            replicas: TopicReplicas::Placed {
                partitions: body.partitions.unwrap_or(defaults.partitions),
                replication_factor: body.replication_factor.unwrap_or(defaults.replication_factor),
                alive: self.alive(),
            },
            configs: body.configs,
        }))
        .await
    }

    async fn alter(&self, name: String, body: PatchTopicBody) -> Result<(), Problem> {
        let cluster = self.local.cluster();
        let topic = TopicRef::Name(name.clone());
        let current = cluster.topic_by_name(&name).map(|topic| topic.partitions.len() as i32);
        let growth = body.partitions.filter(|count| Some(*count) != current).map(|count| {
            let replicas = NewPartitions::Placed { alive: self.alive() };
            CreatePartitions { topic: topic.clone(), count, replicas }
        });
        let resize = body.replicas.map(|replicas| SetTopicReplicas { topic: topic.clone(), replicas });
        let configs = AlterTopicConfigs { topic, changes: body.configs };
        // All is judged before anything is changed: a refused request leaves the topic as it was.
        cluster.validate_alter_configs(&configs).map_err(refused)?;
        if let Some(resize) = &resize {
            cluster.validate_set_topic_replicas(resize).map_err(refused)?;
        }
        if let Some(growth) = growth {
            cluster.validate_create_partitions(&growth).map_err(refused)?;
            self.propose(Command::CreatePartitions(growth)).await?;
        }
        if !configs.changes.is_empty() {
            self.propose(Command::AlterTopicConfigs(configs)).await?;
        }
        if let Some(resize) = resize {
            tracing::info!(topic = name, replicas = resize.replicas, "set a topic's number of replicas");
            self.propose(Command::SetTopicReplicas(resize)).await?;
        }
        Ok(())
    }

    async fn delete(&self, name: String) -> Result<(), Problem> {
        self.propose(Command::DeleteTopic(DeleteTopic { topic: TopicRef::Name(name) })).await
    }

    async fn drain(&self) {
        self.local.engine.drain().await;
    }

    async fn set_standing(&self, broker: BrokerId, standing: Standing) -> Result<(), Problem> {
        self.propose(Command::SetStanding(SetStanding { broker, standing })).await?;
        tracing::info!(%broker, standing = standing.as_str(), "set a broker's standing");
        Ok(())
    }

    async fn unregister(&self, broker: BrokerId) -> Result<(), Problem> {
        self.propose(Command::UnregisterBroker(UnregisterBroker { broker })).await?;
        tracing::warn!(%broker, "unregistered a broker");
        Ok(())
    }

    fn permits(&self) -> PermitsReport {
        self.restarts.report()
    }

    async fn ask_permit(&self, body: PermitBody) -> Result<PermitAnswer, PermitRefused> {
        self.restarts.ask(body).await
    }

    async fn begin_permit(&self, id: PermitId, body: PodBody) -> Result<PermitAnswer, PermitRefused> {
        self.restarts.begin(id, body).await
    }

    async fn abort_permit(&self, id: PermitId, body: PodBody) -> Result<PermitAnswer, PermitRefused> {
        self.restarts.abort(id, body).await
    }

    async fn recovery(&self) -> RecoveryReport {
        recovery::report(&self.local).await
    }

    async fn recover(&self, body: RecoverBody) -> Result<RecoveryReport, Problem> {
        let (wanted, report) = recovery::judge(&self.local, body).await?;
        for command in wanted {
            self.propose(Command::RecoverPartition(command)).await?;
        }
        Ok(report)
    }
}

fn count(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn problem(error: ProposeError) -> Problem {
    match error {
        ProposeError::Refused(refusal) => refused(refusal),
        error => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string()),
    }
}

fn refused(refusal: Refusal) -> Problem {
    let status = match refusal.code {
        RefusalCode::TopicExists => StatusCode::CONFLICT,
        // It passes, and is not the fault of what was asked for.
        RefusalCode::PermitOpen => StatusCode::SERVICE_UNAVAILABLE,
        RefusalCode::UnknownTopic | RefusalCode::UnknownTopicId | RefusalCode::UnknownBroker => {
            StatusCode::NOT_FOUND
        }
        _ => StatusCode::BAD_REQUEST,
    };
    let message = refusal.to_string();
    let error = ErrorBody {
        code: refusal.code.as_str().to_owned(),
        field: Some(refusal.field),
        value: Some(refusal.value),
        allowed: Some(refusal.allowed),
        message,
    };
    Problem { status: status.as_u16(), error: Box::new(error) }
}
