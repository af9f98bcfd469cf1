//! A node is cut off while brokers should restart: the others stay, what stands against them is named, and a pod that does not
//! end is told of.

use std::time::Duration;

use chronik_e2e::load::{self, Load};

use crate::box_nodes::Outage;
use crate::release;
use crate::rolling::{await_told, change_setting, nothing_restarts, patch, replaced, uids};
use crate::world::{BROKERS, SETTLE, World, cluster_yaml};

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(5);
const GOES_ON: Duration = Duration::from_secs(40);
const ONE: Duration = Duration::from_secs(120);

/// Scenarios 2 and 19.
#[test]
#[ignore = "needs the box: make scenarios"]
fn a_broker_out_of_sync_holds_its_peers_and_a_pod_on_a_lost_node_is_told_of() {
    let world = World::new("lost-node");
    let short = "spec: {terminationGracePeriodSeconds: 30, ";
    world.apply(&cluster_yaml(3).replace("spec: {", short)).expect("create the BrokerCluster");
    world.await_condition("brokerclusters/demo", "Ready", "True", SETTLE);
    world.create_topic("t", PARTITIONS);
    release::install_on(&world.node_of(1));
    let load = Load::start(&load::impatient(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    patch(&world, r#"{"spec": {"rollout": {"paused": true}}}"#);
    let outage = Outage::cut(&world.node_of(3));
    world.await_isr(&[1, 2], "t", PARTITIONS, &[1, 2], GOES_ON);

    let before = uids(&world).expect("pods");
    let annotate = |value: &str| {
        world.kubectl(&["annotate", "pod", "demo-broker-2", value]).run().expect("annotate a pod");
    };
    annotate("chronik.dev/restart=true");
    await_told(&world, "True Blocked", &["broker 2 may not stop", "t/"], ONE);
    nothing_restarts(&world, &before);
    annotate("chronik.dev/restart-");

    change_setting(&world, "default-partitions", "2");
    patch(&world, r#"{"spec": {"rollout": {"paused": false}}}"#);
    await_told(&world, "True Restarting", &["broker 3 stops", "out-of-service"], ONE);
    nothing_restarts(&world, &before);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    outage.end().join().expect("the node is Ready");
    await_told(&world, "False UpToDate", &[], ONE);
    world.await_isr(&BROKERS, "t", PARTITIONS, &BROKERS, GOES_ON);
    assert_eq!(replaced(&before, &uids(&world).expect("pods")).len(), 3);
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
}
