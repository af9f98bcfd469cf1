//! Which Kubernetes, namespace and cluster are meant: found as kubectl finds them, or said what is missing.

use anyhow::{Context, anyhow, bail};
use chronik_api::{BrokerCluster, names};
use chronik_core::ids::BrokerId;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};

use crate::args::Access;

/// A client, and the namespace that is meant.
#[derive(Clone)]
pub(crate) struct Kubernetes {
    pub client: Client,
    pub namespace: String,
}

impl Kubernetes {
    /// Reads the kubeconfig. Nothing is asked over the network yet.
    pub async fn connect(access: &Access) -> anyhow::Result<Self> {
        let mut config = config(access).await?;
        // Refusals (429) and brokers that do not answer (503) are what people want to read at once.
        config.default_retry = false;
        let namespace = access.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("use the kubeconfig")?;
        Ok(Self { client, namespace })
    }

    /// The cluster of that name, or the only one.
    pub async fn cluster(&self, name: Option<&str>) -> anyhow::Result<BrokerCluster> {
        let namespace = &self.namespace;
        let clusters: Api<BrokerCluster> = Api::namespaced(self.client.clone(), namespace);
        if let Some(name) = name
            && let Some(cluster) =
                clusters.get_opt(name).await.map_err(|e| told("read the BrokerCluster", e))?
        {
            return Ok(cluster);
        }
        let found = clusters.list(&ListParams::default()).await;
        let found = found.map_err(|e| told("list BrokerClusters", e))?.items;
        choose(found, name).with_context(|| format!("namespace {namespace}"))
    }

    /// A broker by its number or its pod's name, and its cluster.
    pub async fn broker(
        &self,
        broker: &str,
        cluster: Option<&str>,
    ) -> anyhow::Result<(BrokerId, BrokerCluster)> {
        let id = match (pod_name(broker), cluster) {
            (Some((of, _)), Some(cluster)) if of != cluster => {
                bail!("pod {broker} is of cluster {of}, not of {cluster}")
            }
            (Some((of, id)), _) => return Ok((id, self.cluster(Some(of)).await?)),
            (None, _) => number(broker)?,
        };
        Ok((id, self.cluster(cluster).await?))
    }
}

async fn config(access: &Access) -> anyhow::Result<Config> {
    let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    if let Some(file) = &access.kubeconfig {
        let read =
            Kubeconfig::read_from(file).with_context(|| format!("read kubeconfig {}", file.display()))?;
        return Config::from_custom_kubeconfig(read, &options).await.context("use the kubeconfig");
    }
    if access.context.is_some() {
        return Config::from_kubeconfig(&options).await.context("use the kubeconfig");
    }
    Config::infer()
        .await
        .map_err(|error| anyhow!(error).context("find a Kubernetes: set KUBECONFIG or --kubeconfig FILE"))
}

fn number(broker: &str) -> anyhow::Result<BrokerId> {
    let id = broker.parse().ok().filter(|id| *id > 0).map(BrokerId);
    id.ok_or_else(|| anyhow!("BROKER is {broker:?}: allowed is a broker's number, such as 2, or its pod's name, such as demo-broker-2"))
}

/// Cluster and broker of a pod's name.
fn pod_name(text: &str) -> Option<(&str, BrokerId)> {
    let (set, _) = text.rsplit_once('-')?;
    let cluster = set.strip_suffix("-broker")?;
    names::broker_of(cluster, text).map(|id| (cluster, BrokerId(id)))
}

/// The one of that name, or the only one.
fn choose(found: Vec<BrokerCluster>, name: Option<&str>) -> anyhow::Result<BrokerCluster> {
    let names: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
    let names = names.join(", ");
    match (name, found.len()) {
        (_, 0) => bail!("there is no BrokerCluster; name another namespace with -n"),
        (Some(name), _) => bail!("there is no BrokerCluster {name}; there are: {names}"),
        (None, 1) => Ok(found.into_iter().next().expect("one")),
        (None, _) => bail!("name one of its BrokerClusters: {names}"),
    }
}

/// What Kubernetes refused, in its own words and without Rust's.
pub(crate) fn told(what: &str, error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow!("{what}: {}", status.message),
        other => anyhow!(other).context(what.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cluster;

    #[test]
    fn the_only_cluster_is_meant_and_of_several_one_is_to_be_named() {
        let named = |names: &[&str]| names.iter().map(|name| cluster(name)).collect::<Vec<_>>();
        assert_eq!(choose(named(&["demo"]), None).unwrap().name_any(), "demo");
        let several = choose(named(&["demo", "shop"]), None).unwrap_err().to_string();
        assert_eq!(several, "name one of its BrokerClusters: demo, shop");
        let other = choose(named(&["demo", "shop"]), Some("x")).unwrap_err().to_string();
        assert_eq!(other, "there is no BrokerCluster x; there are: demo, shop");
        assert!(choose(Vec::new(), None).unwrap_err().to_string().contains("-n"));
    }

    #[test]
    fn a_broker_is_a_number_or_a_pod() {
        assert_eq!(pod_name("my-shop-broker-12"), Some(("my-shop", BrokerId(12))));
        for other in ["2", "demo-2", "demo-broker-x", "broker-2", "demo-broker-"] {
            assert_eq!(pod_name(other), None, "{other}");
        }
        assert_eq!(number("2").unwrap(), BrokerId(2));
        for wrong in ["0", "x", "-1", ""] {
            assert!(number(wrong).unwrap_err().to_string().contains("allowed"), "{wrong}");
        }
    }
}
