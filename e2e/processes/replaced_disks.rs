//! Brokers whose disk was emptied: they come back by themselves under new identities, and the old disk never again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chronik_e2e::grown::Grown;
use chronik_e2e::load::{self, Load};
use chronik_e2e::wait;
use serde_json::{Value, json};

use crate::check;

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(2);
const GOES_ON: Duration = Duration::from_secs(60);

fn start(name: &str) -> (Grown, Load) {
    let mut cluster = Grown::start(name, 3, 3);
    cluster.create_topic("t", PARTITIONS, &[1, 2, 3]);
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 50, GOES_ON);
    (cluster, load)
}

/// Puts a stopped broker's folder aside and formats another one as the pod's first container does it, which may know nothing
/// of the cluster yet.
fn empty(cluster: &Grown, id: i32) -> PathBuf {
    let data = cluster.broker(id).data.clone();
    let aside = data.with_file_name("aside");
    std::fs::rename(&data, &aside).expect("put the folder aside");
    cluster.broker(id).format();
    aside
}

fn disk_of(cluster: &Grown, asked: i32, id: i32) -> Result<String, String> {
    let report = cluster.cluster(asked)?;
    let brokers = report["brokers"].as_array().ok_or("no brokers")?;
    let found = brokers.iter().find(|broker| broker["id"] == id).and_then(|broker| broker["disk"].as_str());
    found.map(str::to_owned).ok_or_else(|| report.to_string())
}

/// Waits until all brokers name these as voters of the metadata group, and one of them as its leader.
fn await_voters(cluster: &mut Grown, voters: &[i32]) -> Duration {
    let running = cluster.running();
    let look = || {
        for id in &running {
            let report = cluster.cluster(*id)?;
            let leads = voters.iter().any(|voter| report["metadata_leader"] == *voter);
            wait::holds(report["metadata_voters"] == json!(voters) && leads, || report.to_string())?;
        }
        Ok(())
    };
    wait::until(&format!("metadata voters {voters:?}"), GOES_ON, look).1
}

fn metadata_leader(cluster: &mut Grown) -> i32 {
    let asked = cluster.running()[0];
    let look = || {
        let report = cluster.cluster(asked)?;
        report["metadata_leader"].as_i64().map(|id| id as i32).ok_or_else(|| report.to_string())
    };
    wait::until("a metadata leader", GOES_ON, look).0
}

fn all_kept(cluster: &Grown, load: Load) {
    let (sent, book) = load.finish();
    check::all_kept(&cluster.bootstrap(), "t", PARTITIONS, sent, &book);
    assert_eq!(book.acknowledged(), sent);
}

/// The broker was killed: its disk is emptied, and it comes back; gives its old folder.
fn comes_back(cluster: &mut Grown, load: &Load, id: i32) -> PathBuf {
    let others: Vec<i32> = [1, 2, 3].into_iter().filter(|other| *other != id).collect();
    let before = disk_of(cluster, others[0], id).expect("its disk");
    let aside = empty(cluster, id);
    load.await_acks(PARTITIONS, 20, GOES_ON);
    let began = Instant::now();
    cluster.broker_mut(id).start();
    let replicas = cluster.await_replicas("t", PARTITIONS, &[1, 2, 3], GOES_ON);
    await_voters(cluster, &[1, 2, 3]);
    cluster.await_ready();
    assert_ne!(disk_of(cluster, others[0], id).expect("its disk"), before);
    println!(
        "broker {id} with an empty disk: in all ISRs {replicas:?} after its start, all well after {:?}, longest stall {:?}",
        began.elapsed(),
        load.longest_stall(began)
    );
    aside
}

#[test]
fn an_emptied_disk_comes_back_and_the_old_one_never_again() {
    let (mut cluster, load) = start("emptied");
    cluster.broker_mut(2).kill();
    let old = comes_back(&mut cluster, &load, 2);
    cluster.broker_mut(2).kill();
    let (data, new) = (cluster.broker(2).data.clone(), old.with_file_name("new"));
    std::fs::rename(&data, &new).expect("take the new folder away");
    std::fs::rename(&old, &data).expect("put the old folder back");
    cluster.broker_mut(2).start();
    let status = cluster.broker_mut(2).wait_end(GOES_ON);
    let said = cluster.broker(2).log_tail(3);
    assert!(!status.success() && said.contains("format it anew"), "{status}: {said}");
    load.await_acks(PARTITIONS, 20, GOES_ON);
    std::fs::rename(&data, &old).expect("take the old folder away");
    std::fs::rename(&new, &data).expect("put the new folder back");
    cluster.broker_mut(2).start();
    cluster.await_replicas("t", PARTITIONS, &[1, 2, 3], GOES_ON);
    all_kept(&cluster, load);
    println!("{said}");
}

#[test]
fn the_metadata_leader_s_emptied_disk_comes_back() {
    let (mut cluster, load) = start("emptied-leader");
    let leader = metadata_leader(&mut cluster);
    cluster.broker_mut(leader).kill();
    comes_back(&mut cluster, &load, leader);
    // Killed amid its return, and emptied once more.
    let other = leader % 3 + 1;
    cluster.broker_mut(other).kill();
    std::fs::remove_dir_all(&cluster.broker(other).data).expect("empty the disk");
    cluster.broker(other).format();
    for round in 1..4 {
        cluster.broker_mut(other).start();
        std::thread::sleep(Duration::from_millis(250 * round));
        cluster.broker_mut(other).kill();
    }
    comes_back(&mut cluster, &load, other);
    all_kept(&cluster, load);
}

/// The only copy is gone with its disk: nothing is begun empty in its place, and everybody says so.
#[test]
fn a_partition_without_a_majority_is_shown_offline() {
    let mut cluster = Grown::start("emptied-only", 3, 3);
    cluster.create_topic("t", 2, &[2]);
    cluster.broker_mut(2).kill();
    empty(&cluster, 2);
    cluster.broker_mut(2).start();
    await_voters(&mut cluster, &[1, 2, 3]);
    let offline = |report: &Value| {
        let partitions = report["partitions"].as_array().map_or(&[][..], Vec::as_slice);
        !partitions.is_empty() && partitions.iter().all(|p| p["state"] == "offline" && p["leader"].is_null())
    };
    let look = || {
        for id in [1, 2, 3] {
            let report = cluster.topic(id, "t")?;
            wait::holds(offline(&report), || format!("broker {id}: {report}"))?;
        }
        Ok(())
    };
    wait::until("offline everywhere", GOES_ON, look);
    let report = cluster.topic(2, "t").expect("a report");
    let said = report["partitions"][0]["quarantined"].as_str().unwrap_or_default();
    assert!(said.contains("disk that was replaced"), "{report}");
    cluster.create_topic("u", 2, &[1, 2, 3]);
}
