//! What `spec.podTemplate` may lay over a broker's pod: what brokers need is refused, and so is what Kubernetes does not know.
//! Pure.

use std::collections::BTreeMap;

use chronik_api::labels::broker_labels;
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec, VolumeMount};
use serde_json::{Map, Value};

use super::super::build::pod::{CONTAINERS, OWN_PATHS, OWN_VOLUMES, PORT_NAMES};
use super::super::error::Error;
use super::super::names::{ADMIN_PORT, PEER_PORT};

/// What is laid over the pods. None of it is what the operator itself sets.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Overlay {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Fields of the pod; its containers are those beside the broker's own.
    pub spec: PodSpec,
    /// Added to the broker's container.
    pub env: Vec<EnvVar>,
    /// Added to the broker's container.
    pub mounts: Vec<VolumeMount>,
}

/// Name of the broker's container.
const BROKER: &str = "broker";
const ROOT: &str = "spec.podTemplate";
/// What may stand at these places. Elsewhere all that Kubernetes knows.
const FIELDS: [(&str, &[&str]); 4] = [
    ("", &["metadata", "spec"]),
    ("metadata", &["annotations", "labels"]),
    (
        "spec",
        &[
            "affinity",
            "automountServiceAccountToken",
            "containers",
            "dnsConfig",
            "dnsPolicy",
            "hostAliases",
            "imagePullSecrets",
            "initContainers",
            "nodeSelector",
            "priorityClassName",
            "runtimeClassName",
            "schedulerName",
            "securityContext",
            "serviceAccountName",
            "tolerations",
            "topologySpreadConstraints",
            "volumes",
        ],
    ),
    (
        "spec.securityContext",
        &["appArmorProfile", "fsGroupChangePolicy", "seLinuxOptions", "supplementalGroups", "sysctls"],
    ),
];
/// What may be said of the broker's own container.
const BROKER_FIELDS: [&str; 3] = ["env", "name", "volumeMounts"];
/// Fields that have a place of their own.
const ELSEWHERE: [(&str, &str); 5] = [
    ("spec.terminationGracePeriodSeconds", "set spec.terminationGracePeriodSeconds"),
    ("spec.containers[broker].image", "set spec.image"),
    ("spec.containers[broker].imagePullPolicy", "set spec.imagePullPolicy"),
    ("spec.containers[broker].resources", "set spec.resources"),
    ("spec.containers[broker].args", "set spec.config"),
];
/// What only the operator and Kubernetes say of a pod.
const RESERVED: [&str; 4] =
    ["chronik.dev/", "apps.kubernetes.io/", "statefulset.kubernetes.io/", "controller-revision-hash"];
/// Spread over these is `spec.spread`'s.
const SPREAD: [&str; 2] = ["kubernetes.io/hostname", "topology.kubernetes.io/zone"];

/// Judges it. Clients connect at `kafka_port`.
///
/// # Errors
/// The first field that is not allowed, with its value and what is.
pub fn overlay(raw: &Map<String, Value>, kafka_port: u16) -> Result<Overlay, Error> {
    let whole = Value::Object(raw.clone());
    for (place, allowed) in FIELDS {
        only_fields(place, at(&whole, place), allowed)?;
    }
    for container in at(&whole, "spec.containers").as_array().into_iter().flatten() {
        if container["name"] == BROKER {
            only_fields("spec.containers[broker]", container, &BROKER_FIELDS)?;
        }
    }
    let template: PodTemplateSpec = serde_json::from_value(whole.clone()).map_err(|error| {
        refused("", &whole, format!("what Kubernetes reads as a PodTemplateSpec: {error}"))
    })?;
    let known = serde_json::to_value(&template).unwrap_or_default();
    only_known("", &whole, &known)?;
    let metadata = template.metadata.unwrap_or_default();
    let (labels, annotations) =
        (metadata.labels.unwrap_or_default(), metadata.annotations.unwrap_or_default());
    let own = broker_labels("");
    free_keys("metadata.labels", &labels, |key| own.contains_key(key))?;
    free_keys("metadata.annotations", &annotations, |_| false)?;
    let mut spec = template.spec.unwrap_or_default();
    check_volumes(&spec)?;
    check_spread(&spec)?;
    let (broker, others): (Vec<_>, Vec<_>) =
        std::mem::take(&mut spec.containers).into_iter().partition(|container| container.name == BROKER);
    spec.containers = others;
    for (place, containers) in
        [("spec.containers", Some(&spec.containers)), ("spec.initContainers", spec.init_containers.as_ref())]
    {
        containers
            .into_iter()
            .flatten()
            .try_for_each(|container| check_other(place, container, kafka_port))?;
    }
    let mut overlay = Overlay { labels, annotations, spec, ..Overlay::default() };
    for container in broker {
        check_broker(&container, &overlay.spec)?;
        overlay.env.extend(container.env.unwrap_or_default());
        overlay.mounts.extend(container.volume_mounts.unwrap_or_default());
    }
    Ok(overlay)
}

