//! `kubectl chronik`: what it foretells of a rollout comes true, and what it says and does is so.

use std::path::PathBuf;
use std::time::Duration;

use chronik_e2e::program::{Ended, Program};
use chronik_e2e::wait;
use serde_json::Value;

use crate::figure;
use crate::world::{World, field, get, kubectl, topic_with};

const PARTITIONS: usize = 6;
const SOON: Duration = Duration::from_secs(30);
const ALL_OF_THEM: Duration = Duration::from_secs(240);
const DEMO: &str = "brokerclusters/demo";

#[test]
#[ignore = "needs the box: make scenarios"]
fn plan_foretells_the_rollout() {
    let world = World::with_brokers("plan", 3);
    world.create_topic("orders", PARTITIONS);
    world.await_condition(DEMO, "RollingOut", "False UpToDate", SOON);
    let shown = chronik(&world, &["plan"]).run().expect("plan");
    assert!(shown.contains("nothing is outdated; with --all"), "{shown}");
    let all = document(&world, &["plan", "--all"]);
    assert_eq!((outcomes(&all, "restarts").len(), &all["lately"]), (3, &Value::Null), "{all}");

    // Paused, the cluster stands still between the plan and what is planned.
    set(&world, r#"{"rollout": {"paused": true}, "config": {"default-partitions": "2"}}"#);
    let plan = await_plan(&world, 3);
    assert_eq!(plan["waitsFor"][0], "a person: spec.rollout.paused is set", "{plan}");
    let order = outcomes(&plan, "restarts");
    assert_eq!((order.len(), outcomes(&plan, "blocked").len()), (3, 0), "{plan}");
    set(&world, r#"{"rollout": {"paused": false}}"#);
    world.await_condition(DEMO, "RollingOut", "False UpToDate", ALL_OF_THEM);
    assert_eq!(deleted(&world), order, "the pods are deleted in the order of {plan}");

    // A partition with a single replica holds the broker it is on, and no other.
    world.apply(&topic_with("single", "partitions: 1, replicas: 1")).expect("create a Topic");
    world.await_condition("topics/single", "Ready", "True", SOON);
    set(&world, r#"{"rollout": {"paused": true}, "config": {"default-partitions": "3"}}"#);
    let plan = await_plan(&world, 3);
    let (order, blocked) = (outcomes(&plan, "restarts"), outcomes(&plan, "blocked"));
    assert_eq!((order.len(), blocked.len()), (2, 1), "{plan}");
    let held = blocked[0].to_string();
    let block = field(&plan, "/brokers/2/now/blocks/0").expect("what blocks it");
    assert_eq!((&block["topic"], &block["partition"]), (&"single".into(), &0.into()), "{plan}");
    let estimated = plan["estimatedSeconds"].as_f64().expect("a restart was seen");
    let before = deleted(&world).len();
    set(&world, r#"{"rollout": {"paused": false}}"#);
    let blocks = || {
        let cluster = world.resource(DEMO)?;
        let rollout = field(&cluster, "/status/rollout")?;
        let by = rollout.pointer("/blockedBy/0").cloned().unwrap_or_default();
        let is_so = rollout["outdated"] == 1 && by["topic"] == "single" && by["why"] == block["why"];
        wait::holds(is_so, || rollout.to_string())
    };
    let (_, took) = wait::until("the rollout ends where the plan does", ALL_OF_THEM, blocks);
    assert_eq!(deleted(&world)[before..], order, "the pods are deleted in the order of {plan}");
    figure(&format!("two brokers restarted in {took:?}; the plan had said {estimated} s"));

    restarts_and_drains(&world, &held, &order[0].to_string());
    shows_the_cluster(&world, &held);
}

/// A broker that is held is waited for no longer than is wanted, and another one is restarted.
fn restarts_and_drains(world: &World, held: &str, free: &str) {
    let blocked = chronik(world, &["restart", held, "--timeout", "3s"]).run();
    assert_eq!(blocked.code, Some(2), "{blocked}");
    assert!(blocked.stdout.contains("single/0") && blocked.stdout.contains("--timeout is over"), "{blocked}");
    let pod = format!("demo-broker-{held}");
    world.kubectl(&["annotate", "pod", &pod, "chronik.dev/restart-"]).run().expect("take it back");
    let refused = chronik(world, &["drain", held, "--dry-run"]).run();
    assert!(refused.code == Some(2) && refused.stdout.contains("single/0"), "{refused}");

    let done = chronik(world, &["restart", &format!("demo-broker-{free}")]).within(ALL_OF_THEM).run();
    assert!(done.success && done.stdout.contains("is back in every ISR"), "{done}");
    let drained = chronik(world, &["drain", free, "demo"]).within(ALL_OF_THEM).run();
    assert!(drained.success && drained.stdout.contains("is gone"), "{drained}");
    world.await_isr(&crate::world::BROKERS, "orders", PARTITIONS, &crate::world::BROKERS, ALL_OF_THEM);
    figure(&format!("kubectl chronik restart took {:?}", done.took));
}

/// Each view says what is so.
fn shows_the_cluster(world: &World, held: &str) {
    let topics = document(world, &["topics"]);
    let sizes = |name: &str| {
        let of = topics["topics"].as_array().into_iter().flatten().find(|topic| topic["name"] == name);
        of.map_or(Value::Null, |topic| topic["isrSizes"].clone())
    };
    assert_eq!(sizes("orders"), serde_json::json!({"3": 6}), "{topics}");
    assert_eq!(sizes("single"), serde_json::json!({"1": 1}), "{topics}");
    let isr = document(world, &["isr", "--topic", "orders"]);
    assert_eq!((&isr["of"], &isr["partitions"][5]["missing"]), (&6.into(), &serde_json::json!([])), "{isr}");
    let brokers = document(world, &["brokers"]);
    let of_it = brokers["brokers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|broker| broker["id"].as_u64() == held.parse().ok());
    let of_it = of_it.expect("the broker that is held");
    assert_eq!((&of_it["stop"]["mayStop"], &of_it["outdated"]), (&false.into(), &true.into()), "{brokers}");
    let explained = chronik(world, &["explain", held]).run().expect("explain");
    assert!(
        explained.contains("single/0: of its ISR []") && explained.contains("While it is away"),
        "{explained}"
    );
    // The pod of the broker that was drained may not be ready yet, and comes first.
    wait::until("the status shows who is held", ALL_OF_THEM, || {
        let status = chronik(world, &["status"]).run().ok()?;
        let is_so = status.contains("2/3 pods up to date, Blocked") && status.contains("7/7 in sync");
        wait::holds(is_so, || status)
    });
    let unknown = chronik(world, &["status", "shop"]).run();
    assert!(!unknown.success && unknown.stderr.contains("there are: demo"), "{unknown}");
}

/// `kubectl chronik` in the world's namespace, found by kubectl as a plugin.
fn chronik(world: &World, args: &[&str]) -> Program {
    let plugins = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/debug");
    let path = format!("{}:{}", plugins.display(), std::env::var("PATH").unwrap_or_default());
    kubectl(&["chronik"]).args(args).args(["--namespace", &world.namespace]).env("PATH", &path)
}

fn document(world: &World, args: &[&str]) -> Value {
    let text = chronik(world, args).args(["--output", "json"]).run().expect("kubectl chronik");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}\n{text}"))
}

/// The plan once so many pods are outdated and nothing but a person is waited for.
fn await_plan(world: &World, outdated: usize) -> Value {
    let look = || {
        let plan = document(world, &["plan"]);
        let all = plan["outdated"].as_array().map_or(0, Vec::len);
        let waits = plan["waitsFor"].as_array().map_or(0, Vec::len);
        if all == outdated && waits == 1 { Ok(plan) } else { Err(plan.to_string()) }
    };
    wait::until(&format!("{outdated} pods are outdated and the rollout is paused"), SOON, look).0
}

/// Brokers of a plan with that outcome, in its order.
fn outcomes(plan: &Value, outcome: &str) -> Vec<u64> {
    let brokers = plan["brokers"].as_array().into_iter().flatten();
    brokers
        .filter(|broker| broker["outcome"] == outcome)
        .filter_map(|broker| broker["broker"].as_u64())
        .collect()
}

/// Brokers whose pods the operator deleted, in that order.
fn deleted(world: &World) -> Vec<u64> {
    let events = get(&format!("/api/v1/namespaces/{}/events", world.namespace)).expect("events");
    let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let all = events["items"].as_array().into_iter().flatten();
    let mut deleted: Vec<(String, u64)> = all
        .filter(|event| event["reason"] == "PodDeleted")
        .map(|event| {
            let message = text(event, "message");
            let broker = message.split("demo-broker-").nth(1).and_then(|rest| rest.split(' ').next());
            (text(event, "eventTime"), broker.and_then(|broker| broker.parse().ok()).expect("a broker"))
        })
        .collect();
    deleted.sort();
    deleted.into_iter().map(|(_, broker)| broker).collect()
}

/// Merges this into the cluster's spec.
fn set(world: &World, spec: &str) {
    let patch = format!("{{\"spec\": {spec}}}");
    let patched: Ended =
        world.kubectl(&["patch", "brokercluster", "demo", "--type=merge", "--patch", &patch]).run();
    patched.expect("change the cluster's spec");
}
