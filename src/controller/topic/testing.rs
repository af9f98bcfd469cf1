//! Test support: minimal YAML in, the real types out; reports as brokers send them.

use std::collections::BTreeMap;

use chronik_api::Topic;
use chronik_core::ids::{BrokerId, TopicId};
use chronik_core::view::{PartitionReport, PartitionState, PartitionTotals, TopicReport};

/// A Topic in namespace shop, of cluster demo unless the spec says otherwise, created at second `created`.
pub fn topic(name: &str, created: i64, spec: &str) -> Topic {
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let cluster = if spec.contains("clusterRef") { "" } else { "  clusterRef: {name: demo}\n" };
    let text = format!(
        "apiVersion: chronik.dev/v1alpha1\nkind: Topic\nmetadata: {{name: {name}, namespace: shop, uid: uid-{name}, \
         generation: 2, creationTimestamp: '2026-01-01T00:00:{created:02}Z'}}\nspec:\n{cluster}{indented}"
    );
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// One partition of three replicas: `Some(isr)` with its leader first, or offline.
pub fn partition(partition: i32, isr: Option<&[u32]>) -> PartitionReport {
    PartitionReport {
        partition,
        state: if isr.is_some() { PartitionState::Leader } else { PartitionState::Offline },
        leader: isr.map(|isr| BrokerId(isr[0])),
        epoch: 3,
        replicas: [1, 2, 3].map(BrokerId).to_vec(),
        isr: isr.map(|isr| isr.iter().copied().map(BrokerId).collect()),
        adding: Vec::new(),
        removing: Vec::new(),
        moving: false,
        isr_age_ms: isr.map(|_| 20),
        effective_min_isr: 2,
        provisional: false,
        version: 1,
        quarantined: None,
        high_watermark: None,
        followers: Vec::new(),
    }
}

/// A topic with these partitions, counted as a broker counts them.
pub fn report(partitions: Vec<PartitionReport>) -> TopicReport {
    let mut totals = PartitionTotals { total: partitions.len() as u32, ..PartitionTotals::default() };
    for partition in &partitions {
        match partition.isr.as_ref().map(Vec::len) {
            None => totals.offline += 1,
            Some(3) => totals.in_sync += 1,
            Some(isr) => {
                totals.under_replicated += 1;
                totals.at_min_isr += u32::from(isr == 2);
                totals.under_min_isr += u32::from(isr < 2);
            }
        }
    }
    TopicReport {
        name: "orders".to_owned(),
        id: TopicId(uuid::Uuid::from_u128(7)),
        replication_factor: 3,
        resize: None,
        configs: BTreeMap::new(),
        totals,
        partitions,
    }
}
