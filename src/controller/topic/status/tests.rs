//! What a Topic's status says in each situation.

use std::sync::Arc;

use chronik_api::conditions::get;

use super::*;
use crate::topic::testing::{partition, report, topic};
use chronik_core::view::ResizeReport;

fn present(report: TopicReport) -> Seen {
    Seen::Present { broker: "b:1".to_owned(), report: Arc::new(report) }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn shown(topic: &Topic, seen: &Seen) -> TopicStatus {
    build(topic, seen, None, at(100))
}

fn condition(status: &TopicStatus, type_: &str) -> String {
    let condition = get(&status.conditions, type_).unwrap();
    format!("{} {}", condition.status, condition.reason)
}

fn conditions_of(status: &TopicStatus) -> [String; 4] {
    [conditions::READY, conditions::IN_SYNC, conditions::UNDER_MIN_ISR, conditions::OFFLINE]
        .map(|type_| condition(status, type_))
}

#[test]
fn a_topic_with_one_lagging_replica() {
    let partitions = vec![partition(0, Some(&[1, 2, 3])), partition(1, Some(&[2, 3]))];
    let status = shown(&topic("orders", 1, "partitions: 2"), &present(report(partitions)));
    insta::assert_snapshot!("one_lagging", serde_saphyr::to_string(&status).unwrap());
}

#[test]
fn conditions_follow_the_worst_partition() {
    let orders = topic("orders", 1, "");
    let status = |isr: Option<&[u32]>| {
        let partitions = vec![partition(0, Some(&[1, 2, 3])), partition(1, isr)];
        conditions_of(&shown(&orders, &present(report(partitions))))
    };
    assert_eq!(
        status(Some(&[2, 1, 3])),
        ["True Serving", "True AllInSync", "False NoPartition", "False NoPartition"]
    );
    assert_eq!(
        status(Some(&[2, 1])),
        ["True Serving", "False UnderReplicated", "False NoPartition", "False NoPartition"]
    );
    assert_eq!(
        status(Some(&[2])),
        ["False UnderMinIsr", "False UnderReplicated", "True Partitions", "False NoPartition"]
    );
    assert_eq!(
        status(None),
        ["False Offline", "False UnderReplicated", "False NoPartition", "True Partitions"]
    );
}

#[test]
fn without_a_broker_everything_is_unknown_and_nothing_looks_healthy() {
    let mut orders = topic("orders", 1, "");
    orders.status = Some(shown(&orders, &present(report(vec![partition(0, Some(&[1, 2, 3]))]))));
    let error = Error::BrokersUnreachable { cluster: "demo".to_owned() };
    let status = build(&orders, &Seen::Unreachable, Some(&error), at(200));
    assert_eq!(
        conditions_of(&status),
        ["Unknown BrokersUnreachable", "Unknown Unknown", "Unknown Unknown", "Unknown Unknown"]
    );
    let totals = status.totals.unwrap();
    assert_eq!((totals.summary.as_str(), totals.in_sync, totals.unknown), ("0/1", 0, 1));
    let partition = &status.partitions[0];
    assert_eq!((partition.state, partition.leader, &partition.isr), (PartitionState::Unknown, None, &None));
    assert_eq!(partition.replicas, [1, 2, 3]);
    assert!(status.topic_id.is_some());
}

#[test]
fn a_superseded_topic_shows_nothing_of_the_topic() {
    let error = Error::Superseded { winner: "a".into(), topic: "orders".into(), cluster: "demo".into() };
    let seen = present(report(vec![partition(0, Some(&[1, 2, 3]))]));
    let status = build(&topic("orders", 1, ""), &seen, Some(&error), at(100));
    assert_eq!(condition(&status, conditions::READY), "False Superseded");
    assert!(status.totals.is_none() && status.partitions.is_empty() && status.topic_id.is_none());
}

#[test]
fn of_many_partitions_the_worst_are_listed_by_number() {
    let partitions: Vec<_> = (0..200)
        .map(|number| match number {
            150 => partition(number, None),
            160..=170 => partition(number, Some(&[1])),
            _ => partition(number, Some(&[1, 2, 3])),
        })
        .collect();
    let status = shown(&topic("orders", 1, "partitions: 200"), &present(report(partitions)));
    let numbers: Vec<i32> = status.partitions.iter().map(|partition| partition.partition).collect();
    assert_eq!((numbers.len(), status.partitions_omitted), (64, Some(136)));
    assert!(numbers.contains(&150) && (160..=170).all(|number| numbers.contains(&number)));
    assert!(numbers.is_sorted());
    let message = &get(&status.conditions, conditions::IN_SYNC).unwrap().message;
    assert!(
        message.contains("of partition 150 no ISR is known, partition 160 has ISR [1] of [1, 2, 3]")
            && message.contains("and 2 more"),
        "{message}"
    );
}

#[test]
fn exactly_the_limit_is_listed_in_full() {
    let partitions = (0..64).map(|number| partition(number, Some(&[1, 2, 3]))).collect();
    let status = shown(&topic("orders", 1, ""), &present(report(partitions)));
    assert_eq!((status.partitions.len(), status.partitions_omitted), (64, None));
}

#[test]
fn a_min_isr_below_the_majority_is_pointed_out() {
    let orders = topic("orders", 1, "minInsyncReplicas: 1");
    let status = shown(&orders, &present(report(vec![partition(0, Some(&[1, 2, 3]))])));
    let message = &get(&status.conditions, conditions::READY).unwrap().message;
    assert!(message.contains("acks=all needs 2 of 3 replicas") && message.contains("is 1"), "{message}");
    assert_eq!(condition(&status, conditions::CONFIG_IN_SYNC), "False Differs");
}

#[test]
fn the_same_facts_make_the_same_status_so_that_nothing_is_written() {
    let mut orders = topic("orders", 1, "");
    let mut facts = report(vec![partition(0, Some(&[1, 2]))]);
    let first = shown(&orders, &present(facts.clone()));
    orders.status = Some(first.clone());
    facts.partitions[0].isr_age_ms = Some(4_000);
    facts.partitions[0].high_watermark = Some(99);
    assert_eq!(build(&orders, &present(facts), None, at(500)), first);
}

#[test]
fn a_topic_that_is_handed_back_is_shown_and_says_so() {
    let topic = topic("orders", 1, "partitions: 1\nmanaged: false\nconfig: {max.message.bytes: '5'}");
    let there = shown(&topic, &present(report(vec![partition(0, Some(&[1, 2, 3]))])));
    let told =
        |status: &TopicStatus| ["Ready", "ConfigInSync", "Managed"].map(|type_| condition(status, type_));
    assert_eq!(told(&there), ["True Serving", "False Differs", "False HandedBack"]);
    assert_eq!(there.partitions.len(), 1);
    let unmade = Error::Unmade { topic: "orders".to_owned(), cluster: "demo".to_owned() };
    let nowhere = build(&topic, &Seen::Absent { broker: "b:1".to_owned() }, Some(&unmade), at(100));
    assert_eq!(told(&nowhere), ["False TopicNotFound", "Unknown Unknown", "False HandedBack"]);
}

fn on_its_way(done: u32, blocked: Option<&str>) -> TopicReport {
    let mut facts = report((0..3).map(|number| partition(number, Some(&[1, 2]))).collect());
    for partition in &mut facts.partitions {
        partition.adding = vec![BrokerId(3)];
    }
    facts.resize = Some(ResizeReport { replicas: 3, done, blocked: blocked.map(str::to_owned) });
    facts
}

#[test]
fn a_topic_shows_its_way_to_another_number_of_replicas_and_that_alone() {
    let told = |status: &TopicStatus| {
        let found = get(&status.conditions, conditions::RESIZING);
        found.map(|it| format!("{} {}: {}", it.status, it.reason, it.message))
    };
    let mut orders = topic("orders", 1, "");
    let way = shown(&orders, &present(on_its_way(0, None)));
    let expected = "True MovingReplicas: moving replicas: 0 of 3 partitions have 3 replicas";
    assert_eq!((told(&way).as_deref(), way.replication_factor), (Some(expected), Some(2)));
    assert_eq!(condition(&way, conditions::READY), "True Serving");
    let waits = told(&shown(&orders, &present(on_its_way(1, Some("a permit is open"))))).unwrap();
    assert_eq!(
        waits,
        "True Waiting: moving replicas: 1 of 3 partitions have 3 replicas; one waits: a permit is open"
    );
    let there = shown(&orders, &present(report(vec![partition(0, Some(&[1, 2, 3]))])));
    assert_eq!((told(&there), there.replication_factor), (None, Some(3)));

    let event = |before: &TopicStatus, after: &TopicStatus| {
        crate::topic::resized(before, after).map(|it| format!("{}: {}", it.reason, it.note))
    };
    let begun = event(&there, &way).unwrap();
    assert!(begun.starts_with("MovingReplicas: moving replicas: 0 of 3"), "{begun}");
    assert_eq!(event(&way, &there).unwrap(), "ReplicasMoved: all partitions have 3 replicas");
    assert_eq!(event(&way, &way), None);
    orders.status = Some(way.clone());
    let silent = build(&orders, &Seen::Unreachable, None, at(200));
    assert!(told(&silent).unwrap().starts_with("Unknown Unknown"), "silence is no end");
    assert_eq!((event(&way, &silent), event(&silent, &way)), (None, None));
}
