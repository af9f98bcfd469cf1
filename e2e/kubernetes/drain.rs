//! Draining nodes: an eviction passes the same gate as a restart, the next waits for the first broker's return, and clients
//! notice little.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chronik_e2e::load::{self, Load};
use chronik_e2e::program::Ended;
use chronik_e2e::wait;

use serde_json::Value;

use crate::box_nodes::{Cordoned, Outage, drain};
use crate::world::{BROKERS, World, get};
use crate::{figure, release};

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(5);
const GOES_ON: Duration = Duration::from_secs(40);
const BACK: Duration = Duration::from_secs(90);
/// Longest drain here: one that waits until another broker is back.
const DRAIN: Duration = Duration::from_secs(180);

/// Scenario 8.
#[test]
#[ignore = "needs the box: make scenarios"]
fn of_two_drains_at_once_the_second_goes_through_when_the_first_broker_is_back() {
    let world = World::with_brokers("drains", 3);
    world.create_topic("t", PARTITIONS);
    await_others_gone(&world);
    let load = Load::start(&load::idempotent(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    let began = Instant::now();
    let mut drains = [2, 3].map(|broker| Drain::start(&world, broker)).into_iter().collect::<Vec<_>>();
    let one_is_done = || {
        let done = drains.iter().position(|drain| drain.ending.is_finished());
        done.ok_or_else(|| "both wait".to_owned())
    };
    let (first, _) = wait::until("one of two drains is done", DRAIN, one_is_done);
    let (first, second) = (drains.remove(first), drains.remove(0));
    let (broker, waits) = (first.broker, second.broker);
    let (node, ended) = first.end();
    assert!(ended.success, "{ended}");
    let left: Vec<i32> = BROKERS.into_iter().filter(|id| *id != broker).collect();
    world.await_isr(&left, "t", PARTITIONS, &left, GOES_ON);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    assert!(!second.ending.is_finished(), "broker {broker} is not back, and the other drain is done");

    // The first node takes its broker again: then the other drain is let through by itself.
    drop(node);
    let (node, ended) = second.end();
    assert!(ended.success && names_what_it_waits_for(&ended, waits), "{ended}");
    let waited = ended.took;
    let left: Vec<i32> = BROKERS.into_iter().filter(|id| *id != waits).collect();
    world.await_isr(&left, "t", PARTITIONS, &left, GOES_ON);
    drop(node);
    world.await_isr(&BROKERS, "t", PARTITIONS, &BROKERS, BACK);
    let stall = load.longest_stall(began);
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
    figure(&format!(
        "two nodes drained at once: the second went through after {waited:?}, {sent} sends and none failed, longest \
         stall of a partition {stall:?}"
    ));
}

#[test]
#[ignore = "needs the box: make scenarios"]
fn at_min_isr_an_eviction_is_refused_that_the_budget_would_let_pass() {
    let world = World::with_brokers("drain-min-isr", 3);
    world.create_topic("t", PARTITIONS);
    await_others_gone(&world);
    // An operator that cannot be reached could not refuse.
    release::install_on(&world.node_of(1));
    let load = Load::start(&load::impatient(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    // Kubernetes takes a pod for ready long after its node fell silent.
    let outage = Outage::cut(&world.node_of(3));
    world.await_isr(&[1, 2], "t", PARTITIONS, &[1, 2], GOES_ON);
    let drained = Cordoned(world.node_of(2));
    let refused = drained.drain("8s");
    let budget = format!("/apis/policy/v1/namespaces/{}/poddisruptionbudgets/demo-broker", world.namespace);
    assert_eq!(get(&budget).expect("the budget")["status"]["disruptionsAllowed"], 1, "it would let it pass");
    assert!(!refused.success && refused.stderr.contains("broker 2 may not stop"), "{refused}");
    assert!(refused.stderr.contains("t/"), "the partition is named: {refused}");
    world.await_isr(&[1, 2], "t", PARTITIONS, &[1, 2], Duration::from_secs(2));
    load.await_acks(PARTITIONS, 10, GOES_ON);

    drop(drained);
    outage.end().join().expect("the node is Ready");
    world.await_isr(&BROKERS, "t", PARTITIONS, &BROKERS, BACK);
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
}

/// Scenario 9.
#[test]
#[ignore = "needs the box: make scenarios"]
fn without_an_operator_the_budget_still_lets_only_one_broker_go() {
    let world = World::with_brokers("drain-alone", 3);
    world.create_topic("t", PARTITIONS);
    await_others_gone(&world);
    let load = Load::start(&load::idempotent(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    let operators = release::Scaled::to_none();

    let (first, second) = (Cordoned(world.node_of(3)), Cordoned(world.node_of(2)));
    let drained = first.drain("60s");
    assert!(drained.success, "{drained}");
    let refused = second.drain("6s");
    assert!(!refused.success && refused.stderr.contains("disruption budget"), "{refused}");
    world.await_isr(&[1, 2], "t", PARTITIONS, &[1, 2], GOES_ON);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    drop((first, second, operators));
    world.await_isr(&BROKERS, "t", PARTITIONS, &BROKERS, BACK);
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
}

/// Whether kubectl printed which broker may not stop, and the partition or the permit that stands against it.
fn names_what_it_waits_for(ended: &Ended, broker: i32) -> bool {
    let mut lines = ended.stderr.lines();
    lines.any(|line| {
        line.contains(&format!("broker {broker} may not stop"))
            && (line.contains("t/") || line.contains("permit"))
    })
}

/// A drain in the background.
struct Drain {
    broker: i32,
    node: Cordoned,
    ending: JoinHandle<Ended>,
}

impl Drain {
    fn start(world: &World, broker: i32) -> Self {
        let node = world.node_of(broker);
        let name = node.clone();
        let ending = std::thread::spawn(move || drain(&name, &format!("{}s", DRAIN.as_secs())));
        Self { broker, node: Cordoned(node), ending }
    }

    /// Waits for its end. The node is closed for pods until it is dropped.
    fn end(self) -> (Cordoned, Ended) {
        (self.node, self.ending.join().expect("a drain"))
    }
}

/// A drain takes a node's brokers of every namespace: what is left of the scenario before is to be gone.
fn await_others_gone(world: &World) {
    let look = || {
        let pods = get("/api/v1/pods?labelSelector=app.kubernetes.io/component=broker")?;
        let of = |pod: &Value| pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let others: Vec<String> =
            pods.iter().map(of).filter(|namespace| *namespace != world.namespace).collect();
        wait::holds(others.is_empty(), || format!("{others:?}"))
    };
    wait::until("no other scenario has brokers", BACK, look);
}
