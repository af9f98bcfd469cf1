//! A producer without a brake: sends as fast as the brokers take it, and counts. Keeps no book.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

#[derive(Clone, Default)]
struct Tally {
    acked: Arc<AtomicU64>,
    /// How many, and why the first one.
    failed: Arc<Mutex<Option<(u64, String)>>>,
}

impl ClientContext for Tally {}

impl ProducerContext for Tally {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => drop(self.acked.fetch_add(1, Ordering::Relaxed)),
            Err((error, _)) => {
                let mut failed = self.failed.lock().expect("the failures");
                failed.get_or_insert_with(|| (0, error.to_string())).0 += 1;
            }
        }
    }
}

/// A flood under way.
pub struct Flood {
    tally: Tally,
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<u64>>,
}

impl Flood {
    /// Starts to send records of that many bytes, in turn to all partitions.
    pub fn start(config: &ClientConfig, topic: &str, partitions: usize, bytes: usize) -> Self {
        let (tally, stop) = (Tally::default(), Arc::new(AtomicBool::new(false)));
        let producer: ThreadedProducer<Tally> =
            config.create_with_context(tally.clone()).expect("a producer");
        let (stopped, topic) = (Arc::clone(&stop), topic.to_owned());
        let sender = std::thread::spawn(move || {
            let payload = vec![b'x'; bytes];
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                let record = BaseRecord::<(), [u8]>::to(&topic)
                    .partition((sent % partitions as u64) as i32)
                    .payload(&payload[..]);
                match producer.send(record) {
                    Ok(()) => sent += 1,
                    // The queue is full, which is what is wanted.
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
            producer.flush(Duration::from_secs(120)).expect("flush");
            sent
        });
        Self { tally, stop, sender: Some(sender) }
    }

    /// Acknowledgements so far.
    pub fn acked(&self) -> u64 {
        self.tally.acked.load(Ordering::Relaxed)
    }

    /// Stops, waits for the last answer, and gives the counts of records sent and acknowledged, and of failures with the first one's
    /// reason.
    pub fn finish(mut self) -> (u64, u64, Option<(u64, String)>) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.take().expect("running").join().expect("the sender");
        (sent, self.acked(), self.tally.failed.lock().expect("the failures").clone())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
