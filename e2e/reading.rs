//! A consumer in the background that notes what it reads, and every place where its position did not go on by one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::beats::{self, Beats};

/// What was read.
#[derive(Default)]
pub struct Diary {
    /// Payloads by partition, in the order of their offsets, which begin with 0.
    pub read: BTreeMap<i32, Vec<String>>,
    /// When a record came.
    pub beats: Beats,
    /// Where an offset was not the one after the last: a gap, a repetition, a position that was reset.
    pub breaks: Vec<String>,
}

/// A running consumer of all partitions of a topic.
pub struct Reading {
    diary: Arc<Mutex<Diary>>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Reading {
    /// Starts to read at the beginning. A position that is reset goes back there, and shows. Its pauses are short: stalls
    /// are then the brokers' doing.
    pub fn start(bootstrap: &str, topic: &str, partitions: usize) -> Self {
        Self::start_in("", bootstrap, topic, partitions)
    }

    /// The same for a consumer that stands in a rack.
    pub fn start_in(rack: &str, bootstrap: &str, topic: &str, partitions: usize) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("client.rack", rack)
            .set("bootstrap.servers", bootstrap)
            // A broker that hangs cannot hang up.
            .set("socket.timeout.ms", "3000")
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.error.backoff.ms", "50")
            .set("retry.backoff.ms", "50")
            .set("retry.backoff.max.ms", "200")
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "200")
            .create()
            .expect("a consumer");
        let mut from = TopicPartitionList::new();
        for partition in 0..partitions as i32 {
            from.add_partition_offset(topic, partition, Offset::Offset(0)).expect("a partition");
        }
        consumer.assign(&from).expect("assign");
        let (diary, stop) = (Arc::new(Mutex::new(Diary::default())), Arc::new(AtomicBool::new(false)));
        let (pages, stopped) = (Arc::clone(&diary), Arc::clone(&stop));
        let reader = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // Errors are the client's business: it goes on, or it stands still, which shows.
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                    note(&mut pages.lock().expect("the diary"), &message);
                }
            }
        });
        Self { diary, stop, reader: Some(reader) }
    }

    fn diary(&self) -> MutexGuard<'_, Diary> {
        self.diary.lock().expect("the diary")
    }

    /// Records read so far.
    pub fn count(&self) -> usize {
        self.diary().read.values().map(Vec::len).sum()
    }

    /// Waits for so many more records of every partition.
    pub fn await_records(&self, partitions: usize, more: usize, limit: Duration) -> Duration {
        beats::await_more("records", partitions, more, limit, || self.diary().beats.counts(partitions))
    }

    /// The longest time without a record of any one partition since `from`.
    pub fn longest_stall(&self, from: Instant) -> Duration {
        self.diary().beats.longest_stall(from)
    }

    /// Stops and gives what was noted.
    pub fn finish(mut self) -> Diary {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.take().expect("running").join().expect("the reader");
        std::mem::take(&mut *self.diary())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn note(diary: &mut Diary, message: &BorrowedMessage<'_>) {
    let partition = message.partition();
    let read = diary.read.entry(partition).or_default();
    if message.offset() != read.len() as i64 {
        diary.breaks.push(format!(
            "partition {partition}: {} after {}",
            message.offset(),
            read.len() as i64 - 1
        ));
        return;
    }
    read.push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
    diary.beats.note(partition);
}
