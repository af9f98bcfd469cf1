//! What one cluster's brokers said last, and how changes are merged into it. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chronik_core::rollout::journal::IsrSeen;
use chronik_core::view::{ClusterReport, PartitionReport, TopicReport};
use tokio::time::Instant;

/// The newest of everything.
#[derive(Default)]
pub struct FeedState {
    /// The broker that is asked; `None` while no broker answers.
    source: Option<String>,
    /// True once a broker was found, or none for a while.
    settled: bool,
    cluster: Option<ClusterReport>,
    /// When that was said.
    cluster_at: Option<Instant>,
    topics: HashMap<String, Arc<TopicReport>>,
    /// The id of a cluster that answered although it is not ours.
    foreign: Option<String>,
}

/// What a feed knows of one topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The feed has only just started to look for a broker: nothing can be said yet.
    Pending,
    /// No broker answers.
    Unreachable,
    /// The broker at this address serves, and the topic is not there.
    Absent { broker: String },
    /// The broker at this address serves, and this is the topic.
    Present { broker: String, report: Arc<TopicReport> },
}

impl FeedState {
    /// The broker that is asked.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Whether something can be said, be it that no broker answers.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// The cluster as that broker sees it.
    pub fn cluster(&self) -> Option<&ClusterReport> {
        self.source.as_ref().and(self.cluster.as_ref())
    }

    /// How long ago it said so.
    pub fn cluster_age(&self) -> Option<Duration> {
        self.source.as_ref().and(self.cluster_at).map(|at| at.elapsed())
    }

    /// The id of a cluster that answered although it is not ours.
    pub fn foreign(&self) -> Option<&str> {
        self.foreign.as_deref()
    }

    /// What is known of a topic.
    pub fn topic(&self, name: &str) -> Seen {
        let Some(broker) = self.source.clone() else {
            return if self.settled { Seen::Unreachable } else { Seen::Pending };
        };
        match self.topics.get(name) {
            Some(report) => Seen::Present { broker, report: report.clone() },
            None => Seen::Absent { broker },
        }
    }

    /// Partitions whose ISR is not known or lacks a replica, by topic and number: so many of them.
    pub fn out_of_sync(&self, max: usize) -> Vec<IsrSeen> {
        let is_out = |partition: &PartitionReport| {
            partition.isr.as_ref().is_none_or(|isr| isr.len() < partition.replicas.len())
        };
        let mut out = Vec::new();
        for topic in self.topics.values() {
            let of_topic = topic.partitions.iter().filter(|partition| is_out(partition));
            out.extend(of_topic.map(|partition| (topic.name.as_str(), partition)));
        }
        out.sort_by_key(|(topic, partition)| (*topic, partition.partition));
        out.truncate(max);
        out.into_iter().map(|(topic, partition)| isr_seen(topic, partition)).collect()
    }

    /// A broker was found; what it lists replaces what was known.
    pub(super) fn found(&mut self, source: String, cluster: ClusterReport, topics: Vec<TopicReport>) {
        self.source = Some(source);
        self.cluster = Some(cluster);
        self.cluster_at = Some(Instant::now());
        self.settled = true;
        self.foreign = None;
        self.topics = topics.into_iter().map(|topic| (topic.name.clone(), Arc::new(topic))).collect();
    }

    /// No broker answers. True if that is news.
    pub(super) fn lost(&mut self, foreign: Option<String>) -> bool {
        let changed = !self.settled || self.source.is_some() || self.foreign != foreign;
        self.settled = true;
        self.source = None;
        self.foreign = foreign;
        changed
    }

    /// The source's newer word on the cluster. True if it says something new that statuses show.
    pub(super) fn cluster_said(&mut self, report: ClusterReport) -> bool {
        let shown = |report: &ClusterReport| {
            let brokers: Vec<_> = report.brokers.iter().map(|broker| (broker.id, broker.alive)).collect();
            (report.metadata_leader, brokers, report.partitions)
        };
        let changed = self.cluster.as_ref().map(shown) != Some(shown(&report));
        self.cluster = Some(report);
        self.cluster_at = Some(Instant::now());
        changed
    }

    /// One line of the watch: the partitions it names are replaced, the rest stays. True if a status may change.
    pub(super) fn topic_said(&mut self, said: TopicReport) -> bool {
        let before = self.topics.get(&said.name);
        let merged = match before {
            Some(before) if before.id == said.id => merge(before, said),
            _ => said,
        };
        let changed = before.is_none_or(|before| !looks_same(before, &merged));
        self.topics.insert(merged.name.clone(), Arc::new(merged));
        changed
    }

    /// A list without partitions: names those that came, went or differ, and forgets those that went.
    pub(super) fn listed(&mut self, listed: &[TopicReport]) -> Sweep {
        let names: HashMap<&str, &TopicReport> =
            listed.iter().map(|topic| (topic.name.as_str(), topic)).collect();
        let gone: Vec<String> =
            self.topics.keys().filter(|name| !names.contains_key(name.as_str())).cloned().collect();
        gone.iter().for_each(|name| drop(self.topics.remove(name)));
        let differs = |topic: &&TopicReport| {
            self.topics.get(&topic.name).is_none_or(|known| {
                known.id != topic.id
                    || known.configs != topic.configs
                    || known.totals != topic.totals
                    || known.resize != topic.resize
            })
        };
        Sweep { gone, differing: listed.iter().filter(differs).map(|topic| topic.name.clone()).collect() }
    }

    /// A topic as a broker just answered about it.
    pub fn learned(&mut self, report: TopicReport) {
        self.topics.insert(report.name.clone(), Arc::new(report));
    }

