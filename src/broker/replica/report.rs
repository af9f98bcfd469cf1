//! Puts metadata, views and liveness together into what Metadata answers and the admin API say. Reads only.

use std::sync::Arc;

use chronik_core::balance::{self, Progress, Resize};
use chronik_core::config::{TopicConfig, TopicDefaults};
use chronik_core::ids::{BrokerId, ClusterId};
use chronik_core::metadata::{Broker, ClusterState, Partition, Topic};
use chronik_core::replication::high_watermark::effective_min_isr;
use chronik_core::view::{
    BrokerReport, ClusterReport, FollowerLag, ListenerReport, PartitionReport, PartitionState,
    PartitionTotals, ResizeReport, TopicReport,
};

use super::clock::Clock;
use super::engine::Shared;
use super::handle::{Leadership, PartitionHandle};
use super::views::Known;

/// Clients are told of a dead broker for this long: a restart takes less, and connections to it are refused at once.
const LISTED_AFTER_DEATH_MS: u64 = 5_000;

/// Makes reports for one broker.
#[derive(Clone)]
pub struct Reports {
    own: BrokerId,
    cluster: ClusterId,
    shared: Shared,
    topics: TopicDefaults,
    clock: Arc<dyn Clock>,
}

impl Reports {
    /// Reports of this broker.
    pub fn new(
        own: BrokerId,
        cluster: ClusterId,
        shared: Shared,
        topics: TopicDefaults,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { own, cluster, shared, topics, clock }
    }

    /// Whether clients may be sent to a broker: it is heard, or this broker is the one that is cut off and cannot know.
    pub fn is_alive(&self, broker: BrokerId) -> bool {
        let liveness = &self.shared.liveness;
        liveness.is_up(broker) || (!liveness.is_dead(broker) && !self.hears_majority())
    }

    /// Whether clients are told of a broker: of those that are heard or may be on their way back, and of all by one that
    /// hears no majority. Clients fail what is under way to a broker that is no longer listed, and one that has restarted
    /// serves them before the others hear it.
    pub fn is_listed(&self, broker: BrokerId) -> bool {
        let liveness = &self.shared.liveness;
        liveness.is_up(broker)
            || liveness.may_return(broker, LISTED_AFTER_DEATH_MS, self.clock.now().ms)
            || !self.hears_majority()
    }

    fn hears_majority(&self) -> bool {
        let cluster = self.shared.cluster.borrow();
        let heard = cluster.brokers().filter(|broker| self.shared.liveness.is_up(broker.id)).count();
        heard > cluster.brokers().len() / 2
    }

    /// What is known of a partition, and from whom.
    pub fn partition(&self, topic: &Topic, partition: &Partition) -> PartitionReport {
        let min_isr = TopicConfig::resolve(&topic.configs, &self.topics).min_insync_replicas;
        let mut report = PartitionReport {
            partition: partition.number,
            state: PartitionState::Unknown,
            leader: None,
            epoch: 0,
            replicas: partition.brokers(),
            isr: None,
            isr_age_ms: None,
            adding: partition.adding(),
            removing: partition.removing(),
            moving: partition.reassignment.is_some(),
            effective_min_isr: effective_min_isr(partition.target().len() as u32, min_isr),
            provisional: false,
            version: 0,
            quarantined: None,
            high_watermark: None,
            followers: Vec::new(),
        };
        match self.shared.views.get(partition.group, self.clock.now().ms) {
            Known::Leader(view, age_ms) => {
                report.epoch = view.at.term;
                report.version = view.at.version;
                if self.shared.liveness.is_up(view.leader) && !self.has_lost(partition, view.leader) {
                    report.state = PartitionState::Leader;
                    report.leader = Some(view.leader);
                    report.isr = Some(view.isr);
                    report.isr_age_ms = Some(age_ms);
                    report.effective_min_isr = view.effective_min_isr;
                    report.provisional = view.provisional;
                } else {
                    report.state = PartitionState::Offline;
                }
            }
            Known::Caretaker(epoch) => {
                report.state = PartitionState::Caretaker;
                report.leader = Some(self.own);
                report.epoch = epoch;
                report.isr = Some(vec![self.own]);
                report.isr_age_ms = Some(0);
            }
            Known::Stale | Known::Missing if self.is_lost(partition) => {
                report.state = PartitionState::Offline
            }
            Known::Stale | Known::Missing => {}
        }
        self.add_own_replica(topic, partition, &mut report);
        report
    }

    /// Whether the replica that a broker has of a partition was on a disk that was replaced.
    fn has_lost(&self, partition: &Partition, broker: BrokerId) -> bool {
        let cluster = self.shared.cluster.borrow();
        let replica = partition.replica_on(broker);
        replica.is_some_and(|replica| !cluster.is_registered(broker, replica.disk))
    }

