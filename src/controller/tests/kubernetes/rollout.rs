//! Outdated pods restart one at a time, each under a permit. Pods stay pending, a deleted one is gone
//! at once, and the test says which are ready and when a broker is back in every ISR.

use std::time::Duration;

use chronik_core::restart::Stage;
use chronik_core::rollout::Step;
use chronik_core::rollout::journal::{Journal, Outcome, Taken};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::running_without_nodes;
use crate::support::brokers::Brokers;
use crate::support::{World, eventually};

/// The broker that leads the metadata group here is 2.
const ORDER: [u32; 3] = [1, 3, 2];

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn outdated_pods_restart_one_at_a_time_with_permits() {
    let rollout = Rollout::of_nothing("rollout").await;
    let before = rollout.uids().await;
    rollout.brokers.block(Some("orders"));
    rollout.change_setting(2).await;
    let told = rollout.told("True Blocked").await;
    assert!(
        told.contains("broker 1 may not stop: orders/0: too few are left. Neither may brokers 3, 2"),
        "{told}"
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rollout.uids().await, before);
    rollout.metric("rollout_blocked", 1).await;

    rollout.brokers.block(None);
    for broker in ORDER {
        rollout.restarts(broker).await;
    }
    rollout.told("False UpToDate").await;
    rollout.metric("rollout_restarts_total", 3).await;
    rollout.metric("rollout_blocked", 0).await;
    let permits = rollout.brokers.asked();
    let expected: Vec<String> =
        ORDER.map(|broker| format!("PERMIT {broker} Rollout {}", before[broker as usize - 1])).to_vec();
    assert_eq!(permits, expected);

    rollout
        .annotate(3, json!({"chronik.dev/restart": "true", "chronik.dev/allow-unavailable": "other"}))
        .await;
    rollout.restarts(3).await;
    rollout.told("False UpToDate").await;
    assert!(rollout.brokers.asked()[0].starts_with("PERMIT 3 Asked "));
    for (reason, part) in [
        ("RestartBlocked", "orders/0"),
        ("RestartGranted", "broker 2 "),
        ("PodDeleted", "broker 2 "),
        ("BrokerBack", "broker 2 "),
        ("AnnotationIgnored", "demo-broker-3"),
    ] {
        rollout.event(reason, part).await;
    }
    rollout.journal_tells([&ORDER[..], &[3]].concat()).await;
    rollout.world.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn the_spec_says_with_whose_approval_how_fast_and_how_far() {
    let rollout = Rollout::of_nothing("options").await;
    rollout.set(json!({"approval": "Manual", "fromBroker": 2})).await;
    rollout.change_setting(2).await;
    let told = rollout.told("False AwaitingApproval").await;
    assert!(told.contains("kubectl annotate pod demo-broker-3 chronik.dev/restart=true"), "{told}");
    rollout.annotate(3, json!({"chronik.dev/restart": "true"})).await;
    rollout.restarts(3).await;
    let told = rollout.told("False AwaitingApproval").await;
    assert!(told.contains("The next is broker 2"), "{told}");

    rollout.set(json!({"approval": "Automatic", "minReadySeconds": 3600})).await;
    rollout.told("True WaitingForMinReady").await;
    rollout.set(json!({"minReadySeconds": 0, "progressDeadlineSeconds": 1})).await;
    rollout.replaced(2).await;
    let told = rollout.told("True DeadlineExceeded").await;
    assert!(told.contains("broker 2 has not returned within 1 s"), "{told}");
    rollout.metric("rollout_overdue", 1).await;
    rollout.event("DeadlineExceeded", "broker 2 ").await;

    rollout.brokers.close_permit();
    rollout.make_ready(2).await;
    let told = rollout.told("False HeldBack").await;
    assert!(told.contains("1 pods of brokers below 2 are outdated"), "{told}");
    rollout.metric("rollout_overdue", 0).await;
    rollout.world.end().await;
}

struct Rollout {
    world: World,
    brokers: Brokers,
    pods: Api<Pod>,
}

impl Rollout {
    /// Of a cluster whose pods are all ready and up to date.
    async fn of_nothing(name: &str) -> Self {
        let (world, brokers) = running_without_nodes(name).await;
        let rollout = Self { pods: Api::namespaced(world.client.clone(), &world.namespace), world, brokers };
        for broker in ORDER {
            eventually("the pod is there", || async { rollout.uid(broker).await.is_some() }).await;
            rollout.make_ready(broker).await;
        }
        rollout.told("False UpToDate").await;
        rollout
    }

    /// Changes `spec.rollout`.
    async fn set(&self, rollout: Value) {
        let patch = Patch::Merge(json!({"spec": {"rollout": rollout}}));
        self.world.clusters.patch("demo", &PatchParams::default(), &patch).await.unwrap();
    }

    async fn uid(&self, broker: u32) -> Option<String> {
        self.pods.get_opt(&format!("demo-broker-{broker}")).await.unwrap()?.uid()
    }

    async fn uids(&self) -> Vec<String> {
        let mut pods = self.pods.list(&ListParams::default()).await.unwrap().items;
        pods.sort_by_key(ResourceExt::name_any);
        pods.iter().filter_map(ResourceExt::uid).collect()
    }

    async fn make_ready(&self, broker: u32) {
        let conditions = json!([{"type": "Ready", "status": "True"}]);
        let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
        let name = format!("demo-broker-{broker}");
        self.pods.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn annotate(&self, broker: u32, annotations: Value) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        self.pods.patch(&format!("demo-broker-{broker}"), &PatchParams::default(), &patch).await.unwrap();
    }

    async fn change_setting(&self, partitions: u32) {
        let config = json!({"default-partitions": partitions.to_string()});
        let patch = Patch::Merge(json!({"spec": {"config": config}}));
        self.world.clusters.patch("demo", &PatchParams::default(), &patch).await.unwrap();
    }

    /// That broker's pod and no other is replaced; it comes back in steps, of which each holds the next broker.
    async fn restarts(&self, broker: u32) {
        let now = self.replaced(broker).await;
        self.stays(&now).await;
        self.brokers.close_permit();
        self.stays(&now).await;
        self.make_ready(broker).await;
    }

    /// Waits until the pod is another one, with its permit begun; gives all UIDs then.
    async fn replaced(&self, broker: u32) -> Vec<String> {
        let begun = || {
            self.brokers
                .permit()
                .is_some_and(|permit| permit.broker.0 == broker && permit.stage == Stage::Begun)
        };
        eventually(&format!("the permit of broker {broker} is begun"), || async { begun() }).await;
        let gone = self.brokers.permit().unwrap().pod_uid;
        let is_new = || async { self.uid(broker).await.is_some_and(|uid| uid != gone) };
        eventually(&format!("broker {broker} has a new pod"), is_new).await;
        let shown = || async {
            let status = self.world.clusters.get("demo").await.unwrap().status.unwrap().rollout.unwrap();
            status.permits.iter().any(|permit| permit.broker == broker)
        };
        eventually("the status has its permit", shown).await;
        self.uids().await
    }

    async fn stays(&self, uids: &[String]) {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(self.uids().await, uids);
    }

    /// Waits until the condition begins like this.
    async fn told(&self, start: &str) -> String {
        let now = || async {
            let status = self.world.clusters.get("demo").await.unwrap().status.unwrap_or_default();
            chronik_api::conditions::get(&status.conditions, "RollingOut")
                .map_or(String::new(), |c| format!("{} {}: {}", c.status, c.reason, c.message))
        };
        eventually(&format!("RollingOut is {start}"), || async { now().await.starts_with(start) }).await;
        now().await
    }

    /// Waits until the journal has these brokers' restarts, in that order, and nothing more to tell; decides all of it again.
    async fn journal_tells(&self, restarts: Vec<u32>) {
        let maps: Api<ConfigMap> = Api::namespaced(self.world.client.clone(), &self.world.namespace);
        let text = || async {
            let map = maps.get_opt("demo-rollout-journal").await.unwrap()?;
            map.data?.remove("rounds.jsonl")
        };
        let rounds = |text: &str| Journal::read(text).unwrap();
        let is_done = |text: Option<String>| {
            text.is_some_and(|text| rounds(&text).last().is_some_and(|last| last.steps[0].step == Step::Done))
        };
        eventually("the journal ends with the rollout", || async { is_done(text().await) }).await;
        let text = text().await.unwrap();
        let deleted = |taken: &Taken| match &taken.step {
            Step::Delete { broker, .. } if taken.outcome == Some(Outcome::Deleted) => Some(broker.0),
            _ => None,
        };
        let rounds = rounds(&text);
        let told: Vec<u32> = rounds.iter().flat_map(|round| &round.steps).filter_map(deleted).collect();
        assert_eq!(told, restarts);
        rounds.iter().for_each(|round| round.replay().unwrap());
        assert!(rounds.iter().all(|round| round.said.metadata_index == Some(7)));
        if let Ok(path) = std::env::var("CHRONIK_JOURNAL_TO") {
            std::fs::write(path, text).unwrap();
        }
    }

    async fn metric(&self, name: &str, value: u32) {
        let series = format!(
            "chronik_operator_{name}{{cluster=\"demo\",namespace=\"{}\"}} {value}\n",
            self.world.namespace
        );
        eventually(&series, || async { self.world.metrics.text().contains(&series) }).await;
    }

    async fn event(&self, reason: &str, part: &str) {
        let events: Api<Event> = Api::namespaced(self.world.client.clone(), &self.world.namespace);
        let told = || async {
            let events = events.list(&ListParams::default()).await.unwrap();
            events.iter().any(|event| {
                event.reason.as_deref() == Some(reason)
                    && event.message.as_deref().is_some_and(|m| m.contains(part))
            })
        };
        eventually(&format!("an event {reason} with {part:?}"), told).await;
    }
}
