//! Puts metadata, views and liveness together into what Metadata answers and the admin API say. Reads only.

use std::sync::Arc;

use chronik_core::config::{TopicConfig, TopicDefaults};
use chronik_core::ids::{BrokerId, ClusterId};
use chronik_core::metadata::{Partition, Topic};
use chronik_core::replication::high_watermark::effective_min_isr;
use chronik_core::view::{
    BrokerReport, ClusterReport, ListenerReport, PartitionReport, PartitionState, PartitionTotals,
    TopicReport,
};

use super::clock::Clock;
use super::engine::Shared;
use super::handle::Leadership;
use super::views::Known;

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
            replicas: partition.replicas.iter().map(|replica| replica.broker).collect(),
            isr: None,
            isr_age_ms: None,
            effective_min_isr: effective_min_isr(partition.replicas.len() as u32, min_isr),
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
                if self.shared.liveness.is_up(view.leader) {
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
            Known::Stale | Known::Missing => {}
        }
        self.add_own_replica(topic, &mut report);
        report
    }

    fn add_own_replica(&self, topic: &Topic, report: &mut PartitionReport) {
        let Some(replica) = self.shared.partitions.get(topic.id, report.partition) else { return };
        report.high_watermark = Some(replica.high_watermark());
        report.followers = replica.followers();
        if let Leadership::Quarantined { reason } = replica.leadership() {
            report.quarantined = Some(reason);
        }
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
            totals: totals(&partitions),
            partitions: if with_partitions { partitions } else { Vec::new() },
        }
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
            metadata_index: state.applied(),
            brokers: state.brokers().map(|broker| self.broker(broker, &reports)).collect(),
            partitions: totals(&reports),
        }
    }

    fn broker(
        &self,
        broker: &chronik_core::metadata::Broker,
        partitions: &[PartitionReport],
    ) -> BrokerReport {
        let leads = |report: &&PartitionReport| report.leader == Some(broker.id);
        let holds = |report: &&PartitionReport| report.replicas.contains(&broker.id);
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
                totals.in_sync += u32::from(isr.len() == report.replicas.len());
                totals.under_replicated += u32::from(isr.len() < report.replicas.len());
                totals.at_min_isr += u32::from(size == report.effective_min_isr);
                totals.under_min_isr += u32::from(size < report.effective_min_isr);
            }
            (None, _) => totals.unknown += 1,
        }
    }
    totals
}
