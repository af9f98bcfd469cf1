//! Step 2: judges what was found; decides identity and birth. No client, no I/O.

use std::collections::BTreeMap;

use chronik_api::BrokerCluster;
use chronik_api::broker_cluster::{BrokerClusterSpec, BrokerClusterStatus};
use chronik_api::labels::{CLUSTER_ID, INITIAL_VOTERS, INITIALISED};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

mod pod_template;

pub use pod_template::Overlay;

use super::dereference::Found;
use super::error::Error;
use super::scale;
use crate::context::Settings;
use crate::feed::ClusterKey;

/// A BrokerCluster that may be built.
#[derive(Clone, Debug)]
pub struct ValidCluster {
    pub key: ClusterKey,
    pub owner: OwnerReference,
    pub cluster_id: String,
    /// Brokers 1 to this one were the first metadata voters.
    pub initial_voters: u32,
    /// Whether the cluster was formed: an empty disk joins from then on.
    pub initialised: bool,
    /// Pods that the StatefulSet has: more than the spec says while brokers leave.
    pub replicas: u32,
    pub image: String,
    pub cluster_domain: String,
    pub spec: BrokerClusterSpec,
    /// Size in the StatefulSet's template of claims, which cannot change.
    pub claim_size: String,
    /// Broker settings of the spec, as keys of the settings file.
    pub config: BTreeMap<String, String>,
    /// What is laid over the brokers' pods.
    pub pod: Overlay,
}

/// Settings that say which broker this is and where: the operator's, not the user's.
const RESERVED: [&str; 11] = [
    "data_dir",
    "rack",
    "listener",
    "advertised_listener",
    "peer_listener",
    "advertised_peer",
    "admin_listener",
    "cluster_id",
    "broker_id",
    "pod_uid",
    "stop_wait_seconds",
];

/// Seconds of the grace period that are left to a broker for closing its files.
const CLOSING_SECONDS: u32 = 5;
/// The brokers' own default of `shutdown-grace-seconds`.
const HAND_OVER_SECONDS: u32 = 20;

impl ValidCluster {
    /// How long a stop may wait until partitions can spare the broker: what of the grace period is not needed for the stop.
    pub fn stop_wait_seconds(&self) -> u32 {
        let set = self.config.get("shutdown_grace_seconds").and_then(|value| value.parse().ok());
        let needed = set.unwrap_or(HAND_OVER_SECONDS).saturating_add(CLOSING_SECONDS);
        self.spec.termination_grace_period_seconds.saturating_sub(needed)
    }
}

/// Judges a BrokerCluster and what was found about it.
pub fn validate(cluster: &BrokerCluster, found: &Found, settings: &Settings) -> Result<ValidCluster, Error> {
    let spec = &cluster.spec;
    let cluster_id = cluster_id(cluster, &found.claims)?;
    if let Some(present) = &found.foreign {
        return Err(Error::ForeignBrokers { present: present.clone(), expected: cluster_id });
    }
    let initial_voters = initial_voters(cluster, found);
    Ok(ValidCluster {
        key: ClusterKey { namespace: cluster.namespace().unwrap_or_default(), name: cluster.name_any() },
        owner: cluster.controller_owner_ref(&()).unwrap_or_default(),
        initialised: initialised(cluster, found, initial_voters),
        cluster_id,
        initial_voters,
        replicas: scale::plan::size(spec.replicas, scale::pods_of(found.stateful_set.as_ref())),
        image: spec.image.clone().unwrap_or_else(|| settings.broker_image.clone()),
        cluster_domain: settings.cluster_domain.clone(),
        config: config(spec)?,
        pod: match &spec.pod_template {
            Some(template) => pod_template::overlay(template, spec.listeners.kafka_port)?,
            None => Overlay::default(),
        },
        claim_size: claim_size(found).unwrap_or_else(|| spec.storage.size.clone()),
        spec: spec.clone(),
    })
}

/// Voters of the metadata group for that many brokers.
pub fn voters_for(replicas: u32) -> u32 {
    // At most five.
    chronik_core::metadata::voters::voters_for(replicas as usize) as u32
}

