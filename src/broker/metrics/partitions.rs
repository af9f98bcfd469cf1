//! What is said about partitions: the seed's four series, and the counts a Kafka operator watches.
//!
//! A partition is reported by the broker that leads it (or is its caretaker), so that sums over brokers are right.
//! The series are filled anew at each scrape from what is led at that moment: none can outlive its partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronik_core::ids::GroupId;
use chronik_core::view::FollowerLag;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge, IntGaugeVec, Registry, Result};

use super::register::{counter, gauge, gauges, raise, value};

/// A partition as its leader here sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LedPartition {
    pub topic: String,
    pub partition: i32,
    /// Members of the ISR, the leader among them.
    pub isr: u32,
    pub replicas: u32,
    pub effective_min_isr: u32,
    /// True if this is a lone survivor's view rather than a leader's.
    pub caretaker: bool,
    pub followers: Vec<FollowerLag>,
}

/// See the module.
pub struct PartitionMetrics {
    per_partition: bool,
    led: Mutex<BTreeMap<GroupId, Arc<LedPartition>>>,
    /// One scrape at a time fills the series and reads them, so that none sees them half filled.
    scrape: Mutex<()>,
    series: Series,
    totals: Totals,
    isr_shrinks: IntCounter,
    isr_expands: IntCounter,
    leader_changes: IntCounter,
    transfers: IntCounter,
    transfers_ms: IntCounter,
    longest_transfer_ms: IntGauge,
    replicas: IntGauge,
    quiet: IntGauge,
    quarantined: IntGauge,
    offline: IntGauge,
    unknown: IntGauge,
}

/// The seed's four, by its names.
struct Series {
    isr_size: IntGaugeVec,
    lag_entries: IntGaugeVec,
    lag_ms: IntGaugeVec,
    last_heartbeat: IntGaugeVec,
}

struct Totals {
    leaders: IntGauge,
    caretakers: IntGauge,
    under_replicated: IntGauge,
    under_min_isr: IntGauge,
    at_min_isr: IntGauge,
    max_lag_entries: IntGauge,
    max_lag_ms: IntGauge,
}

impl PartitionMetrics {
    pub(super) fn new(r: &Registry, per_partition: bool) -> Result<Self> {
        Ok(Self {
            per_partition,
            led: Mutex::default(),
            scrape: Mutex::default(),
            series: Series::new(r)?,
            totals: Totals::new(r)?,
            isr_shrinks: counter(r, "chronik_isr_shrinks_total", "Replicas that left an ISR led here.")?,
            isr_expands: counter(r, "chronik_isr_expands_total", "Replicas that joined an ISR led here.")?,
            leader_changes: counter(
                r,
                "chronik_leader_changes_total",
                "Times this broker began to lead a partition.",
            )?,
            transfers: counter(
                r,
                "chronik_leadership_transfers_total",
                "Partitions this broker handed over to another leader.",
            )?,
            transfers_ms: counter(
                r,
                "chronik_leadership_transfers_ms_total",
                "Time of these hand-overs altogether: from the last batch taken here to the next leader's first word.",
            )?,
            longest_transfer_ms: gauge(
                r,
                "chronik_leadership_transfer_longest_ms",
                "The longest of these hand-overs since the start.",
            )?,
            replicas: gauge(r, "chronik_replicas", "Replicas on this broker.")?,
            quiet: gauge(
                r,
                "chronik_quiet_replicas",
                "Replicas on this broker whose partition rests: nothing happens in it, and nothing is sent for it.",
            )?,
            quarantined: gauge(
                r,
                "chronik_quarantined_replicas",
                "Replicas on this broker that were taken out of service because of damage.",
            )?,
            offline: gauge(
                r,
                "chronik_offline_partitions",
                "Partitions of the cluster that have lost their leader, as this broker sees it: not to be summed.",
            )?,
            unknown: gauge(
                r,
                "chronik_unknown_partitions",
                "Partitions of the cluster whose state this broker does not know: not to be summed.",
            )?,
        })
    }

    /// The partition is led here, and this is how it stands. To be called at every change and at every check.
    pub fn set_led(&self, group: GroupId, partition: LedPartition) {
        self.led.lock().insert(group, Arc::new(partition));
    }

    /// The partition is no longer led here, or is gone: its series go with it.
    pub fn remove_led(&self, group: GroupId) {
        self.led.lock().remove(&group);
    }

    /// Forgets every partition that does not pass: its topic was deleted.
    pub fn retain_led(&self, keep: impl Fn(GroupId) -> bool) {
        self.led.lock().retain(|group, _| keep(*group));
    }

    /// Since the start: replicas that left and joined ISRs led here, and times a leadership began.
    pub fn set_changes(&self, shrinks: u64, expands: u64, led: u64) {
        raise(&self.isr_shrinks, shrinks);
        raise(&self.isr_expands, expands);
        raise(&self.leader_changes, led);
    }

