//! The one table of what is served: API, versions, the request's shape, its handler. What is not in it is not
//! advertised and not answered.

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::api_versions_response::ApiVersion;

use super::dispatch::{Call, Work};
use super::wire::WireError;
use super::wire::layout::{self, Message};
use crate::handlers::*;

/// One served API.
pub(super) struct Api {
    key: ApiKey,
    /// What ApiVersions says.
    advertised: (i16, i16),
    /// Highest version `kafka-protocol` knows; advertised ones above it look the same on the wire.
    wire_max: i16,
    pub(super) shape: &'static Message,
    pub(super) start: fn(Call) -> Result<Work, WireError>,
}

impl Api {
    pub(super) fn accepts(&self, version: i16) -> bool {
        self.advertised.0 <= version && version <= self.advertised.1
    }

    pub(super) fn is_api_versions(&self) -> bool {
        self.key == ApiKey::ApiVersions
    }

    pub(super) fn wire_version(&self, version: i16) -> i16 {
        version.min(self.wire_max)
    }
}

const fn api(
    key: ApiKey,
    (first, last): (i16, i16),
    shape: &'static Message,
    start: fn(Call) -> Result<Work, WireError>,
) -> Api {
    Api { key, advertised: (first, last), wire_max: last, shape, start }
}

static TABLE: &[Api] = &[
    api(ApiKey::ApiVersions, (0, 4), &layout::API_VERSIONS, |c| c.queued(api_versions::handle)),
];

pub(super) fn find(key: i16) -> Option<&'static Api> {
    TABLE.iter().find(|api| api.key as i16 == key)
}

/// What ApiVersions answers: every served API with its versions, by key.
pub(crate) fn advertised() -> Vec<ApiVersion> {
    TABLE
        .iter()
        .map(|api| {
            ApiVersion::default()
                .with_api_key(api.key as i16)
                .with_min_version(api.advertised.0)
                .with_max_version(api.advertised.1)
        })
        .collect()
}
