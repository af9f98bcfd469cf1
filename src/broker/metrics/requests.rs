//! What Kafka clients see: requests, their time, bytes and errors, by API; records and bytes produced and fetched.
//!
//! Series are made for APIs that are served and codes that were answered, so that no client can add one. Each API's
//! are looked up once and kept.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry, Result};

use super::register::{counter, counters, gauge, histograms};

const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// API keys lie below this.
const KEYS: usize = 128;

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
    apis: [OnceLock<Arc<ApiMetrics>>; KEYS],
}

/// The series of one API.
pub struct ApiMetrics {
    name: String,
    seconds: Histogram,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
    errors: IntCounterVec,
    in_flight: IntGauge,
}

/// A request that was read and not answered yet. Dropped without an answer, it is only no longer in flight.
pub struct Timed {
    api: Arc<ApiMetrics>,
    began: Instant,
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
                "Record batches acknowledged to producers, or taken where they asked for no acknowledgement.",
            )?,
            produced_records: counter(r, "chronik_produced_records_total", "Records in these batches.")?,
            produced_bytes: counter(r, "chronik_produced_bytes_total", "Bytes of these batches.")?,
            fetched_bytes: counter(r, "chronik_fetched_bytes_total", "Bytes of batches sent to consumers.")?,
            apis: [const { OnceLock::new() }; KEYS],
        })
    }

    /// The series of a served API; none for a key that no API has.
    pub fn api(&self, key: i16, name: impl FnOnce() -> String) -> Option<&Arc<ApiMetrics>> {
        let place = self.apis.get(usize::try_from(key).ok()?)?;
        Some(place.get_or_init(|| Arc::new(self.series(name()))))
    }

    fn series(&self, name: String) -> ApiMetrics {
        let labels = [name.as_str()];
        ApiMetrics {
            seconds: self.seconds.with_label_values(&labels),
            request_bytes: self.request_bytes.with_label_values(&labels),
            response_bytes: self.response_bytes.with_label_values(&labels),
            errors: self.errors.clone(),
            in_flight: self.in_flight.clone(),
            name,
        }
    }

    /// A producer's batch was acknowledged.
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

impl ApiMetrics {
    /// A request of so many bytes was read.
    pub fn begin(self: &Arc<Self>, bytes: usize) -> Timed {
        self.in_flight.inc();
        self.request_bytes.inc_by(bytes as u64);
        Timed { api: Arc::clone(self), began: Instant::now() }
    }

    /// An answer carries an error for a partition, a topic or the whole request. `code` is one of Kafka's; 0 is none.
    pub fn error(&self, code: i16) {
        if code != 0 {
            self.errors.with_label_values(&[&self.name, &code.to_string()]).inc();
        }
    }
}

impl Timed {
    /// Its answer of so many bytes is ready.
    pub fn done(self, bytes: usize) {
        let took = self.began.elapsed();
        self.done_after(took, bytes);
    }

    pub(super) fn done_after(self, took: Duration, bytes: usize) {
        self.api.seconds.observe(took.as_secs_f64());
        self.api.response_bytes.inc_by(bytes as u64);
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.api.in_flight.dec();
    }
}
