//! Metrics as Prometheus reads them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chronik_core::ids::{BrokerId, GroupId};
use chronik_core::view::FollowerLag;

use super::*;

fn follower(broker: u32, lag_entries: u64, lag_ms: u64) -> FollowerLag {
    FollowerLag { broker: BrokerId(broker), lag_entries, lag_ms, last_heartbeat_ms: 1_763_890_000_123 }
}

fn led(topic: &str, partition: i32, isr: u32, followers: &[FollowerLag]) -> LedPartition {
    LedPartition {
        topic: topic.into(),
        partition,
        isr,
        replicas: 3,
        effective_min_isr: 2,
        caretaker: false,
        followers: followers.to_vec(),
    }
}

/// Each line without comments.
fn scrape(metrics: &Metrics) -> Vec<String> {
    metrics.render().unwrap().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[track_caller]
fn has(metrics: &Metrics, line: &str) {
    let lines = scrape(metrics);
    assert!(lines.iter().any(|found| found == line), "{line} is not in:\n{}", lines.join("\n"));
}

fn names(metrics: &Metrics, part: &str) -> usize {
    scrape(metrics).iter().filter(|line| line.contains(part)).count()
}

#[test]
fn the_seeds_four_have_its_names_and_labels() {
    let metrics = Metrics::new(true).unwrap();
    metrics.partitions.set_led(GroupId(16), led("orders", 0, 3, &[follower(2, 5, 40), follower(3, 0, 7)]));
    for line in [
        r#"chronik_raft_isr_size{partition="0",topic="orders"} 3"#,
        r#"chronik_raft_follower_lag_entries{follower_id="2",partition="0",topic="orders"} 5"#,
        r#"chronik_raft_follower_lag_ms{follower_id="2",partition="0",topic="orders"} 40"#,
        r#"chronik_raft_follower_lag_ms{follower_id="3",partition="0",topic="orders"} 7"#,
        r#"chronik_raft_last_heartbeat_timestamp_ms{follower_id="3",partition="0",topic="orders"} 1763890000123"#,
        "chronik_follower_lag_entries_max 5",
        "chronik_follower_lag_ms_max 40",
    ] {
        has(&metrics, line);
    }
}

#[test]
fn counts_follow_the_partitions_that_are_led() {
    let metrics = Metrics::new(true).unwrap();
    metrics.partitions.set_led(GroupId(16), led("t", 0, 3, &[]));
    metrics.partitions.set_led(GroupId(17), led("t", 1, 2, &[]));
    metrics.partitions.set_led(GroupId(18), led("t", 2, 1, &[]));
    metrics.partitions.set_led(GroupId(19), LedPartition { caretaker: true, ..led("t", 3, 1, &[]) });
    for (name, count) in [
        ("leaders", 3),
        ("caretaker_partitions", 1),
        ("under_replicated_partitions", 3),
        ("under_min_isr_partitions", 2),
        ("at_min_isr_partitions", 1),
    ] {
        has(&metrics, &format!("chronik_{name} {count}"));
    }
    metrics.partitions.set_led(GroupId(18), led("t", 2, 3, &[]));
    metrics.partitions.remove_led(GroupId(19));
    has(&metrics, "chronik_under_min_isr_partitions 0");
}

#[test]
fn series_go_with_their_partition_and_their_follower() {
    let metrics = Metrics::new(true).unwrap();
    metrics.partitions.set_led(GroupId(16), led("t", 0, 2, &[follower(2, 1, 1), follower(3, 1, 1)]));
    assert_eq!(names(&metrics, "topic=\"t\""), 7);
    metrics.partitions.set_led(GroupId(16), led("t", 0, 2, &[follower(2, 1, 1)]));
    assert_eq!(names(&metrics, "follower_id=\"3\""), 0);
    // A topic that was recreated under its name has another group: the old one's end leaves the new one's series.
    metrics.partitions.set_led(GroupId(17), led("t", 0, 3, &[]));
    metrics.partitions.remove_led(GroupId(16));
    has(&metrics, r#"chronik_raft_isr_size{partition="0",topic="t"} 3"#);
    metrics.partitions.remove_led(GroupId(17));
    assert_eq!(names(&metrics, "topic=\"t\""), 0);
}

#[test]
fn totals_only_when_asked() {
    let metrics = Metrics::new(false).unwrap();
    metrics.partitions.set_led(GroupId(16), led("t", 0, 1, &[follower(2, 9, 1)]));
    assert_eq!(names(&metrics, "topic="), 0);
    has(&metrics, "chronik_under_min_isr_partitions 1");
    has(&metrics, "chronik_follower_lag_entries_max 9");
}

#[test]
fn requests_and_their_errors_are_counted_by_api() {
    let metrics = Metrics::new(true).unwrap();
    let api = |key, name: &str| Arc::clone(metrics.requests.api(key, || name.into()).unwrap());
    let (produce, fetch) = (api(0, "Produce"), api(1, "Fetch"));
    assert!(Arc::ptr_eq(&produce, &api(0, "another name comes too late")));
    assert!(
        metrics.requests.api(-1, String::new).is_none() && metrics.requests.api(999, String::new).is_none()
    );
    let (first, second) = (produce.begin(100), fetch.begin(10));
    has(&metrics, "chronik_requests_in_flight 2");
    first.done_after(Duration::from_millis(3), 50);
    drop(second);
    produce.error(20);
    produce.error(0);
    metrics.requests.produced(7, 90);
    metrics.requests.fetched(12);
    for line in [
        "chronik_requests_in_flight 0",
        r#"chronik_request_duration_seconds_bucket{api="Produce",le="0.002"} 0"#,
        r#"chronik_request_duration_seconds_bucket{api="Produce",le="0.005"} 1"#,
        r#"chronik_request_duration_seconds_count{api="Fetch"} 0"#,
        r#"chronik_request_bytes_total{api="Produce"} 100"#,
        r#"chronik_response_bytes_total{api="Produce"} 50"#,
        r#"chronik_request_errors_total{api="Produce",code="20"} 1"#,
        "chronik_produced_batches_total 1",
        "chronik_produced_records_total 7",
        "chronik_produced_bytes_total 90",
        "chronik_fetched_bytes_total 12",
    ] {
        has(&metrics, line);
    }
    assert_eq!(names(&metrics, "code=\"0\""), 0);
}

#[test]
fn the_inside_is_seen() {
    let metrics = Metrics::new(true).unwrap();
    metrics.broker.synced(Duration::from_micros(150), 5000);
    metrics.broker.write_failed(true);
    metrics.broker.set_queue(Queue::ClientAppends, 4, 0);
    metrics.broker.set_queue(Queue::PeerBulk, 0, 2);
    metrics.broker.set_queue(Queue::PeerBulk, 7, 3);
    let listener = metrics.broker.listener("PLAINTEXT");
    let open = listener.opened();
    drop(listener.opened());
    listener.refused();
    metrics.broker.request_memory().taken.add(10);
    metrics.broker.request_memory().waits.inc();
    metrics.broker.set_disk(1000, 100);
    metrics.broker.set_peers_up(2);
    metrics.broker.set_peer_bytes("control", 5, 6);
    metrics.broker.set_learner_bytes(9);
    metrics.broker.set_metadata(77, true);
    metrics.partitions.set_changes(2, 1, 3);
    metrics.partitions.set_transfers(2, 30, 20);
    metrics.partitions.set_replicas(6, 1, 4);
    metrics.partitions.set_cluster(3, 4);
    for line in [
        r#"chronik_log_sync_duration_seconds_bucket{le="0.0001"} 0"#,
        r#"chronik_log_sync_duration_seconds_bucket{le="0.0002"} 1"#,
        "chronik_log_write_failures_total 1",
        "chronik_log_disk_full 1",
        r#"chronik_queue_bytes{queue="client_appends"} 4"#,
        r#"chronik_queue_bytes{queue="peer_bulk"} 7"#,
        r#"chronik_queue_refusals_total{queue="peer_bulk"} 3"#,
        r#"chronik_connections{listener="PLAINTEXT"} 1"#,
        r#"chronik_connections_opened_total{listener="PLAINTEXT"} 2"#,
        r#"chronik_connections_refused_total{listener="PLAINTEXT"} 1"#,
        "chronik_request_memory_bytes 10",
        "chronik_request_memory_waits_total 1",
        "chronik_disk_bytes 1000",
        "chronik_disk_free_bytes 100",
        "chronik_peers_up 2",
        r#"chronik_peer_bytes_total{direction="received",lane="control"} 6"#,
        "chronik_learner_bytes_sent_total 9",
        "chronik_metadata_applied_index 77",
        "chronik_metadata_leader 1",
        "chronik_isr_shrinks_total 2",
        "chronik_leadership_transfers_total 2",
        "chronik_leadership_transfers_ms_total 30",
        "chronik_leadership_transfer_longest_ms 20",
        "chronik_isr_expands_total 1",
        "chronik_leader_changes_total 3",
        "chronik_replicas 6",
        "chronik_quarantined_replicas 1",
        "chronik_offline_partitions 3",
        "chronik_unknown_partitions 4",
    ] {
        has(&metrics, line);
    }
    metrics.broker.set_disk_full(false);
    has(&metrics, "chronik_log_disk_full 0");
    drop(open);
    has(&metrics, r#"chronik_connections{listener="PLAINTEXT"} 0"#);
}

/// Words of the chart's file that begin with `chronik_` and are not the operator's.
fn named_in(file: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/chronik/files");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let series = words.filter(|word| word.starts_with("chronik_") && !word.starts_with("chronik_operator_"));
    series.map(str::to_owned).collect()
}

#[test]
fn alerts_and_dashboard_look_at_what_is_exported() {
    let metrics = Metrics::new(true).unwrap();
    metrics.partitions.set_led(GroupId(16), led("t", 0, 3, &[follower(2, 1, 1)]));
    let produce = Arc::clone(metrics.requests.api(0, || "Produce".into()).unwrap());
    produce.begin(1).done(1);
    produce.error(20);
    drop(metrics.broker.listener("PLAINTEXT").opened());
    metrics.broker.set_queue(Queue::ClientAppends, 1, 1);
    metrics.broker.set_peer_bytes("control", 1, 1);
    let lines = scrape(&metrics);
    let exported: BTreeSet<&str> = lines.iter().map(|line| line.split(['{', ' ']).next().unwrap()).collect();
    for file in ["alerts.yaml", "alerts-test.yaml", "dashboard.json"] {
        let unknown: Vec<String> =
            named_in(file).into_iter().filter(|series| !exported.contains(series.as_str())).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
}
