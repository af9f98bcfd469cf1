//! The `run` subcommand: wins the election, then wires stores, feeds and reconcilers together until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use chronik_api::{BrokerCluster, Topic};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{Controller, Predicate, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::broker_client::BrokerClient;
use crate::cli::Run;
use crate::cluster::names;
use crate::cluster::rollout::journal::Journals;
use crate::context::{AdminAddress, Context, Settings};
use crate::dirty::Dirty;
use crate::events::Events;
use crate::feed::{Change, ClusterKey, Feeds};
use crate::leader::Election;
use crate::metrics::Metrics;
use crate::server::{self, Health};
use crate::status_writer::StatusWriter;
use crate::topics::Topics;
use crate::webhook::{self, Certified, Evictions};
use crate::{cluster, topic};

/// Reconciles of one kind under way at once.
const CONCURRENCY: u16 = 16;
/// BrokerClusters are reconciled at most this often each: their status follows every partition's ISR.
const CLUSTER_DEBOUNCE: Duration = Duration::from_millis(300);
/// How often feeds of deleted clusters are looked for.
const SWEEP: Duration = Duration::from_secs(2);
/// How long work under way gets to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Runs the operator until SIGTERM or SIGINT, or until the lease is lost.
pub async fn run(options: Run) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    let client = Client::try_default().await.context("connect to Kubernetes")?;
    let metrics = Arc::new(Metrics::new());
    let ready = Arc::new(AtomicBool::new(false));
    let leads = Arc::new(AtomicBool::new(false));
    let webhook = start_webhook(&options, &client, &metrics, &leads, &stop).await?;
    let health = Health { metrics: metrics.clone(), ready: ready.clone(), webhook };
    let http = tokio::spawn(server::serve(options.http_listener, health, stop.clone()));
    let identity =
        options.identity.clone().unwrap_or_else(|| format!("chronik-operator-{}", std::process::id()));
    let leases: Api<Lease> = Api::namespaced(client.clone(), &options.lease_namespace);
    let mut election = Election::new(leases, options.lease_name.clone(), identity.clone());
    let led = async {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = election.win(|| ready.store(true, Ordering::Relaxed)) => {}
        }
        tracing::info!(identity, "this process leads");
        ready.store(true, Ordering::Relaxed);
        metrics.leading(true);
        leads.store(true, Ordering::Relaxed);
        // It hears of `stop` itself, and gives the lease up then.
        lead(&options, client, identity.clone(), metrics.clone(), &mut election, &stop).await
    };
    let outcome = tokio::select! {
        outcome = led => outcome,
        error = failure_of(http) => Err(error),
    };
    stop.cancel();
    metrics.leading(false);
    outcome
}

