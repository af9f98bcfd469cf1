//! `topics`: each topic's partitions in numbers, the worst off first.

use std::collections::BTreeMap;

use chronik_core::view::{PartitionTotals, TopicReport};
use serde::Serialize;

use crate::seen::{Seen, Told};
use crate::show::{Cell, Paint, Shown, Table, Tone};

/// The document of `topics -o json`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Topics {
    /// Name of the BrokerCluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// The worst off first.
    pub topics: Vec<Topic>,
}

/// One topic.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// Replicas of each, as created.
    pub replication_factor: u32,
    /// In-sync replicas that acks=all needs; absent without partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_min_isr: Option<u32>,
    /// How many partitions have so many in-sync replicas; those of which nothing is known are not among them.
    pub isr_sizes: BTreeMap<usize, u32>,
    /// Partitions whose ISR holds every replica.
    pub in_sync: u32,
    /// Partitions whose ISR lacks a replica.
    pub under_replicated: u32,
    /// Partitions with exactly as many in-sync replicas as acks=all needs.
    pub at_min_isr: u32,
    /// Partitions with fewer: they refuse acks=all.
    pub under_min_isr: u32,
    /// Partitions without a leader.
    pub offline: u32,
    /// Partitions about which nothing recent is known.
    pub unknown: u32,
    /// Partitions whose replicas are moving.
    pub moving: u32,
}

/// All of them.
pub(crate) fn topics(seen: &Seen, told: &Told) -> Topics {
    let mut topics: Vec<Topic> = told.topics.iter().map(topic).collect();
    let badness = |topic: &Topic| (topic.offline, topic.under_min_isr, topic.unknown, topic.under_replicated);
    topics.sort_by(|a, b| badness(b).cmp(&badness(a)).then_with(|| a.name.cmp(&b.name)));
    Topics { cluster: seen.name.clone(), namespace: seen.namespace.clone(), topics }
}

fn topic(report: &TopicReport) -> Topic {
    let PartitionTotals { total, in_sync, under_replicated, at_min_isr, under_min_isr, offline, unknown } =
        report.totals;
    let mut isr_sizes = BTreeMap::new();
    for isr in report.partitions.iter().filter_map(|partition| partition.isr.as_ref()) {
        *isr_sizes.entry(isr.len()).or_default() += 1;
    }
    Topic {
        name: report.name.clone(),
        partitions: total,
        replication_factor: report.replication_factor,
        effective_min_isr: report.partitions.iter().map(|partition| partition.effective_min_isr).max(),
        isr_sizes,
        in_sync,
        under_replicated,
        at_min_isr,
        under_min_isr,
        offline,
        unknown,
        moving: report.partitions.iter().filter(|partition| partition.moving).count() as u32,
    }
}

impl Shown for Topics {
    fn text(&self, paint: Paint) -> String {
        if self.topics.is_empty() {
            return format!("{} (namespace {}) has no topics\n", self.cluster, self.namespace);
        }
        let mut table = Table::new([
            "TOPIC",
            "PARTITIONS",
            "REPLICAS",
            "MIN-ISR",
            "IN-SYNC",
            "ISR-SIZES",
            "UNDER-MIN-ISR",
            "OFFLINE",
            "UNKNOWN",
            "MOVING",
        ]);
        for topic in &self.topics {
            let whole = topic.in_sync == topic.partitions;
            let sizes = topic.isr_sizes.iter().rev().map(|(size, partitions)| format!("{partitions}x{size}"));
            table.row([
                topic.name.as_str().into(),
                topic.partitions.into(),
                topic.replication_factor.into(),
                topic.effective_min_isr.map_or(String::new(), |min| min.to_string()).into(),
                Cell::unless(whole, Tone::Warn, format!("{}/{}", topic.in_sync, topic.partitions)),
                sizes.collect::<Vec<_>>().join(" ").into(),
                Cell::unless(topic.under_min_isr == 0, Tone::Bad, topic.under_min_isr),
                Cell::unless(topic.offline == 0, Tone::Bad, topic.offline),
                Cell::unless(topic.unknown == 0, Tone::Warn, topic.unknown),
                topic.moving.into(),
            ]);
        }
        table.text(paint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{partition, seen, told, topic};

    #[test]
    fn the_worst_off_come_first_and_isr_sizes_are_counted() {
        let mut lacks = topic("lacks", vec![partition(0, 1, &[1, 2]), partition(1, 1, &[1, 2, 3])]);
        lacks.totals =
            PartitionTotals { total: 2, in_sync: 1, under_replicated: 1, at_min_isr: 1, ..lacks.totals };
        let mut refuses = topic("refuses", vec![partition(0, 1, &[1])]);
        refuses.totals = PartitionTotals { under_replicated: 1, under_min_isr: 1, ..refuses.totals };
        let mut well = topic("a-well", vec![partition(0, 1, &[1, 2, 3])]);
        well.totals.in_sync = 1;
        let topics = topics(&seen("now"), &told(vec![well, lacks, refuses]));
        insta::assert_snapshot!(topics.text(Paint(false)), @r"
        TOPIC     PARTITIONS   REPLICAS   MIN-ISR   IN-SYNC   ISR-SIZES   UNDER-MIN-ISR   OFFLINE   UNKNOWN   MOVING
        refuses   1            3          2         0/1       1x1         1               0         0         0
        lacks     2            3          2         1/2       1x3 1x2     0               0         0         0
        a-well    1            3          2         1/1       1x3         0               0         0         0
        ");
    }
}
