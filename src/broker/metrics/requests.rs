//! What Kafka clients see: requests, their time, bytes and errors, by API; records and bytes produced and fetched.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry, Result};

use super::register::{counter, counters, gauge, histograms};

const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// See the module.
pub struct RequestMetrics {
    seconds: HistogramVec,
    request_bytes: IntCounterVec,
    response_bytes: IntCounterVec,
    errors: IntCounterVec,
    in_flight: IntGauge,
    produced_batches: IntCounter,
    produced_records: IntCounter,
    produced_bytes: IntCounter,
    fetched_bytes: IntCounter,
}

impl RequestMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self> {
        Ok(Self {
            seconds: histograms(
                r,
                "chronik_request_duration_seconds",
                &["api"],
                &SECONDS,
                "Time from a request being read to its answer being ready; the count is the number of requests.",
            )?,
            request_bytes: counters(r, "chronik_request_bytes_total", &["api"], "Bytes of requests.")?,
            response_bytes: counters(r, "chronik_response_bytes_total", &["api"], "Bytes of answers.")?,
            errors: counters(
                r,
                "chronik_request_errors_total",
                &["api", "code"],
                "Errors in answers by Kafka's code, each partition or topic on its own.",
            )?,
            in_flight: gauge(
                r,
                "chronik_requests_in_flight",
                "Requests that were read and not answered yet.",
            )?,
            produced_batches: counter(
                r,
                "chronik_produced_batches_total",
                "Record batches appended by producers.",
            )?,
            produced_records: counter(r, "chronik_produced_records_total", "Records appended by producers.")?,
            produced_bytes: counter(
                r,
                "chronik_produced_bytes_total",
                "Bytes of batches appended by producers.",
            )?,
            fetched_bytes: counter(r, "chronik_fetched_bytes_total", "Bytes of batches sent to consumers.")?,
        })
    }

    /// A request was read. Each needs one [`RequestMetrics::done`] or [`RequestMetrics::dropped`].
    pub fn began(&self, api: &'static str, bytes: usize) {
        self.in_flight.inc();
        self.request_bytes.with_label_values(&[api]).inc_by(bytes as u64);
    }

    /// Its answer is ready.
    pub fn done(&self, api: &'static str, took: Duration, bytes: usize) {
        self.in_flight.dec();
        self.seconds.with_label_values(&[api]).observe(took.as_secs_f64());
        self.response_bytes.with_label_values(&[api]).inc_by(bytes as u64);
    }

    /// Nobody waits for its answer any more.
    pub fn dropped(&self) {
        self.in_flight.dec();
    }

    /// An answer carries an error for a partition, a topic or the whole request. `code` is one of Kafka's; 0 is none.
    pub fn error(&self, api: &'static str, code: i16) {
        if code != 0 {
            self.errors.with_label_values(&[api, &code.to_string()]).inc();
        }
    }

    /// A producer's batch was appended.
    pub fn produced(&self, records: u32, bytes: usize) {
        self.produced_batches.inc();
        self.produced_records.inc_by(records.into());
        self.produced_bytes.inc_by(bytes as u64);
    }

    /// Batches were sent to a consumer.
    pub fn fetched(&self, bytes: usize) {
        self.fetched_bytes.inc_by(bytes as u64);
    }
}
