//! A broker pod's containers: one formats an empty disk, one waits until the pod knows its rack, one is the broker. Pure.

use chronik_api::labels::{RACK, STOP_WAIT};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapKeySelector, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, Probe, ResourceRequirements, SecurityContext, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::names::{self, ADMIN_PORT, PEER_PORT};
use super::super::validate::ValidCluster;
use super::config_map::{INITIAL_VOTERS_KEY, JOIN_KEY, SETTINGS_FILE};

/// Name of the volume with the ConfigMap.
pub(in crate::cluster) const CONFIG_VOLUME: &str = "config";
/// Name of the volume that shows what is said of the pod.
pub(in crate::cluster) const POD_VOLUME: &str = "pod";
/// File of that volume with the pod's rack.
pub(super) const RACK_FILE: &str = "rack";
/// Volumes that are the operator's.
pub(in crate::cluster) const OWN_VOLUMES: [&str; 3] = [names::DATA_VOLUME, CONFIG_VOLUME, POD_VOLUME];
/// Folders of the broker's container that are the operator's.
pub(in crate::cluster) const OWN_PATHS: [&str; 3] = [DATA_MOUNT, CONFIG_MOUNT, "/usr/local/bin"];
/// Containers that are the operator's.
pub(in crate::cluster) const CONTAINERS: [&str; 3] = ["format", "rack", "broker"];
/// Names of the broker's ports: Services find them by these.
pub(in crate::cluster) const PORT_NAMES: [&str; 3] = ["kafka", "peer", "admin"];

const BROKER: &str = "/usr/local/bin/chronik-broker";
const DATA_MOUNT: &str = "/var/lib/chronik";
/// Below the mount: a fresh file system has entries of its own in its root.
const DATA_DIR: &str = "/var/lib/chronik/data";
const CONFIG_MOUNT: &str = "/etc/chronik";
const POD_MOUNT: &str = "/etc/pod";
/// How long a pod waits for its rack: the operator tells it within seconds, and another takes over within 20 s.
const RACK_PATIENCE_SECONDS: u32 = 60;

/// The containers of a broker pod.
#[derive(Clone, Debug)]
pub(super) struct Containers {
    /// Makes an empty disk this broker's own.
    pub(super) format: Container,
    /// Waits until the pod knows its rack, where it is to know it.
    pub(super) rack: Option<Container>,
    /// The broker.
    pub(super) broker: Container,
}

pub(super) fn containers(cluster: &ValidCluster) -> Containers {
    let rack = cluster.spec.rack.is_some().then(|| rack(cluster));
    Containers { format: format(cluster), rack, broker: broker(cluster) }
}

/// The broker reads the annotation from its environment, which is fixed when its container is made: not before it is there.
fn rack(cluster: &ValidCluster) -> Container {
    let (file, seconds) = (format!("{POD_MOUNT}/{RACK_FILE}"), RACK_PATIENCE_SECONDS.to_string());
    let args = ["wait-for", &file, "--seconds", &seconds];
    Container {
        name: "rack".to_owned(),
        args: Some(args.map(str::to_owned).to_vec()),
        volume_mounts: Some(vec![mount(POD_VOLUME, POD_MOUNT, true)]),
        ..base(cluster)
    }
}

fn format(cluster: &ValidCluster) -> Container {
    let args = ["format", "--if-empty", "--data-dir", DATA_DIR, "--cluster-id", &cluster.cluster_id];
    Container {
        name: "format".to_owned(),
        args: Some(args.map(str::to_owned).to_vec()),
        env: Some(vec![
            field("CHRONIK_BROKER_ID", "metadata.labels['apps.kubernetes.io/pod-index']"),
            from_config("CHRONIK_INITIAL_VOTERS", INITIAL_VOTERS_KEY, cluster),
            from_config("CHRONIK_JOIN", JOIN_KEY, cluster),
        ]),
        volume_mounts: Some(vec![mount(names::DATA_VOLUME, DATA_MOUNT, false)]),
        ..base(cluster)
    }
}

