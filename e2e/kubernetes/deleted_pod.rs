//! A broker's pod deleted by hand: it serves on until the others can spare it.

use std::time::{Duration, Instant};

use chronik_e2e::load::{self, Load};
use chronik_e2e::wait;
use serde_json::Value;

use crate::box_nodes::Outage;
use crate::figure;
use crate::world::{BROKERS, World, cluster_yaml};

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(5);
const GOES_ON: Duration = Duration::from_secs(40);
const BACK: Duration = Duration::from_secs(90);
/// Seconds until a deleted pod is killed: 25 of them are for the stop itself, and the others are more than a node needs to return.
const GRACE: u32 = 90;
/// So long the deleted pod is watched.
const STAYS: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs the box: make scenarios"]
fn a_deleted_pod_serves_until_its_broker_can_be_spared() {
    let world = World::new("deleted-pod");
    let patient = format!("spec: {{terminationGracePeriodSeconds: {GRACE}, ");
    world.apply(&cluster_yaml(3).replace("spec: {", &patient)).expect("create the BrokerCluster");
    world.await_condition("brokerclusters/demo", "Ready", "True", BACK);
    world.create_topic("t", PARTITIONS);
    let load = Load::start(&load::impatient(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    let outage = Outage::kill(&world.node_of(3));
    world.await_isr(&[1, 2], "t", PARTITIONS, &[1, 2], GOES_ON);

    let before = uid(&world, "demo-broker-2").expect("its pod");
    let deleted = Instant::now();
    world.kubectl(&["delete", "pod", "demo-broker-2", "--wait=false"]).run().expect("delete a pod");
    while deleted.elapsed() < STAYS {
        assert_eq!(uid(&world, "demo-broker-2").expect("its pod"), before);
        std::thread::sleep(Duration::from_millis(500));
    }
    world.await_isr(&[1, 2], "t", PARTITIONS, &[1, 2], GOES_ON);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    let nodes = outage.end();
    let returned = || {
        let seen = world.metadata(1, "t")?;
        let back = seen.iter().all(|partition| partition.isr.contains(&3));
        wait::holds(back, || format!("{seen:?}"))
    };
    wait::until("broker 3 is back in every ISR", BACK, returned);
    let returned = Instant::now();
    let is_new = || {
        let now = uid(&world, "demo-broker-2")?;
        wait::holds(now != before, || "it is the same pod".to_owned())
    };
    wait::until("the pod is replaced", BACK, is_new);
    let (waited, spared) = (deleted.elapsed(), returned.elapsed());
    nodes.join().expect("the node is Ready");
    world.await_isr(&BROKERS, "t", PARTITIONS, &BROKERS, BACK);
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
    figure(&format!(
        "a pod deleted while another broker was down: served on and was replaced after {waited:?}, {spared:?} after \
         that one was back; {sent} sends and none failed"
    ));
    // Others drain nodes: what is left of this would hold them up for as long as its brokers may wait.
    world.delete();
}

fn uid(world: &World, name: &str) -> Result<String, String> {
    let pods = world.pods()?;
    let pod = pods.iter().find(|pod| pod["metadata"]["name"] == name).ok_or("there is no such pod now")?;
    Ok(pod["metadata"]["uid"].as_str().map(str::to_owned).unwrap_or_else(|| Value::Null.to_string()))
}
