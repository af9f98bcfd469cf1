//! Reconciles a BrokerCluster: dereference → validate → build → apply → scale → roll out → status. This file is the recipe only.

pub mod apply;
pub mod build;
pub mod dereference;
pub mod error;
pub mod names;
mod pods;
mod racks;
pub mod rollout;
pub mod scale;
pub mod status;
mod storage;
#[cfg(test)]
pub(crate) mod testing;
pub mod validate;

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use chronik_api::BrokerCluster;
use chronik_api::broker_cluster::Phase;
use chronik_api::conditions::Finding;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};

use crate::context::Context;
use crate::events::Happening;
use crate::feed::{ClusterKey, FeedSpec};
use crate::status_writer::Written;
use error::Error;

/// Everything is looked at this often without a reason.
const RESYNC: Duration = Duration::from_secs(30);
/// A cluster that is not well: its pods, of which nothing tells, may say why.
const UNWELL: Duration = Duration::from_secs(5);
/// A cluster that cannot be built is tried again after this time.
const RETRY: Duration = Duration::from_secs(3);
/// Pause while the feed has not found a broker yet, nor given up on finding one.
const PENDING_RETRY: Duration = Duration::from_millis(500);

/// Makes one BrokerCluster true, and its status say how far that went.
pub async fn reconcile(cluster: Arc<BrokerCluster>, context: Arc<Context>) -> Result<Action, Error> {
    if cluster.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let key = ClusterKey { namespace: cluster.namespace().unwrap_or_default(), name: cluster.name_any() };
    let found = dereference::dereference(&context, &cluster, &key).await?;
    let known = as_written(&context, &cluster);
    let outcome = advance(&context, &known, &key, &found).await;
    if let Err(error) = &outcome {
        tracing::warn!(cluster = %key, error = %error, "reconcile a BrokerCluster");
    }
    if outcome.is_ok() && !found.settled {
        // The operator has just started: a status from before is better than a hasty one.
        return Ok(Action::requeue(PENDING_RETRY));
    }
    let told = match &outcome {
        Ok(built) => Some(Told {
            scale: scale(&context, &known, &key, &found, built).await,
            rollout: roll_out(&context, &known, &key, &found, built).await,
        }),
        Err(_) => None,
    };
    let (told_of, settings) = (told.as_ref(), &context.settings);
    let seen = status::Seen { found: &found, outcome: outcome.as_ref(), told: told_of, settings };
    let next = status::build(&known, &seen, Timestamp::now());
    if let Some(brokers) = &next.brokers {
        context.metrics.brokers(&key.namespace, &key.name, brokers.desired, brokers.ready);
    }
    let formed = next.initialised && !known.status.as_ref().is_some_and(|status| status.initialised);
    report(&context, &cluster, &next, told.as_ref()).await?;
    if formed {
        context.dirty_topics.mark(context.topics.of(&key));
    }
    let soon = told.and_then(|told| told.pace());
    match outcome {
        Ok(built) if next.phase == Phase::Running && !built.is_under_way() => {
            Ok(Action::requeue(soon.unwrap_or(RESYNC)))
        }
        Ok(_) => Ok(Action::requeue(soon.unwrap_or(UNWELL))),
        // Told in the status: counted, and tried again without another log line.
        Err(error) => {
            context.metrics.error("BrokerCluster", error.category());
            Ok(Action::requeue(RETRY))
        }
    }
}

/// Validate, build, apply.
async fn advance(
    context: &Context,
    cluster: &BrokerCluster,
    key: &ClusterKey,
    found: &dereference::Found,
) -> Result<Built, Error> {
    let valid = validate::validate(cluster, found, &context.settings)?;
    let spec = FeedSpec {
        brokers: (1..=valid.replicas).map(|broker| (context.admin_address)(key, broker)).collect(),
        cluster_id: valid.cluster_id.clone(),
    };
    context.feeds.ensure(key, spec);
    let objects = build::build(&valid);
    let restart_hash = objects.restart_hash.clone();
    apply::apply(context, &valid, found, objects).await?;
    let sized = storage::grow(context, cluster, &valid, &found.claims).await;
    let told = racks::tell(context, &valid, &found.pods).await;
    Ok(Built { valid, restart_hash, findings: iter::once(sized).chain(told).collect() })
}