fn at<'a>(whole: &'a Value, place: &str) -> &'a Value {
    place.split('.').filter(|part| !part.is_empty()).fold(whole, |value, part| &value[part])
}

fn refused(place: &str, value: &Value, allowed: impl Into<String>) -> Error {
    let field = if place.is_empty() { ROOT.to_owned() } else { format!("{ROOT}.{place}") };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Error::InvalidSpec { field, value: text.chars().take(100).collect(), allowed: allowed.into() }
}

fn joined(place: &str, field: &str) -> String {
    if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") }
}

fn only_fields(place: &str, value: &Value, allowed: &[&str]) -> Result<(), Error> {
    let Some(fields) = value.as_object() else { return Ok(()) };
    for (field, value) in fields {
        if allowed.contains(&field.as_str()) {
            continue;
        }
        let path = joined(place, field);
        let hint = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == path);
        let hint =
            hint.map_or_else(|| format!("here are {}", allowed.join(", ")), |(_, hint)| hint.to_string());
        return Err(refused(&path, value, hint));
    }
    Ok(())
}

/// What was read and is not in what was understood is a name that Kubernetes does not know.
fn only_known(place: &str, read: &Value, known: &Value) -> Result<(), Error> {
    match read {
        Value::Object(fields) => {
            for (field, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let path = joined(place, field);
                let Some(known) = known.get(field) else {
                    return Err(refused(&path, value, "no pod has a field of that name"));
                };
                only_known(&path, value, known)?;
            }
            Ok(())
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| only_known(&format!("{place}[{index}]"), item, &known[index])),
        _ => Ok(()),
    }
}

fn free_keys(place: &str, given: &BTreeMap<String, String>, own: impl Fn(&str) -> bool) -> Result<(), Error> {
    let taken = |key: &&String| own(key) || RESERVED.iter().any(|reserved| key.starts_with(reserved));
    match given.keys().find(taken) {
        Some(key) => Err(refused(
            &format!("{place}[{key}]"),
            &Value::from(given[key].as_str()),
            "the operator and Kubernetes set it themselves; remove it",
        )),
        None => Ok(()),
    }
}

fn check_volumes(spec: &PodSpec) -> Result<(), Error> {
    let mut volumes = spec.volumes.iter().flatten();
    match volumes.find(|volume| OWN_VOLUMES.contains(&volume.name.as_str())) {
        Some(volume) => Err(refused(
            "spec.volumes",
            &Value::from(volume.name.as_str()),
            format!("names beside the operator's own, which are {}", OWN_VOLUMES.join(", ")),
        )),
        None => Ok(()),
    }
}

