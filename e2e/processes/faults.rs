//! A broker that hangs, that dies under load, that is asked to stop: what clients and the ISR see meanwhile.

use std::time::{Duration, Instant};

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::load::{self, Load};
use chronik_e2e::{admin, wait};

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(2);
const GOES_ON: Duration = Duration::from_secs(40);
/// A broker that says nothing, but refuses no connection.
const SILENT: Duration = Duration::from_secs(5);
const STALL: Duration = Duration::from_secs(3);

#[test]
fn a_stopped_broker_leaves_the_isr_and_returns() {
    let mut cluster = Cluster::start("pause");
    cluster.create_topic("t", PARTITIONS);
    for stopped in BROKERS {
        let others = Cluster::others(&[stopped]);
        metrics_agree(&cluster, &BROKERS, 3);
        cluster.broker(stopped).pause();
        let left = cluster.await_isr_at(&others, "t", PARTITIONS, &others, SILENT);
        metrics_agree(&cluster, &others, 2);
        cluster.broker(stopped).resume();
        let back = cluster.await_isr("t", PARTITIONS, &BROKERS, GOES_ON);
        metrics_agree(&cluster, &BROKERS, 3);
        println!("SIGSTOP of broker {stopped}: out of the ISR after {left:?}; SIGCONT: back after {back:?}");
    }
    two_stopped_brokers_leave_one(&cluster);
}

/// Two that only hang are lost like two that died, if a little later.
fn two_stopped_brokers_leave_one(cluster: &Cluster) {
    [1, 2].iter().for_each(|id| cluster.broker(*id).pause());
    let alone = cluster.await_isr_at(&[3], "t", PARTITIONS, &[3], SILENT);
    let config = load::one_try(&cluster.broker(3).kafka().to_string());
    let refused = Err("NotEnoughReplicasAfterAppend".to_owned());
    let sent = load::send_each(&config, "t", PARTITIONS);
    [1, 2].iter().for_each(|id| cluster.broker(*id).resume());
    assert!(sent.iter().all(|sent| *sent == refused), "{sent:?}");
    let back = cluster.await_isr_at(&BROKERS, "t", PARTITIONS, &BROKERS, GOES_ON);
    println!("SIGSTOP of two: ISR [3] after {alone:?}, every produce got 20; SIGCONT: full after {back:?}");
}

/// `chronik_raft_isr_size` of each partition's leader, the admin API and this number say the same.
fn metrics_agree(cluster: &Cluster, asked: &[i32], size: usize) {
    let look = || {
        for id in asked {
            let report = cluster.topic(*id, "t")?;
            for partition in report["partitions"].as_array().ok_or("no partitions")? {
                let members = partition["isr"].as_array().map_or(0, Vec::len);
                wait::holds(members == size, || format!("broker {id}: {partition}"))?;
                if partition["leader"] == *id {
                    let text = admin::get(cluster.broker(*id).admin(), "/metrics")?.body;
                    let series = format!(
                        "chronik_raft_isr_size{{partition=\"{}\",topic=\"t\"}}",
                        partition["partition"]
                    );
                    let value = admin::metric(&text, &series);
                    wait::holds(value == Some(size as f64), || {
                        format!("broker {id}: {series} is {value:?}")
                    })?;
                }
            }
        }
        Ok(())
    };
    wait::until("metrics and admin API agree", Duration::from_secs(3), look);
}

#[test]
fn an_idle_topic_keeps_its_isr() {
    let mut cluster = Cluster::start("idle");
    cluster.create_topic("t", PARTITIONS);
    let states = |cluster: &Cluster| -> Vec<String> {
        let report = cluster.topic(1, "t").expect("the admin API");
        let partitions = report["partitions"].as_array().expect("partitions").clone();
        partitions
            .iter()
            .map(|p| format!("{} {} {} {}", p["leader"], p["isr"], p["epoch"], p["version"]))
            .collect()
    };
    let (before, began) = (states(&cluster), Instant::now());
    // Longer than replica.lag.time.max.ms: followers that hear nothing new must not count as late.
    while began.elapsed() < Duration::from_secs(13) {
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(states(&cluster), before, "after {:?}", began.elapsed());
    }
}

#[test]
fn a_killed_leader_stalls_producers_for_a_moment_only() {
    let mut cluster = Cluster::start("stall");
    cluster.create_topic("t", PARTITIONS);
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 50, GOES_ON);
    for round in 0..3 {
        let (leader, killed) = (cluster.leader("t", round), Instant::now());
        cluster.broker_mut(leader).kill();
        load.await_acks(PARTITIONS, 50, GOES_ON);
        let stall = load.longest_stall(killed);
        println!("round {round}: longest stall of a partition after kill -9 of broker {leader}: {stall:?}");
        assert!(stall <= STALL, "{stall:?}");
        cluster.broker_mut(leader).start();
        cluster.await_ready();
        cluster.await_isr("t", PARTITIONS, &BROKERS, GOES_ON);
    }
    let (_, book) = load.finish();
    assert_eq!(book.failed, Vec::new());
}

#[test]
fn sigterm_moves_leaderships_first() {
    let mut cluster = Cluster::start("stop");
    cluster.create_topic("t", PARTITIONS);
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 50, GOES_ON);
    let (leader, asked) = (cluster.leader("t", 0), Instant::now());
    cluster.broker(leader).terminate();
    let status = cluster.broker_mut(leader).wait_end(GOES_ON);
    let took = asked.elapsed();
    assert!(status.success(), "{status}: {}", cluster.broker(leader).log_tail(5));
    load.await_acks(PARTITIONS, 50, GOES_ON);
    let stall = load.longest_stall(asked);
    let (sent, book) = load.finish();
    println!("SIGTERM to broker {leader}: ended after {took:?}, longest stall {stall:?}, {sent} sent");
    assert_eq!(book.failed, Vec::new());
    assert_eq!(book.acknowledged(), sent);
    assert!(stall <= STALL, "{stall:?}");
}
