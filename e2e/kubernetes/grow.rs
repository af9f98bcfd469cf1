//! Clusters of other sizes than three: they grow, and brokers beyond the founders wait for those.

use std::time::Instant;

use chronik_e2e::{kafka_tools, wait};
use serde_json::Value;

use crate::figure;
use crate::world::{SETTLE, World, cluster_yaml};

#[test]
#[ignore = "needs the box: make scenarios"]
fn three_brokers_become_five_and_new_partitions_use_them() {
    let world = World::with_brokers("grow", 3);
    world.create_topic("before", 6);
    let began = Instant::now();
    world.apply(&cluster_yaml(5)).expect("raise spec.replicas");
    world.await_condition("brokerclusters/demo", "Ready", "True AllBrokersReady: all 5 brokers", SETTLE);
    let grown = began.elapsed();
    nothing_restarted(&world, 5);
    assert_eq!(world.row("brokerclusters", "demo")[1].1, "5/5");

    let shared = || {
        let all = world.status("before")?;
        let has = |broker: i32| all.iter().any(|partition| partition.isr.contains(&broker));
        wait::holds(has(4) && has(5), || format!("{all:?}"))
    };
    wait::until("the new brokers are given replicas", SETTLE, shared);
    world.await_condition("brokerclusters/demo", "Scaling", "False AtSize", SETTLE);
    world.create_topic("after", 10);
    let after = kafka_tools::describe(&world.bootstrap(), "after").expect("kafka-topics --describe");
    for broker in 1..=5 {
        assert!(after.iter().any(|p| p.isr.contains(&broker)), "broker {broker} has no replica: {after:?}");
    }
    figure(&format!("3 to 5 brokers, all ready: {grown:?}"));
}

/// Four brokers have three founders: the fourth has nothing to do before these have formed the cluster.
#[test]
#[ignore = "needs the box: make scenarios"]
fn a_broker_beyond_the_founders_starts_once_and_joins() {
    let began = Instant::now();
    let world = World::with_brokers("four", 4);
    figure(&format!("a namespace with four ready brokers after {:?}", began.elapsed()));
    nothing_restarted(&world, 4);
}

fn nothing_restarted(world: &World, brokers: usize) {
    let pods = world.pods().expect("pods");
    assert_eq!(pods.len(), brokers);
    for pod in pods {
        for list in ["/status/initContainerStatuses", "/status/containerStatuses"] {
            for status in pod.pointer(list).and_then(Value::as_array).into_iter().flatten() {
                assert_eq!(status["restartCount"], 0, "{}: {status}", pod["metadata"]["name"]);
            }
        }
    }
}
