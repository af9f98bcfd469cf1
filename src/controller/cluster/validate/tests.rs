//! Identity, birth and settings: what is adopted, what is refused.

use super::*;
use crate::cluster::testing::{claim, cluster, settings};
use chronik_core::ids::BrokerId;
use chronik_core::metadata::Standing;
use chronik_core::view::{BrokerReport, ClusterReport, PartitionTotals};

fn check(cluster: &BrokerCluster, found: &Found) -> Result<ValidCluster, String> {
    validate(cluster, found, &settings()).map_err(|error| error.to_string())
}

fn with_claims(claims: Vec<PersistentVolumeClaim>) -> Found {
    Found { claims, ..Found::default() }
}

fn report(leader: Option<u32>, brokers: &[u32]) -> ClusterReport {
    let broker = |&id: &u32| BrokerReport {
        id: BrokerId(id),
        alive: true,
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
        metadata_leader: leader.map(BrokerId),
        metadata_voters: Vec::new(),
        metadata_index: 1,
        brokers: brokers.iter().map(broker).collect(),
        partitions: PartitionTotals::default(),
        generation: chronik_core::ids::Generation::BIRTH,
        recoveries: Vec::new(),
    }
}

#[test]
fn a_new_cluster_takes_its_id_from_its_own_uid_and_its_voters_from_its_size() {
    let valid = check(&cluster("replicas: 4"), &Found::default()).unwrap();
    assert_eq!((valid.cluster_id.as_str(), valid.initial_voters, valid.initialised), ("uid-1", 3, false));
    assert_eq!([1, 2, 3, 4, 5, 9].map(voters_for), [1, 1, 3, 3, 5, 5]);
}

#[test]
fn a_recreated_cluster_adopts_id_voters_and_birth_of_the_claims_left_behind() {
    let mut left = claim("data-demo-broker-1", "old-id");
    left.metadata.annotations = Some(BTreeMap::from([
        (INITIAL_VOTERS.to_owned(), "1".to_owned()),
        (INITIALISED.to_owned(), "true".to_owned()),
    ]));
    let valid = check(&cluster("replicas: 3"), &with_claims(vec![left])).unwrap();
    assert_eq!((valid.cluster_id.as_str(), valid.initial_voters, valid.initialised), ("old-id", 1, true));
}

#[test]
fn claims_of_two_clusters_stop_everything_and_are_named() {
    let claims = vec![claim("data-demo-broker-1", "a"), claim("data-demo-broker-2", "b")];
    let error = check(&cluster("replicas: 3"), &with_claims(claims)).unwrap_err();
    assert!(error.contains("data-demo-broker-1 of a, data-demo-broker-2 of b"), "{error}");
}

#[test]
fn a_claim_of_another_cluster_than_the_status_says_stops_everything() {
    let mut known = cluster("replicas: 3");
    known.status =
        Some(BrokerClusterStatus { cluster_id: Some("mine".to_owned()), ..BrokerClusterStatus::default() });
    let error = check(&known, &with_claims(vec![claim("data-demo-broker-1", "other")])).unwrap_err();
    assert!(error.contains("data-demo-broker-1 holds data of cluster other"), "{error}");
    let foreign = Found { foreign: Some("else".to_owned()), ..Found::default() };
    assert!(check(&known, &foreign).unwrap_err().contains("answer as cluster else"));
}

#[test]
fn a_cluster_is_formed_once_all_first_voters_registered_and_stays_formed() {
    let initialised = |report| {
        let found = Found { report: Some(report), ..Found::default() };
        check(&cluster("replicas: 3"), &found).unwrap().initialised
    };
    assert!(!initialised(report(Some(1), &[1, 2])), "broker 3 may still be about to found it");
    assert!(!initialised(report(None, &[1, 2, 3])));
    assert!(initialised(report(Some(1), &[1, 2, 3])));
    let mut known = cluster("replicas: 3");
    known.status = Some(BrokerClusterStatus { initialised: true, ..BrokerClusterStatus::default() });
    assert!(check(&known, &Found::default()).unwrap().initialised);
}

#[test]
fn growing_does_not_change_the_first_voters() {
    let mut grown = cluster("replicas: 5");
    grown.status = Some(BrokerClusterStatus { initial_voters: Some(3), ..BrokerClusterStatus::default() });
    assert_eq!(check(&grown, &Found::default()).unwrap().initial_voters, 3);
}

#[test]
fn the_template_of_claims_keeps_its_size() {
    let grown = cluster("replicas: 1\nstorage: {size: 20Gi}");
    assert_eq!(check(&grown, &Found::default()).unwrap().claim_size, "20Gi");
    let set = serde_saphyr::from_str(
        "spec: {selector: {}, template: {}, serviceName: x, volumeClaimTemplates: [{spec: {resources: {requests: {storage: \
         10Gi}}}}]}",
    );
    let found = Found { stateful_set: Some(set.unwrap()), ..Found::default() };
    assert_eq!(check(&grown, &found).unwrap().claim_size, "10Gi");
}

#[test]
fn settings_are_refused_with_field_value_and_what_is_allowed() {
    let error = |config: &str| {
        check(&cluster(&format!("replicas: 1\nconfig: {config}")), &Found::default()).unwrap_err()
    };
    assert_eq!(
        error("{advertised-listener: 'A=b:1'}"),
        "spec.config[advertised-listener] = \"A=b:1\" is not allowed: the operator sets it itself for each broker; \
         remove it"
    );
    assert!(error("{shutdown-grace-seconds: '60'}").contains("which is 60"));
    assert!(error("{log-level: info, log_level: warn}").contains("two spellings"));
    assert!(error("{'Log Level': info}").contains("lower case"));
    let valid =
        check(&cluster("replicas: 1\nconfig: {min-insync-replicas: '1'}"), &Found::default()).unwrap();
    assert_eq!(valid.config["min_insync_replicas"], "1");
}
