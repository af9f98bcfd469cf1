//! Fewer brokers and more again: a broker leaves with all it has before its pod goes, or stays and says why.

use std::time::{Duration, Instant};

use chronik_e2e::load::{self, Load};
use chronik_e2e::{admin, wait};
use serde_json::Value;

use crate::watchman::Watchman;
use crate::world::{BROKERS, SETTLE, World, cluster_yaml, get};
use crate::{figure, stalls};

const PARTITIONS: usize = 24;
const PACE: Duration = Duration::from_millis(5);
const GOES_ON: Duration = Duration::from_secs(40);
const GONE: Duration = Duration::from_secs(180);
const DEMO: &str = "brokerclusters/demo";

#[test]
#[ignore = "needs the box: make scenarios"]
fn a_smaller_cluster_is_drained_first_and_a_larger_one_takes_its_share() {
    let world = World::with_brokers("scale", 4);
    world.create_topic("t", PARTITIONS);
    let load = Load::start(&load::idempotent(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    assert!(replicas(&world, 4).expect("a report") > 0, "else there is nothing to see");

    // Taken back before anything is lost: the broker stays, and has its share again.
    resize(&world, 3);
    world.await_event("demo", "BrokerLeaves", &["broker 4 "]);
    resize(&world, 4);
    world.await_event("demo", "BrokerStays", &["broker 4 "]);
    world.await_condition(DEMO, "Scaling", "False AtSize", GONE);
    assert_eq!(world.pods().expect("pods").len(), 4);

    let began = Instant::now();
    resize(&world, 3);
    let smaller = || {
        let (pods, has) = (world.pods()?.len(), replicas(&world, 4));
        if pods < 4 {
            return Ok(has);
        }
        Err(format!("{:?}", world.condition(DEMO, "Scaling")))
    };
    let (left, _) = wait::until("the fourth pod goes", GONE, smaller);
    assert!(
        left.as_ref().is_ok_and(|left| *left == 0) || left.is_err(),
        "its pod went with {left:?} replicas"
    );
    world.await_condition(DEMO, "Scaling", "False AtSize: there are 3 brokers", GONE);
    let took = began.elapsed();
    for (reason, parts) in
        [("BrokerStops", "broker 4 "), ("ClaimDeleted", "data-demo-broker-4"), ("BrokerRemoved", "broker 4 ")]
    {
        world.await_event("demo", reason, &[parts]);
    }
    assert_eq!(claims(&world), 3);
    world.await_isr(&BROKERS, "t", PARTITIONS, &BROKERS, GOES_ON);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    // Three replicas need three brokers.
    resize(&world, 2);
    let why =
        world.await_condition(DEMO, "Scaling", "True Blocked: broker 3 cannot leave: topic t has 3", GOES_ON);
    world.await_event("demo", "ScaleDownBlocked", &["topic t has 3 replicas", "lower the replicas"]);
    assert_eq!(world.pods().expect("pods").len(), 3, "{why}");

    let shrunk = load.longest_stall(began);
    let (regrown, watchman) = (Instant::now(), Watchman::start(&world, 4, "t"));
    resize(&world, 4);
    world.await_condition(DEMO, "Ready", "True AllBrokersReady: all 4 brokers", SETTLE);
    let shared = || {
        let has = replicas(&world, 4)?;
        wait::holds(has == PARTITIONS as u64 * 3 / 4, || format!("broker 4 has {has} replicas"))
    };
    wait::until("the new broker has its share", GONE, shared);
    world.await_condition(DEMO, "Scaling", "False AtSize", GOES_ON);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    let (pods, isrs) = watchman.finish();
    let (stall, regrown) = (stalls::told(&load, &pods, &isrs, regrown), regrown.elapsed());
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
    figure(&format!(
        "4 to 3 brokers: {took:?}, longest stall of a partition {shrunk:?}; 3 to 4 with its share of {PARTITIONS} \
         partitions: {regrown:?}, {sent} sends and none failed; {stall}"
    ));
}

fn resize(world: &World, brokers: usize) {
    world.apply(&cluster_yaml(brokers)).expect("change spec.replicas");
}

/// Replicas of a broker, as broker 1 tells.
fn replicas(world: &World, broker: i32) -> Result<u64, String> {
    let report = admin::get(world.admin(1)?, "/v1/cluster")?.json()?;
    let brokers = report["brokers"].as_array().into_iter().flatten();
    let found =
        brokers.into_iter().find(|known| known["id"] == broker).and_then(|it| it["replicas"].as_u64());
    found.ok_or_else(|| format!("broker {broker} is not registered"))
}

fn claims(world: &World) -> usize {
    let path = format!("/api/v1/namespaces/{}/persistentvolumeclaims", world.namespace);
    let list = get(&path).expect("the claims");
    list["items"].as_array().map_or(0, Vec::len) - deleted(&list)
}

fn deleted(list: &Value) -> usize {
    let all = list["items"].as_array().into_iter().flatten();
    all.filter(|claim| !claim["metadata"]["deletionTimestamp"].is_null()).count()
}
