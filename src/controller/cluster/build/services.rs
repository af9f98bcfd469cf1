//! The two Services: one gives each broker its name, one is where clients connect first. Pure.
//!
//! Both publish addresses of brokers that are not ready: a lone survivor must stay reachable to say that it cannot
//! accept writes, and brokers must find each other before any of them is ready.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::names::{self, ADMIN_PORT, PEER_PORT};
use super::super::validate::ValidCluster;
use super::metadata;
use chronik_api::labels::broker_selector;

pub(super) fn headless(cluster: &ValidCluster) -> Service {
    let ports = vec![
        port("kafka", cluster.spec.listeners.kafka_port),
        port("peer", PEER_PORT),
        port("admin", ADMIN_PORT),
    ];
    let mut service = service(cluster, names::headless(&cluster.key.name), ports);
    if let Some(spec) = &mut service.spec {
        spec.cluster_ip = Some("None".to_owned());
    }
    service
}

pub(super) fn bootstrap(cluster: &ValidCluster) -> Service {
    let ports = vec![port("kafka", cluster.spec.listeners.kafka_port)];
    service(cluster, names::bootstrap(&cluster.key.name), ports)
}

fn service(cluster: &ValidCluster, name: String, ports: Vec<ServicePort>) -> Service {
    Service {
        metadata: metadata(cluster, name),
        spec: Some(ServiceSpec {
            selector: Some(broker_selector(&cluster.key.name)),
            ports: Some(ports),
            publish_not_ready_addresses: Some(true),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
