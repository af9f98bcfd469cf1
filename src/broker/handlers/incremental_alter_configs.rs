//! IncrementalAlterConfigs: sets and unsets configs of topics. Brokers take theirs from flags, file and environment.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronik_core::config::{append_to_list, subtract_from_list};
use chronik_core::metadata::{AlterTopicConfigs, ClusterState, Command, Refusal, TopicRef};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use tokio::time::Instant;

use super::Handlers;
use super::backend::Backend;
use super::describe_configs::{BROKER, TOPIC, unknown_resource};
use super::errors::{Failure, INVALID_CONFIG, INVALID_REQUEST};
use super::proposals::{deadline, propose};
use crate::server::RequestContext;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;
/// The request carries no timeout of its own; this is that of Kafka's clients.
const TIMEOUT_MS: i32 = 30_000;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    _context: RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let deadline = deadline(TIMEOUT_MS);
    let mut responses = Vec::with_capacity(request.resources.len());
    for (at, resource) in request.resources.iter().enumerate() {
        let same = |other: &AlterConfigsResource| {
            other.resource_type == resource.resource_type && other.resource_name == resource.resource_name
        };
        let outcome = if request.resources[..at].iter().any(same) {
            Err(Failure::new(INVALID_REQUEST, "the resource stands in the request more than once"))
        } else {
            alter(handlers.backend.as_ref(), resource, request.validate_only, deadline).await
        };
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        responses.push(match outcome {
            Ok(()) => response,
            Err(failure) => response.with_error_code(failure.code).with_error_message(failure.text()),
        });
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

async fn alter(
    backend: &dyn Backend,
    resource: &AlterConfigsResource,
    validate_only: bool,
    deadline: Instant,
) -> Result<(), Failure> {
    match resource.resource_type {
        TOPIC => {}
        BROKER => {
            let message = "configs of a broker cannot be altered while it runs: set them by flag, environment or \
                           config file and restart it";
            return Err(Failure::new(INVALID_CONFIG, message));
        }
        other => return Err(unknown_resource(other)),
    }
    let cluster = backend.cluster();
    let topic = TopicRef::Name(resource.resource_name.to_string());
    let changes = changes(&cluster, &topic, &resource.configs)?;
    let command = AlterTopicConfigs { topic, changes };
    cluster.validate_alter_configs(&command)?;
    if !validate_only {
        propose(backend, Command::AlterTopicConfigs(command), deadline).await?;
    }
    Ok(())
}

fn changes(
    cluster: &ClusterState,
    topic: &TopicRef,
    configs: &[AlterableConfig],
) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let current = &cluster.find_topic(topic)?.configs;
    let mut changes = BTreeMap::new();
    for config in configs {
        let key = config.name.as_str();
        let value = new_value(config, current.get(key).map(String::as_str))?;
        if changes.insert(key.to_owned(), value).is_some() {
            let message = format!("config {key} stands in the request more than once");
            return Err(Failure::new(INVALID_REQUEST, message));
        }
    }
    Ok(changes)
}

fn new_value(config: &AlterableConfig, current: Option<&str>) -> Result<Option<String>, Failure> {
    let key = config.name.as_str();
    let given = || {
        let missing = || Failure::new(INVALID_REQUEST, format!("config {key} must have a value"));
        config.value.as_ref().map(|value| value.as_str()).ok_or_else(missing)
    };
    let list = |changed: Result<String, _>| changed.map(Some).map_err(|error| Refusal::from(error).into());
    match config.config_operation {
        SET => Ok(Some(given()?.to_owned())),
        DELETE => Ok(None),
        APPEND => list(append_to_list(key, current, given()?)),
        SUBTRACT => list(subtract_from_list(key, current, given()?)),
        other => {
            let message = format!(
                "operation {other} on config {key} is not allowed: 0 (set), 1 (delete), 2 (append) and \
                 3 (subtract) are"
            );
            Err(Failure::new(INVALID_REQUEST, message))
        }
    }
}
