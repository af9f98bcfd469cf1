//! Keeps what rollouts decided, in a ConfigMap for each cluster. Nothing waits for it, and nothing is decided by it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chronik_api::BrokerCluster;
use chronik_api::labels::broker_labels;
use chronik_core::rollout::journal::{DECISIONS_MAX, Journal, Round};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;

use crate::apply::{Applied, ApplyError, apply};
use crate::cluster::names;
use crate::error::Category;
use crate::feed::ClusterKey;
use crate::limiter::Limiter;
use crate::metrics::Metrics;

/// The ConfigMap's key.
pub const ROUNDS: &str = "rounds.jsonl";
/// Writes per second over all clusters.
const PER_SECOND: u32 = 5;
/// Shortest time between two writes for one cluster.
const PAUSE: Duration = Duration::from_secs(2);
/// What could not be written is tried again after this time, so many times, and then with the next decision.
const RETRY: Duration = Duration::from_secs(10);
const TRIES_MAX: u32 = 30;
/// Longest single write.
const WRITE_MAX: Duration = Duration::from_secs(20);

/// The journals of all clusters.
#[derive(Clone)]
pub struct Journals(Arc<Shared>);

struct Shared {
    client: Client,
    applied: Applied,
    limiter: Limiter,
    metrics: Arc<Metrics>,
    clusters: Mutex<HashMap<ClusterKey, Kept>>,
}

/// One cluster's.
#[derive(Default)]
struct Kept {
    owner: OwnerReference,
    /// The last that was recorded.
    last: Option<Round>,
    /// Those that are not written yet.
    waiting: Vec<Round>,
    /// All that is written; `None` before it was read.
    written: Option<Journal>,
    /// Whether somebody writes.
    is_writing: bool,
}

impl Journals {
    /// None kept yet.
    pub fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        let (applied, limiter) = (Applied::default(), Limiter::new(PER_SECOND));
        Self(Arc::new(Shared { client, applied, limiter, metrics, clusters: Mutex::default() }))
    }

    /// Keeps a round unless it decided what the one before did. Returns at once.
    pub fn record(&self, key: &ClusterKey, cluster: &BrokerCluster, round: Round) {
        let Some(owner) = cluster.controller_owner_ref(&()) else { return };
        let mut clusters = self.0.clusters.lock();
        let kept = clusters.entry(key.clone()).or_default();
        if kept.owner.uid != owner.uid {
            *kept = Kept { owner, is_writing: kept.is_writing, ..Kept::default() };
        }
        if !kept.take(round) || std::mem::replace(&mut kept.is_writing, true) {
            return;
        }
        tokio::spawn(self.clone().write(key.clone()));
    }

    /// A cluster is gone.
    pub fn forget(&self, key: &ClusterKey) {
        self.0.clusters.lock().remove(key);
    }

    /// Writes until nothing waits, or too many tries have failed.
    async fn write(self, key: ClusterKey) {
        let mut failed = 0;
        while failed < TRIES_MAX {
            self.0.limiter.turn().await;
            let written = tokio::time::timeout(WRITE_MAX, self.write_once(&key)).await;
            let trouble = match written {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some((error.category(), error.to_string())),
                Err(_) => Some((Category::KubernetesApi, format!("no answer within {WRITE_MAX:?}"))),
            };
            failed = if trouble.is_some() { failed + 1 } else { 0 };
            tokio::time::sleep(if trouble.is_some() { RETRY } else { PAUSE }).await;
            if let Some((category, error)) = trouble {
                tracing::warn!(cluster = %key, error, "write the rollout's journal");
                self.0.metrics.error("BrokerCluster", category);
            }
            if self.0.clusters.lock().get_mut(&key).is_none_or(Kept::is_done) {
                return;
            }
        }
        if let Some(kept) = self.0.clusters.lock().get_mut(&key) {
            kept.is_writing = false;
        }
    }

    async fn write_once(&self, key: &ClusterKey) -> Result<(), ApplyError> {
        let (owner, waiting, written) = match self.0.clusters.lock().get(key) {
            Some(kept) => (kept.owner.clone(), kept.waiting.clone(), kept.written.clone()),
            None => return Ok(()),
        };
        let (mut journal, last) = match written {
            Some(journal) => (journal, None),
            None => self.read(key, &owner).await?,
        };
        // An operator that has just started decides what the one before it did.
        let is_known = last.zip(waiting.first()).is_some_and(|(last, first)| last.decided_as(first));
        waiting.iter().skip(usize::from(is_known)).for_each(|round| journal.add(round));
        apply(&self.0.client, &self.0.applied, &config_map(key, &owner, &journal)).await?;
        if let Some(kept) = self.0.clusters.lock().get_mut(key).filter(|kept| kept.owner.uid == owner.uid) {
            kept.waiting.drain(..waiting.len().min(kept.waiting.len()));
            kept.written = Some(journal);
        }
        Ok(())
    }

    /// What another process kept, and the last round of it.
    async fn read(
        &self,
        key: &ClusterKey,
        owner: &OwnerReference,
    ) -> Result<(Journal, Option<Round>), ApplyError> {
        let api: Api<ConfigMap> = Api::namespaced(self.0.client.clone(), &key.namespace);
        let name = names::rollout_journal(&key.name);
        let failed = |source| ApplyError::Kubernetes {
            kind: "ConfigMap".to_owned(),
            name: name.clone(),
            source: Box::new(source),
        };
        let present = api.get_opt(&name).await.map_err(failed)?.unwrap_or_default();
        let is_ours = present.metadata.owner_references.iter().flatten().any(|other| other.uid == owner.uid);
        let text = present.data.and_then(|mut data| data.remove(ROUNDS)).filter(|_| is_ours);
        let mut rounds = Journal::read(&text.unwrap_or_default()).unwrap_or_else(|error| {
            tracing::warn!(cluster = %key, %error, "begin the rollout's journal anew");
            Vec::new()
        });
        let mut journal = Journal::default();
        rounds.iter().for_each(|round| journal.add(round));
        Ok((journal, rounds.pop()))
    }
}

