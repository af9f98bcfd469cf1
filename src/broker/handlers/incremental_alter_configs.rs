//! IncrementalAlterConfigs: sets and unsets single configs of topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronik_core::config::{append_to_list, subtract_from_list};
use chronik_core::metadata::Refusal;
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::Handlers;
use super::config_changes::Alteration;
use super::errors::{Failure, INVALID_REQUEST};
use crate::server::RequestContext;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;
/// What Kafka throttles a broker's moves of replicas with. Chronik has none of them, so that there is nothing to take away
/// when `kafka-reassign-partitions` has ended a move and clears them all.
const THROTTLES: [&str; 3] = [
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    _context: RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let resources =
        request.resources.iter().map(|wanted| (wanted.resource_type, wanted.resource_name.to_string()));
    let alteration = Alteration::new(handlers.backend.as_ref(), request.validate_only, resources);
    let mut responses = Vec::with_capacity(request.resources.len());
    for wanted in &request.resources {
        let resource = (wanted.resource_type, wanted.resource_name.to_string());
        let changes = |current: &BTreeMap<String, String>| changes(&wanted.configs, current);
        let none = wanted.configs.iter().all(removes_throttle);
        let (code, message) = alteration.answer(resource, none, changes).await;
        responses.push(
            AlterConfigsResourceResponse::default()
                .with_resource_type(wanted.resource_type)
                .with_resource_name(wanted.resource_name.clone())
                .with_error_code(code)
                .with_error_message(message),
        );
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

fn changes(
    configs: &[AlterableConfig],
    current: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let mut changes = BTreeMap::new();
    for config in configs {
        let key = config.name.as_str();
        let value = new_value(config, current.get(key).map(String::as_str))?;
        if changes.insert(key.to_owned(), value).is_some() {
            let message = format!("config {key} stands in the request more than once");
            return Err(Failure::new(INVALID_REQUEST, message));
        }
    }
    // What is not set is unset already, whether the key is known or not.
    changes.retain(|key, value| value.is_some() || current.contains_key(key));
    Ok(changes)
}

fn removes_throttle(config: &AlterableConfig) -> bool {
    config.config_operation == DELETE && THROTTLES.contains(&config.name.as_str())
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
