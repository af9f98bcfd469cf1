//! DeleteTopics: by name, or by id from version 6 on.

use std::sync::Arc;

use chronik_core::ids::TopicId;
use chronik_core::metadata::{Applied, ClusterState, Command, DeleteTopic, TopicRef};
use futures::StreamExt;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::Handlers;
use super::backend::Backend;
use super::errors::{Failure, INVALID_REQUEST};
use super::proposals::{AT_ONCE, Once, deadline, propose, repeated};
use crate::server::RequestContext;

/// First version that may name topics by id, and whose answers do.
const IDS_FROM: i16 = 6;
/// First version whose answers carry an error message.
const MESSAGES_FROM: i16 = 5;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    context: RequestContext,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let deadline = deadline(request.timeout_ms);
    let by_name = |name: TopicName| DeleteTopicState::default().with_name(Some(name));
    let mut wanted: Vec<_> =
        request.topics.into_iter().chain(request.topic_names.into_iter().map(by_name)).collect();
    let version = context.api_version;
    let cluster = handlers.backend.cluster();
    let mut once = Once::new(wanted.iter().map(|topic| meant(&cluster, topic)));
    wanted.retain(|topic| once.is_first(&meant(&cluster, topic)));
    let results = futures::stream::iter(wanted).map(|topic| {
        let handlers = handlers.clone();
        let repeated = once.is_repeated(&meant(&cluster, &topic));
        async move { result(handlers.backend.as_ref(), topic, repeated, deadline, version).await }
    });
    DeleteTopicsResponse::default().with_responses(results.buffered(AT_ONCE).collect().await)
}

/// The topic that is meant, or the words for one that is not there: two names for one topic are one topic twice.
fn meant(cluster: &ClusterState, wanted: &DeleteTopicState) -> (Option<TopicId>, String, Uuid) {
    let known = match &wanted.name {
        Some(name) if wanted.topic_id.is_nil() => cluster.topic_by_name(name),
        Some(_) => None,
        None => cluster.topic(TopicId(wanted.topic_id)),
    };
    match known {
        Some(topic) => (Some(topic.id), String::new(), Uuid::nil()),
        None => {
            (None, wanted.name.as_ref().map(|name| name.to_string()).unwrap_or_default(), wanted.topic_id)
        }
    }
}

async fn result(
    backend: &dyn Backend,
    wanted: DeleteTopicState,
    is_repeated: bool,
    deadline: Instant,
    version: i16,
) -> DeletableTopicResult {
    let result = DeletableTopicResult::default().with_name(wanted.name.clone());
    let result = if version >= IDS_FROM { result.with_topic_id(wanted.topic_id) } else { result };
    let outcome = match is_repeated {
        true => {
            Err(repeated(wanted.name.as_deref().map_or(&wanted.topic_id.to_string(), |name| name.as_str())))
        }
        false => delete(backend, &wanted, deadline).await,
    };
    match outcome {
        Ok((id, name)) => {
            let result = result.with_name(Some(TopicName(StrBytes::from_string(name))));
            if version >= IDS_FROM { result.with_topic_id(id.0) } else { result }
        }
        Err(failure) => {
            let message = if version >= MESSAGES_FROM { failure.text() } else { None };
            result.with_error_code(failure.code).with_error_message(message)
        }
    }
}

/// What is deleted is the topic that was meant now: by its id, so that one created anew under its name stays.
async fn delete(
    backend: &dyn Backend,
    wanted: &DeleteTopicState,
    deadline: Instant,
) -> Result<(TopicId, String), Failure> {
    let topic = match (&wanted.name, wanted.topic_id.is_nil()) {
        (Some(name), true) => TopicRef::Name(name.to_string()),
        (None, false) => TopicRef::Id(TopicId(wanted.topic_id)),
        _ => {
            return Err(Failure::new(INVALID_REQUEST, "a topic is named by its name or by its id, not both"));
        }
    };
    let found = backend.cluster().validate_delete_topic(&DeleteTopic { topic })?;
    let command = Command::DeleteTopic(DeleteTopic { topic: TopicRef::Id(found.id) });
    match propose(backend, command, deadline).await? {
        Applied::TopicDeleted { topic, name, .. } => Ok((topic, name)),
        _ => Ok((found.id, found.name.clone())),
    }
}
