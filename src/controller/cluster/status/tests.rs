//! What a BrokerCluster's status says in each situation.

use chronik_api::rollout::RolloutStatus;
use chronik_core::ids::BrokerId;
use chronik_core::metadata::Standing;
use chronik_core::view::{BrokerReport, PartitionTotals};
use k8s_openapi::api::core::v1::{PodCondition, PodStatus};

use super::*;
use crate::cluster::rollout;
use crate::cluster::testing::{cluster, settings};
use crate::cluster::validate::validate;

fn pod(number: u32, ready: bool, hash: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(names::pod("demo", number));
    pod.metadata.annotations = Some([(RESTART_HASH.to_owned(), hash.to_owned())].into());
    let ready = PodCondition {
        type_: "Ready".to_owned(),
        status: if ready { "True" } else { "False" }.to_owned(),
        ..PodCondition::default()
    };
    pod.status = Some(PodStatus { conditions: Some(vec![ready]), ..PodStatus::default() });
    pod
}

fn report(alive: &[bool]) -> ClusterReport {
    let broker = |(&alive, id): (&bool, u32)| BrokerReport {
        id: BrokerId(id),
        alive,
        rack: None,
        listeners: Vec::new(),
        version: String::new(),
        leaders: 0,
        replicas: 0,
        standing: Standing::Settled,
        moving: 0,
        blocked: None,
        disk: String::new(),
    };
    ClusterReport {
        cluster_id: "uid-1".parse().unwrap(),
        broker: BrokerId(1),
        metadata_leader: Some(BrokerId(1)),
        metadata_voters: Vec::new(),
        metadata_index: 1,
        brokers: alive.iter().zip(1..).map(broker).collect(),
        partitions: PartitionTotals {
            total: 6,
            in_sync: 4,
            under_replicated: 2,
            ..PartitionTotals::default()
        },
        generation: chronik_core::ids::Generation::BIRTH,
        recoveries: Vec::new(),
    }
}

fn waiting() -> Told {
    let rollout = rollout::Told {
        status: RolloutStatus {
            summary: "1/3 outdated, blocked".to_owned(),
            outdated: 1,
            message: "broker 2 may not stop".to_owned(),
            ..RolloutStatus::default()
        },
        finding: Finding::new(conditions::ROLLING_OUT, true, "Blocked", "broker 2 may not stop"),
        happenings: Vec::new(),
        pace: None,
    };
    Told { scale: None, rollout }
}

fn status(found: Found) -> BrokerClusterStatus {
    let cluster = cluster("replicas: 3");
    let valid = validate(&cluster, &found, &settings()).unwrap();
    let built = Built { valid, restart_hash: "now".to_owned(), findings: Vec::new() };
    let told = waiting();
    let seen = Seen { found: &found, outcome: Ok(&built), told: Some(&told), settings: &settings() };
    build(&cluster, &seen, Timestamp::from_second(100).unwrap())
}

fn ready_of(status: &BrokerClusterStatus) -> String {
    let ready = conditions::get(&status.conditions, conditions::READY).unwrap();
    format!("{} {}", ready.status, ready.reason)
}

#[test]
fn a_cluster_with_one_outdated_pod() {
    let pods = vec![pod(1, true, "now"), pod(2, true, "before"), pod(3, true, "now")];
    let found = Found { pods, report: Some(report(&[true; 3])), ..Found::default() };
    insta::assert_snapshot!("one_outdated", serde_saphyr::to_string(&status(found)).unwrap());
}

#[test]
fn ready_names_what_is_missing() {
    let pods = || vec![pod(1, true, "now"), pod(2, true, "now"), pod(3, false, "now")];
    let new = status(Found::default());
    assert_eq!((ready_of(&new).as_str(), new.phase), ("False Forming", Phase::Pending));
    let forming = status(Found { pods: pods(), report: Some(report(&[true; 2])), ..Found::default() });
    assert_eq!((ready_of(&forming).as_str(), forming.phase), ("False Forming", Phase::Forming));
    let down = status(Found { pods: pods(), report: Some(report(&[true, true, false])), ..Found::default() });
    assert_eq!((ready_of(&down).as_str(), down.phase), ("False BrokersDown", Phase::Degraded));
    assert_eq!(down.brokers.unwrap().summary, "2/3");
    let slow = status(Found { pods: pods(), report: Some(report(&[true; 3])), ..Found::default() });
    assert_eq!(ready_of(&slow), "False BrokersNotReady");
}

#[test]
fn a_conflict_of_identities_blocks_and_keeps_what_was_known() {
    let mut known = cluster("replicas: 3");
    known.status = Some(BrokerClusterStatus {
        cluster_id: Some("mine".to_owned()),
        initialised: true,
        ..BrokerClusterStatus::default()
    });
    let error = Error::ForeignBrokers { present: "other".to_owned(), expected: "mine".to_owned() };
    let found = Found::default();
    let seen = Seen { found: &found, outcome: Err(&error), told: None, settings: &settings() };
    let status = build(&known, &seen, Timestamp::from_second(100).unwrap());
    assert_eq!((ready_of(&status).as_str(), status.phase), ("False ClusterIdConflict", Phase::Blocked));
    assert_eq!((status.cluster_id.as_deref(), status.initialised), (Some("mine"), true));
    assert_eq!(conditions::get(&status.conditions, conditions::ROLLING_OUT).unwrap().status, "Unknown");
}
