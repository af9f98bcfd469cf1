//! ApiVersions: what this broker serves.

use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use super::Handlers;
use super::errors::{INVALID_REQUEST, UNSUPPORTED_VERSION};
use crate::server::{RequestContext, advertised};

pub(crate) async fn handle(
    _handlers: Arc<Handlers>,
    context: RequestContext,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    let named =
        is_software_name(&request.client_software_name) && is_software_name(&request.client_software_version);
    if context.api_version >= 3 && !named {
        return ApiVersionsResponse::default().with_error_code(INVALID_REQUEST);
    }
    tracing::debug!(
        peer = %context.peer,
        client = context.client_id,
        software = %request.client_software_name,
        version = %request.client_software_version,
        "a Kafka client introduced itself"
    );
    ApiVersionsResponse::default().with_api_keys(advertised())
}

/// The answer, in version 0, to a version that is not known: it names the versions of ApiVersions itself, so that the
/// client asks again.
pub(crate) fn unsupported_version() -> ApiVersionsResponse {
    let own = |v: &ApiVersion| v.api_key == ApiKey::ApiVersions as i16;
    ApiVersionsResponse::default()
        .with_error_code(UNSUPPORTED_VERSION)
        .with_api_keys(advertised().into_iter().filter(own).collect())
}

/// Letters and digits, with `-` and `.` between them (KIP-511).
fn is_software_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.chars().all(inner) && edge(name.chars().next()) && edge(name.chars().next_back())
}
