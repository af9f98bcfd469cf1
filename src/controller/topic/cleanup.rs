//! What happens when a Topic is deleted: its data goes or stays, and the finalizer never holds it for long.

use std::sync::Arc;
use std::time::Duration;

use chronik_api::Topic;
use chronik_api::topic::DeletionPolicy;
use k8s_openapi::jiff::Timestamp;

use super::dereference::Found;
use super::error::Error;
use super::validate::older;
use crate::context::{Context, cluster_of};
use crate::events::Happening;
use crate::feed::Seen;

/// How long brokers that do not answer can hold up a deletion.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be done with a deleted Topic's data.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// Delete it, asking the broker at this address.
    Delete { broker: String },
    /// Nothing: release the resource and say why.
    Release { happening: Option<Happening> },
    /// No broker answers yet.
    Wait,
}

/// Decides. Pure.
pub(super) fn decide(topic: &Topic, found: &Found, now: Timestamp) -> Decision {
    let release = |happening| Decision::Release { happening };
    let name = topic.topic_name();
    let stays = topic.spec.deletion_policy == DeletionPolicy::Retain || !topic.spec.managed;
    if stays || older(topic, found).is_some() {
        return release(None);
    }
    let takes_over = |rival: &&Arc<Topic>| rival.spec.managed && rival.metadata.deletion_timestamp.is_none();
    if let Some(heir) = found.rivals.iter().find(takes_over) {
        let heir = heir.metadata.name.as_deref().unwrap_or_default();
        let note = format!("topic {name} stays: Topic {heir} asks for it too and manages it from now on");
        return release(Some(Happening::normal("HandedOver", note)));
    }
    if found.cluster.as_ref().is_none_or(|cluster| cluster.metadata.deletion_timestamp.is_some()) {
        let cluster = &topic.spec.cluster_ref.name;
        let note = format!(
            "BrokerCluster {cluster} is gone; data of topic {name} stays on its volumes, if it has any"
        );
        return release(Some(Happening::warning("ClusterGone", note)));
    }
    match &found.seen {
        Seen::Absent { .. } => release(None),
        Seen::Present { broker, .. } => Decision::Delete { broker: broker.clone() },
        Seen::Pending | Seen::Unreachable if is_over(topic, now) => {
            release(Some(given_up(name, "no broker answers")))
        }
        Seen::Pending | Seen::Unreachable => Decision::Wait,
    }
}

fn is_over(topic: &Topic, now: Timestamp) -> bool {
    let Some(deleted) = &topic.metadata.deletion_timestamp else { return false };
    now.duration_since(deleted.0).unsigned_abs() >= PATIENCE && now > deleted.0
}

fn given_up(name: &str, why: &str) -> Happening {
    let seconds = PATIENCE.as_secs();
    Happening::warning("DeletionGivenUp", format!("topic {name} was not deleted within {seconds} s: {why}"))
}

/// Does what was decided. True once nothing holds the resource any more.
pub(super) async fn run(
    context: &Context,
    topic: &Topic,
    found: &Found,
) -> Result<(bool, Option<Happening>), Error> {
    let now = Timestamp::now();
    match decide(topic, found, now) {
        Decision::Release { happening } => Ok((true, happening)),
        Decision::Wait => Ok((false, None)),
        Decision::Delete { broker } => {
            match context.brokers.delete_topic(&broker, topic.topic_name()).await {
                Ok(()) => {
                    if let Some(feed) = context.feeds.get(&cluster_of(topic)) {
                        feed.with(|state| state.forget(topic.topic_name()));
                    }
                    Ok((true, Some(Happening::normal("Deleted", "the topic and its data were deleted"))))
                }
                Err(error) if is_over(topic, now) => {
                    Ok((true, Some(given_up(topic.topic_name(), &error.to_string()))))
                }
                Err(error) => {
                    tracing::warn!(topic = topic.topic_name(), %error, "delete a topic");
                    Ok((false, None))
                }
            }
        }
    }
}
