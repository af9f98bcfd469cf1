//! Reconciles a Topic: dereference → validate → build → apply → status. This file is the recipe only. A topic that is not
//! managed gets its status and nothing else.
//!
//! The same recipe runs when the spec changes and when the brokers report another ISR: reading is free (stores and
//! the feed), doing happens only when something differs, and a status is written only when it changes.

mod apply;
mod build;
mod cleanup;
mod dereference;
pub mod error;
pub mod finalizer;
pub mod status;
#[cfg(test)]
pub(crate) mod testing;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use chronik_api::topic::{DeletionPolicy, TopicStatus};
use chronik_api::{Topic, conditions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use crate::context::Context;
use crate::error::Category;
use crate::events::Happening;
use crate::feed::Seen;
use crate::status_writer::Written;
use error::Error;

/// Everything is looked at this often without a reason.
const RESYNC: Duration = Duration::from_secs(60);
/// What failed is tried again after this time.
const RETRY: Duration = Duration::from_secs(5);
/// Pause while the feed has not found a broker yet, nor given up on finding one.
const PENDING_RETRY: Duration = Duration::from_millis(500);
/// Pause between two looks at a deleted Topic whose brokers do not answer.
const CLEANUP_RETRY: Duration = Duration::from_secs(1);

/// Makes one Topic true, and its status say how far that went.
pub async fn reconcile(topic: Arc<Topic>, context: Arc<Context>) -> Result<Action, Error> {
    let found = dereference::dereference(&context, &topic).await;
    if topic.metadata.deletion_timestamp.is_some() {
        return delete(&context, &topic, &found).await;
    }
    let (happening, error) = match advance(&context, &topic, &found).await {
        Ok(happening) => (happening, None),
        Err(error @ Error::Kubernetes { .. }) => return Err(error),
        // The operator has just started: a status from before is better than a hasty one.
        Err(Error::Pending) => return Ok(Action::requeue(PENDING_RETRY)),
        Err(error) => (None, Some(error)),
    };
    // What was just done is in the feed by now.
    let seen = dereference::gather(&context, &topic).seen;
    let next = status::build(&topic_as_written(&context, &topic), &seen, error.as_ref(), Timestamp::now());
    let written = report(&context, &topic, &next, happening).await?;
    // Told in the status: counted, and tried again.
    error.iter().for_each(|error| context.metrics.error("Topic", error.category()));
    Ok(Action::requeue(match (written, error.map(|error| error.category())) {
        (Written::Later(turn), _) => turn,
        // A cluster that comes tells its topics.
        (_, None | Some(Category::NotFound)) => RESYNC,
        (_, Some(_)) => RETRY,
    }))
}

/// Validate, build, apply.
async fn advance(
    context: &Context,
    topic: &Topic,
    found: &dereference::Found,
) -> Result<Option<Happening>, Error> {
    if !topic.spec.managed {
        return leave_alone(context, topic, found).await;
    }
    let valid = validate::validate(topic, found)?;
    let present = match &found.seen {
        Seen::Pending => return Err(Error::Pending),
        Seen::Unreachable => return Err(Error::BrokersUnreachable { cluster: valid.cluster.name }),
        Seen::Absent { .. } => None,
        Seen::Present { report, .. } => Some(&**report),
    };
    // Before anything is made: what is made by a resource is cleaned up with it.
    let wanted = topic.spec.deletion_policy == DeletionPolicy::Delete;
    finalizer::set(&context.client, topic, wanted)
        .await
        .map_err(|source| Error::kubernetes("set the finalizer", source))?;
    let plan = build::plan(&valid, present);
    apply::apply(context, &valid, &found.seen, plan).await
}

/// A topic that was handed back: nothing holds its resource, and nothing is done in the brokers.
async fn leave_alone(
    context: &Context,
    topic: &Topic,
    found: &dereference::Found,
) -> Result<Option<Happening>, Error> {
    finalizer::set(&context.client, topic, false)
        .await
        .map_err(|source| Error::kubernetes("take the finalizer off", source))?;
    let cluster = validate::cluster(topic, found)?.name;
    match &found.seen {
        Seen::Pending => Err(Error::Pending),
        Seen::Unreachable => Err(Error::BrokersUnreachable { cluster }),
        Seen::Absent { .. } => Err(Error::Unmade { topic: topic.topic_name().to_owned(), cluster }),
        Seen::Present { .. } => Ok(None),
    }
}

/// A deleted Topic without our finalizer is nobody's business here any more.
async fn delete(context: &Context, topic: &Topic, found: &dereference::Found) -> Result<Action, Error> {
    if !finalizer::is_on(topic) {
        return Ok(Action::await_change());
    }
    let (released, happening) = cleanup::run(context, topic, found).await?;
    context.events.publish(&topic.object_ref(&()), happening).await;
    if !released {
        return Ok(Action::requeue(CLEANUP_RETRY));
    }
    finalizer::set(&context.client, topic, false)
        .await
        .map_err(|source| Error::kubernetes("take the finalizer off", source))?;
    context.dirty_topics.mark(found.rivals.iter().map(|rival| ObjectRef::from_obj(&**rival)));
    Ok(Action::await_change())
}

/// The topic with the status this process last wrote, which the store may not show yet.
fn topic_as_written(context: &Context, topic: &Topic) -> Topic {
    let uid = topic.metadata.uid.as_deref().unwrap_or_default();
    let written = context.status.last_written(uid).and_then(|status| serde_json::from_value(status).ok());
    Topic { status: written.or_else(|| topic.status.clone()), ..topic.clone() }
}

async fn report(
    context: &Context,
    topic: &Topic,
    next: &TopicStatus,
    happening: Option<Happening>,
) -> Result<Written, Error> {
    let before = topic.status.clone().unwrap_or_default();
    let written = context
        .status
        .write_topic(topic, &before, next)
        .await
        .map_err(|source| Error::kubernetes("write the status", source))?;
    let told = || [turned(&before.conditions, &next.conditions), resized(&before, next)];
    let told = (written == Written::Yes).then(told).into_iter().flatten().flatten();
    context.events.publish(&topic.object_ref(&()), happening.into_iter().chain(told)).await;
    Ok(written)
}

/// An event when replicas begin to move to another number, and when all are there.
fn resized(before: &TopicStatus, after: &TopicStatus) -> Option<Happening> {
    let old = conditions::get(&before.conditions, conditions::RESIZING);
    match (old, conditions::get(&after.conditions, conditions::RESIZING), after.replication_factor) {
        (None, Some(now), _) if now.status == "True" => {
            Some(Happening::normal("MovingReplicas", now.message.clone()))
        }
        (Some(_), None, Some(replicas)) => {
            Some(Happening::normal("ReplicasMoved", format!("all partitions have {replicas} replicas")))
        }
        _ => None,
    }
}

/// Reasons that every resource passes through before it is Ready for the first time: no cause for a warning then.
const STARTING: [&str; 4] = ["ClusterForming", "Forming", "BrokersNotReady", "Unknown"];

/// An event when Ready turned, or fails for another reason than before.
pub(crate) fn turned(before: &[Condition], after: &[Condition]) -> Option<Happening> {
    let now = conditions::get(after, conditions::READY)?;
    let old = conditions::get(before, conditions::READY);
    if old.is_some_and(|old| old.status == now.status && old.reason == now.reason) {
        return None;
    }
    let is_starting = |condition: &Condition| STARTING.contains(&condition.reason.as_str());
    let starts = is_starting(now) && old.is_none_or(is_starting);
    let happening = if now.status == "True" || starts { Happening::normal } else { Happening::warning };
    Some(happening(now.reason.clone(), now.message.clone()))
}

#[cfg(test)]
mod tests;
