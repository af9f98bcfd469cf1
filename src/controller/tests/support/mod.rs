//! What the scenarios share: a namespace of their own, the operator in this process, and an admin API that answers
//! as brokers do. The Kubernetes API is a real one.

pub mod brokers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chronik_api::{BrokerCluster, Topic};
use chronik_controller::cli::{Run, Webhook};
use chronik_controller::metrics::Metrics;
use chronik_controller::run::reconcile_all;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use brokers::Brokers;

/// A namespace on a real Kubernetes API, and what runs in it.
pub struct World {
    pub client: Client,
    pub namespace: String,
    pub topics: Api<Topic>,
    pub clusters: Api<BrokerCluster>,
    pub metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl World {
    /// CRDs installed, an empty namespace made; no operator yet.
    pub async fn new(name: &str) -> Self {
        let client = Client::try_default().await.expect("KUBECONFIG names a running Kubernetes");
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        for crd in chronik_api::crds() {
            let params = PatchParams::apply("test").force();
            crds.patch(&crd.name_any(), &params, &Patch::Apply(&crd)).await.unwrap();
        }
        let namespace = format!("{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let mut object = Namespace::default();
        object.metadata.name = Some(namespace.clone());
        namespaces.create(&PostParams::default(), &object).await.unwrap();
        let world = Self {
            topics: Api::namespaced(client.clone(), &namespace),
            clusters: Api::namespaced(client.clone(), &namespace),
            metrics: Arc::new(Metrics::new()),
            stop: CancellationToken::new(),
            client,
            namespace,
        };
        eventually("the kinds are served", || async {
            world.topics.list(&Default::default()).await.is_ok()
                && world.clusters.list(&Default::default()).await.is_ok()
        })
        .await;
        world
    }

    /// Runs the operator for this namespace. Brokers' admin listeners are at `brokers`.
    pub async fn run_operator(&self, brokers: &Brokers) {
        let client = operator_client().await;
        let options = Run {
            watch_namespaces: vec![self.namespace.clone()],
            lease_namespace: self.namespace.clone(),
            lease_name: "unused".to_owned(),
            identity: None,
            http_listener: "127.0.0.1:0".parse().unwrap(),
            // Where there are nodes, no pod is to start: its broker would answer besides the ones here.
            broker_image: "docker.io/chronik/none:test".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            status_writes_per_second: 50,
            webhook: Webhook {
                listener: None,
                host: None,
                secret: "unused".to_owned(),
                configuration: "unused".to_owned(),
            },
        };
        let (metrics, stop) = (self.metrics.clone(), self.stop.clone());
        let addresses = brokers.addresses();
        let admin_address = Arc::new(move |_: &_, broker: u32| addresses[broker as usize - 1].clone());
        tokio::spawn(async move {
            reconcile_all(&options, client, "test".to_owned(), metrics, admin_address, stop).await.unwrap();
        });
    }

    /// Creates a BrokerCluster called demo; answers with the API's error, if it refuses.
    pub async fn cluster(&self, spec: serde_json::Value) -> Result<BrokerCluster, String> {
        self.create(&self.clusters, "BrokerCluster", "demo", spec).await
    }

    /// Creates a Topic; answers with the API's error, if it refuses.
    pub async fn topic(&self, name: &str, spec: serde_json::Value) -> Result<Topic, String> {
        self.create(&self.topics, "Topic", name, spec).await
    }

    async fn create<K>(
        &self,
        api: &Api<K>,
        kind: &str,
        name: &str,
        spec: serde_json::Value,
    ) -> Result<K, String>
    where
        K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
    {
        // As a person writes it: the types' own defaults are not to hide what the schema does.
        let object = serde_json::json!({
            "apiVersion": "chronik.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        });
        let params = PatchParams::apply("person");
        api.patch(name, &params, &Patch::Apply(object)).await.map_err(|error| error.to_string())
    }

    /// Merges into a Topic.
    pub async fn patch_topic(&self, name: &str, patch: serde_json::Value) -> Result<Topic, String> {
        let merged = self.topics.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        merged.map_err(|error| error.to_string())
    }

    /// A condition of a Topic as `status reason: message`, empty while it is not there.
    pub async fn condition(&self, topic: &str, type_: &str) -> String {
        let topic = self.topics.get(topic).await.unwrap();
        let conditions = topic.status.unwrap_or_default().conditions;
        chronik_api::conditions::get(&conditions, type_)
            .map_or(String::new(), |c| format!("{} {}: {}", c.status, c.reason, c.message))
    }

    /// Whether a condition of a Topic comes to begin like this, soon.
    pub async fn expect_condition(&self, topic: &str, type_: &str, start: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let now = self.condition(topic, type_).await;
            if now.starts_with(start) {
                return now;
            }
            assert!(Instant::now() < deadline, "{topic}: {type_} is {now:?} and not {start:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the operator; resources stay.
    pub fn stop_operator(&self) {
        self.stop.cancel();
    }

    /// Ends everything.
    pub async fn end(self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
        eventually("the namespace is gone", || async {
            namespaces.get_opt(&self.namespace).await.unwrap().is_none()
        })
        .await;
        self.stop.cancel();
    }
}

/// With the rights of the user CHRONIK_TEST_USER names, such as the chart's ServiceAccount; all rights without.
pub async fn operator_client() -> Client {
    let mut config = kube::Config::infer().await.unwrap();
    config.auth_info.impersonate = std::env::var("CHRONIK_TEST_USER").ok();
    Client::try_from(config).unwrap()
}

/// Waits until it holds, half a minute at most; says how long it took.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) -> Duration {
    within(Duration::from_secs(30), what, &mut holds).await
}

/// Waits until it holds, so long at most; says how long it took.
pub async fn within<F: Future<Output = bool>>(
    limit: Duration,
    what: &str,
    mut holds: impl FnMut() -> F,
) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    start.elapsed()
}
