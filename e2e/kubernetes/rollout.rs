//! Rolling restarts: one broker at a time, none while a partition would pay for it, and a person who bears it all the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chronik_e2e::load::{self, Load};
use chronik_e2e::reading::Reading;
use chronik_e2e::wait;

use crate::rolling::{at_most_one_is_not_ready, change_setting, nothing_restarts, uids};
use crate::watchman::{Life, Pods, Watchman};
use crate::world::{World, field, topic_with};
use crate::{figure, number, stalls};

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(5);
const GOES_ON: Duration = Duration::from_secs(40);
/// Three brokers, each stopped, started and caught up.
const ALL_OF_THEM: Duration = Duration::from_secs(240);
const ONE: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(30);
const DEMO: &str = "brokerclusters/demo";

/// Scenarios 1 and 16, must show 1. CHRONIK_BROKERS (3) and CHRONIK_RATE (200 records a second) change what is run.
#[test]
#[ignore = "needs the box: make scenarios"]
fn a_changed_setting_restarts_one_broker_at_a_time() {
    let (brokers, rate) = (number("CHRONIK_BROKERS", 3), number("CHRONIK_RATE", 200));
    let world = World::with_brokers("rollout", brokers);
    world.create_topic("t", PARTITIONS);
    world.await_condition(DEMO, "RollingOut", "False UpToDate", SOON);
    let pace = Duration::from_secs(1) / u32::try_from(rate).expect("a rate");
    let load = Load::start(&load::idempotent(&world.bootstrap()), "t", PARTITIONS, pace);
    let reading = Reading::start(&world.bootstrap(), "t", PARTITIONS);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    let before = uids(&world).expect("pods");
    let leads = metadata_leader(&world).expect("a metadata leader");
    let watchman = Watchman::start(&world, brokers as i32, "t");
    let began = Instant::now();
    change_setting(&world, "default-partitions", "2");
    let all_are_new = || {
        at_most_one_is_not_ready(&world, brokers)?;
        let now = uids(&world)?;
        let new = before.iter().filter(|(pod, uid)| now.get(*pod).is_some_and(|now| now != *uid)).count();
        wait::holds(new == before.len(), || format!("{new} of {brokers} pods are new"))
    };
    wait::until("every pod is replaced", ALL_OF_THEM, all_are_new);
    let done = || {
        at_most_one_is_not_ready(&world, brokers)?;
        let told = world.condition(DEMO, "RollingOut")?;
        wait::holds(told.starts_with("False UpToDate"), || told)
    };
    wait::until("the rollout comes to its end", ONE, done);
    let took = began.elapsed();
    let (pods, isrs) = watchman.finish();
    assert_eq!(
        pods.order(&before).last(),
        Some(&format!("demo-broker-{leads}")),
        "the metadata leader is last"
    );
    assert!(isrs.smallest.as_ref().is_some_and(|(members, _)| *members >= 2), "{isrs:?}");
    let stalls = stalls::told(&load, &pods, &isrs, began);
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
    let diary = reading.finish();
    assert!(diary.breaks.is_empty(), "{:?}", diary.breaks);
    assert_eq!(summary(&world).expect("a status"), "UpToDate");
    for broker in 1..=brokers {
        let name = format!("broker {broker} ");
        world.await_event("demo", "RestartGranted", &[&name]);
        world.await_event("demo", "PodDeleted", &[&name]);
        world.await_event("demo", "BrokerBack", &[&name]);
    }
    figure(&format!(
        "rolling restart of {brokers} brokers at {rate} records a second: {took:?}, {sent} sends and none failed; smallest ISR \
         {:?} in {} looks; {}; {stalls}",
        isrs.smallest.as_ref().map(|(members, _)| members),
        isrs.looks,
        times(&pods, &before),
    ));
}

/// Of each new pod: how long the one before took to end, and it from then on to be ready, which is in every ISR.
fn times(pods: &Pods, before: &BTreeMap<String, String>) -> String {
    let ended =
        |pod: &str| pods.lives.iter().find(|life| life.pod == pod && before.get(pod) == Some(&life.uid));
    let of = |life: &Life| {
        let deleted = ended(&life.pod)?.deleted?;
        let (gone, back) = (life.seen - deleted, life.ready? - life.seen);
        Some(format!(
            "{} ended in {:.1} s, back in {:.1} s",
            life.pod,
            gone.as_secs_f64(),
            back.as_secs_f64()
        ))
    };
    let new = pods.lives.iter().filter(|life| before.get(&life.pod) != Some(&life.uid));
    new.filter_map(of).collect::<Vec<_>>().join(", ")
}

