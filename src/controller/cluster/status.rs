//! Step 5: what a BrokerCluster's status says, from what was found and how the reconcile went. Pure.

use chronik_api::BrokerCluster;
use chronik_api::broker_cluster::{BrokerClusterStatus, BrokerCounts, Phase};
use chronik_api::broker_pod::is_ready;
use chronik_api::conditions::{self, Finding, Status};
use chronik_api::counts::PartitionCounts;
use chronik_api::labels::RESTART_HASH;
use chronik_core::view::ClusterReport;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::dereference::Found;
use super::error::Error;
use super::{Built, Told, names, pods};
use crate::context::Settings;

/// What a status is made from.
pub struct Seen<'a> {
    pub found: &'a Found,
    pub outcome: Result<&'a Built, &'a Error>,
    /// How scaling and the rollout go, unless the reconcile did not come that far.
    pub told: Option<&'a Told>,
    pub settings: &'a Settings,
}

impl Seen<'_> {
    fn scale(&self) -> Option<&super::scale::Told> {
        self.told.and_then(|told| told.scale.as_ref())
    }
}

/// The status.
pub fn build(cluster: &BrokerCluster, seen: &Seen<'_>, now: Timestamp) -> BrokerClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let valid = seen.outcome.ok().map(|built| &built.valid);
    let generation = cluster.metadata.generation.unwrap_or_default();
    let report = seen.found.report.as_ref();
    let brokers = brokers(cluster, seen.found);
    let outdated_pods = seen
        .outcome
        .ok()
        .map_or(before.outdated_pods.clone(), |built| outdated(&seen.found.pods, &built.restart_hash));
    let initialised = valid.map_or(before.initialised, |valid| valid.initialised);
    let ready = ready(cluster, seen, &brokers, initialised);
    let mut findings =
        vec![ready.clone(), initialised_finding(initialised), outdated_finding(&outdated_pods)];
    findings.push(scale_finding(seen));
    findings.push(rollout_finding(seen));
    findings.extend(partition_findings(report));
    findings.extend(seen.outcome.ok().into_iter().flat_map(|built| built.findings.clone()));
    BrokerClusterStatus {
        observed_generation: Some(generation),
        phase: phase(&seen.outcome, &ready, initialised, seen.found),
        cluster_id: valid.map(|valid| valid.cluster_id.clone()).or(before.cluster_id),
        initial_voters: valid.map(|valid| valid.initial_voters).or(before.initial_voters),
        initialised,
        bootstrap_servers: Some(bootstrap_servers(cluster, seen.settings)),
        metadata_leader: report.and_then(|report| report.metadata_leader).map(|leader| leader.0),
        brokers: Some(brokers),
        partitions: report.map(|report| PartitionCounts::from(report.partitions)),
        outdated_pods,
        scale: seen.scale().map(|told| told.status.clone()).or(before.scale),
        rollout: seen.told.map(|told| told.rollout.status.clone()).or(before.rollout),
        conditions: conditions::merge(&before.conditions, &findings, generation, now),
    }
}

fn bootstrap_servers(cluster: &BrokerCluster, settings: &Settings) -> String {
    format!(
        "{}.{}.svc.{}:{}",
        names::bootstrap(&cluster.name_any()),
        cluster.namespace().unwrap_or_default(),
        settings.cluster_domain,
        cluster.spec.listeners.kafka_port
    )
}

fn brokers(cluster: &BrokerCluster, found: &Found) -> BrokerCounts {
    let desired = cluster.spec.replicas;
    let ready = u32::try_from(found.pods.iter().filter(|pod| is_ready(pod)).count()).unwrap_or(u32::MAX);
    let alive = |report: &ClusterReport| {
        u32::try_from(report.brokers.iter().filter(|broker| broker.alive).count()).unwrap_or(u32::MAX)
    };
    BrokerCounts {
        summary: format!("{ready}/{desired}"),
        desired,
        ready,
        alive: found.report.as_ref().map(alive),
    }
}

/// Names of pods that were made from other settings, in order.
fn outdated(pods: &[Pod], hash: &str) -> Vec<String> {
    let mut names: Vec<String> = pods
        .iter()
        .filter(|pod| pod.annotations().get(RESTART_HASH).map(String::as_str) != Some(hash))
        .map(ResourceExt::name_any)
        .collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}

