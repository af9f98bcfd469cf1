//! DescribeConfigs: configs of topics, and of the broker that is asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use chronik_core::config::{ConfigEntry, describe_broker, describe_topic};
use chronik_core::metadata::validate_topic_name;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::Handlers;
use super::backend::Backend;
use super::errors::{Failure, INVALID_REQUEST, UNKNOWN_TOPIC_OR_PARTITION};
use crate::server::{RequestContext, Room};

/// Resources described in one answer, at most: what is said of one is many times longer than its name.
const RESOURCES: usize = 10_000;
/// What an answer has at most of each: every config, its documentation and where its value comes from.
const RESOURCE_BYTES: usize = 6 * 1024;

/// Kafka's number for a topic as a resource.
pub(super) const TOPIC: i8 = 2;
/// Kafka's number for a broker as a resource.
pub(super) const BROKER: i8 = 4;
/// First version whose answers carry types and documentation.
const TYPES_FROM: i16 = 3;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    context: RequestContext,
    request: DescribeConfigsRequest,
) -> (DescribeConfigsResponse, Option<Room>) {
    // A resource that is named more than once is answered once: by Kafka's rule it is one resource.
    let mut seen = BTreeSet::new();
    let mut wanted: Vec<&DescribeConfigsResource> = request.resources.iter().collect();
    wanted.retain(|wanted| seen.insert((wanted.resource_type, wanted.resource_name.clone())));
    let room = handlers.answers.room_for(RESOURCE_BYTES * wanted.len().min(RESOURCES)).await;
    let shape = Shape {
        synonyms: request.include_synonyms,
        types: context.api_version >= TYPES_FROM,
        documentation: request.include_documentation,
    };
    let results = wanted.into_iter().enumerate().map(|(at, wanted)| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(wanted.resource_type)
            .with_resource_name(wanted.resource_name.clone());
        let entries =
            if at < RESOURCES { entries(handlers.backend.as_ref(), wanted) } else { Err(too_many()) };
        match entries {
            Ok(entries) => {
                let asked = entries.into_iter().filter(|entry| is_asked(wanted, entry));
                result.with_configs(asked.map(|entry| shape.of(entry)).collect())
            }
            Err(failure) => result.with_error_code(failure.code).with_error_message(failure.text()),
        }
    });
    (DescribeConfigsResponse::default().with_results(results.collect()), Some(room))
}

fn too_many() -> Failure {
    Failure::new(INVALID_REQUEST, format!("at most {RESOURCES} resources are described in one answer"))
}

/// Who names no keys asks for all.
fn is_asked(wanted: &DescribeConfigsResource, entry: &ConfigEntry) -> bool {
    let keys = wanted.configuration_keys.as_deref().unwrap_or_default();
    keys.is_empty() || keys.iter().any(|key| key.as_str() == entry.name)
}

fn entries(backend: &dyn Backend, wanted: &DescribeConfigsResource) -> Result<Vec<ConfigEntry>, Failure> {
    let name = wanted.resource_name.as_str();
    match wanted.resource_type {
        TOPIC => {
            validate_topic_name(name)?;
            match backend.cluster().topic_by_name(name) {
                Some(topic) => Ok(describe_topic(&topic.configs, &backend.broker_values())),
                None => Err(Failure::new(UNKNOWN_TOPIC_OR_PARTITION, format!("topic {name} does not exist"))),
            }
        }
        // The default of all brokers: nothing can be set there.
        BROKER if name.is_empty() => Ok(Vec::new()),
        BROKER if name == backend.broker_id().to_string() => Ok(describe_broker(&backend.broker_values())),
        BROKER => {
            let message = format!("broker {name} is not the one that was asked: {}", backend.broker_id());
            Err(Failure::new(INVALID_REQUEST, message))
        }
        other => Err(unknown_resource(other)),
    }
}

/// Resources other than topics and brokers have no configs here.
pub(super) fn unknown_resource(resource_type: i8) -> Failure {
    let message = format!("resource type {resource_type} is not allowed: 2 (topic) and 4 (broker) are");
    Failure::new(INVALID_REQUEST, message)
}

struct Shape {
    synonyms: bool,
    types: bool,
    documentation: bool,
}

impl Shape {
    fn of(&self, entry: ConfigEntry) -> DescribeConfigsResourceResult {
        let mut result = DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(entry.name))
            .with_value(Some(StrBytes::from_string(entry.value)))
            .with_read_only(entry.read_only)
            .with_config_source(entry.source.kafka_code())
            .with_is_sensitive(entry.sensitive);
        if self.types {
            result.config_type = entry.kind.kafka_code();
            result.documentation = self.documentation.then(|| StrBytes::from_static_str(entry.documentation));
        }
        if self.synonyms {
            let synonyms = entry.synonyms.into_iter().map(|synonym| {
                DescribeConfigsSynonym::default()
                    .with_name(StrBytes::from_static_str(synonym.name))
                    .with_value(Some(StrBytes::from_string(synonym.value)))
                    .with_source(synonym.source.kafka_code())
            });
            result.synonyms = synonyms.collect();
        }
        result
    }
}
