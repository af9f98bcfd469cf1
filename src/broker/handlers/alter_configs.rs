//! AlterConfigs, which older clients still use: what is named is set, and all else returns to its default.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::alter_configs_request::AlterableConfig;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::Handlers;
use super::config_changes::Alteration;
use super::errors::{Failure, INVALID_REQUEST};
use crate::server::RequestContext;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    _context: RequestContext,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let resources =
        request.resources.iter().map(|wanted| (wanted.resource_type, wanted.resource_name.to_string()));
    let alteration = Alteration::new(handlers.backend.as_ref(), request.validate_only, resources);
    let mut responses = Vec::with_capacity(request.resources.len());
    for wanted in &request.resources {
        let resource = (wanted.resource_type, wanted.resource_name.to_string());
        let changes = |current: &BTreeMap<String, String>| changes(&wanted.configs, current);
        let (code, message) = alteration.answer(resource, wanted.configs.is_empty(), changes).await;
        responses.push(
            AlterConfigsResourceResponse::default()
                .with_resource_type(wanted.resource_type)
                .with_resource_name(wanted.resource_name.clone())
                .with_error_code(code)
                .with_error_message(message),
        );
    }
    AlterConfigsResponse::default().with_responses(responses)
}

fn changes(
    configs: &[AlterableConfig],
    current: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let mut changes: BTreeMap<_, _> = current.keys().map(|key| (key.clone(), None)).collect();
    for config in configs {
        let key = config.name.as_str();
        let missing = || Failure::new(INVALID_REQUEST, format!("config {key} must have a value"));
        let value = config.value.as_ref().ok_or_else(missing)?;
        changes.insert(key.to_owned(), Some(value.to_string()));
    }
    Ok(changes)
}
