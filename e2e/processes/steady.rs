//! The ISR does not flap: neither in a failover, nor under all the load that the brokers can take.

use std::time::{Duration, Instant};

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::flood::Flood;
use chronik_e2e::load::{self, Load};
use chronik_e2e::watch::{Account, Watch};
use chronik_e2e::{admin, wait};

const PARTITIONS: usize = 6;
/// How long one topic is flooded.
const LEG: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_secs(40);
/// An election, and the news of it.
const LEADERLESS: Duration = Duration::from_secs(3);

/// As every survivor's Metadata shows it every 50 ms: all, then the survivors, then all, and nothing else.
#[test]
fn a_failover_changes_each_isr_once_and_back() {
    let mut cluster = Cluster::start("failover");
    cluster.create_topic("t", PARTITIONS);
    let load =
        Load::start(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS, Duration::from_millis(2));
    load.await_acks(PARTITIONS, 20, SETTLE);
    for _ in 0..3 {
        let leader = cluster.leader("t", 0);
        let survivors = Cluster::others(&[leader]);
        let led: Vec<i32> = cluster.metadata_from(leader, "t").iter().map(|p| p.leader).collect();
        let watch = Watch::start(&cluster, &survivors, "t", Duration::from_millis(50));
        std::thread::sleep(Duration::from_millis(200));
        let killed = Instant::now();
        cluster.broker_mut(leader).kill();
        cluster.await_isr("t", PARTITIONS, &survivors, SETTLE);
        load.await_acks(PARTITIONS, 20, SETTLE);
        cluster.broker_mut(leader).start();
        cluster.await_isr("t", PARTITIONS, &BROKERS, SETTLE);
        std::thread::sleep(Duration::from_millis(500));
        let accounts = watch.finish();
        accounts.iter().for_each(|account| expect_one_change(account, killed, leader, &led));
    }
    assert_eq!(load.finish().1.failed, Vec::new());
}

fn expect_one_change(account: &Account, killed: Instant, dead: i32, led: &[i32]) {
    assert_eq!(account.unanswered, Vec::<String>::new(), "broker {}", account.broker);
    let expected = [BROKERS.to_vec(), Cluster::others(&[dead]), BROKERS.to_vec()];
    let mut longest = Duration::ZERO;
    for (partition, leader) in (0..).zip(led) {
        let isrs = account.isrs(partition, killed);
        assert_eq!(isrs, expected, "broker {}, partition {partition}, {dead} killed", account.broker);
        let unknown = account.longest_unknown(partition, killed);
        assert!(
            *leader == dead || unknown.is_zero(),
            "partition {partition} of broker {leader}: {unknown:?}"
        );
        longest = longest.max(unknown);
    }
    println!(
        "broker {dead} killed, as broker {} showed it in {} looks: every ISR changed once and back, no leader for \
         {longest:?} at most",
        account.broker, account.looks
    );
    assert!(longest <= LEADERLESS, "{longest:?}");
}

/// CHRONIK_LOAD_SECONDS says how long. Each leg floods a topic of its own while the one before is deleted: logs are kept
/// whole, and no disk would hold all of it.
#[test]
fn full_load_drops_nobody_from_an_isr() {
    let seconds =
        std::env::var("CHRONIK_LOAD_SECONDS").map_or(20, |n| n.parse().expect("CHRONIK_LOAD_SECONDS"));
    let mut cluster = Cluster::start("full-load");
    let (began, mut total, mut looks, mut leg) = (Instant::now(), 0, 0, 0);
    let mut before: Option<Leg> = None;
    while began.elapsed() < Duration::from_secs(seconds) {
        let now = Leg::start(&mut cluster, format!("t{leg}"));
        let took = before.take().map_or((0, 0), |leg| leg.finish(&cluster));
        (total, looks, leg) = (total + took.0, looks + took.1, leg + 1);
        while now.began.elapsed() < LEG && began.elapsed() < Duration::from_secs(seconds) {
            std::thread::sleep(Duration::from_millis(500));
            let acked = now.flood.acked();
            assert_eq!(shrinks(&cluster), [0, 0, 0], "after {:?}, {acked} in leg {leg}", began.elapsed());
        }
        before = Some(now);
    }
    let last = before.expect("a leg").finish(&cluster);
    let (took, acked) = (began.elapsed(), total + last.0);
    println!(
        "{acked} records of 100 bytes acknowledged in {took:?} and {leg} legs, {:.0} a second; full ISRs in {} looks",
        acked as f64 / took.as_secs_f64(),
        looks + last.1
    );
    assert_eq!(shrinks(&cluster), [0, 0, 0], "replicas that left an ISR, by broker");
}

/// A flood of one topic, watched.
struct Leg {
    topic: String,
    flood: Flood,
    watch: Watch,
    began: Instant,
}

impl Leg {
    fn start(cluster: &mut Cluster, topic: String) -> Self {
        cluster.create_topic(&topic, PARTITIONS);
        let watch = Watch::start(cluster, &BROKERS, &topic, Duration::from_millis(500));
        let flood = Flood::start(&load::idempotent(&cluster.bootstrap()), &topic, PARTITIONS, 100);
        Self { topic, flood, watch, began: Instant::now() }
    }

    /// Ends it and deletes the topic; gives how many records were acknowledged, and how often a full ISR was seen.
    fn finish(self, cluster: &Cluster) -> (u64, usize) {
        let (sent, acked, failed) = self.flood.finish();
        assert_eq!((failed, acked), (None, sent), "{}", self.topic);
        let looks = self.watch.finish().iter().map(expect_full_isr).sum();
        let path = format!("/v1/topics/{}", self.topic);
        let deleted = admin::delete(cluster.broker(1).admin(), &path).expect("delete the topic");
        assert_eq!(deleted.status / 100, 2, "{}", deleted.body);
        (acked, looks)
    }
}

fn expect_full_isr(account: &Account) -> usize {
    for (partition, changes) in &account.changes {
        let odd = changes.iter().find(|change| change.shown.isr != BROKERS);
        assert!(odd.is_none(), "broker {}, partition {partition}: {odd:?}", account.broker);
    }
    account.looks
}

fn shrinks(cluster: &Cluster) -> [u64; 3] {
    BROKERS.map(|id| {
        let look = || {
            let text = admin::get(cluster.broker(id).admin(), "/metrics")?.body;
            admin::metric(&text, "chronik_isr_shrinks_total").ok_or_else(|| "no such metric".to_owned())
        };
        wait::until("chronik_isr_shrinks_total", SETTLE, look).0 as u64
    })
}