/// The id in the status, else the one on the claims, else the resource's own UID: the same in every attempt, so a
/// crash between two steps cannot make two ids.
fn cluster_id(cluster: &BrokerCluster, claims: &[PersistentVolumeClaim]) -> Result<String, Error> {
    let mut present: Vec<(&str, String)> = claims
        .iter()
        .filter_map(|claim| Some((claim.labels().get(CLUSTER_ID)?.as_str(), claim.name_any())))
        .collect();
    present.sort();
    let known = status(cluster).and_then(|status| status.cluster_id.clone());
    let Some((first, _)) = present.first().cloned() else {
        return Ok(known.unwrap_or_else(|| cluster.uid().unwrap_or_default()));
    };
    if present.iter().any(|(id, _)| *id != first) {
        let claims: Vec<String> = present.iter().map(|(id, claim)| format!("{claim} of {id}")).collect();
        return Err(Error::MixedClusterIds { claims: claims.join(", ") });
    }
    match known {
        Some(expected) if expected != first => {
            Err(Error::OtherClusterId { claim: present[0].1.clone(), present: first.to_owned(), expected })
        }
        _ => Ok(first.to_owned()),
    }
}

/// Of the StatefulSet that is there.
fn claim_templates(found: &Found) -> &[PersistentVolumeClaim] {
    let set = found.stateful_set.as_ref().and_then(|set| set.spec.as_ref());
    set.and_then(|spec| spec.volume_claim_templates.as_deref()).unwrap_or_default()
}

fn claim_size(found: &Found) -> Option<String> {
    let requests = claim_templates(found).first()?.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Some(requests.get("storage")?.0.clone())
}

/// Fixed at birth: every disk of the first brokers was, or will be, formatted with the same list.
fn initial_voters(cluster: &BrokerCluster, found: &Found) -> u32 {
    let number = |annotations: &BTreeMap<String, String>| annotations.get(INITIAL_VOTERS)?.parse().ok();
    let on_volumes =
        claim_templates(found).iter().chain(&found.claims).find_map(|claim| number(claim.annotations()));
    on_volumes
        .or_else(|| status(cluster)?.initial_voters)
        .unwrap_or_else(|| voters_for(cluster.spec.replicas))
}

/// Once true, always true. It turns true when every first voter has registered: from then on none of them may ever
/// found the cluster again, and none is still waiting to do it for the first time.
fn initialised(cluster: &BrokerCluster, found: &Found, initial_voters: u32) -> bool {
    let marked =
        |claim: &PersistentVolumeClaim| claim.annotations().get(INITIALISED).is_some_and(|v| v == "true");
    let formed = found.report.as_ref().is_some_and(|report| {
        report.metadata_leader.is_some()
            && (1..=initial_voters).all(|voter| report.brokers.iter().any(|broker| broker.id.0 == voter))
    });
    status(cluster).is_some_and(|status| status.initialised) || found.claims.iter().any(marked) || formed
}

fn status(cluster: &BrokerCluster) -> Option<&BrokerClusterStatus> {
    cluster.status.as_ref()
}

fn config(spec: &BrokerClusterSpec) -> Result<BTreeMap<String, String>, Error> {
    let mut config = BTreeMap::new();
    for (name, value) in &spec.config {
        let key = name.replace(['-', '.'], "_");
        let refuse = |allowed: String| Error::InvalidSpec {
            field: format!("spec.config[{name}]"),
            value: value.clone(),
            allowed,
        };
        if RESERVED.contains(&key.as_str()) {
            return Err(refuse("the operator sets it itself for each broker; remove it".to_owned()));
        }
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return Err(refuse(
                "settings are named as in `chronik-broker run --help`, in lower case".to_owned(),
            ));
        }
        if value.chars().any(char::is_control) {
            return Err(refuse("one line of text".to_owned()));
        }
        if key == "shutdown_grace_seconds"
            && value.parse().is_ok_and(|grace: u32| grace >= spec.termination_grace_period_seconds)
        {
            let limit = spec.termination_grace_period_seconds;
            return Err(refuse(format!("less than spec.terminationGracePeriodSeconds, which is {limit}")));
        }
        if config.insert(key, value.clone()).is_some() {
            return Err(refuse("each setting once, and this one stands there in two spellings".to_owned()));
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
