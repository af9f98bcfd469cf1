//! The seed's scenarios with whole nodes: one loses its power, a second does, both come back.

use std::time::{Duration, Instant};

use chronik_e2e::{admin, kafka_tools, load};

use crate::box_nodes::Outage;
use crate::world::{BROKERS, World};
use crate::{figure, release};

const PARTITIONS: usize = 12;
/// A lost node closes no connection: it is noticed by its silence.
const SILENT: Duration = Duration::from_secs(5);
/// From a broker's Metadata to Topic.status.
const TOLD: Duration = Duration::from_secs(5);
const BACK: Duration = Duration::from_secs(90);

#[test]
#[ignore = "needs the box: make scenarios"]
fn every_view_shows_who_died_and_produce_is_refused_without_quorum() {
    let world = World::with_brokers("nodes-die", 3);
    world.create_topic("t", PARTITIONS);
    for (survivor, first, second) in [(1, 3, 2), (3, 2, 1), (2, 1, 3)] {
        Round { world: &world, survivor, first, second }.run();
    }
}

struct Round<'a> {
    world: &'a World,
    survivor: i32,
    first: i32,
    second: i32,
}

impl Round<'_> {
    fn run(&self) {
        let Self { world, survivor, first, second } = *self;
        release::install_on(&world.node_of(survivor));
        let (node, another) = (world.node_of(first), world.node_of(second));
        let mut two = [survivor, second];
        two.sort_unstable();

        let killed = Instant::now();
        let mut outage = Outage::kill(&node);
        let after_one = self.seen(killed, &two, "Leader", &two);
        self.writes_go_on();

        let killed = Instant::now();
        outage.kill_another(&another);
        let after_two = self.seen(killed, &[survivor], "Caretaker", &[survivor]);
        self.writes_are_refused();

        let started = Instant::now();
        let nodes = outage.end();
        world.await_isr(&BROKERS, "t", PARTITIONS, &BROKERS, BACK);
        let back = started.elapsed();
        nodes.join().expect("both nodes are Ready");
        world.await_status("t", PARTITIONS, "Leader", &BROKERS, TOLD);
        let produced = kafka_tools::produce(&world.bootstrap(), "t", 20, Duration::from_secs(20));
        assert!(produced.success && !produced.stderr.contains("NOT_ENOUGH"), "{produced}");
        figure(&format!(
            "survivor {survivor}: node of {first} killed, ISR {two:?} {after_one}; node of {second} killed, \
             ISR [{survivor}] {after_two}; full ISR {back:?} after the first node was started again"
        ));
    }

    /// Metadata of every survivor, then the status, within their limits; says when.
    fn seen(&self, killed: Instant, survivors: &[i32], state: &str, isr: &[i32]) -> String {
        let left = SILENT.saturating_sub(killed.elapsed());
        self.world.await_isr(survivors, "t", PARTITIONS, isr, left);
        let metadata = killed.elapsed();
        self.world.await_status("t", PARTITIONS, state, isr, TOLD);
        format!("in Metadata after {metadata:?}, in Topic.status after {:?}", killed.elapsed())
    }

    fn writes_go_on(&self) {
        let row = self.world.row("topics", "t");
        assert_eq!(
            (row[5].1.as_str(), row[6].1.as_str(), row[7].1.as_str()),
            ("0/12", "0", "True"),
            "{row:?}"
        );
        let bootstrap =
            format!("{},{}", self.world.bootstrap_of(self.survivor), self.world.bootstrap_of(self.second));
        let sent = load::send_each(&load::idempotent(&bootstrap), "t", PARTITIONS);
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    }

    fn writes_are_refused(&self) {
        let Self { world, survivor, .. } = *self;
        let row = world.row("topics", "t");
        assert_eq!(
            (row[5].1.as_str(), row[6].1.as_str(), row[7].1.as_str()),
            ("0/12", "12", "False"),
            "{row:?}"
        );
        let ready = world.condition("topics/t", "Ready").expect("a condition");
        assert!(ready.starts_with("False UnderMinIsr: 12 of 12 partitions"), "{ready}");

        let bootstrap = world.bootstrap_of(survivor);
        let described = kafka_tools::describe(&bootstrap, "t").expect("kafka-topics --describe");
        assert!(described.iter().all(|p| p.leader == survivor && p.isr == [survivor]), "{described:?}");
        let refused = Err("NotEnoughReplicasAfterAppend".to_owned());
        for (partition, sent) in
            load::send_each(&load::one_try(&bootstrap), "t", PARTITIONS).iter().enumerate()
        {
            assert_eq!(*sent, refused, "partition {partition}");
        }
        let produced = kafka_tools::produce(&bootstrap, "t", 5, Duration::from_secs(6));
        assert!(produced.stderr.contains("NOT_ENOUGH_REPLICAS_AFTER_APPEND"), "{produced}");
        let metrics =
            admin::get(world.admin(survivor).expect("an address"), "/metrics").expect("metrics").body;
        for partition in 0..PARTITIONS {
            let series = format!("chronik_raft_isr_size{{partition=\"{partition}\",topic=\"t\"}}");
            assert_eq!(admin::metric(&metrics, &series), Some(1.0), "{series}");
        }
    }
}
