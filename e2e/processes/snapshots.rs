//! A metadata log that is cut: brokers start from its snapshot, and one that is behind the cut, or new, is sent it.

use std::time::Duration;

use chronik_e2e::grown::Grown;
use chronik_e2e::{admin, wait};
use serde_json::json;

const SETTLE: Duration = Duration::from_secs(40);
const FOUNDERS: i32 = 3;
/// Cut after so many entries, as few as may be set.
const CUT: &str = "--metadata-snapshot-entries=10";

fn create(cluster: &Grown, topics: std::ops::Range<usize>) {
    for topic in topics {
        let body = json!({"name": format!("topic-{topic}"), "partitions": 1, "replication_factor": 1});
        let answer = admin::post(cluster.broker(1).admin(), "/v1/topics", &body).expect("create topic");
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
}

fn await_topics(cluster: &Grown, brokers: &[i32], topics: usize) {
    for id in brokers {
        wait::until(&format!("broker {id} to know {topics} topics"), SETTLE, || {
            let known = admin::get(cluster.broker(*id).admin(), "/v1/topics")?.json()?;
            let known = known.as_array().map_or(0, Vec::len);
            wait::holds(known == topics, || format!("it knows {known}"))
        });
    }
}

fn was_sent_a_snapshot(cluster: &Grown, id: i32) -> bool {
    cluster.broker(id).log_text().contains("install a snapshot")
}

#[test]
fn brokers_come_back_from_a_metadata_snapshot_and_are_sent_one() {
    let mut cluster = Grown::start_first("snapshots", FOUNDERS, FOUNDERS + 1, FOUNDERS, &[CUT]);
    create(&cluster, 0..20);
    await_topics(&cluster, &[1, 2, 3], 20);
    cluster.broker_mut(3).kill();
    create(&cluster, 20..50);
    assert!(!was_sent_a_snapshot(&cluster, 3));
    cluster.broker_mut(3).start();
    await_topics(&cluster, &[1, 2, 3], 50);
    assert!(was_sent_a_snapshot(&cluster, 3), "what it missed was still there");

    cluster.join(4);
    await_topics(&cluster, &[4], 50);
    assert!(was_sent_a_snapshot(&cluster, 4), "the log was there from its beginning");

    for id in 1..=FOUNDERS + 1 {
        cluster.broker(id).terminate();
        cluster.broker_mut(id).wait_end(SETTLE);
    }
    for id in 1..=FOUNDERS + 1 {
        let folder = cluster.broker(id).data.display().to_string();
        let (code, said) = cluster.broker(id).command(&["check", &folder]);
        assert!(code == 0 && said.contains("a snapshot of what came before entry"), "{code}: {said}");
        cluster.broker_mut(id).start();
    }
    cluster.await_ready();
    create(&cluster, 50..51);
    await_topics(&cluster, &[1, 2, 3, 4], 51);
}
