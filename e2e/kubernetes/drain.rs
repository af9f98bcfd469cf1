//! Draining nodes: the disruption budget lets one broker go at a time, and clients notice little.

use std::time::Duration;

use chronik_e2e::load::{self, Load};

use crate::figure;
use crate::world::{BROKERS, World, kubectl};

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(5);
const GOES_ON: Duration = Duration::from_secs(40);
const STALL: Duration = Duration::from_secs(5);
const BACK: Duration = Duration::from_secs(90);

#[test]
#[ignore = "needs the box: make scenarios"]
fn a_drain_takes_one_broker_and_a_second_drain_waits() {
    let world = World::with_brokers("drain", 3);
    world.create_topic("t", PARTITIONS);
    let load = Load::start(&load::idempotent(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    let (first, second) = (Cordoned(world.node_of(3)), Cordoned(world.node_of(2)));
    let began = std::time::Instant::now();
    let drained = first.drain("60s");
    assert!(drained.success, "{drained}");
    let refused = second.drain("5s");
    assert!(!refused.success && refused.stderr.contains("disruption budget"), "{refused}");
    world.await_isr(&[1, 2], "t", PARTITIONS, &[1, 2], GOES_ON);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    let stall = load.longest_stall(began);

    drop((first, second));
    world.await_isr(&BROKERS, "t", PARTITIONS, &BROKERS, BACK);
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0));
    figure(&format!(
        "drain of a node: done after {:?}, longest stall of a partition {stall:?}; the second drain was refused",
        drained.took
    ));
    assert!(stall <= STALL, "{stall:?}");
}

/// A node that may be drained; open for pods again when this ends.
struct Cordoned(String);

impl Cordoned {
    fn drain(&self, timeout: &str) -> chronik_e2e::program::Ended {
        kubectl(&["drain", &self.0, "--ignore-daemonsets", "--delete-emptydir-data"])
            .args(["--pod-selector", "app.kubernetes.io/component=broker", "--timeout", timeout])
            .run()
    }
}

impl Drop for Cordoned {
    fn drop(&mut self) {
        let done = kubectl(&["uncordon", &self.0]).run();
        if !done.success {
            eprintln!("{done}");
        }
    }
}
