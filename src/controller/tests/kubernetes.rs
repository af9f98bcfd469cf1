//! The operator against a real Kubernetes API server, with brokers that are an admin API only.
//!
//! Run with KUBECONFIG set: `cargo test -p chronik-controller --test kubernetes -- --ignored`. It needs etcd,
//! kube-apiserver and kube-controller-manager, and no node. CHRONIK_TEST_USER lets the operator act as that user:
//! with the chart's roles applied, that shows that they suffice.

#[path = "kubernetes/evictions.rs"]
mod evictions;
#[path = "kubernetes/rollout.rs"]
mod rollout;
#[path = "kubernetes/storage.rs"]
mod storage;
mod support;

use std::time::{Duration, Instant};

use chronik_api::labels::{CLUSTER_ID, INITIALISED, broker_labels};
use chronik_core::ids::BrokerId;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Event, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use support::brokers::Brokers;
use support::{World, eventually, within};

/// A BrokerCluster whose brokers answer, and the operator.
async fn running(name: &str) -> (World, Brokers) {
    running_with(name, json!({"replicas": 3})).await
}

/// The same with pods that ask for more than any node has: they stay pending, and what their status says is the test's.
async fn running_without_nodes(name: &str) -> (World, Brokers) {
    running_with(name, json!({"replicas": 3, "resources": {"requests": {"cpu": "1000"}}})).await
}

async fn running_with(name: &str, spec: serde_json::Value) -> (World, Brokers) {
    let world = World::new(name).await;
    let brokers = Brokers::start().await;
    let cluster = world.cluster(spec).await.unwrap();
    brokers.belong_to(&cluster.uid().unwrap());
    world.run_operator(&brokers).await;
    eventually("the cluster is formed", || async {
        world.clusters.get("demo").await.unwrap().status.is_some_and(|status| status.initialised)
    })
    .await;
    (world, brokers)
}