fn check_spread(spec: &PodSpec) -> Result<(), Error> {
    let mut constraints = spec.topology_spread_constraints.iter().flatten();
    match constraints.find(|constraint| SPREAD.contains(&constraint.topology_key.as_str())) {
        Some(constraint) => Err(refused(
            "spec.topologySpreadConstraints",
            &Value::from(constraint.topology_key.as_str()),
            "spec.spread says it for nodes and zones; here are other topology keys",
        )),
        None => Ok(()),
    }
}

fn check_broker(container: &Container, spec: &PodSpec) -> Result<(), Error> {
    let own = |variable: &&EnvVar| variable.name.starts_with("CHRONIK_") || variable.name == "POD_NAME";
    if let Some(variable) = container.env.iter().flatten().find(own) {
        let name = Value::from(variable.name.as_str());
        let allowed =
            "variables of other names than POD_NAME and CHRONIK_*; brokers' settings are in spec.config";
        return Err(refused("spec.containers[broker].env", &name, allowed));
    }
    for mount in container.volume_mounts.iter().flatten() {
        let place = "spec.containers[broker].volumeMounts";
        if !spec.volumes.iter().flatten().any(|volume| volume.name == mount.name) {
            return Err(refused(
                place,
                &Value::from(mount.name.as_str()),
                "volumes of spec.podTemplate.spec.volumes",
            ));
        }
        if OWN_PATHS.iter().any(|own| overlap(own, &mount.mount_path)) {
            let allowed = format!("paths that do not overlap with {}", OWN_PATHS.join(", "));
            return Err(refused(place, &Value::from(mount.mount_path.as_str()), allowed));
        }
    }
    Ok(())
}

/// Whether one of the paths is in the other, or is it.
fn overlap(one: &str, other: &str) -> bool {
    let parts = |path: &'_ str| -> Vec<String> {
        path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let (one, other) = (parts(one), parts(other));
    let shorter = one.len().min(other.len());
    one[..shorter] == other[..shorter]
}