/// Restarts what is outdated, as far as the brokers let it now, and says how far that went.
async fn roll_out(
    context: &Context,
    cluster: &BrokerCluster,
    key: &ClusterKey,
    found: &dereference::Found,
    built: &Built,
) -> rollout::Told {
    let (round, recorded) = rollout::advance(context, cluster, key, found, &built.restart_hash).await;
    context.journals.record(key, cluster, recorded);
    let before = cluster.status.clone().unwrap_or_default();
    let told = rollout::tell(&round, &before, &found.pods, cluster.spec.replicas);
    context.metrics.rollout_blocked(&key.namespace, &key.name, told.is_blocked());
    context.metrics.rollout_overdue(&key.namespace, &key.name, told.is_overdue());
    // Decisions are told whatever becomes of the status.
    context.events.publish(&cluster.object_ref(&()), round.happenings).await;
    told
}

/// Adds and takes away brokers, as far as the others let it now, and says how far that went.
async fn scale(
    context: &Context,
    cluster: &BrokerCluster,
    key: &ClusterKey,
    found: &dereference::Found,
    built: &Built,
) -> Option<scale::Told> {
    if !built.valid.initialised {
        return None;
    }
    let round = scale::advance(context, cluster, key, found).await;
    let told = scale::tell(&round, &cluster.status.clone().unwrap_or_default());
    context.metrics.scale_blocked(&key.namespace, &key.name, told.is_blocked());
    context.events.publish(&cluster.object_ref(&()), round.happenings).await;
    Some(told)
}

/// How the changes of a cluster go that take more than one look.
pub struct Told {
    /// Of the number of brokers; none before the cluster was formed.
    pub scale: Option<scale::Told>,
    /// Of outdated pods.
    pub rollout: rollout::Told,
}

impl Told {
    /// When to look again, if soon.
    fn pace(&self) -> Option<Duration> {
        let scale = self.scale.as_ref().and_then(|told| told.pace);
        scale.into_iter().chain(self.rollout.pace).min()
    }

    fn happenings(&self) -> Vec<Happening> {
        let scale = self.scale.iter().flat_map(|told| told.happenings.clone());
        scale.chain(self.rollout.happenings.clone()).collect()
    }
}

/// What status needs to know of a reconcile that went well.
pub struct Built {
    pub valid: validate::ValidCluster,
    pub restart_hash: String,
    /// How storage and racks are.
    pub findings: Vec<Finding>,
}

impl Built {
    /// Whether something is under way of which no event tells.
    fn is_under_way(&self) -> bool {
        self.findings.iter().any(|finding| finding.reason == storage::GROWING)
    }
}

async fn report(
    context: &Context,
    cluster: &BrokerCluster,
    next: &chronik_api::broker_cluster::BrokerClusterStatus,
    told: Option<&Told>,
) -> Result<(), Error> {
    let before = cluster.status.clone().unwrap_or_default();
    let written = context
        .status
        .write_cluster(cluster, &before, next)
        .await
        .map_err(|source| Error::kubernetes("write the status", source))?;
    if written == Written::Yes {
        let turned = crate::topic::turned(&before.conditions, &next.conditions);
        let told = told.map_or(Vec::new(), Told::happenings);
        context.events.publish(&cluster.object_ref(&()), turned.into_iter().chain(told)).await;
    }
    Ok(())
}

/// The cluster with the status this process last wrote, which the store may not show yet.
fn as_written(context: &Context, cluster: &BrokerCluster) -> BrokerCluster {
    let written = context.status.last_written(cluster.metadata.uid.as_deref().unwrap_or_default());
    let status =
        written.and_then(|status| serde_json::from_value(status).ok()).or_else(|| cluster.status.clone());
    BrokerCluster { status, ..cluster.clone() }
}