fn ready(cluster: &BrokerCluster, seen: &Seen<'_>, brokers: &BrokerCounts, initialised: bool) -> Finding {
    if let Err(error) = &seen.outcome {
        return Finding::new(conditions::READY, false, error.reason(), error.to_string());
    }
    let trouble = pods::trouble(&seen.found.pods).map_or(String::new(), |trouble| format!("; {trouble}"));
    let not = |reason: &str, message: String| {
        Finding::new(conditions::READY, false, reason, format!("{message}{trouble}"))
    };
    let Some(report) = &seen.found.report else {
        let message =
            format!("{} of {} broker pods are ready; no broker answers", brokers.ready, brokers.desired);
        return not(if initialised { "BrokersUnreachable" } else { "Forming" }, message);
    };
    let desired = cluster.spec.replicas;
    let down: Vec<String> = (1..=desired)
        .filter(|id| !report.brokers.iter().any(|broker| broker.id.0 == *id && broker.alive))
        .map(|id| id.to_string())
        .collect();
    if !initialised {
        return not("Forming", format!("{} of {desired} brokers have registered", report.brokers.len()));
    }
    if !down.is_empty() {
        return not("BrokersDown", format!("brokers {} do not answer the others", down.join(", ")));
    }
    if report.metadata_leader.is_none() {
        return not(
            "NoMetadataLeader",
            "the metadata group has no leader: nothing can be created or changed".into(),
        );
    }
    if brokers.ready < desired {
        let message = format!("{} of {desired} broker pods are ready", brokers.ready);
        return not("BrokersNotReady", message);
    }
    Finding::new(conditions::READY, true, "AllBrokersReady", format!("all {desired} brokers are ready"))
}

fn initialised_finding(initialised: bool) -> Finding {
    let (reason, message) = if initialised {
        ("Formed", "the cluster was formed; a broker with an empty disk joins it")
    } else {
        ("Forming", "the first brokers are forming the cluster")
    };
    Finding::new(conditions::INITIALISED, initialised, reason, message)
}

fn outdated_finding(pods: &[String]) -> Finding {
    let (reason, message) = if pods.is_empty() {
        ("UpToDate", "every pod runs the spec's settings".to_owned())
    } else {
        let names = pods.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
        (
            "OlderSettings",
            format!("{} pods take the spec's settings at their next start: {names}", pods.len()),
        )
    };
    Finding::new(conditions::PODS_OUTDATED, !pods.is_empty(), reason, message)
}

fn scale_finding(seen: &Seen<'_>) -> Finding {
    match (&seen.outcome, seen.scale()) {
        (Err(error), _) => Finding::new(
            conditions::SCALING,
            Status::Unknown,
            error.reason(),
            "no broker is added or taken away while the cluster cannot be built",
        ),
        (Ok(_), Some(told)) => told.finding.clone(),
        (Ok(_), None) => {
            Finding::new(conditions::SCALING, Status::Unknown, "Forming", "the first brokers come first")
        }
    }
}

fn rollout_finding(seen: &Seen<'_>) -> Finding {
    match (&seen.outcome, seen.told) {
        (Err(error), _) => Finding::new(
            conditions::ROLLING_OUT,
            Status::Unknown,
            error.reason(),
            "nothing is restarted while the cluster cannot be built",
        ),
        (Ok(_), Some(told)) => told.rollout.finding.clone(),
        (Ok(_), None) => {
            Finding::new(conditions::ROLLING_OUT, Status::Unknown, "Pending", "not looked at yet")
        }
    }
}

fn partition_findings(report: Option<&ClusterReport>) -> Vec<Finding> {
    match report {
        Some(report) => crate::topic::status::partition_findings(&report.partitions, "").to_vec(),
        None => [conditions::IN_SYNC, conditions::UNDER_MIN_ISR, conditions::OFFLINE]
            .map(|type_| Finding::new(type_, Status::Unknown, "BrokersUnreachable", "no broker answers"))
            .to_vec(),
    }
}

fn phase(outcome: &Result<&Built, &Error>, ready: &Finding, initialised: bool, found: &Found) -> Phase {
    match outcome {
        Err(_) if ready.reason == "ClusterIdConflict" || ready.reason == "InvalidSpec" => Phase::Blocked,
        _ if ready.status == Status::True => Phase::Running,
        _ if initialised => Phase::Degraded,
        _ if found.pods.is_empty() => Phase::Pending,
        _ => Phase::Forming,
    }
}

#[cfg(test)]
mod tests;
