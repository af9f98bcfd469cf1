//! A topic's life by kubectl, seen with Kafka's tools: altered, put right again, handed over, deleted or kept.

use std::time::Duration;

use chronik_e2e::{kafka, kafka_tools, load, wait};

use crate::world::{World, topic_with, topic_yaml};

const SOON: Duration = Duration::from_secs(15);

#[test]
#[ignore = "needs the box: make scenarios"]
fn what_kubectl_changes_kafkas_tools_see() {
    let world = World::with_brokers("topics", 3);
    world.create_topic("orders", 3);

    let more = "partitions: 5, replicas: 3, minInsyncReplicas: 2, config: {max.message.bytes: '20000'}";
    world.apply(&topic_with("orders", more)).expect("alter the Topic");
    await_described(&world, "PartitionCount: 5", true);
    await_described(&world, "max.message.bytes=20000", true);
    world.await_event("orders", "Altered", &["partitions are 5 now", "max.message.bytes"]);

    // The resource says what is right: what somebody changes behind its back is undone. The watch does not tell of
    // configs, so the next look at all topics does.
    kafka_tools::tool("kafka-configs", &world.bootstrap())
        .args(["--alter", "--entity-type", "topics", "--entity-name", "orders"])
        .args(["--add-config", "max.message.bytes=10"])
        .run()
        .expect("kafka-configs --alter");
    await_described(&world, "max.message.bytes=20000", true);

    let heir = topic_with("heir", "topicName: orders, partitions: 5, replicas: 3");
    world.apply(&heir).expect("create a rival");
    let told = world.await_condition("topics/heir", "Ready", "False Superseded", SOON);
    assert!(told.contains("Topic orders is older"), "{told}");
    delete(&world, "orders");
    world.await_condition("topics/heir", "Ready", "True", SOON);
    await_described(&world, "PartitionCount: 5", true);

    // Kept, taken on again, and at last deleted.
    let kept = "{\"spec\": {\"deletionPolicy\": \"Retain\"}}";
    world.kubectl(&["patch", "topic", "heir", "--type=merge", "--patch", kept]).run().expect("patch");
    delete(&world, "heir");
    assert!(described(&world).contains("PartitionCount: 5"));
    world.apply(&topic_yaml("orders", 5)).expect("create the Topic again");
    world.await_condition("topics/orders", "Ready", "True", SOON);
    delete(&world, "orders");
    await_described(&world, "PartitionCount", false);
}

fn delete(world: &World, topic: &str) {
    world.kubectl(&["delete", "topic", topic, "--timeout=20s"]).run().expect("nothing holds the Topic");
}

fn described(world: &World) -> String {
    let done =
        kafka_tools::tool("kafka-topics", &world.bootstrap()).args(["--describe", "--topic", "orders"]).run();
    format!("{}{}", done.stdout, done.stderr)
}

fn await_described(world: &World, part: &str, there: bool) {
    // Longer than the operator's own look at all topics.
    let look = || {
        let text = described(world);
        wait::holds(text.contains(part) == there, || text)
    };
    wait::until(&format!("kafka-topics --describe with {part:?}: {there}"), Duration::from_secs(60), look);
}

/// Scenario 21.
#[test]
#[ignore = "needs the box: make scenarios"]
fn a_topic_created_anew_ten_times_has_another_id_each_time_and_nothing_of_the_one_before() {
    let world = World::with_brokers("anew", 3);
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..10 {
        world.create_topic("orders", 2);
        let topic = world.resource("topics/orders").expect("the Topic");
        let id = topic["status"]["topicId"].as_str().expect("an id").to_owned();
        assert!(ids.insert(id), "{ids:?}: the id before");
        assert_eq!(kafka::end(&world.bootstrap(), "orders", 0), 0, "records of the topic before");
        let sent = load::send_each(&load::idempotent(&world.bootstrap()), "orders", 2);
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
        delete(&world, "orders");
    }
}
