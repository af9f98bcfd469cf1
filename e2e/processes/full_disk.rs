//! One broker's disk fills up under load: the others go on, it says so, and it comes back by itself once there is room,
//! which deleting a topic makes.
//! Needs root: the disk is a small tmpfs.

use std::time::{Duration, Instant};

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::flood::Flood;
use chronik_e2e::{admin, kafka, load, wait};

use crate::check;
use crate::clients::Clients;

const PARTITIONS: usize = 6;
const FULL: i32 = 3;
const SETTLE: Duration = Duration::from_secs(40);
const GOES_ON: Duration = Duration::from_secs(5);
/// Two seconds of lag are allowed here, a check each second finds them.
const LEAVES: Duration = Duration::from_secs(6);

#[test]
fn a_full_disk_costs_a_replica_and_no_record() {
    let mut cluster = Cluster::plan("full");
    cluster.put_on_small_disk(FULL, 24);
    cluster.begin();
    for topic in ["t", "fill"] {
        cluster.create_topic_with(topic, PARTITIONS, &[("replica.lag.time.max.ms", "2000")]);
    }
    let clients = Clients::start(&cluster.bootstrap(), "t", PARTITIONS);
    let led = leaderships(&cluster);
    assert!(led > 0, "broker {FULL} leads nothing: nothing would have to move");
    let began = Instant::now();
    let flood = Flood::start(&load::idempotent(&cluster.bootstrap()), "fill", PARTITIONS, 1_000);
    wait::until("a full disk", SETTLE, || {
        wait::holds(disk_full(&cluster) == 1.0, || format!("{} records", flood.acked()))
    });
    let full = Instant::now();
    let (_, filled, failed) = flood.finish();
    assert_eq!(failed, None, "sends that failed while the disk filled up");
    for topic in ["t", "fill"] {
        cluster.await_isr(topic, PARTITIONS, &Cluster::others(&[FULL]), LEAVES);
    }
    let left = full.elapsed();
    clients.await_more(50);
    let (produce, consume) = clients.stalls(began);
    println!(
        "the disk of broker {FULL}, leader of {led}, full after {filled} records of others: out of every ISR {left:?} \
         later; longest stalls {produce:?} of the producer, {consume:?} of the consumer"
    );
    assert!(produce.max(consume) <= GOES_ON, "somebody stood still");
    assert_eq!((leaderships(&cluster), cluster.running()), (0, BROKERS.to_vec()));
    assert_eq!(admin::get(cluster.broker(FULL).admin(), "/livez").expect("an answer").status, 200);
    assert_eq!(said(&cluster, "the disk is full"), 1, "{}", cluster.broker(FULL).log_tail(5));

    cluster.small_disk().resize(512);
    let room = Instant::now();
    for topic in ["t", "fill"] {
        cluster.await_isr(topic, PARTITIONS, &BROKERS, SETTLE);
    }
    println!("room again: full ISR after {:?}", room.elapsed());
    assert_eq!((disk_full(&cluster), said(&cluster, "the disk has room again")), (0.0, 1));
    assert!(
        said(&cluster, "the disk is full") < 5,
        "it says so again and again: {}",
        cluster.broker(FULL).log_tail(9)
    );
    clients.await_more(20);
    clients.finish(&cluster);
    check::replicas_are_identical(&mut cluster, "t", PARTITIONS);
}

#[test]
fn deleting_a_topic_makes_room_on_a_full_disk() {
    let mut cluster = Cluster::plan("room");
    cluster.put_on_small_disk(FULL, 40);
    cluster.begin();
    for topic in ["t", "fill"] {
        cluster.create_topic_with(topic, PARTITIONS, &[("replica.lag.time.max.ms", "2000")]);
    }
    let clients = Clients::start(&cluster.bootstrap(), "t", PARTITIONS);
    let flood = Flood::start(&load::idempotent(&cluster.bootstrap()), "fill", PARTITIONS, 1_000);
    wait::until("a full disk", SETTLE, || {
        wait::holds(disk_full(&cluster) == 1.0, || format!("{} records", flood.acked()))
    });
    let (_, filled, _) = flood.finish();
    cluster.await_isr("t", PARTITIONS, &Cluster::others(&[FULL]), LEAVES);
    let used = cluster.small_disk().used();

    kafka::delete_topic(&cluster.bootstrap(), "fill");
    let deleted = Instant::now();
    cluster.await_isr("t", PARTITIONS, &BROKERS, SETTLE);
    let left = cluster.small_disk().used();
    println!(
        "{filled} records took {used} bytes; {:?} after their topic was deleted the broker is back in every ISR, and {left} \
         bytes are left",
        deleted.elapsed()
    );
    assert!(left < used - (8 << 20), "{used} bytes were used, and {left} are");
    assert_eq!((disk_full(&cluster), said(&cluster, "the disk has room again")), (0.0, 1));
    clients.await_more(50);
    clients.finish(&cluster);
    check::replicas_are_identical(&mut cluster, "t", PARTITIONS);
}

fn disk_full(cluster: &Cluster) -> f64 {
    admin::metric(&cluster.metrics(FULL), "chronik_log_disk_full").expect("the metric")
}

fn leaderships(cluster: &Cluster) -> usize {
    let seen = |topic| cluster.metadata_from(FULL, topic);
    ["t", "fill"].iter().flat_map(|topic| seen(topic)).filter(|p| p.leader == FULL).count()
}

fn said(cluster: &Cluster, what: &str) -> usize {
    cluster.broker(FULL).log_text().matches(what).count()
}