/// The webhook, if it is to be served: by every process, also while it waits for its turn.
async fn start_webhook(
    options: &Run,
    client: &Client,
    metrics: &Arc<Metrics>,
    leads: &Arc<AtomicBool>,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Certified>> {
    let Some(listener) = options.webhook.listener else { return Ok(None) };
    let evictions = Evictions {
        client: client.clone(),
        brokers: BrokerClient::default(),
        admin_address: admin_address(options),
        namespaces: options.watch_namespaces.clone(),
        metrics: metrics.clone(),
    };
    let (namespace, leads) = (&options.lease_namespace, leads.clone());
    let running =
        webhook::start(&options.webhook, listener, client, namespace, evictions, leads, stop.clone()).await?;
    Ok(Some(running.certified))
}

/// Where brokers' admin listeners are in this Kubernetes.
fn admin_address(options: &Run) -> AdminAddress {
    let domain = options.cluster_domain.clone();
    Arc::new(move |key, broker| names::address(key, broker, &domain, names::ADMIN_PORT))
}

/// Why the HTTP port is not served; nothing once it ends as it was told to.
async fn failure_of(http: tokio::task::JoinHandle<anyhow::Result<()>>) -> anyhow::Error {
    match http.await {
        Ok(Ok(())) => std::future::pending().await,
        Ok(Err(error)) => error,
        Err(error) => anyhow::Error::new(error).context("serve HTTP"),
    }
}

/// Reconciles while the lease is held. Losing it ends the process: another one may act from now on.
async fn lead(
    options: &Run,
    client: Client,
    identity: String,
    metrics: Arc<Metrics>,
    election: &mut Election,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let address = admin_address(options);
    let work = reconcile_all(options, client, identity, metrics, address, stop.child_token());
    tokio::pin!(work);
    tokio::select! {
        ended = &mut work => ended?,
        why = election.hold() => anyhow::bail!("lost the lease: {why}"),
        () = stop.cancelled() => {
            if tokio::time::timeout(SHUTDOWN_GRACE, &mut work).await.is_err() {
                tracing::warn!("work was still under way at the end of the grace period");
            }
        }
    }
    election.release().await;
    Ok(())
}

/// Everything but the election; `stop` ends it. Each watched namespace has stores and controllers of its own: nothing in one
/// refers to another. They share the caps on what is written.
pub async fn reconcile_all(
    options: &Run,
    client: Client,
    identity: String,
    metrics: Arc<Metrics>,
    admin_address: AdminAddress,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let per_second = options.status_writes_per_second;
    let shared = Shared {
        status: Arc::new(StatusWriter::new(client.clone(), per_second, metrics.clone())),
        events: Arc::new(Events::new(client.clone(), identity, metrics.clone())),
        client,
        metrics,
        admin_address,
        settings: Settings {
            broker_image: options.broker_image.clone(),
            cluster_domain: options.cluster_domain.clone(),
        },
    };
    let namespaces: Vec<Option<&str>> = match options.watch_namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    let all = namespaces.into_iter().map(|namespace| reconcile_in(namespace, shared.clone(), stop.clone()));
    futures::future::join_all(all).await;
    Ok(())
}

/// What all watched namespaces share.
#[derive(Clone)]
struct Shared {
    client: Client,
    metrics: Arc<Metrics>,
    status: Arc<StatusWriter>,
    events: Arc<Events>,
    settings: Settings,
    admin_address: AdminAddress,
}

/// Reconciles one namespace, or all together.
async fn reconcile_in(namespace: Option<&str>, shared: Shared, stop: CancellationToken) {
    let Shared { client, metrics, .. } = shared;
    let (clusters, cluster_writer) = reflector::store();
    let (topic_store, topic_writer) = reflector::store();
    let topics = Topics::new(topic_store.clone());
    let (filled, clusters_filled) = watch::channel(false);
    let dirty_clusters: Arc<Dirty<ObjectRef<BrokerCluster>>> = Arc::default();
    let dirty_topics: Arc<Dirty<ObjectRef<Topic>>> = Arc::default();
    let brokers = BrokerClient::default();
    let on_change = on_change(topics.clone(), dirty_clusters.clone(), dirty_topics.clone());
    let context = Arc::new(Context {
        feeds: Feeds::new(brokers.clone(), metrics.clone(), on_change, stop.clone()),
        brokers,
        clusters: clusters.clone(),
        clusters_filled,
        topics: topics.clone(),
        dirty_topics: dirty_topics.clone(),
        status: shared.status,
        events: shared.events,
        journals: Journals::new(client.clone(), metrics.clone()),
        metrics,
        applied: Default::default(),
        settings: shared.settings,
        admin_address: shared.admin_address,
        client: client.clone(),
    });
    let cluster_changes = spec_changes(scoped(&client, namespace), cluster_writer, move |event| {
        if matches!(event, watcher::Event::InitDone) {
            filled.send_replace(true);
        }
    });
    let topic_changes =
        spec_changes(scoped(&client, namespace), topic_writer, move |event| topics.note(event));
    let config = || kube::runtime::Config::default().concurrency(CONCURRENCY);
    let owned =
        watcher::Config::default().labels(&format!("{}=chronik-operator", chronik_api::labels::MANAGED_BY));
    let cluster_controller = Controller::for_stream(cluster_changes, clusters.clone())
        .with_config(config().debounce(CLUSTER_DEBOUNCE))
        .owns(scoped::<StatefulSet>(&client, namespace), owned.clone())
        .watches(scoped::<PartialObjectMeta<Pod>>(&client, namespace), owned, cluster_of_pod)
        .reconcile_on(dirty_clusters.stream())
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(counted("BrokerCluster", cluster::reconcile), retry, context.clone())
        .for_each(|_| std::future::ready(()));
    let topic_controller = Controller::for_stream(topic_changes, topic_store)
        .with_config(config())
        .reconcile_on(dirty_topics.stream())
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(counted("Topic", topic::reconcile), retry, context.clone())
        .for_each(|_| std::future::ready(()));
    let sweep = stop.clone().run_until_cancelled_owned(sweep(context));
    let (_, _, _) = tokio::join!(cluster_controller, topic_controller, sweep);
}

/// All of a kind, in one namespace or in every one.
fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Fills the store with everything, says all that is seen, and passes on what a person or another program changed: a status
/// written by this process is none of that.
///
/// `Store::wait_until_ready` wakes one waiter only, the last to ask, and the controller itself is one: others need a
/// signal of their own, or they may wait for ever.
fn spec_changes<K>(
    api: Api<K>,
    writer: reflector::store::Writer<K>,
    note: impl Fn(&watcher::Event<K>) + Send + 'static,
) -> impl futures::Stream<Item = Result<K, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let changes = predicates::generation
        .combine(predicates::finalizers)
        .combine(predicates::labels)
        .combine(predicates::annotations);
    watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None)
        .reflect(writer)
        .inspect_ok(note)
        .applied_objects()
        .predicate_filter(changes, Default::default())
}

