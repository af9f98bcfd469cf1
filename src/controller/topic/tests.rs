//! From a Topic's YAML through validate and build to what would be asked of the brokers; and deletion's decisions.

use std::sync::Arc;

use chronik_api::Topic;
use chronik_core::view::{ResizeReport, TopicReport};
use k8s_openapi::jiff::Timestamp;

use super::build::{Action, plan};
use super::cleanup::{Decision, PATIENCE, decide};
use super::dereference::Found;
use super::testing::{partition, report, topic};
use super::validate::validate;
use crate::broker_client::{AlterTopic, CreateTopic};
use crate::feed::Seen;

fn found(rivals: &[&Topic], seen: Seen) -> Found {
    Found {
        cluster: Some(Arc::new(crate::cluster::testing::cluster("replicas: 3"))),
        formed: true,
        rivals: rivals.iter().map(|rival| Arc::new((*rival).clone())).collect(),
        seen,
    }
}

fn absent() -> Seen {
    Seen::Absent { broker: "b:1".to_owned() }
}

fn present(report: TopicReport) -> Seen {
    Seen::Present { broker: "b:1".to_owned(), report: Arc::new(report) }
}

fn six() -> TopicReport {
    report((0..6).map(|number| partition(number, Some(&[1, 2, 3]))).collect())
}

fn planned(spec: &str, known: Option<TopicReport>) -> (Option<Action>, Option<String>) {
    let valid = validate(&topic("orders", 1, spec), &found(&[], absent())).unwrap();
    let plan = plan(&valid, known.as_ref());
    (plan.action, plan.refusal.map(|error| error.to_string()))
}

#[test]
fn a_topic_that_is_not_there_is_created_as_specified() {
    let (action, refusal) =
        planned("partitions: 6\nminInsyncReplicas: 2\nconfig: {max.message.bytes: '5'}", None);
    let configs = [("max.message.bytes", "5"), ("min.insync.replicas", "2")];
    let expected = CreateTopic {
        name: "orders".to_owned(),
        partitions: 6,
        replication_factor: 3,
        configs: configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    };
    assert_eq!((action, refusal), (Some(Action::Create(expected)), None));
}

#[test]
fn a_topic_that_is_as_specified_is_left_alone() {
    assert_eq!(planned("partitions: 6", Some(six())), (None, None));
}

#[test]
fn partitions_grow_and_configs_are_set_and_reset_in_one_request() {
    let mut known = six();
    known.configs = [("max.message.bytes", "5"), ("min.insync.replicas", "1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let (action, _) = planned("partitions: 9\nminInsyncReplicas: 2", Some(known));
    let expected = AlterTopic {
        partitions: Some(9),
        replicas: None,
        configs: [("max.message.bytes", None), ("min.insync.replicas", Some("2"))]
            .map(|(key, value)| (key.to_owned(), value.map(str::to_owned)))
            .into(),
    };
    assert_eq!(action, Some(Action::Alter(expected)));
}

#[test]
fn what_cannot_be_done_is_refused_with_value_and_what_is_allowed() {
    assert_eq!(
        planned("partitions: 3", Some(six())).1.unwrap(),
        "spec.partitions = 3 is not allowed: at least 6, which the topic has; partitions cannot be taken away"
    );
}

fn replicas_asked_for(spec: &str, known: TopicReport) -> Option<u32> {
    let valid = validate(&topic("orders", 1, spec), &found(&[], absent())).unwrap();
    plan(&valid, Some(&known)).replicas
}

#[test]
fn another_number_of_replicas_is_asked_for_once_and_may_be_taken_back() {
    assert_eq!(replicas_asked_for("partitions: 6", six()), None);
    assert_eq!(replicas_asked_for("partitions: 6\nreplicas: 2", six()), Some(2));
    let resize = Some(ResizeReport { replicas: 2, done: 1, blocked: None });
    assert_eq!(
        replicas_asked_for("partitions: 6\nreplicas: 2", TopicReport { resize: resize.clone(), ..six() }),
        None
    );
    assert_eq!(replicas_asked_for("partitions: 6", TopicReport { resize, ..six() }), Some(3), "taken back");
}

#[test]
fn a_partition_that_goes_to_the_number_counts_as_there() {
    let mut moving = six();
    moving.partitions[4].replicas.push(chronik_core::ids::BrokerId(4));
    moving.partitions[4].removing = vec![chronik_core::ids::BrokerId(4)];
    assert_eq!(replicas_asked_for("partitions: 6", moving.clone()), None, "of four one goes");
    moving.partitions[4].removing.clear();
    assert_eq!(replicas_asked_for("partitions: 6", moving), Some(3), "somebody gave it a fourth");
}

#[test]
fn of_two_resources_for_one_topic_the_older_wins_and_the_other_says_which() {
    let (older, newer) = (topic("first", 1, "topicName: orders"), topic("orders", 2, ""));
    assert!(validate(&older, &found(&[&newer], absent())).is_ok());
    let error = validate(&newer, &found(&[&older], absent())).unwrap_err();
    assert_eq!(error.reason(), "Superseded");
    assert!(error.to_string().contains("Topic first is older"), "{error}");
    let twin = topic("a-twin", 2, "topicName: orders");
    assert!(validate(&newer, &found(&[&twin], absent())).is_err(), "names decide within one second");
}

#[test]
fn a_missing_cluster_is_named() {
    let orphan = Found { cluster: None, ..found(&[], absent()) };
    let error = validate(&topic("orders", 1, "clusterRef: {name: nowhere}"), &orphan).unwrap_err();
    assert_eq!(error.reason(), "ClusterNotFound");
    assert!(error.to_string().contains("no BrokerCluster nowhere in namespace shop"), "{error}");
}

#[test]
fn nothing_is_made_in_a_cluster_that_is_still_forming() {
    let forming = Found { formed: false, ..found(&[], absent()) };
    assert_eq!(validate(&topic("orders", 1, ""), &forming).unwrap_err().reason(), "ClusterForming");
}

#[test]
fn min_isr_above_replicas_is_refused() {
    let bad = topic("orders", 1, "replicas: 2\nconfig: {min.insync.replicas: '3'}");
    let error = validate(&bad, &found(&[], absent())).unwrap_err().to_string();
    assert_eq!(error, "spec.minInsyncReplicas = 3 is not allowed: at most spec.replicas, which is 2");
}

fn deleted(name: &str, created: i64, spec: &str) -> Topic {
    let mut topic = topic(name, created, spec);
    topic.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::from_second(1_000).unwrap()));
    topic
}