#[test]
#[ignore = "needs the box: make scenarios"]
fn no_broker_restarts_while_a_partition_would_pay() {
    let world = World::with_brokers("rollout-blocked", 3);
    world.create_topic("orders", 3);
    need_in_sync(&world, 3);
    let before = uids(&world).expect("pods");
    change_setting(&world, "default-partitions", "2");
    is_blocked_by_orders(&world, 3);
    world.await_event("demo", "RestartBlocked", &["orders/"]);
    nothing_restarts(&world, &before);

    need_in_sync(&world, 2);
    world.await_condition(DEMO, "RollingOut", "False UpToDate", ALL_OF_THEM);
    let between = uids(&world).expect("pods");
    assert!(before.iter().all(|(pod, uid)| between[pod] != *uid), "{before:?} -> {between:?}");

    need_in_sync(&world, 3);
    change_setting(&world, "default-partitions", "3");
    is_blocked_by_orders(&world, 3);
    allow_unavailable(&world, "demo-broker-2", "another-uid");
    world.await_event(
        "demo",
        "AnnotationIgnored",
        &["demo-broker-2", "another-uid", &between["demo-broker-2"]],
    );
    allow_unavailable(&world, "demo-broker-2", &between["demo-broker-2"]);
    world.await_event("demo", "UnavailableAllowed", &["broker 2 ", "orders/"]);
    let one_is_new = || {
        let now = uids(&world)?;
        let new: Vec<&str> =
            between.iter().filter(|(pod, uid)| now.get(*pod) != Some(*uid)).map(|(pod, _)| &**pod).collect();
        let there = now.len() == between.len();
        wait::holds(there && new == ["demo-broker-2"], || format!("new: {new:?}, of {now:?}"))
    };
    wait::until("the pod a person named is replaced", ONE, one_is_new);
    is_blocked_by_orders(&world, 2);
    nothing_restarts(&world, &uids(&world).expect("pods"));
    one_is_new().expect("the others were left alone");
}

#[test]
#[ignore = "needs the box: make scenarios"]
fn a_broken_setting_stops_at_the_first_broker_and_a_corrected_one_goes_on() {
    let world = World::with_brokers("rollout-broken", 3);
    world.create_topic("t", PARTITIONS);
    let load = Load::start(&load::idempotent(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    let before = uids(&world).expect("pods");
    change_setting(&world, "isr-max-lag-ms", "soon");
    let says_why = || {
        let told = world.condition(DEMO, "RollingOut")?;
        wait::holds(told.starts_with("True Restarting") && told.contains("soon"), || told)
    };
    wait::until("the condition says why the broker does not start", ONE, says_why);
    let broken = uids(&world).expect("pods");
    assert_eq!(before.iter().filter(|(pod, uid)| broken.get(*pod) != Some(*uid)).count(), 1, "{broken:?}");
    nothing_restarts(&world, &broken);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    let began = Instant::now();
    change_setting(&world, "isr-max-lag-ms", "9000");
    let all_are_new = || {
        let (now, told) = (uids(&world)?, world.condition(DEMO, "RollingOut")?);
        let new = broken.iter().all(|(pod, uid)| now.get(pod).is_some_and(|now| now != uid));
        wait::holds(new && told.starts_with("False UpToDate"), || format!("{told}; {now:?}"))
    };
    wait::until("the corrected setting is everywhere", ALL_OF_THEM, all_are_new);
    let took = began.elapsed();
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
    figure(&format!(
        "from a corrected setting to three brokers that run it, one of them broken before: {took:?}"
    ));
}

/// So many replicas must be in sync for a write, and the brokers know it.
fn need_in_sync(world: &World, min_isr: u64) {
    let fields = format!("partitions: 3, replicas: 3, minInsyncReplicas: {min_isr}");
    world.apply(&topic_with("orders", &fields)).expect("change the Topic");
    let look = || {
        let topic = world.resource("topics/orders")?;
        let now = field(&topic, "/status/effectiveMinIsr")?;
        wait::holds(*now == min_isr, || format!("it is {now}"))
    };
    wait::until(&format!("orders needs {min_isr} in sync"), SOON, look);
}

fn metadata_leader(world: &World) -> Result<u64, String> {
    let cluster = world.resource(DEMO)?;
    field(&cluster, "/status/metadataLeader")?.as_u64().ok_or_else(|| "none is known".to_owned())
}

fn allow_unavailable(world: &World, pod: &str, uid: &str) {
    let annotation = format!("chronik.dev/allow-unavailable={uid}");
    world.kubectl(&["annotate", "pod", pod, &annotation, "--overwrite"]).run().expect("annotate a pod");
}

/// The condition, the status and the column of `kubectl get` say that orders stands against it, with so many pods outdated.
fn is_blocked_by_orders(world: &World, outdated: u64) {
    let look = || {
        let told = world.condition(DEMO, "RollingOut")?;
        wait::holds(told.starts_with("True Blocked") && told.contains("orders/"), || told)?;
        let cluster = world.resource(DEMO)?;
        let rollout = field(&cluster, "/status/rollout")?;
        let first = field(rollout, "/blockedBy/0")?;
        wait::holds(rollout["outdated"] == outdated && first["topic"] == "orders", || rollout.to_string())
    };
    wait::until("the rollout is blocked by orders", ONE, look);
    assert_eq!(summary(world).expect("a status"), format!("{outdated}/3 outdated, blocked"));
    let shown = world.kubectl(&["get", "brokercluster", "demo"]).run().expect("kubectl get");
    assert!(shown.contains("ROLLOUT") && shown.contains(" outdated, blocked"), "{shown}");
}

fn summary(world: &World) -> Result<String, String> {
    let cluster = world.resource(DEMO)?;
    Ok(field(&cluster, "/status/rollout/summary")?.as_str().unwrap_or_default().to_owned())
}