fn orders() -> serde_json::Value {
    json!({"clusterRef": {"name": "demo"}, "partitions": 6, "replicas": 3, "minInsyncReplicas": 2})
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn the_schema_refuses_bad_input_by_name() {
    let world = World::new("schema").await;
    let with = |field: &str, value: serde_json::Value| {
        let mut spec = orders();
        spec[field] = value;
        spec
    };
    for (spec, expected) in [
        (with("minInsyncReplicas", json!(4)), "spec.minInsyncReplicas may not be above spec.replicas"),
        (with("partitions", json!(0)), "spec.partitions in body should be greater than or equal to 1"),
        (with("replicas", json!(0)), "spec.replicas in body should be greater than or equal to 1"),
        (with("topicName", json!("a b")), "spec.topicName in body should match"),
        (with("topicName", json!("..")), "'.' and '..' are not topic names"),
        (with("topicName", json!("x".repeat(250))), "spec.topicName"),
        (with("deletionPolicy", json!("Keep")), "supported values: \"Delete\", \"Retain\""),
        (with("config", json!({"min.insync.replicas": "2"})), "not both"),
        (with("clusterRef", json!({})), "spec.clusterRef.name"),
        (with("restartPolicy", json!({})), "set exactly one of margin, allowUnavailable and forbid"),
        (with("restartPolicy", json!({"margin": 1, "forbid": true})), "set exactly one of margin"),
        (with("restartPolicy", json!({"forbid": false})), "allowUnavailable and forbid may only be true"),
        (with("restartPolicy", json!({"margin": 9})), "spec.restartPolicy.margin"),
        (
            with("restartPolicy", json!({"allowUnavailable": true})),
            "spec.restartPolicy.allowUnavailable is for spec.replicas = 1",
        ),
        (
            json!({"clusterRef": {"name": "demo"}, "restartPolicy": {"margin": 1}, "config": {"restart.policy": "forbid"}}),
            "set either spec.restartPolicy or spec.config['restart.policy'], not both",
        ),
        (
            json!({"clusterRef": {"name": "demo"}, "replicas": 2, "config": {"min.insync.replicas": "3"}}),
            "spec.config['min.insync.replicas'] may not be above spec.replicas",
        ),
    ] {
        let error = world.topic("bad", spec.clone()).await.expect_err(&spec.to_string());
        assert!(error.contains(expected), "{spec}: {error}");
    }
    for (spec, expected) in [
        (json!({"replicas": 0}), "spec.replicas in body should be greater than or equal to 1"),
        (json!({"replicas": 1, "storage": {"size": "much"}}), "must be a size above zero"),
        (json!({"replicas": 1, "storage": {"size": "0"}}), "must be a size above zero"),
        (json!({"replicas": 1, "listeners": {"kafkaPort": 9095}}), "9093 and 9095 are taken"),
        (json!({"replicas": 1, "resources": {"limits": {"cpu": "fast"}}}), "spec.resources.limits.cpu"),
        (json!({"replicas": 1, "rollout": {"maxUnavailable": 0}}), "spec.rollout.maxUnavailable"),
        (json!({"replicas": 1, "rollout": {"fromBroker": 0}}), "spec.rollout.fromBroker"),
        (
            json!({"replicas": 1, "rollout": {"progressDeadlineSeconds": 0}}),
            "spec.rollout.progressDeadlineSeconds",
        ),
        (
            json!({"replicas": 1, "rollout": {"approval": "Maybe"}}),
            "supported values: \"Automatic\", \"Manual\"",
        ),
    ] {
        let error = world.cluster(spec.clone()).await.expect_err(&spec.to_string());
        assert!(error.contains(expected), "{spec}: {error}");
    }
    let long = json!({
        "apiVersion": "chronik.dev/v1alpha1", "kind": "BrokerCluster",
        "metadata": {"name": "x".repeat(41)}, "spec": {"replicas": 1},
    });
    let error = world.clusters.create(&PostParams::default(), &serde_json::from_value(long).unwrap()).await;
    assert!(error.unwrap_err().to_string().contains("at most 40 characters"));
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn what_may_not_change_does_not() {
    let (world, _brokers) = running("immutable").await;
    world.topic("orders", orders()).await.unwrap();
    world.expect_condition("orders", "Ready", "True").await;
    for (patch, expected) in [
        (json!({"spec": {"partitions": 5}}), "spec.partitions may only grow"),
        (json!({"spec": {"topicName": "other"}}), "spec.topicName cannot change"),
        (json!({"spec": {"clusterRef": {"name": "other"}}}), "spec.clusterRef cannot change"),
    ] {
        let error = world.patch_topic("orders", patch.clone()).await.expect_err(&patch.to_string());
        assert!(error.contains(expected), "{patch}: {error}");
    }
    for (spec, expected) in [
        (json!({"replicas": 0}), "spec.replicas"),
        (json!({"replicas": 3, "storage": {"size": "9Gi"}}), "spec.storage.size may only grow"),
        (
            json!({"replicas": 3, "storage": {"storageClassName": "x"}}),
            "spec.storage.storageClassName cannot change",
        ),
    ] {
        let error = world.cluster(spec.clone()).await.expect_err(&spec.to_string());
        assert!(error.contains(expected), "{spec}: {error}");
    }
    // What the brokers refused may be put right.
    let mut spec = orders();
    spec["replicas"] = json!(5);
    world.topic("big", spec).await.unwrap();
    let refused = world.expect_condition("big", "Ready", "False InvalidSpec").await;
    for part in ["replication_factor", "5", "1 to 3, the number of brokers"] {
        assert!(refused.contains(part), "{refused}");
    }
    world.patch_topic("big", json!({"spec": {"replicas": 3, "partitions": 1}})).await.unwrap();
    world.expect_condition("big", "Ready", "True").await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn a_cluster_becomes_its_objects_and_marks_its_claims() {
    let (world, _brokers) = running("objects").await;
    let sets: Api<StatefulSet> = Api::namespaced(world.client.clone(), &world.namespace);
    let set = sets.get("demo-broker").await.unwrap();
    assert_eq!(set.spec.as_ref().unwrap().replicas, Some(3));
    let services: Api<Service> = Api::namespaced(world.client.clone(), &world.namespace);
    for name in ["demo-brokers", "demo-bootstrap"] {
        let spec = services.get(name).await.unwrap().spec.unwrap();
        assert_eq!(spec.publish_not_ready_addresses, Some(true), "{name}");
    }
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(world.client.clone(), &world.namespace);
    budgets.get("demo-broker").await.unwrap();
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    let names = || async {
        let mut names: Vec<_> =
            pods.list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any).collect();
        names.sort();
        names
    };
    eventually("pods count from 1", || async {
        names().await == ["demo-broker-1", "demo-broker-2", "demo-broker-3"]
    })
    .await;
    let first = pods.get("demo-broker-1").await.unwrap();
    assert_eq!(first.labels()["apps.kubernetes.io/pod-index"], "1");
    let uid = world.clusters.get("demo").await.unwrap().uid().unwrap();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.client.clone(), &world.namespace);
    eventually("claims carry the cluster's id and birth", || async {
        let claims = claims.list(&ListParams::default()).await.unwrap();
        claims.items.len() == 3
            && claims.iter().all(|claim| {
                claim.labels().get(CLUSTER_ID) == Some(&uid)
                    && claim.annotations().get(INITIALISED).is_some_and(|value| value == "true")
            })
    })
    .await;
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), &world.namespace);
    eventually("an empty disk joins from now on", || async {
        maps.get("demo-broker-config")
            .await
            .unwrap()
            .data
            .unwrap()
            .get("join")
            .is_some_and(|join| join == "true")
    })
    .await;

    // Deleted and made anew: the claims are still there, and their cluster is adopted.
    world.clusters.delete("demo", &DeleteParams::default()).await.unwrap();
    eventually("the old objects are gone", || async { sets.get_opt("demo-broker").await.unwrap().is_none() })
        .await;
    assert_eq!(claims.list(&ListParams::default()).await.unwrap().items.len(), 3);
    let anew = world.cluster(json!({"replicas": 3})).await.unwrap();
    assert_ne!(anew.uid().unwrap(), uid);
    eventually("the claims' cluster is adopted", || async {
        let status = world.clusters.get("demo").await.unwrap().status.unwrap_or_default();
        status.cluster_id.as_ref() == Some(&uid) && status.initialised
    })
    .await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn claims_of_another_cluster_stop_everything() {
    let world = World::new("conflict").await;
    let brokers = Brokers::start().await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.client.clone(), &world.namespace);
    for (name, id) in [("data-demo-broker-1", "one"), ("data-demo-broker-2", "two")] {
        let mut labels = broker_labels("demo");
        labels.insert(CLUSTER_ID.to_owned(), id.to_owned());
        let claim = json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        });
        claims.create(&PostParams::default(), &serde_json::from_value(claim).unwrap()).await.unwrap();
    }
    world.cluster(json!({"replicas": 3})).await.unwrap();
    world.run_operator(&brokers).await;
    eventually("a condition tells", || async {
        let conditions = world.clusters.get("demo").await.unwrap().status.unwrap_or_default().conditions;
        chronik_api::conditions::get(&conditions, "Ready").is_some_and(|ready| {
            ready.reason == "ClusterIdConflict" && ready.message.contains("data-demo-broker-2 of two")
        })
    })
    .await;
    let sets: Api<StatefulSet> = Api::namespaced(world.client.clone(), &world.namespace);
    assert!(sets.get_opt("demo-broker").await.unwrap().is_none(), "nothing is started");
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn a_topic_lives_and_its_status_follows_the_isr() {
    let (world, brokers) = running("life").await;
    world.topic("orders", orders()).await.unwrap();
    world.expect_condition("orders", "Ready", "True").await;
    assert_eq!(brokers.asked(), ["POST orders"]);
    assert_eq!(brokers.topic("orders").unwrap().configs["min.insync.replicas"], "2");

    // An ISR change reaches the status well within three seconds.
    brokers.change("orders", true, |topic| topic.partitions[4].isr = Some(vec![BrokerId(1), BrokerId(2)]));
    let took = within(Duration::from_secs(3), "the status shows the ISR", || async {
        let status = world.topics.get("orders").await.unwrap().status.unwrap();
        status.partitions[4].isr == Some(vec![1, 2]) && status.totals.unwrap().summary == "5/6"
    })
    .await;
    eprintln!("ISR change to status: {took:?}");
    assert!(world.condition("orders", "InSync").await.contains("partition 4 has ISR [1, 2] of [1, 2, 3]"));

    // Nothing changes: nothing is written, and what was written caused no reconcile.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let version = |topic: chronik_api::Topic| topic.metadata.resource_version;
    let (before, reconciles) = (version(world.topics.get("orders").await.unwrap()), reconciles(&world));
    for _ in 0..30 {
        // Ages move all the time: they are no change.
        brokers.change("orders", true, |topic| topic.partitions[0].isr_age_ms = Some(77));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(version(world.topics.get("orders").await.unwrap()), before);
    assert_eq!(self::reconciles(&world), reconciles);

    // One write for one change, and no reconcile because of it.
    brokers.change("orders", true, |topic| topic.partitions[4].isr = Some([1, 2, 3].map(BrokerId).to_vec()));
    world.expect_condition("orders", "InSync", "True").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(self::reconciles(&world), reconciles + 1);

    // Partitions grow, configs change, drift is undone.
    let patch =
        json!({"spec": {"partitions": 8, "minInsyncReplicas": 1, "config": {"max.message.bytes": "2000"}}});
    world.patch_topic("orders", patch).await.unwrap();
    eventually("the topic is altered", || async {
        let topic = brokers.topic("orders").unwrap();
        topic.partitions.len() == 8 && topic.configs["min.insync.replicas"] == "1" && topic.configs.len() == 2
    })
    .await;
    world.expect_condition("orders", "ConfigInSync", "True").await;
    brokers.change("orders", true, |topic| {
        topic.configs.insert("max.message.bytes".to_owned(), "1".to_owned());
    });
    eventually("drift is undone", || async {
        brokers.topic("orders").unwrap().configs["max.message.bytes"] == "2000"
    })
    .await;

    // Deleted with its data.
    world.topics.delete("orders", &DeleteParams::default()).await.unwrap();
    eventually("the Topic is gone", || async { world.topics.get_opt("orders").await.unwrap().is_none() })
        .await;
    assert!(brokers.topic("orders").is_none());
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn the_older_of_two_resources_wins_and_hands_over() {
    let (world, brokers) = running("rivals").await;
    world.topic("orders", orders()).await.unwrap();
    world.expect_condition("orders", "Ready", "True").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut same = orders();
    same["topicName"] = json!("orders");
    world.topic("second", same).await.unwrap();
    let loser = world.expect_condition("second", "Ready", "False Superseded").await;
    assert!(loser.contains("Topic orders is older"), "{loser}");
    world.topics.delete("orders", &DeleteParams::default()).await.unwrap();
    world.expect_condition("second", "Ready", "True").await;
    assert!(!brokers.asked().contains(&"DELETE orders".to_owned()), "data that is asked for is not deleted");
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn a_topic_is_adopted_and_handed_back() {
    let (world, brokers) = running("adopted").await;
    let mut retained = orders();
    retained["deletionPolicy"] = json!("Retain");
    retained["restartPolicy"] = json!({"forbid": true});
    world.topic("orders", retained).await.unwrap();
    world.expect_condition("orders", "Ready", "True").await;
    world.topics.delete("orders", &DeleteParams::default()).await.unwrap();
    assert_eq!(brokers.topic("orders").unwrap().configs["restart.policy"], "forbid", "it stays as it was");

    let mut anew = orders();
    anew["minInsyncReplicas"] = json!(1);
    world.topic("orders", anew).await.unwrap();
    let is_adopted = || async {
        let configs = brokers.topic("orders").unwrap().configs;
        configs.len() == 1 && configs["min.insync.replicas"] == "1"
    };
    eventually("the spec wins", is_adopted).await;
    world.expect_condition("orders", "ConfigInSync", "True").await;

    world.patch_topic("orders", json!({"spec": {"managed": false, "partitions": 9}})).await.unwrap();
    world.expect_condition("orders", "Managed", "False HandedBack").await;
    brokers.asked();
    brokers.change("orders", true, |topic| {
        topic.configs.insert("min.insync.replicas".to_owned(), "3".to_owned());
        topic.partitions[4].isr = Some(vec![BrokerId(1), BrokerId(2)]);
    });
    world.expect_condition("orders", "InSync", "False").await;
    world.expect_condition("orders", "ConfigInSync", "False Differs").await;
    assert!(world.topics.get("orders").await.unwrap().finalizers().is_empty());
    world.topics.delete("orders", &DeleteParams::default()).await.unwrap();
    assert!(world.topics.get_opt("orders").await.unwrap().is_none(), "nothing holds it");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(brokers.asked(), Vec::<String>::new(), "nothing is changed in the brokers");
    assert_eq!(brokers.topic("orders").unwrap().partitions.len(), 6);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn a_missing_cluster_is_named_and_does_not_hold_a_topic() {
    let (world, _brokers) = running("missing").await;
    world.topic("lost", json!({"clusterRef": {"name": "nowhere"}})).await.unwrap();
    let told = world.expect_condition("lost", "Ready", "False ClusterNotFound").await;
    assert!(told.contains("no BrokerCluster nowhere"), "{told}");
    world.topics.delete("lost", &DeleteParams::default()).await.unwrap();
    assert!(world.topics.get_opt("lost").await.unwrap().is_none(), "it never had a finalizer");

    // A cluster that goes away takes no topic's deletion with it.
    world.topic("orders", orders()).await.unwrap();
    world.expect_condition("orders", "Ready", "True").await;
    world.clusters.delete("demo", &DeleteParams::default()).await.unwrap();
    world.expect_condition("orders", "Ready", "False ClusterNotFound").await;
    world.topics.delete("orders", &DeleteParams::default()).await.unwrap();
    within(Duration::from_secs(5), "the Topic is gone", || async {
        world.topics.get_opt("orders").await.unwrap().is_none()
    })
    .await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn dead_brokers_make_unknown_and_hold_a_deletion_only_for_a_while() {
    let (world, brokers) = running("silence").await;
    world.topic("orders", orders()).await.unwrap();
    world.expect_condition("orders", "Ready", "True").await;

    // The broker that is followed dies: another one is followed, and no status changes.
    let before = world.topics.get("orders").await.unwrap().metadata.resource_version;
    brokers.set_running(3, false).await;
    brokers.set_running(2, false).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.topics.get("orders").await.unwrap().metadata.resource_version, before);

    brokers.set_running(1, false).await;
    let start = Instant::now();
    world.expect_condition("orders", "Ready", "Unknown BrokersUnreachable").await;
    eprintln!("all brokers dead to status unknown: {:?}", start.elapsed());
    let status = world.topics.get("orders").await.unwrap().status.unwrap();
    assert_eq!(status.totals.unwrap().unknown, 6);
    assert!(status.partitions.iter().all(|partition| partition.isr.is_none() && partition.leader.is_none()));

    world.topics.delete("orders", &DeleteParams::default()).await.unwrap();
    let took = within(Duration::from_secs(45), "the Topic is gone", || async {
        world.topics.get_opt("orders").await.unwrap().is_none()
    })
    .await;
    eprintln!("deletion with dead brokers: {took:?}");
    assert!(took > Duration::from_secs(20), "brokers that come back soon still get to delete the topic");
    let events: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    eventually("an event tells", || async {
        let events = events.list(&ListParams::default()).await.unwrap();
        events.iter().any(|event| event.reason.as_deref() == Some("DeletionGivenUp"))
    })
    .await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn a_broker_cut_off_from_its_peers_is_not_believed() {
    let (world, brokers) = running("cut").await;
    world.topic("orders", orders()).await.unwrap();
    world.expect_condition("orders", "Ready", "True").await;
    for broker in [1, 3] {
        brokers.cut_off(broker);
    }
    eventually("the broker that sees a leader is followed", || async {
        let status = world.clusters.get("demo").await.unwrap().status.unwrap();
        status.metadata_leader == Some(2) && status.brokers.unwrap().alive == Some(1)
    })
    .await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn a_namespace_goes_away_with_the_operator_and_without_it() {
    let (world, brokers) = running("gone").await;
    for name in ["a", "b", "c"] {
        world.topic(name, orders()).await.unwrap();
        world.expect_condition(name, "Ready", "True").await;
    }
    for broker in 1..=3 {
        brokers.set_running(broker, false).await;
    }
    let start = Instant::now();
    world.end().await;
    eprintln!("namespace deletion with dead brokers: {:?}", start.elapsed());

    let (world, _brokers) = running("released").await;
    world.topic("orders", orders()).await.unwrap();
    world.expect_condition("orders", "Ready", "True").await;
    world.stop_operator();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let options = chronik_controller::cli::ReleaseFinalizers {
        watch_namespaces: vec![world.namespace.clone()],
        deployment_namespace: None,
        deployment: None,
    };
    chronik_controller::finalizers::release(options).await.unwrap();
    assert!(world.topics.get("orders").await.unwrap().finalizers().is_empty());
    world.end().await;
}

/// Reconciles of Topics so far.
fn reconciles(world: &World) -> u64 {
    let text = world.metrics.text();
    let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    text.lines()
        .filter(|line| line.starts_with("chronik_operator_reconciles_total") && line.contains("\"Topic\""))
        .map(count)
        .sum()
}
