//! What a minimal and a full spec become, and what makes a pod outdated.

use serde::Serialize;

use super::*;
use crate::cluster::dereference::Found;
use crate::cluster::testing::{cluster, settings};
use crate::cluster::validate::validate;

fn built(spec: &str) -> Objects {
    build(&validate(&cluster(spec), &Found::default(), &settings()).unwrap())
}

fn yaml(object: &impl Serialize) -> String {
    serde_saphyr::to_string(object).unwrap()
}

#[test]
fn a_minimal_spec() {
    let objects = built("replicas: 3");
    insta::assert_snapshot!("minimal_stateful_set", yaml(&objects.stateful_set));
    insta::assert_snapshot!("minimal_config_map", yaml(&objects.config_map));
    insta::assert_snapshot!("minimal_headless", yaml(&objects.headless));
    insta::assert_snapshot!("minimal_bootstrap", yaml(&objects.bootstrap));
    insta::assert_snapshot!("minimal_disruption_budget", yaml(&objects.disruption_budget));
}

#[test]
fn a_full_spec() {
    let objects = built(
        "replicas: 2\nimage: example.org/chronik:1\nimagePullPolicy: Always\n\
         storage: {size: 1Gi, storageClassName: fast}\n\
         resources: {requests: {cpu: 1, memory: 1Gi}, limits: {memory: 2Gi}}\n\
         spread: {nodes: Required}\nlisteners: {kafkaPort: 19092}\nrack: {nodeLabel: topology.kubernetes.io/zone}\nterminationGracePeriodSeconds: 30\n\
         config: {isr-max-lag-ms: '5000', log-format: text}\n\
         podTemplate:\n  metadata: {labels: {team: a}, annotations: {note: b}}\n  spec:\n    \
         nodeSelector: {disk: nvme}\n    priorityClassName: high\n    imagePullSecrets: [{name: registry}]\n    \
         tolerations: [{key: kafka, operator: Exists}]\n    serviceAccountName: brokers\n    \
         topologySpreadConstraints: [{maxSkew: 1, topologyKey: rack, whenUnsatisfiable: ScheduleAnyway}]\n    \
         securityContext: {supplementalGroups: [7]}\n    volumes: [{name: extra, emptyDir: {}}]\n    \
         initContainers: [{name: first, image: i}]\n    containers:\n    \
         - {name: broker, env: [{name: TZ, value: UTC}], volumeMounts: [{name: extra, mountPath: /extra}]}\n    \
         - {name: side, image: s}",
    );
    insta::assert_snapshot!("full_stateful_set", yaml(&objects.stateful_set));
    insta::assert_snapshot!("full_config_map", yaml(&objects.config_map));
}

#[test]
fn a_formed_cluster_takes_empty_disks_by_joining_and_outdates_no_pod() {
    let mut formed = cluster("replicas: 3");
    formed.status =
        Some(chronik_api::broker_cluster::BrokerClusterStatus { initialised: true, ..Default::default() });
    let objects = build(&validate(&formed, &Found::default(), &settings()).unwrap());
    let keys: Vec<_> = objects.config_map.data.unwrap().into_keys().collect();
    assert_eq!(keys, ["broker.toml", "initial-voters", "join"]);
    assert_eq!(objects.restart_hash, built("replicas: 3").restart_hash);
}

#[test]
fn brokers_beyond_the_founders_start_once_these_have_formed_the_cluster() {
    let replicas = |initialised| {
        let mut four = cluster("replicas: 4");
        four.status =
            Some(chronik_api::broker_cluster::BrokerClusterStatus { initialised, ..Default::default() });
        let valid = validate(&four, &Found::default(), &settings()).unwrap();
        build(&valid).stateful_set.spec.unwrap().replicas
    };
    assert_eq!((replicas(false), replicas(true)), (Some(3), Some(4)));
}

#[test]
fn another_label_of_racks_needs_a_restart() {
    let hash = |label: &str| built(&format!("replicas: 3\nrack: {{nodeLabel: {label}}}")).restart_hash;
    assert_ne!(hash("zone"), hash("row"));
}

#[test]
fn only_what_needs_a_restart_changes_the_hash() {
    let hash = |spec: &str| built(spec).restart_hash;
    let base = hash("replicas: 3");
    let over = |spec: &str| format!("replicas: 3\npodTemplate: {spec}");
    for same in [
        "replicas: 5".to_owned(),
        "replicas: 3\nspread: {nodes: Required}".to_owned(),
        over("{}"),
        over(
            "{spec: {nodeSelector: {disk: nvme}, priorityClassName: high, tolerations: [{operator: Exists}]}}",
        ),
        over("{spec: {imagePullSecrets: [{name: a}], schedulerName: mine, affinity: {nodeAffinity: {}}}}"),
    ] {
        // Five brokers have other first voters, which no running broker cares about.
        assert_eq!(hash(&same), base, "{same}");
    }
    for other in [
        "{metadata: {labels: {team: a}}}",
        "{metadata: {annotations: {note: a}}}",
        "{spec: {volumes: [{name: v, emptyDir: {}}]}}",
        "{spec: {containers: [{name: side, image: s}]}}",
        "{spec: {containers: [{name: broker, env: [{name: TZ, value: UTC}]}]}}",
        "{spec: {serviceAccountName: brokers}}",
    ] {
        assert_ne!(hash(&over(other)), base, "{other}");
    }
    for other in [
        "replicas: 3\nimage: other:1",
        "replicas: 3\nconfig: {isr-max-lag-ms: '5000'}",
        "replicas: 3\nresources: {limits: {memory: 1Gi}}",
        "replicas: 3\nlisteners: {kafkaPort: 9192}",
        "replicas: 3\nrack: {nodeLabel: zone}",
    ] {
        assert_ne!(hash(other), base, "{other}");
    }
}
