//! Many replicas move at once, throttled and under load, while two brokers die on the way.

use std::time::{Duration, Instant};

use chronik_e2e::flood::Flood;
use chronik_e2e::grown::Grown;
use chronik_e2e::load::{self, Load};
use chronik_e2e::{admin, wait};

use crate::check;

const PACE: Duration = Duration::from_millis(2);
const GOES_ON: Duration = Duration::from_secs(120);
/// What each broker may send to new replicas in a second.
const THROTTLE: u64 = 4 << 20;
/// A second's worth may go at once, and one message more; a broker that starts again begins with a full second.
const BURST: u64 = THROTTLE + (1 << 20);
/// What all heavy partitions hold together when they move.
const HEAVY: u64 = 64 << 20;
const RECORD: u64 = 1_000;

/// CHRONIK_PARTITIONS says how many: half of them are heavy, the others are written to all the time.
#[test]
fn many_partitions_move_though_two_brokers_die() {
    let many = std::env::var("CHRONIK_PARTITIONS").map_or(100, |n| n.parse().expect("CHRONIK_PARTITIONS"));
    let half: usize = many / 2;
    let throttle = format!("--reassignment-throttle-bytes-per-second={THROTTLE}");
    let mut cluster = Grown::start_with("many", 3, 4, &[&throttle]);
    ["t", "heavy"].iter().for_each(|topic| cluster.create_topic(topic, half, &[1, 2, 3]));
    make_heavy(&cluster, half);
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), "t", half, PACE);
    load.await_acks(half, 2, GOES_ON);

    let began = Instant::now();
    ["t", "heavy"].iter().for_each(|topic| cluster.move_all(topic, half, &[2, 3, 4]));
    for (left, victim) in [(0.7, 2), (0.3, 4)] {
        let (moving, sent) = die_and_return(&mut cluster, victim, (many as f64 * left) as usize);
        println!(
            "killed broker {victim} after {:?}, {moving} of {many} moves under way, {sent} bytes sent",
            began.elapsed()
        );
    }
    for topic in ["t", "heavy"] {
        cluster.await_replicas(topic, half, &[2, 3, 4], GOES_ON);
    }
    let (took, sent) =
        (began.elapsed(), (1..=4).map(|id| sent_to_learners(&cluster, id)).collect::<Vec<_>>());
    println!(
        "{many} partitions moved after {took:?}; the brokers sent {sent:?} bytes to new replicas since their start; longest \
         stall {:?}",
        load.longest_stall(began)
    );
    for sent in sent {
        assert!(sent <= (took.as_secs_f64() * THROTTLE as f64) as u64 + BURST, "{sent} bytes in {took:?}");
    }
    let (sent, book) = load.finish();
    check::all_kept(&cluster.bootstrap(), "t", half, sent, &book);
    assert_eq!(book.acknowledged(), sent);
}

fn make_heavy(cluster: &Grown, partitions: usize) {
    let mut config = load::idempotent(&cluster.bootstrap());
    // Else it would go on long after it was told to stop.
    config.set("queue.buffering.max.messages", "5000");
    let flood = Flood::start(&config, "heavy", partitions, RECORD as usize);
    wait::until("heavy partitions", GOES_ON, || {
        let acked = flood.acked();
        wait::holds(acked >= HEAVY / RECORD, || format!("{acked} records"))
    });
    let (sent, acked, failed) = flood.finish();
    assert_eq!((acked, failed), (sent, None));
}

/// Kills a broker once no more than so many moves are left, and starts it again a second later. Gives how many were left, and
/// what it had sent to new replicas.
fn die_and_return(cluster: &mut Grown, victim: i32, left: usize) -> (usize, u64) {
    let (moving, _) = wait::until("moves on their way", GOES_ON, || {
        let moving = cluster.moves().len();
        wait::holds(moving <= left, || format!("{moving} moves under way")).map(|()| moving)
    });
    assert!(moving > 0, "all moves ended before broker {victim} could die");
    let sent = sent_to_learners(cluster, victim);
    cluster.broker_mut(victim).kill();
    std::thread::sleep(Duration::from_secs(1));
    cluster.broker_mut(victim).start();
    (moving, sent)
}

fn sent_to_learners(cluster: &Grown, id: i32) -> u64 {
    let text = admin::get(cluster.broker(id).admin(), "/metrics").expect("metrics").body;
    admin::metric(&text, "chronik_learner_bytes_sent_total").expect("the metric") as u64
}
