//! One look at a cluster: its resource and pods as Kubernetes has them, and what its brokers say.

use anyhow::{Context, anyhow, bail};
use chronik_api::broker_pod::{has_taken, pod_seen, template_hash};
use chronik_api::labels::broker_selector;
use chronik_api::{BrokerCluster, names};
use chronik_core::ids::BrokerId;
use chronik_core::rollout::{Observed, PodSeen};
use chronik_core::view::{ClusterReport, PermitReport, PermitsReport, TopicReport};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::access::{Kubernetes, told};
use crate::proxy::{PROBE, Proxy, READ};

/// What was seen.
pub(crate) struct Seen {
    pub cluster: BrokerCluster,
    pub name: String,
    pub namespace: String,
    pub set: Option<StatefulSet>,
    /// The brokers' pods by the broker's number.
    pub pods: Vec<(PodSeen, Pod)>,
    /// What the brokers say, or why none says anything.
    pub brokers: anyhow::Result<Told>,
}

/// What the brokers say.
pub(crate) struct Told {
    /// Who was asked.
    pub by: BrokerId,
    pub report: ClusterReport,
    /// Every topic with its partitions; lags as their leaders tell them.
    pub topics: Vec<TopicReport>,
    /// Open permits.
    pub permits: Vec<PermitReport>,
}

impl Seen {
    /// Looks. Brokers that do not answer are no error yet.
    pub async fn look(kubernetes: &Kubernetes, cluster: BrokerCluster) -> anyhow::Result<Self> {
        let (name, namespace) = (cluster.name_any(), kubernetes.namespace.clone());
        let sets: Api<StatefulSet> = Api::namespaced(kubernetes.client.clone(), &namespace);
        let set_name = names::stateful_set(&name);
        let (set, pods) = tokio::try_join!(
            async { sets.get_opt(&set_name).await.map_err(|error| told("read the StatefulSet", error)) },
            pods(kubernetes, &name),
        )?;
        let proxy = Proxy::new(kubernetes, &name);
        let brokers = Told::ask(&proxy, &pods).await;
        Ok(Self { cluster, name, namespace, set, pods, brokers })
    }

    /// What the brokers say.
    pub fn told(&self) -> anyhow::Result<&Told> {
        self.brokers.as_ref().map_err(|error| anyhow!("{error:#}"))
    }

    /// The pod of a broker.
    pub fn pod(&self, broker: BrokerId) -> Option<&(PodSeen, Pod)> {
        self.pods.iter().find(|(pod, _)| pod.broker == broker)
    }

    /// The restart hash of pods that are made from now on.
    pub fn template_hash(&self) -> Option<&str> {
        self.set.as_ref().and_then(template_hash)
    }

    /// Whether a pod runs other settings than pods that are made from now on.
    pub fn is_outdated(&self, pod: &PodSeen) -> bool {
        pod.hash.as_deref() != self.template_hash()
    }

    /// What the operator's planner is shown.
    pub fn observed(&self, told: &Told) -> anyhow::Result<Observed> {
        let desired = self.template_hash();
        let desired =
            desired.context("there is no StatefulSet of the brokers yet: is the operator running?")?;
        Ok(Observed {
            desired: desired.to_owned(),
            paused: self.cluster.spec.rollout.paused,
            options: self.cluster.spec.rollout.options(),
            now: Timestamp::now().as_second(),
            template_taken: self.set.as_ref().is_some_and(|set| has_taken(set, desired)),
            pods: self.pods.iter().map(|(pod, _)| pod.clone()).collect(),
            brokers: Some((&told.report).into()),
            permits: Some(told.permits.clone()),
            ..Observed::default()
        })
    }
}

/// The brokers' pods by the broker's number.
pub(crate) async fn pods(kubernetes: &Kubernetes, cluster: &str) -> anyhow::Result<Vec<(PodSeen, Pod)>> {
    let selector: Vec<String> =
        broker_selector(cluster).iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pods: Api<Pod> = Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace);
    let listed = pods.list(&ListParams::default().labels(&selector.join(","))).await;
    let listed = listed.map_err(|error| told("list the brokers' pods", error))?.items;
    let mut pods: Vec<(PodSeen, Pod)> =
        listed.into_iter().filter_map(|pod| Some((pod_seen(cluster, &pod)?, pod))).collect();
    pods.sort_by_key(|(pod, _)| pod.broker);
    Ok(pods)
}

