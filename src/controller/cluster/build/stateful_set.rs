//! The StatefulSet: pods that start in parallel, are deleted only by whom they are told to, and keep their disks. Pure.

use std::collections::BTreeMap;
use std::iter;

use chronik_api::broker_cluster::SpreadMode;
use chronik_api::labels::{
    CLUSTER_ID, INITIAL_VOTERS, RACK, RESTART_HASH, STOP_WAIT, broker_labels, broker_selector,
};
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetOrdinals, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, KeyToPath, ObjectFieldSelector,
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext, PodSpec, PodTemplateSpec,
    SeccompProfile, TopologySpreadConstraint, Volume, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::names;
use super::super::validate::ValidCluster;
use super::config_map::SETTINGS_FILE;
use super::pod::{CONFIG_VOLUME, Containers, POD_VOLUME, RACK_FILE};
use super::{metadata, overlay, selector};

/// User and group of the broker in its image.
const USER: i64 = 65_532;

pub(super) fn build(cluster: &ValidCluster, containers: Containers, restart_hash: &str) -> StatefulSet {
    let name = &cluster.key.name;
    StatefulSet {
        metadata: metadata(cluster, names::stateful_set(name)),
        spec: Some(StatefulSetSpec {
            service_name: Some(names::headless(name)),
            replicas: i32::try_from(replicas(cluster)).ok(),
            // Raft forbids id 0, and a pod's number is its broker's id.
            ordinals: Some(StatefulSetOrdinals { start: Some(1) }),
            selector: selector(cluster),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(format!("{:?}", cluster.spec.storage.retention)),
                when_scaled: Some("Retain".to_owned()),
            }),
            template: pod_template(cluster, containers, restart_hash),
            volume_claim_templates: Some(vec![claim(cluster)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

/// The founders alone form the cluster: until they have, a broker beyond them would have nothing to join.
fn replicas(cluster: &ValidCluster) -> u32 {
    if cluster.initialised { cluster.replicas } else { cluster.replicas.min(cluster.initial_voters) }
}

fn pod_template(cluster: &ValidCluster, containers: Containers, restart_hash: &str) -> PodTemplateSpec {
    let mut template = own_template(cluster, containers, restart_hash);
    overlay::lay_over(&mut template, &cluster.pod);
    template
}

/// Without what is laid over it.
fn own_template(cluster: &ValidCluster, containers: Containers, restart_hash: &str) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(broker_labels(&cluster.key.name)),
            annotations: Some(BTreeMap::from([
                (RESTART_HASH.to_owned(), restart_hash.to_owned()),
                (STOP_WAIT.to_owned(), cluster.stop_wait_seconds().to_string()),
            ])),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            init_containers: Some(iter::once(containers.format).chain(containers.rack).collect()),
            containers: vec![containers.broker],
            volumes: Some(iter::once(config_volume(cluster)).chain(pod_volume(cluster)).collect()),
            topology_spread_constraints: Some(spread(cluster)),
            termination_grace_period_seconds: Some(i64::from(cluster.spec.termination_grace_period_seconds)),
            // Brokers do not talk to Kubernetes.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            ..PodSpec::default()
        }),
    }
}

/// Only the settings file: a change of the other keys is none that a running broker sees.
fn config_volume(cluster: &ValidCluster) -> Volume {
    Volume {
        name: CONFIG_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: names::config_map(&cluster.key.name),
            items: Some(vec![KeyToPath {
                key: SETTINGS_FILE.to_owned(),
                path: SETTINGS_FILE.to_owned(),
                mode: None,
            }]),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Shows the pod's rack once somebody has told it.
fn pod_volume(cluster: &ValidCluster) -> Option<Volume> {
    cluster.spec.rack.as_ref()?;
    let file = DownwardAPIVolumeFile {
        path: RACK_FILE.to_owned(),
        field_ref: Some(ObjectFieldSelector {
            api_version: Some("v1".to_owned()),
            field_path: format!("metadata.annotations['{RACK}']"),
        }),
        ..DownwardAPIVolumeFile::default()
    };
    Some(Volume {
        name: POD_VOLUME.to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(vec![file]),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    })
}

/// The claim carries the cluster's identity and birth, so that both outlive every other object.
fn claim(cluster: &ValidCluster) -> PersistentVolumeClaim {
    let storage = &cluster.spec.storage;
    let requests = BTreeMap::from([("storage".to_owned(), Quantity(cluster.claim_size.clone()))]);
    let mut labels = broker_labels(&cluster.key.name);
    labels.insert(CLUSTER_ID.to_owned(), cluster.cluster_id.clone());
    let voters = (INITIAL_VOTERS.to_owned(), cluster.initial_voters.to_string());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::DATA_VOLUME.to_owned()),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([voters])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements { requests: Some(requests), limits: None }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn spread(cluster: &ValidCluster) -> Vec<TopologySpreadConstraint> {
    let constraint = |key: &str, mode: SpreadMode| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: match mode {
            SpreadMode::Preferred => "ScheduleAnyway".to_owned(),
            SpreadMode::Required => "DoNotSchedule".to_owned(),
        },
        label_selector: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
            match_labels: Some(broker_selector(&cluster.key.name)),
            match_expressions: None,
        }),
        ..TopologySpreadConstraint::default()
    };
    vec![
        constraint("kubernetes.io/hostname", cluster.spec.spread.nodes),
        constraint("topology.kubernetes.io/zone", cluster.spec.spread.zones),
    ]
}
