//! Evictions, as the API server asks about them: over TLS with the webhook's own certificate, in a dry run or not. A call that
//! fails would refuse the eviction here, so that a gap shows.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chronik_controller::broker_client::BrokerClient;
use chronik_controller::cli::Webhook;
use chronik_controller::webhook::{self, Evictions};
use chronik_core::restart::{Reason, Stage};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::running_without_nodes;
use crate::support::brokers::Brokers;
use crate::support::{World, eventually, operator_client, within};

const SECRET: &str = "webhook";

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn a_brokers_pod_is_evicted_only_under_a_permit() {
    let drain = Drain::start("evict").await;
    drain.brokers.block(Some("orders"));
    for dry_run in [true, false] {
        let refused = drain.evict("demo-broker-2", dry_run).await.unwrap_err();
        assert!(refused.starts_with("429 ") && refused.contains("orders/0"), "{refused}");
    }
    drain.brokers.block(None);
    drain.evict("demo-broker-2", true).await.unwrap();
    assert_eq!(
        (drain.brokers.permit(), drain.brokers.asked()),
        (None, Vec::new()),
        "a dry run asks for none"
    );

    let uid = drain.hold("demo-broker-2", true).await;
    drain.evict("demo-broker-2", false).await.unwrap();
    assert_eq!(drain.brokers.asked(), [format!("PERMIT 2 Eviction {uid}")]);
    let begun =
        || drain.brokers.permit().is_some_and(|p| (p.stage, p.reason) == (Stage::Begun, Reason::Eviction));
    let took = eventually("the operator begins the permit", || async { begun() }).await;
    eprintln!("eviction to begun permit: {took:?}");
    drain.evict("demo-broker-2", false).await.unwrap();
    let refused = drain.evict("demo-broker-3", false).await.unwrap_err();
    assert!(refused.starts_with("429 ") && refused.contains("broker 3 may not stop now"), "{refused}");
    drain.hold("demo-broker-2", false).await;
    eventually("another pod is there", || async {
        drain.uid("demo-broker-2").await.is_some_and(|new| new != uid)
    })
    .await;
    drain.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn an_eviction_waits_for_brokers_that_do_not_answer_and_for_no_other_pod() {
    let drain = Drain::start("evict-silent").await;
    drain.brokers.set_running(1, false).await;
    drain.evict("demo-broker-2", true).await.expect("one broker fewer answers");
    for broker in [2, 3] {
        drain.brokers.set_running(broker, false).await;
    }
    let refused = drain.evict("demo-broker-2", false).await.unwrap_err();
    assert!(
        refused.starts_with("429 ") && refused.contains("no permit is to be had: reach 127.0.0.1"),
        "{refused}"
    );

    // Of a pod that no node has taken nothing is left at once.
    let resources = json!({"requests": {"cpu": "1000"}});
    let container = json!({"name": "web", "image": "docker.io/chronik/none:test", "resources": resources});
    let pod = json!({"metadata": {"name": "web-broker-1"}, "spec": {"containers": [container]}});
    drain.pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    drain.evict("web-broker-1", false).await.expect("it is no broker's pod");
    assert_eq!(drain.uid("web-broker-1").await, None);

    drain.world.stop_operator();
    drain.world.clusters.delete("demo", &DeleteParams::foreground()).await.unwrap();
    drain.evict("demo-broker-3", false).await.expect("its cluster goes away");
    drain.end().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API: set KUBECONFIG"]
async fn a_certificate_is_replaced_without_a_gap() {
    let drain = Drain::start("evict-tls").await;
    let secrets: Api<Secret> = Api::namespaced(drain.world.client.clone(), &drain.world.namespace);
    let served = || async {
        let data = secrets.get(SECRET).await.unwrap().data.unwrap_or_default();
        data.get("tls.crt").map(|certificate| certificate.0.clone())
    };
    let before = served().await.unwrap();
    // 300 of its 365 days ago.
    let made = k8s_openapi::jiff::Timestamp::now() - Duration::from_secs(300 * 24 * 3600);
    let patch = Patch::Merge(json!({"stringData": {"made": made.to_string()}}));
    secrets.patch(SECRET, &PatchParams::default(), &patch).await.unwrap();
    let replaced = || async {
        drain.evict("demo-broker-2", true).await.expect("the webhook is trusted at any time");
        served().await.is_some_and(|now| now != before)
    };
    let took = within(Duration::from_secs(60), "another certificate is served", replaced).await;
    // As long as a replica may go on with the one before, and longer.
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(13) {
        drain.evict("demo-broker-2", true).await.expect("the webhook is trusted at any time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("certificate due to another one served: {took:?}");
    drain.end().await;
}

struct Drain {
    world: World,
    brokers: Brokers,
    pods: Api<Pod>,
    configurations: Api<ValidatingWebhookConfiguration>,
    stop: CancellationToken,
}

impl Drain {
    /// A cluster with its pods, and the webhook: registered, and trusted once its certificate was told.
    async fn start(name: &str) -> Self {
        let (world, brokers) = running_without_nodes(name).await;
        let (client, stop) = (world.client.clone(), CancellationToken::new());
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &world.namespace);
        let empty = Secret { metadata: named(SECRET), ..Secret::default() };
        secrets.create(&PostParams::default(), &empty).await.unwrap();
        let addresses = brokers.addresses();
        let evictions = Evictions {
            client: operator_client().await,
            brokers: BrokerClient::default(),
            admin_address: Arc::new(move |_, broker| addresses[broker as usize - 1].clone()),
            namespaces: vec![world.namespace.clone()],
            metrics: world.metrics.clone(),
        };
        let options = Webhook {
            listener: None,
            host: Some("127.0.0.1".to_owned()),
            secret: SECRET.to_owned(),
            configuration: world.namespace.clone(),
        };
        let (listener, acts) = ("127.0.0.1:0".parse().unwrap(), Arc::new(AtomicBool::new(true)));
        let webhook =
            webhook::start(&options, listener, &client, &world.namespace, evictions, acts, stop.clone())
                .await
                .unwrap();
        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
        let configuration = configuration(&world.namespace, &webhook.address.to_string());
        configurations.create(&PostParams::default(), &configuration).await.unwrap();
        // Else this client would try again by itself what is refused with 429.
        let mut impatient = kube::Config::infer().await.unwrap();
        impatient.default_retry = false;
        let pods = Api::namespaced(kube::Client::try_from(impatient).unwrap(), &world.namespace);
        let drain = Self { world, brokers, pods, configurations, stop };
        for broker in 1..=3 {
            let pod = format!("demo-broker-{broker}");
            eventually("the pod is there", || async { drain.uid(&pod).await.is_some() }).await;
        }
        let asked = || async { drain.evict("demo-broker-1", true).await.is_ok() };
        eventually("the API server trusts the webhook", asked).await;
        drain
    }

    /// Evicts a pod; `code message` if that is refused.
    async fn evict(&self, pod: &str, dry_run: bool) -> Result<(), String> {
        // kubectl says it like this; `Api::evict` of kube 5 misspells the options.
        let dry_run = if dry_run { json!(["All"]) } else { json!([]) };
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod},
            "deleteOptions": {"dryRun": dry_run},
        });
        let params = PostParams::default();
        match self.pods.create_subresource::<Value, Status>("eviction", pod, &params, &eviction).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(format!("{} {}", status.code, status.message)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Lets a deleted pod stay, or go: there is no node here whose kubelet would take its time. Gives its UID.
    async fn hold(&self, pod: &str, held: bool) -> String {
        let finalizers = if held { json!(["chronik.dev/test"]) } else { Value::Null };
        let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
        self.pods.patch(pod, &PatchParams::default(), &patch).await.unwrap().uid().unwrap()
    }

    async fn uid(&self, pod: &str) -> Option<String> {
        self.pods.get_opt(pod).await.unwrap()?.uid()
    }

    async fn end(self) {
        self.configurations.delete(&self.world.namespace, &DeleteParams::default()).await.unwrap();
        self.stop.cancel();
        self.world.end().await;
    }
}

fn named(name: &str) -> kube::core::ObjectMeta {
    kube::core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() }
}

/// As the chart's, but for this namespace only, by address, and with a failure that shows.
fn configuration(namespace: &str, address: &str) -> ValidatingWebhookConfiguration {
    let webhook = json!({
        "name": webhook::NAME,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": format!("https://{address}{}", webhook::PATH)},
        "rules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/eviction"], "operations": ["CREATE"],
            "scope": "Namespaced",
        }],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "matchConditions": [
            {"name": "named-like-a-broker", "expression": "request.name.matches('-broker-[0-9]+$')"},
        ],
        "failurePolicy": "Fail",
        "sideEffects": "NoneOnDryRun",
        "timeoutSeconds": 10,
    });
    serde_json::from_value(json!({"metadata": {"name": namespace}, "webhooks": [webhook]})).unwrap()
}
