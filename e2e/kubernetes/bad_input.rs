//! What cannot be is refused in words that help, and harms nothing that is well.

use std::time::Duration;

use chronik_e2e::{kafka_tools, load, wait};

use crate::world::{World, cluster_yaml, topic_with, topic_yaml};

const SOON: Duration = Duration::from_secs(15);

#[test]
#[ignore = "needs the box: make scenarios"]
fn bad_input_is_refused_with_field_value_and_what_is_allowed() {
    let world = World::with_brokers("bad-input", 3);
    world.create_topic("orders", 6);
    refused_at_once(&world);
    refused_by_the_brokers(&world);
    refused_for_what_is_there(&world);
    lost_without_a_cluster(&world);
    let ready = world.condition("topics/orders", "Ready").expect("a condition");
    assert!(ready.starts_with("True"), "{ready}");
    let sent = load::send_each(&load::idempotent(&world.bootstrap()), "orders", 6);
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
}

/// The API server says no: nothing is stored.
fn refused_at_once(world: &World) {
    for (yaml, parts) in [
        (topic_yaml("orders", 5), &["spec.partitions may only grow"][..]),
        (
            topic_with("bad", "partitions: 1, replicas: 2, minInsyncReplicas: 3"),
            &["spec.minInsyncReplicas may not be above spec.replicas"],
        ),
        (topic_with("bad", "topicName: a b"), &["spec.topicName", "\"a b\"", "^[a-zA-Z0-9._-]+$"]),
        (topic_with("bad", "partitions: many"), &["spec.partitions", "\"string\"", "integer"]),
        (topic_with("Bad_Name", "partitions: 1"), &["Bad_Name", "a lowercase RFC 1123 subdomain"]),
        (cluster_yaml(0), &["spec.replicas", "greater than or equal to 1"]),
    ] {
        let error = world.apply(&yaml).expect_err(&yaml);
        assert!(parts.iter().all(|part| error.contains(part)), "{yaml}: {error}");
    }
}

/// Only the brokers can tell: the condition and an event say what they said.
fn refused_by_the_brokers(world: &World) {
    for (name, fields, parts) in [
        ("wide", "partitions: 1, replicas: 5", &["spec.replicas", "5", "1 to 3"][..]),
        ("odd-key", "config: {no.such.key: '1'}", &["no.such.key"]),
        ("odd-value", "config: {max.message.bytes: huge}", &["max.message.bytes", "huge", "0 to"]),
        ("odd-min", "config: {min.insync.replicas: none}", &["min.insync.replicas", "none", "1 to"]),
    ] {
        world.apply(&topic_with(name, fields)).expect("the schema cannot know");
        let told = world.await_condition(&format!("topics/{name}"), "Ready", "False InvalidSpec", SOON);
        assert!(parts.iter().all(|part| told.contains(part)), "{name}: {told}");
        let event = world.await_event(name, "InvalidSpec", parts);
        println!("{name}: {event}");
    }
}

/// A topic that Kafka's tools made first, with more partitions than the resource asks for.
fn refused_for_what_is_there(world: &World) {
    kafka_tools::tool("kafka-topics", &world.bootstrap())
        .args(["--create", "--topic", "made-before", "--partitions", "4", "--replication-factor", "3"])
        .run()
        .expect("kafka-topics --create");
    world.apply(&topic_with("made-before", "partitions: 2, replicas: 3")).expect("the schema cannot know");
    let told = world.await_condition("topics/made-before", "Ready", "False InvalidSpec", SOON);
    assert!(told.contains("spec.partitions = 2 is not allowed: at least 4"), "{told}");
}

fn lost_without_a_cluster(world: &World) {
    let yaml = topic_yaml("lost", 1).replace("name: demo", "name: nowhere");
    world.apply(&yaml).expect("the schema cannot know");
    let told = world.await_condition("topics/lost", "Ready", "False ClusterNotFound", SOON);
    assert!(told.contains("there is no BrokerCluster nowhere"), "{told}");
    world.await_event("lost", "ClusterNotFound", &["no BrokerCluster nowhere"]);
}

/// Only the broker knows its settings; Kubernetes alone knows why a pod does not start. The resource tells both.
#[test]
#[ignore = "needs the box: make scenarios"]
fn a_broker_that_does_not_start_is_explained_by_its_resource() {
    for (name, fields, parts) in [
        ("odd-setting", "config: {isr-max-lag-ms: soon}", ["container broker", "isr", "soon"]),
        (
            "no-image",
            "image: docker.io/chronik/none:here",
            ["container format", "Pull", "docker.io/chronik/none:here"],
        ),
        (
            "no-room",
            "resources: {requests: {memory: 900Ti}}",
            ["not scheduled", "nodes are available", "memory"],
        ),
    ] {
        let world = World::new(name);
        let yaml = cluster_yaml(1).replace("replicas: 1", &format!("replicas: 1, {fields}"));
        world.apply(&yaml).expect("the schema cannot know");
        let look = || {
            let told = world.condition("brokerclusters/demo", "Ready")?;
            wait::holds(parts.iter().all(|part| told.contains(part)), || told.clone()).map(|()| told)
        };
        let (told, _) = wait::until("the condition says why", Duration::from_secs(60), look);
        println!("{name}: {told}");
        assert!(told.starts_with(
            "False Forming: 0 of 1 broker pods are ready; no broker answers; pod demo-broker-1"
        ));
    }
}
