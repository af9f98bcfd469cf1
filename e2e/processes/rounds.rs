//! Rounds of real trouble of every kind, drawn from a seed, under two producers of different make: nothing that either was
//! acknowledged is lost, no broker ever shows an ISR that another contradicts, and every ISR is whole after each round.
//! The disks forget at a kill what was not synced; the last test proves that this matters.

use std::time::{Duration, Instant};

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::kafka;
use chronik_e2e::load::{self, Load};
use chronik_e2e::verifiable::Verifiable;
use chronik_e2e::watch::Watch;

use crate::check;
use crate::trouble::{At, SMALL, Trouble};

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(4);
const PER_SECOND: u32 = 150;
const GOES_ON: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(100);
/// Of librdkafka, and of Kafka's own Java client.
const TOPICS: [&str; 2] = ["t", "java"];

/// CHRONIK_ROUNDS says how many; CHRONIK_SEED which.
#[test]
fn nothing_acknowledged_is_lost_in_rounds_of_real_trouble() {
    let number = |name, default| std::env::var(name).map_or(default, |n| n.parse().expect(name));
    let (rounds, seed) = (number("CHRONIK_ROUNDS", 20), number("CHRONIK_SEED", 1));
    let mut cluster = Cluster::plan("rounds");
    cluster.put_on_small_disk(SMALL, 1_024);
    cluster.begin();
    // So that a broker that can write nothing is out after two seconds.
    TOPICS
        .iter()
        .for_each(|t| cluster.create_topic_with(t, PARTITIONS, &[("replica.lag.time.max.ms", "2000")]));
    let links = cluster.links();
    let watches = TOPICS.map(|topic| Watch::start(&cluster, &BROKERS, topic, LOOK));
    let producer = Load::start(&load::impatient(&cluster.bootstrap()), "t", PARTITIONS, PACE);
    let folder = tempfile::tempdir().expect("a folder");
    let java = Verifiable::start(&cluster.bootstrap(), "java", PER_SECOND, folder.path());
    let go_on = || {
        producer.await_acks(PARTITIONS, 20, GOES_ON);
        java.await_acks(50, GOES_ON);
    };
    go_on();
    let mut deck = Deck { random: fastrand::Rng::with_seed(seed), left: Vec::new() };
    for round in 0..rounds {
        let (trouble, victim) = deck.draw();
        let began = Instant::now();
        trouble.befall(
            &mut At { cluster: &mut cluster, links: &links, topics: &TOPICS, partitions: PARTITIONS },
            victim,
            go_on,
        );
        let healed = Instant::now();
        for topic in TOPICS {
            cluster.await_isr(topic, PARTITIONS, &BROKERS, GOES_ON);
        }
        println!(
            "round {round}: {trouble:?}, broker {victim}: full ISRs {:?} after it was over, longest stall {:?}, {} acknowledged",
            healed.elapsed(),
            producer.longest_stall(began),
            producer.acked()
        );
        go_on();
    }
    watches.into_iter().for_each(|watch| drop(watch.finish()));
    for (topic, (sent, book)) in TOPICS.iter().zip([producer.finish(), java.finish()]) {
        check::all_kept(&cluster.bootstrap(), topic, PARTITIONS, sent, &book);
        check::replicas_are_identical(&mut cluster, topic, PARTITIONS);
    }
}

/// Every kind with a broker, in an order of its own for each time that all have been.
struct Deck {
    random: fastrand::Rng,
    left: Vec<Trouble>,
}

impl Deck {
    fn draw(&mut self) -> (Trouble, i32) {
        if self.left.is_empty() {
            self.left = Trouble::ALL.into();
            self.random.shuffle(&mut self.left);
        }
        let trouble = self.left.pop().expect("a kind");
        let any = BROKERS[self.random.usize(..BROKERS.len())];
        (trouble, if trouble == Trouble::FullDisk { SMALL } else { any })
    }
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