fn decision(topic: &Topic, found: &Found, seconds_later: i64) -> String {
    let now = Timestamp::from_second(1_000 + seconds_later).unwrap();
    match decide(topic, found, now) {
        Decision::Release { happening } => {
            format!("release {}", happening.map_or(String::new(), |h| h.reason))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn a_deleted_topic_takes_its_data_along_unless_told_otherwise() {
    let topic = deleted("orders", 1, "");
    assert_eq!(decision(&topic, &found(&[], present(six())), 1), "Delete { broker: \"b:1\" }");
    assert_eq!(decision(&topic, &found(&[], absent()), 1), "release ");
    let retained = deleted("orders", 1, "deletionPolicy: Retain");
    assert_eq!(decision(&retained, &found(&[], present(six())), 1), "release ");
}

#[test]
fn a_deletion_never_waits_for_a_cluster_that_is_gone_nor_for_long() {
    let topic = deleted("orders", 1, "");
    let orphan = Found { cluster: None, ..found(&[], Seen::Pending) };
    assert_eq!(decision(&topic, &orphan, 0), "release ClusterGone");
    let patience = PATIENCE.as_secs() as i64;
    for seen in [Seen::Unreachable, Seen::Pending] {
        let silent = found(&[], seen);
        assert_eq!(decision(&topic, &silent, patience - 1), "Wait");
        assert_eq!(decision(&topic, &silent, patience), "release DeletionGivenUp");
        assert_eq!(decision(&topic, &silent, -5), "Wait", "a clock behind the API server's is no reason");
    }
}

#[test]
fn data_that_another_resource_asks_for_is_handed_over_or_left_alone() {
    let (older, newer) = (deleted("first", 1, "topicName: orders"), topic("orders", 2, ""));
    assert_eq!(decision(&older, &found(&[&newer], present(six())), 1), "release HandedOver");
    let loser = deleted("orders", 2, "");
    let winner = topic("first", 1, "topicName: orders");
    assert_eq!(decision(&loser, &found(&[&winner], present(six())), 1), "release ");
    let both = deleted("orders", 2, "topicName: orders");
    assert_eq!(decision(&older, &found(&[&both], present(six())), 1), "Delete { broker: \"b:1\" }");
}

#[test]
fn a_topic_that_was_there_before_becomes_what_the_spec_says() {
    let mut known = six();
    known.configs = [("restart.policy", "forbid"), ("max.message.bytes", "5")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let (action, refusal) = planned("partitions: 6\nrestartPolicy: {margin: 1}", Some(known));
    let expected = AlterTopic {
        partitions: None,
        replicas: None,
        configs: [("max.message.bytes", None), ("restart.policy", Some("margin:1"))]
            .map(|(key, value)| (key.to_owned(), value.map(str::to_owned)))
            .into(),
    };
    assert_eq!((action, refusal), (Some(Action::Alter(expected)), None));
}

#[test]
fn a_topic_that_is_handed_back_stays_when_its_resource_is_deleted() {
    let topic = deleted("orders", 1, "managed: false");
    assert_eq!(decision(&topic, &found(&[], present(six())), 1), "release ");
    assert_eq!(decision(&topic, &found(&[], Seen::Unreachable), 0), "release ", "nothing is waited for");
}

#[test]
fn a_resource_that_does_not_manage_its_topic_is_no_rival() {
    let (older, newer) = (topic("first", 1, "topicName: orders\nmanaged: false"), topic("orders", 2, ""));
    assert!(validate(&newer, &found(&[&older], present(six()))).is_ok());
    let newer = deleted("orders", 2, "");
    assert_eq!(decision(&newer, &found(&[&older], present(six())), 1), "Delete { broker: \"b:1\" }");
}
