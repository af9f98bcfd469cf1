//! The operator's own metrics. One registry, handed around; nothing global.

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::error::Category;

/// States that brokers are counted by.
const DESIRED: &str = "desired";
const READY: &str = "ready";

/// Every series this process exports.
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    errors: IntCounterVec,
    reconcile_seconds: Histogram,
    status_writes: IntCounterVec,
    status_wait_seconds: Histogram,
    events_dropped: IntCounter,
    feed_connected: IntGaugeVec,
    feed_connects: IntCounterVec,
    rollout_restarts: IntCounterVec,
    rollout_blocked: IntGaugeVec,
    rollout_overdue: IntGaugeVec,
    brokers_removed: IntCounterVec,
    scale_blocked: IntGaugeVec,
    evictions: IntCounterVec,
    brokers: IntGaugeVec,
    certificate_expires: IntGauge,
    leader: IntGauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every series.
    ///
    /// # Panics
    /// When two series share a name: a bug that the first test shows.
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            reconciles: counters("reconciles_total", "Reconciles by kind and outcome.", &["kind", "outcome"]),
            errors: counters("errors_total", "Errors by kind and category.", &["kind", "category"]),
            reconcile_seconds: histogram("reconcile_seconds", "Duration of a reconcile."),
            status_writes: counters("status_writes_total", "Status writes by kind.", &["kind"]),
            status_wait_seconds: histogram(
                "status_write_wait_seconds",
                "Time a status write waited for its turn.",
            ),
            events_dropped: IntCounter::with_opts(opts("events_dropped_total", "Events over the cap."))
                .expect("a valid name"),
            feed_connected: IntGaugeVec::new(
                opts("feed_connected", "1 while a broker of the cluster feeds the operator."),
                &["namespace", "cluster"],
            )
            .expect("a valid name"),
            feed_connects: counters(
                "feed_connects_total",
                "Times a broker was chosen as the cluster's feed.",
                &["namespace", "cluster"],
            ),
            rollout_restarts: counters(
                "rollout_restarts_total",
                "Broker pods deleted so that they restart.",
                &["namespace", "cluster"],
            ),
            rollout_blocked: IntGaugeVec::new(
                opts("rollout_blocked", "1 while a broker should restart and may not stop."),
                &["namespace", "cluster"],
            )
            .expect("a valid name"),
            rollout_overdue: IntGaugeVec::new(
                opts("rollout_overdue", "1 while a broker that restarts has not returned in time."),
                &["namespace", "cluster"],
            )
            .expect("a valid name"),
            brokers_removed: counters(
                "brokers_removed_total",
                "Brokers taken out of a cluster that became smaller.",
                &["namespace", "cluster"],
            ),
            scale_blocked: IntGaugeVec::new(
                opts("scale_blocked", "1 while a broker should leave and cannot."),
                &["namespace", "cluster"],
            )
            .expect("a valid name"),
            evictions: counters(
                "evictions_total",
                "Evictions of brokers' pods that were asked about, by outcome.",
                &["outcome"],
            ),
            brokers: IntGaugeVec::new(
                opts(
                    "brokers",
                    "Broker pods of a cluster: those its spec desires, and those that are ready.",
                ),
                &["namespace", "cluster", "state"],
            )
            .expect("a valid name"),
            certificate_expires: IntGauge::with_opts(opts(
                "webhook_certificate_expires_seconds",
                "Unix time at which the certificate that the webhook serves ends; 0 while it serves none.",
            ))
            .expect("a valid name"),
            leader: IntGauge::with_opts(opts("leader", "1 while this process leads.")).expect("a valid name"),
            registry,
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let all: [Box<dyn prometheus::core::Collector>; 17] = [
            Box::new(self.reconciles.clone()),
            Box::new(self.errors.clone()),
            Box::new(self.reconcile_seconds.clone()),
            Box::new(self.status_writes.clone()),
            Box::new(self.status_wait_seconds.clone()),
            Box::new(self.events_dropped.clone()),
            Box::new(self.feed_connected.clone()),
            Box::new(self.feed_connects.clone()),
            Box::new(self.rollout_restarts.clone()),
            Box::new(self.rollout_blocked.clone()),
            Box::new(self.rollout_overdue.clone()),
            Box::new(self.brokers_removed.clone()),
            Box::new(self.scale_blocked.clone()),
            Box::new(self.evictions.clone()),
            Box::new(self.brokers.clone()),
            Box::new(self.certificate_expires.clone()),
            Box::new(self.leader.clone()),
        ];
        for collector in all {
            self.registry.register(collector).expect("series names are unique");
        }
    }

    /// A reconcile ended.
    pub fn reconciled(&self, kind: &str, error: Option<Category>, took: Duration) {
        let outcome = if error.is_some() { "error" } else { "ok" };
        self.reconciles.with_label_values(&[kind, outcome]).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
        if let Some(category) = error {
            self.error(kind, category);
        }
    }

    /// Something could not be done: shown in a status, or tried again.
    pub fn error(&self, kind: &str, category: Category) {
        self.errors.with_label_values(&[kind, category.reason()]).inc();
    }

    /// A status was written after waiting for its turn.
    pub fn status_written(&self, kind: &str, waited: Duration) {
        self.status_writes.with_label_values(&[kind]).inc();
        self.status_wait_seconds.observe(waited.as_secs_f64());
    }

    /// An event was dropped because of the cap.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// A cluster's feed came or went.
    pub fn feed(&self, namespace: &str, cluster: &str, connected: bool) {
        let labels = [namespace, cluster];
        self.feed_connected.with_label_values(&labels).set(i64::from(connected));
        if connected {
            self.feed_connects.with_label_values(&labels).inc();
        }
    }

    /// A broker's pod was deleted so that it restarts.
    pub fn rollout_restarted(&self, namespace: &str, cluster: &str) {
        self.rollout_restarts.with_label_values(&[namespace, cluster]).inc();
    }

    /// Whether a broker should restart and may not stop.
    pub fn rollout_blocked(&self, namespace: &str, cluster: &str, blocked: bool) {
        self.rollout_blocked.with_label_values(&[namespace, cluster]).set(i64::from(blocked));
    }

    /// Whether a broker that restarts has not returned in time.
    pub fn rollout_overdue(&self, namespace: &str, cluster: &str, overdue: bool) {
        self.rollout_overdue.with_label_values(&[namespace, cluster]).set(i64::from(overdue));
    }

    /// A broker was taken out of a cluster that became smaller.
    pub fn broker_removed(&self, namespace: &str, cluster: &str) {
        self.brokers_removed.with_label_values(&[namespace, cluster]).inc();
    }

    /// Whether a broker should leave and cannot.
    pub fn scale_blocked(&self, namespace: &str, cluster: &str, blocked: bool) {
        self.scale_blocked.with_label_values(&[namespace, cluster]).set(i64::from(blocked));
    }

    /// Kubernetes asked whether a broker's pod may be evicted.
    pub fn eviction(&self, allowed: bool) {
        self.evictions.with_label_values(&[if allowed { "allowed" } else { "refused" }]).inc();
    }

    /// How many broker pods a cluster should have, and how many are ready.
    pub fn brokers(&self, namespace: &str, cluster: &str, desired: u32, ready: u32) {
        for (state, count) in [(DESIRED, desired), (READY, ready)] {
            self.brokers.with_label_values(&[namespace, cluster, state]).set(count.into());
        }
    }

    /// The webhook serves a certificate that ends at this Unix time, in seconds.
    pub fn certificate_expires(&self, at: i64) {
        self.certificate_expires.set(at);
    }

    /// A cluster is gone: so are its series.
    pub fn forget_cluster(&self, namespace: &str, cluster: &str) {
        let labels = [namespace, cluster];
        let _ = self.feed_connected.remove_label_values(&labels);
        let _ = self.feed_connects.remove_label_values(&labels);
        let _ = self.rollout_restarts.remove_label_values(&labels);
        let _ = self.rollout_blocked.remove_label_values(&labels);
        let _ = self.rollout_overdue.remove_label_values(&labels);
        let _ = self.brokers_removed.remove_label_values(&labels);
        let _ = self.scale_blocked.remove_label_values(&labels);
        for state in [DESIRED, READY] {
            let _ = self.brokers.remove_label_values(&[namespace, cluster, state]);
        }
    }

    /// This process leads, or does not.
    pub fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All series in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "encode metrics");
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("chronik_operator_{name}"), help)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(opts(name, help), labels).expect("a valid name")
}

