//! Kafka's own `kafka-verifiable-producer`, a Java client, in the background: what it says of each record goes into the
//! same kind of book that our librdkafka producer keeps.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::load::Book;
use crate::{beats, kafka_tools, wait};

/// Kafka's tool turns retries off unless it is told otherwise; the rest are Kafka's defaults but for shorter pauses, and for
/// how long a broker that hangs is waited for.
const SETTINGS: &str = "enable.idempotence=true\nretries=2147483647\ndelivery.timeout.ms=120000\n\
    request.timeout.ms=3000\nretry.backoff.ms=50\nretry.backoff.max.ms=200\nreconnect.backoff.ms=20\nreconnect.backoff.max.ms=200\n";

/// A running producer; its records are numbered from 0, their payload is the number.
pub struct Verifiable {
    book: Arc<Mutex<Book>>,
    child: Child,
    reader: Option<JoinHandle<()>>,
}

impl Verifiable {
    /// Starts to send so many records a second to a topic; `folder` keeps its settings and what it complains of.
    pub fn start(bootstrap: &str, topic: &str, per_second: u32, folder: &Path) -> Self {
        let settings = folder.join("verifiable.properties");
        std::fs::write(&settings, SETTINGS).expect("write its settings");
        let complaints = std::fs::File::create(folder.join("verifiable.log")).expect("a log");
        let mut child = Command::new(kafka_tools::path("kafka-verifiable-producer"))
            .args(["--bootstrap-server", bootstrap, "--topic", topic, "--acks", "-1"])
            .args(["--throughput", &per_second.to_string(), "--command-config"])
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(complaints)
            .spawn()
            .expect("start kafka-verifiable-producer");
        let (book, lines) = (Arc::new(Mutex::new(Book::default())), child.stdout.take().expect("a pipe"));
        let pages = Arc::clone(&book);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                note(&mut pages.lock().expect("the book"), &line);
            }
        });
        Self { book, child, reader: Some(reader) }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("the book")
    }

    /// Waits for so many more acknowledgements on any partitions: this client fills one partition after another.
    pub fn await_acks(&self, more: usize, limit: Duration) -> Duration {
        let counts = || vec![self.book().acked.len()];
        beats::await_more("acknowledgements to Kafka's client", 1, more, limit, counts)
    }

    /// Stops it as a person would, waits for its last answers, and gives the count of records sent, and the book.
    pub fn finish(mut self) -> (u64, Book) {
        // Not waited for yet, so that the id is still this process's.
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("stop the producer");
        wait::until("end of kafka-verifiable-producer", Duration::from_secs(130), || {
            self.child.try_wait().expect("wait for a child").ok_or_else(|| "it still runs".to_owned())
        });
        self.reader.take().expect("running").join().expect("its reader");
        let book = std::mem::take(&mut *self.book());
        ((book.acked.len() + book.failed.len()) as u64, book)
    }
}

impl Drop for Verifiable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One line of its output: an acknowledgement, a failure, or news of its own.
fn note(book: &mut Book, line: &str) {
    let Ok(said) = serde_json::from_str::<Value>(line) else { return };
    let number = said["value"].as_str().and_then(|value| value.parse().ok());
    match (said["name"].as_str(), number) {
        (Some("producer_send_success"), Some(number)) => {
            let place = (said["partition"].as_i64().map(|p| p as i32), said["offset"].as_i64());
            let (Some(partition), Some(offset)) = place else { panic!("no place in {line}") };
            book.acknowledge(partition, offset, number);
        }
        (Some("producer_send_error"), Some(number)) => {
            book.failed.push((number, said["message"].to_string()))
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_and_failures_are_read_from_its_lines() {
        let mut book = Book::default();
        for line in [
            r#"{"timestamp":1,"name":"startup_complete"}"#,
            r#"{"timestamp":2,"name":"producer_send_success","key":null,"value":"7","topic":"t","partition":3,"offset":11}"#,
            r#"{"timestamp":3,"name":"producer_send_error","key":null,"value":"8","topic":"t","exception":"class X","message":"too late"}"#,
            "not of its making",
        ] {
            note(&mut book, line);
        }
        assert_eq!(book.acked.into_iter().collect::<Vec<_>>(), [((3, 11), 7)]);
        assert_eq!(book.failed, [(8, "\"too late\"".to_owned())]);
    }
}
