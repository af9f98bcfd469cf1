//! Carries out what the planner says for `spec.replicas`: tells the brokers who leaves, stops it, clears what is left of it. It
//! decides nothing itself.
//!
//! A round ends when there is something to wait for, or when anything is not as it was seen: the next round looks again.

mod observe;
pub mod plan;
mod told;

use std::future::Future;

use chronik_api::BrokerCluster;
use chronik_core::ids::BrokerId;
use chronik_core::metadata::Standing;
use chronik_core::restart::{PermitId, Reason};
use chronik_core::view::{PermitBody, PermitRefused};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::NamespaceResourceScope;
use serde_json::json;

use super::dereference::Found;
use super::names;
use super::rollout::{addresses, blocks_text};
use crate::broker_client::{Answered, BrokerClient, BrokerError};
use crate::context::Context;
use crate::error::{Category, brief};
use crate::events::Happening;
use crate::feed::ClusterKey;
use plan::{ClaimSeen, Observed, Step, Wait};

pub use observe::pods_of;
pub use told::{Told, tell};

/// Steps of one round, at most: more than the longest way from a broker to its end.
const STEPS_MAX: usize = 8;

/// How a round ended.
pub struct Round {
    /// What was seen, and what came of it.
    seen: Observed,
    end: End,
    /// Why the brokers let the one that leaves not stop.
    refusal: Option<String>,
    /// What was decided and done.
    pub happenings: Vec<Happening>,
}

/// What ended it.
#[derive(Clone, PartialEq, Eq, Debug)]
enum End {
    Done,
    Waits(Wait),
    /// Something did not go as planned; why as one CamelCase word, and for a person.
    Failed(&'static str, String),
}

/// Goes as far as it can now.
pub async fn advance(context: &Context, cluster: &BrokerCluster, key: &ClusterKey, found: &Found) -> Round {
    let brokers = addresses(context, key, found);
    let asked =
        context.brokers.first_answer(&brokers, |client, broker| async move { client.permits(&broker).await });
    let permits = asked.await.inspect_err(|error| tracing::debug!(cluster = %key, %error, "read permits"));
    let seen = observe::observe(cluster, found, permits.ok().map(|report| report.open));
    let set = found.stateful_set.as_ref();
    let mut work = Work { context, key, brokers, set, seen, refusal: None, happenings: Vec::new() };
    let end = work.run().await;
    let Work { seen, refusal, happenings, .. } = work;
    Round { seen, end, refusal, happenings }
}

struct Work<'a> {
    context: &'a Context,
    key: &'a ClusterKey,
    brokers: Vec<String>,
    set: Option<&'a StatefulSet>,
    seen: Observed,
    refusal: Option<String>,
    happenings: Vec<Happening>,
}

