//! A consumer that names its rack reads from the in-sync replica there, and from nobody else; whatever befalls that broker, it
//! reads every record once and in order.

use std::time::{Duration, Instant};

use chronik_e2e::grown::Grown;
use chronik_e2e::load::{self, Load};
use chronik_e2e::reading::Reading;
use chronik_e2e::{admin, wait};

use crate::check;

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(2);
const GOES_ON: Duration = Duration::from_secs(40);
/// How long bytes are counted.
const SPAN: Duration = Duration::from_secs(2);
/// The broker in the consumer's rack.
const NEAR: i32 = 2;

#[test]
fn a_consumer_reads_from_its_rack_alone_and_correctly_whatever_happens_there() {
    let mut cluster = Grown::start_with("racks", 3, 3, &["--rack=rack-{id}"]);
    cluster.create_topic("t", PARTITIONS, &[1, 2, 3]);
    let load = Load::start(&load::impatient(&cluster.bootstrap()), "t", PARTITIONS, PACE);
    let reading = Reading::start_in(&format!("rack-{NEAR}"), &cluster.bootstrap(), "t", PARTITIONS);
    let go_on = || {
        load.await_acks(PARTITIONS, 20, GOES_ON);
        reading.await_records(PARTITIONS, 20, GOES_ON);
    };
    go_on();
    reads_near_alone(&cluster, "at first");
    let links = cluster.links();
    for trouble in ["killed", "stopped", "cut off"] {
        let began = Instant::now();
        match trouble {
            "killed" => cluster.broker_mut(NEAR).kill(),
            "stopped" => cluster.broker(NEAR).pause(),
            _ => links.set(&cluster.cut_off(NEAR)),
        }
        go_on();
        println!(
            "broker {NEAR} {trouble}: read on elsewhere, longest stall {:?}",
            reading.longest_stall(began)
        );
        match trouble {
            "killed" => cluster.broker_mut(NEAR).start(),
            "stopped" => cluster.broker(NEAR).resume(),
            _ => links.set(&[]),
        }
        cluster.await_replicas("t", PARTITIONS, &[1, 2, 3], GOES_ON);
        go_on();
        reads_near_alone(&cluster, "once it is back");
    }
    let (sent, book) = load.finish();
    check::all_kept(&cluster.bootstrap(), "t", PARTITIONS, sent, &book);
    check::read_in_order(&reading.finish(), &book);
}

/// Waits until the brokers elsewhere send the consumer nothing any more, though it reads.
fn reads_near_alone(cluster: &Grown, when: &str) {
    let look = || {
        let before = [1, 2, 3].map(|id| fetched_bytes(cluster, id));
        std::thread::sleep(SPAN);
        let sent: Vec<u64> = (0..3).map(|at| fetched_bytes(cluster, at as i32 + 1) - before[at]).collect();
        let elsewhere = sent.iter().sum::<u64>() - sent[NEAR as usize - 1];
        wait::holds(elsewhere == 0 && sent[NEAR as usize - 1] > 0, || format!("{sent:?} bytes by broker"))
            .map(|()| sent)
    };
    let (sent, after) = wait::until("reads from the own rack alone", GOES_ON, look);
    println!("{when}: brokers 1 to 3 sent the consumer {sent:?} bytes in {SPAN:?}, known after {after:?}");
}

fn fetched_bytes(cluster: &Grown, id: i32) -> u64 {
    let text = admin::get(cluster.broker(id).admin(), "/metrics").expect("metrics").body;
    admin::metric(&text, "chronik_fetched_bytes_total").expect("the metric") as u64
}
