//! The operator that acts goes away while a broker dies: another takes over, and the status becomes true.

use std::time::{Duration, Instant};

use chronik_e2e::wait;

use crate::box_nodes::Outage;
use crate::world::{BROKERS, World, kubectl};
use crate::{figure, release};

const PARTITIONS: usize = 12;
/// Its pod is deleted: it gives the lease up.
const HANDED_OVER: Duration = Duration::from_secs(15);
/// Its node dies: the lease, 15 s, has to run out, the next try comes within 2 s, then brokers are asked.
const RUN_OUT: Duration = Duration::from_secs(25);
const BACK: Duration = Duration::from_secs(90);

#[test]
#[ignore = "needs the box: make scenarios"]
fn another_operator_takes_over_and_the_status_becomes_true() {
    let world = World::with_brokers("operator", 3);
    world.create_topic("t", PARTITIONS);

    let leader = await_leader();
    let victim = broker_not_on(&world, &release::pod_node(&leader).expect("its node"));
    let began = Instant::now();
    let outage = Outage::kill(&world.node_of(victim));
    kubectl(&["delete", "pod", &leader, "--namespace", release::NAMESPACE, "--wait=false"])
        .run()
        .expect("delete the operator's pod");
    world.await_status("t", PARTITIONS, "Leader", &all_but(victim), HANDED_OVER);
    let handed_over = began.elapsed();
    assert_ne!(await_leader(), leader);
    recover(&world, outage);
    release::await_ready(2);

    let leader = await_leader();
    let node = release::pod_node(&leader).expect("its node");
    let victim =
        BROKERS.into_iter().find(|broker| world.node_of(*broker) == node).expect("a broker on each node");
    let began = Instant::now();
    let outage = Outage::kill(&node);
    world.await_status("t", PARTITIONS, "Leader", &all_but(victim), RUN_OUT);
    let run_out = began.elapsed();
    assert_ne!(await_leader(), leader);
    recover(&world, outage);
    figure(&format!(
        "status true {handed_over:?} after a broker's node died and the acting operator's pod was deleted, \
         {run_out:?} after both died with one node"
    ));
}

fn await_leader() -> String {
    wait::until("an operator acts", Duration::from_secs(60), release::leader).0
}

fn broker_not_on(world: &World, node: &str) -> i32 {
    BROKERS.into_iter().find(|broker| world.node_of(*broker) != node).expect("three nodes")
}

fn all_but(victim: i32) -> Vec<i32> {
    BROKERS.into_iter().filter(|broker| *broker != victim).collect()
}

fn recover(world: &World, outage: Outage) {
    outage.end().join().expect("the node is Ready");
    world.await_isr(&BROKERS, "t", PARTITIONS, &BROKERS, BACK);
    world.await_status("t", PARTITIONS, "Leader", &BROKERS, BACK);
}
