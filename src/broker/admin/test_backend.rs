//! A broker without a network: a real cluster state, real views and reports, commands applied on the spot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use chronik_core::config::TopicDefaults;
use chronik_core::ids::{BrokerId, DiskId, GroupId, Incarnation, ReplicaId, TopicId};
use chronik_core::metadata::{
    AlterTopicConfigs, Applied, Broker, ChangePermit, ClusterState, Command, CreatePartitions, CreateTopic,
    DeleteTopic, FeatureRange, Listener, NewPartitions, RefusalCode, SetStanding, SetTopicReplicas, Standing,
    TopicRef, TopicReplicas, UnregisterBroker,
};
use chronik_core::restart::{Leave, PermitId};
use chronik_core::view::{
    ClusterReport, PartitionView, PermitAnswer, PermitBody, PermitProblem, PermitRefused, PermitsReport,
    PodBody, RecoverBody, RecoveryReport, TopicReport, ViewVersion,
};
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use super::{AdminBackend, CreateTopicBody, ErrorBody, PatchTopicBody, Problem};
use crate::metrics::Metrics;
use crate::replica::{Clock, EngineCounts, Liveness, Now, Partitions, Reports, Shared, Views};

/// A clock that is moved by hand.
#[derive(Default)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> Now {
        let ms = self.0.load(Ordering::Relaxed);
        Now { ms, unix_ms: ms }
    }
}

pub(super) struct TestBackend {
    shared: Shared,
    reports: Reports,
    clock: Arc<HandClock>,
    metrics: Metrics,
    versions: AtomicU64,
    ready: AtomicBool,
    drains: AtomicU64,
}