fn broker(cluster: &ValidCluster) -> Container {
    let own = own_broker(cluster);
    let over = &cluster.pod;
    let rack = cluster.spec.rack.is_some();
    let rack = rack.then(|| field("CHRONIK_RACK", &format!("metadata.annotations['{RACK}']")));
    Container {
        env: Some(own.env.into_iter().flatten().chain(rack).chain(over.env.clone()).collect()),
        volume_mounts: Some(own.volume_mounts.into_iter().flatten().chain(over.mounts.clone()).collect()),
        ..own
    }
}

/// Without what is laid over it.
fn own_broker(cluster: &ValidCluster) -> Container {
    let kafka_port = cluster.spec.listeners.kafka_port;
    let host = format!("$(POD_NAME).{}", names::pod_domain(&cluster.key, &cluster.cluster_domain));
    let args = [
        "run".to_owned(),
        "--data-dir".to_owned(),
        DATA_DIR.to_owned(),
        "--config".to_owned(),
        format!("{CONFIG_MOUNT}/{SETTINGS_FILE}"),
        "--advertised-listener".to_owned(),
        format!("PLAINTEXT={host}:{kafka_port}"),
        "--advertised-peer".to_owned(),
        format!("{host}:{PEER_PORT}"),
    ];
    Container {
        name: "broker".to_owned(),
        args: Some(args.to_vec()),
        env: Some(vec![
            field("POD_NAME", "metadata.name"),
            field("CHRONIK_POD_UID", "metadata.uid"),
            // By way of an annotation: another grace period is no reason for a restart.
            field("CHRONIK_STOP_WAIT_SECONDS", &format!("metadata.annotations['{STOP_WAIT}']")),
        ]),
        ports: Some(vec![port("kafka", kafka_port), port("peer", PEER_PORT), port("admin", ADMIN_PORT)]),
        volume_mounts: Some(vec![
            mount(names::DATA_VOLUME, DATA_MOUNT, false),
            mount(CONFIG_VOLUME, CONFIG_MOUNT, true),
        ]),
        // Recovery reads the journal's end before the port opens: up to ten minutes for it.
        startup_probe: Some(probe("/livez", 1, 600)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        // A rollout goes on when the broker is ready: each second between two questions is one that it waits.
        readiness_probe: Some(probe("/readyz", 1, 3)),
        ..base(cluster)
    }
}

fn base(cluster: &ValidCluster) -> Container {
    Container {
        image: Some(cluster.image.clone()),
        image_pull_policy: Some(format!("{:?}", cluster.spec.image_pull_policy)),
        command: Some(vec![BROKER.to_owned()]),
        resources: resources(cluster),
        // A broker that ends at once says why in its log's last lines: the pod's status carries them.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn resources(cluster: &ValidCluster) -> Option<ResourceRequirements> {
    let quantity = |value: &IntOrString| match value {
        IntOrString::Int(number) => Quantity(number.to_string()),
        IntOrString::String(text) => Quantity(text.clone()),
    };
    let map = |from: &std::collections::BTreeMap<String, IntOrString>| {
        let quantities = from.iter().map(|(name, value)| (name.clone(), quantity(value)));
        (!from.is_empty()).then(|| quantities.collect())
    };
    let wanted = &cluster.spec.resources;
    (!wanted.is_empty()).then(|| ResourceRequirements {
        requests: map(&wanted.requests),
        limits: map(&wanted.limits),
        claims: None,
    })
}

fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// Unset while the ConfigMap lacks the key.
fn from_config(name: &str, key: &str, cluster: &ValidCluster) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            config_map_key_ref: Some(ConfigMapKeySelector {
                name: names::config_map(&cluster.key.name),
                key: key.to_owned(),
                optional: Some(true),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
