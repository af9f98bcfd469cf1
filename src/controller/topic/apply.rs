//! Step 4: does what was planned, through the brokers' admin API.

use super::build::{Action, Plan};
use super::error::Error;
use super::validate::ValidTopic;
use crate::broker_client::AlterTopic;
use crate::context::Context;
use crate::events::Happening;
use crate::feed::Seen;

/// Does it. What the brokers answered goes into the feed, so that the status shows it at once.
pub async fn apply(
    context: &Context,
    topic: &ValidTopic,
    seen: &Seen,
    plan: Plan,
) -> Result<Option<Happening>, Error> {
    let broker = match seen {
        Seen::Pending => return Err(Error::Pending),
        Seen::Unreachable => return Err(Error::BrokersUnreachable { cluster: topic.cluster.name.clone() }),
        Seen::Absent { broker } | Seen::Present { broker, .. } => broker,
    };
    let happening = match &plan.action {
        None => None,
        Some(Action::Create(create)) => {
            let report = context.brokers.create_topic(broker, create).await?;
            learn(context, topic, Some(report));
            let (partitions, replicas) = (create.partitions, create.replication_factor);
            Some(Happening::normal(
                "Created",
                format!("{partitions} partitions with {replicas} replicas each"),
            ))
        }
        Some(Action::Alter(change)) => {
            context.brokers.alter_topic(broker, &topic.name, change).await?;
            learn(context, topic, context.brokers.topic(broker, &topic.name).await?);
            let keys = change.configs.keys().cloned().collect::<Vec<_>>().join(", ");
            let grown = change.partitions.map(|partitions| format!("partitions are {partitions} now"));
            let configs = (!keys.is_empty()).then(|| format!("changed config {keys}"));
            Some(Happening::normal(
                "Altered",
                [grown, configs].into_iter().flatten().collect::<Vec<_>>().join("; "),
            ))
        }
    };
    if plan.replicas.is_some() {
        let change = AlterTopic { replicas: plan.replicas, ..AlterTopic::default() };
        context.brokers.alter_topic(broker, &topic.name, &change).await?;
        learn(context, topic, context.brokers.topic(broker, &topic.name).await?);
    }
    plan.refusal.map_or(Ok(happening), Err)
}

fn learn(context: &Context, topic: &ValidTopic, report: Option<chronik_core::view::TopicReport>) {
    if let (Some(feed), Some(report)) = (context.feeds.get(&topic.cluster), report) {
        feed.with(|state| state.learned(report));
    }
}
