//! A node is cut off and nothing dies: those who see each other go on, and what was acknowledged stays.

use std::time::{Duration, Instant};

use chronik_e2e::load::{self, Load};

use crate::box_nodes::Outage;
use crate::reading::nothing_is_lost;
use crate::world::{BROKERS, World};
use crate::{figure, release};

const PARTITIONS: usize = 12;
const PACE: Duration = Duration::from_millis(5);
const SILENT: Duration = Duration::from_secs(5);
const TOLD: Duration = Duration::from_secs(5);
const GOES_ON: Duration = Duration::from_secs(40);
const BACK: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs the box: make scenarios"]
fn clients_outside_a_cut_go_on_and_nothing_acknowledged_is_lost() {
    let world = World::with_brokers("cut", 3);
    world.create_topic("t", PARTITIONS);
    let (cut_off, others) = (2, [1, 3]);
    release::install_on(&world.node_of(1));
    let mut config = load::idempotent(&world.bootstrap());
    // A request to a broker that was cut off gets no answer; how long it is waited for is the client's own affair, by
    // default 60 s.
    config.set("socket.timeout.ms", "5000");
    let load = Load::start(&config, "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);

    let began = Instant::now();
    let outage = Outage::cut(&world.node_of(cut_off));
    world.await_isr(&others, "t", PARTITIONS, &others, SILENT.saturating_sub(began.elapsed()));
    let metadata = began.elapsed();
    world.await_status("t", PARTITIONS, "Leader", &others, TOLD);
    let status = began.elapsed();
    load.await_acks(PARTITIONS, 20, GOES_ON);
    let stall = load.longest_stall(began);

    let healed = Instant::now();
    let node = outage.end();
    world.await_isr(&BROKERS, "t", PARTITIONS, &BROKERS, BACK);
    let back = healed.elapsed();
    node.join().expect("the node is Ready");
    world.await_status("t", PARTITIONS, "Leader", &BROKERS, TOLD);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    let (sent, book) = load.finish();
    let read = nothing_is_lost(&world.bootstrap(), PARTITIONS, &book);
    assert_eq!(book.failed, Vec::new());
    figure(&format!(
        "node of broker {cut_off} cut off: ISR {others:?} in Metadata after {metadata:?}, in Topic.status after \
         {status:?}; longest stall of a partition {stall:?}; full ISR {back:?} after the cable was plugged in again; \
         {sent} sent, {} acknowledged, {read} read back",
        book.acknowledged()
    ));
}
