//! The seed's scenarios: one broker dies, a second dies, both come back; for every partition, whoever led it.

use std::time::Duration;

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::{load, wait};

const PARTITIONS: usize = 12;
const SOON: Duration = Duration::from_secs(2);
const BACK: Duration = Duration::from_secs(40);

#[test]
fn metadata_shows_who_died_and_produce_is_refused_without_quorum() {
    let mut cluster = Cluster::start("scenarios");
    cluster.create_topic("t", PARTITIONS);
    for survivor in BROKERS {
        one_after_the_other(&mut cluster, survivor);
    }
}

fn one_after_the_other(cluster: &mut Cluster, survivor: i32) {
    let dead: Vec<i32> = BROKERS.into_iter().filter(|id| *id != survivor).collect();
    let mut two = [survivor, dead[1]];
    two.sort_unstable();

    let (seen, _) = wait::until("Metadata", SOON, || cluster.metadata(survivor, "t"));
    let leads = |id: i32| seen.iter().filter(|p| p.leader == id).count();
    let led = [leads(dead[0]), leads(dead[1]), leads(survivor)];
    cluster.broker_mut(dead[0]).kill();
    let first = cluster.await_isr("t", PARTITIONS, &two, SOON);
    expect_all_sent(cluster);

    cluster.broker_mut(dead[1]).kill();
    let second = cluster.await_isr("t", PARTITIONS, &[survivor], SOON);
    let bootstrap = cluster.broker(survivor).kafka().to_string();
    for (partition, sent) in load::send_each(&load::one_try(&bootstrap), "t", PARTITIONS).iter().enumerate() {
        let refused = Err("NotEnoughReplicasAfterAppend".to_owned());
        assert_eq!(*sent, refused, "partition {partition}, survivor {survivor}");
    }

    cluster.broker_mut(dead[1]).start();
    let one_back = cluster.await_isr("t", PARTITIONS, &two, BACK);
    expect_all_sent(cluster);

    cluster.broker_mut(dead[0]).start();
    let back = cluster.await_isr("t", PARTITIONS, &BROKERS, BACK);
    expect_all_sent(cluster);
    println!(
        "survivor {survivor} ({dead:?} killed; partitions led by these and it: {led:?}): ISR {two:?} after {first:?}, [{survivor}] after {second:?}, {two:?} again {one_back:?} after one restart, full {back:?} after the other"
    );
}

fn expect_all_sent(cluster: &Cluster) {
    let sent = load::send_each(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS);
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
}