impl Told {
    /// Asks the brokers in these pods.
    pub async fn ask(proxy: &Proxy, pods: &[(PodSeen, Pod)]) -> anyhow::Result<Self> {
        let (by, report) = who_answers(proxy, pods).await?;
        let others: Vec<BrokerId> = report
            .brokers
            .iter()
            .filter(|broker| broker.alive && broker.id != by)
            .map(|broker| broker.id)
            .collect();
        let path = "/v1/topics?partitions=true";
        let (topics, permits, led) = tokio::join!(
            proxy.get::<Vec<TopicReport>>(by, path, READ),
            proxy.get::<PermitsReport>(by, "/v1/permits", PROBE),
            join_all(others.into_iter().map(|broker| async move {
                // A leader that does not answer costs the lags of its partitions.
                proxy.get::<Vec<TopicReport>>(broker, path, READ).await.ok().map(|topics| (broker, topics))
            })),
        );
        let mut topics = topics?;
        for (leader, told) in led.into_iter().flatten() {
            add_lags(&mut topics, leader, told);
        }
        Ok(Self { by, report, topics, permits: permits?.open })
    }
}

/// The first broker that answers and knows a metadata leader; one that knows none may be cut off, and is only better than
/// nobody.
pub(crate) async fn who_answers(
    proxy: &Proxy,
    pods: &[(PodSeen, Pod)],
) -> anyhow::Result<(BrokerId, ClusterReport)> {
    let runs = |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some());
    let mut asked: Vec<&PodSeen> = pods.iter().filter(|(_, pod)| runs(pod)).map(|(seen, _)| seen).collect();
    asked.sort_by_key(|pod| (!pod.ready, pod.broker));
    let (mut lonely, mut failures) = (None, Vec::new());
    for pod in asked {
        match proxy.get::<ClusterReport>(pod.broker, "/v1/cluster", PROBE).await {
            Ok(report) if report.metadata_leader.is_some() => return Ok((pod.broker, report)),
            Ok(report) => lonely = lonely.or(Some((pod.broker, report))),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    if let Some(lonely) = lonely {
        return Ok(lonely);
    }
    match failures.is_empty() {
        true => bail!("no broker's pod of {} runs", proxy.cluster),
        false => bail!("no broker of {} answers: {}", proxy.cluster, failures.join("; ")),
    }
}

/// Takes from a leader's own report what only it knows.
fn add_lags(topics: &mut [TopicReport], leader: BrokerId, told: Vec<TopicReport>) {
    let mut told = told.into_iter().map(|topic| (topic.id, topic.partitions)).collect::<Vec<_>>();
    told.sort_by_key(|(id, _)| id.0);
    for topic in topics {
        let Ok(at) = told.binary_search_by_key(&topic.id.0, |(id, _)| id.0) else { continue };
        for (partition, told) in topic.partitions.iter_mut().zip(&told[at].1) {
            if partition.leader == Some(leader) && told.leader == Some(leader) {
                partition.followers.clone_from(&told.followers);
                partition.high_watermark = told.high_watermark;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{follower, partition, topic};

    #[test]
    fn lags_come_from_the_leader_and_from_nobody_else() {
        let mut topics = vec![topic("t", vec![partition(0, 1, &[1, 2]), partition(1, 2, &[1, 2])])];
        let mut told = topics.clone();
        for (at, lag) in [(0, 7), (1, 9)] {
            told[0].partitions[at].followers = vec![follower(1, lag, 100)];
            told[0].partitions[at].high_watermark = Some(50);
        }
        add_lags(&mut topics, BrokerId(2), told);
        let [first, second] = &topics[0].partitions[..] else { panic!("two partitions") };
        assert_eq!((first.followers.len(), first.high_watermark), (0, None), "broker 1 leads it");
        assert_eq!((second.followers[0].lag_entries, second.high_watermark), (9, Some(50)));
    }
}
