//! Whose disk it is, what damage to it does, and that everything is there again after all brokers were stopped.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::{kafka, load, wait};
use serde_json::json;

use crate::trouble;

const PARTITIONS: usize = 6;
const SETTLE: Duration = Duration::from_secs(40);

fn fill(cluster: &Cluster, rounds: usize) {
    for _ in 0..rounds {
        let sent = load::send_each(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS);
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    }
}

/// Every partition holds the same record this often, from offset 0 without a gap.
fn check(cluster: &Cluster, rounds: usize) {
    for partition in 0..PARTITIONS as i32 {
        let (records, end) = kafka::read(&cluster.bootstrap(), "t", partition);
        let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
        assert_eq!((offsets, end), ((0..rounds as i64).collect(), rounds as i64), "partition {partition}");
        assert!(records.iter().all(|record| record.payload == format!("record {partition}")));
    }
}

#[test]
fn a_second_process_on_the_folder_is_refused() {
    let cluster = Cluster::start("second");
    let path = cluster.broker(1).data.with_file_name("second");
    let log = File::create(&path).expect("a log");
    let mut second = cluster.broker(1).spawn_second(cluster.spare_ip(), log);
    let (status, _) = wait::until("end of the second process", SETTLE, || {
        second.try_wait().expect("wait").ok_or_else(|| "it runs".to_owned())
    });
    let said = std::fs::read_to_string(&path).expect("its log");
    assert!(!status.success() && said.contains("in use by another process"), "{status}: {said}");
}

#[test]
fn everything_is_there_after_a_full_restart() {
    let mut cluster = Cluster::start("restart");
    cluster.create_topic("t", PARTITIONS);
    fill(&cluster, 5);
    for id in BROKERS {
        cluster.broker(id).terminate();
    }
    for id in BROKERS {
        let status = cluster.broker_mut(id).wait_end(SETTLE);
        assert!(status.success(), "broker {id}: {status}: {}", cluster.broker(id).log_tail(5));
    }
    BROKERS.iter().for_each(|id| cluster.broker_mut(*id).start());
    let back = cluster.await_isr("t", PARTITIONS, &BROKERS, SETTLE);
    check(&cluster, 5);
    fill(&cluster, 1);
    check(&cluster, 6);
    println!("all three stopped and started: ISR full after {back:?}");
}

#[test]
fn a_torn_tail_is_cut() {
    let mut cluster = Cluster::start("torn");
    cluster.create_topic("t", PARTITIONS);
    fill(&cluster, 5);
    cluster.broker_mut(2).kill();
    trouble::half_a_write(&cluster, 2);
    cluster.await_isr("t", PARTITIONS, &[1, 3], SETTLE);
    fill(&cluster, 1);
    cluster.broker_mut(2).start();
    cluster.await_isr("t", PARTITIONS, &BROKERS, SETTLE);
    check(&cluster, 6);
}

/// Not a torn write: these bytes were synced and acknowledged, and a replica without them must not count as whole.
#[test]
fn a_replica_that_lost_synced_records_is_not_in_sync_unless_it_got_them_back() {
    let mut cluster = Cluster::start("cut");
    cluster.create_topic("t", PARTITIONS);
    fill(&cluster, 5);
    cluster.broker_mut(2).kill();
    trouble::shorten(&cluster, 2);
    cluster.await_isr("t", PARTITIONS, &[1, 3], SETTLE);
    cluster.broker_mut(2).start();
    let look = || {
        let report = cluster.topic(2, "t")?;
        let partitions = report["partitions"].as_array().ok_or("no partitions")?;
        let out = |p: &&serde_json::Value| p["quarantined"].is_string();
        let expected = |p: &&serde_json::Value| if out(p) { json!([1, 3]) } else { json!([1, 2, 3]) };
        let odd = partitions.iter().find(|p| p["isr"] != expected(p));
        wait::holds(odd.is_none(), || format!("{odd:?}"))?;
        Ok(partitions.iter().filter(out).map(|p| p["quarantined"].to_string()).collect::<Vec<_>>())
    };
    let (out, _) = wait::until("in sync again or out of service", SETTLE, look);
    fill(&cluster, 1);
    check(&cluster, 6);
    println!("out of service: {out:?}");
}

#[test]
fn a_damaged_journal_costs_a_replica_and_no_broker() {
    let mut cluster = Cluster::start("damage");
    cluster.create_topic("t", PARTITIONS);
    fill(&cluster, 5);
    cluster.broker_mut(2).kill();
    let path = trouble::journal(&cluster, 2);
    let bytes = std::fs::read(&path).expect("the journal");
    // A record of partition 3, in the middle of its payload.
    let at = bytes.windows(8).position(|window| window == b"record 3").expect("a record") as u64 + 4;
    let file = OpenOptions::new().write(true).open(&path).expect("the journal");
    file.write_all_at(&[bytes[at as usize] ^ 0x20], at).expect("flip a bit");
    cluster.broker_mut(2).start();
    let look = || {
        let report = cluster.topic(2, "t")?;
        let told = |p: usize| report["partitions"][p]["quarantined"].as_str().map(str::to_owned);
        let isr = |p: usize| report["partitions"][p]["isr"].to_string();
        wait::holds(isr(3) == "[1,3]" && isr(0) == "[1,2,3]", || format!("{report}"))?;
        wait::holds((0..PARTITIONS).all(|p| told(p).is_some() == (p == 3)), || format!("{report}"))?;
        told(3).ok_or_else(|| "no reason".to_owned())
    };
    let (reason, _) = wait::until("quarantine of the damaged replica only", SETTLE, look);
    assert!(reason.contains(path.file_name().and_then(|name| name.to_str()).expect("a name")), "{reason}");
    fill(&cluster, 1);
    check(&cluster, 6);
    println!("quarantined: {reason}");
}
