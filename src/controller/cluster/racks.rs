//! Tells each broker's pod the rack it stands in: its node's label, as an annotation of the pod, for which the pod waits before
//! its broker starts. A pod is told once: what its broker runs with does not change under it.

use std::collections::BTreeMap;

use chronik_api::conditions::{self, Finding};
use chronik_api::labels::RACK;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::error::Error;
use super::validate::ValidCluster;
use crate::context::Context;

/// Tells those that do not know it yet, and says who still does not; nothing where racks are not asked for.
pub(super) async fn tell(context: &Context, valid: &ValidCluster, pods: &[Pod]) -> Option<Finding> {
    let label = &valid.spec.rack.as_ref()?.node_label;
    let mut nodes = BTreeMap::new();
    let mut trouble = Vec::new();
    for (pod, node) in pods.iter().filter_map(untold) {
        let told = async {
            if !nodes.contains_key(node) {
                nodes.insert(node.to_owned(), rack_of(context, node, label).await?);
            }
            match &nodes[node] {
                Some(rack) => annotate(context, pod, rack).await,
                None => {
                    trouble.push(format!("node {node} of pod {} has no label {label}", pod.name_any()));
                    Ok(())
                }
            }
        };
        if let Err(error) = told.await {
            return Some(Finding::new(
                conditions::RACKS_KNOWN,
                false,
                error.category().reason(),
                format!("{error}; a pod that does not learn its rack within a minute starts without"),
            ));
        }
    }
    Some(finding(label, &trouble))
}

fn finding(label: &str, trouble: &[String]) -> Finding {
    if trouble.is_empty() {
        let message = format!("every pod that has a node knows its rack, by label {label}");
        return Finding::new(conditions::RACKS_KNOWN, true, "Known", message);
    }
    Finding::new(conditions::RACKS_KNOWN, false, "NoLabel", trouble.join("; "))
}

/// A pod that has a node and does not know its rack, with the node.
fn untold(pod: &Pod) -> Option<(&Pod, &str)> {
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    let waits = pod.metadata.deletion_timestamp.is_none() && !pod.annotations().contains_key(RACK);
    waits.then_some((pod, node))
}

async fn rack_of(context: &Context, node: &str, label: &str) -> Result<Option<String>, Error> {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let found = nodes.get_metadata_opt(node).await.map_err(|e| Error::kubernetes("read a node", e))?;
    Ok(found.and_then(|node| node.labels().get(label).cloned()).filter(|rack| !rack.is_empty()))
}

/// For this very pod: its successor may stand elsewhere.
async fn annotate(context: &Context, pod: &Pod, rack: &str) -> Result<(), Error> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    let patch = json!({"metadata": {"uid": pod.uid(), "annotations": {RACK: rack}}});
    match pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        // It is gone, or another one by its name is there.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(source) => Err(Error::kubernetes("tell a pod its rack", source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_once_and_only_when_it_has_a_node() {
        let waits = |text: &str| {
            let pod: Pod = serde_saphyr::from_str(text).unwrap();
            untold(&pod).map(|(_, node)| node.to_owned())
        };
        assert_eq!(waits("{metadata: {name: a}, spec: {nodeName: n, containers: []}}").as_deref(), Some("n"));
        assert_eq!(waits("{metadata: {name: a}, spec: {containers: []}}"), None);
        let told =
            "{metadata: {name: a, annotations: {chronik.dev/rack: z}}, spec: {nodeName: n, containers: []}}";
        assert_eq!(waits(told), None);
    }

    #[test]
    fn a_node_without_the_label_is_named() {
        let finding = finding("zone", &["node n of pod demo-broker-1 has no label zone".to_owned()]);
        assert_eq!((finding.reason.as_str(), finding.message.contains("demo-broker-1")), ("NoLabel", true));
    }
}
