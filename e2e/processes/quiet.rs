//! Partitions at rest: nothing is sent for them, and whatever happens to their leader is noticed as if they did not rest.

use std::time::{Duration, Instant};

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::{admin, load, wait};

const PARTITIONS: usize = 30;
const SETTLE: Duration = Duration::from_secs(40);
/// A dead broker is noticed by its port.
const SOON: Duration = Duration::from_secs(2);
/// A silent one after 2.5 s, and then others are elected.
const AFTER_SILENCE: Duration = Duration::from_secs(6);

#[test]
fn nothing_is_sent_for_partitions_at_rest_and_a_produce_wakes_one() {
    let mut cluster = at_rest("rest-idle");
    let before = sent(&cluster);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(sent(&cluster), before, "Raft messages for partitions while nobody asks for anything");
    expect_all_sent(&cluster);
    assert!(sent(&cluster) > before);
    await_rest(&cluster, &BROKERS, PARTITIONS);
    cluster.await_isr("t", PARTITIONS, &BROKERS, SOON);
}

#[test]
fn the_death_of_a_leader_at_rest_is_noticed_at_once() {
    let mut cluster = at_rest("rest-kill");
    cluster.broker_mut(1).kill();
    let took = cluster.await_isr("t", PARTITIONS, &[2, 3], SOON);
    let began = Instant::now();
    expect_all_sent(&cluster);
    println!(
        "killed at rest: ISRs without it after {took:?}, then a record to each partition in {:?}",
        began.elapsed()
    );
    await_rest(&cluster, &[2, 3], PARTITIONS);
    cluster.broker_mut(1).start();
    cluster.await_isr("t", PARTITIONS, &BROKERS, SETTLE);
    expect_all_sent(&cluster);
    await_rest(&cluster, &BROKERS, PARTITIONS);
}

#[test]
fn a_leader_at_rest_that_stands_still_is_replaced_and_serves_no_more() {
    let mut cluster = at_rest("rest-stop");
    cluster.broker(1).pause();
    let took = cluster.await_isr_at(&[2, 3], "t", PARTITIONS, &[2, 3], AFTER_SILENCE);
    expect_all_sent(&cluster);
    cluster.broker(1).resume();
    // What the stopped one led lies behind what was just sent: it must not take this as its own.
    expect_all_sent(&cluster);
    let back = cluster.await_isr("t", PARTITIONS, &BROKERS, SETTLE);
    println!("stopped at rest: ISRs without it after {took:?}, full again after {back:?}");
    await_rest(&cluster, &BROKERS, PARTITIONS);
}

#[test]
fn a_leader_at_rest_that_is_cut_off_is_replaced() {
    let mut cluster = at_rest("rest-cut");
    let links = cluster.links();
    links.set(&[cluster.cut(1, 2), cluster.cut(1, 3)].concat());
    let took = cluster.await_isr_at(&[2, 3], "t", PARTITIONS, &[2, 3], AFTER_SILENCE);
    links.set(&[]);
    let back = cluster.await_isr("t", PARTITIONS, &BROKERS, SETTLE);
    println!("cut off at rest: ISRs without it after {took:?}, full again {back:?} after the cut");
    expect_all_sent(&cluster);
    await_rest(&cluster, &BROKERS, PARTITIONS);
}

fn at_rest(name: &str) -> Cluster {
    let mut cluster = Cluster::start(name);
    cluster.create_topic("t", PARTITIONS);
    expect_all_sent(&cluster);
    await_rest(&cluster, &BROKERS, PARTITIONS);
    cluster
}

fn expect_all_sent(cluster: &Cluster) {
    let sent = load::send_each(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS);
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
}

fn await_rest(cluster: &Cluster, asked: &[i32], replicas: usize) {
    wait::until("rest", SETTLE, || {
        for id in asked {
            let rest = metric(cluster, *id, "chronik_quiet_replicas")?;
            wait::holds(rest == replicas as f64, || format!("broker {id}: {rest} of {replicas} rest"))?;
        }
        Ok(())
    });
}

/// Raft messages for partitions, of all brokers together.
fn sent(cluster: &Cluster) -> f64 {
    let of = |id: i32| metric(cluster, id, r#"chronik_raft_messages_sent_total{group="partitions"}"#);
    BROKERS.iter().map(|id| of(*id).expect("a metric")).sum()
}

fn metric(cluster: &Cluster, id: i32, name: &str) -> Result<f64, String> {
    let text = admin::get(cluster.broker(id).admin(), "/metrics")?.body;
    admin::metric(&text, name).ok_or_else(|| format!("broker {id} has no {name}"))
}
