//! A backend without engine, disk or network: the real state machine, and replicas in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chronik_core::config::{BrokerValues, TopicConfig, TopicDefaults};
use chronik_core::ids::{BrokerId, DiskId, GroupId, ReplicaId, TopicId};
use chronik_core::metadata::{
    Applied, Broker, ClusterState, Command, CreateTopic, FeatureRange, Listener, Partition, Topic,
    TopicReplicas,
};
use chronik_core::view::{PartitionReport, PartitionState};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use uuid::Uuid;

use super::replica::MemoryReplica;
use crate::handlers::backend::{Backend, CreationDefaults, Leadership, ProposeError, ReplicaHandle};
use crate::metrics::Metrics;

pub(crate) const SELF: BrokerId = BrokerId(1);
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

pub(crate) struct MemoryBackend {
    pub(crate) metrics: Arc<Metrics>,
    cluster: Mutex<Arc<ClusterState>>,
    alive: Mutex<BTreeSet<BrokerId>>,
    replicas: Mutex<BTreeMap<(TopicId, i32), Arc<MemoryReplica>>>,
    reports: Mutex<BTreeMap<(TopicId, i32), PartitionReport>>,
    proposals: Mutex<Option<ProposeError>>,
    metadata_leader: Mutex<Option<BrokerId>>,
    elections_held: AtomicBool,
}

impl MemoryBackend {
    /// Three brokers, all alive, of which this is the first; a second listener that only brokers 1 and 2 have.
    pub(crate) fn of_three() -> Arc<Self> {
        let mut cluster = ClusterState::new("a-cluster".parse().expect("a valid id"));
        for id in 1..=3 {
            let index = cluster.applied() + 1;
            assert!(cluster.apply(index, &Command::RegisterBroker(broker(id))).into_result().is_ok());
        }
        Arc::new(Self {
            metrics: Arc::new(Metrics::new(true).expect("metrics")),
            cluster: Mutex::new(Arc::new(cluster)),
            alive: Mutex::new((1..=3).map(BrokerId).collect()),
            replicas: Mutex::default(),
            reports: Mutex::default(),
            proposals: Mutex::default(),
            metadata_leader: Mutex::new(Some(BrokerId(2))),
            elections_held: AtomicBool::new(false),
        })
    }

    /// A topic of this broker alone, unless `factor` says more; it leads all partitions in epoch 5.
    pub(crate) fn topic(&self, name: &str, partitions: i32, factor: i32) -> TopicId {
        self.topic_with(name, partitions, factor, BTreeMap::new())
    }

    pub(crate) fn topic_with(
        &self,
        name: &str,
        partitions: i32,
        factor: i32,
        configs: BTreeMap<String, String>,
    ) -> TopicId {
        self.create(Uuid::new_v4(), name, partitions, factor, configs)
    }

    /// A topic of this broker alone with that id.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn topic_as(&self, id: Uuid, name: &str, partitions: i32) -> TopicId {
        self.create(id, name, partitions, 1, BTreeMap::new())
    }

    fn create(
        &self,
        id: Uuid,
        name: &str,
        partitions: i32,
        factor: i32,
        configs: BTreeMap<String, String>,
    ) -> TopicId {
        let brokers: Vec<_> = (1..=factor as u32).map(BrokerId).collect();
        let replicas = TopicReplicas::Manual(vec![brokers; partitions as usize]);
        let id = TopicId(id);
        let command = Command::CreateTopic(CreateTopic { id, name: name.into(), replicas, configs });
        assert!(self.apply(&command).into_result().is_ok());
        id
    }

    pub(crate) fn replica_of(&self, topic: TopicId, partition: i32) -> Arc<MemoryReplica> {
        self.replicas.lock()[&(topic, partition)].clone()
    }

    pub(crate) fn lose_replica(&self, topic: TopicId, partition: i32) {
        self.replicas.lock().remove(&(topic, partition));
    }

    pub(crate) fn kill(&self, broker: BrokerId) {
        self.alive.lock().remove(&broker);
    }

    pub(crate) fn report_as(
        &self,
        topic: TopicId,
        state: PartitionState,
        leader: Option<u32>,
        isr: Option<&[u32]>,
    ) {
        let cluster = self.cluster();
        let known = cluster.topic(topic).expect("the topic exists");
        let mut report = self.report(known, &known.partitions[0]);
        report.state = state;
        report.leader = leader.map(BrokerId);
        report.isr = isr.map(|isr| isr.iter().copied().map(BrokerId).collect());
        if state == PartitionState::Unknown {
            report.epoch = 0;
        }
        self.reports.lock().insert((topic, 0), report);
    }

    /// From now on new partitions have no leader until [`MemoryBackend::elect_leaders`].
    pub(crate) fn hold_elections(&self) {
        self.elections_held.store(true, Ordering::Relaxed);
    }

    pub(crate) fn elect_leaders(&self) {
        self.elections_held.store(false, Ordering::Relaxed);
    }

    pub(crate) fn fail_proposals(&self, error: ProposeError) {
        *self.proposals.lock() = Some(error);
    }

    /// From now on it knows this of the cluster; gives what it knew.
    pub(crate) fn know(&self, cluster: Arc<ClusterState>) -> Arc<ClusterState> {
        std::mem::replace(&mut *self.cluster.lock(), cluster)
    }

    pub(crate) fn forget_metadata_leader(&self) {
        *self.metadata_leader.lock() = None;
    }

    fn apply(&self, command: &Command) -> Applied {
        let mut cluster = self.cluster.lock();
        let state = Arc::make_mut(&mut cluster);
        let index = state.applied() + 1;
        let applied = state.apply(index, command);
        self.host(state);
        applied
    }

    fn host(&self, cluster: &ClusterState) {
        let mut replicas = self.replicas.lock();
        for (topic, partition) in cluster.partitions() {
            if partition.replica_on(SELF).is_none() {
                continue;
            }
            let leader = partition.replicas[0].broker;
            let leadership = match leader {
                SELF => Leadership::Leader { epoch: 5 },
                other => Leadership::Follower { leader: Some(other), epoch: 5 },
            };
            let replica = || Arc::new(MemoryReplica::new(leadership));
            replicas.entry((topic.id, partition.number)).or_insert_with(replica);
        }
    }
}

