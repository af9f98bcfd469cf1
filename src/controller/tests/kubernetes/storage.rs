//! Volumes that grow where their class allows it, and racks that pods are told: by a real API server, whose admission decides,
//! with claims and pods that are what the test makes them.

use chronik_api::conditions;
use chronik_api::labels::RACK;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::running_with;
use crate::support::{World, eventually};

/// A class of that name whose volumes nobody makes.
async fn class(world: &World, name: &str, grows: bool) -> Api<StorageClass> {
    let classes: Api<StorageClass> = Api::all(world.client.clone());
    let object =
        json!({"metadata": {"name": name}, "provisioner": "chronik.dev/none", "allowVolumeExpansion": grows});
    let _ = classes.delete(name, &DeleteParams::default()).await;
    classes.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    classes
}

/// The cluster's condition as `status reason: message`.
async fn condition(world: &World, type_: &str) -> String {
    let status = world.clusters.get("demo").await.unwrap().status.unwrap_or_default();
    conditions::get(&status.conditions, type_)
        .map_or(String::new(), |c| format!("{} {}: {}", c.status, c.reason, c.message))
}

async fn expect(world: &World, type_: &str, parts: &[&str]) {
    eventually(&format!("{type_} says {parts:?}"), || async {
        let now = condition(world, type_).await;
        parts.iter().all(|part| now.contains(part))
    })
    .await;
}

const CLAIM: &str = "data-demo-broker-1";

/// Gives the first claim a volume of that size, which nobody mounts.
async fn bind(world: &World, class: &str, size: &str) -> Api<PersistentVolumeClaim> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.client.clone(), &world.namespace);
    let volumes: Api<PersistentVolume> = Api::all(world.client.clone());
    let volume = json!({
        "metadata": {"name": world.namespace},
        "spec": {
            "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "csi": {"driver": "none.chronik.dev", "volumeHandle": "none"},
            "claimRef": {"namespace": world.namespace, "name": CLAIM},
        },
    });
    volumes.create(&PostParams::default(), &serde_json::from_value(volume).unwrap()).await.unwrap();
    eventually("the claim is bound", || async {
        let claim = claims.get_opt(CLAIM).await.unwrap();
        claim.and_then(|claim| claim.status?.phase).as_deref() == Some("Bound")
    })
    .await;
    claims
}

