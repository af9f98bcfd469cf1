//! A producer that keeps book: what was sent, what was acknowledged and where, and the longest silence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use crate::beats::{self, Beats};

/// What became of the records.
#[derive(Default)]
pub struct Book {
    /// What stands before the number in a payload.
    pub prefix: &'static str,
    /// Acknowledged: number by partition and offset.
    pub acked: BTreeMap<(i32, i64), u64>,
    /// Acknowledged without a word of where: librdkafka takes the success of a later batch for that of one whose answer it
    /// never got.
    pub implied: Vec<u64>,
    /// When each acknowledgement came.
    pub beats: Beats,
    /// Failed: number and why.
    pub failed: Vec<(u64, String)>,
    /// Two acknowledgements for one offset.
    pub clashes: Vec<(i32, i64)>,
}

impl Book {
    /// How many were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        (self.acked.len() + self.implied.len()) as u64
    }

    /// The payload of the record of that number.
    pub fn payload(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }

    /// A record was acknowledged just now.
    pub(crate) fn acknowledge(&mut self, partition: i32, offset: i64, number: u64) {
        self.beats.note(partition);
        if offset < 0 {
            self.implied.push(number);
        } else if self.acked.insert((partition, offset), number).is_some() {
            self.clashes.push((partition, offset));
        }
    }
}

const PREFIX: &str = "record ";
/// A sender that was held up makes up for so much of it at once.
const CATCH_UP: Duration = Duration::from_millis(50);

#[derive(Clone)]
struct Keeper(Arc<Mutex<Book>>);

impl Keeper {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Book { prefix: PREFIX, ..Book::default() })))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().expect("the book")
    }
}

impl ClientContext for Keeper {}

impl ProducerContext for Keeper {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<u64>) {
        let mut book = self.book();
        match result {
            Ok(message) => book.acknowledge(message.partition(), message.offset(), *number),
            Err((error, _)) => book.failed.push((*number, text(error))),
        }
    }
}

fn text(error: &KafkaError) -> String {
    crate::kafka::code(error).map_or_else(|| error.to_string(), |code| format!("{code:?}"))
}

/// Settings of an idempotent producer that never gives a record up on its own, and whose pauses are short: stalls are then
/// the brokers' doing.
pub fn idempotent(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "2")
        .set("message.timeout.ms", "120000")
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "200")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200");
    config
}

/// The same for brokers that may hang: such a one cannot hang up, and this long a client waits for its answer before it turns
/// to another.
pub fn impatient(bootstrap: &str) -> ClientConfig {
    let mut config = idempotent(bootstrap);
    config.set("request.timeout.ms", "3000").set("socket.timeout.ms", "3000");
    config
}

/// Settings of a producer that tells the first error instead of trying again.
pub fn one_try(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("retries", "0")
        .set("message.timeout.ms", "8000");
    config
}

/// Sends one record to each partition and says what came of each: `Ok`, or Kafka's error by name.
pub fn send_each(config: &ClientConfig, topic: &str, partitions: usize) -> Vec<Result<i64, String>> {
    let keeper = Keeper::new();
    let producer: ThreadedProducer<Keeper> = config.create_with_context(keeper.clone()).expect("a producer");
    for partition in 0..partitions {
        let number = partition as u64;
        send(&producer, topic, partition as i32, number).expect("the queue is empty");
    }
    producer.flush(Duration::from_secs(20)).expect("flush");
    let book = keeper.book();
    let outcome = |partition: usize| {
        let failure = book.failed.iter().find(|(number, _)| *number == partition as u64);
        let offset = book.acked.keys().find(|(p, _)| *p == partition as i32).map(|(_, offset)| *offset);
        match (offset, failure) {
            (Some(offset), None) => Ok(offset),
            (_, Some((_, why))) => Err(why.clone()),
            (None, None) => Err("no word".to_owned()),
        }
    };
    (0..partitions).map(outcome).collect()
}

fn send(
    producer: &ThreadedProducer<Keeper>,
    topic: &str,
    partition: i32,
    number: u64,
) -> Result<(), KafkaError> {
    let payload = format!("{PREFIX}{number}");
    let record = BaseRecord::<(), str, Box<u64>>::with_opaque_to(topic, Box::new(number))
        .partition(partition)
        .payload(payload.as_str());
    producer.send(record).map_err(|(error, _)| error)
}

/// Records sent in the background, in turn to all partitions.
pub struct Load {
    keeper: Keeper,
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<u64>>,
}

impl Load {
    /// Starts to send a record every `pace`.
    pub fn start(config: &ClientConfig, topic: &str, partitions: usize, pace: Duration) -> Self {
        let (keeper, stop) = (Keeper::new(), Arc::new(AtomicBool::new(false)));
        let producer: ThreadedProducer<Keeper> =
            config.create_with_context(keeper.clone()).expect("a producer");
        let (stopped, topic) = (Arc::clone(&stop), topic.to_owned());
        let sender = std::thread::spawn(move || {
            let (mut number, mut due) = (0, Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                // A full queue is the only refusal here: the record is sent at the next turn.
                if send(&producer, &topic, (number % partitions as u64) as i32, number).is_ok() {
                    number += 1;
                }
                // A sleep takes longer than it is told to, which at a short pace would cost a third of the records.
                due = (due + pace).max(Instant::now() - CATCH_UP);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            producer.flush(Duration::from_secs(120)).expect("flush");
            number
        });
        Self { keeper, stop, sender: Some(sender) }
    }

    /// Acknowledgements so far.
    pub fn acked(&self) -> usize {
        self.keeper.book().acknowledged() as usize
    }

    /// The last record that was acknowledged so far, by its number.
    pub fn last_acked(&self) -> Option<u64> {
        self.keeper.book().acked.values().max().copied()
    }

    /// Waits for so many more acknowledgements on every partition.
    pub fn await_acks(&self, partitions: usize, more: usize, limit: Duration) -> Duration {
        let counts = || self.keeper.book().beats.counts(partitions);
        beats::await_more("acknowledgements", partitions, more, limit, counts)
    }

    /// When acknowledgements came so far.
    pub fn beats(&self) -> Beats {
        self.keeper.book().beats.clone()
    }

    /// The longest time without an acknowledgement on any one partition since `from`.
    pub fn longest_stall(&self, from: Instant) -> Duration {
        self.keeper.book().beats.longest_stall(from)
    }

    /// Stops sending, waits for the last answer, and gives the count of records sent, and the book.
    pub fn finish(mut self) -> (u64, Book) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.take().expect("running").join().expect("the sender");
        (sent, std::mem::take(&mut *self.keeper.book()))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
