//! The stream of changed topics: newline-delimited JSON, blank lines in between to show life.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use chronik_core::view::TopicReport;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::BrokerError;

/// Longest line: a topic with all of its partitions.
const LINE_BYTES_MAX: usize = 16 << 20;
/// A blank line comes every 5 s; three missed ones mean the stream is dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// An open watch.
pub struct WatchStream {
    broker: String,
    body: Incoming,
    buffer: BytesMut,
    scanned: usize,
}

impl WatchStream {
    pub(super) fn new(broker: String, body: Incoming) -> Self {
        Self { broker, body, buffer: BytesMut::new(), scanned: 0 }
    }

    /// The next changed topic. An error ends the stream. Safe to cancel: nothing read is lost.
    pub async fn next(&mut self) -> Result<TopicReport, BrokerError> {
        loop {
            while let Some(line) = self.take_line() {
                if !line.trim_ascii().is_empty() {
                    return super::parse(&self.broker, &line);
                }
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(self.ended("a line is longer than 16 MiB"));
            }
            let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame()).await;
            match frame {
                Err(_) => return Err(self.ended("the watch fell silent")),
                Ok(None) => return Err(self.ended("the broker ended the watch")),
                Ok(Some(Err(error))) => return Err(self.ended(&error.to_string())),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        let Some(found) = self.buffer[self.scanned..].iter().position(|&byte| byte == b'\n') else {
            self.scanned = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.scanned + found);
        self.buffer.advance(1);
        self.scanned = 0;
        Some(line)
    }

    fn ended(&self, problem: &str) -> BrokerError {
        BrokerError::Unreachable { broker: self.broker.clone(), problem: problem.to_owned() }
    }
}
