//! What a librdkafka client sees: Metadata of one broker, topic creation, records read back.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::wire;

const PATIENCE: Duration = Duration::from_secs(10);

/// One partition in a broker's Metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its number.
    pub partition: i32,
    /// Its leader, -1 for none.
    pub leader: i32,
    /// Its ISR, ascending.
    pub isr: Vec<i32>,
}

/// Metadata from that broker and no other: by hand, for a client turns to whichever broker it likes once it knows them all.
pub fn metadata(address: SocketAddr, topic: &str) -> Result<Vec<Seen>, String> {
    let shown = wire::metadata(address, topic, Duration::from_secs(1))?;
    let seen = |shown: wire::Shown| {
        let isr = if shown.leader < 0 { Vec::new() } else { shown.isr };
        Seen { partition: shown.partition, leader: shown.leader, isr }
    };
    Ok(shown.into_iter().map(seen).collect())
}

/// CreateTopics; the error code that came back, if any.
pub fn create_topic(bootstrap: &str, topic: &NewTopic<'_>) -> Result<(), RDKafkaErrorCode> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("an admin client");
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let mut results = block_on(admin.create_topics([topic], &options)).expect("an answer");
    results.remove(0).map(drop).map_err(|(_, code)| code)
}

/// DeleteTopics; panics if it does not come about.
pub fn delete_topic(bootstrap: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("an admin client");
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let mut results = block_on(admin.delete_topics(&[topic], &options)).expect("an answer");
    results.remove(0).unwrap_or_else(|(_, code)| panic!("delete {topic}: {code}"));
}

/// One record as read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Where it lies.
    pub offset: i64,
    /// What it says.
    pub payload: String,
}

/// All of a partition up to its high watermark, which follows.
pub fn read(bootstrap: &str, topic: &str, partition: i32) -> (Vec<Record>, i64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .create()
        .expect("a consumer");
    let end = end_of(&consumer, topic, partition);
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    consumer.assign(&from).expect("assign");
    let (mut records, mut heard) = (Vec::new(), Instant::now());
    while records.last().map_or(0, |last: &Record| last.offset + 1) < end {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let payload = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                records.push(Record { offset: message.offset(), payload });
            }
            Some(Err(error)) if heard.elapsed() > PATIENCE => panic!("read {topic}-{partition}: {error}"),
            None if heard.elapsed() > PATIENCE => {
                panic!("{topic}-{partition}: nothing beyond {:?}", records.last())
            }
            Some(Err(_)) | None => {}
        }
    }
    (records, end)
}

/// The high watermark of a partition.
pub fn end(bootstrap: &str, topic: &str, partition: i32) -> i64 {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a consumer");
    end_of(&consumer, topic, partition)
}

fn end_of(consumer: &BaseConsumer, topic: &str, partition: i32) -> i64 {
    let look = || consumer.fetch_watermarks(topic, partition, PATIENCE).map_err(|error| error.to_string());
    crate::wait::until("watermarks", PATIENCE * 2, look).0.1
}

/// The code inside a client's error, if it is one of Kafka's.
pub fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    error.rdkafka_error_code()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park_timeout(PATIENCE),
        }
    }
}
