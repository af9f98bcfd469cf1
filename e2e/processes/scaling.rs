//! A broker leaves under load: its replicas and its vote go to the others, then it is stopped, taken out, and comes back empty.

use std::collections::BTreeMap;
use std::time::Duration;

use chronik_e2e::grown::Grown;
use chronik_e2e::load::{self, Load};
use chronik_e2e::{admin, wait};
use serde_json::{Value, json};

use crate::check;

const PARTITIONS: usize = 12;
const PACE: Duration = Duration::from_millis(2);
const GOES_ON: Duration = Duration::from_secs(60);
/// So long nothing happens where nothing is to happen.
const STAYS: Duration = Duration::from_secs(3);
/// Partitions that move at once, as documented.
const AT_ONCE: u64 = 5;

fn stand(cluster: &Grown, id: i32, standing: &str) {
    let path = format!("/v1/brokers/{id}/standing");
    let answer = admin::put(cluster.broker(1).admin(), &path, &json!({"standing": standing}));
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.body);
}

/// What broker 1 says of another.
fn told(cluster: &Grown, id: i32) -> Result<Value, String> {
    let report = cluster.cluster(1)?;
    let brokers = report["brokers"].as_array().into_iter().flatten();
    let found = brokers.into_iter().find(|broker| broker["id"] == id).cloned();
    found.ok_or_else(|| format!("no broker {id}: {report}"))
}

fn replicas(cluster: &Grown, id: i32) -> u64 {
    told(cluster, id).expect("a broker")["replicas"].as_u64().expect("a number")
}

/// No partition is below two in-sync replicas, and no more move than may.
fn goes_gently(cluster: &Grown) -> Result<(), String> {
    let topic = cluster.topic(1, "t")?;
    let partitions = topic["partitions"].as_array().ok_or("no partitions")?;
    for partition in partitions {
        // Nobody knows it for a moment while its leader changes.
        let Some(isr) = partition["isr"].as_array() else { continue };
        assert!(isr.len() >= 2, "{partition}");
    }
    let moving = partitions.iter().filter(|partition| partition["moving"] == true).count() as u64;
    assert!(moving <= AT_ONCE, "{moving} partitions move at once");
    Ok(())
}

fn await_settled(cluster: &mut Grown, id: i32) {
    let look = || {
        goes_gently(cluster)?;
        let told = told(cluster, id)?;
        wait::holds(told["standing"] == "settled" && told["moving"] == 0, || told.to_string())
    };
    wait::until(&format!("broker {id} is settled"), GOES_ON, look);
    let look = || wait::holds(cluster.moves().is_empty(), || "replicas move".to_owned());
    wait::until("nothing moves", GOES_ON, look);
}

fn await_emptied(cluster: &Grown, id: i32) {
    let look = || {
        let (told, report) = (told(cluster, id)?, cluster.cluster(1)?);
        let votes = report["metadata_voters"].as_array().is_some_and(|all| all.contains(&json!(id)));
        wait::holds(told["replicas"] == 0 && !votes, || format!("votes: {votes}, {told}"))
    };
    wait::until(&format!("broker {id} has nothing any more"), GOES_ON, look);
}

fn leaders(cluster: &Grown) -> BTreeMap<i64, usize> {
    let topic = cluster.topic(1, "t").expect("a topic");
    let first = |p: &Value| p["replicas"][0].as_i64().expect("a replica");
    topic["partitions"].as_array().into_iter().flatten().fold(BTreeMap::new(), |mut counts, partition| {
        *counts.entry(first(partition)).or_default() += 1;
        counts
    })
}

