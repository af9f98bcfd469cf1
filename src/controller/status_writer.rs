//! The only place that writes statuses: only when something changed, and so many per second over all resources.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use chronik_api::labels::FIELD_MANAGER;
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::limiter::Limiter;
use crate::metrics::Metrics;

/// How long the last write counts as the present status: until the watch has surely brought it back.
const REMEMBERED: Duration = Duration::from_secs(20);

/// Writes statuses.
pub struct StatusWriter {
    client: Client,
    limiter: Limiter,
    metrics: Arc<Metrics>,
    recent: Mutex<HashMap<String, (Instant, Value)>>,
}

impl StatusWriter {
    /// At most `per_second` writes.
    pub fn new(client: Client, per_second: u32, metrics: Arc<Metrics>) -> Self {
        Self { client, limiter: Limiter::new(per_second), metrics, recent: Mutex::default() }
    }

    /// Makes `next` the object's status unless it already is. `stored` is the status the object was read with.
    pub async fn write<K>(
        &self,
        object: &K,
        stored: &impl Serialize,
        next: &impl Serialize,
    ) -> Result<bool, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let next = serde_json::to_value(next).map_err(kube::Error::SerdeError)?;
        let uid = object.uid().unwrap_or_default();
        let present = match self.last_written(&uid) {
            Some(written) => written,
            None => serde_json::to_value(stored).map_err(kube::Error::SerdeError)?,
        };
        if present == next {
            return Ok(false);
        }
        let waited = self.limiter.turn().await;
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            // A resource deleted and made anew in between is another one: refuse to write to it.
            "metadata": {"uid": uid},
            "status": next,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(&object.name_any(), &params, &Patch::Apply(patch)).await {
            Ok(_) => {}
            // Gone, or another one of that name: there is nothing left to tell.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => return Ok(false),
            Err(error) => return Err(error),
        }
        self.remember(uid, next);
        self.metrics.status_written(&K::kind(&()), waited);
        Ok(true)
    }

    /// The status this process wrote a moment ago, which the store may not show yet.
    pub fn last_written(&self, uid: &str) -> Option<Value> {
        let recent = self.recent.lock();
        recent.get(uid).filter(|(at, _)| at.elapsed() < REMEMBERED).map(|(_, status)| status.clone())
    }

    fn remember(&self, uid: String, status: Value) {
        let mut recent = self.recent.lock();
        recent.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        recent.insert(uid, (Instant::now(), status));
    }
}
