//! Helm takes the operator away: brokers, topics and data stay, nothing hangs, and what comes back finds its data.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chronik_e2e::{kafka, kafka_tools, wait};

use crate::world::{SETTLE, World, cluster_yaml, get, topic_yaml};
use crate::{figure, release};

const PARTITIONS: usize = 3;
const RECORDS: usize = 1000;
/// The registration of the operator's webhook.
const WEBHOOK: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/chronik-operator.chronik";
/// What nobody should have to wait longer for.
const MINUTE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs the box: make scenarios"]
fn data_outlives_the_operator_the_cluster_resource_and_the_topic_resource() {
    let world = World::with_brokers("uninstall", 3);
    world.create_topic("orders", PARTITIONS);
    let lines: String = (0..RECORDS).map(|n| format!("order {n}\n")).collect();
    kafka_tools::tool("kafka-console-producer", &world.bootstrap())
        .args(["--topic", "orders"])
        .input(lines)
        .run()
        .expect("produce");

    get(WEBHOOK).expect("evictions are asked about");
    let began = Instant::now();
    release::uninstall().expect("helm uninstall");
    let uninstalled = began.elapsed();
    assert!(uninstalled <= MINUTE, "{uninstalled:?}");
    assert!(get(WEBHOOK).is_err(), "evictions would ask an operator that is gone");
    what_stays(&world);

    for object in ["topic/orders", "brokercluster/demo"] {
        world.kubectl(&["delete", object, "--timeout=30s"]).run().expect("nothing holds it");
    }
    let (_, pods_gone) = wait::until("the brokers' pods are gone", MINUTE, || {
        let pods = world.pods()?;
        wait::holds(pods.is_empty(), || format!("{} are left", pods.len()))
    });
    assert_eq!(claims(&world), 3);

    let began = Instant::now();
    release::install_with_defaults();
    world.apply(&cluster_yaml(3)).expect("create the BrokerCluster again");
    world.apply(&topic_yaml("orders", PARTITIONS)).expect("create the Topic again");
    world.await_condition("topics/orders", "InSync", "True", SETTLE);
    let back = began.elapsed();
    everything_is_read(&world);
    figure(&format!(
        "helm uninstall {uninstalled:?}; pods gone {pods_gone:?} after the BrokerCluster; installed and created \
         again, in sync with all {RECORDS} records after {back:?}"
    ));
}

fn what_stays(world: &World) {
    for kind in ["topics", "brokerclusters"] {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}.chronik.dev");
        get(&path).expect("the CRD stays");
    }
    let topic = world.resource("topics/orders").expect("the Topic stays");
    assert!(topic["metadata"]["finalizers"].is_null(), "{}", topic["metadata"]);
    assert_eq!((world.pods().expect("pods").len(), claims(world)), (3, 3));
    let hooks = get(&format!("/apis/batch/v1/namespaces/{}/jobs", release::NAMESPACE)).expect("jobs");
    assert_eq!(hooks["items"].as_array().map(Vec::len), Some(0), "{hooks}");
    let produced = kafka_tools::produce(&world.bootstrap(), "orders", 5, Duration::from_secs(20));
    assert!(produced.success, "brokers go on without an operator: {produced}");
}

fn claims(world: &World) -> usize {
    let path = format!("/api/v1/namespaces/{}/persistentvolumeclaims", world.namespace);
    get(&path).expect("claims")["items"].as_array().map_or(0, Vec::len)
}

/// Kafka's own consumer gets each record once.
fn everything_is_read(world: &World) {
    let mut read = BTreeSet::new();
    for partition in 0..PARTITIONS {
        let end = kafka::end(&world.bootstrap(), "orders", partition as i32);
        if end == 0 {
            continue;
        }
        let text = kafka_tools::tool("kafka-console-consumer", &world.bootstrap())
            .args(["--topic", "orders", "--partition", &partition.to_string(), "--offset", "earliest"])
            .args(["--max-messages", &end.to_string(), "--timeout-ms", "20000"])
            .run()
            .expect("consume");
        let orders = text.lines().filter(|line| line.starts_with("order "));
        for order in orders {
            assert!(read.insert(order.to_owned()), "{order} is there twice");
        }
    }
    let expected: BTreeSet<String> = (0..RECORDS).map(|n| format!("order {n}")).collect();
    assert_eq!(read, expected);
}

#[test]
#[ignore = "needs the box: make scenarios"]
fn a_namespace_goes_away_without_brokers_with_the_operator_and_after_it() {
    let world = World::with_brokers("gone", 3);
    world.create_topic("orders", PARTITIONS);
    kill_pods(&world);
    let with_operator = world.delete();
    assert!(with_operator <= MINUTE, "{with_operator:?}");

    let world = World::with_brokers("gone", 3);
    world.create_topic("orders", PARTITIONS);
    world.kubectl(&["scale", "statefulset/demo-broker", "--replicas=0"]).run().expect("scale");
    kill_pods(&world);
    let began = Instant::now();
    release::uninstall().expect("helm uninstall");
    let uninstalled = began.elapsed();
    let without_operator = world.delete();
    assert!(uninstalled <= MINUTE && without_operator <= MINUTE, "{uninstalled:?} {without_operator:?}");
    figure(&format!(
        "brokers gone: namespace deleted in {with_operator:?} with the operator; helm uninstall {uninstalled:?}, \
         namespace deleted in {without_operator:?} without it"
    ));
}

/// Gone without a word, as with their nodes.
fn kill_pods(world: &World) {
    world
        .kubectl(&["delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false"])
        .run()
        .expect("delete the pods");
}
