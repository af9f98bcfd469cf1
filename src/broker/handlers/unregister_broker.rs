//! UnregisterBroker: takes a broker out of the cluster that is gone and hosts nothing. The metadata leader judges whether it is.

use std::sync::Arc;
use std::time::Duration;

use chronik_core::ids::BrokerId;
use chronik_core::metadata::{Command, UnregisterBroker};
use kafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use tokio::time::Instant;

use super::Handlers;
use super::errors::{BROKER_ID_NOT_REGISTERED, Failure};
use super::proposals::propose;
use crate::server::RequestContext;

/// The request names no time of its own.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    context: RequestContext,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let id = request.broker_id.0;
    match unregister(&handlers, id).await {
        Ok(()) => {
            tracing::warn!(peer = %context.peer, broker = id, "unregistered a broker");
            UnregisterBrokerResponse::default()
        }
        Err(failure) => UnregisterBrokerResponse::default()
            .with_error_code(failure.code)
            .with_error_message(failure.text()),
    }
}

async fn unregister(handlers: &Handlers, id: i32) -> Result<(), Failure> {
    let Ok(broker) = u32::try_from(id).map(BrokerId) else {
        let text = format!("broker id = {id} is not allowed: the id of a registered broker");
        return Err(Failure::new(BROKER_ID_NOT_REGISTERED, text));
    };
    let wanted = UnregisterBroker { broker };
    let backend = handlers.backend.as_ref();
    backend.cluster().validate_unregister_broker(&wanted)?;
    propose(backend, Command::UnregisterBroker(wanted), Instant::now() + PATIENCE).await.map(drop)
}