/// A container beside the broker: it may not take the broker's name, ports, or write to its disk.
fn check_other(place: &str, container: &Container, kafka_port: u16) -> Result<(), Error> {
    let name = container.name.as_str();
    if CONTAINERS.contains(&name) {
        let allowed = format!("names beside the operator's own, which are {}", CONTAINERS.join(", "));
        return Err(refused(place, &Value::from(name), allowed));
    }
    let taken = [kafka_port, PEER_PORT, ADMIN_PORT].map(i32::from);
    for port in container.ports.iter().flatten() {
        let place = format!("{place}[{name}].ports");
        if taken.contains(&port.container_port) {
            let allowed = format!("ports other than the broker's, {taken:?}");
            return Err(refused(&place, &Value::from(port.container_port), allowed));
        }
        if let Some(given) = port.name.as_deref().filter(|given| PORT_NAMES.contains(given)) {
            let allowed = format!("names other than those of the broker's ports, {}", PORT_NAMES.join(", "));
            return Err(refused(&place, &Value::from(given), allowed));
        }
    }
    let writes =
        |mount: &&VolumeMount| OWN_VOLUMES.contains(&mount.name.as_str()) && mount.read_only != Some(true);
    match container.volume_mounts.iter().flatten().find(writes) {
        Some(mount) => Err(refused(
            &format!("{place}[{name}].volumeMounts"),
            &Value::from(mount.name.as_str()),
            "the broker's volumes only with readOnly: true",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(template: &str) -> Result<Overlay, String> {
        let raw: Map<String, Value> = serde_saphyr::from_str(template).unwrap();
        overlay(&raw, 9092).map_err(|error| error.to_string())
    }

    #[test]
    fn what_brokers_need_is_refused_with_field_value_and_what_is_allowed() {
        for (template, told) in [
            ("{spce: {}}", "spec.podTemplate.spce = \"{}\" is not allowed: here are metadata, spec"),
            (
                "{spec: {hostNetwork: true}}",
                "spec.podTemplate.spec.hostNetwork = \"true\" is not allowed: here are affinity",
            ),
            (
                "{spec: {terminationGracePeriodSeconds: 5}}",
                "terminationGracePeriodSeconds = \"5\" is not allowed: set spec.t",
            ),
            ("{spec: {restartPolicy: Never}}", "spec.restartPolicy = \"Never\""),
            ("{spec: {securityContext: {runAsUser: 0}}}", "spec.securityContext.runAsUser = \"0\""),
            (
                "{spec: {affinity: {nodeAffinityy: {}}}}",
                "affinity.nodeAffinityy = \"{}\" is not allowed: no pod has",
            ),
            ("{spec: {tolerations: [{key: a}, {kee: b}]}}", "tolerations[1].kee = \"b\""),
            ("{spec: {tolerations: 5}}", "PodTemplateSpec: invalid type"),
            ("{metadata: {labels: {app.kubernetes.io/name: x}}}", "labels[app.kubernetes.io/name] = \"x\""),
            ("{metadata: {labels: {chronik.dev/cluster: x}}}", "labels[chronik.dev/cluster]"),
            (
                "{metadata: {annotations: {chronik.dev/restart-hash: x}}}",
                "annotations[chronik.dev/restart-hash]",
            ),
            ("{metadata: {name: x}}", "metadata.name = \"x\" is not allowed: here are annotations, labels"),
            (
                "{spec: {volumes: [{name: data, emptyDir: {}}]}}",
                "volumes = \"data\" is not allowed: names beside",
            ),
            (
                "{spec: {containers: [{name: broker, image: x}]}}",
                "containers[broker].image = \"x\" is not allowed: set spec.image",
            ),
            (
                "{spec: {containers: [{name: broker, ports: []}]}}",
                "containers[broker].ports = \"[]\" is not allowed: here are env",
            ),
            ("{spec: {containers: [{name: broker, env: [{name: CHRONIK_RACK}]}]}}", "env = \"CHRONIK_RACK\""),
            (
                "{spec: {containers: [{name: broker, volumeMounts: [{name: data, mountPath: /x}]}]}}",
                "volumeMounts = \"data\"",
            ),
            (
                "{spec: {volumes: [{name: v, emptyDir: {}}], containers: [{name: broker, volumeMounts: [{name: v, mountPath: /var/lib/}]}]}}",
                "volumeMounts = \"/var/lib/\"",
            ),
            ("{spec: {initContainers: [{name: format}]}}", "initContainers = \"format\""),
            (
                "{spec: {containers: [{name: side, ports: [{containerPort: 9093}]}]}}",
                "containers[side].ports = \"9093\"",
            ),
            (
                "{spec: {containers: [{name: side, ports: [{name: admin, containerPort: 1}]}]}}",
                "containers[side].ports = \"admin\"",
            ),
            (
                "{spec: {containers: [{name: side, volumeMounts: [{name: data, mountPath: /d}]}]}}",
                "readOnly: true",
            ),
            (
                "{spec: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule}]}}",
                "spec.spread says it",
            ),
        ] {
            let error = judged(template).unwrap_err();
            assert!(error.contains(told), "{template}\n{error}");
        }
    }

    #[test]
    fn the_brokers_part_and_the_others_are_told_apart() {
        let overlay = judged(
            "metadata: {labels: {team: a}, annotations: {note: b}}\n\
             spec:\n  priorityClassName: high\n  volumes: [{name: v, emptyDir: {}}]\n  containers:\n  \
             - {name: broker, env: [{name: TZ, value: UTC}], volumeMounts: [{name: v, mountPath: /var/lib/chronik-x}]}\n  \
             - {name: side, image: s, volumeMounts: [{name: data, mountPath: /d, readOnly: true}]}",
        )
        .unwrap();
        assert_eq!(
            (overlay.env[0].name.as_str(), overlay.mounts[0].mount_path.as_str()),
            ("TZ", "/var/lib/chronik-x")
        );
        assert_eq!(overlay.spec.containers.len(), 1);
        assert_eq!(judged("{}").unwrap(), Overlay::default());
    }
}
