//! DescribeCluster: the brokers that are alive, and who leads the metadata group.

use std::sync::Arc;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

use super::Handlers;
use super::access::cluster_operations;
use super::endpoints::{self, Endpoint, NOBODY};
use super::errors::{Failure, MISMATCHED_ENDPOINT_TYPE, UNSUPPORTED_ENDPOINT_TYPE};
use crate::server::RequestContext;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    context: RequestContext,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    if let Err(failure) = check(request.endpoint_type) {
        return DescribeClusterResponse::default()
            .with_error_code(failure.code)
            .with_error_message(failure.text())
            .with_controller_id(NOBODY);
    }
    let backend = handlers.backend.as_ref();
    let cluster = backend.cluster();
    let endpoints = endpoints::listed(backend, &cluster, &context.listener);
    let operations = cluster_operations(request.include_cluster_authorized_operations);
    DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_string(cluster.cluster().to_string()))
        .with_controller_id(endpoints::controller(backend, &endpoints))
        .with_brokers(endpoints.iter().map(broker).collect())
        .with_cluster_authorized_operations(operations)
}

fn broker(endpoint: &Endpoint) -> DescribeClusterBroker {
    DescribeClusterBroker::default()
        .with_broker_id(endpoint.node())
        .with_host(endpoint.host())
        .with_port(endpoint.port())
        .with_rack(endpoint.rack())
}

fn check(endpoint_type: i8) -> Result<(), Failure> {
    match endpoint_type {
        BROKERS => Ok(()),
        CONTROLLERS => Err(Failure::new(
            MISMATCHED_ENDPOINT_TYPE,
            "endpoint type 2 (controllers) is not served here: this is a broker's listener, ask for type 1",
        )),
        other => Err(Failure::new(
            UNSUPPORTED_ENDPOINT_TYPE,
            format!("endpoint type {other} is not allowed: 1 (brokers) is"),
        )),
    }
}
