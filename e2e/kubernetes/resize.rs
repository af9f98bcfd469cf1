//! A Topic's number of replicas changes under load, up and down, and its status shows the way.

use std::time::{Duration, Instant};

use chronik_e2e::load::{self, Load};
use chronik_e2e::wait;

use crate::figure;
use crate::world::{SETTLE, World, topic_with};

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(5);
const GOES_ON: Duration = Duration::from_secs(60);
const TOPIC: &str = "topics/t";

#[test]
#[ignore = "needs the box: make scenarios"]
fn a_topic_gets_more_replicas_and_fewer_as_its_spec_says() {
    let world = World::with_brokers("resize", 3);
    want(&world, 2);
    world.await_condition(TOPIC, "InSync", "True", SETTLE);
    let load = Load::start(&load::idempotent(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    let began = Instant::now();
    want(&world, 3);
    world.await_event("t", "ReplicasMoved", &["all partitions have 3 replicas"]);
    await_number(&world, 3);
    let up = began.elapsed();
    load.await_acks(PARTITIONS, 10, GOES_ON);
    want(&world, 2);
    world.await_event("t", "ReplicasMoved", &["all partitions have 2 replicas"]);
    await_number(&world, 2);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    // More than there are brokers.
    want(&world, 4);
    world.await_condition(
        TOPIC,
        "Ready",
        "False InvalidSpec: spec.replicas = 4 is not allowed: 1 to 3",
        GOES_ON,
    );
    want(&world, 2);
    world.await_condition(TOPIC, "Ready", "True Serving", GOES_ON);

    let stall = load.longest_stall(began);
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
    figure(&format!(
        "{PARTITIONS} partitions from 2 to 3 replicas: {up:?}; 2 to 3 to 2: longest stall of a partition {stall:?}, {sent} \
         sends and none failed"
    ));
}

fn want(world: &World, replicas: usize) {
    let fields = format!("partitions: {PARTITIONS}, replicas: {replicas}, minInsyncReplicas: 2");
    world.apply(&topic_with("t", &fields)).expect("apply the Topic");
}

/// Waits until the status shows so many replicas of each partition, all in sync, and no move.
fn await_number(world: &World, replicas: usize) {
    let look = || {
        let status = world.status("t")?;
        let all = status.len() == PARTITIONS && status.iter().all(|it| it.isr.len() == replicas);
        let way = world.condition(TOPIC, "Resizing")?;
        wait::holds(all && way.is_empty(), || format!("{way:?}, {status:?}"))
    };
    wait::until(&format!("{replicas} replicas each"), GOES_ON, look);
    let row = world.row("topics", "t");
    let column = row.iter().find(|(name, _)| name == "REPLICAS").map(|(_, value)| value.clone());
    assert_eq!(column, Some(replicas.to_string()), "{row:?}");
}