impl TestBackend {
    /// Broker 1 of three, all of them up.
    pub(super) fn new() -> Self {
        let own = BrokerId(1);
        let mut state = ClusterState::new("test".parse().unwrap());
        let liveness = Liveness::new(own, DiskId(Uuid::from_u128(1)));
        for id in 1..=3 {
            let disk = DiskId(Uuid::from_u128(id.into()));
            let listener = Listener { name: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092 };
            let broker = Broker {
                id: BrokerId(id),
                disk,
                rack: None,
                listeners: vec![listener],
                peer_address: format!("127.0.0.1:{}", 9100 + id),
                version: "test".into(),
                features: FeatureRange::THIS_BUILD,
                incarnation_start: 1,
                metadata_replica: Some(ReplicaId(u64::from(id))),
            };
            state.apply(id.into(), &Command::RegisterBroker(broker)).into_result().unwrap();
            liveness.up(BrokerId(id), Incarnation { disk, start: 1 }, 0);
        }
        let shared = Shared {
            cluster: watch::Sender::new(Arc::new(state)),
            partitions: Arc::new(Partitions::default()),
            views: Arc::new(Views::default()),
            liveness: Arc::new(liveness),
            metadata_leader: watch::Sender::new(Some(own)),
            log_stopped: Arc::default(),
            counts: Arc::new(EngineCounts::default()),
            formed: watch::Sender::new(None),
            generation: watch::Sender::new(None),
            metadata_voters: watch::Sender::new(Vec::new()),
        };
        let clock = Arc::new(HandClock::default());
        let cluster = "test".parse().unwrap();
        let reports = Reports::new(
            own,
            cluster,
            shared.clone(),
            TopicDefaults::default(),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        Self {
            shared,
            reports,
            clock,
            metrics: Metrics::new(true).unwrap(),
            versions: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            drains: AtomicU64::new(0),
        }
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    pub(super) fn drains(&self) -> u64 {
        self.drains.load(Ordering::Relaxed)
    }

    pub(super) fn advance(&self, time: Duration) {
        self.clock.0.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }

    pub(super) fn add_topic(&self, name: &str, partitions: i32) {
        let body = CreateTopicBody {
            name: name.into(),
            partitions: Some(partitions),
            replication_factor: Some(3),
            configs: BTreeMap::new(),
        };
        self.apply(created(body)).unwrap();
    }

    pub(super) fn set_config(&self, name: &str, key: &str, value: &str) {
        let changes = BTreeMap::from([(key.to_owned(), Some(value.to_owned()))]);
        self.apply(Command::AlterTopicConfigs(AlterTopicConfigs {
            topic: TopicRef::Name(name.into()),
            changes,
        }))
        .unwrap();
    }

    /// Broker 1 leads the partition with this ISR, as a view tells.
    pub(super) fn lead(&self, name: &str, partition: i32, isr: &[u32]) {
        let state = Arc::clone(&self.shared.cluster.borrow());
        let topic = state.topic_by_name(name).unwrap();
        let view = PartitionView {
            group: topic.partition(partition).unwrap().group,
            topic: topic.id,
            partition,
            at: ViewVersion { term: 5, version: self.versions.fetch_add(1, Ordering::Relaxed) + 1 },
            leader: BrokerId(1),
            isr: isr.iter().map(|&id| BrokerId(id)).collect(),
            effective_min_isr: 2,
            provisional: false,
            metadata_index: state.applied(),
        };
        self.shared.views.publish(view, self.clock.now().ms);
    }

    fn change(&self, change: ChangePermit, otherwise: &str) -> Result<PermitAnswer, PermitRefused> {
        match self.applied(Command::ChangePermit(change)) {
            Applied::PermitChanged { permit, .. } => {
                Ok(PermitAnswer { permit: Some((&permit).into()), blocks: Vec::new() })
            }
            _ => Err(refused(otherwise)),
        }
    }

    fn applied(&self, command: Command) -> Applied {
        let mut applied = None;
        self.shared.cluster.send_modify(|state| {
            let next = state.applied() + 1;
            applied = Some(Arc::make_mut(state).apply(next, &command));
        });
        applied.unwrap()
    }

    fn apply(&self, command: Command) -> Result<(), Problem> {
        self.applied(command).into_result().map(drop).map_err(|refusal| {
            let status = match refusal.code {
                RefusalCode::TopicExists => StatusCode::CONFLICT,
                RefusalCode::UnknownTopic | RefusalCode::UnknownBroker => StatusCode::NOT_FOUND,
                _ => StatusCode::BAD_REQUEST,
            };
            let message = refusal.to_string();
            let error = ErrorBody {
                code: refusal.code.as_str().into(),
                field: Some(refusal.field),
                value: Some(refusal.value),
                allowed: Some(refusal.allowed),
                message,
            };
            Problem { status: status.as_u16(), error: Box::new(error) }
        })
    }
}

fn refused(code: &str) -> PermitRefused {
    let error = PermitProblem { code: code.to_owned(), message: "no".to_owned() };
    PermitRefused { error, blocks: Vec::new(), blocked: 0 }
}

fn everyone() -> BTreeSet<BrokerId> {
    (1..=3).map(BrokerId).collect()
}

fn created(body: CreateTopicBody) -> Command {
    Command::CreateTopic(CreateTopic {
        id: TopicId(Uuid::new_v4()),
        name: body.name,
        replicas: TopicReplicas::Placed {
            partitions: body.partitions.unwrap_or(1),
            replication_factor: body.replication_factor.unwrap_or(3),
            alive: everyone(),
        },
        configs: body.configs,
    })
}

impl AdminBackend for Arc<TestBackend> {
    fn is_live(&self) -> bool {
        true
    }

    fn ready(&self) -> Result<(), String> {
        if self.ready.load(Ordering::Relaxed) { Ok(()) } else { Err("not yet".into()) }
    }

    fn metrics(&self) -> String {
        self.metrics.render().unwrap()
    }

    fn cluster(&self) -> ClusterReport {
        self.reports.cluster()
    }

    fn topics(&self, with_partitions: bool) -> Vec<TopicReport> {
        let state = Arc::clone(&self.shared.cluster.borrow());
        state.topics().map(|topic| self.reports.topic(topic, with_partitions)).collect()
    }

    fn topic(&self, name: &str) -> Option<TopicReport> {
        let state = Arc::clone(&self.shared.cluster.borrow());
        state.topic_by_name(name).map(|topic| self.reports.topic(topic, true))
    }

    fn changes(&self) -> broadcast::Receiver<GroupId> {
        self.shared.views.subscribe()
    }

    fn partition_of(&self, group: GroupId) -> Option<(String, i32)> {
        let state = Arc::clone(&self.shared.cluster.borrow());
        state.group(group).map(|(topic, partition)| (topic.name.clone(), partition.number))
    }

    async fn create(&self, body: CreateTopicBody) -> Result<(), Problem> {
        self.apply(created(body))
    }

    async fn alter(&self, name: String, body: PatchTopicBody) -> Result<(), Problem> {
        let topic = TopicRef::Name(name);
        if let Some(count) = body.partitions {
            let replicas = NewPartitions::Placed { alive: everyone() };
            self.apply(Command::CreatePartitions(CreatePartitions {
                topic: topic.clone(),
                count,
                replicas,
            }))?;
        }
        if let Some(replicas) = body.replicas {
            self.apply(Command::SetTopicReplicas(SetTopicReplicas { topic: topic.clone(), replicas }))?;
        }
        self.apply(Command::AlterTopicConfigs(AlterTopicConfigs { topic, changes: body.configs }))
    }

    async fn delete(&self, name: String) -> Result<(), Problem> {
        self.apply(Command::DeleteTopic(DeleteTopic { topic: TopicRef::Name(name) }))
    }

    async fn drain(&self) {
        self.drains.fetch_add(1, Ordering::Relaxed);
    }

    async fn set_standing(&self, broker: BrokerId, standing: Standing) -> Result<(), Problem> {
        self.apply(Command::SetStanding(SetStanding { broker, standing }))
    }

    async fn unregister(&self, broker: BrokerId) -> Result<(), Problem> {
        self.apply(Command::UnregisterBroker(UnregisterBroker { broker }))
    }

    fn permits(&self) -> PermitsReport {
        self.shared.cluster.borrow().permits().into()
    }

    /// Judges nothing: what metadata allows is granted.
    async fn ask_permit(&self, body: PermitBody) -> Result<PermitAnswer, PermitRefused> {
        let state = Arc::clone(&self.shared.cluster.borrow());
        let Some(registered) = state.broker(body.broker) else { return Err(refused("unknown_broker")) };
        let (broker, incarnation, reason) = (body.broker, registered.incarnation(), body.reason);
        let (pod_uid, allow_unavailable) = (body.pod_uid, body.allow_unavailable);
        let leave = Leave { broker, incarnation, pod_uid, reason, allow_unavailable };
        self.change(ChangePermit::Grant { judged: state.permits().version(), leave }, "permit_refused")
    }

    async fn begin_permit(&self, permit: PermitId, body: PodBody) -> Result<PermitAnswer, PermitRefused> {
        self.change(ChangePermit::Begin { permit, pod_uid: body.pod_uid }, "other_pod")
    }

    async fn abort_permit(&self, permit: PermitId, body: PodBody) -> Result<PermitAnswer, PermitRefused> {
        self.change(ChangePermit::Abort { permit, pod_uid: body.pod_uid }, "unknown_permit")
    }

    async fn recovery(&self) -> RecoveryReport {
        RecoveryReport { broker: BrokerId(1), metadata_leader: None, partitions: Vec::new() }
    }

    async fn recover(&self, body: RecoverBody) -> Result<RecoveryReport, Problem> {
        let message = format!("{} wants {:?}", body.by, body.partitions);
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message))
    }
}
