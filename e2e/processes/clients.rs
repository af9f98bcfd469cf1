//! A producer and a consumer of one topic, told of the same brokers: that both go on, and in the end that all is well.

use std::time::{Duration, Instant};

use chronik_e2e::cluster::Cluster;
use chronik_e2e::load::{self, Load};
use chronik_e2e::reading::Reading;

use crate::check;

const PACE: Duration = Duration::from_millis(2);
const SETTLE: Duration = Duration::from_secs(40);

pub(crate) struct Clients {
    topic: &'static str,
    partitions: usize,
    pub(crate) producer: Load,
    consumer: Reading,
}

impl Clients {
    /// Starts both; returns once they are under way on all partitions.
    pub(crate) fn start(bootstrap: &str, topic: &'static str, partitions: usize) -> Self {
        let producer = Load::start(&load::idempotent(bootstrap), topic, partitions, PACE);
        let consumer = Reading::start(bootstrap, topic, partitions);
        let clients = Self { topic, partitions, producer, consumer };
        clients.await_more(50);
        clients
    }

    /// Waits for so many more records of each partition, acknowledged and read.
    pub(crate) fn await_more(&self, records: usize) {
        self.producer.await_acks(self.partitions, records, SETTLE);
        self.consumer.await_records(self.partitions, records, SETTLE);
    }

    /// The longest time since `from` in which a partition stood still, for the producer and for the consumer.
    pub(crate) fn stalls(&self, from: Instant) -> (Duration, Duration) {
        (self.producer.longest_stall(from), self.consumer.longest_stall(from))
    }

    /// Stops both: everything acknowledged is there once and in its place, and was read in order.
    pub(crate) fn finish(self, cluster: &Cluster) {
        self.consumer.await_records(self.partitions, 1, SETTLE);
        let (sent, book) = self.producer.finish();
        check::all_kept(&cluster.bootstrap(), self.topic, self.partitions, sent, &book);
        check::read_in_order(&self.consumer.finish(), &book);
    }
}