#[test]
fn a_broker_leaves_under_load_and_comes_back_empty_for_its_share() {
    let mut cluster = Grown::start("scaling", 3, 4);
    cluster.create_topic("t", PARTITIONS, &[2, 3, 4]);
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 20, GOES_ON);

    // Changed minds: what has begun to move goes on, the rest stays.
    stand(&cluster, 3, "leaving");
    let begun = || wait::holds(told(&cluster, 3)?["moving"] != 0, || "nothing moves".to_owned());
    wait::until("replicas leave broker 3", GOES_ON, begun);
    stand(&cluster, 3, "settled");
    await_settled(&mut cluster, 3);
    let kept = replicas(&cluster, 3);
    assert!((1..PARTITIONS as u64).contains(&kept), "{kept} replicas stayed");
    std::thread::sleep(STAYS);
    assert_eq!(replicas(&cluster, 3), kept, "and stay");

    // Broker 3 votes, and may lead the metadata group.
    stand(&cluster, 3, "leaving");
    stand(&cluster, 3, "leaving");
    let gently = || {
        goes_gently(&cluster)?;
        wait::holds(replicas(&cluster, 3) == 0, || "replicas are left".to_owned())
    };
    let (_, took) = wait::until("the replicas of broker 3 leave it", GOES_ON, gently);
    await_emptied(&cluster, 3);
    println!("{kept} replicas left broker 3 after {took:?}");
    cluster.await_replicas("t", PARTITIONS, &[1, 2, 4], GOES_ON);
    let counts = leaders(&cluster);
    assert!(counts.values().all(|count| (3..=5).contains(count)), "{counts:?}");
    let refused = admin::delete(cluster.broker(1).admin(), "/v1/brokers/3").expect("an answer");
    assert!(refused.status == 400 && refused.body.contains("stop it first"), "{refused:?}");
    cluster.broker(3).terminate();
    assert!(cluster.broker_mut(3).wait_end(GOES_ON).success());
    cluster.unregister(3);
    load.await_acks(PARTITIONS, 20, GOES_ON);

    // Three are as many as the topic has replicas.
    stand(&cluster, 4, "leaving");
    let blocked = || {
        let told = told(&cluster, 4)?;
        let why = told["blocked"].as_str().unwrap_or_default().to_owned();
        wait::holds(why.starts_with("topic t has 3 replicas, and 2 brokers would be left"), || {
            told.to_string()
        })
    };
    wait::until("the topic that blocks is named", GOES_ON, blocked);
    assert_eq!(replicas(&cluster, 4), PARTITIONS as u64);
    stand(&cluster, 4, "settled");

    std::fs::remove_dir_all(&cluster.broker(3).data).expect("empty the disk");
    cluster.broker(3).format_to_join();
    cluster.join(3);
    stand(&cluster, 3, "joining");
    await_settled(&mut cluster, 3);
    assert_eq!(replicas(&cluster, 3), PARTITIONS as u64 * 3 / 4);
    let counts = leaders(&cluster);
    assert!(counts.len() == 4 && counts.values().all(|count| (2..=4).contains(count)), "{counts:?}");
    load.await_acks(PARTITIONS, 20, GOES_ON);
    let (sent, book) = load.finish();
    check::all_kept(&cluster.bootstrap(), "t", PARTITIONS, sent, &book);
    assert_eq!(book.acknowledged(), sent);
}

/// Each of them votes, one leads the metadata group, and the last replica of each partition moves.
#[test]
fn two_of_three_brokers_leave_at_once_and_the_third_goes_on_alone() {
    let mut cluster = Grown::start("to-one", 3, 3);
    cluster.create_topic("t", PARTITIONS, &[2]);
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 20, GOES_ON);
    [2, 3].iter().for_each(|id| stand(&cluster, *id, "leaving"));
    let path = "/v1/brokers/1/standing";
    let refused = admin::put(cluster.broker(1).admin(), path, &json!({"standing": "leaving"}));
    let refused = refused.expect("an answer");
    assert!(refused.status == 400 && refused.body.contains("one has to stay"), "{refused:?}");
    [2, 3].iter().for_each(|id| await_emptied(&cluster, *id));
    for id in [2, 3] {
        cluster.broker(id).terminate();
        assert!(cluster.broker_mut(id).wait_end(GOES_ON).success());
        cluster.unregister(id);
    }
    assert_eq!(cluster.cluster(1).expect("a report")["metadata_voters"], json!([1]));
    load.await_acks(PARTITIONS, 20, GOES_ON);
    let (sent, book) = load.finish();
    check::all_kept(&cluster.bootstrap(), "t", PARTITIONS, sent, &book);
    assert_eq!(book.acknowledged(), sent);
}
