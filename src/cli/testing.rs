//! Clusters, topics and pods for tests.

use std::collections::BTreeMap;

use chronik_api::BrokerCluster;
use chronik_api::broker_cluster::BrokerClusterSpec;
use chronik_api::labels::RESTART_HASH;
use chronik_core::ids::{BrokerId, Generation, TopicId};
use chronik_core::metadata::Standing;
use chronik_core::restart::{PermitId, Reason, Stage};
use chronik_core::rollout::{BrokersSeen, Observed, PodSeen};
use chronik_core::view::{
    BrokerReport, ClusterReport, FollowerLag, PartitionReport, PartitionState, PartitionTotals, PermitReport,
    TopicReport,
};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use uuid::Uuid;

use crate::seen::{Seen, Told};

/// A cluster of three.
pub(crate) fn cluster(name: &str) -> BrokerCluster {
    let spec: BrokerClusterSpec = serde_json::from_value(serde_json::json!({"replicas": 3})).unwrap();
    BrokerCluster::new(name, spec)
}

/// A ready pod that runs the settings `before`.
pub(crate) fn pod(broker: u32) -> PodSeen {
    PodSeen {
        broker: BrokerId(broker),
        name: format!("demo-broker-{broker}"),
        uid: format!("uid-{broker}"),
        hash: Some("before".to_owned()),
        ready: true,
        ready_since: Some(0),
        deleting: false,
        since: Some(0),
        asked: false,
        allow_unavailable: false,
    }
}

/// Three outdated brokers, all well; broker 1 leads the metadata group.
pub(crate) fn outdated() -> Observed {
    Observed {
        desired: "now".to_owned(),
        template_taken: true,
        pods: [1, 2, 3].map(pod).to_vec(),
        brokers: Some(BrokersSeen {
            alive: brokers(&[1, 2, 3]).into_iter().collect(),
            metadata_leader: Some(BrokerId(1)),
            ..BrokersSeen::default()
        }),
        permits: Some(Vec::new()),
        ..Observed::default()
    }
}

pub(crate) fn permit(broker: u32, reason: Reason, stage: Stage) -> PermitReport {
    PermitReport {
        id: PermitId(7),
        broker: BrokerId(broker),
        pod_uid: format!("uid-{broker}"),
        reason,
        stage,
    }
}

pub(crate) fn brokers(ids: &[u32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

pub(crate) fn follower(broker: u32, lag_entries: u64, lag_ms: u64) -> FollowerLag {
    FollowerLag { broker: BrokerId(broker), lag_entries, lag_ms, last_heartbeat_ms: 0 }
}

/// A partition on brokers 1 to 3 with that ISR; two must be in sync.
pub(crate) fn partition(number: i32, leader: u32, isr: &[u32]) -> PartitionReport {
    PartitionReport {
        partition: number,
        state: PartitionState::Leader,
        leader: Some(BrokerId(leader)),
        epoch: 4,
        replicas: brokers(&[1, 2, 3]),
        adding: Vec::new(),
        removing: Vec::new(),
        moving: false,
        isr: Some(brokers(isr)),
        isr_age_ms: Some(10),
        effective_min_isr: 2,
        provisional: false,
        version: 1,
        quarantined: None,
        high_watermark: None,
        followers: Vec::new(),
    }
}

pub(crate) fn topic(name: &str, partitions: Vec<PartitionReport>) -> TopicReport {
    TopicReport {
        name: name.to_owned(),
        id: TopicId(Uuid::from_u128(name.bytes().map(u128::from).sum())),
        replication_factor: 3,
        resize: None,
        configs: BTreeMap::new(),
        totals: PartitionTotals { total: partitions.len() as u32, ..PartitionTotals::default() },
        partitions,
    }
}

/// What brokers 1 to 3 say of these topics: all are alive, broker 1 answers and leads the metadata group.
pub(crate) fn told(topics: Vec<TopicReport>) -> Told {
    let broker = |id| BrokerReport {
        id: BrokerId(id),
        alive: true,
        rack: None,
        listeners: Vec::new(),
        version: "0.1.0".to_owned(),
        leaders: 2,
        replicas: 6,
        standing: Standing::default(),
        moving: 0,
        blocked: None,
        disk: String::new(),
    };
    let report = ClusterReport {
        cluster_id: "a-cluster".parse().unwrap(),
        broker: BrokerId(1),
        metadata_leader: Some(BrokerId(1)),
        metadata_voters: brokers(&[1, 2, 3]),
        metadata_index: 9,
        brokers: [1, 2, 3].map(broker).to_vec(),
        partitions: PartitionTotals { total: 6, in_sync: 6, ..PartitionTotals::default() },
        generation: Generation::BIRTH,
        recoveries: Vec::new(),
    };
    Told { by: BrokerId(1), report, topics, permits: Vec::new() }
}

/// Three ready pods with the settings `before`, in a cluster whose template has these.
pub(crate) fn seen(template: &str) -> Seen {
    let mut set: StatefulSet = serde_json::from_value(serde_json::json!({
        "metadata": {"generation": 1},
        "spec": {"selector": {}, "serviceName": "x", "template": {"metadata": {"annotations": {}}}},
        "status": {"replicas": 3, "observedGeneration": 1},
    }))
    .unwrap();
    let metadata = set.spec.as_mut().unwrap().template.metadata.as_mut().unwrap();
    metadata.annotations = Some(BTreeMap::from([(RESTART_HASH.to_owned(), template.to_owned())]));
    Seen {
        cluster: cluster("demo"),
        name: "demo".to_owned(),
        namespace: "shop".to_owned(),
        set: Some(set),
        pods: [1, 2, 3].map(|id| (pod(id), Pod::default())).into(),
        brokers: Ok(told(Vec::new())),
    }
}