pub(crate) fn broker(id: u32) -> Broker {
    let listener = |name: &str, port: u32| Listener {
        name: name.into(),
        host: format!("broker-{id}.example"),
        port: (port + id) as u16,
    };
    let mut listeners = vec![listener("PLAINTEXT", 9090)];
    if id < 3 {
        listeners.push(listener("OTHER", 19090));
    }
    Broker {
        id: BrokerId(id),
        disk: DiskId(Uuid::from_u128(u128::from(id))),
        rack: Some(format!("rack-{id}")),
        listeners,
        peer_address: format!("broker-{id}.example:7000"),
        version: "0.1.0".into(),
        features: FeatureRange::THIS_BUILD,
        incarnation_start: 1,
        metadata_replica: Some(ReplicaId(u64::from(id))),
    }
}

impl Backend for MemoryBackend {
    fn broker_id(&self) -> BrokerId {
        SELF
    }

    fn cluster(&self) -> Arc<ClusterState> {
        self.cluster.lock().clone()
    }

    fn is_member(&self) -> bool {
        self.cluster().broker(SELF).is_some()
    }

    fn is_alive(&self, broker: BrokerId) -> bool {
        self.alive.lock().contains(&broker)
    }

    fn is_listed(&self, broker: BrokerId) -> bool {
        self.is_alive(broker)
    }

    fn metadata_leader(&self) -> Option<BrokerId> {
        *self.metadata_leader.lock()
    }

    fn report(&self, topic: &Topic, partition: &Partition) -> PartitionReport {
        if let Some(report) = self.reports.lock().get(&(topic.id, partition.number)) {
            return report.clone();
        }
        let replicas: Vec<_> = partition.replicas.iter().map(|replica| replica.broker).collect();
        PartitionReport {
            partition: partition.number,
            state: PartitionState::Leader,
            leader: (!self.elections_held.load(Ordering::Relaxed)).then_some(replicas[0]),
            epoch: 5,
            isr: Some(replicas.clone()),
            replicas,
            adding: Vec::new(),
            removing: Vec::new(),
            moving: false,
            isr_age_ms: Some(3),
            effective_min_isr: 1,
            provisional: false,
            version: 1,
            quarantined: None,
            high_watermark: None,
            followers: Vec::new(),
        }
    }

    fn replica(&self, topic: TopicId, partition: i32) -> Option<Arc<dyn ReplicaHandle>> {
        self.replicas.lock().get(&(topic, partition)).map(|replica| replica.clone() as Arc<dyn ReplicaHandle>)
    }

    fn topic_config(&self, topic: &Topic) -> TopicConfig {
        TopicConfig::resolve(&topic.configs, &TopicDefaults::default())
    }

    fn creation_defaults(&self) -> CreationDefaults {
        CreationDefaults { partitions: 4, replication_factor: 2 }
    }

    fn broker_values(&self) -> Arc<BrokerValues> {
        let value = |value: &str, set| chronik_core::config::BrokerValue { value: value.into(), set };
        Arc::new(BTreeMap::from([("node.id", value("1", true)), ("min.insync.replicas", value("2", false))]))
    }

    fn unix_ms(&self) -> i64 {
        NOW_MS
    }

    fn elect_preferred(&self, groups: Vec<GroupId>) {
        let cluster = self.cluster();
        for (topic, partition) in groups.into_iter().filter_map(|group| cluster.group(group)) {
            if let Some(report) = self.reports.lock().get_mut(&(topic.id, partition.number)) {
                report.leader = Some(partition.replicas[0].broker);
            }
        }
    }

    fn propose(
        &self,
        command: Command,
        _timeout: Duration,
    ) -> BoxFuture<'static, Result<Applied, ProposeError>> {
        let result = match self.proposals.lock().clone() {
            Some(error) => Err(error),
            None => Ok(self.apply(&command)),
        };
        futures::future::ready(result).boxed()
    }
}
