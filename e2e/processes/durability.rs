//! Nothing acknowledged is lost, on disks that forget at a kill what was not synced; and the proof that this could fail.

use std::time::Duration;

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::kafka;
use chronik_e2e::load::{self, Load};

use crate::check;

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(2);
const GOES_ON: Duration = Duration::from_secs(40);

#[test]
fn nothing_acknowledged_is_lost() {
    let rounds: usize = std::env::var("CHRONIK_ROUNDS").map_or(20, |n| n.parse().expect("CHRONIK_ROUNDS"));
    let mut cluster = Cluster::start("durability");
    cluster.create_topic("t", PARTITIONS);
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 20, GOES_ON);
    for round in 0..rounds {
        // Another partition in every third round, so that each broker is a victim as leader and as follower.
        let leader = cluster.leader("t", round / 3 % PARTITIONS);
        let victims = match round % 3 {
            0 => vec![leader],
            1 => vec![Cluster::others(&[leader])[round / 3 % 2]],
            _ => BROKERS.to_vec(),
        };
        victims.iter().for_each(|id| cluster.broker_mut(*id).kill());
        if victims.len() == 1 {
            // Else a full ISR below might be the one from before the kill.
            let others: Vec<i32> = BROKERS.into_iter().filter(|id| *id != victims[0]).collect();
            cluster.await_isr("t", PARTITIONS, &others, GOES_ON);
            load.await_acks(PARTITIONS, 20, GOES_ON);
        }
        victims.iter().for_each(|id| cluster.broker_mut(*id).start());
        let back = cluster.await_isr("t", PARTITIONS, &BROKERS, GOES_ON);
        load.await_acks(PARTITIONS, 20, GOES_ON);
        println!(
            "round {round}: killed {victims:?}, ISR full again after {back:?}, {} acknowledged",
            load.acked()
        );
    }
    let (sent, book) = load.finish();
    check::all_kept(&cluster.bootstrap(), "t", PARTITIONS, sent, &book);
    check::replicas_are_identical(&mut cluster, "t", PARTITIONS);
}

#[test]
fn without_the_sync_acknowledged_records_are_lost() {
    let mut cluster = Cluster::start("unsynced");
    cluster.create_topic("t", PARTITIONS);
    BROKERS.iter().for_each(|id| cluster.broker(*id).set_faults(r#"{"skip_sync": true}"#));
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 50, GOES_ON);
    let (_, book) = load.finish();
    BROKERS.iter().for_each(|id| cluster.broker_mut(*id).kill());
    BROKERS.iter().for_each(|id| cluster.broker(*id).set_faults("{}"));
    BROKERS.iter().for_each(|id| cluster.broker_mut(*id).start());
    cluster.await_isr("t", PARTITIONS, &BROKERS, GOES_ON);
    let kept: i64 = (0..PARTITIONS as i32).map(|p| kafka::end(&cluster.bootstrap(), "t", p)).sum();
    println!("{} acknowledged without a sync, {kept} left after the kill of all three", book.acked.len());
    assert!(kept < book.acked.len() as i64, "the disk that forgets did not forget: the test proves nothing");
}
