//! Has volumes grow to `spec.storage.size`, and says how far that is. The claims grow one by one, in place; the StatefulSet's
//! template of them cannot change, so a claim that it makes later begins at the first size and grows like the others.

use chronik_api::BrokerCluster;
use chronik_api::broker_cluster::Storage;
use chronik_api::conditions::{self, Finding};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::build::hash::stable_hash;
use super::validate::ValidCluster;
use crate::context::Context;
use crate::error::brief;
use crate::quantity::value;

/// Reason of the finding while volumes grow.
pub(super) const GROWING: &str = "Growing";
const REFUSED: &str = "Refused";

/// Asks for what is missing. Whether a class can grow its volumes the API server knows and says.
pub(super) async fn grow(
    context: &Context,
    cluster: &BrokerCluster,
    valid: &ValidCluster,
    claims: &[PersistentVolumeClaim],
) -> Finding {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &valid.key.namespace);
    let size = &valid.spec.storage.size;
    let patch = Patch::Merge(json!({"spec": {"resources": {"requests": {"storage": size}}}}));
    for claim in claims.iter().filter(|claim| is_bound(claim) && is_below(requested(claim), size)) {
        let (name, uid) = (claim.name_any(), claim.uid().unwrap_or_default());
        if !context.applied.is_due(&uid, "size", stable_hash(&Value::from(size.as_str()))) {
            // Refused a moment ago: that stands, and is tried again later.
            return before(cluster).unwrap_or_else(|| progress(&valid.spec.storage, claims));
        }
        match api.patch(&name, &PatchParams::default(), &patch).await {
            Ok(_) => tracing::info!(claim = name, %size, "ask for a larger volume"),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                let message = format!("{name} stays at {}: {}", text(requested(claim)), brief(&error));
                return Finding::new(conditions::STORAGE_SIZED, false, REFUSED, message);
            }
        }
    }
    progress(&valid.spec.storage, claims)
}

/// What was found when it was refused.
fn before(cluster: &BrokerCluster) -> Option<Finding> {
    let known = conditions::get(&cluster.status.as_ref()?.conditions, conditions::STORAGE_SIZED)?;
    (known.reason == REFUSED)
        .then(|| Finding::new(conditions::STORAGE_SIZED, false, REFUSED, known.message.clone()))
}

fn progress(storage: &Storage, claims: &[PersistentVolumeClaim]) -> Finding {
    let size = &storage.size;
    let small: Vec<String> =
        claims.iter().filter(|claim| is_below(capacity(claim), size)).map(said).collect();
    if small.is_empty() {
        let message = format!("every volume has {size} or more");
        return Finding::new(conditions::STORAGE_SIZED, true, "Sized", message);
    }
    let message =
        format!("{} of {} volumes have less than {size}: {}", small.len(), claims.len(), small.join("; "));
    Finding::new(conditions::STORAGE_SIZED, false, GROWING, message)
}

/// How a claim's growth goes, as Kubernetes says it.
fn said(claim: &PersistentVolumeClaim) -> String {
    let conditions = claim.status.as_ref().and_then(|status| status.conditions.as_ref());
    let says: Vec<String> = conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition.status == "True")
        .map(|condition| match condition.message.as_deref().filter(|message| !message.is_empty()) {
            Some(message) => format!(" ({}: {message})", condition.type_),
            None => format!(" ({})", condition.type_),
        })
        .collect();
    let bound = if is_bound(claim) { "" } else { " (not bound yet)" };
    format!("{} has {}{bound}{}", claim.name_any(), text(capacity(claim)), says.concat())
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Bound") && claim.metadata.deletion_timestamp.is_none()
}

/// Whether this is known to be less.
fn is_below(present: Option<&Quantity>, size: &str) -> bool {
    match (present.and_then(|present| value(&present.0)), value(size)) {
        (Some(present), Some(size)) => present < size,
        (None, _) => true,
        (_, None) => false,
    }
}

fn requested(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

fn capacity(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.status.as_ref()?.capacity.as_ref()?.get("storage")
}

fn text(quantity: Option<&Quantity>) -> &str {
    quantity.map_or("nothing", |quantity| &quantity.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, status: &str) -> PersistentVolumeClaim {
        let text = format!("metadata: {{name: {name}}}\nstatus: {status}");
        serde_saphyr::from_str(&text).unwrap()
    }

    #[test]
    fn it_says_which_volumes_are_too_small_and_what_kubernetes_says_of_them() {
        let storage = Storage { size: "20Gi".to_owned(), ..Storage::default() };
        let large = claim("a", "{phase: Bound, capacity: {storage: 20480Mi}}");
        let small = claim(
            "b",
            "{phase: Bound, capacity: {storage: 10Gi}, conditions: [{type: FileSystemResizePending, status: 'True', \
             message: waits for the pod}, {type: Resizing, status: 'False'}]}",
        );
        let pending = claim("c", "{phase: Pending}");
        assert_eq!(progress(&storage, std::slice::from_ref(&large)).reason, "Sized");
        let growing = progress(&storage, &[large, small, pending]);
        assert_eq!(
            (growing.reason.as_str(), growing.message.as_str()),
            (
                GROWING,
                "2 of 3 volumes have less than 20Gi: b has 10Gi (FileSystemResizePending: waits for the pod); c has \
                 nothing (not bound yet)"
            )
        );
    }

    #[test]
    fn only_what_is_known_to_be_less_is_below() {
        let quantity = |text: &str| Quantity(text.to_owned());
        assert!(is_below(Some(&quantity("10Gi")), "11Gi") && is_below(None, "1Gi"));
        assert!(!is_below(Some(&quantity("11Gi")), "11264Mi") && !is_below(Some(&quantity("2Ti")), "1Gi"));
    }
}