    /// Since the start: hand-overs, their time altogether and the longest of them, in milliseconds.
    pub fn set_transfers(&self, count: u64, ms: u64, longest_ms: u64) {
        raise(&self.transfers, count);
        raise(&self.transfers_ms, ms);
        self.longest_transfer_ms.set(value(longest_ms));
    }

    /// Replicas on this broker, how many of them are out of service, and how many rest.
    pub fn set_replicas(&self, all: usize, quarantined: usize, quiet: usize) {
        self.replicas.set(value(all));
        self.quiet.set(value(quiet));
        self.quarantined.set(value(quarantined));
    }

    /// Partitions of the cluster that lost their leader, and those of which this broker knows nothing recent.
    pub fn set_cluster(&self, offline: usize, unknown: usize) {
        self.offline.set(value(offline));
        self.unknown.set(value(unknown));
    }

    /// Fills the series from what is led now, and holds them so while `read` runs. Those who set and remove
    /// partitions do not wait for it.
    pub(super) fn filled<T>(&self, read: impl FnOnce() -> T) -> T {
        let _one_at_a_time = self.scrape.lock();
        let led: Vec<Arc<LedPartition>> = self.led.lock().values().cloned().collect();
        self.totals.fill(&led);
        self.series.reset();
        if self.per_partition {
            led.iter().for_each(|partition| self.series.fill(partition));
        }
        read()
    }
}

impl Series {
    fn new(r: &Registry) -> Result<Self> {
        let (partition, follower) = (["topic", "partition"], ["topic", "partition", "follower_id"]);
        Ok(Self {
            isr_size: gauges(
                r,
                "chronik_raft_isr_size",
                &partition,
                "Replicas in sync, the leader among them.",
            )?,
            lag_entries: gauges(
                r,
                "chronik_raft_follower_lag_entries",
                &follower,
                "Records between a follower's synced position and its leader's end.",
            )?,
            lag_ms: gauges(
                r,
                "chronik_raft_follower_lag_ms",
                &follower,
                "Milliseconds since a follower last had all that its leader had.",
            )?,
            last_heartbeat: gauges(
                r,
                "chronik_raft_last_heartbeat_timestamp_ms",
                &follower,
                "Unix milliseconds at which the leader last heard from a follower; 0 if not in this term.",
            )?,
        })
    }

    fn reset(&self) {
        for series in [&self.isr_size, &self.lag_entries, &self.lag_ms, &self.last_heartbeat] {
            series.reset();
        }
    }

    fn fill(&self, led: &LedPartition) {
        let (topic, number) = (led.topic.as_str(), led.partition.to_string());
        self.isr_size.with_label_values(&[topic, &number]).set(value(led.isr));
        for follower in &led.followers {
            let id = follower.broker.to_string();
            let labels = [topic, &number, &id];
            self.lag_entries.with_label_values(&labels).set(value(follower.lag_entries));
            self.lag_ms.with_label_values(&labels).set(value(follower.lag_ms));
            self.last_heartbeat.with_label_values(&labels).set(value(follower.last_heartbeat_ms));
        }
    }
}

impl Totals {
    fn new(r: &Registry) -> Result<Self> {
        Ok(Self {
            leaders: gauge(r, "chronik_leaders", "Partitions this broker leads.")?,
            caretakers: gauge(
                r,
                "chronik_caretaker_partitions",
                "Partitions without a quorum that this broker shows as their lone survivor.",
            )?,
            under_replicated: gauge(
                r,
                "chronik_under_replicated_partitions",
                "Partitions led here whose ISR lacks a replica.",
            )?,
            under_min_isr: gauge(
                r,
                "chronik_under_min_isr_partitions",
                "Partitions led here whose ISR is below the effective min ISR: they refuse acks=all.",
            )?,
            at_min_isr: gauge(
                r,
                "chronik_at_min_isr_partitions",
                "Partitions led here whose ISR is just the effective min ISR: one loss more and they refuse acks=all.",
            )?,
            max_lag_entries: gauge(
                r,
                "chronik_follower_lag_entries_max",
                "Largest lag in records of any follower of a partition led here.",
            )?,
            max_lag_ms: gauge(
                r,
                "chronik_follower_lag_ms_max",
                "Largest lag in milliseconds of any follower of a partition led here.",
            )?,
        })
    }

    fn fill(&self, led: &[Arc<LedPartition>]) {
        let count = |holds: fn(&LedPartition) -> bool| value(led.iter().filter(|p| holds(p)).count());
        self.leaders.set(count(|p| !p.caretaker));
        self.caretakers.set(count(|p| p.caretaker));
        self.under_replicated.set(count(|p| p.isr < p.replicas));
        self.under_min_isr.set(count(|p| p.isr < p.effective_min_isr));
        self.at_min_isr.set(count(|p| p.isr == p.effective_min_isr));
        let followers = led.iter().flat_map(|p| &p.followers);
        self.max_lag_entries.set(value(followers.clone().map(|f| f.lag_entries).max().unwrap_or(0)));
        self.max_lag_ms.set(value(followers.map(|f| f.lag_ms).max().unwrap_or(0)));
    }
}
