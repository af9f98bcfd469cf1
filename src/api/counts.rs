//! Partition counts as every status shows them. Pure.

use chronik_core::view::PartitionTotals;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts over a set of partitions.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct PartitionCounts {
    /// `inSync/total`, for a column of `kubectl get`.
    pub summary: String,
    /// All partitions.
    pub total: u32,
    /// Partitions whose in-sync replicas are all replicas.
    pub in_sync: u32,
    /// Partitions that lack an in-sync replica.
    pub under_replicated: u32,
    /// Partitions with exactly as many in-sync replicas as acks=all needs: one more loss stops writes.
    pub at_min_isr: u32,
    /// Partitions with fewer in-sync replicas than acks=all needs: they refuse such writes.
    pub under_min_isr: u32,
    /// Partitions without a leader.
    pub offline: u32,
    /// Partitions about which nothing recent is known. They count as in sync nowhere.
    pub unknown: u32,
}

impl From<PartitionTotals> for PartitionCounts {
    fn from(totals: PartitionTotals) -> Self {
        let PartitionTotals { total, in_sync, under_replicated, at_min_isr, under_min_isr, offline, unknown } =
            totals;
        let summary = format!("{in_sync}/{total}");
        Self { summary, total, in_sync, under_replicated, at_min_isr, under_min_isr, offline, unknown }
    }
}
