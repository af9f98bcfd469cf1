//! The operator as Helm installs it, and which of its pods acts.

use std::path::PathBuf;
use std::time::Duration;

use chronik_e2e::program::{Ended, Program};
use chronik_e2e::wait;

use crate::world::{field, get, kubectl};

/// Helm release and namespace of the operator.
pub const NAMESPACE: &str = "chronik";
const LIMIT: Duration = Duration::from_secs(120);

/// Installs the chart, or makes the release what these values say.
pub fn install(values: &[&str]) -> Ended {
    let chart = root().join("charts/chronik");
    let set = values.iter().flat_map(|value| ["--set", value]);
    // It is there already, unless this is the first release.
    kubectl(&["create", "namespace", NAMESPACE]).run();
    restrict(NAMESPACE);
    // Without --reset-values an earlier scenario's values would stay.
    helm(&["upgrade", "--install", "chronik", &chart.to_string_lossy()])
        .args(["--reset-values", "--wait"])
        .args(set)
        .run()
}

/// Has Kubernetes refuse every pod in the namespace that does not keep to the standard `restricted`.
pub fn restrict(namespace: &str) {
    let label = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(&["label", "--overwrite", "namespace", namespace, label]).run().expect("label the namespace");
}

/// The release as a user gets it.
pub fn install_with_defaults() {
    install(&[]).expect("helm install");
}

/// Only one operator, and on this node: the others may die.
pub fn install_on(node: &str) {
    install(&["replicas=1", &format!("nodeSelector.kubernetes\\.io/hostname={node}")]).expect("helm upgrade");
    let look = || {
        let at = pod_node(&leader()?)?;
        wait::holds(at == node, || format!("the operator that acts is on {at}"))
    };
    wait::until(&format!("an operator on {node} acts"), Duration::from_secs(60), look);
}

/// Takes the release away, with its hooks.
pub fn uninstall() -> Ended {
    helm(&["uninstall", "chronik", "--ignore-not-found", "--wait"]).run()
}

/// The pod that holds the lease.
pub fn leader() -> Result<String, String> {
    let lease = get(&format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/chronik-operator"))?;
    let holder = field(&lease, "/spec/holderIdentity")?.as_str().unwrap_or_default().to_owned();
    if holder.is_empty() { Err("no operator holds the lease".to_owned()) } else { Ok(holder) }
}

/// Waits until so many operators are ready, one to act and the others to take over.
pub fn await_ready(operators: i64) {
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/chronik-operator");
    let look = || {
        let ready = get(&path)?["status"]["readyReplicas"].as_i64().unwrap_or(0);
        wait::holds(ready == operators, || format!("{ready} are ready"))
    };
    wait::until("operators are ready", Duration::from_secs(90), look);
}

/// The release without a running operator; there are two again when this ends.
pub struct Scaled(());

impl Scaled {
    /// Waits until none is left.
    pub fn to_none() -> Self {
        scale(0);
        let path =
            format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app.kubernetes.io/component=operator");
        let look = || {
            let pods = get(&path)?["items"].as_array().map_or(0, Vec::len);
            wait::holds(pods == 0, || format!("{pods} are left"))
        };
        wait::until("no operator is left", Duration::from_secs(60), look);
        Self(())
    }
}

impl Drop for Scaled {
    fn drop(&mut self) {
        scale(2);
    }
}

fn scale(operators: u32) {
    let replicas = format!("--replicas={operators}");
    let done = kubectl(&["scale", "deployment/chronik-operator", &replicas, "--namespace", NAMESPACE]).run();
    if !done.success {
        eprintln!("{done}");
    }
}

/// The node of one of the operator's pods.
pub fn pod_node(pod: &str) -> Result<String, String> {
    let pod = get(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}"))?;
    Ok(field(&pod, "/spec/nodeName")?.as_str().unwrap_or_default().to_owned())
}

/// What the operator's pods said last, for a failed test.
pub fn log_tail() -> String {
    let selector = "app.kubernetes.io/component=operator";
    kubectl(&["logs", "--namespace", NAMESPACE, "--selector", selector, "--prefix", "--tail", "30"])
        .run()
        .to_string()
}

fn helm(args: &[&str]) -> Program {
    Program::new(root().join("target/box/bin/helm"))
        .args(args)
        .args(["--namespace", NAMESPACE, "--timeout", "100s"])
        .within(LIMIT)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
