//! A topic gets more replicas and fewer under load: a few partitions at a time, and no write is refused for it.

use std::time::Duration;

use chronik_e2e::grown::Grown;
use chronik_e2e::load::{self, Load};
use chronik_e2e::{admin, wait};
use serde_json::json;

use crate::check;

const PARTITIONS: usize = 8;
const PACE: Duration = Duration::from_millis(2);
const GOES_ON: Duration = Duration::from_secs(60);
/// Partitions that move at once, as documented.
const AT_ONCE: usize = 5;

fn want(cluster: &Grown, replicas: i32) -> admin::Answer {
    // Any broker passes it on.
    let answer = admin::patch(cluster.broker(2).admin(), "/v1/topics/t", &json!({"replicas": replicas}));
    answer.expect("an answer")
}

/// Waits until every partition has so many replicas, all of them in sync, and nothing is on its way any more.
fn await_number(cluster: &Grown, replicas: usize) {
    let look = || {
        let topic = cluster.topic(1, "t")?;
        let partitions = topic["partitions"].as_array().ok_or("no partitions")?;
        let moving = partitions.iter().filter(|partition| partition["moving"] == true).count();
        assert!(moving <= AT_ONCE, "{moving} partitions move at once");
        let length = |list: &serde_json::Value| list.as_array().map_or(0, Vec::len);
        let odd = partitions
            .iter()
            .find(|it| length(&it["replicas"]) != replicas || length(&it["isr"]) != replicas);
        let rests = moving == 0 && topic["resize"].is_null();
        wait::holds(odd.is_none() && rests, || format!("{} {odd:?}", topic["resize"]))
    };
    let (_, took) = wait::until(&format!("{replicas} replicas each"), GOES_ON, look);
    println!("{PARTITIONS} partitions have {replicas} replicas after {took:?}");
}

fn replicas_of_each(cluster: &Grown) -> Vec<u64> {
    let report = cluster.cluster(1).expect("a report");
    let brokers = report["brokers"].as_array().into_iter().flatten();
    brokers.map(|broker| broker["replicas"].as_u64().expect("a number")).collect()
}

#[test]
fn a_topic_gets_more_replicas_and_fewer_under_load() {
    let mut cluster = Grown::start("resizing", 3, 4);
    cluster.create_topic("t", PARTITIONS, &[1, 2]);
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 20, GOES_ON);

    let refused = want(&cluster, 5);
    assert!(
        refused.status == 400 && refused.body.contains("1 to 4, as 4 brokers are registered"),
        "{refused:?}"
    );

    assert_eq!(want(&cluster, 3).status, 200);
    await_number(&cluster, 3);
    load.await_acks(PARTITIONS, 20, GOES_ON);
    assert_eq!(replicas_of_each(&cluster), [8, 8, 4, 4], "the new ones went to those that had none");

    assert_eq!(want(&cluster, 2).status, 200);
    await_number(&cluster, 2);
    load.await_acks(PARTITIONS, 20, GOES_ON);
    let counts = replicas_of_each(&cluster);
    assert!(
        counts.iter().all(|count| (3..=5).contains(count)),
        "and those with most gave them up: {counts:?}"
    );

    // A mind that is changed on the way.
    assert_eq!(want(&cluster, 4).status, 200);
    let begun = || wait::holds(!cluster.moves().is_empty(), || "nothing moves".to_owned());
    wait::until("replicas move", GOES_ON, begun);
    assert_eq!(want(&cluster, 2).status, 200);
    await_number(&cluster, 2);
    let (sent, book) = load.finish();
    check::all_kept(&cluster.bootstrap(), "t", PARTITIONS, sent, &book);
    assert_eq!(book.acknowledged(), sent);
}
