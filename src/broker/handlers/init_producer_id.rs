//! InitProducerId: gives an idempotent producer its id. Transactions are not served.

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::Handlers;
use super::errors::{COORDINATOR_LOAD_IN_PROGRESS, INVALID_REQUEST, UNSUPPORTED_VERSION};
use crate::server::RequestContext;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    context: RequestContext,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match producer_id(&handlers, &context, &request).await {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(code) => InitProducerIdResponse::default()
            .with_error_code(code)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

/// A producer without transactions gets a new id each time, also when it names the one it has, as from Kafka.
async fn producer_id(
    handlers: &Handlers,
    context: &RequestContext,
    request: &InitProducerIdRequest,
) -> Result<i64, i16> {
    match request.transactional_id.as_deref().map(|id| &**id) {
        None => {}
        Some("") => return Err(INVALID_REQUEST),
        Some(id) => {
            tracing::info!(peer = %context.peer, transactional_id = id, "refuse a transactional producer");
            return Err(UNSUPPORTED_VERSION);
        }
    }
    // Every failure passes, and this code says so: the client asks again.
    handlers.producer_ids.next(handlers.backend.as_ref()).await.map_err(|error| {
        tracing::warn!(%error, "allocate producer ids");
        COORDINATOR_LOAD_IN_PROGRESS
    })
}