fn histogram(name: &str, help: &str) -> Histogram {
    Histogram::with_opts(HistogramOpts::from(opts(name, help))).expect("a valid name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_appear_and_a_gone_cluster_takes_its_own_along() {
        let metrics = Metrics::new();
        metrics.reconciled("Topic", Some(Category::InvalidSpec), Duration::from_millis(3));
        metrics.feed("shop", "demo", true);
        metrics.rollout_restarted("shop", "demo");
        metrics.rollout_blocked("shop", "demo", true);
        metrics.rollout_overdue("shop", "demo", true);
        metrics.broker_removed("shop", "demo");
        metrics.scale_blocked("shop", "demo", true);
        metrics.eviction(false);
        metrics.brokers("shop", "demo", 3, 2);
        let text = metrics.text();
        assert!(
            text.contains(r#"chronik_operator_errors_total{category="InvalidSpec",kind="Topic"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"chronik_operator_feed_connected{cluster="demo",namespace="shop"} 1"#),
            "{text}"
        );
        assert!(text.contains(r#"chronik_operator_evictions_total{outcome="refused"} 1"#), "{text}");
        for (state, count) in [("desired", 3), ("ready", 2)] {
            let labels = format!(r#"cluster="demo",namespace="shop",state="{state}""#);
            let line = format!("chronik_operator_brokers{{{labels}}} {count}");
            assert!(text.contains(&line), "{text}");
        }
        for series in [
            "rollout_restarts_total",
            "rollout_blocked",
            "rollout_overdue",
            "brokers_removed_total",
            "scale_blocked",
        ] {
            let line = format!(r#"chronik_operator_{series}{{cluster="demo",namespace="shop"}} 1"#);
            assert!(text.contains(&line), "{text}");
        }
        metrics.forget_cluster("shop", "demo");
        assert!(!metrics.text().contains("demo"));
    }
}