    /// A topic was deleted.
    pub fn forget(&mut self, name: &str) {
        self.topics.remove(name);
    }
}

fn isr_seen(topic: &str, partition: &PartitionReport) -> IsrSeen {
    let (isr, replicas) = (partition.isr.clone(), partition.replicas.clone());
    let (term, version) = (partition.epoch, partition.version);
    IsrSeen { topic: topic.to_owned(), partition: partition.partition, term, version, isr, replicas }
}

/// What a sweep over all topics found.
#[derive(Debug, PartialEq, Default)]
pub(super) struct Sweep {
    /// Topics that are no longer there.
    pub gone: Vec<String>,
    /// Topics to be asked for one by one.
    pub differing: Vec<String>,
}

fn merge(before: &TopicReport, said: TopicReport) -> TopicReport {
    let mut partitions: BTreeMap<i32, PartitionReport> =
        before.partitions.iter().map(|partition| (partition.partition, partition.clone())).collect();
    partitions.extend(said.partitions.iter().map(|partition| (partition.partition, partition.clone())));
    TopicReport { partitions: partitions.into_values().collect(), ..said }
}

/// Whether two reports lead to the same status: ages, positions and lags are not shown.
fn looks_same(a: &TopicReport, b: &TopicReport) -> bool {
    let shown = |p: &PartitionReport| {
        let moves = (p.adding.len(), p.removing.len());
        let isr = (p.isr.clone(), p.effective_min_isr);
        (p.partition, p.state, p.leader, p.epoch, p.replicas.clone(), moves, isr)
    };
    let head = |t: &TopicReport| (t.id, t.replication_factor, t.configs.clone(), t.totals, t.resize.clone());
    head(a) == head(b) && a.partitions.iter().map(shown).eq(b.partitions.iter().map(shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_core::ids::{BrokerId, TopicId};
    use chronik_core::view::{PartitionState, PartitionTotals};

    fn topic(name: &str, partitions: &[(i32, &[u32])]) -> TopicReport {
        let partition = |&(partition, isr): &(i32, &[u32])| PartitionReport {
            partition,
            state: PartitionState::Leader,
            leader: Some(BrokerId(isr[0])),
            epoch: 1,
            replicas: [1, 2, 3].map(BrokerId).to_vec(),
            isr: Some(isr.iter().copied().map(BrokerId).collect()),
            adding: Vec::new(),
            removing: Vec::new(),
            moving: false,
            isr_age_ms: Some(5),
            effective_min_isr: 2,
            provisional: false,
            version: 1,
            quarantined: None,
            high_watermark: None,
            followers: Vec::new(),
        };
        TopicReport {
            name: name.to_owned(),
            id: TopicId(Default::default()),
            replication_factor: 3,
            resize: None,
            configs: BTreeMap::new(),
            totals: PartitionTotals { total: 2, ..PartitionTotals::default() },
            partitions: partitions.iter().map(partition).collect(),
        }
    }

    fn cluster() -> ClusterReport {
        super::super::choose::tests::report(1, Some(1), &[true; 3])
    }

    #[test]
    fn a_line_of_the_watch_replaces_only_the_partitions_it_names() {
        let mut state = FeedState::default();
        state.found("b:1".to_owned(), cluster(), vec![topic("t", &[(0, &[1, 2, 3]), (1, &[2, 1, 3])])]);
        assert!(state.topic_said(topic("t", &[(1, &[2, 1])])));
        let Seen::Present { report, .. } = state.topic("t") else { panic!("the topic is there") };
        let sizes: Vec<_> = report.partitions.iter().map(|p| p.isr.as_ref().unwrap().len()).collect();
        assert_eq!(sizes, [3, 2]);
    }

    #[test]
    fn an_older_isr_age_is_no_news() {
        let mut state = FeedState::default();
        state.found("b:1".to_owned(), cluster(), vec![topic("t", &[(0, &[1, 2])])]);
        let mut later = topic("t", &[(0, &[1, 2])]);
        later.partitions[0].isr_age_ms = Some(900);
        assert!(!state.topic_said(later));
        assert!(!state.cluster_said(ClusterReport { metadata_index: 99, ..cluster() }));
    }

    #[test]
    fn what_is_no_longer_heard_is_unreachable_and_never_the_old_view() {
        let mut state = FeedState::default();
        assert_eq!(state.topic("t"), Seen::Pending);
        state.found("b:1".to_owned(), cluster(), vec![topic("t", &[(0, &[1, 2])])]);
        assert_eq!(state.topic("other"), Seen::Absent { broker: "b:1".to_owned() });
        assert!(state.lost(None) && !state.lost(None));
        assert_eq!(state.topic("t"), Seen::Unreachable);
        assert!(state.cluster().is_none());
    }

    #[test]
    fn a_sweep_forgets_deleted_topics_and_names_changed_ones() {
        let mut state = FeedState::default();
        let known =
            vec![topic("same", &[(0, &[1])]), topic("gone", &[(0, &[1])]), topic("drifted", &[(0, &[1])])];
        state.found("b:1".to_owned(), cluster(), known);
        let mut drifted = topic("drifted", &[]);
        drifted.configs.insert("max.message.bytes".to_owned(), "7".to_owned());
        let sweep = state.listed(&[topic("same", &[]), drifted, topic("new", &[])]);
        assert_eq!(sweep.gone, ["gone"]);
        assert_eq!(sweep.differing, ["drifted", "new"]);
        assert_eq!(state.topic("gone"), Seen::Absent { broker: "b:1".to_owned() });
    }
}
