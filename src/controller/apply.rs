//! Server-side apply of objects the operator owns. It never takes over an object that someone else controls.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use chronik_api::labels::{CLUSTER, FIELD_MANAGER, MANAGED_BY};
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::error::{Category, brief};

/// Unchanged objects are applied again this often, to undo what others changed.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// Why an object was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("apply {kind} {name}: {}", brief(source))]
    Kubernetes { kind: String, name: String, source: Box<kube::Error> },
    #[error("{kind} {name} exists and belongs to {owner}; rename that one, or this BrokerCluster")]
    Foreign { kind: String, name: String, owner: String },
    #[error("{kind} {name} of a BrokerCluster that was deleted is still being removed; waiting for its end")]
    GoingAway { kind: String, name: String },
}

impl ApplyError {
    /// What kind of trouble it is.
    pub fn category(&self) -> Category {
        match self {
            Self::Kubernetes { .. } => Category::KubernetesApi,
            Self::Foreign { .. } | Self::GoingAway { .. } => Category::Conflict,
        }
    }
}

/// What was applied a short while ago, by owner and object.
#[derive(Default)]
pub struct Applied(Mutex<HashMap<(String, String), (Instant, u64)>>);

impl Applied {
    /// Whether this very content was applied lately; if not, it now counts as such once `done` is called.
    fn is_fresh(&self, key: &(String, String), hash: u64) -> bool {
        self.0.lock().get(key).is_some_and(|(at, known)| *known == hash && at.elapsed() < REPEAT_AFTER)
    }

    /// Whether this was not tried lately for that object; if so, it counts as tried now.
    pub fn is_due(&self, uid: &str, what: &str, hash: u64) -> bool {
        let key = (uid.to_owned(), what.to_owned());
        let due = !self.is_fresh(&key, hash);
        if due {
            self.done(key, hash);
        }
        due
    }

    fn done(&self, key: (String, String), hash: u64) {
        let mut applied = self.0.lock();
        applied.retain(|_, (at, _)| at.elapsed() < REPEAT_AFTER);
        applied.insert(key, (Instant::now(), hash));
    }

    /// Forgets what was applied for an owner: something was found missing.
    pub fn forget(&self, owner_uid: &str) {
        self.0.lock().retain(|(owner, _), _| owner != owner_uid);
    }
}

/// Applies `object`, whose first owner reference is its controller.
pub async fn apply<K>(client: &Client, applied: &Applied, object: &K) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let (kind, name) = (K::kind(&()).into_owned(), object.name_any());
    let failed =
        |source| ApplyError::Kubernetes { kind: kind.clone(), name: name.clone(), source: Box::new(source) };
    let owner = controller_uid(object).unwrap_or_default();
    let content = serde_json::to_value(object).map_err(|error| failed(kube::Error::SerdeError(error)))?;
    let hash = crate::cluster::build::hash::stable_hash(&content);
    let key = (owner.clone(), format!("{kind}/{name}"));
    if applied.is_fresh(&key, hash) {
        return Ok(());
    }
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    if let Some(present) = api.get_opt(&name).await.map_err(failed)? {
        may_apply(&present, object, &owner)?;
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(object)).await.map_err(failed)?;
    applied.done(key, hash);
    Ok(())
}

/// Ours, or left behind without an owner by a cluster of this name: fine. Otherwise hands off.
fn may_apply<K: Resource<DynamicType = ()>>(present: &K, wanted: &K, owner: &str) -> Result<(), ApplyError> {
    let (kind, name) = (K::kind(&()).into_owned(), present.name_any());
    let controller = present.owner_references().iter().find(|owner| owner.controller == Some(true));
    match controller {
        Some(controller) if controller.uid == owner => Ok(()),
        Some(controller) if wanted.owner_references().iter().any(|w| same_name(w, controller)) => {
            Err(ApplyError::GoingAway { kind, name })
        }
        Some(controller) => {
            Err(ApplyError::Foreign { kind, name, owner: format!("{} {}", controller.kind, controller.name) })
        }
        None if [CLUSTER, MANAGED_BY]
            .iter()
            .all(|key| present.labels().get(*key) == wanted.labels().get(*key)) =>
        {
            Ok(())
        }
        None => Err(ApplyError::Foreign { kind, name, owner: "someone else".to_owned() }),
    }
}

type Owner = k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

fn same_name(a: &Owner, b: &Owner) -> bool {
    a.kind == b.kind && a.name == b.name
}

fn controller_uid(object: &impl Resource) -> Option<String> {
    let owners = object.meta().owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn config_map(owner_kind: &str, owner: &str, uid: &str, cluster: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some("demo".to_owned());
        map.metadata.labels = Some(chronik_api::labels::broker_labels(cluster));
        if !uid.is_empty() {
            map.metadata.owner_references = Some(vec![Owner {
                kind: owner_kind.to_owned(),
                name: owner.to_owned(),
                uid: uid.to_owned(),
                controller: Some(true),
                ..Owner::default()
            }]);
        }
        map
    }

    fn verdict(present: &ConfigMap) -> Result<(), ApplyError> {
        may_apply(present, &config_map("BrokerCluster", "demo", "1", "demo"), "1")
    }

    #[test]
    fn only_own_and_orphaned_objects_are_taken() {
        assert!(verdict(&config_map("BrokerCluster", "demo", "1", "demo")).is_ok());
        assert!(verdict(&config_map("", "", "", "demo")).is_ok());
        let foreign = verdict(&config_map("Deployment", "web", "7", "demo")).unwrap_err();
        assert!(foreign.to_string().contains("belongs to Deployment web"), "{foreign}");
        assert!(matches!(verdict(&config_map("", "", "", "other")), Err(ApplyError::Foreign { .. })));
    }

    #[test]
    fn an_object_of_a_deleted_namesake_is_waited_for() {
        let before = config_map("BrokerCluster", "demo", "0", "demo");
        assert!(matches!(verdict(&before), Err(ApplyError::GoingAway { .. })));
    }
}