impl Work<'_> {
    async fn run(&mut self) -> End {
        for _ in 0..STEPS_MAX {
            let done = match plan::next(&self.seen) {
                Step::Done => return End::Done,
                Step::Wait(wait) => return End::Waits(wait),
                Step::Stand { broker, standing } => self.stand(broker, standing).await,
                Step::Ask { broker, pod_uid } => self.ask(broker, pod_uid).await,
                Step::Begin { permit, pod_uid } => self.begin(permit, pod_uid).await,
                Step::Abort { permit, pod_uid } => self.abort(permit, pod_uid).await,
                Step::Shrink { broker } => self.shrink(broker).await,
                Step::DeleteClaim { broker, claim } => self.delete_claim(broker, &claim).await,
                Step::Unregister { broker } => self.unregister(broker).await,
            };
            if let Err(end) = done {
                return end;
            }
        }
        End::Failed("Retrying", format!("not done after {STEPS_MAX} steps"))
    }

    async fn stand(&mut self, broker: u32, standing: Standing) -> Result<(), End> {
        self.call(|client, address| async move {
            client.set_standing(&address, BrokerId(broker), standing).await
        })
        .await?;
        let happening = match standing {
            Standing::Leaving => Happening::normal(
                "BrokerLeaves",
                format!("broker {broker} leaves: its replicas move to the others"),
            ),
            Standing::Joining => Happening::normal(
                "ShareGiven",
                format!("broker {broker} gets its share of the replicas (spec.rebalance)"),
            ),
            Standing::Settled => {
                Happening::normal("BrokerStays", format!("broker {broker} stays, with the replicas it has"))
            }
        };
        self.happened(happening);
        if let Some(known) = self.seen.brokers.as_mut().and_then(|brokers| brokers.get_mut(&broker)) {
            known.standing = standing;
        }
        Ok(())
    }

    async fn ask(&mut self, broker: u32, pod_uid: String) -> Result<(), End> {
        let (broker, reason) = (BrokerId(broker), Reason::ScaleDown);
        let body = PermitBody { broker, pod_uid, reason, allow_unavailable: false, dry_run: false };
        let answer = self.call(|client, address| {
            let body = body.clone();
            async move { client.ask_permit(&address, &body).await }
        });
        match answer.await? {
            Answered::Given(answer) => self.seen.permits.get_or_insert_default().extend(answer.permit),
            Answered::Refused(refused) => self.refused(&refused),
        }
        Ok(())
    }

    async fn begin(&mut self, permit: PermitId, pod_uid: String) -> Result<(), End> {
        let answer = self.call(|client, address| {
            let pod_uid = pod_uid.clone();
            async move { client.begin_permit(&address, permit, &pod_uid).await }
        });
        match answer.await? {
            Answered::Given(_) => self.seen.confirmed = Some(permit),
            Answered::Refused(refused) => {
                self.seen.permits.iter_mut().for_each(|open| open.retain(|known| known.id != permit));
                self.refused(&refused);
            }
        }
        Ok(())
    }

    /// The first refusal is what is told.
    fn refused(&mut self, refused: &PermitRefused) {
        self.seen.refused = true;
        let why = match refused.blocks.as_slice() {
            [] => refused.error.message.clone(),
            blocks => blocks_text(blocks, refused.blocked as usize),
        };
        self.refusal.get_or_insert(why);
    }

    async fn abort(&mut self, permit: PermitId, pod_uid: String) -> Result<(), End> {
        self.call(|client, address| {
            let pod_uid = pod_uid.clone();
            async move { client.abort_permit(&address, permit, &pod_uid).await }
        })
        .await?;
        self.seen.permits.iter_mut().for_each(|open| open.retain(|known| known.id != permit));
        Ok(())
    }

    /// Only if the StatefulSet is as it was seen.
    async fn shrink(&mut self, broker: u32) -> Result<(), End> {
        let (sets, size) = (self.api::<StatefulSet>(), broker - 1);
        let version = self.set.and_then(|set| set.metadata.resource_version.clone());
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": size}});
        let name = names::stateful_set(&self.key.name);
        let patched = sets.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map_err(|error| self.failed_there(&format!("have StatefulSet {name} be smaller"), &error))?;
        self.happened(Happening::normal(
            "BrokerStops",
            format!(
                "broker {broker} has no replicas any more: StatefulSet {name} has {size} pods from now on"
            ),
        ));
        Err(End::Waits(Wait::Stopping(broker)))
    }

    async fn delete_claim(&mut self, broker: u32, claim: &ClaimSeen) -> Result<(), End> {
        let claims = self.api::<PersistentVolumeClaim>();
        let preconditions = Preconditions { uid: Some(claim.uid.clone()), resource_version: None };
        match claims.delete(&claim.name, &DeleteParams::default().preconditions(preconditions)).await {
            Ok(_) => self.happened(Happening::normal(
                "ClaimDeleted",
                format!(
                    "deleted volume claim {} of broker {broker}: nothing on it counts any more",
                    claim.name
                ),
            )),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(self.failed_there(&format!("delete claim {}", claim.name), &error)),
        }
        self.seen.claims.remove(&broker);
        Ok(())
    }

    async fn unregister(&mut self, broker: u32) -> Result<(), End> {
        let removed = self
            .call(|client, address| async move { client.unregister(&address, BrokerId(broker)).await })
            .await?;
        if removed {
            let note = format!("broker {broker} is gone, and its number is free");
            self.happened(Happening::normal("BrokerRemoved", note));
            self.context.metrics.broker_removed(&self.key.namespace, &self.key.name);
        }
        self.seen.brokers.iter_mut().for_each(|brokers| drop(brokers.remove(&broker)));
        Ok(())
    }

    async fn call<T, F>(&self, call: impl Fn(BrokerClient, String) -> F) -> Result<T, End>
    where
        F: Future<Output = Result<T, BrokerError>>,
    {
        self.context.brokers.first_answer(&self.brokers, call).await.map_err(|error| {
            self.context.metrics.error("BrokerCluster", error.category());
            End::Failed(Category::BrokersUnreachable.reason(), error.to_string())
        })
    }

    fn failed_there(&self, what: &str, error: &kube::Error) -> End {
        if matches!(error, kube::Error::Api(status) if status.code == 409) {
            return End::Failed("Retrying", format!("{what}: it is another one by now"));
        }
        self.context.metrics.error("BrokerCluster", Category::KubernetesApi);
        End::Failed(Category::KubernetesApi.reason(), format!("{what}: {}", brief(error)))
    }

    fn happened(&mut self, happening: Happening) {
        tracing::info!(cluster = %self.key, what = happening.reason, "{}", happening.note);
        self.happenings.push(happening);
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &self.key.namespace)
    }
}
