//! A rollout is disturbed: the spec is edited twice more, the operator that acts is killed, partitions move meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chronik_e2e::load::{self, Load};
use chronik_e2e::{kafka_tools, wait};

use crate::rolling::{await_told, change_setting, replaced, uids};
use crate::watchman::Watchman;
use crate::world::{World, kubectl};
use crate::{figure, release};

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(5);
const GOES_ON: Duration = Duration::from_secs(40);
const ALL_OF_THEM: Duration = Duration::from_secs(240);

/// Scenarios 10, 11 and 12.
#[test]
#[ignore = "needs the box: make scenarios"]
fn a_spec_edited_twice_and_an_operator_killed_in_the_middle_still_restart_one_broker_at_a_time() {
    let world = World::with_brokers("mid-roll", 3);
    release::await_ready(2);
    world.create_topic("t", PARTITIONS);
    let load = Load::start(&load::idempotent(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    let before = uids(&world).expect("pods");
    let watchman = Watchman::start(&world, 3, "t");

    let began = Instant::now();
    change_setting(&world, "default-partitions", "2");
    await_replaced(&world, &before, 1);
    let acting = release::leader().expect("an operator acts");
    kubectl(&["delete", "pod", &acting, "--namespace", release::NAMESPACE, "--grace-period=0", "--force"])
        .run()
        .expect("kill the operator");
    await_replaced(&world, &before, 2);
    change_setting(&world, "default-partitions", "3");
    change_setting(&world, "default-partitions", "4");
    await_replaced(&world, &before, 3);
    await_told(&world, "False UpToDate", &[], ALL_OF_THEM);
    let took = began.elapsed();
    assert_ne!(release::leader().expect("another acts"), acting);

    let (pods, isrs) = watchman.finish();
    assert!(pods.fewest_ready >= Some(2), "{pods:?}");
    assert!(isrs.smallest.as_ref().is_some_and(|(members, _)| *members >= 2), "{isrs:?}");
    let restarts = pods.order(&before).len();
    // Two had taken the first setting when it was edited; each takes the last one, and nobody more than once.
    assert!((3..=6).contains(&restarts), "{pods:?}");
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
    figure(&format!(
        "rollout edited twice, its operator killed: done after {took:?} with {restarts} restarts, {sent} sends and \
         none failed, smallest ISR {:?} in {} looks",
        isrs.smallest.map(|(members, _)| members),
        isrs.looks
    ));
}

/// Scenario 15.
#[test]
#[ignore = "needs the box: make scenarios"]
fn partitions_that_move_during_a_rollout_never_fall_below_min_isr() {
    let world = World::with_brokers("moves-roll", 4);
    world.create_topic("t", PARTITIONS);
    let load = Load::start(&load::idempotent(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    let before = uids(&world).expect("pods");
    let watchman = Watchman::start(&world, 4, "t");

    change_setting(&world, "default-partitions", "2");
    for target in [[2, 3, 4], [4, 1, 2]] {
        move_all(&world, &target);
    }
    await_told(&world, "False UpToDate", &[], ALL_OF_THEM);
    world.await_isr(&[1, 2, 3, 4], "t", PARTITIONS, &[1, 2, 4], ALL_OF_THEM);
    let (pods, isrs) = watchman.finish();
    assert!(pods.fewest_ready >= Some(3), "{pods:?}");
    assert!(isrs.smallest.as_ref().is_some_and(|(members, _)| *members >= 2), "{isrs:?}");
    assert_eq!(pods.order(&before).len(), 4, "{pods:?}");
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
}

/// Has all partitions move to these brokers, by Kafka's own tool; waits for nothing.
pub fn move_all(world: &World, brokers: &[i32]) {
    let partition = |number: usize| {
        let (place, mut turned) = (number % brokers.len(), brokers.to_vec());
        turned.rotate_left(place);
        serde_json::json!({"topic": "t", "partition": number, "replicas": turned})
    };
    let moves: Vec<_> = (0..PARTITIONS).map(partition).collect();
    let plan = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(plan.path(), serde_json::json!({"version": 1, "partitions": moves}).to_string())
        .expect("a plan");
    let file = plan.path().to_string_lossy().into_owned();
    // Brokers refuse what a restart would pay for, and the tool needs a minute to give up a broker that is away.
    let look = || {
        let tool = kafka_tools::tool("kafka-reassign-partitions", &world.bootstrap());
        let done = tool.args(["--execute", "--additional", "--reassignment-json-file", &file]).run();
        wait::holds(done.success, || done.to_string())
    };
    wait::until(&format!("a move to {brokers:?} is taken on"), ALL_OF_THEM, look);
}

fn await_replaced(world: &World, before: &BTreeMap<String, String>, count: usize) {
    let look = || {
        let new = replaced(before, &uids(world)?);
        wait::holds(new.len() >= count, || format!("new are {new:?}"))
    };
    wait::until(&format!("{count} pods are replaced"), ALL_OF_THEM, look);
}
