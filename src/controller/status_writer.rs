//! The only place that writes statuses: only when something changed, and so many per second over all resources.
//!
//! BrokerClusters have a share of their own, so that thousands of Topics that change at once do not hold up the few. Topics get a
//! turn and come back for it, so that those that wait keep nobody from working.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use chronik_api::labels::FIELD_MANAGER;
use chronik_api::{BrokerCluster, Topic};
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

/// One of so many writes is for BrokerClusters.
const CLUSTERS_SHARE: u32 = 4;

/// Writes statuses.
pub struct StatusWriter {
    client: Client,
    clusters: Limiter,
    topics: Limiter,
    metrics: Arc<Metrics>,
    recent: Mutex<HashMap<String, (Instant, Value)>>,
    turns: Mutex<HashMap<String, Turn>>,
}

/// What became of a status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// It is the object's now.
    Yes,
    /// It was already, or the object is gone.
    No,
    /// Its turn comes then.
    Later(Duration),
}

/// When somebody may write, and since when that was wanted.
struct Turn {
    wanted: Instant,
    at: Instant,
}

impl StatusWriter {
    /// At most `per_second` writes, and at least two.
    pub fn new(client: Client, per_second: u32, metrics: Arc<Metrics>) -> Self {
        let clusters = (per_second / CLUSTERS_SHARE).max(1);
        Self {
            client,
            clusters: Limiter::new(clusters),
            topics: Limiter::new(per_second.saturating_sub(clusters)),
            metrics,
            recent: Mutex::default(),
            turns: Mutex::default(),
        }
    }

    /// Makes `next` the cluster's status unless it already is, once it may. `stored` is the status it was read with.
    pub async fn write_cluster(
        &self,
        cluster: &BrokerCluster,
        stored: &impl Serialize,
        next: &impl Serialize,
    ) -> Result<Written, kube::Error> {
        let Some(next) = self.news(cluster, stored, next)? else { return Ok(Written::No) };
        let waited = self.clusters.turn().await;
        self.send(cluster, next, waited).await
    }

    /// Makes `next` the Topic's status unless it already is, or says when to come back for that.
    pub async fn write_topic(
        &self,
        topic: &Topic,
        stored: &impl Serialize,
        next: &impl Serialize,
    ) -> Result<Written, kube::Error> {
        let uid = topic.uid().unwrap_or_default();
        let Some(next) = self.news(topic, stored, next)? else {
            self.turns.lock().remove(&uid);
            return Ok(Written::No);
        };
        match self.turn(uid) {
            Ok(waited) => self.send(topic, next, waited).await,
            Err(left) => Ok(Written::Later(left)),
        }
    }

    /// How long its turn was waited for, or how long it is away.
    fn turn(&self, uid: String) -> Result<Duration, Duration> {
        let now = Instant::now();
        let mut turns = self.turns.lock();
        let reserve = || Turn { wanted: now, at: self.topics.reserve(now) };
        let (wanted, at) = {
            let turn = turns.entry(uid.clone()).or_insert_with(reserve);
            (turn.wanted, turn.at)
        };
        if at > now {
            return Err(at - now);
        }
        turns.remove(&uid);
        // Of resources that are gone.
        turns.retain(|_, turn| turn.at + REMEMBERED > now);
        Ok(now - wanted)
    }

    /// The status, if it is another one than the object has.
    fn news<K: Resource>(
        &self,
        object: &K,
        stored: &impl Serialize,
        next: &impl Serialize,
    ) -> Result<Option<Value>, kube::Error> {
        let next = serde_json::to_value(next).map_err(kube::Error::SerdeError)?;
        let present = match self.last_written(&object.uid().unwrap_or_default()) {
            Some(written) => written,
            None => serde_json::to_value(stored).map_err(kube::Error::SerdeError)?,
        };
        Ok((present != next).then_some(next))
    }

    async fn send<K>(&self, object: &K, next: Value, waited: Duration) -> Result<Written, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let uid = object.uid().unwrap_or_default();
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
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {
                return Ok(Written::No);
            }
            Err(error) => return Err(error),
        }
        self.remember(uid, next);
        self.metrics.status_written(&K::kind(&()), waited);
        Ok(Written::Yes)
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
