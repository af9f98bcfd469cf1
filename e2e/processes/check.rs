//! What must hold after any fault: everything acknowledged is there, once and in its place, and all replicas are alike.

use std::collections::BTreeSet;
use std::time::Duration;

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::load::Book;
use chronik_e2e::reading::Diary;
use chronik_e2e::wire::{self, Batch};
use chronik_e2e::{admin, kafka, wait};
use serde_json::json;

const SETTLE: Duration = Duration::from_secs(40);

/// Every acknowledged record lies at its offset, offsets have no gap, no record is there twice, no send failed.
pub(crate) fn all_kept(bootstrap: &str, topic: &str, partitions: usize, sent: u64, book: &Book) {
    assert_eq!(book.failed, Vec::new(), "sends that failed");
    assert_eq!(book.clashes, Vec::new(), "two acknowledgements for one offset");
    let mut read = BTreeSet::new();
    for partition in 0..partitions as i32 {
        let (records, end) = kafka::read(bootstrap, topic, partition);
        assert_eq!(records.len() as i64, end, "partition {partition}: records up to the high watermark");
        for (expected, record) in records.iter().enumerate() {
            assert_eq!(record.offset, expected as i64, "partition {partition}: a gap");
            assert!(read.insert(record.payload.clone()), "partition {partition}: {record:?} is there twice");
        }
        for ((_, offset), number) in book.acked.range((partition, 0)..(partition + 1, 0)) {
            let found = records.get(*offset as usize).map(|record| record.payload.as_str());
            assert_eq!(found, Some(book.payload(*number).as_str()), "acknowledged at {partition}/{offset}");
        }
    }
    let lost = book.implied.iter().find(|number| !read.contains(&book.payload(**number)));
    assert_eq!(lost, None, "acknowledged by the success of a later batch, and not there");
    println!(
        "{topic}: {sent} sent, {} acknowledged, {} read back, no gap, none twice",
        book.acknowledged(),
        read.len()
    );
}

/// A consumer read every partition from its beginning on without a break, and nothing but what was acknowledged there.
pub(crate) fn read_in_order(diary: &Diary, book: &Book) {
    assert_eq!(diary.breaks, Vec::<String>::new(), "positions that did not go on by one");
    for ((partition, offset), number) in &book.acked {
        if let Some(payload) = diary.read.get(partition).and_then(|read| read.get(*offset as usize)) {
            assert_eq!(*payload, book.payload(*number), "read at {partition}/{offset}");
        }
    }
}

/// Every broker holds the same batches, byte for byte: offsets, epochs, producer ids and sequences, records. Each broker
/// in turn leads everything, and what it then serves from its own disk is compared.
pub(crate) fn replicas_are_identical(cluster: &mut Cluster, topic: &str, partitions: usize) {
    let mut first: Option<Vec<Vec<Batch>>> = None;
    let mut draining = None;
    for (leader, stopped, drained) in [(1, 2, 3), (2, 3, 1), (3, 1, 2)] {
        if let Some(id) = draining {
            assert_eq!(id, stopped, "only a restart ends a drain");
        }
        cluster.broker(stopped).terminate();
        cluster.broker_mut(stopped).wait_end(SETTLE);
        let answer = admin::post(cluster.broker(drained).admin(), "/v1/drain", &json!({})).expect("drain");
        assert_eq!(answer.status, 204, "{}", answer.body);
        draining = Some(drained);
        let held = held_by(cluster, leader, topic, partitions);
        match &first {
            None => first = Some(held),
            Some(first) => compare(first, &held, leader),
        }
        cluster.broker_mut(stopped).start();
        cluster.await_isr(topic, partitions, &BROKERS, SETTLE);
    }
    let batches: usize = first.iter().flatten().map(Vec::len).sum();
    println!("{topic}: {batches} batches are the same on all three brokers");
}

fn held_by(cluster: &Cluster, leader: i32, topic: &str, partitions: usize) -> Vec<Vec<Batch>> {
    wait::until(&format!("broker {leader} to lead all of {topic}"), SETTLE, || {
        let seen = cluster.metadata(leader, topic)?;
        let odd = seen.iter().find(|p| p.leader != leader);
        wait::holds(odd.is_none() && seen.len() == partitions, || format!("{odd:?}"))
    });
    let log = |partition: usize| wire::log_of(cluster.broker(leader).kafka(), topic, partition as i32);
    (0..partitions).map(|partition| wait::until("its log", SETTLE, || log(partition)).0).collect()
}

fn compare(first: &[Vec<Batch>], other: &[Vec<Batch>], broker: i32) {
    for (partition, (one, two)) in first.iter().zip(other).enumerate() {
        for (place, pair) in one.iter().zip(two).enumerate() {
            assert!(
                pair.0 == pair.1,
                "{partition}, batch {place}: broker 1 holds {:?}, {broker} {:?}",
                pair.0,
                pair.1
            );
        }
        assert_eq!(one.len(), two.len(), "partition {partition}: batches on broker 1 and on broker {broker}");
    }
}
