//! What the planner is shown of a cluster, from what was found. Pure.

use std::time::Duration;

use chronik_api::BrokerCluster;
use chronik_api::broker_cluster::Rebalance;
use chronik_api::broker_pod::pod_seen;
use chronik_api::names;
use chronik_core::view::{BrokerReport, ClusterReport, PermitReport};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;

use super::plan::{BrokerSeen, ClaimSeen, Observed, PodSeen};
use crate::cluster::dereference::Found;

/// A report older than this says nothing about who has what now.
const REPORT_FRESH: Duration = Duration::from_secs(3);

/// All of it. `permits` is `None` when they could not be read.
pub(super) fn observe(
    cluster: &BrokerCluster,
    found: &Found,
    permits: Option<Vec<PermitReport>>,
) -> Observed {
    let name = cluster.name_any();
    let fresh = found.report_age.is_some_and(|age| age <= REPORT_FRESH);
    // A broker without the metadata's leader may not know what the others have decided.
    let report = found.report.as_ref().filter(|report| fresh && report.metadata_leader.is_some());
    let wanted = cluster.spec.replicas;
    let pods = found.pods.iter().filter_map(|pod| pod_seen(&name, pod));
    let claims = found.claims.iter().filter_map(|claim| {
        let seen = ClaimSeen { name: claim.name_any(), uid: claim.uid()? };
        Some((names::broker_of_claim(&name, &seen.name)?, seen))
    });
    Observed {
        wanted,
        size: pods_of(found.stateful_set.as_ref()).unwrap_or(wanted),
        rebalance: cluster.spec.rebalance == Rebalance::Auto,
        brokers: report.map(|report| report.brokers.iter().map(|it| (it.id.0, seen(report, it))).collect()),
        permits,
        pods: pods.map(|pod| (pod.broker.0, PodSeen { uid: pod.uid, deleting: pod.deleting })).collect(),
        claims: claims.collect(),
        ..Observed::default()
    }
}

/// How many pods a StatefulSet is told to have.
pub fn pods_of(set: Option<&StatefulSet>) -> Option<u32> {
    set?.spec.as_ref()?.replicas.and_then(|replicas| u32::try_from(replicas).ok())
}

fn seen(report: &ClusterReport, broker: &BrokerReport) -> BrokerSeen {
    BrokerSeen {
        alive: broker.alive,
        standing: broker.standing,
        replicas: broker.replicas,
        moving: broker.moving,
        votes: report.metadata_voters.contains(&broker.id),
        blocked: broker.blocked.clone(),
    }
}