/// The cluster whose broker runs in the pod. What the pod is like is read when the cluster is reconciled.
fn cluster_of_pod(pod: PartialObjectMeta<Pod>) -> Option<ObjectRef<BrokerCluster>> {
    let cluster = pod.labels().get(chronik_api::labels::CLUSTER)?;
    Some(ObjectRef::new(cluster).within(&pod.namespace()?))
}

/// Which resources a change in the brokers concerns.
fn on_change(
    topics: Topics,
    dirty_clusters: Arc<Dirty<ObjectRef<BrokerCluster>>>,
    dirty_topics: Arc<Dirty<ObjectRef<Topic>>>,
) -> crate::feed::OnChange {
    Arc::new(move |key: &ClusterKey, change| match &change {
        Change::Cluster => dirty_clusters.mark([ObjectRef::new(&key.name).within(&key.namespace)]),
        Change::Topic(name) => dirty_topics.mark(topics.refs(key, name)),
        Change::AllTopics => dirty_topics.mark(topics.of(key)),
    })
}

/// Ends feeds of clusters that are gone, and lets their topics know.
async fn sweep(context: Arc<Context>) {
    if context.clusters_filled.clone().wait_for(|filled| *filled).await.is_err() {
        return;
    }
    loop {
        tokio::time::sleep(SWEEP).await;
        for key in context.feeds.retain(|key| context.cluster(key).is_some()) {
            tracing::info!(cluster = %key, "the BrokerCluster is gone");
            context.journals.forget(&key);
            context.dirty_topics.mark(context.topics.of(&key));
        }
    }
}

/// A reconcile with its metrics around it.
fn counted<K, F, E>(
    kind: &'static str,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F + Clone,
) -> impl FnMut(Arc<K>, Arc<Context>) -> BoxFuture<'static, Result<Action, E>>
where
    F: Future<Output = Result<Action, E>> + Send + 'static,
    E: Categorised + Send + 'static,
{
    move |object, context| {
        let metrics = context.metrics.clone();
        let work = reconcile(object, context);
        Box::pin(async move {
            let start = std::time::Instant::now();
            let result = work.await;
            let category = result.as_ref().err().map(Categorised::category);
            metrics.reconciled(kind, category, start.elapsed());
            result
        })
    }
}

/// An error that says what kind of trouble it is.
pub trait Categorised: std::error::Error {
    /// The kind of trouble.
    fn category(&self) -> crate::error::Category;
}

impl Categorised for cluster::error::Error {
    fn category(&self) -> crate::error::Category {
        cluster::error::Error::category(self)
    }
}

impl Categorised for topic::error::Error {
    fn category(&self) -> crate::error::Category {
        topic::error::Error::category(self)
    }
}

/// What Kubernetes' API refused is tried again soon; an outdated read is the usual reason.
fn retry<K: Resource<DynamicType = ()>, E: std::error::Error>(
    object: Arc<K>,
    error: &E,
    _: Arc<Context>,
) -> Action {
    tracing::warn!(kind = %K::kind(&()), name = ?object.meta().name, namespace = ?object.meta().namespace, %error, "reconcile");
    Action::requeue(Duration::from_secs(2))
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping");
            stop.cancel();
        }
    });
    Ok(stop)
}