/// What the storage's own controller does once the volume is larger.
async fn grown(claims: &Api<PersistentVolumeClaim>, size: &str) {
    let status = json!({"status": {"capacity": {"storage": size}}});
    claims.patch_status(CLAIM, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

async fn end(world: World, classes: Api<StorageClass>, class: &str) {
    let volumes: Api<PersistentVolume> = Api::all(world.client.clone());
    volumes.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    classes.delete(class, &DeleteParams::default()).await.unwrap();
    world.end().await;
}

fn spec(class: &str, size: &str) -> Value {
    json!({
        "replicas": 1, "storage": {"size": size, "storageClassName": class},
        "resources": {"requests": {"cpu": "1000"}},
    })
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn a_volume_grows_where_its_class_lets_it() {
    let (world, _brokers) = running_with("grows", spec("test-grows", "1Gi")).await;
    let classes = class(&world, "test-grows", true).await;
    let claims = bind(&world, "test-grows", "1Gi").await;
    expect(&world, conditions::STORAGE_SIZED, &["True Sized", "1Gi"]).await;
    world.cluster(spec("test-grows", "2Gi")).await.unwrap();
    expect(
        &world,
        conditions::STORAGE_SIZED,
        &["False Growing", "data-demo-broker-1 has 1Gi", "less than 2Gi"],
    )
    .await;
    let claim = claims.get(CLAIM).await.unwrap();
    let requests = claim.spec.unwrap().resources.unwrap().requests.unwrap();
    assert_eq!(requests["storage"].0, "2Gi");
    grown(&claims, "2Gi").await;
    expect(&world, conditions::STORAGE_SIZED, &["True Sized", "2Gi"]).await;
    // The template of claims is as it was: nothing else could be.
    expect(&world, conditions::READY, &["0 of 1 broker pods are ready"]).await;
    end(world, classes, "test-grows").await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn a_volume_that_cannot_grow_is_named_with_the_reason() {
    let (world, _brokers) = running_with("fixed", spec("test-fixed", "1Gi")).await;
    let classes = class(&world, "test-fixed", false).await;
    let claims = bind(&world, "test-fixed", "1Gi").await;
    world.cluster(spec("test-fixed", "2Gi")).await.unwrap();
    let parts = ["False Refused", "data-demo-broker-1 stays at 1Gi", "must support resize"];
    expect(&world, conditions::STORAGE_SIZED, &parts).await;
    let claim = claims.get(CLAIM).await.unwrap();
    assert_eq!(claim.spec.unwrap().resources.unwrap().requests.unwrap()["storage"].0, "1Gi");
    end(world, classes, "test-fixed").await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn claims_go_with_their_cluster_only_when_that_was_asked_for() {
    for (name, retention, left) in [("kept", "Retain", 1), ("gone", "Delete", 0)] {
        let storage = json!({"size": "1Gi", "retention": retention});
        let pods_ask = json!({"requests": {"cpu": "1000"}});
        let (world, _brokers) =
            running_with(name, json!({"replicas": 1, "storage": storage, "resources": pods_ask})).await;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.client.clone(), &world.namespace);
        let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
        let count = || async { claims.list(&Default::default()).await.unwrap().items.len() };
        eventually("the claim is there", || async { count().await == 1 }).await;
        world.clusters.delete("demo", &DeleteParams::default()).await.unwrap();
        eventually("the pods are gone", || async {
            pods.list(&Default::default()).await.unwrap().items.is_empty()
        })
        .await;
        eventually(&format!("{left} claims are left"), || async { count().await == left }).await;
        world.end().await;
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn a_pod_learns_its_rack_once_it_has_a_node() {
    let racks = json!({
        "replicas": 1, "rack": {"nodeLabel": "test.chronik.dev/rack"}, "resources": {"requests": {"cpu": "1000"}},
    });
    let (world, _brokers) = running_with("rack", racks).await;
    // A node that no kubelet runs: the pod stays as it is.
    let (nodes, node): (Api<Node>, _) = (Api::all(world.client.clone()), format!("node-{}", world.namespace));
    let object = json!({"metadata": {"name": node}});
    nodes.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    eventually("the pod is there", || async { pods.get_opt("demo-broker-1").await.unwrap().is_some() }).await;
    assert!(!pods.get("demo-broker-1").await.unwrap().annotations().contains_key(RACK));
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "demo-broker-1"},
        "target": {"kind": "Node", "name": node},
    });
    let params = PostParams::default();
    let _: Value = pods.create_subresource("binding", "demo-broker-1", &params, &binding).await.unwrap();
    expect(
        &world,
        conditions::RACKS_KNOWN,
        &["False NoLabel", "demo-broker-1 has no label test.chronik.dev/rack"],
    )
    .await;
    let label = json!({"metadata": {"labels": {"test.chronik.dev/rack": "row-7"}}});
    nodes.patch(&node, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    eventually("the pod is told", || async {
        pods.get("demo-broker-1").await.unwrap().annotations().get(RACK).map(String::as_str) == Some("row-7")
    })
    .await;
    expect(&world, conditions::RACKS_KNOWN, &["True Known"]).await;
    // No kubelet says that the pod has ended.
    world.clusters.delete("demo", &DeleteParams::default()).await.unwrap();
    eventually("the pod is gone", || async {
        let _ = pods.delete("demo-broker-1", &DeleteParams::default().grace_period(0)).await;
        pods.get_opt("demo-broker-1").await.unwrap().is_none()
    })
    .await;
    nodes.delete(&node, &DeleteParams::default()).await.unwrap();
    world.end().await;
}
