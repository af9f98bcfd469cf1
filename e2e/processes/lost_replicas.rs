//! Permits to stop where replicas are missing: who is out of sync anyway may restart, a lone replica's topic says whether it
//! pays, and a broker that comes back on another disk ends its permit.

use std::time::Duration;

use chronik_e2e::admin;
use chronik_e2e::cluster::Cluster;
use chronik_e2e::grown::Grown;
use chronik_e2e::wait;
use serde_json::{Value, json};

use crate::asking::{ask, code, json_of, permit, step};

const SETTLE: Duration = Duration::from_secs(40);

/// Scenario 3.
#[test]
fn below_min_isr_those_in_sync_stay_and_the_broken_one_may_restart() {
    let mut cluster = Cluster::start("permit-below");
    cluster.create_topic_with("orders", 3, &[("min.insync.replicas", "3")]);
    cluster.broker_mut(3).kill();
    cluster.await_isr("orders", 3, &[1, 2], SETTLE);
    for stays in [1, 2] {
        let refused = ask(cluster.broker(stays).admin(), stays, &json!({"dryRun": true}));
        assert_eq!(code(&refused), (409, "blocked".to_owned()), "{}", refused.body);
        let blocks = json_of(&refused)["blocks"].to_string();
        assert!(blocks.contains("orders"), "{blocks}");
    }
    let look = || {
        let answer = ask(cluster.broker(1).admin(), 3, &json!({"dryRun": true}));
        wait::holds(answer.status == 200, || answer.body)
    };
    wait::until("leave for the broken broker", SETTLE, look);
}

/// Scenario 5.
#[test]
fn a_lone_replica_is_named_unless_its_topic_bears_it() {
    let mut cluster = Grown::start("permit-lone", 3, 3);
    cluster.create_topic("lone", 1, &[2]);
    let asked = |cluster: &Grown| ask(cluster.broker(1).admin(), 2, &json!({"dryRun": true}));
    let named = || {
        let refused = asked(&cluster);
        let told = json_of(&refused);
        wait::holds(refused.status == 409 && told["blocked"] == 1, || refused.body.clone())?;
        wait::holds(told["blocks"][0]["topic"] == "lone", || refused.body.clone())
    };
    wait::until("a refusal that names the topic", SETTLE, named);
    let policy = |value: Value| {
        let body = json!({"configs": {"restart.policy": value}});
        let done = admin::patch(cluster.broker(1).admin(), "/v1/topics/lone", &body).expect("an answer");
        assert!((200..300).contains(&done.status), "{}", done.body);
    };
    policy(json!("allow-unavailable"));
    wait::until("leave for the broker", SETTLE, || {
        let answer = asked(&cluster);
        wait::holds(answer.status == 200, || answer.body)
    });
    policy(json!("forbid"));
    wait::until("a refusal that names the topic", SETTLE, named);
}

/// Scenario 18.
#[test]
fn a_broker_that_returns_on_another_disk_ends_its_permit() {
    let mut cluster = Grown::start("permit-disk", 3, 3);
    cluster.create_topic("t", 6, &[1, 2, 3]);
    let granted = || {
        let answer = ask(cluster.broker(1).admin(), 2, &json!({}));
        wait::holds(answer.status == 200, || answer.body.clone())?;
        Ok(permit(&answer))
    };
    let granted = wait::until("leave for broker 2", SETTLE, granted).0;
    permit(&step(cluster.broker(1).admin(), &granted, "begin", "pod-2"));
    cluster.broker_mut(2).kill();
    std::fs::remove_dir_all(&cluster.broker(2).data).expect("empty the disk");
    cluster.broker(2).format();
    cluster.broker_mut(2).start();
    let closed = || {
        let told = admin::get(cluster.broker(1).admin(), "/v1/permits")?.json()?;
        wait::holds(told["open"].as_array().is_some_and(Vec::is_empty), || told.to_string())
    };
    wait::until("the permit ends", SETTLE, closed);
    let told = cluster.topic(1, "t").expect("the topic");
    for partition in told["partitions"].as_array().expect("partitions") {
        let isr = partition["isr"].as_array().expect("an ISR");
        assert!(isr.len() == 3 && isr.contains(&json!(2)), "ended too early: {partition}");
    }
}