impl Kept {
    /// Whether the round is news, and waits from now on.
    fn take(&mut self, round: Round) -> bool {
        if self.last.as_ref().is_some_and(|last| last.decided_as(&round)) {
            return false;
        }
        if self.waiting.len() >= DECISIONS_MAX {
            self.waiting.remove(0);
        }
        self.waiting.push(round.clone());
        self.last = Some(round);
        true
    }

    /// Whether nothing waits; then nobody writes any more.
    fn is_done(&mut self) -> bool {
        self.is_writing = !self.waiting.is_empty();
        !self.is_writing
    }
}

fn config_map(key: &ClusterKey, owner: &OwnerReference, journal: &Journal) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::rollout_journal(&key.name)),
            namespace: Some(key.namespace.clone()),
            labels: Some(broker_labels(&key.name)),
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(ROUNDS.to_owned(), journal.text())])),
        ..ConfigMap::default()
    }
}

#[cfg(test)]
mod tests {
    use chronik_core::ids::BrokerId;
    use chronik_core::rollout::journal::{Said, Taken, VERSION};
    use chronik_core::rollout::{Observed, Step, Wait};

    use super::*;

    fn round(now: i64, wait: Wait) -> Round {
        let seen = Observed { now, ..Observed::default() };
        let steps = vec![Taken { step: Step::Wait(wait), outcome: None }];
        Round { version: VERSION, seen, said: Said::default(), steps }
    }

    #[test]
    fn what_is_decided_again_is_not_kept_again_and_what_waits_is_bounded() {
        let mut kept = Kept::default();
        assert!(kept.take(round(1, Wait::Refused)));
        assert!(!kept.take(round(2, Wait::Refused)));
        assert!(kept.take(round(3, Wait::Report)));
        assert!(kept.take(round(4, Wait::Refused)), "it was another one in between");
        let times = |kept: &Kept| kept.waiting.iter().map(|round| round.seen.now).collect::<Vec<_>>();
        assert_eq!(times(&kept), [1, 3, 4]);
        for broker in 0..DECISIONS_MAX as u32 {
            assert!(kept.take(round(5, Wait::Stopping(BrokerId(broker)))));
        }
        assert_eq!(times(&kept), vec![5; DECISIONS_MAX]);
    }

    #[test]
    fn who_has_written_all_stops_and_is_started_again_by_the_next_round() {
        let mut kept = Kept { is_writing: true, ..Kept::default() };
        kept.take(round(1, Wait::Refused));
        assert!(!kept.is_done());
        kept.waiting.clear();
        assert!(kept.is_done() && !kept.is_writing);
    }
}