    /// Whether so many replicas were on disks that were replaced that nobody can lead the others.
    fn is_lost(&self, partition: &Partition) -> bool {
        let replicas = partition.target();
        let lost = replicas.iter().filter(|replica| self.has_lost(partition, replica.broker)).count();
        replicas.len() - lost <= replicas.len() / 2
    }

    fn add_own_replica(&self, topic: &Topic, partition: &Partition, report: &mut PartitionReport) {
        if self.has_lost(partition, self.own) {
            report.quarantined = Some("its replica here was on a disk that was replaced".to_owned());
        }
        let Some(replica) = self.shared.partitions.get(topic.id, report.partition) else { return };
        report.high_watermark = Some(replica.high_watermark());
        report.followers = self.followers(&replica);
        if let Leadership::Quarantined { reason } = replica.leadership() {
            report.quarantined = Some(reason);
        }
    }

    /// Each follower's lag now: it was noted at the last check, and nothing is checked while a group rests.
    fn followers(&self, replica: &PartitionHandle) -> Vec<FollowerLag> {
        let now = self.clock.now();
        let (mut followers, noted_ms) = replica.followers();
        let age_ms = now.ms.saturating_sub(noted_ms);
        for follower in &mut followers {
            if follower.lag_ms > 0 {
                follower.lag_ms += age_ms;
            }
            // Then the whole broker is heard instead of each replica on it.
            let heard_ms = self.shared.liveness.pulse_ms(follower.broker).filter(|_| replica.is_quiet());
            let heard_ms = heard_ms.map_or(0, |ms| now.unix_ms.saturating_sub(now.ms.saturating_sub(ms)));
            follower.last_heartbeat_ms = follower.last_heartbeat_ms.max(heard_ms);
        }
        followers
    }

    /// One topic; with its partitions, or with totals alone.
    pub fn topic(&self, topic: &Topic, with_partitions: bool) -> TopicReport {
        let partitions: Vec<PartitionReport> =
            topic.partitions.iter().map(|partition| self.partition(topic, partition)).collect();
        TopicReport {
            name: topic.name.clone(),
            id: topic.id,
            replication_factor: topic.replication_factor,
            configs: topic.configs.clone(),
            resize: self.resize(topic),
            totals: totals(&partitions),
            partitions: if with_partitions { partitions } else { Vec::new() },
        }
    }

    fn resize(&self, topic: &Topic) -> Option<ResizeReport> {
        let state = Arc::clone(&self.shared.cluster.borrow());
        state.wanted_replicas(topic.id)?;
        let heard = state.brokers().map(|broker| broker.id).filter(|id| self.shared.liveness.is_up(*id));
        let view = |group| self.shared.views.get(group, self.clock.now().ms).leader();
        let Resize { replicas, done, blocked } = balance::resize(&state, &heard.collect(), view, topic)?;
        Some(ResizeReport { replicas, done, blocked })
    }

    /// The cluster as this broker sees it.
    pub fn cluster(&self) -> ClusterReport {
        let state = Arc::clone(&self.shared.cluster.borrow());
        let reports: Vec<PartitionReport> =
            state.partitions().map(|(topic, partition)| self.partition(topic, partition)).collect();
        ClusterReport {
            cluster_id: self.cluster.clone(),
            broker: self.own,
            metadata_leader: *self.shared.metadata_leader.borrow(),
            metadata_voters: self.shared.metadata_voters.borrow().clone(),
            metadata_index: state.applied(),
            brokers: state.brokers().map(|broker| self.broker(&state, broker, &reports)).collect(),
            partitions: totals(&reports),
            generation: state.generation(),
            recoveries: state.recoveries().to_vec(),
        }
    }

    fn broker(&self, state: &ClusterState, broker: &Broker, partitions: &[PartitionReport]) -> BrokerReport {
        let leads = |report: &&PartitionReport| report.leader == Some(broker.id);
        let holds = |report: &&PartitionReport| report.replicas.contains(&broker.id);
        let heard = state.brokers().map(|broker| broker.id).filter(|id| self.shared.liveness.is_up(*id));
        let Progress { moving, blocked } = balance::progress(state, &heard.collect(), broker.id);
        BrokerReport {
            id: broker.id,
            alive: self.shared.liveness.is_up(broker.id),
            rack: broker.rack.clone(),
            listeners: broker
                .listeners
                .iter()
                .map(|listener| ListenerReport {
                    name: listener.name.clone(),
                    address: format!("{}:{}", listener.host, listener.port),
                })
                .collect(),
            version: broker.version.clone(),
            leaders: partitions.iter().filter(leads).count() as u32,
            replicas: partitions.iter().filter(holds).count() as u32,
            standing: state.standing(broker.id),
            moving,
            blocked,
            disk: broker.disk.to_string(),
        }
    }
}

