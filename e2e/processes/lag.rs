//! A follower whose disk is slow leaves the ISR, by entries or by time, and returns when it is well again; metrics, admin
//! API and Metadata tell the same story.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::load::{self, Load};
use chronik_e2e::watch::Watch;
use chronik_e2e::{admin, wait};

const SETTLE: Duration = Duration::from_secs(40);
/// A check each second, two strikes, a sync that is still under way.
const LEAVES: Duration = Duration::from_secs(15);

#[test]
fn a_follower_with_a_slow_disk_leaves_the_isr_and_returns() {
    let mut cluster = Cluster::start("slow");
    let long = "3600000";
    let many = "1000000000";
    cluster.create_topic_with(
        "entries",
        1,
        &[("replica.lag.max.entries", "200"), ("replica.lag.time.max.ms", long)],
    );
    cluster.create_topic_with(
        "time",
        1,
        &[("replica.lag.max.entries", many), ("replica.lag.time.max.ms", "2000")],
    );
    // Each write takes 4 s: about 2,000 records and 4 s behind, and yet alive.
    leaves_and_returns(&mut cluster, "entries", "LagEntries");
    leaves_and_returns(&mut cluster, "time", "LagTime");
}

/// Two of three disks take longer for a sync than an election lasts: all is slow, and nobody loses an office for it.
#[test]
fn a_leader_outlasts_its_followers_slow_disks() {
    const SLOW: Duration = Duration::from_secs(10);
    let mut cluster = Cluster::start("stalls");
    cluster.create_topic("t", 1);
    let leader = cluster.leader("t", 0);
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), "t", 1, Duration::from_millis(2));
    load.await_acks(1, 200, SETTLE);
    let watch = Watch::start(&cluster, &[leader], "t", Duration::from_millis(50));
    let slow = Cluster::others(&[leader]);
    slow.iter().for_each(|id| cluster.broker(*id).set_faults(r#"{"sync_ms": 2500}"#));
    let acked = load.acked();
    std::thread::sleep(SLOW);
    let meanwhile = load.acked() - acked;
    slow.iter().for_each(|id| cluster.broker(*id).set_faults("{}"));
    load.await_acks(1, 200, SETTLE);
    let account = watch.finish().remove(0);
    let changes: Vec<_> = account.changes[&0].iter().map(|change| &change.shown).collect();
    println!(
        "two disks with syncs of 2.5 s for {SLOW:?}: {meanwhile} acknowledged, Metadata showed {changes:?}"
    );
    assert!(meanwhile > 0, "nothing was acknowledged");
    assert_eq!((changes.len(), changes[0].leader), (1, leader), "{changes:?}");
    assert_eq!(load.finish().1.failed, Vec::new());
}

fn leaves_and_returns(cluster: &mut Cluster, topic: &'static str, reason: &str) {
    let leader = cluster.leader(topic, 0);
    let slow = Cluster::others(&[leader])[0];
    let stay = Cluster::others(&[slow]);
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), topic, 1, Duration::from_millis(2));
    load.await_acks(1, 200, SETTLE);
    in_sync_says(cluster, topic, leader, 3);
    cluster.broker(slow).set_faults(r#"{"sync_ms": 4000}"#);
    let left = cluster.await_isr(topic, 1, &stay, LEAVES);
    let lag = lagging_says(cluster, topic, leader, slow);
    cluster.broker(slow).set_faults("{}");
    let back = cluster.await_isr(topic, 1, &BROKERS, SETTLE);
    in_sync_says(cluster, topic, leader, 3);
    let stall = load.longest_stall(std::time::Instant::now().checked_sub(left + back).expect("a moment"));
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed), (sent, Vec::new()));
    let said = std::fs::read_to_string(&cluster.broker(leader).log).expect("the leader's log");
    let shrink = said.lines().find(|l| l.contains("shrink ISR") && l.contains(&format!("topic={topic}")));
    assert!(shrink.is_some_and(|line| line.contains(&format!("reason={reason}"))), "{shrink:?}");
    println!(
        "{topic}: broker {slow} with syncs of 4 s left after {left:?} for {reason}, {lag:?} behind; back after \
         {back:?}; longest stall of the producer {stall:?}"
    );
    assert!(stall < Duration::from_secs(2), "{stall:?}");
}

/// The leader's four series while everybody is in sync.
fn in_sync_says(cluster: &Cluster, topic: &str, leader: i32, size: usize) {
    wait::until("metrics of a full ISR", Duration::from_secs(5), || {
        let text = cluster.metrics(leader);
        let isr = series(&text, topic, "chronik_raft_isr_size", None)?;
        wait::holds(isr == size as f64, || format!("an ISR of {isr}"))?;
        for follower in Cluster::others(&[leader]) {
            let of = |name: &str| series(&text, topic, name, Some(follower));
            let (entries, ms) =
                (of("chronik_raft_follower_lag_entries")?, of("chronik_raft_follower_lag_ms")?);
            wait::holds(entries <= 200.0 && ms <= 1_000.0, || {
                format!("broker {follower}: {entries} records, {ms} ms")
            })?;
            let heard = of("chronik_raft_last_heartbeat_timestamp_ms")?;
            wait::holds((unix_ms() - heard).abs() < 5_000.0, || format!("broker {follower}: heard {heard}"))?;
        }
        Ok(())
    });
}

/// The leader's four series and its admin view while one follower lags: its lag in records and milliseconds.
fn lagging_says(cluster: &Cluster, topic: &str, leader: i32, slow: i32) -> (u64, u64) {
    let look = || {
        let text = cluster.metrics(leader);
        let of = |name: &str, follower: i32| series(&text, topic, name, Some(follower));
        let isr = series(&text, topic, "chronik_raft_isr_size", None)?;
        let entries = of("chronik_raft_follower_lag_entries", slow)?;
        let ms = of("chronik_raft_follower_lag_ms", slow)?;
        wait::holds(isr == 2.0 && entries > 200.0 && ms > 1_000.0, || {
            format!("an ISR of {isr}, {entries} records, {ms} ms")
        })?;
        // Alive all the while: it only answers late.
        let heard = unix_ms() - of("chronik_raft_last_heartbeat_timestamp_ms", slow)?;
        wait::holds(heard < 10_000.0, || format!("heard {heard} ms ago"))?;
        let well = Cluster::others(&[leader, slow])[0];
        let other = of("chronik_raft_follower_lag_entries", well)?;
        wait::holds(other <= 200.0, || format!("broker {well} lacks {other} records"))?;
        Ok((entries as u64, ms as u64))
    };
    wait::until("metrics of a lagging follower", Duration::from_secs(5), look).0
}

fn series(text: &str, topic: &str, name: &str, follower: Option<i32>) -> Result<f64, String> {
    let labels = match follower {
        Some(id) => format!("{name}{{follower_id=\"{id}\",partition=\"0\",topic=\"{topic}\"}}"),
        None => format!("{name}{{partition=\"0\",topic=\"{topic}\"}}"),
    };
    admin::metric(text, &labels).ok_or_else(|| format!("no {labels}"))
}

fn unix_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as f64
}
