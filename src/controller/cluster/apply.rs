//! Step 4: writes what was built. Server-side apply, in an order in which nothing starts before what it needs.

use chronik_api::labels::INITIALISED;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::build::Objects;
use super::dereference::Found;
use super::error::Error;
use super::validate::ValidCluster;
use crate::apply::apply as apply_object;
use crate::context::Context;

/// Applies everything.
pub async fn apply(
    context: &Context,
    valid: &ValidCluster,
    found: &Found,
    objects: Objects,
) -> Result<(), Error> {
    if valid.initialised {
        // First of all: from here on no disk may found this cluster again, whatever happens to this resource.
        mark_initialised(context, valid, found).await?;
    }
    let (client, applied) = (&context.client, &context.applied);
    apply_object(client, applied, &objects.config_map).await?;
    apply_object(client, applied, &objects.headless).await?;
    apply_object(client, applied, &objects.bootstrap).await?;
    apply_object(client, applied, &objects.disruption_budget).await?;
    // Pods need all of the above.
    apply_object(client, applied, &objects.stateful_set).await?;
    Ok(())
}

async fn mark_initialised(context: &Context, valid: &ValidCluster, found: &Found) -> Result<(), Error> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &valid.key.namespace);
    let patch = Patch::Merge(json!({"metadata": {"annotations": {INITIALISED: "true"}}}));
    for claim in found.claims.iter().filter(|claim| !claim.annotations().contains_key(INITIALISED)) {
        match claims.patch(&claim.name_any(), &PatchParams::default(), &patch).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(source) => return Err(Error::kubernetes("mark a volume claim as initialised", source)),
        }
    }
    Ok(())
}
