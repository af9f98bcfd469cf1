//! The metadata group's voters follow the brokers: 1, 3, 5 and back, under load, whoever is killed on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use chronik_e2e::grown::Grown;
use chronik_e2e::load::{self, Load};
use chronik_e2e::{moves, wait};

use crate::check;

const PARTITIONS: usize = 3;
const PACE: Duration = Duration::from_millis(2);
const GOES_ON: Duration = Duration::from_secs(60);

/// Waits until so many of these brokers vote, as all of those that run say, and one of them leads.
fn await_voters(cluster: &mut Grown, count: usize, brokers: &[i32]) -> i32 {
    let running = cluster.running();
    let look = || {
        let mut leader = 0;
        for id in &running {
            let report = cluster.cluster(*id)?;
            let told: BTreeSet<i32> = report["metadata_voters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|voter| voter.as_i64().map(|id| id as i32))
                .collect();
            leader = report["metadata_leader"].as_i64().unwrap_or(0) as i32;
            let well =
                told.len() == count && told.iter().all(|id| brokers.contains(id)) && told.contains(&leader);
            wait::holds(well, || format!("broker {id}: {report}"))?;
        }
        Ok(leader)
    };
    let (leader, took) = wait::until(&format!("{count} voters of {brokers:?}"), GOES_ON, look);
    println!("{count} metadata voters of {brokers:?}, broker {leader} leads: after {took:?}");
    leader
}

/// Kills a broker and starts it again.
fn shake(cluster: &mut Grown, id: i32) {
    cluster.broker_mut(id).kill();
    std::thread::sleep(Duration::from_millis(500));
    cluster.broker_mut(id).start();
}

#[test]
fn metadata_voters_follow_the_brokers_from_one_to_five_and_back() {
    let mut cluster = Grown::start_first("voters", 1, 5, 1, &[]);
    cluster.create_topic("t", PARTITIONS, &[1]);
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 20, GOES_ON);
    await_voters(&mut cluster, 1, &[1]);
    cluster.join(2);
    await_voters(&mut cluster, 1, &[1]);
    cluster.join(3);
    let leader = await_voters(&mut cluster, 3, &[1, 2, 3]);
    cluster.move_all("t", PARTITIONS, &[1, 2, 3]);
    cluster.await_replicas("t", PARTITIONS, &[1, 2, 3], GOES_ON);
    cluster.join(4);
    await_voters(&mut cluster, 3, &[1, 2, 3]);
    cluster.join(5);
    shake(&mut cluster, leader);
    await_voters(&mut cluster, 5, &[1, 2, 3, 4, 5]);
    load.await_acks(PARTITIONS, 20, GOES_ON);

    let (code, words) = moves::unregister(cluster.anyone(), 5).expect("an answer");
    assert!(code == 42 && words.contains("stop it first"), "{code}: {words}");
    cluster.broker_mut(5).kill();
    cluster.unregister(5);
    let leader = await_voters(&mut cluster, 3, &[1, 2, 3, 4]);
    shake(&mut cluster, leader);
    cluster.broker_mut(4).kill();
    cluster.unregister(4);
    await_voters(&mut cluster, 3, &[1, 2, 3]);
    let (code, words) = moves::unregister(cluster.anyone(), 3).expect("an answer");
    assert!(code == 42 && words.contains("move them to other brokers"), "{code}: {words}");
    cluster.move_all("t", PARTITIONS, &[1, 2]);
    cluster.await_replicas("t", PARTITIONS, &[1, 2], GOES_ON);
    cluster.broker_mut(3).kill();
    cluster.unregister(3);
    await_voters(&mut cluster, 1, &[1, 2]);
    cluster.move_all("t", PARTITIONS, &[1]);
    cluster.await_replicas("t", PARTITIONS, &[1], GOES_ON);
    // The only vote may be its own: it moves before the process ends.
    cluster.broker(2).terminate();
    assert!(cluster.broker_mut(2).wait_end(GOES_ON).success());
    cluster.unregister(2);
    await_voters(&mut cluster, 1, &[1]);
    load.await_acks(PARTITIONS, 20, GOES_ON);

    // Its disk is of no use any more, and the words say what to do.
    cluster.broker_mut(3).start();
    let status = cluster.broker_mut(3).wait_end(GOES_ON);
    let said = cluster.broker(3).log_tail(3);
    assert!(!status.success() && said.contains("format it anew"), "{status}: {said}");
    let (sent, book) = load.finish();
    check::all_kept(&cluster.bootstrap(), "t", PARTITIONS, sent, &book);
}
