//! From Helm to a topic: what a user applies becomes true, and every view of it says the same.

use std::time::{Duration, Instant};

use chronik_e2e::{kafka, kafka_tools, load, wait};

use crate::figure;
use crate::world::{BROKERS, World, get};

const PARTITIONS: usize = 12;

#[test]
#[ignore = "needs the box: make scenarios"]
fn a_topic_is_the_same_to_kubectl_to_kafkas_tools_and_to_its_clients() {
    let began = Instant::now();
    let world = World::with_brokers("install", 3);
    let cluster = began.elapsed();
    let topic = world.create_topic("orders", PARTITIONS);
    figure(&format!(
        "a namespace with three ready brokers after {cluster:?}, a topic of 12 after {topic:?} more"
    ));

    columns(&world);
    described_alike(&world);
    spread_and_kept(&world);
    let sent = load::send_each(&load::idempotent(&world.bootstrap()), "orders", PARTITIONS);
    assert!(sent.iter().all(|sent| *sent == Ok(0)), "{sent:?}");
    for partition in 0..PARTITIONS {
        let (records, _) = kafka::read(&world.bootstrap(), "orders", partition as i32);
        assert_eq!(records[0].payload, format!("record {partition}"));
    }
}

fn columns(world: &World) {
    let row = world.row("topics", "orders");
    let names: Vec<&str> = row.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        ("NAME", "orders"),
        ("CLUSTER", "demo"),
        ("PARTITIONS", "12"),
        ("REPLICAS", "3"),
        ("MIN-ISR", "2"),
        ("IN-SYNC", "12/12"),
        ("UNDER-MIN-ISR", "0"),
        ("READY", "True"),
    ];
    for (at, (name, value)) in expected.iter().enumerate() {
        assert_eq!((names[at], row[at].1.as_str()), (*name, *value));
    }
    assert_eq!(names[8..], ["AGE"]);
    let look = || {
        let row = world.row("brokerclusters", "demo");
        // The cluster's own counts follow within a second.
        wait::holds(row[2].1 == "12/12", || format!("{row:?}")).map(|()| row)
    };
    let (row, _) = wait::until("the cluster counts the topic's partitions", Duration::from_secs(3), look);
    let value = |name: &str| row.iter().find(|(column, _)| column == name).map(|(_, value)| value.as_str());
    assert_eq!(
        (value("BROKERS"), value("IN-SYNC"), value("READY")),
        (Some("3/3"), Some("12/12"), Some("True"))
    );
}

fn described_alike(world: &World) {
    let status = world.status("orders").expect("the status");
    assert_eq!(status.len(), PARTITIONS);
    let described = kafka_tools::describe(&world.bootstrap(), "orders").expect("kafka-topics --describe");
    assert_eq!(described, status, "kafka-topics --describe and Topic.status");
    for broker in BROKERS {
        // The client may turn to another broker by itself: asked again, then.
        let look = || world.metadata(broker, "orders");
        let (seen, _) = wait::until("Metadata of that broker", Duration::from_secs(5), look);
        assert_eq!(seen, status, "Metadata of broker {broker}");
    }
    for leader in BROKERS {
        assert!(status.iter().any(|p| p.leader == leader), "broker {leader} leads nothing: {status:?}");
    }
}

/// One broker on each node, a volume claim each, and a budget that lets a drain take one at a time.
fn spread_and_kept(world: &World) {
    let mut nodes: Vec<String> = BROKERS.map(|broker| world.node_of(broker)).into();
    nodes.sort();
    assert_eq!(nodes, ["node1", "node2", "node3"]);
    let claims =
        get(&format!("/api/v1/namespaces/{}/persistentvolumeclaims", world.namespace)).expect("claims");
    let bound = claims["items"].as_array().into_iter().flatten().filter(|c| c["status"]["phase"] == "Bound");
    assert_eq!(bound.count(), 3);
    let path = format!("/apis/policy/v1/namespaces/{}/poddisruptionbudgets/demo-broker", world.namespace);
    assert_eq!(get(&path).expect("the budget")["status"]["disruptionsAllowed"], 1);
}