/// Counts over partitions.
pub fn totals(partitions: &[PartitionReport]) -> PartitionTotals {
    let mut totals = PartitionTotals { total: partitions.len() as u32, ..PartitionTotals::default() };
    for report in partitions {
        match (&report.isr, report.state) {
            (_, PartitionState::Offline) => totals.offline += 1,
            (Some(isr), _) => {
                let size = isr.len() as u32;
                // As in Kafka: who is only coming is not missed yet.
                let expected = report.replicas.len() - report.adding.len();
                totals.in_sync += u32::from(isr.len() >= expected);
                totals.under_replicated += u32::from(isr.len() < expected);
                totals.at_min_isr += u32::from(size == report.effective_min_isr);
                totals.under_min_isr += u32::from(size < report.effective_min_isr);
            }
            (None, _) => totals.unknown += 1,
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use chronik_core::ids::{DiskId, Incarnation, ReplicaId};
    use chronik_core::metadata::{Command, FeatureRange, Listener};
    use tokio::sync::watch;
    use uuid::Uuid;

    use super::super::{EngineCounts, Liveness, Loss, Now, Partitions, Views};
    use super::*;

    /// A clock that stands where it was put.
    struct HandClock(AtomicU64);

    impl Clock for HandClock {
        fn now(&self) -> Now {
            let ms = self.0.load(Ordering::Relaxed);
            Now { ms, unix_ms: ms }
        }
    }

    fn broker(id: u32) -> Broker {
        let listener = Listener { name: "PLAINTEXT".into(), host: "localhost".into(), port: 9092 };
        Broker {
            id: BrokerId(id),
            disk: DiskId(Uuid::from_u128(u128::from(id))),
            rack: None,
            listeners: vec![listener],
            peer_address: "localhost:9093".into(),
            version: "0.1.0".into(),
            features: FeatureRange::THIS_BUILD,
            incarnation_start: 1,
            metadata_replica: Some(ReplicaId(u64::from(id))),
        }
    }

    /// Reports of broker 1 of three, which hears nobody yet.
    fn reports(clock: Arc<dyn Clock>) -> Reports {
        let id: ClusterId = "a-cluster".parse().unwrap();
        let mut cluster = ClusterState::new(id.clone());
        for number in 1..=3 {
            let applied = cluster.apply(u64::from(number), &Command::RegisterBroker(broker(number)));
            assert!(applied.into_result().is_ok());
        }
        let shared = Shared {
            cluster: watch::Sender::new(Arc::new(cluster)),
            partitions: Arc::new(Partitions::default()),
            views: Arc::new(Views::default()),
            liveness: Arc::new(Liveness::new(BrokerId(1), DiskId(Uuid::from_u128(1)))),
            metadata_leader: watch::Sender::new(None),
            log_stopped: Arc::new(AtomicBool::new(false)),
            counts: Arc::new(EngineCounts::default()),
            formed: watch::Sender::new(None),
            generation: watch::Sender::new(None),
            metadata_voters: watch::Sender::new(Vec::new()),
        };
        Reports::new(BrokerId(1), id, shared, TopicDefaults::default(), clock)
    }

    #[test]
    fn a_lone_survivor_lists_the_dead_that_may_come_back_and_a_majority_does_not() {
        let clock = Arc::new(HandClock(AtomicU64::new(0)));
        let reports = reports(Arc::clone(&clock) as _);
        let listed = || [1, 2, 3].map(|id| reports.is_listed(BrokerId(id)));
        let liveness = &reports.shared.liveness;
        liveness.up(BrokerId(2), Incarnation { disk: DiskId(Uuid::from_u128(2)), start: 1 }, 0);
        assert_eq!(listed(), [true, true, true], "of broker 3 nothing is known yet");
        liveness.down(BrokerId(3), Loss::Dead, 0);
        clock.0.store(LISTED_AFTER_DEATH_MS, Ordering::Relaxed);
        liveness.down(BrokerId(3), Loss::Dead, LISTED_AFTER_DEATH_MS);
        assert_eq!(listed(), [true, true, true], "a restart takes this long at most");
        clock.0.store(LISTED_AFTER_DEATH_MS + 1, Ordering::Relaxed);
        assert_eq!(listed(), [true, true, false]);
        liveness.down(BrokerId(2), Loss::Silent, LISTED_AFTER_DEATH_MS + 1);
        assert_eq!(listed(), [true, true, true], "alone, it may be the one that is cut off");
        assert!(!reports.is_alive(BrokerId(3)), "listed, and known to be offline");
    }
}
